"""Measures of one side of a labelled set: curves over all thresholds, and every score at one of them with intervals.

It ties `training.evaluate` (the measures) to `benchmarks.bootstrap` (how sure they are). It does not know models,
titles, nor which threshold is the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from benchmarks.bootstrap import Interval, Resamples, Values
from benchmarks.pools import Judged, Pool, row_edges
from index.clustering import Edges, connected_components
from index.vectors import Neighbours
from training.evaluate import Curve, Pairs, bcubed_curve, bcubed_rows, found_at, pairs_of, row_curve, row_scores

PRECISIONS = (0.90, 0.95, 0.98, 0.99)
KS = (1, 2, 5, 10, 20, 50)


def mean(total: Values, count: Values) -> Values:
    """A sum by a count."""
    return total / count


def chosen(curve: Curve, at: int | None = None) -> float:
    """The threshold at a position of a curve, the best one by default.

    Rounded to six digits, so that what is told is what was used: down, or up where nothing is to be accepted.
    """
    at = curve.best if at is None else at
    threshold = float(curve.thresholds[at]) * 1e6
    return float((np.floor(threshold) if at else np.ceil(threshold)) / 1e6)


def pair_f1(right: Values, accepted: Values, possible: Values) -> Values:
    """F1 of pairs: right ones by the mean of those accepted and those there are."""
    return 2 * right / (accepted + possible)


def harmonic(precision: Values, recall: Values, count: Values) -> Values:
    """F1 of a mean precision and a mean recall, from their sums."""
    return 2 * precision * recall / (precision + recall) / count


@dataclass(frozen=True)
class Scores:
    """Everything at one threshold; an Interval is None where there is nothing to divide by.

    Attributes:
        threshold: accepted is what scores at least this.
        row_f1, row_precision, row_recall: mean over judged rows, the row itself counted.
        exact: share of judged rows whose matches are all their partners and nothing else.
        pair_f1, pair_precision, pair_recall: over distinct pairs.
        bcubed_f1, bcubed_precision, bcubed_recall: of the clusters that the threshold makes of the whole pool.
        right, wrong: accepted pairs that are one product, and that are not.
        unscored: true pairs that are candidates under the threshold: found by search, parted by score.
        unfound: true pairs that search did not find.
        largest_cluster: rows of the largest cluster with a judged row in it.
    """

    threshold: float
    row_f1: Interval | None
    row_precision: Interval | None
    row_recall: Interval | None
    exact: Interval | None
    pair_f1: Interval | None
    pair_precision: Interval | None
    pair_recall: Interval | None
    bcubed_f1: Interval | None
    bcubed_precision: Interval | None
    bcubed_recall: Interval | None
    right: int
    wrong: int
    unscored: int
    unfound: int
    largest_cluster: int


@dataclass(frozen=True)
class Search:
    """What search found, whatever its score: at each k the mean share of a row's partners among its first k candidates.

    Attributes:
        recall_at: k -> share; None where no judged row has a partner.
        ceiling: row-F1 if every decision about the candidates were right; what is missing to 1, search has lost.
    """

    recall_at: dict[int, Interval | None]
    ceiling: Interval | None


class Side:
    """The judged rows of one side, with their curves.

    Args:
        judged: their neighbour lists.
        edges: makes those of the whole pool, in the pool's row numbers, when clusters are asked for.
        seed: of the bootstrap.
    """

    def __init__(self, judged: Judged, edges: Callable[[], Edges], *, seed: int = 0) -> None:
        self.judged = judged
        self._edges = edges
        self._seed = seed

    def __len__(self) -> int:
        return len(self.judged.rows)

    @cached_property
    def row_curve(self) -> Curve:
        """Row-F1 over all thresholds."""
        return row_curve(self.judged.neighbours, self.judged.labels, self.judged.rows)

    @cached_property
    def pairs(self) -> Pairs:
        """Candidate pairs."""
        return pairs_of(self.judged.neighbours, self.judged.labels, self.judged.rows)

    @cached_property
    def pair_curve(self) -> Curve:
        """Pair precision and recall over all thresholds."""
        return self.pairs.curve()

    @cached_property
    def bcubed_curve(self) -> Curve:
        """B-cubed scores over all thresholds."""
        return bcubed_curve(self._edges(), self.judged.labels, self.judged.rows)

    @cached_property
    def resamples(self) -> Resamples:
        """Draws of the judged products."""
        return Resamples(self.judged.labels[self.judged.rows], seed=self._seed)

    @property
    def has_pairs(self) -> bool:
        """Whether there is a true pair to find; without one no threshold can be chosen."""
        return len(self) > 0 and int(self.pairs.possible.sum()) > 0

    def row_f1(self, threshold: float) -> Values:
        """F1 of each judged row."""
        return row_scores(self.judged.neighbours, self.judged.labels, self.judged.rows, threshold).f1

    def mean_row_f1(self, threshold: float) -> Interval | None:
        """Row-F1 with its interval."""
        return self.resamples.interval(mean, self.row_f1(threshold), np.ones(len(self)))

    def scores(self, threshold: float) -> Scores:
        """Every measure at one threshold."""
        interval, ones = self.resamples.interval, np.ones(len(self))
        rows = row_scores(self.judged.neighbours, self.judged.labels, self.judged.rows, threshold)
        right, accepted, possible = self.pairs.counts(threshold)
        clusters = connected_components(len(self.judged.labels), self._edges().over(threshold))
        precision, recall = bcubed_rows(clusters, self.judged.labels, self.judged.rows)
        found, made = int(self.pairs.hits.sum()), int(right.sum())
        return Scores(
            threshold=float(threshold),
            row_f1=interval(mean, rows.f1, ones),
            row_precision=interval(mean, rows.precision, ones),
            row_recall=interval(mean, rows.recall, ones),
            exact=interval(mean, (rows.f1 == 1).astype(np.float64), ones),
            pair_f1=interval(pair_f1, right, accepted, possible),
            pair_precision=interval(mean, right, accepted),
            pair_recall=interval(mean, right, possible),
            bcubed_f1=interval(harmonic, precision, recall, ones),
            bcubed_precision=interval(mean, precision, ones),
            bcubed_recall=interval(mean, recall, ones),
            right=made,
            wrong=int(accepted.sum()) - made,
            unscored=found - made,
            unfound=int(possible.sum()) - found,
            largest_cluster=int(np.bincount(clusters)[clusters[self.judged.rows]].max()),
        )

    def search(self, near: Judged, ks: Sequence[int] = KS) -> Search:
        """What search found, before blending moved anything: ``near`` holds the lists in search's own order."""
        found, partners = found_at(near.neighbours, near.labels, near.rows, ks)
        some = partners > 0
        share = found / np.maximum(partners, 1)[:, None]
        interval = self.resamples.interval
        # All that search brought, in the end: a row's list also holds the rows of equal title, beyond the last k.
        every = found_at(near.neighbours, near.labels, near.rows, [near.neighbours.ids.shape[1]])[0][:, 0]
        return Search(
            {k: interval(mean, share[:, at], some.astype(np.float64)) for at, k in enumerate(ks)},
            interval(mean, 2 * (1 + every) / (2 + every + partners), np.ones(len(self))),
        )

    def average_precision(self) -> Interval | None:
        """Average precision of the pairs, with its interval from 200 draws: each draw is ranked anew."""
        value = self.pairs.average_precision()
        if value is None:
            return None
        low, high = np.quantile(self._resampled_average_precision(200), [0.025, 0.975])
        return Interval(value, min(float(low), value), max(float(high), value))

    def _resampled_average_precision(self, draws: int) -> Values:
        pairs = self.pairs
        values = []
        for weights in self.resamples.row_weights(draws):
            weight = weights[pairs.owner]
            total = float(weights @ pairs.possible)
            if total:
                accepted, right = np.cumsum(weight), np.cumsum(weight * pairs.hits)
                values.append(float((weight * pairs.hits * right / np.maximum(accepted, 1)).sum() / total))
        return np.array(values)


def sides_of(pool: Pool, near: Neighbours, *, seed: int = 0) -> dict[str, Side]:
    """The judged sides of a pool, scored by the nodes' lists ``near``."""
    edges = cache(lambda: row_edges(pool.matcher.nodes, near))
    return {side: Side(pool.judge(side, near), edges, seed=seed) for side in pool.judged}
