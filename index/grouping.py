"""Grouping: the items of a catalogue in clusters, and which clusters deserve a look.

Items of one node stand together, unless some of them may not. Where a seller lists a product once only, two equal
titles of one seller are two products: the node falls into parts that hold each seller once, and no two parts that
share a seller come together, not even through others.

It knows nodes, probabilities of pairs and a value of each item. It does not know what a title or a value means, nor
how a pair was judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.errors import InputError
from index.clustering import Edges, Ids, connected_components
from index.cohesion import Cluster, cohesion, cohesive_clusters, largest, loosest
from index.nodes import Nodes
from index.scene import JudgedPairs

Pairs = tuple[Ids, Ids]


@dataclass(frozen=True)
class Group:
    """A cluster of several titles, as a person looks at it.

    Attributes:
        name: its ``cluster_id``.
        titles: different ones in it.
        probability: mean over its pairs of titles.
        weakest: number of an item whose title is the least like the others.
        support: mean probability of that title's pairs.
    """

    name: str
    titles: int
    probability: float
    weakest: int
    support: float


@dataclass(frozen=True)
class Grouping:
    """What ``group_items`` found.

    Attributes:
        names: the cluster of each item: the smallest id of the items in it.
        clusters: those of several titles, by the numbers of their parts.
        first: of each part the item of the smallest id.
    """

    names: list[str]
    clusters: list[Cluster]
    first: Ids

    def largest(self, n: int) -> list[Group]:
        """The n clusters of most titles."""
        return [self._told(one) for one in largest(self.clusters, n)]

    def loosest(self, n: int) -> list[Group]:
        """The n clusters that hang together least."""
        return [self._told(one) for one in loosest(self.clusters, n)]

    def _told(self, one: Cluster) -> Group:
        name, weakest = self.names[int(self.first[one.cluster])], int(self.first[one.weakest])
        return Group(name, one.size, one.probability, weakest, one.support)


@dataclass(frozen=True)
class _Parts:
    """The parts of nodes, numbered node by node.

    Attributes:
        of_item: part of each item.
        node: node of each part.
        starts, counts: first part of each node, and how many it has.
    """

    of_item: Ids
    node: Ids
    starts: Ids
    counts: Ids

    @classmethod
    def of(cls, nodes: Nodes, values: Ids, by_id: Ids) -> _Parts:
        """Deal items to parts: of each value the first item, in the order of ids, to the first part, and so on."""
        place = np.zeros(len(values), np.int64)
        place[by_id] = np.where(values[by_id] >= 0, _places(nodes.node_of[by_id], values[by_id]), 0)
        counts = np.ones(len(nodes.texts), np.int64)
        np.maximum.at(counts, nodes.node_of, place + 1)
        starts = np.cumsum(counts) - counts
        return cls(starts[nodes.node_of] + place, np.repeat(np.arange(len(counts)), counts), starts, counts)

    def spread(self, left: Ids, right: Ids) -> tuple[Ids, Pairs]:
        """Pairs of parts from pairs of nodes: every part of the one with every part of the other; and whose each is."""
        sizes = self.counts[left] * self.counts[right]
        pair = np.repeat(np.arange(len(left)), sizes)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        wide = self.counts[right[pair]]
        return pair, (self.starts[left[pair]] + within // wide, self.starts[right[pair]] + within % wide)


def group_items(
    nodes: Nodes, pairs: JudgedPairs, ids: Sequence[str], threshold: float, one_per: Sequence[str] | None = None
) -> Grouping:
    """Cluster items by average linkage of their nodes; see ``index.cohesion``.

    Args:
        nodes: of the catalogue.
        pairs: of nodes, judged.
        ids: of the items, unique.
        threshold: the least mean probability that joins, above 0.
        one_per: a value of each item, such as its seller: items of one value never share a cluster. Blank where it is
            not known.

    Raises:
        InputError: the threshold is no probability, or 0; another number of values than items.
    """
    if one_per is not None and len(one_per) != len(ids):
        raise InputError(f"{len(one_per)} values for {len(ids)} items; expected as many")
    by_id = np.argsort(np.array(ids, object), kind="stable")
    values = np.full(len(ids), -1, np.int64) if one_per is None else _codes(one_per)
    parts = _Parts.of(nodes, values, by_id)
    pair, (left, right) = parts.spread(pairs.edges.left, pairs.edges.right)
    edges = Edges(left, right, pairs.edges.scores[pair])
    apart = parts.spread(*pairs.apart)[1]
    if one_per is not None:
        rivals = _rivals(edges, parts, values, threshold)
        apart = np.concatenate([apart[0], rivals[0]]), np.concatenate([apart[1], rivals[1]])
    place = np.arange(len(parts.node)) - parts.starts[parts.node]
    texts = (nodes.texts[node] for node in parts.node.tolist())
    keys = np.fromiter(zip(texts, place.tolist(), strict=True), object, len(place))
    clusters = cohesive_clusters(len(place), edges, threshold, apart=apart, keys=keys)
    first = np.empty(len(place), np.int64)
    first[parts.of_item[by_id[::-1]]] = by_id[::-1]
    named: dict[int, str] = {}
    for item in by_id.tolist():
        named.setdefault(int(clusters[parts.of_item[item]]), ids[item])
    names = [named[cluster] for cluster in clusters[parts.of_item].tolist()]
    return Grouping(names, cohesion(clusters, edges), first)


def _codes(values: Sequence[str]) -> Ids:
    """A number for each value, -1 for a blank one."""
    known: dict[str, int] = {"": -1}
    return np.array([known.setdefault(value.strip(), len(known) - 1) for value in values], np.int64)


def _places(first: Ids, second: Ids) -> Ids:
    """How many entries before each have the same two numbers."""
    order = np.lexsort((second, first))
    a, b = first[order], second[order]
    new = np.ones(len(order), bool)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    run = np.flatnonzero(new)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.repeat(run, np.diff(run, append=len(order)))
    return places


def _rivals(edges: Edges, parts: _Parts, values: Ids, threshold: float) -> Pairs:
    """The pairs of parts that share a value, of those that linkage could bring together."""
    nodes = len(parts.node)
    many = int(values.max(initial=0)) + 1
    held = np.unique(parts.of_item[values >= 0] * many + values[values >= 0])
    part, value = held // many, held % many
    # What shares a value is no way from one part to another, and no cluster leaves what is connected.
    sizes = np.bincount(part, minlength=nodes)
    starts = np.cumsum(sizes) - sizes
    asked = np.repeat(np.arange(len(edges)), sizes[edges.left])
    within = np.arange(len(asked)) - np.repeat(np.cumsum(sizes[edges.left]) - sizes[edges.left], sizes[edges.left])
    shared = np.isin(edges.right[asked] * many + value[starts[edges.left[asked]] + within], held)
    free = np.ones(len(edges), bool)
    free[asked[shared]] = False
    open_ = Edges(edges.left[free], edges.right[free], edges.scores[free])
    component = connected_components(nodes, open_.over(threshold))[part]
    order = np.lexsort((part, component, value))
    part, place = part[order], _places(value[order], component[order])
    _, group, size = np.unique(value[order] * nodes + component[order], return_inverse=True, return_counts=True)
    later = size[group] - 1 - place
    left = np.repeat(np.arange(len(part)), later)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(later) - later, later)
    return np.concatenate([edges.left[~free], part[left]]), np.concatenate([edges.right[~free], part[right]])
