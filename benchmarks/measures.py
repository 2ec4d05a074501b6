"""Measures of one side of a labelled set: curves over all thresholds, and every score at one of them with intervals.

Lists are scored by probability, and by cosine where a part is measured by itself. It ties `training.evaluate` (the
measures) to `benchmarks.bootstrap` (how sure they are). It does not know models, titles, nor which threshold is the
right one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

import numpy as np

from benchmarks.bootstrap import Interval, Resamples, Values
from benchmarks.labelled import Rows
from benchmarks.pools import Judged, Pool
from index.clustering import lists_of
from index.nodes import row_edges
from training.evaluate import (
    Curve,
    Pairs,
    PerRow,
    bcubed,
    bcubed_curve,
    bcubed_rows,
    found_at,
    pairs_of,
    row_curve,
    row_scores,
)

CLUSTER_GRID = (*np.arange(5, 100, 5) / 100, 0.98, 0.99)
"""Thresholds at which clusters are made and measured."""
PRECISIONS = (0.90, 0.95, 0.98, 0.99)
KS = (1, 2, 5, 10, 20, 50)
_Part = TypeVar("_Part")
_WIDTH = 100  # candidates of a node that connect it to others in the curve of components


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


def difference(mine: Values, theirs: Values, count: Values) -> Values:
    """The difference of two means over the same rows, from their sums."""
    return (mine - theirs) / count


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
        threshold: accepted is what scores at least this; None for what the decision accepts where none is named.
        row_f1, row_precision, row_recall: mean over judged rows, the row itself counted.
        exact: share of judged rows whose matches are all their partners and nothing else.
        pair_f1, pair_precision, pair_recall: over distinct pairs.
        bcubed_f1, bcubed_precision, bcubed_recall: of the clusters that the threshold makes of the whole pool.
        right, wrong: accepted pairs that are one product, and that are not; a pair that either row accepts is.
        unscored: true pairs that search found and that are not accepted.
        unfound: true pairs that search did not find.
        largest_cluster: rows of the largest cluster with a judged row in it.
    """

    threshold: float | None
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
        searched: the same rows' lists as search brought them; those of ``judged`` by default.
        accepted: what the decision accepts of ``judged`` where no threshold is named, scored 1; None where there is no
            decision.
        clusters: makes those of the whole pool at a threshold, or at the decision's own for None.
        components: makes the curve of connected components, when it is asked for.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        judged: Judged,
        *,
        searched: Judged | None = None,
        accepted: Judged | None = None,
        clusters: Callable[[float | None], Rows] | None = None,
        components: Callable[[], Curve] | None = None,
        seed: int = 0,
    ) -> None:
        self.judged = judged
        self.searched = searched or judged
        self._accepted, self._clusters, self._components, self._seed = accepted, clusters, components, seed

    def __len__(self) -> int:
        return len(self.judged.rows)

    @cached_property
    def row_curve(self) -> Curve:
        """Row-F1 over all thresholds."""
        return row_curve(self.judged.neighbours, self.judged.labels, self.judged.rows)

    @cached_property
    def pairs(self) -> Pairs:
        """Candidate pairs."""
        return _pairs(self.judged)

    @cached_property
    def accepted(self) -> Pairs:
        """The pairs that the decision accepts where no threshold is named, scored 1."""
        return _pairs(_needed(self._accepted, "decision"))

    @cached_property
    def found(self) -> Pairs:
        """The pairs that search brought, scored by its cosines."""
        return _pairs(self.searched)

    @cached_property
    def pair_curve(self) -> Curve:
        """Pair precision and recall over all thresholds."""
        return self.pairs.curve()

    @cached_property
    def bcubed_curve(self) -> Curve:
        """B-cubed scores of the clusters at the thresholds of ``CLUSTER_GRID``, the highest first."""
        told = [bcubed(self.clusters(t), self.judged.labels, self.judged.rows) for t in CLUSTER_GRID[::-1]]
        return Curve(
            np.array(CLUSTER_GRID[::-1], np.float32), np.array([one.f1 for one in told]),
            np.array([one.precision for one in told]), np.array([one.recall for one in told]),
        )  # fmt: skip

    @cached_property
    def components_curve(self) -> Curve:
        """B-cubed scores of connected components over all thresholds: what chaining costs."""
        return _needed(self._components, "components")()

    @cached_property
    def resamples(self) -> Resamples:
        """Draws of the judged products."""
        return Resamples(self.judged.labels[self.judged.rows], seed=self._seed)

    @property
    def has_pairs(self) -> bool:
        """Whether there is a true pair to find; without one no threshold can be chosen."""
        return len(self) > 0 and int(self.pairs.possible.sum()) > 0

    @property
    def best_clusters(self) -> tuple[float, float]:
        """The threshold of ``CLUSTER_GRID`` with the best B-cubed F1, and that F1; of equals the highest."""
        at = self.bcubed_curve.best
        return CLUSTER_GRID[::-1][at], float(self.bcubed_curve.f1[at])

    def clusters(self, threshold: float | None) -> Rows:
        """The cluster of each row of the pool; None is the decision's own threshold."""
        return _needed(self._clusters, "clusters")(threshold)

    def rows(self, threshold: float | None) -> PerRow:
        """Every judged row at a threshold; None is what the decision accepts where none is named."""
        judged, at = (self.judged, threshold) if threshold is not None else (_needed(self._accepted, "decision"), 0.5)
        return row_scores(judged.neighbours, judged.labels, judged.rows, at)

    def mean_row_f1(self, threshold: float | None) -> Interval | None:
        """Row-F1 with its interval."""
        return self.resamples.interval(mean, self.rows(threshold).f1, np.ones(len(self)))

    def gain(self, threshold: float | None, other: Values) -> Interval | None:
        """Row-F1 less that of the same rows elsewhere, with the interval of the difference."""
        return self.resamples.interval(difference, self.rows(threshold).f1, other, np.ones(len(self)))

    def pair_counts(self, threshold: float | None) -> tuple[Values, Values, Values]:
        """Right, accepted and possible pairs of each judged row; a threshold as in ``rows``."""
        return self.accepted.counts(0.5) if threshold is None else self.pairs.counts(threshold)

    def scores(self, threshold: float | None) -> Scores:
        """Every measure at one threshold; None is all that the decision does where none is named."""
        interval, ones = self.resamples.interval, np.ones(len(self))
        rows = self.rows(threshold)
        right, accepted, possible = self.pair_counts(threshold)
        clusters = self.clusters(threshold)
        precision, recall = bcubed_rows(clusters, self.judged.labels, self.judged.rows)
        found, made = self._true_pairs_found(), int(right.sum())
        return Scores(
            threshold=threshold,
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

    def _true_pairs_found(self) -> int:
        """True pairs that search brought: in a judged row's list, or in that of its unjudged other."""
        n = len(self.judged.labels)
        both = [one.left[one.hits] * n + one.right[one.hits] for one in (self.pairs, self.found)]
        return len(np.union1d(*both))

    def search(self, ks: Sequence[int] = KS) -> Search:
        """What search found, before anything was judged."""
        near = self.searched
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


def _pairs(judged: Judged) -> Pairs:
    return pairs_of(judged.neighbours, judged.labels, judged.rows)


def _needed(part: _Part | None, name: str) -> _Part:
    if part is None:
        raise ValueError(f"a side without {name} was asked for them")
    return part


def sides_of(pool: Pool, *, seed: int = 0) -> dict[str, Side]:
    """The judged sides of a pool, as its decision sees them."""
    nodes = pool.matcher.nodes
    edges = cache(lambda: row_edges(nodes, lists_of(len(nodes.texts), pool.matcher.pairs.edges, _WIDTH)))
    sides = {}
    for side, rows in pool.judged.items():
        judged = pool.decide(side)

        def components(rows: Rows = rows) -> Curve:
            return bcubed_curve(edges(), pool.labels, rows)

        sides[side] = Side(
            judged, searched=pool.judge(side, pool.searched), accepted=pool.accept(judged), clusters=pool.clusters,
            components=components, seed=seed,
        )  # fmt: skip
    return sides
