"""Comparing: what would change if another model took over, on the labels that there are and on the clusters that stand.

Labels tell which model is right more often. What a model has learnt from speaks for it, so that only labels given since
it was learnt are a fair test. Pairs of items that share a cluster tell how much would move.

It knows snapshots, judged pairs and labels. It does not know how a model is put to work.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index.catalog import Catalog
from index.clustering import Ids
from index.ledger import Label
from index.naming import kept_names
from index.regrouping import Stand, grouped, standing
from index.scene import JudgedPairs
from index.snapshot import Base, Snapshot
from index.ties import Ties, ties_of

_PAGE = 1_000
_PAIRS = 1 << 14  # judged at once
SHOWN = 20
"""Clusters that change, and items of each kind in them, that a comparison tells of at most."""


@dataclass(frozen=True)
class Agreement:
    """How a model judges pairs of items that people have labelled.

    Attributes:
        found, wrong, missed: pairs that it calls one product rightly and wrongly, and those of one product that it
            does not.
        right: pairs of two products that it calls so.
    """

    found: int
    wrong: int
    missed: int
    right: int

    @property
    def precision(self) -> float | None:
        """Of the pairs that it calls one product, the share that is; None where it calls none so."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Of the pairs of one product, the share that it finds; None where there are none."""
        return self.found / (self.found + self.missed) if self.found + self.missed else None


@dataclass(frozen=True)
class Changed:
    """A cluster that would be another one: ids of items that stay, leave and come."""

    cluster: str
    stay: tuple[str, ...]
    leave: tuple[str, ...]
    come: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What would change.

    Attributes:
        labels: pairs of items that are labelled "same" or "different", and that both models know.
        old, new: how each judges them.
        items: that both know.
        old_clusters, new_clusters: that they stand in, and would.
        old_pairs, new_pairs, both_pairs: of items that share a cluster, would, and do and would.
        changed: the clusters that would change most, largest change first, ``SHOWN`` at most.
    """

    labels: int
    old: Agreement
    new: Agreement
    items: int
    old_clusters: int
    new_clusters: int
    old_pairs: int
    new_pairs: int
    both_pairs: int
    changed: tuple[Changed, ...]

    @property
    def kept_share(self) -> float:
        """The share of pairs that share a cluster before or after which do so both times; 1 where there are none."""
        either = self.old_pairs + self.new_pairs - self.both_pairs
        return self.both_pairs / either if either else 1.0


def compare(catalog: Catalog, old: Snapshot, new: Snapshot, pairs: JudgedPairs) -> Comparison:
    """Hold the model that works against another one.

    Args:
        catalog: the store, whose clusters are the old model's.
        old, new: the catalogue as each model has it.
        pairs: the judged pairs of the new one's base.
    """
    labels = [label for label in _labels(catalog) if _known(label, old) and _known(label, new)]
    with catalog.snapshot():
        ties, places = ties_of(catalog), standing(catalog, new.base)
    before = {id: cluster for id, cluster in places.items() if cluster is not None}
    after = _after(new.base, pairs, ties, before, new.cluster_threshold)
    old_sizes, new_sizes = Counter(before.values()), Counter(after.values())
    both_sizes = Counter((before[id], after[id]) for id in before)
    return Comparison(
        len(labels), agreement(old, labels), agreement(new, labels), len(before), len(old_sizes), len(new_sizes),
        _pairs_of(old_sizes.values()), _pairs_of(new_sizes.values()), _pairs_of(both_sizes.values()),
        _changed(before, after),
    )  # fmt: skip


def agreement(snapshot: Snapshot, labels: Sequence[Label]) -> Agreement:
    """How the model of a snapshot judges labelled pairs of its items, by its decision's threshold."""
    one = np.array([snapshot.node(label.left) for label in labels], np.int64)
    other = np.array([snapshot.node(label.right) for label in labels], np.int64)
    said = one == other
    for start in range(0, len(labels), _PAIRS):
        block = slice(start, start + _PAIRS)
        probabilities = snapshot.decision.probability(snapshot.between(one[block], other[block]))
        said[block] |= probabilities >= snapshot.decision.threshold
    same = np.array([label.verdict == "same" for label in labels], bool)
    return Agreement(*(int(some.sum()) for some in (same & said, ~same & said, same & ~said, ~same & ~said)))


def _after(base: Base, pairs: JudgedPairs, ties: Ties, before: Mapping[str, str], threshold: float) -> dict[str, str]:
    """The cluster that each item would stand in, under the name that it would keep."""
    parts, found = grouped(Stand.of(base), pairs, ties, threshold)
    clusters: Ids = found[parts.of_item[np.array([base.place[id] for id in before], np.int64)]]
    names = kept_names([*before.values()], clusters, lambda count: [f"new {place}" for place in range(1, count + 1)])
    return dict(zip(before, names, strict=True))


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Changed, ...]:
    stay, leave, come = (defaultdict[str, list[str]](list) for _ in range(3))
    for id, cluster in before.items():
        if cluster == after[id]:
            stay[cluster].append(id)
        else:
            leave[cluster].append(id)
            come[after[id]].append(id)
    # As many pairs change as those that moved have with those that stayed, or nearly so.
    moved = {
        one: (len(leave[one]) + len(come[one])) * (1 + len(stay[one])) for one in {*leave, *come} & {*before.values()}
    }
    most = sorted(moved, key=lambda one: (-moved[one], one))[:SHOWN]
    return tuple(Changed(one, *(tuple(some.get(one, ())[:SHOWN]) for some in (stay, leave, come))) for one in most)


def _labels(catalog: Catalog) -> Iterator[Label]:
    cursor: str | None = None
    while True:
        labels, cursor = catalog.labels.page(cursor, _PAGE)
        yield from (label for label in labels if label.of == "items" and label.verdict != "skip")
        if cursor is None:
            return


def _known(label: Label, snapshot: Snapshot) -> bool:
    return snapshot.node(label.left) >= 0 and snapshot.node(label.right) >= 0


def _pairs_of(sizes: Iterable[int]) -> int:
    return sum(size * (size - 1) // 2 for size in sizes)
