"""Labelled pairs over two tables: whether search brings the right title of the other table, and whether it is accepted.

The published way to measure Abt-Buy and its like; here the two questions never mix. It does not know models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.bootstrap import Interval, Resamples
from benchmarks.labelled import LabelledPairs, Rows
from benchmarks.measures import KS, chosen, mean, pair_f1
from benchmarks.pools import Pool
from index.vectors import VectorIndex, Vectors
from training.evaluate import Pairs


@dataclass(frozen=True)
class PairTable:
    """Labelled pairs over two tables: recall@k of the true ones in the other table, and their decision apart.

    Attributes:
        published: whether the pair files' own split was kept.
        validation_pairs, test_pairs, test_true: how many.
        threshold: with the best pair-F1 on validation pairs; None where they hold no true pair.
        f1, precision, recall: of the test pairs at it.
        average_precision: of the test pairs.
        recall_at: k -> share of the true test pairs whose right title is among the first k of the right table.
    """

    published: bool
    validation_pairs: int
    test_pairs: int
    test_true: int
    threshold: float | None
    f1: Interval | None
    precision: Interval | None
    recall: Interval | None
    average_precision: float | None
    recall_at: dict[int, Interval | None]


def measure_pairs(pairs: LabelledPairs, pool: Pool, vectors: Vectors, seed: int = 0) -> PairTable:
    """Choose a threshold on the validation pairs and report on the test pairs.

    Args:
        pairs: of the set.
        pool: of all its rows.
        vectors: of the pool's nodes after blending: a pair's score is their cosine, be they candidates or not.
        seed: of the bootstrap.
    """
    node = pool.matcher.nodes.node_of
    sides = {}
    for side in ("validation", "test"):
        rows = np.flatnonzero(pairs.sides == side)
        scores = np.einsum("ij,ij->i", vectors[node[pairs.left[rows]]], vectors[node[pairs.right[rows]]])
        sides[side] = _as_pairs(pairs.left[rows], pairs.right[rows], scores.astype(np.float32), pairs.same[rows])
    validation, test = sides["validation"], sides["test"]
    if not len(test[0].hits):
        return PairTable(pairs.published, len(validation[0].hits), 0, 0, None, None, None, None, None, {})
    curve = validation[0].curve()
    threshold = chosen(curve) if validation[0].possible.sum() else None
    interval = Resamples(pool.labels[test[1]], seed=seed).interval
    right, accepted, possible = test[0].counts(np.inf if threshold is None else threshold)
    none = threshold is None
    return PairTable(
        pairs.published, len(validation[0].hits), len(test[0].hits), int(test[0].hits.sum()), threshold,
        f1=None if none else interval(pair_f1, right, accepted, possible),
        precision=None if none else interval(mean, right, accepted),
        recall=None if none else interval(mean, right, possible),
        average_precision=test[0].average_precision(),
        recall_at=_recall_at(pairs, pool, seed),
    )  # fmt: skip


def _as_pairs(
    left: Rows, right: Rows, scores: npt.NDArray[np.float32], same: npt.NDArray[np.bool_]
) -> tuple[Pairs, Rows]:
    """Labelled pairs as candidates, each counted for its left title; and those titles' rows."""
    order = np.argsort(-scores, kind="stable")
    owners, owner = np.unique(left[order], return_inverse=True)
    hits = same[order]
    possible = np.bincount(owner[hits], minlength=len(owners))
    return Pairs(left[order], right[order], scores[order], hits, owner, possible.astype(np.int64)), owners


def _recall_at(pairs: LabelledPairs, pool: Pool, seed: int) -> dict[int, Interval | None]:
    """Of the true test pairs, the share whose right title is among the first k of the right table, before blending."""
    node, vectors = pool.matcher.nodes.node_of, pool.matcher.blended.stages[0]
    wanted = np.flatnonzero((pairs.sides == "test") & pairs.same)
    if not len(wanted):
        return {}
    index = VectorIndex.from_vectors(vectors[node[pairs.right_rows]], exact=True)
    found = index.search(vectors[node[pairs.left[wanted]]], max(KS))
    hit = (found.ids >= 0) & (pairs.right_rows[found.ids] == pairs.right[wanted][:, None])
    interval, ones = Resamples(pool.labels[pairs.left[wanted]], seed=seed).interval, np.ones(len(wanted))
    return {k: interval(mean, hit[:, :k].any(axis=1).astype(np.float64), ones) for k in KS}
