"""Reliability: whether probabilities, and the precisions that a bundle promises, hold on products it never saw.

Of all pairs that are called same with a probability of .8, eight in ten should be. It knows the judged pairs of one
side; it does not know how a probability was learnt or a promise proven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.bootstrap import Interval, Values
from benchmarks.measures import Side, mean
from index.decision import Promise

_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Candidate pairs of about one probability.

    Attributes:
        low, high: the least and the most probability of the bin.
        pairs: how many.
        promised: their mean probability.
        right: share of them that are one product.
    """

    low: float
    high: float
    pairs: int
    promised: float
    right: Interval | None


@dataclass(frozen=True)
class Reliability:
    """How honest the probabilities are.

    Attributes:
        pairs: candidate pairs that were looked at: those that are not forgotten as all too improbable.
        error: the expected calibration error: mean distance, over pairs, of the bins' promised from their right share.
        bins: those that hold a pair.
    """

    pairs: int
    error: Interval | None
    bins: list[Bin]


@dataclass(frozen=True)
class Kept:
    """A precision that a bundle promises, and what came of it.

    Attributes:
        promise: the bundle's.
        precision, recall: of pairs, observed at the promised threshold.
        accepted: pairs there.
    """

    promise: Promise
    precision: Interval | None
    recall: Interval | None
    accepted: int

    @property
    def broken(self) -> bool:
        """Whether the whole interval of the observed precision lies below the promise."""
        return self.precision is not None and self.precision.high < self.promise.precision


def reliability(side: Side) -> Reliability:
    """Promised against true shares of a side's candidate pairs, in ten bins of equal width."""
    pairs, owners = side.pairs, len(side)
    promised, hits = pairs.scores.astype(np.float64), pairs.hits.astype(np.float64)
    place = np.minimum((promised * _BINS).astype(int), _BINS - 1)

    def sums(inside: Values, values: Values) -> Values:
        return np.bincount(pairs.owner, inside * values, owners).astype(np.float64)

    interval, one = side.resamples.interval, np.ones(len(promised))
    bins, gaps = [], []
    for number in range(_BINS):
        inside = (place == number).astype(np.float64)
        if inside.any():
            right = interval(mean, sums(inside, hits), sums(inside, one))
            many = int(inside.sum())
            bins.append(Bin(number / _BINS, (number + 1) / _BINS, many, float(promised @ inside) / many, right))
            gaps.append(sums(inside, promised - hits))
    error = interval(_mean_gap, sums(one, one), *gaps) if bins else None
    return Reliability(len(promised), error, bins)


def _mean_gap(pairs: Values, *gaps: Values) -> Values:
    return np.asarray(sum(np.abs(gap) for gap in gaps) / pairs)


def kept(side: Side, promises: Sequence[Promise]) -> list[Kept]:
    """What each promise comes to on a side."""
    told = []
    for promise in promises:
        right, accepted, possible = side.pair_counts(promise.threshold)
        interval = side.resamples.interval
        precision, recall = interval(mean, right, accepted), interval(mean, right, possible)
        told.append(Kept(promise, precision, recall, int(accepted.sum())))
    return told
