"""A close look at clusters: how well items fit one another, what they share, what stands near, what might be merged.

It knows a living catalogue and probabilities of pairs. It does not know how a cluster is shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from api.service import Service
from index.listings import Item
from index.reasons import reason, words
from index.snapshot import Snapshot
from index.trail import Cluster

_ITEMS = 300  # of a cluster that are looked at
_NODES = 80  # whose pairs are weighed, each with each
_NEAR = 6  # clusters that stand near
_LEAST = 0.02  # probability from which a cluster counts as near
_COMMON = 0.8  # of the titles must hold a word that all are said to share
_EVENTS, _MEMBERS = 100, 10  # proposals, and items of a cluster that an item is held against
_ODD = 0.5  # of the fit of the others: less is odd


@dataclass(frozen=True)
class Fit:
    """An item in its cluster.

    Attributes:
        item: as the catalogue has it.
        fit: mean probability of being one product with the other titles; None where it cannot be weighed.
        reason: for and against being one product with the item in the middle; "" for that one itself.
        odd: whether it fits much worse than the others do.
    """

    item: Item
    fit: float | None
    reason: str
    odd: bool


@dataclass(frozen=True)
class Pair:
    """Two items, and how probably they are one product."""

    left: Item
    right: Item
    probability: float
    reason: str


@dataclass(frozen=True)
class Near:
    """A cluster that stands near: its item that is nearest, the item here that it is near to, and why it is apart."""

    cluster: str
    size: int
    pair: Pair


@dataclass(frozen=True)
class Look:
    """A cluster, closely.

    Attributes:
        cluster: its id, size and cohesion.
        rows: its items, the one in the middle first, then those that fit best.
        common: words that most titles share.
        weakest: the least probable pair of different titles; None where there is none.
        near: other clusters, nearest first.
        more: items that were not looked at.
    """

    cluster: Cluster
    rows: list[Fit]
    common: list[str]
    weakest: Pair | None
    near: list[Near]
    more: int


def look_at(service: Service, id: str) -> Look | None:
    """Look at a cluster; None where no item stands in it."""
    catalog, snapshot = service.catalog, service.living.snapshot
    with catalog.snapshot():
        cluster = catalog.clusters.get(id)
        if cluster is None:
            return None
        items = catalog.page(None, _ITEMS, cluster=id).items
        weighed = _Weighed(snapshot, items)
        near = _near(service, snapshot, weighed, id)
    middle = weighed.middle
    rows = [
        Fit(item, fit, "" if item is middle or middle is None else reason(middle.title, item.title), weighed.odd(fit))
        for item, fit in ((item, weighed.fit(item)) for item in items)
    ]
    rows.sort(key=lambda row: (row.item is not middle, row.fit is None, -(row.fit or 0.0), row.item.id))
    return Look(cluster, rows, _common(items), weighed.weakest(), near, cluster.size - len(items))


class _Weighed:
    """The pairs of a cluster's titles, weighed each with each."""

    def __init__(self, snapshot: Snapshot, items: list[Item]) -> None:
        self._at = {item.id: snapshot.node(item.id) for item in items}
        self.item_of: dict[int, Item] = {}
        for item in items:
            if (node := self._at[item.id]) >= 0 and len(self.item_of) < _NODES:
                self.item_of.setdefault(node, item)
        self.nodes = list(self.item_of)
        pairs = np.array(list(combinations(range(len(self.nodes)), 2)), np.int64).reshape(-1, 2)
        self._matrix = np.eye(len(self.nodes))
        if len(pairs):
            ends = np.array(self.nodes, np.int64)[pairs]
            found = snapshot.decision.probability(snapshot.between(ends[:, 0], ends[:, 1]))
            self._matrix[pairs[:, 0], pairs[:, 1]] = self._matrix[pairs[:, 1], pairs[:, 0]] = found
        others = max(1, len(self.nodes) - 1)
        self._fits = dict(zip(self.nodes, ((self._matrix.sum(axis=1) - 1) / others).tolist(), strict=True))

    @property
    def middle(self) -> Item | None:
        """The item that fits the others best."""
        return self.item_of[max(self._fits, key=lambda node: self._fits[node])] if self._fits else None

    def fit(self, item: Item) -> float | None:
        """How well an item fits the others; None alone, or where it was not weighed."""
        return self._fits.get(self._at[item.id]) if len(self.nodes) > 1 else None

    def odd(self, fit: float | None) -> bool:
        """Whether that is much worse than is usual here."""
        return fit is not None and len(self.nodes) > 2 and fit < _ODD * float(np.median(list(self._fits.values())))

    def weakest(self) -> Pair | None:
        """The pair that holds together worst."""
        if len(self.nodes) < 2:
            return None
        apart = self._matrix + np.eye(len(self.nodes))
        one, other = np.unravel_index(int(apart.argmin()), apart.shape)
        return pair_of(self.item_of[self.nodes[one]], self.item_of[self.nodes[other]], float(apart[one, other]))


def pair_of(left: Item, right: Item, probability: float) -> Pair:
    """A pair, with the reasons for and against it."""
    return Pair(left, right, probability, reason(left.title, right.title))


def judged_pair(service: Service, left: str, right: str) -> Pair | None:
    """Two items, and how probable it is now that they are one product; None where one of them cannot be searched."""
    snapshot = service.living.snapshot
    items = [service.catalog.get(id) for id in (left, right)]
    one, other = (snapshot.node(id) for id in (left, right))
    if items[0] is None or items[1] is None or min(one, other) < 0:
        return None
    if one == other:
        return pair_of(items[0], items[1], 1.0)
    (found,) = snapshot.decision.probability(snapshot.between(np.array([one]), np.array([other]))).tolist()
    return pair_of(items[0], items[1], float(found))


@dataclass(frozen=True)
class Proposal:
    """A merge that was proposed: its entry in the trail, the clusters, and the pair of items that stands for it."""

    event: int
    at: float
    clusters: tuple[Cluster, Cluster]
    pair: Pair


def waiting_proposals(service: Service) -> list[Proposal]:
    """The last merges that were proposed and can still be made; a pair that somebody has judged waits no more."""
    catalog, found = service.catalog, dict[tuple[str, ...], Proposal]()
    for event in catalog.clusters.events(limit=_EVENTS, kind="propose"):
        clusters = [
            one for id in event.detail.get("clusters", ()) if (one := catalog.clusters.get(str(id))) is not None
        ]
        names = tuple(sorted(one.id for one in clusters))
        item = catalog.get(str(event.detail.get("item")))
        if len(clusters) != 2 or names in found or item is None or item.cluster not in names:
            continue
        other = clusters[0] if clusters[1].id == item.cluster else clusters[1]
        members = catalog.page(None, _MEMBERS, cluster=other.id).items
        pairs = [pair for one in members if (pair := judged_pair(service, item.id, one.id)) is not None]
        best = max(pairs, key=lambda pair: pair.probability, default=None)
        if best is not None and catalog.labels.get(best.left.id, best.right.id) is None:
            found[names] = Proposal(event.id, event.at, (clusters[0], clusters[1]), best)
    return list(found.values())


def _near(service: Service, snapshot: Snapshot, weighed: _Weighed, id: str) -> list[Near]:
    if not weighed.nodes:
        return []
    catalog, nodes = service.catalog, np.array(weighed.nodes, np.int64)
    at, others, probabilities, _ = snapshot.around(nodes)
    found: dict[str, Near] = {}
    for place in np.argsort(-probabilities, kind="stable").tolist():
        if probabilities[place] < _LEAST or len(found) >= _NEAR:
            break
        if int(others[place]) in weighed.item_of:
            continue
        item = next(iter(map(catalog.get, snapshot.items(int(others[place])))), None)
        if item is None or item.cluster in (None, id, *found):
            continue
        cluster = catalog.clusters.get(str(item.cluster))
        if cluster:
            here = weighed.item_of[int(nodes[at[place]])]
            found[cluster.id] = Near(cluster.id, cluster.size, pair_of(here, item, float(probabilities[place])))
    return list(found.values())


def _common(items: list[Item]) -> list[str]:
    counts = Counter(word for item in items for word in words(item.title))
    return [word for word, count in counts.most_common(12) if count >= _COMMON * len(items) and len(items) > 1]
