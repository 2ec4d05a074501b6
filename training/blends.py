"""How far to blend for a trained encoder: many blends of the same neighbours, seconds beside the hours of training.

For each blend one threshold is to do for all sets, on the blended cosine alone: blends are compared by it. It knows
vectors and labels; it does not know how vectors are made, nor the probability that decides in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index.blending import BlendConfig, blend_catalogue
from index.vectors import Neighbours, VectorIndex, Vectors
from training.evaluate import row_curve

STAGES = 3
BLEND_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
POWERS = (1.0, 3.0)
THRESHOLDS = np.append(np.round(np.tanh(np.linspace(0.2, 4.0, 96)), 4), 1.01)
"""Cosines, closer together towards 1, where blending crowds them; the last accepts nothing."""


@dataclass(frozen=True)
class Catalogue:
    """A labelled catalogue of vectors, of which some rows are judged.

    Attributes:
        vectors: float32 unit rows, shape (n, d).
        labels: product of each row.
        rows: the judged rows, int64.
        weight: in the mean over catalogues.
    """

    vectors: Vectors
    labels: Sequence[str]
    rows: npt.NDArray[np.int64]
    weight: float = 1.0


@dataclass(frozen=True)
class Blending:
    """The best blend.

    Attributes:
        blend: itself.
        threshold: the cosine from which a pair is accepted where it is best.
        f1: weighted mean row-F1 there.
        plain: the same without blending, at the threshold that is best then.
    """

    blend: BlendConfig
    threshold: float
    f1: float
    plain: float


def best_blend(catalogues: Sequence[Catalogue], start: BlendConfig | None = None) -> Blending:
    """Try no blending, and up to ``STAGES`` stages of each threshold and power; of equals the one that blends less.

    Args:
        catalogues: at least one.
        start: what is not tried stays as it has it.
    """
    start = start or BlendConfig()
    sums: dict[BlendConfig, npt.NDArray[np.float64]] = {}
    for one in catalogues:
        for blend, f1 in _curves(one, start):
            sums[blend] = sums.get(blend, np.zeros(len(THRESHOLDS))) + one.weight * f1
    total = sum(one.weight for one in catalogues)
    means = {blend: f1 / total for blend, f1 in sums.items()}
    best = max(means, key=lambda blend: (round(float(means[blend].max()), 6), -blend.stages))
    plain = means[replace(start, stages=0)]
    return Blending(best, float(THRESHOLDS[int(means[best].argmax())]), float(means[best].max()), float(plain.max()))


def _curves(one: Catalogue, start: BlendConfig) -> Iterator[tuple[BlendConfig, npt.NDArray[np.float64]]]:
    """Row-F1 over ``THRESHOLDS`` of each blend; the stages of one follow from each other."""
    found = VectorIndex.from_vectors(one.vectors, exact=True).search(one.vectors, start.k)
    yield replace(start, stages=0), _row_f1(one, found)
    for threshold in BLEND_THRESHOLDS:
        for power in POWERS:
            config = replace(start, stages=1, threshold=threshold, power=power)
            vectors, near = one.vectors, found
            for stage in range(1, STAGES + 1):
                blended = blend_catalogue(vectors, near, config)
                vectors, near = blended.stages[-1], blended.neighbours
                yield replace(config, stages=stage), _row_f1(one, near)


def _row_f1(one: Catalogue, near: Neighbours) -> npt.NDArray[np.float64]:
    curve = row_curve(Neighbours(near.ids[one.rows], near.scores[one.rows]), one.labels, one.rows)
    return np.array([curve.f1[curve.at(float(threshold))] for threshold in THRESHOLDS])
