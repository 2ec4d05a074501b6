"""Training: from titles and labels to an encoder, in one readable loop of stages.

Stage 1 (contrast) pulls two titles of a product, or two rewritings of one title, together against everything else
in the batch: supervised contrastive loss (Khosla et al. 2020). Stage 2 (arcface) gives each labelled product a
centre and an additive angular margin that grows (Deng et al. 2019, as the winners of Kaggle Shopee used it), or learns
from another loss that the configuration names. What is searched is the model's vector; centres are thrown away.
Beside the products stand decoys, titles with one number or option changed, which belong to no product and which the
contrastive term keeps away. Before both, if asked for, the model guesses hidden words (mlm).

It trains on a GPU where there is one, else on the CPU; on several GPUs as a team of processes (``training.team``).
It knows products and tensors. It does not know files of labels, ONNX, thresholds or HTTP.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

from embedder.errors import InputError
from training.backbone import SMALL, load_encoder
from training.config import TrainConfig as TrainConfig
from training.config import default_config as default_config
from training.distill import Guide
from training.labels import Products
from training.losses import SecondLoss, wants_centres
from training.model import TitleModel, encode
from training.sampling import Sampler as Sampler
from training.sampling import class_batches, contrast_batches
from training.tasks import Learner, Task, VectorTask, WordTask
from training.teachers import Teachers
from training.team import Team

STAGES = ("mlm", "contrast", "arcface")
_OF_ARCFACE = frozenset({
    "arcface_steps", "arcface_learning_rate", "centre_learning_rate", "scale", "margin_start", "margin_end",
    "contrast_weight", "decoys_per_batch", "max_classes", "loss", "sub_centres", "cosine_margin", "centre_share",
    "mine_every", "mined_share", "validate_every",
})  # fmt: skip


def new_model(config: TrainConfig, vocabulary: int) -> TitleModel:
    """The model of a run before its first step, on the CPU.

    Our own small one is drawn by the seed. It has ReLU instead of GELU: as accurate at this size, and free in int8.

    Args:
        vocabulary: pieces of the tokenizer; a pretrained base has its own number of rows.

    Raises:
        InputError: the base cannot be used; see ``load_encoder``.
    """
    torch.manual_seed(config.seed)
    if config.base == SMALL:
        encoder: nn.Module = BertModel(
            BertConfig(
                vocab_size=vocabulary, hidden_size=config.hidden, num_hidden_layers=config.layers,
                num_attention_heads=config.heads, intermediate_size=config.intermediate,
                max_position_embeddings=config.max_length, hidden_act="relu", type_vocab_size=1,
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )  # fmt: skip
    else:
        encoder = load_encoder(config.base, config.max_length)
    return TitleModel(encoder, pooling=config.pooling, dimension=config.dimension, batch_norm=config.batch_norm)


def uses_bfloat16(config: TrainConfig, device: torch.device) -> bool:
    """Whether a run multiplies in bfloat16 on a device; "auto" wants a processor that can do it by itself."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if config.base == SMALL:
        return True  # as the model that ships was trained
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


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


def branch_off(run: Path, folder: Path, config: TrainConfig) -> None:
    """Let a new run begin behind the contrastive stage of another one: a ``Trainer`` there goes on with its own loss.

    Args:
        run: folder of a run that stands at the end of its contrastive stage, as one without ``arcface_steps`` ends.
        folder: of the new run; a checkpoint in it is replaced.
        config: of the new run; it may differ from the other's in what the last stage learns, and how it is mined.

    Raises:
        InputError: no run is there, it stands elsewhere, or the settings differ in more.
    """
    path = run / "checkpoint.pt"
    if not path.exists():
        raise InputError("no checkpoint is here; expected a run to branch off from", file=str(path))
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    was, now = asdict(TrainConfig()) | state["config"], asdict(config)
    if other := next((name for name in now if name not in _OF_ARCFACE and now[name] != was[name]), None):
        raise InputError(
            f"setting {other} was {was[other]!r}, is {now[other]!r}; expected other settings of the last stage alone",
            file=str(path),
        )
    if (state["stage"], state["step"]) != ("contrast", config.contrast_steps):
        raise InputError(
            f"a run at step {state['step']} of {state['stage']}; expected step {config.contrast_steps} of contrast",
            file=str(path),
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "best.pt", folder / "best.pt")
    # What was mined is of a stage that is over, and mined anew in the next one.
    _save(folder / "checkpoint.pt", state | {"config": now, "mined": None})


@dataclass
class Trainer:
    """A run over its stages: call ``run``; a checkpoint in ``folder`` is taken up where it stood."""

    config: TrainConfig
    products: Products
    tokenizer: Tokenizer
    folder: Path
    validate: Callable[[TitleModel, Tokenizer], dict[str, float]]
    report: Callable[[str, int, int, dict[str, float]], None]
    teachers: Teachers | None = None
    team: Team = field(default_factory=Team)

    def run(self) -> tuple[TitleModel, list[dict[str, Any]]]:
        """Train all stages. Returns the model of the best validation score (``"score"``) and the history."""
        self.folder.mkdir(parents=True, exist_ok=True)
        device = self.team.device
        self.model = new_model(self.config, self.tokenizer.get_vocab_size()).to(device)
        self.guide = None
        if self.teachers:
            self.guide = Guide(self.teachers, self.model.dimension, self.config).to(device)
        self.history: list[dict[str, Any]] = []
        self.best = -math.inf
        state = self._load()
        self.team.reseed(self.config.seed)
        for stage in STAGES[STAGES.index(state["stage"]) if state else 0 :]:
            steps: int = getattr(self.config, f"{stage}_steps")
            if steps and (task := self._task(stage, resumed=state is not None)):
                self._learn(stage, steps, task, state)
            state = None
        self._load_best()
        return self.model.cpu(), self.history

    def _load_best(self) -> None:
        self.model.load_state_dict(torch.load(self.folder / "best.pt", map_location="cpu", weights_only=True))

    def _load(self) -> dict[str, Any] | None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        # A setting that came later had its default then.
        if asdict(TrainConfig()) | state["config"] != asdict(self.config):
            raise InputError(
                "a run with another configuration; expected the same one, or another folder", file=str(path)
            )
        if state.get("teachers", []) != list(self.teachers.names if self.teachers else ()):
            raise InputError("a run with other teachers; expected the same ones, or another folder", file=str(path))
        self.history, self.best = state["history"], state["best"]
        return state

    def _classes(self) -> npt.NDArray[np.int64]:
        """Products that get a centre: those with two titles, then look-alike singletons, at most ``max_classes``."""
        labelled = np.setdiff1d(np.flatnonzero(self.products.sources >= 0), self.products.unjoined)
        if not len(labelled):
            return labelled
        many = np.diff(self.products.offsets)[labelled] > 1
        chosen = labelled[many][: self.config.max_classes]
        room = self.config.max_classes - len(chosen)
        # A singleton beside a product with many titles is the look-alike that the margin is for.
        beside = np.convolve(many, np.ones(5))[2:-2] > 0
        singles = labelled[~many & beside][:room]
        return np.sort(np.concatenate([chosen, singles]))

    def _task(self, stage: str, *, resumed: bool) -> Task | None:
        """What a stage learns from; None where there is nothing."""
        config, products = self.config, self.products
        learner = Learner(self.model, self.tokenizer, config, uses_bfloat16(config, self.model.device), self.team)
        if stage == "mlm":
            return WordTask(learner, products.titles)
        if stage == "contrast":
            sampler = Sampler(products, config)
            return VectorTask(learner, config.contrast_steps, sampler, contrast_batches(sampler), guide=self.guide)
        if not len(classes := self._classes()):
            return None
        if not resumed and self.best > -math.inf:
            self._load_best()
        centres = self._centres(classes) if wants_centres(config) else np.empty((0, self.model.dimension), np.float32)
        second = SecondLoss(config, centres, np.diff(products.offsets)[classes], self.model.device)
        sampler = Sampler(products, config, labelled_only=True)
        batches = class_batches(sampler, classes, config.decoys_per_batch)
        return VectorTask(learner, config.arcface_steps, sampler, batches, second, self.guide)

    def _learn(self, stage: str, steps: int, task: Task, state: dict[str, Any] | None) -> None:
        config = self.config
        optimizer = torch.optim.AdamW(task.groups, lr=task.groups[0]["rate"], weight_decay=config.weight_decay)
        optimizers = [optimizer, *task.optimizers]
        begin = 0
        if state:
            begin = self._take_up(state, optimizer)
            task.follow(state)
        started = time.monotonic()
        for step in range(begin, steps):
            for one in optimizers:
                one.zero_grad()
                for group in one.param_groups:
                    group["lr"] = group["rate"] * _schedule(step, steps, config.warmup)
            loss, seen = task.learn(step)
            if not torch.isfinite(nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)):
                raise InputError(
                    f"the gradient of {stage} step {step + 1} is not finite; expected a lower learning rate"
                )
            for one in optimizers:
                one.step()
            done = step + 1
            if self.team.leads and (done % 50 == 0 or done == steps):
                rate_now = (done - begin) * seen / (time.monotonic() - started)
                self.report(stage, done, steps, {"loss": loss.item(), "titles/s": rate_now})
            if done % config.validate_every == 0 or done == steps:
                self._checkpoint(stage, done, optimizer, task)

    def _take_up(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> int:
        """Put model, optimizer, guide and generators as a checkpoint of the stage has them; returns its step."""
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if self.guide:
            self.guide.load_state_dict(state["guide"])
        if "draws" in state:  # a checkpoint of before pretrained bases has none: without dropout nothing is drawn
            torch.set_rng_state(state["draws"])
            torch.cuda.set_rng_state_all(state["gpu_draws"])
        self._reseed(state["stage"], int(state["step"]))
        return int(state["step"])

    def _centres(self, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Mean vector of each class: a start from which the margin can work at once."""
        titles = [t for product in classes for t in self.products.of(int(product))]
        owner = np.repeat(np.arange(len(classes)), [len(self.products.of(int(p))) for p in classes])
        sums = np.zeros((len(classes), self.model.dimension), np.float32)
        np.add.at(sums, owner, encode(self.model, self.tokenizer, titles))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, 1e-6), np.float32)

    def _reseed(self, stage: str, step: int) -> None:
        """In a team dropout is drawn anew from each checkpoint on, so that a resumed run draws as one never stopped."""
        self.team.reseed(self.config.seed, STAGES.index(stage), step)

    def _checkpoint(self, stage: str, step: int, optimizer: torch.optim.Optimizer, task: Task) -> None:
        """Judge and save, which the first process does for all."""
        score = -math.inf
        if stage != "mlm":  # guessing words says nothing of which titles are alike
            if self.team.leads:
                scores = self.validate(self.model, self.tokenizer)
                self.history.append({"stage": stage, "step": step, **scores})
                self.report(stage, step, step, scores)
                score = scores["score"]
                if score >= self.best:
                    _save(self.folder / "best.pt", self.model.state_dict())
            score = self.team.told(score)
            self.best = max(self.best, score)
        if self.team.leads:
            self._write(stage, step, optimizer, task)
        self.team.wait()
        self._reseed(stage, step)

    def _write(self, stage: str, step: int, optimizer: torch.optim.Optimizer, task: Task) -> None:
        _save(
            self.folder / "checkpoint.pt",
            {
                "config": asdict(self.config), "stage": stage, "step": step, "history": self.history, "best": self.best,
                "model": self.model.state_dict(), "optimizer": optimizer.state_dict(),
                "teachers": list(self.teachers.names) if self.teachers else [],
                "guide": self.guide.state_dict() if self.guide else {},
                # where the generators of dropout stand
                "draws": torch.get_rng_state(), "gpu_draws": torch.cuda.get_rng_state_all(),
                **task.state_dict(),
            },
        )  # fmt: skip
