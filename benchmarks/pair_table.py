"""Labelled pairs over two tables: whether search brings the right title of the other table, and whether it is accepted.

The published way to measure Abt-Buy and its like; here the two questions never mix, and a labelled pair is judged
whether search brings it or not. It does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from benchmarks.bootstrap import Interval, Resamples
from benchmarks.labelled import LabelledPairs, Rows
from benchmarks.measures import KS, chosen, mean, pair_f1
from benchmarks.pools import Pool
from index.vectors import VectorIndex
from training.evaluate import Pairs

PUBLISHED: Mapping[str, float] = MappingProxyType({"abt-buy": 0.943, "amazon-google": 0.793})
"""Pair-F1 of R-SupCon (Peeters and Bizer 2022), which reads whole records and is trained on the published pairs."""


@dataclass(frozen=True)
class PairTable:
    """Labelled pairs over two tables: recall@k of the true ones in the other table, and their decision apart.

    Attributes:
        published: whether the pair files' own split was kept.
        validation_pairs, test_pairs, test_true: how many.
        threshold: probability with the best pair-F1 on validation pairs; None where they hold no true pair.
        f1, precision, recall: of the test pairs at it.
        average_precision: of the test pairs.
        cosine_f1: of the test pairs by the cosine after blending, at its own best threshold on validation pairs.
        published_f1: what ``PUBLISHED`` has for this set; None where it has nothing.
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
    cosine_f1: Interval | None
    published_f1: float | None
    recall_at: dict[int, Interval | None]


@dataclass(frozen=True)
class _Choice:
    """Test pairs by one score, at the threshold that is best for the validation pairs; None where none can be chosen.

    ``f1``, ``precision`` and ``recall`` are None without a threshold, or where there is nothing to divide by.
    """

    threshold: float | None
    f1: Interval | None
    precision: Interval | None
    recall: Interval | None
    average_precision: float | None


def measure_pairs(name: str, pairs: LabelledPairs, pool: Pool, seed: int = 0) -> PairTable:
    """Choose a threshold on the validation pairs and report on the test pairs.

    Args:
        name: of the set.
        pairs: of the set.
        pool: of all its rows; a pair is judged in it, be it a candidate or not.
        seed: of the bootstrap.
    """
    node, vectors = pool.matcher.nodes.node_of, pool.matcher.blended.stages[-1]
    cosines = np.einsum("ij,ij->i", vectors[node[pairs.left]], vectors[node[pairs.right]])
    ours = _choose(pairs, pool, pool.probability(pairs.left, pairs.right), seed)
    plain = _choose(pairs, pool, cosines.astype(np.float64), seed)
    test = pairs.sides == "test"
    return PairTable(
        pairs.published, int((pairs.sides == "validation").sum()), int(test.sum()), int(pairs.same[test].sum()),
        ours.threshold, ours.f1, ours.precision, ours.recall, ours.average_precision, plain.f1,
        published_f1=PUBLISHED.get(name), recall_at=_recall_at(pairs, pool, seed),
    )  # fmt: skip


def _choose(pairs: LabelledPairs, pool: Pool, scores: npt.NDArray[np.float64], seed: int) -> _Choice:
    sides = {}
    for side in ("validation", "test"):
        rows = np.flatnonzero(pairs.sides == side)
        sides[side] = _as_pairs(pairs.left[rows], pairs.right[rows], scores[rows].astype(np.float32), pairs.same[rows])
    (validation, _), (test, owners) = sides["validation"], sides["test"]
    ap = test.average_precision()
    if not (len(test.hits) and validation.possible.sum()):
        return _Choice(None, None, None, None, ap)
    threshold = chosen(validation.curve())
    interval = Resamples(pool.labels[owners], seed=seed).interval
    right, accepted, possible = test.counts(threshold)
    return _Choice(
        threshold, interval(pair_f1, right, accepted, possible), interval(mean, right, accepted),
        interval(mean, right, possible), ap,
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
