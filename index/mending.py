"""Mending: what hangs together with nodes that came is clustered anew at once, as a clustering of everything would.

One new title may weld two clusters or tear one, because linkage takes the best pairs first. Clusters stay within a
component of probable pairs, so that the components that the news reach are all that can change. Ids are kept as when
everything is clustered anew, and what people want goes before all.

It knows the web of judged pairs, ties and the trail. It does not know when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack

import numpy as np

from index.catalog import Catalog
from index.clustering import Edges, Ids
from index.cohesion import cohesion
from index.joining import WHO
from index.naming import kept_names
from index.regrouping import Stand, grouped
from index.scene import LEAST, JudgedPairs
from index.snapshot import Snapshot
from index.ties import Ties
from index.web import Web

_TRIES = 3  # the last one keeps writers waiting
_NEW = "\0"  # begins the names of clusters that have no id yet
MOST = 20_000
"""Nodes that are clustered anew at once; what is larger waits for the next base."""


def mend(catalog: Catalog, snapshot: Snapshot, web: Web, nodes: Collection[int], ties: Callable[[], Ties]) -> int:
    """Cluster anew what hangs together with some nodes; it is worked out beside writers, and entered at once.

    Args:
        catalog: the store.
        snapshot: where items stand, of a revision that need not be the last.
        web: that has taken up the snapshot.
        nodes: whose pairs have changed.
        ties: what people have said.

    Returns:
        How many items moved; those that stand in no cluster yet are left to ``index.joining``.
    """
    tries = _TRIES if nodes else 0
    for left in reversed(range(tries)):
        with ExitStack() as held:
            held.enter_context(catalog.snapshot() if left else catalog.transaction())
            region = _Region(catalog, snapshot, web, ties())
            if not region.reach(nodes) or not region.regroup():
                return 0
            if not left:
                return region.enter()
        with catalog.transaction():
            if region.stands():
                return region.enter()
    return 0


class _Region:
    """Nodes that no probable pair, no tie and no cluster leads out of."""

    def __init__(self, catalog: Catalog, snapshot: Snapshot, web: Web, ties: Ties) -> None:
        self._clusters, self._snapshot, self._web, self._ties = catalog.clusters, snapshot, web, ties
        self._threshold = snapshot.cluster_threshold
        self._nodes: set[int] = set()
        self._items: dict[str, tuple[str, str | None]] = {}
        self._to: dict[str, str] = {}
        self._rates: dict[str, float] = {}

    def reach(self, nodes: Iterable[int]) -> bool:
        """Take in all that hangs together with some nodes; whether there is any, and not too much."""
        come = self._joined(set(nodes))
        while come and len(self._nodes) <= MOST:
            ids = [id for node in come for id in self._snapshot.items(node) if id not in self._items]
            here = self._clusters.places(ids)
            stand = {cluster for _, cluster in here.values() if cluster is not None}
            beside = self._clusters.members(sorted(stand))
            tied = {one for id in here for one in self._ties.partners(id)} - beside.keys()
            self._items |= here | beside
            come = self._joined({self._snapshot.node(id) for id in (beside.keys() - here.keys()) | tied})
        return bool(self._nodes) and not come

    def _joined(self, nodes: set[int]) -> set[int]:
        """Take in nodes, and all that probable pairs lead to; those that are new."""
        dead, limit, come = self._snapshot.dead, np.float32(self._threshold), set[int]()
        while nodes := {node for node in nodes - self._nodes if node >= 0 and not dead[node]}:
            self._nodes |= nodes
            come |= nodes
            _, others, probabilities, _ = self._web.around(np.fromiter(nodes, np.int64, len(nodes)))
            nodes = set(others[probabilities >= limit].tolist())
        return come

    def regroup(self) -> bool:
        """Cluster it anew; whether an item moves by that."""
        numbers = np.array(sorted(self._nodes), np.int64)
        stand = self._stand(numbers)
        parts, found = grouped(stand, self._pairs(numbers), self._ties, self._threshold)
        standing = [at for at, id in enumerate(stand.ids) if self._cluster(id) is not None]
        old, new = [self._cluster(stand.ids[at]) for at in standing], found[parts.of_item[standing]]
        names = kept_names(old, new, lambda count: [f"{_NEW}{place}" for place in range(count)])
        self._to = {stand.ids[at]: name for at, name, was in zip(standing, names, old, strict=True) if name != was}
        named = dict(zip(new.tolist(), names, strict=True))
        rated = {named[one.cluster]: one.probability for one in cohesion(found, parts.edges) if one.cluster in named}
        touched = {*self._to.values(), *(self._cluster(id) for id in self._to)}
        self._rates = {name: rate for name, rate in rated.items() if name in touched}
        return bool(self._to)

    def stands(self) -> bool:
        """Whether its items still stand where they did when it was reached, and no others with them."""
        here = {cluster for _, cluster in self._items.values() if cluster is not None}
        now = self._clusters.places([*self._items]) | self._clusters.members(sorted(here))
        return now == self._items

    def enter(self) -> int:
        """Enter in the trail what moves; how many items do."""
        new = [*dict.fromkeys(name for name in self._to.values() if name.startswith(_NEW))]
        ids = dict(zip(new, self._clusters.fresh(len(new)), strict=True))
        moved = self._clusters.move({id: ids.get(name, name) for id, name in self._to.items()}, "rebuild", WHO).moved
        self._clusters.rate({ids.get(name, name): rate for name, rate in self._rates.items()})
        return moved

    def _cluster(self, id: str) -> str | None:
        """Where an item stands, if it has the title by which it is known here."""
        title, cluster = self._items.get(id, ("", None))
        return cluster if title == self._snapshot.title(id) else None

    def _stand(self, numbers: Ids) -> Stand:
        members = [self._snapshot.items(node) for node in numbers.tolist()]
        ids = [id for some in members for id in some]
        node_of = np.repeat(np.arange(len(members)), [len(some) for some in members])
        return Stand(ids, node_of, [self._snapshot.text(node) for node in numbers.tolist()])

    def _pairs(self, numbers: Ids) -> JudgedPairs:
        """The judged pairs within, by places in ``numbers``."""
        left, other, probabilities, apart = self._web.around(numbers)
        right = np.searchsorted(numbers, other).clip(max=len(numbers) - 1)
        once = (numbers[right] == other) & (left < right)
        kept, against = once & (probabilities >= LEAST), once & apart
        edges = Edges(left[kept], right[kept], probabilities[kept])
        return JudgedPairs(edges, np.ones(len(numbers)), (left[against], right[against]))
