"""Regrouping: the whole catalogue clustered anew, under the ids that its clusters have, and as people want it.

What people tied together is one cluster, what they kept apart is not, whatever the probabilities; the rest is average
linkage (``index.cohesion``). What moves is entered in the trail piece by piece, and what people touch meanwhile is left
to them.

It knows a base, its judged pairs, ties and the trail. It does not know when the time for it has come.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from index.catalog import Catalog
from index.clustering import Edges, Ids
from index.cohesion import cohesion, cohesive_clusters
from index.joining import WHO
from index.naming import kept_names, pieces
from index.scene import JudgedPairs, Progress
from index.snapshot import Base
from index.ties import Ties, ties_of

_PAGE = 10_000
_PIECE = 1_000  # items moved in one transaction: writers wait for no longer
_UNSURE = np.float32(1 - 2**-20)  # what a probability can reach; only what people say is 1


@dataclass(frozen=True)
class Stand:
    """Which items stand on which nodes.

    Attributes:
        ids: of the items.
        node_of: the node of each, int64.
        texts: a raw title of each node.
    """

    ids: Sequence[str]
    node_of: Ids
    texts: Sequence[str]

    @classmethod
    def of(cls, base: Base) -> Stand:
        """The items of a base."""
        return cls(base.ids, base.scene.nodes.node_of, base.scene.nodes.texts)

    @cached_property
    def place(self) -> dict[str, int]:
        """The number of each item."""
        return {id: item for item, id in enumerate(self.ids)}

    @cached_property
    def members(self) -> list[list[int]]:
        """The items of each node."""
        members: list[list[int]] = [[] for _ in self.texts]
        for item, node in enumerate(self.node_of.tolist()):
            members[node].append(item)
        return members


@dataclass(frozen=True)
class Parts:
    """The parts of nodes that are clustered, and what holds between them.

    Attributes:
        of_item: the part of each item, int64.
        node: the node of each part, int64.
        edges: pairs of parts, scored by probability; 1 for those that people tied.
        apart: pairs that never share a cluster.
    """

    of_item: Ids
    node: Ids
    edges: Edges
    apart: tuple[Ids, Ids]


def regroup(
    catalog: Catalog, base: Base, pairs: JudgedPairs, threshold: float, progress: Progress | None = None
) -> int:
    """Cluster the items of a base anew, and enter in the trail what moves.

    Args:
        catalog: the store; items that went or have other titles since the base are passed over.
        base: what is clustered.
        pairs: its pairs, judged.
        threshold: the least mean probability that joins.
        progress: told of "regroup" between the pieces that move; what it raises ends it there, with clusters whole.

    Returns:
        How many items moved.
    """
    with catalog.snapshot():
        ties = ties_of(catalog)
        old = standing(catalog, base)
        last = [event.id for event in catalog.clusters.events(limit=1)]
    parts, found = grouped(Stand.of(base), pairs, ties, threshold)
    at = np.array([item for item, id in enumerate(base.ids) if id in old], np.int64)
    ids = [base.ids[item] for item in at.tolist()]
    clusters = found[parts.of_item[at]]
    new = dict(zip(ids, kept_names([old[id] for id in ids], clusters, catalog.clusters.fresh), strict=True))
    moved, total = 0, sum(old[id] != name for id, name in new.items())
    for piece in pieces(old, new, _PIECE):
        if progress:
            progress("regroup", moved, total)
        moved += _enter(catalog, piece, old, new, max(last, default=0))
    names = dict(zip(clusters.tolist(), new.values(), strict=True))
    told = cohesion(found, parts.edges)
    catalog.clusters.rate({names[one.cluster]: one.probability for one in told if one.cluster in names})
    return moved


def grouped(stand: Stand, pairs: JudgedPairs, ties: Ties, threshold: float) -> tuple[Parts, Ids]:
    """The parts of nodes, and the cluster of each, int64; arguments as in ``regroup``."""
    parts = parts_of(stand, pairs, ties)
    texts = (stand.texts[node] for node in parts.node.tolist())
    keys = np.fromiter(zip(texts, range(len(parts.node)), strict=True), object, len(parts.node))
    return parts, cohesive_clusters(len(parts.node), parts.edges, threshold, apart=parts.apart, keys=keys)


def parts_of(stand: Stand, pairs: JudgedPairs, ties: Ties) -> Parts:
    """What is clustered: nodes, but for twins that people kept apart, and with what people tied."""
    part_of, node_of = stand.node_of.copy(), list(range(len(stand.texts)))
    tied = {id for group in (*ties.together, *ties.apart) for id in group if id in stand.place}
    nodes = sorted({int(part_of[stand.place[id]]) for id in tied})
    ties = ties.with_twins([stand.ids[item] for item in stand.members[node]] for node in nodes)
    places = defaultdict[int, list[int]](list)
    for node in nodes:
        parts: dict[str, int] = {}
        for item in stand.members[node]:
            part = parts.setdefault(ties.partners(stand.ids[item])[0], len(node_of) if parts else node)
            if part == len(node_of):
                node_of.append(node)
                places[node].append(part)
            part_of[item] = part
    edges = _spread(pairs.edges, places)
    apart = _spread(Edges(*pairs.apart, np.zeros(len(pairs.apart[0]), np.float32)), places)
    return Parts(
        part_of, np.array(node_of, np.int64), *_with_ties(edges, apart, ties, stand.place, part_of, len(node_of))
    )


def _spread(edges: Edges, places: Mapping[int, Sequence[int]]) -> Edges:
    """The edges, and again between the further parts of the nodes that fell apart."""
    if not places:
        return edges
    broken = np.flatnonzero(np.isin(edges.left, [*places]) | np.isin(edges.right, [*places]))
    more: list[tuple[int, int]] = []
    source: list[int] = []
    for at in broken.tolist():
        a, b = int(edges.left[at]), int(edges.right[at])
        ends = [(one, other) for one in (a, *places.get(a, ())) for other in (b, *places.get(b, ()))][1:]
        more += ends
        source += [at] * len(ends)
    left, right = np.array(more, np.int64).reshape(-1, 2).T
    scores = np.concatenate([edges.scores, edges.scores[np.array(source, np.int64)]])
    return Edges(np.concatenate([edges.left, left]), np.concatenate([edges.right, right]), scores)


def _with_ties(
    edges: Edges, apart: Edges, ties: Ties, items: Mapping[str, int], part_of: Ids, parts: int
) -> tuple[Edges, tuple[Ids, Ids]]:
    """The pairs as people want them: those they tied are sure and nothing speaks against them, whatever did."""
    tied: set[tuple[int, int]] = set()
    for group in ties.together:
        some = sorted({int(part_of[items[id]]) for id in group if id in items})
        tied.update(combinations(some, 2))
    foes: set[tuple[int, int]] = set()
    for one, other in ties.apart:
        ends = [{int(part_of[items[id]]) for id in ties.partners(end) if id in items} for end in (one, other)]
        foes.update((min(a, b), max(a, b)) for a in ends[0] for b in ends[1] if a != b)
    sure = np.array(sorted(tied), np.int64).reshape(-1, 2)
    known = _codes(sure[:, 0], sure[:, 1], parts)
    kept = ~np.isin(_codes(edges.left, edges.right, parts), known)
    scores = np.minimum(edges.scores[kept], _UNSURE)
    edges = Edges(
        np.concatenate([edges.left[kept], sure[:, 0]]), np.concatenate([edges.right[kept], sure[:, 1]]),
        np.concatenate([scores, np.ones(len(sure), np.float32)]),
    )  # fmt: skip
    holds = ~np.isin(_codes(apart.left, apart.right, parts), known)
    rivals = np.array(sorted(foes), np.int64).reshape(-1, 2)
    left, right = np.concatenate([apart.left[holds], rivals[:, 0]]), np.concatenate([apart.right[holds], rivals[:, 1]])
    return edges, (left, right)


def _codes(left: Ids, right: Ids, parts: int) -> npt.NDArray[np.int64]:
    return np.minimum(left, right) * parts + np.maximum(left, right)


def standing(catalog: Catalog, base: Base) -> dict[str, str | None]:
    """The cluster of each item of a base that is there still, by the title it had."""
    standing: dict[str, str | None] = {}
    cursor: str | None = None
    while True:
        page = catalog.page(cursor, _PAGE)
        for item in page.items:
            at = base.place.get(item.id)
            if at is not None and base.titles[at] == item.title:
                standing[item.id] = item.cluster
        cursor = page.next_cursor
        if cursor is None:
            return standing


def _enter(
    catalog: Catalog, piece: Mapping[str, str], old: Mapping[str, str | None], new: Mapping[str, str], last: int
) -> int:
    """Move a piece, but for what was moved meanwhile and the clusters that people touched; how many items moved."""
    with catalog.transaction():
        touched = set(_touched(catalog, last))
        to: dict[str, str | None] = {}
        for id, after in piece.items():
            item = catalog.get(id)
            if item is not None and item.cluster == old[id] and not {after, old[id]} & touched:
                to[id] = after
        to.update(_followers(catalog, to, old, new))
        return catalog.clusters.move(to, "rebuild", WHO).moved if to else 0


def _touched(catalog: Catalog, last: int) -> Iterator[str]:
    """The clusters that people moved items out of or into after an event."""
    before: int | None = None
    while page := catalog.clusters.events(before, _PAGE):
        for event in page:
            if event.id <= last:
                return
            if event.by_hand:
                moves = catalog.clusters.moves(event.id)
                yield from (id for move in moves for id in (move.before, move.after) if id is not None)
        before = page[-1].id


def _followers(
    catalog: Catalog, to: Mapping[str, str | None], old: Mapping[str, str | None], new: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Items that joined a cluster since the base, where it has given up its id: they go where most of it went."""
    went = defaultdict[str, Counter[str]](Counter)
    for id, after in to.items():
        if (before := old[id]) is not None and after is not None:
            went[before][after] += 1
    for before, counts in went.items():
        items = catalog.page(None, _PAGE, cluster=before).items
        if all(item.id in to or item.id not in new for item in items):
            goal = min(counts, key=lambda one: (-counts[one], one))
            yield from ((item.id, goal) for item in items if item.id not in to)
