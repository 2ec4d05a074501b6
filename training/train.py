"""Training: from titles and labels to an encoder, in one readable loop of two stages.

Stage 1 (contrast) pulls two titles of a product, or two rewritings of one title, together against everything else
in the batch: supervised contrastive loss (Khosla et al. 2020). Stage 2 (arcface) gives each labelled product a
centre and an additive angular margin that grows (Deng et al. 2019, as the winners of Kaggle Shopee used it). What is
searched is the mean-pooled vector; centres are thrown away. Beside the products stand decoys, titles with one number
or option changed, which belong to no product and which the contrastive term keeps away.

It knows products and tensors. It does not know files of labels, ONNX, thresholds or HTTP.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, SupConLoss
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

from embedder.errors import InputError
from training.augment import augment, decoy
from training.labels import Products

CHUNK = 64  # titles a forward pass; each chunk is padded to its own longest, so short titles stay cheap


@dataclass(frozen=True)
class TrainConfig:
    """One run. Angles in degrees, rates per step, sizes in titles or tokens."""

    hidden: int = 256
    layers: int = 3
    heads: int = 8
    intermediate: int = 1024
    vocabulary: int = 32_000
    max_length: int = 64
    contrast_steps: int = 3_000
    arcface_steps: int = 800
    products_per_batch: int = 160
    unlabelled_share: float = 0.4
    neighbours_per_draw: int = 8
    learning_rate: float = 6e-4
    arcface_learning_rate: float = 2e-4
    centre_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    temperature: float = 0.05
    scale: float = 30.0
    margin_start: float = 11.5
    margin_end: float = 34.4
    contrast_weight: float = 1.0
    decoys_per_batch: int = 64
    max_classes: int = 30_000
    validate_every: int = 500
    seed: int = 0


class TitleModel(nn.Module):
    """A BERT whose vector is the mean of its last hidden states, scaled to length 1. Shape (batch, hidden)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        mask = attention_mask.unsqueeze(-1).float()
        return nn.functional.normalize((hidden * mask).sum(1), dim=-1)


class SteadyArcFace(ArcFaceLoss):  # type: ignore[misc]
    """ArcFace whose gradient stays finite where a title stands exactly on its centre.

    Centres start as the mean of their titles, so a product of one title starts there; the derivative of arccos at 1
    is infinite, and the library clamps at 1 itself.
    """

    def get_angles(self, cosine_of_target_classes: torch.Tensor) -> torch.Tensor:
        """Angles in radians between titles and their centres, kept away from 0 and pi."""
        return torch.acos(cosine_of_target_classes.clamp(-1 + 1e-5, 1 - 1e-5))


def new_model(config: TrainConfig, vocabulary: int) -> TitleModel:
    """A randomly initialised encoder. ReLU instead of GELU: as accurate at this size, and free in int8."""
    torch.manual_seed(config.seed)
    return TitleModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.intermediate,
            max_position_embeddings=config.max_length,
            hidden_act="relu",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            type_vocab_size=1,
        )
    )


def embed(model: TitleModel, tokenizer: Tokenizer, titles: list[str]) -> torch.Tensor:
    """Vectors of cleaned titles in their order, shape (n, hidden), through length-sorted chunks; keeps gradients."""
    order = sorted(range(len(titles)), key=lambda i: len(titles[i]))
    parts = []
    for start in range(0, len(order), CHUNK):
        encoded = tokenizer.encode_batch_fast([titles[i] for i in order[start : start + CHUNK]])
        ids = torch.tensor([e.ids for e in encoded])
        mask = torch.tensor([e.attention_mask for e in encoded])
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.is_grad_enabled()):
            parts.append(model(ids, mask))
    position = torch.empty(len(order), dtype=torch.long)
    position[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[position]


@torch.no_grad()
def encode(model: TitleModel, tokenizer: Tokenizer, titles: list[str]) -> npt.NDArray[np.float32]:
    """Vectors without gradients, shape (n, hidden), float32."""
    model.eval()
    parts = [embed(model, tokenizer, titles[i : i + 4096]).numpy() for i in range(0, len(titles), 4096)]
    model.train()
    return np.concatenate(parts)


class Sampler:
    """Draws products for a batch: runs of look-alikes from the labelled sets, and titles of unknown product.

    Each set is drawn as often as the square root of its number of products, so that none drowns the others.
    """

    def __init__(self, products: Products, config: TrainConfig, *, labelled_only: bool = False) -> None:
        self.products = products
        self.rng = random.Random(config.seed + labelled_only)
        self.run = config.neighbours_per_draw
        known = sorted(set(products.sources.tolist()) - {-1})
        self.sets = [np.flatnonzero(products.sources == source) for source in known]
        self.weights = [math.sqrt(len(s)) for s in self.sets]
        self.unlabelled = np.flatnonzero(products.sources == -1)
        share = 0.0 if labelled_only or not len(self.unlabelled) else config.unlabelled_share if self.sets else 1.0
        self.n_unlabelled = round(config.products_per_batch * share)
        self.size = config.products_per_batch

    def draw(self) -> list[int]:
        """Distinct products of one batch."""
        chosen = set(self.rng.sample(range(len(self.unlabelled)), min(self.n_unlabelled, len(self.unlabelled))))
        picked = {int(self.unlabelled[i]) for i in chosen}
        tries = 0
        while self.sets and len(picked) < self.size and (tries := tries + 1) < 50 * self.size:
            members = self.rng.choices(self.sets, self.weights)[0]
            start = self.rng.randrange(len(members))
            picked.update(int(p) for p in members[start : start + self.run][: self.size - len(picked)])
        return sorted(picked)

    def pair(self, product: int) -> tuple[str, str]:
        """Two titles of a product, rewritten; two rewritings where it has one title."""
        titles = self.products.of(product)
        first, second = self.rng.sample(titles, 2) if len(titles) > 1 else (titles[0], titles[0])
        if len(titles) > 1 and self.rng.random() < 0.4:
            return first, second
        return augment(first, self.rng), augment(second, self.rng)

    def decoys(self, titles: list[str], number: int) -> list[str]:
        """At most ``number`` titles that look like these and are other products."""
        made = (decoy(title, self.rng) for title in self.rng.sample(titles, min(number, len(titles))))
        return [text for text in made if text is not None]


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then cosine to a twentieth."""
    start = max(1, int(steps * warmup))
    if step < start:
        return (step + 1) / start
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - start) / max(1, steps - start)))


def _save(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_suffix(".new")
    torch.save(state, beside)
    os.replace(beside, path)


@dataclass
class Trainer:
    """A run over its two stages: call ``run``; a checkpoint in ``folder`` is taken up where it stood."""

    config: TrainConfig
    products: Products
    tokenizer: Tokenizer
    folder: Path
    validate: Callable[[TitleModel, Tokenizer], dict[str, float]]
    report: Callable[[str, int, int, dict[str, float]], None]

    def run(self) -> tuple[TitleModel, list[dict[str, Any]]]:
        """Train both stages. Returns the model of the best validation score (``"score"``) and the history."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = new_model(self.config, self.tokenizer.get_vocab_size())
        self.history: list[dict[str, Any]] = []
        self.best = -math.inf
        state = self._load()
        if not state or state["stage"] == "contrast":
            self._stage("contrast", self.config.contrast_steps, self._contrast_batches(), state)
            state = None
        classes = self._classes()
        if len(classes) and self.config.arcface_steps:
            self._stage("arcface", self.config.arcface_steps, self._arcface_batches(classes), state, classes)
        self.model.load_state_dict(torch.load(self.folder / "best.pt", weights_only=True))
        return self.model, self.history

    def _load(self) -> dict[str, Any] | None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["config"] != asdict(self.config):
            raise InputError(
                "a run with another configuration; expected the same one, or another folder", file=str(path)
            )
        self.history, self.best = state["history"], state["best"]
        return state

    def _classes(self) -> npt.NDArray[np.int64]:
        """Products that get a centre: those with two titles, then look-alike singletons, at most ``max_classes``."""
        labelled = np.flatnonzero(self.products.sources >= 0)
        many = np.diff(self.products.offsets)[labelled] > 1
        chosen = labelled[many][: self.config.max_classes]
        room = self.config.max_classes - len(chosen)
        # A singleton beside a product with many titles is the look-alike that the margin is for.
        beside = np.convolve(many, np.ones(5), mode="same") > 0
        singles = labelled[~many & beside][:room]
        return np.sort(np.concatenate([chosen, singles]))

    def _contrast_batches(self) -> Iterator[tuple[list[str], list[int]]]:
        sampler = Sampler(self.products, self.config)
        while True:
            drawn = sampler.draw()
            pairs = [sampler.pair(product) for product in drawn]
            yield [title for pair in pairs for title in pair], [i for i in range(len(drawn)) for _ in (0, 1)]

    def _arcface_batches(self, classes: npt.NDArray[np.int64]) -> Iterator[tuple[list[str], list[int]]]:
        centre_of = {int(product): centre for centre, product in enumerate(classes)}
        sampler = Sampler(self.products, self.config, labelled_only=True)
        sampler.sets = [kept for s in sampler.sets if len(kept := s[np.isin(s, classes)])]
        sampler.weights = [math.sqrt(len(s)) for s in sampler.sets]
        while True:
            drawn = sampler.draw()
            titles = [title for product in drawn for title in sampler.pair(product)]
            decoys = sampler.decoys(titles, self.config.decoys_per_batch)
            # A decoy's label is negative and its own: other than every product, and no class.
            labels = [centre_of[product] for product in drawn for _ in (0, 1)]
            yield titles + decoys, labels + [-1 - number for number in range(len(decoys))]

    def _stage(
        self,
        stage: str,
        steps: int,
        batches: Iterator[tuple[list[str], list[int]]],
        state: dict[str, Any] | None,
        classes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        config, tokenizer = self.config, self.tokenizer
        contrast = SupConLoss(temperature=config.temperature)
        arcface = None
        if classes is not None:
            if not state:
                self.model.load_state_dict(torch.load(self.folder / "best.pt", weights_only=True))
            arcface = SteadyArcFace(len(classes), config.hidden, margin=config.margin_start, scale=config.scale)
            with torch.no_grad():
                arcface.W.copy_(torch.from_numpy(self._centres(classes)).T)
        rate = config.learning_rate if arcface is None else config.arcface_learning_rate
        groups: list[dict[str, Any]] = [{"params": self.model.parameters(), "rate": rate}]
        if arcface is not None:
            groups.append({"params": arcface.parameters(), "rate": config.centre_learning_rate, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=config.weight_decay)
        begin = 0
        if state:
            begin = state["step"]
            self.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if arcface is not None:
                arcface.load_state_dict(state["arcface"])
            for _ in range(begin):
                next(batches)  # the same titles follow as in a run that was never stopped
        started = time.monotonic()
        for step in range(begin, steps):
            titles, labels = next(batches)
            factor = _schedule(step, steps, config.warmup)
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * factor
            vectors = embed(self.model, tokenizer, titles)
            target = torch.tensor(labels)
            loss = contrast(vectors, target)
            if arcface is not None:
                ramp = min(1.0, 2 * step / steps)
                degrees = config.margin_start + ramp * (config.margin_end - config.margin_start)
                arcface.margin = math.radians(degrees)
                known = target >= 0
                loss = arcface(vectors[known], target[known]) + config.contrast_weight * loss
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if not torch.isfinite(norm):
                raise InputError(
                    f"the gradient of {stage} step {step + 1} is not finite; expected a lower learning rate"
                )
            optimizer.step()
            done = step + 1
            if done % 50 == 0:
                rate_now = (done - begin) * len(titles) / (time.monotonic() - started)
                self.report(stage, done, steps, {"loss": loss.item(), "titles/s": rate_now})
            if done % config.validate_every == 0 or done == steps:
                self._checkpoint(stage, done, optimizer, arcface)

    def _centres(self, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Mean vector of each class: a start from which the margin can work at once."""
        titles = [t for product in classes for t in self.products.of(int(product))]
        owner = np.repeat(np.arange(len(classes)), [len(self.products.of(int(p))) for p in classes])
        sums = np.zeros((len(classes), self.config.hidden), np.float32)
        np.add.at(sums, owner, encode(self.model, self.tokenizer, titles))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, 1e-6), np.float32)

    def _checkpoint(self, stage: str, step: int, optimizer: torch.optim.Optimizer, arcface: ArcFaceLoss | None) -> None:
        scores = self.validate(self.model, self.tokenizer)
        self.history.append({"stage": stage, "step": step, **scores})
        self.report(stage, step, step, scores)
        if scores["score"] >= self.best:
            self.best = scores["score"]
            _save(self.folder / "best.pt", self.model.state_dict())
        _save(
            self.folder / "checkpoint.pt",
            {
                "config": asdict(self.config), "stage": stage, "step": step, "history": self.history, "best": self.best,
                "model": self.model.state_dict(), "optimizer": optimizer.state_dict(),
                "arcface": arcface.state_dict() if arcface is not None else {},
            },
        )  # fmt: skip
