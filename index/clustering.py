"""Clusters: a pure function of nodes, scored edges and a threshold.

It knows nothing of titles, vectors or how an edge came by its score. The same graph gives the same clusters whatever
the order of its edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.vectors import Neighbours

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """Undirected pairs, each once: ``left < right``, ordered by left then right; all arrays of one length.

    Attributes:
        left, right: node numbers, int64.
        scores: float32, higher is better.
    """

    left: Ids
    right: Ids
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left)

    def over(self, threshold: float) -> Edges:
        """The edges whose score is at least ``threshold``."""
        keep = self.scores >= threshold
        return Edges(self.left[keep], self.right[keep], self.scores[keep])


def edges_of(neighbours: Neighbours, floor: float = -1.0) -> Edges:
    """The edges that neighbour lists of a catalogue with itself hold, at or above ``floor``.

    A pair that stands in both lists is one edge with the higher of its two scores.
    """
    ids, scores = neighbours.ids, neighbours.scores
    rows, columns = np.nonzero((ids >= 0) & (scores >= floor) & (ids != np.arange(len(ids))[:, None]))
    near = ids[rows, columns]
    left, right = np.minimum(rows, near), np.maximum(rows, near)
    flat = scores[rows, columns]
    order = np.lexsort((-flat, right, left))
    left, right, flat = left[order], right[order], flat[order]
    first = np.ones(len(left), bool)
    first[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return Edges(left[first].astype(np.int64), right[first].astype(np.int64), flat[first])


def lists_of(nodes: int, edges: Edges, width: int) -> Neighbours:
    """Each node's best edges as lists, best first: the way back from edges to neighbours.

    Args:
        nodes: how many.
        edges: each stands in the lists of both its ends.
        width: of a list at most; edges beyond it are left out.
    """
    rows, near = np.concatenate([edges.left, edges.right]), np.concatenate([edges.right, edges.left])
    scores = np.concatenate([edges.scores, edges.scores])
    order = np.lexsort((near, -scores, rows))
    rows, near, scores = rows[order], near[order], scores[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < width
    shape = nodes, max(1, min(width, int(place.max(initial=0)) + 1))
    lists = Neighbours(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
    lists.ids[rows[kept], place[kept]], lists.scores[rows[kept], place[kept]] = near[kept], scores[kept]
    return lists


def connected_components(nodes: int, edges: Edges) -> Ids:
    """The component of each node, named by its smallest node: int64, shape (nodes,).

    Min-label hooking with pointer jumping (Shiloach and Vishkin 1982): a few passes over whole arrays.
    """
    parent = np.arange(nodes, dtype=np.int64)
    left, right = edges.left, edges.right
    while len(left):
        a, b = parent[left], parent[right]
        apart = a != b
        if not apart.any():
            break
        left, right, a, b = left[apart], right[apart], a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(jumped := parent[parent], parent):
            parent = jumped
    return parent


def assign_best(lists: Neighbours, threshold: float) -> Ids:
    """The single best item of each row, or -1 where none reaches ``threshold``: int64, shape (rows,).

    Each listing goes to one product only, however many it resembles: the assignment of the winner of Naver AI RUSH
    2021, task 2-5. Of equal scores the smallest id is taken.

    Args:
        lists: for each listing the products it may be, scored by cosines or probabilities; in any order, -1 for none.
        threshold: the lowest score that is taken.
    """
    ids = np.full(len(lists.ids), -1, np.int64)
    rows, columns = np.nonzero((lists.ids >= 0) & (lists.scores >= threshold))
    found, scores = lists.ids[rows, columns], lists.scores[rows, columns]
    order = np.lexsort((found, -scores, rows))
    best, first = np.unique(rows[order], return_index=True)
    ids[best] = found[order][first]
    return ids
