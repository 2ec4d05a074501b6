"""Losses of the second stage: margins against one centre a product, contrasts within a batch, and sums of both.

Margins are pytorch-metric-learning's, kept finite. With ``centre_share`` below 1 the centres stand in main memory,
and a step sees those of its own products and a random share of the others (Partial FC, An et al. 2021): what a step
takes then grows with the share, and the memory of the device not at all with the number of products.

To compare losses, train with each from the same seed and hold their cards against each other:

    for loss in arcface subcenter cosface adaptive supcon multisimilarity cached-ranking arcface+supcon:0.5; do
        dongil train LABELLED -o "runs/$loss" --base small --config "loss=$loss"; done

The contrastive stage is the same in each; only the second one differs.

It knows vectors, labels and centres; it does not know titles, models or the loop.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_metric_learning.losses import (
    ArcFaceLoss,
    CosFaceLoss,
    MultiSimilarityLoss,
    SubCenterArcFaceLoss,
    SupConLoss,
)
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import nn

from training.config import CLASS_LOSSES, Term, TrainConfig, parse_loss

_SMALLEST_MARGIN = 0.5  # of the whole margin, for products of 64 titles and more
_JITTER = 0.1  # length of what sets the sub-centres of a product apart at first


class SteadyArcFace(ArcFaceLoss):  # type: ignore[misc]
    """ArcFace whose gradient stays finite where a title stands exactly on its centre.

    Centres start as the mean of their titles, so a product of one title starts there; the derivative of arccos at 1
    is infinite, and the library clamps at 1 itself.
    """

    def get_angles(self, cosine_of_target_classes: torch.Tensor) -> torch.Tensor:
        """Angles in radians between titles and their centres, kept away from 0 and pi."""
        return torch.acos(cosine_of_target_classes.clamp(-1 + 1e-5, 1 - 1e-5))


class SteadySubCentres(SubCenterArcFaceLoss, SteadyArcFace):  # type: ignore[misc]
    """Several centres a product, of which the nearest counts (Deng et al. 2020), as steady as ``SteadyArcFace``."""


class AdaptiveArcFace(SteadyArcFace):
    """ArcFace with a margin for each title: ``margin`` times ``parts``, one number a title of the batch."""

    parts: torch.Tensor

    def modify_cosine_of_target_classes(self, cosine_of_target_classes: torch.Tensor) -> torch.Tensor:
        """The cosines after the margins, and still falling beyond the angle where a margin would turn them."""
        angles, margins = self.get_angles(cosine_of_target_classes), self.margin * self.parts
        beyond = torch.cos(angles) - margins * torch.sin(margins)
        return torch.where(angles <= math.pi - margins, torch.cos(angles + margins), beyond)


def margin_parts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """How much of the whole margin products of so many titles get, float32 of the same shape.

    It falls with size^-0.2, as the winners of Kaggle Shopee had it (discussion 238136): few titles say little about
    where a product ends, so they are held together harder. Whole up to two titles, half from 64.
    """
    return np.clip((np.maximum(sizes, 1) / 2) ** -0.2, _SMALLEST_MARGIN, 1).astype(np.float32)


def ranking_loss(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Multiple negatives ranking (Henderson et al. 2017), both ways.

    The first title of each label must find the second among all seconds and all titles without a partner, and the
    other way round. A third title of a label is left out.

    Args:
        vectors: unit rows, shape (n, dimension).
        labels: integers, shape (n,).
        temperature: that cosines are divided by.
    """
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        rows.setdefault(label, []).append(row)
    pairs = [own[:2] for own in rows.values() if len(own) > 1]
    if not pairs:
        return vectors.sum() * 0
    alone = vectors[[own[0] for own in rows.values() if len(own) == 1]]
    left, right = (vectors[[pair[side] for pair in pairs]] for side in (0, 1))
    aim = torch.arange(len(pairs), device=vectors.device)
    ways = [left @ torch.cat([right, alone]).T, right @ torch.cat([left, alone]).T]
    return sum((nn.functional.cross_entropy(way / temperature, aim) for way in ways), vectors.new_zeros(())) / 2


class ClassLoss:
    """A margin loss over the products that have a centre.

    Args:
        name: one of ``CLASS_LOSSES``.
        centres: where each centre starts, float32 unit rows, shape (classes, dimension).
        sizes: titles of each product, int64, shape (classes,).
        config: its margins, scale, rates and share of centres.
        device: of the vectors that will be given.
    """

    def __init__(
        self,
        name: str,
        centres: npt.NDArray[np.float32],
        sizes: npt.NDArray[np.int64],
        config: TrainConfig,
        device: torch.device,
    ) -> None:
        self.name, self.config, self.device = name, config, device
        self.classes, dimension = centres.shape
        self.each = config.sub_centres if name == "subcenter" else 1
        self.parts = torch.from_numpy(margin_parts(sizes)).to(device) if name == "adaptive" else None
        start = torch.from_numpy(_spread(centres, self.each, config.seed))
        self.sampled = config.centre_share < 1
        self.head: Any = self._new_head(1 if self.sampled else self.classes, dimension)
        if self.sampled:
            del self.head.W  # each step puts its own centres there
            self.table = nn.Embedding(len(start), dimension, sparse=True, _weight=start)
            self.rare = torch.optim.SparseAdam(self.table.parameters(), lr=config.centre_learning_rate)
            self.rare.param_groups[0]["rate"] = config.centre_learning_rate
        else:
            with torch.no_grad():
                self.head.W.copy_(start.T)
            self.head.to(device)

    def _new_head(self, classes: int, dimension: int) -> Any:
        of, scale, margin = {"num_classes": classes, "embedding_size": dimension}, self.config.scale, 0.0
        if self.name == "subcenter":
            return SteadySubCentres(**of, margin=margin, scale=scale, sub_centers=self.each)
        if self.name == "cosface":
            return CosFaceLoss(**of, margin=margin, scale=scale)
        return (AdaptiveArcFace if self.name == "adaptive" else SteadyArcFace)(**of, margin=margin, scale=scale)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What an optimizer of the loop must learn: the centres, unless they are sampled and learnt here."""
        return [] if self.sampled else list(self.head.parameters())

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Optimizers besides the loop's, to be stepped with it."""
        return [self.rare] if self.sampled else []

    def __call__(self, vectors: torch.Tensor, classes: torch.Tensor, step: int, ramp: float) -> torch.Tensor:
        """The mean loss of titles.

        Args:
            vectors: unit rows, shape (n, dimension).
            classes: the class of each, int64, shape (n,).
            step: of the stage; the centres that are drawn hang on it and the seed alone.
            ramp: how far the margin has grown, 0 to 1.
        """
        config = self.config
        begin, end = config.margin_start, config.margin_end
        self.head.margin = math.radians(begin + ramp * (end - begin))
        if self.name == "cosface":  # grown as far, in cosines
            self.head.margin *= config.cosine_margin / math.radians(end) if end else 0.0
        if self.parts is not None:
            self.head.parts = self.parts[classes]
        if self.sampled:
            chosen, classes = self._choose(classes, step)
            self.head.num_classes = len(chosen)
            rows = (chosen[:, None] * self.each + torch.arange(self.each)).flatten()
            self.head.W = self.table(rows).to(self.device).T
        return cast(torch.Tensor, self.head(vectors, classes))

    def _choose(self, classes: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The classes that this step sees, on the CPU, and the place of each title's own among them."""
        own, place = torch.unique(classes.cpu(), return_inverse=True)
        wanted = min(self.classes, max(len(own), round(self.config.centre_share * self.classes)))
        draw = np.random.default_rng((self.config.seed, step))
        # Drawn with repeats, so that a step's time grows with the share and not with the number of classes.
        others = np.setdiff1d(draw.integers(0, self.classes, wanted), own.numpy())[: wanted - len(own)]
        return torch.cat([own, torch.from_numpy(others)]), place.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep of it."""
        if not self.sampled:
            return cast(dict[str, Any], self.head.state_dict())
        return {"centres": self.table.weight.detach(), "optimizer": self.rare.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand as ``state_dict`` told."""
        if not self.sampled:
            self.head.load_state_dict(state)
            return
        with torch.no_grad():
            self.table.weight.copy_(state["centres"])
        self.rare.load_state_dict(state["optimizer"])


class SecondLoss:
    """The loss of the second stage: the terms of ``config.loss``, weighted.

    Where none of them compares titles with each other, the supervised contrastive loss stands beside them by
    ``contrast_weight``: decoys and products without a centre are learnt from by it alone.
    """

    def __init__(
        self,
        config: TrainConfig,
        centres: npt.NDArray[np.float32],
        sizes: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """The arguments are those of ``ClassLoss``; without a term that wants centres they may be of no class."""
        terms = parse_loss(config.loss)
        margins = [term for term in terms if term.name in CLASS_LOSSES]
        self.margin = ClassLoss(margins[0].name, centres, sizes, config, device) if margins else None
        self.weight = margins[0].weight if margins else 0.0
        pairs = [term for term in terms if term.name not in CLASS_LOSSES]
        self.pairs = pairs or [Term("supcon", config.contrast_weight)]
        self.temperature = config.temperature
        self.supcon, self.similar = SupConLoss(temperature=config.temperature), MultiSimilarityLoss()
        self.miner = MultiSimilarityMiner()

    def __call__(self, vectors: torch.Tensor, labels: torch.Tensor, step: int, ramp: float) -> torch.Tensor:
        """The loss of a batch; ``step`` and ``ramp`` as in ``ClassLoss``. A label below 0 has no centre."""
        contrast = [term.weight * self._pair_term(term.name, vectors, labels) for term in self.pairs]
        loss = sum(contrast[1:], contrast[0])
        if self.margin is None:
            return loss
        known = labels >= 0
        return self.weight * self.margin(vectors[known], labels[known], step, ramp) + loss

    def _pair_term(self, name: str, vectors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if name == "cached-ranking":
            return ranking_loss(vectors, labels, self.temperature)
        if name == "multisimilarity":
            return cast(torch.Tensor, self.similar(vectors, labels, self.miner(vectors, labels)))
        return cast(torch.Tensor, self.supcon(vectors, labels))


def wants_centres(config: TrainConfig) -> bool:
    """Whether the second stage compares titles with centres."""
    return any(term.name in CLASS_LOSSES for term in parse_loss(config.loss))


def wants_cache(config: TrainConfig) -> bool:
    """Whether the second stage goes through its batches in two passes; see ``training.gradcache``."""
    return any(term.name == "cached-ranking" for term in parse_loss(config.loss))


def _spread(centres: npt.NDArray[np.float32], each: int, seed: int) -> npt.NDArray[np.float32]:
    """Each centre ``each`` times over, a little apart: twins would share every gradient."""
    if each == 1:
        return centres
    many = np.repeat(centres, each, axis=0)
    noise = np.random.default_rng(seed).standard_normal(many.shape, np.float32)
    many += _JITTER * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(many / np.linalg.norm(many, axis=1, keepdims=True), np.float32)
