"""The web: the judged pairs of a base, kept as a base made anew would have them while nodes come beside it.

Where a new node stands, its neighbours' crowds get thicker and their vectors blend with its own. So all pairs of nodes
that have it in their lists are judged once more, by those lists as they are now. What differs from a new base are the
weights of words, what further stages of blending would carry on, and what came into the lists for what is gone.

It knows snapshots and their numbers of nodes. It does not know items, clusters or what changes by a pair.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.blending import blend_once, rescore
from index.clustering import Ids, connected_components
from index.crowd import DEPTH, Crowd
from index.evidence import FLOOR, NEAR, SURE, Side, standing
from index.fresh import merged, without
from index.scene import JudgedPairs, readable
from index.snapshot import Base, Snapshot
from index.vectors import Neighbours, Vectors
from index.wording import Numbers

_WIDER = 4  # times as many others are searched for those that have a new node in their lists as stand in its own
Flags = npt.NDArray[np.bool_]
Beside = dict[int, tuple[float, bool]]
"""Of other nodes the probability that they are one product with a node, and whether they contradict it."""


@dataclass(frozen=True)
class _Near:
    """Some nodes as a new base would have them.

    Attributes:
        nodes: sorted, int64; every other number here is a place among them.
        lists: their nearest others, with numbers of nodes.
        side: a side of pairs of them, but for its wording, which is nobody's.
    """

    nodes: Ids
    lists: Neighbours
    side: Side


class Web:
    """The judged pairs of a base and of what came since. One thread keeps it and asks it."""

    def __init__(self, base: Base, pairs: JudgedPairs, threshold: float) -> None:
        """Start with the pairs of a base, as ``Scene.judge`` told them, and the least probability that joins."""
        self.base = base
        self._nodes = len(base.scene.nodes.texts)
        self._dead = np.zeros(self._nodes, bool)
        edges = base.scene.candidates()
        two = np.flatnonzero(edges.left != edges.right)
        left, right = edges.left[two], edges.right[two]
        self._codes = left * self._nodes + right  # ascending
        self._probability, self._apart = np.zeros(len(two), np.float32), np.zeros(len(two), bool)
        places, known = self._at(pairs.edges.left, pairs.edges.right)
        self._probability[places[known]] = pairs.edges.scores[known]
        places, known = self._at(*pairs.apart)
        self._apart[places[known]] = True
        ends = np.concatenate([left, right])
        order = np.argsort(ends, kind="stable")
        self._others = np.concatenate([right, left])[order]
        self._pair = np.concatenate([np.arange(len(two))] * 2)[order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=self._nodes))])
        self._beside: dict[int, Beside] = defaultdict(dict)
        # Components of the pairs that are or were probable enough to join: what changes between two is without effect.
        self._limit = np.float32(threshold)
        self._root: list[int] = connected_components(self._nodes, pairs.edges.over(threshold)).tolist()
        self._came: dict[int, list[tuple[int, float]]] = defaultdict(list)  # nodes of the base, and who is near them

    def take_up(self, snapshot: Snapshot) -> Ids:
        """Judge the pairs that nodes which came or went since the last time change.

        Returns:
            The nodes of those pairs, and the nodes that came, as far as any of it could change a cluster.
        """
        new, touched = self._come(snapshot)
        dead = snapshot.dead.copy()
        turned = np.flatnonzero(dead != np.concatenate([self._dead, np.zeros(len(new), bool)]))
        self._dead = dead
        if not len(new) and not len(turned):
            return new
        _, others, probabilities, _ = self.around(turned)
        left = others[probabilities >= self._limit]
        back = turned[~dead[turned]]
        changed = self._judge(snapshot, np.unique(np.concatenate([touched, others, back, new])))
        return np.unique(np.concatenate([new, changed, back, left]))

    def _come(self, snapshot: Snapshot) -> tuple[Ids, Ids]:
        """The nodes that came since the last time, and those that have one of them in their lists."""
        base, fresh, blend = snapshot.base.scene, snapshot.fresh, snapshot.decision.blend
        first = len(self._root)
        new = np.arange(first, self._nodes + len(fresh))
        if not len(new):
            return new, new
        self._root += new.tolist()
        vectors = fresh.side.vectors[new - self._nodes]
        found = base.index.search(vectors, _WIDER * blend.k)
        row, column = np.nonzero((found.ids >= 0) & readable(vectors)[:, None])
        near, cosines = found.ids[row, column], found.scores[row, column]
        seen = (cosines > base.side.crowd.scores[near, DEPTH - 1]) | (cosines >= blend.threshold)
        told = new[row[seen]].tolist(), near[seen].tolist(), cosines[seen].tolist()
        for node, other, cosine in zip(*told, strict=True):
            self._came[other].append((node, cosine))
        older = np.flatnonzero((fresh.lists.ids[: first - self._nodes] >= first).any(axis=1)) + self._nodes
        return new, np.concatenate([near[seen], older])

    def around(self, nodes: Ids) -> tuple[Ids, Ids, Numbers, Flags]:
        """What the given nodes are pairs with.

        Returns:
            Of each pair the place in ``nodes``, the other node, the probability that they are one product, and whether
            they contradict each other.
        """
        inside = np.flatnonzero(nodes < self._nodes)
        starts, counts = self._starts[nodes[inside]], self._starts[nodes[inside] + 1] - self._starts[nodes[inside]]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        here = np.repeat(starts, counts) + within
        pairs = self._pair[here]
        told = [
            (at, other, probability, apart) for at, node in enumerate(nodes.tolist())
            for other, (probability, apart) in self._beside.get(node, {}).items()
        ]  # fmt: skip
        at, others, probabilities, apart = zip(*told, strict=True) if told else ((), (), (), ())
        return (
            np.concatenate([np.repeat(inside, counts), np.array(at, np.int64)]),
            np.concatenate([self._others[here], np.array(others, np.int64)]),
            np.concatenate([self._probability[pairs], np.array(probabilities, np.float32)]),
            np.concatenate([self._apart[pairs], np.array(apart, bool)]),
        )

    def _at(self, left: Ids, right: Ids) -> tuple[Ids, Flags]:
        """The places of pairs of the base, and which of them are candidates."""
        codes = np.minimum(left, right) * self._nodes + np.maximum(left, right)
        places = np.searchsorted(self._codes, codes)
        known = places < len(self._codes)
        known[known] = self._codes[places[known]] == codes[known]
        return places, known

    def _judge(self, snapshot: Snapshot, nodes: Ids) -> Ids:
        """Judge the pairs of some nodes; the nodes of those that are others now than before."""
        at, other = snapshot.ways(nodes)
        if not len(at):
            return at
        ends = np.unique(np.stack([np.minimum(nodes[at], other), np.maximum(nodes[at], other)], axis=1), axis=0)
        left, right = ends[:, 0], ends[:, 1]
        near = self._near(snapshot, np.unique(ends))
        one, two = np.searchsorted(near.nodes, left), np.searchsorted(near.nodes, right)
        where = standing(near.side, one, near.side, two)
        evidence = np.concatenate([where, wording_of(snapshot, left, right)], axis=1)
        cosines = where[:, 0]
        ranks = np.minimum(near.side.crowd.ranks(one, cosines), near.side.crowd.ranks(two, cosines))
        seen = (cosines >= FLOOR) & ((ranks < NEAR) | (cosines >= SURE))
        probabilities = np.where(seen, snapshot.decision.probability(evidence), 0).astype(np.float32)
        apart = seen & snapshot.decision.contradictions(evidence)
        changed = np.zeros(len(left), bool)
        within = right < self._nodes
        places, _ = self._at(left[within], right[within])
        before = self._probability[places], self._apart[places]
        self._probability[places], self._apart[places] = probabilities[within], apart[within]
        changed[within] = (before[0] != probabilities[within]) | (before[1] != apart[within])
        for row in np.flatnonzero(~within).tolist():
            a, b, told = int(left[row]), int(right[row]), (float(probabilities[row]), bool(apart[row]))
            changed[row] = self._beside[a].get(b) != told
            self._beside[a][b] = self._beside[b][a] = told
        for a, b in ends[probabilities >= self._limit].tolist():
            self._root[self._rooted(a)] = self._rooted(b)
        changed[changed] = [self._rooted(a) == self._rooted(b) for a, b in ends[changed].tolist()]
        return np.unique(ends[changed])

    def _rooted(self, node: int) -> int:
        root = self._root
        while root[node] != node:
            root[node] = node = root[root[node]]
        return node

    def _near(self, snapshot: Snapshot, nodes: Ids) -> _Near:
        """Nodes, sorted, by their lists as they are now."""
        lists = self._lists(snapshot, nodes)
        vectors = _vectors(snapshot, nodes, 0)
        crowd = Crowd.of(lists, nodes)
        nearest = np.searchsorted(nodes, crowd.nearest).clip(max=len(nodes) - 1)
        nearest = np.where(nodes[nearest] == crowd.nearest, nearest, -1)
        blended = self._blended(snapshot, nodes, vectors, lists)
        side = Side(vectors, blended, Crowd(nearest, crowd.scores), snapshot.base.scene.side.wording)
        return _Near(nodes, lists, side)

    def _lists(self, snapshot: Snapshot, nodes: Ids) -> Neighbours:
        scene, fresh, k = snapshot.base.scene, snapshot.fresh, snapshot.decision.blend.k
        base = nodes[nodes < self._nodes]
        stage = scene.blended.stages[0]
        near = scene.blended.neighbours
        older = rescore(stage[base], stage, Neighbours(near.ids[base], near.scores[base]))
        came = [self._came.get(node, ()) for node in base.tolist()]
        width = max(map(len, came), default=0)
        ids, scores = np.full((len(came), width), -1, np.int64), np.full((len(came), width), -np.inf, np.float32)
        for at, some in enumerate(came):
            ids[at, : len(some)], scores[at, : len(some)] = [one[0] for one in some], [one[1] for one in some]
        inside = merged(older, Neighbours(ids, scores), k)
        rows = nodes[len(base) :] - self._nodes
        beside = Neighbours(fresh.lists.ids[rows], fresh.lists.scores[rows])
        beside.ids[:, k - 1 :] = -1  # in a base, the row itself would stand in its list
        ids, scores = np.concatenate([inside.ids, beside.ids]), np.concatenate([inside.scores, beside.scores])
        return without(Neighbours(ids, scores), snapshot.dead)

    def _blended(self, snapshot: Snapshot, nodes: Ids, vectors: Vectors, lists: Neighbours) -> Vectors:
        blend = snapshot.decision.blend
        every = np.unique(np.concatenate([nodes, lists.ids[lists.ids >= 0]]))
        own = np.searchsorted(every, nodes)
        near = Neighbours(np.where(lists.ids >= 0, np.searchsorted(every, lists.ids), -1), lists.scores)
        for stage in range(blend.stages):
            around = _vectors(snapshot, every, stage)
            around[own] = vectors
            vectors = blend_once(vectors, around, near, blend, own)
            if stage + 1 < blend.stages:
                around = _vectors(snapshot, every, stage + 1)
                around[own] = vectors
                near = rescore(vectors, around, near)
        return vectors


def wording_of(snapshot: Snapshot, left: Ids, right: Ids) -> Numbers:
    """What the titles of pairs of nodes share and where they differ, the left number the smaller one."""
    base, fresh, start = snapshot.base.scene.side.wording, snapshot.fresh.side.wording, snapshot.fresh.start
    kinds = (left >= start).astype(np.int64) + (right >= start)
    places = [np.flatnonzero(kinds == kind) for kind in range(3)]
    inside, across, beside = places
    found = [
        base.compare(left[inside], right[inside], base),
        fresh.compare(right[across] - start, left[across], base),
        fresh.compare(left[beside] - start, right[beside] - start, fresh),
    ]
    back = np.empty((len(left), found[0].shape[1]), np.float32)
    for place, some in zip(places, found, strict=True):
        back[place] = some
    return back


def _vectors(snapshot: Snapshot, nodes: Ids, stage: int) -> Vectors:
    """Vectors of nodes, sorted, after a stage; a new array."""
    stages, fresh = snapshot.base.scene.blended.stages, snapshot.fresh
    split = int(np.searchsorted(nodes, fresh.start))
    beside = fresh.side.blended if stage else fresh.side.vectors
    return np.concatenate([stages[stage][nodes[:split]], beside[nodes[split:] - fresh.start]])
