"""Clusters that hang together, from the probabilities of candidate pairs; and which of them hang together least.

Connected components chain: one false edge welds two products. Here two clusters become one only while the pairs
between them are probable on average, so that one edge against many unlikely pairs does not count.

The method is average linkage (Sokal and Michener 1958), greedily: every node starts alone, and the two clusters of the
highest average are joined as long as it reaches the threshold. A pair that is no candidate counts as ``absent``.
In a large product that would count lists that were full as evidence: a node with ``reach`` or more candidates at the
threshold is crowded, and of the pairs of two crowded nodes only a tenth is expected. So the average runs over the pairs
that are expected, or over the candidates where those are more; without crowded nodes this is plain average linkage.

It knows node numbers and probabilities. It does not know titles, how a probability was found, or why two nodes must
stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, nsmallest
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from index.clustering import Edges, Ids, connected_components

REACH = 49
"""Others that a neighbour list holds: one fewer than its k, which counts the node itself."""
SHARE = 0.1
"""Of the pairs between crowded nodes that are expected: lists of 49 hold as much of a product of 500."""
_UNIT = 2.0**30  # probabilities in whole numbers of 1 / _UNIT: sums are exact, and equal averages come out equal


def cohesive_clusters(
    nodes: int,
    edges: Edges,
    threshold: float,
    *,
    apart: tuple[Ids, Ids] | None = None,
    absent: float = 0.0,
    reach: int = REACH,
    keys: npt.NDArray[Any] | None = None,
) -> Ids:
    """The cluster of each node by average linkage, named by its smallest node: int64, shape (nodes,).

    The order of ``edges`` does not matter. Of equal averages the smallest nodes go first, in the order of ``keys``:
    with keys from the nodes' content, the numbering of nodes does not matter either. A higher threshold mostly splits
    clusters, but need not: greedy joins may take another way.

    Args:
        nodes: how many; they are numbered from 0.
        edges: candidate pairs, each once, in any order, scored by probabilities. Those below ``threshold`` count too;
            one that is left out counts as ``absent``.
        threshold: the lowest average that joins; over ``absent``, at most 1.
        apart: pairs of nodes that never share a cluster, not even through others; they need not be candidates.
        absent: probability of a pair that is no candidate, at least 0.
        reach: candidates at the threshold that make a node crowded, at least 1.
        keys: one per node, sortable; by default its number, which also orders equal keys.

    Raises:
        InputError: one of them out of range, a pair that stands twice, or a node apart from itself.
    """
    limit = float(np.float32(threshold))  # scores are float32, and 0.9 means here what it means in Edges.over
    if not 0 <= absent < limit <= 1:
        raise InputError(f"threshold is {threshold}, absent {absent}; expected 0 <= absent < threshold <= 1")
    if reach < 1:
        raise InputError(f"reach is {reach}; expected at least 1")
    order = np.arange(nodes) if keys is None else np.argsort(keys, kind="stable")
    if len(order) != nodes:
        raise InputError(f"{len(order)} keys for {nodes} nodes; expected as many")
    clusters = _joined(nodes, _pairs(edges, apart, order), limit, absent, reach)
    names = np.full(nodes, nodes, np.int64)
    np.minimum.at(names, clusters, order)
    named = np.empty(nodes, np.int64)
    named[order] = names[clusters]
    return named


def _joined(nodes: int, pairs: Edges, limit: float, absent: float, reach: int) -> Ids:
    """The clusters of sorted pairs; a component in which every pair reaches the limit is one without further ado."""
    # No average is over the best of its pairs, so a cluster stays within a component of the strong ones.
    strong = pairs.over(limit)
    clusters = connected_components(nodes, strong)
    crowded = np.bincount(np.concatenate([strong.left, strong.right]), minlength=nodes) >= reach
    loose = ~_complete(clusters, strong)[clusters]
    open_ = loose[pairs.left] & (clusters[pairs.left] == clusters[pairs.right])
    number, members = np.cumsum(loose) - 1, np.flatnonzero(loose)
    within = Edges(number[pairs.left[open_]], number[pairs.right[open_]], pairs.scores[open_])
    linkage = _Linkage(crowded[members], within, limit, absent)
    linkage.run()
    clusters[members] = members[linkage.clusters()]
    return clusters


class _Linkage:
    """Clusters of a graph that are joined in twos, the best average first.

    ``_links[a][b]`` and ``_links[b][a]`` are the place in ``_total`` and ``_known`` where the pairs between clusters a
    and b are summed and counted. A pair that must stay apart makes the sum minus infinity, whatever is added to it.

    The heap holds every linked two whose average reaches the limit, at an average that was theirs once and is no
    lower now: where a cluster grows by nodes without a candidate pair to the other, more pairs are absent, and absent
    pairs are below the limit. So a join offers the smaller side's links anew, and the rest when they come up.
    """

    def __init__(self, crowded: npt.NDArray[np.bool_], pairs: Edges, limit: float, absent: float) -> None:
        nodes = len(crowded)
        self._limit, self._absent = limit, absent
        self._size, self._crowded = [1] * nodes, crowded.astype(int).tolist()
        self._first, self._parent = list(range(nodes)), list(range(nodes))
        self._total: list[float] = (np.round(pairs.scores.astype(np.float64) * _UNIT) / _UNIT).tolist()
        self._known = [1] * len(pairs)
        self._links: list[dict[int, int]] = [{} for _ in range(nodes)]
        self._heap: list[tuple[float, int, int, int, int]] = []
        for link, (a, b) in enumerate(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)):
            self._links[a][b] = self._links[b][a] = link
            if self._total[link] >= limit:
                self._heap.append((-self._total[link], a, b, a, b))
        heapify(self._heap)

    def run(self) -> None:
        """Join until no average reaches the limit."""
        heap, links, limit, first = self._heap, self._links, self._limit, self._first
        while heap:
            worth, _, _, a, b = heappop(heap)
            link = links[a].get(b)
            if link is None:
                continue
            average = self._average(link, a, b)
            if average == -worth:
                self._join(a, b)
            elif average >= limit:
                heappush(heap, (-average, min(first[a], first[b]), max(first[a], first[b]), a, b))

    def clusters(self) -> Ids:
        """The cluster of each node, named by its smallest node."""
        parent = np.array(self._parent, np.int64)
        while not np.array_equal(jumped := parent[parent], parent):
            parent = jumped
        return np.array(self._first, np.int64)[parent]

    def _average(self, link: int, a: int, b: int) -> float:
        expected = self._size[a] * self._size[b] - (1 - SHARE) * self._crowded[a] * self._crowded[b]
        total, known = self._total[link], self._known[link]
        return total / known if known >= expected else (total + self._absent * (expected - known)) / expected

    def _join(self, a: int, b: int) -> None:
        links, total, known, first = self._links, self._total, self._known, self._first
        if len(links[a]) < len(links[b]):
            a, b = b, a
        own, gone = links[a], links[b]
        del own[b], gone[a]
        self._parent[b], links[b] = a, {}
        self._size[a] += self._size[b]
        self._crowded[a] += self._crowded[b]
        first[a] = min(first[a], first[b])
        for other, link in gone.items():
            theirs = links[other]
            del theirs[b]
            kept = own.get(other)
            if kept is None:
                own[other] = theirs[a] = kept = link
            else:
                total[kept] += total[link]
                known[kept] += known[link]
            average = self._average(kept, a, other)
            if average >= self._limit:
                pair = (first[a], first[other]) if first[a] < first[other] else (first[other], first[a])
                heappush(self._heap, (-average, *pair, a, other))


def _pairs(edges: Edges, apart: tuple[Ids, Ids] | None, order: Ids) -> Edges:
    """Checked pairs of places in ``order``, sorted, each once; a pair that must stay apart has minus infinity.

    Raises:
        InputError: see ``cohesive_clusters``.
    """
    wrong = np.flatnonzero(~((edges.scores >= 0) & (edges.scores <= 1)))
    if len(wrong):
        raise InputError(f"edge {wrong[0]} has score {edges.scores[wrong[0]]}; expected a probability from 0 to 1")
    foes = apart or (order[:0], order[:0])
    _check_nodes(len(order), edges.left, edges.right, "edge")
    _check_nodes(len(order), *foes, "pair to keep apart")
    rank = np.argsort(order)
    ends = rank[np.stack([np.concatenate([edges.left, foes[0]]), np.concatenate([edges.right, foes[1]])])]
    left, right = ends.min(axis=0), ends.max(axis=0)
    scores = np.concatenate([edges.scores, np.full(len(foes[0]), -np.inf, np.float32)])
    sorted_ = np.lexsort((scores, right, left))
    left, right, scores = left[sorted_], right[sorted_], scores[sorted_]
    again = np.zeros(len(left), bool)
    again[1:] = (left[1:] == left[:-1]) & (right[1:] == right[:-1])
    twice = np.flatnonzero(again[1:] & (scores[:-1] >= 0))
    if len(twice):
        a, b = sorted(order[[left[twice[0]], right[twice[0]]]].tolist())
        raise InputError(f"the edge between {a} and {b} stands twice; expected each pair once")
    return Edges(left[~again], right[~again], scores[~again])


def _complete(component: Ids, strong: Edges) -> npt.NDArray[np.bool_]:
    """Whether every pair of a component is strong, by the component's name: then it is one cluster."""
    size = np.bincount(component, minlength=len(component))
    joined = np.bincount(component[strong.left], minlength=len(component))
    return np.asarray(2 * joined == size * (size - 1))


def _check_nodes(nodes: int, left: Ids, right: Ids, what: str) -> None:
    """See that every pair is of two different nodes.

    Raises:
        InputError: one is not, or there are more of one side.
    """
    if len(left) != len(right):
        raise InputError(f"{what}: {len(left)} nodes on the left, {len(right)} on the right; expected as many")
    wrong = np.flatnonzero((np.minimum(left, right) < 0) | (np.maximum(left, right) >= nodes) | (left == right))
    if len(wrong):
        a, b = left[wrong[0]], right[wrong[0]]
        raise InputError(
            f"{what} {wrong[0]} is between {a} and {b}; expected two different nodes from 0 to {nodes - 1}"
        )


@dataclass(frozen=True)
class Cluster:
    """How well one cluster hangs together.

    Attributes:
        cluster: its name.
        size: its nodes, at least 2.
        probability: mean over its pairs.
        weakest: the node with the lowest mean probability to the others, the smallest of equals.
        support: that mean.
    """

    cluster: int
    size: int
    probability: float
    weakest: int
    support: float


def cohesion(clusters: Ids, edges: Edges, *, absent: float = 0.0, reach: int = REACH) -> list[Cluster]:
    """How well each cluster of two or more nodes hangs together, in the order of their names.

    Means are taken as in ``cohesive_clusters``; here a node is crowded with ``reach`` candidates in its own cluster.

    Args:
        clusters: the cluster of each node, int64, shape (nodes,).
        edges, absent, reach: as there.

    Raises:
        InputError: an edge is no pair of these nodes, stands twice, or has no probability.
    """
    nodes = len(clusters)
    pairs = _pairs(edges, None, np.arange(nodes))
    inside = clusters[pairs.left] == clusters[pairs.right]
    ends = np.concatenate([pairs.left[inside], pairs.right[inside]])
    total = np.bincount(ends, np.tile(pairs.scores[inside].astype(np.float64), 2), nodes)
    known = np.bincount(ends, minlength=nodes)
    names, cluster_of, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    crowded = known >= reach
    crowd = np.bincount(cluster_of, crowded, len(names))[cluster_of]
    expected = sizes[cluster_of] - 1 - (1 - SHARE) * crowded * (crowd - 1)
    missing = np.maximum(expected - known, 0)
    given = total + absent * missing
    support = given / np.maximum(known + missing, 1)
    mean = np.bincount(cluster_of, given) / np.maximum(np.bincount(cluster_of, known + missing), 1)
    weakest = np.lexsort((support, cluster_of))[np.cumsum(sizes) - sizes]
    columns = (names, sizes, mean, weakest, support[weakest])
    return [Cluster(*row) for row in zip(*(column[sizes > 1].tolist() for column in columns), strict=True)]


def largest(clusters: Sequence[Cluster], n: int) -> list[Cluster]:
    """The n clusters of most nodes; of equal ones the looser first."""
    return nsmallest(n, clusters, key=lambda one: (-one.size, one.probability, one.cluster))


def loosest(clusters: Sequence[Cluster], n: int) -> list[Cluster]:
    """The n clusters of the lowest mean probability; of equal ones the larger first."""
    return nsmallest(n, clusters, key=lambda one: (one.probability, -one.size, one.cluster))
