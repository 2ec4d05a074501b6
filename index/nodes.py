"""Nodes: items of equal cleaned title, which are searched once and always stand together, and the way back to items.

It knows cleaned titles and lists of nodes; it does not know vectors or how a list was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.text import clean
from index.clustering import Edges, Ids, edges_of
from index.vectors import Neighbours

WIDTH = 200
"""Items a list holds at most: a title that stands hundreds of times would fill memory with itself."""


@dataclass(frozen=True)
class Nodes:
    """Items grouped by equal cleaned title.

    Attributes:
        texts: the raw title that stands for each node (the smallest, so that the order of items does not matter).
        node_of: node of each item, int64.
        readable: whether the encoder could read the node, bool; a node that it cannot read matches nothing.
    """

    texts: list[str]
    node_of: Ids
    readable: npt.NDArray[np.bool_]

    def items(self) -> list[list[int]]:
        """Item numbers of each node."""
        members, starts, counts = _members(self)
        flat = members.tolist()
        return [flat[start:stop] for start, stop in zip(starts.tolist(), (starts + counts).tolist(), strict=True)]


def key_of(title: str) -> str:
    """What is equal for titles that are one node."""
    return clean(title).casefold()


def group(titles: Sequence[str]) -> tuple[list[str], Ids]:
    """The smallest raw title of each node, and the node of each title."""
    texts: list[str] = []
    known: dict[str, int] = {}
    node_of = np.empty(len(titles), np.int64)
    for item, title in enumerate(titles):
        # Titles without a letter or digit say nothing, not even that they are alike.
        key = key_of(title) or f"\0{item}"
        node = known.setdefault(key, len(texts))
        if node == len(texts):
            texts.append(title)
        texts[node] = min(texts[node], title)
        node_of[item] = node
    return texts, node_of


def _members(nodes: Nodes) -> tuple[Ids, Ids, Ids]:
    """Ids ordered by their node; where each node's begin; how many each has."""
    counts = np.bincount(nodes.node_of, minlength=len(nodes.texts))
    return np.argsort(nodes.node_of, kind="stable"), np.cumsum(counts) - counts, counts


def row_neighbours(
    nodes: Nodes, near: Neighbours, rows: Ids, width: int = WIDTH, twins: npt.NDArray[np.float64] | None = None
) -> Neighbours:
    """Lists of rows from lists of nodes: rows of the same node first, as they always stand together.

    A node that the encoder cannot read has no neighbours and is nobody's.

    Args:
        nodes: of the catalogue.
        near: of every node, best first.
        rows: whose lists are wanted.
        width: rows of a list at most.
        twins: score of items of the same node, float64, shape (nodes,); 1 by default.
    """
    members, starts, counts = _members(nodes)
    own = nodes.node_of[rows]
    ids = near.ids[own]
    real = (ids >= 0) & (ids != own[:, None]) & nodes.readable[ids] & nodes.readable[own][:, None]
    listed = np.concatenate([own[:, None], np.where(real, ids, -1)], axis=1)
    scores = np.concatenate(
        [(np.ones(len(rows)) if twins is None else twins[own])[:, None].astype(np.float32), near.scores[own]], axis=1
    )
    held = np.where(listed >= 0, counts[listed], 0)
    before = np.cumsum(held, axis=1) - held
    # One entry for every row that a listed node holds: which list and node it is of, and its place within the node.
    entry = np.repeat(np.arange(held.size), held.ravel())
    within = np.arange(len(entry)) - np.repeat(np.cumsum(held.ravel()) - held.ravel(), held.ravel())
    column = before.ravel()[entry] + within
    kept = column < width
    entry, within, column = entry[kept], within[kept], column[kept]
    shape = len(rows), int(column.max(initial=0)) + 1
    out = Neighbours(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
    out.ids[entry // held.shape[1], column] = members[starts[listed.ravel()[entry]] + within]
    out.scores[entry // held.shape[1], column] = scores.ravel()[entry]
    return out


def row_edges(nodes: Nodes, near: Neighbours, floor: float = -1.0) -> Edges:
    """Edges between rows that connect what the nodes' edges at or above ``floor`` connect: a node's rows by score 1."""
    members, starts, counts = _members(nodes)
    edges = edges_of(near, floor)
    keep = nodes.readable[edges.left] & nodes.readable[edges.right]
    first = members[starts]
    a, b = first[edges.left[keep]], first[edges.right[keep]]
    same = np.repeat(first, counts)
    twin = members != same
    left = np.concatenate([np.minimum(a, b), same[twin]])
    right = np.concatenate([np.maximum(a, b), members[twin]])
    scores = np.concatenate([edges.scores[keep], np.ones(int(twin.sum()), np.float32)])
    order = np.lexsort((right, left))
    return Edges(left[order], right[order], scores[order])
