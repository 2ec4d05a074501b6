"""Joining: where items that come find their cluster, one after the other, between two clusterings of everything.

An item joins the cluster whose members are the same product with the highest mean probability, by the average linkage
of ``index.cohesion``; it founds one where no mean is high enough, and proposes a merge where several are. Twins by
cleaned title stand together. What people have tied or kept apart goes before all that.

It knows snapshots, the trail and ties. It does not know how probabilities are found, nor when it is called.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from index.catalog import Catalog
from index.cohesion import REACH, SHARE
from index.snapshot import Snapshot
from index.ties import Ties

WHO = "dongil"
"""Who did it, in the trail, where nobody did."""
_PAGE = 10_000
_Candidate = tuple[int, float, bool]  # a node, the probability that it is the same product, whether it contradicts


@dataclass(frozen=True)
class Placed:
    """How many items joined a cluster, founded one, and how many merges that proposes."""

    joined: int = 0
    founded: int = 0
    proposed: int = 0


def place(catalog: Catalog, snapshot: Snapshot, ids: Sequence[str], ties: Ties, *, again: Iterable[str] = ()) -> Placed:
    """Put items into clusters, in their order, in one transaction.

    Args:
        catalog: the store.
        snapshot: where the items stand, of a revision that need not be the last.
        ids: items; those that the snapshot does not hold, or that stand in a cluster already, are passed over.
        ties: what people have said.
        again: items of other titles than before: they leave their clusters where these fit no longer.
    """
    again = set(again)
    held = [id for id in dict.fromkeys((*ids, *again)) if snapshot.node(id) >= 0]
    nodes = sorted({snapshot.node(id) for id in held})
    candidates = _candidates(snapshot, nodes)
    with catalog.transaction():
        clusters = _Clusters(catalog, snapshot, ties)
        done: Counter[str] = Counter()
        for id in held:
            item = catalog.get(id)
            if item is not None and item.title == snapshot.title(id) and (item.cluster is None or id in again):
                done.update(clusters.settle(id, item.cluster, candidates[snapshot.node(id)]))
    return Placed(done["join"], done["found"], done["propose"])


def _candidates(snapshot: Snapshot, nodes: Sequence[int]) -> dict[int, list[_Candidate]]:
    at, near, probabilities, apart = snapshot.around(np.array(nodes, np.int64))
    found: dict[int, list[_Candidate]] = {node: [] for node in nodes}
    for place, *candidate in zip(at.tolist(), near.tolist(), probabilities.tolist(), apart.tolist(), strict=True):
        found[nodes[place]].append((candidate[0], candidate[1], candidate[2]))
    return found


@dataclass
class _Members:
    """Who stands in a cluster: items, and how many of them stand on each node."""

    items: set[str] = field(default_factory=set)
    nodes: Counter[int] = field(default_factory=Counter)


class _Clusters:
    """The clusters as they stand within one transaction, read once and kept as items are settled."""

    def __init__(self, catalog: Catalog, snapshot: Snapshot, ties: Ties) -> None:
        self._catalog, self._snapshot, self._ties = catalog, snapshot, ties
        self._threshold = snapshot.cluster_threshold
        self._of: dict[str, str | None] = {}
        self._members: dict[str, _Members] = {}
        self._proposed: set[frozenset[str]] = set()

    def settle(self, id: str, before: str | None, candidates: Sequence[_Candidate]) -> Iterator[str]:
        """Find an item its cluster, and tell of what kind each entry of the trail is that this makes."""
        node, move = self._snapshot.node(id), self._catalog.clusters.move
        if before is not None:
            self._take(id, node, before)
        options = self._told(id) or self._twins(id, node) or self._likely(id, candidates)
        if options:
            after = options[0][0]
            kind = "join"
        else:
            alone = before is not None and not self._cluster(before).items
            after = before if before is not None and alone else self._catalog.clusters.fresh()[0]
            kind = "found"
        self._put(id, node, after)
        if after == before:
            return
        detail = {"probability": round(options[0][1], 4)} if options else {}
        move({id: after}, "join" if kind == "join" else "found", WHO, detail=detail)
        yield kind
        for other, probability in options[1:]:
            pair = frozenset((after, other))
            if pair not in self._proposed and self._may_meet(after, other):
                self._proposed.add(pair)
                told = {"clusters": [after, other], "item": id, "probability": round(probability, 4)}
                move({}, "propose", WHO, detail=told)
                yield "propose"

    def _told(self, id: str) -> list[tuple[str, float]]:
        """The cluster of the items that people tied this one to."""
        return self._commonest(one for one in self._ties.partners(id) if one != id)

    def _twins(self, id: str, node: int) -> list[tuple[str, float]]:
        """The cluster of the items of the same cleaned title."""
        foes = self._ties.foes(id)
        twins = [one for one in self._snapshot.items(node) if one != id]
        return self._commonest(one for one in twins if (at := self._where(one)) and not foes & self._cluster(at).items)

    def _commonest(self, items: Iterable[str]) -> list[tuple[str, float]]:
        clusters = Counter(cluster for one in items if (cluster := self._where(one)) is not None)
        return [(min(clusters, key=lambda one: (-clusters[one], one)), 1.0)] if clusters else []

    def _likely(self, id: str, candidates: Sequence[_Candidate]) -> list[tuple[str, float]]:
        """Clusters whose mean probability is high enough, the highest first."""
        total, known, against = defaultdict[str, float](float), Counter[str](), set[str]()
        for near, probability, apart in candidates:
            for cluster in {self._where(one) for one in self._snapshot.items(near)} - {None}:
                total[str(cluster)] += probability
                known[str(cluster)] += 1
                against.update({str(cluster)} if apart else ())
        base, foes = self._snapshot.base, self._ties.foes(id)
        crowded = sum(probability >= self._threshold for _, probability, _ in candidates) >= REACH
        options = []
        for cluster in total.keys() - against:
            members = self._cluster(cluster)
            crowd = sum(base.crowded[node] for node in members.nodes if node < len(base.crowded)) if crowded else 0
            mean = total[cluster] / max(known[cluster], len(members.nodes) - (1 - SHARE) * crowd)
            if mean >= self._threshold and not foes & members.items:
                options.append((cluster, mean))
        return sorted(options, key=lambda one: (-one[1], one[0]))

    def _may_meet(self, one: str, other: str) -> bool:
        theirs = self._cluster(other).items
        return not any(self._ties.foes(item) & theirs for item in self._cluster(one).items)

    def _where(self, id: str) -> str | None:
        if id not in self._of:
            item = self._catalog.get(id)
            self._of[id] = None if item is None else item.cluster
        return self._of[id]

    def _cluster(self, cluster: str) -> _Members:
        if cluster not in self._members:
            members, cursor = _Members(), None
            while True:
                page = self._catalog.page(cursor, _PAGE, cluster=cluster)
                members.items.update(item.id for item in page.items)
                cursor = page.next_cursor
                if cursor is None:
                    break
            nodes = (self._snapshot.node(id) for id in members.items)
            members.nodes.update(node for node in nodes if node >= 0)
            self._members[cluster] = members
        return self._members[cluster]

    def _take(self, id: str, node: int, cluster: str) -> None:
        members = self._cluster(cluster)
        members.items.discard(id)
        members.nodes -= Counter([node])
        self._of[id] = None

    def _put(self, id: str, node: int, cluster: str) -> None:
        members = self._cluster(cluster)
        if id not in members.items:
            members.items.add(id)
            members.nodes[node] += 1
        self._of[id] = cluster
