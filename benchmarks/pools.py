"""Pools: some rows of a labelled set as one catalogue, searched, and the neighbour lists of the rows that are judged.

Search goes through `index.matcher.Matcher`, as it does for users: rows of equal cleaned title are one node there, and
here each row is given back its own list of rows. Vectors are encoded once and kept by model and titles. It does not
know thresholds or measures.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.labelled import LabelledSet, Rows
from embedder.bundle import Bundle
from embedder.encoder import Encoder
from index.blending import BlendConfig, Blended, blend_catalogue
from index.clustering import Edges, edges_of
from index.decision import Decision
from index.matcher import Matcher, Nodes
from index.vectors import Neighbours, Vectors

WIDTH = 200  # rows a list holds at most: a title that stands hundreds of times would fill memory with itself


class CachedEncoder(Encoder):
    """An encoder that keeps what it encoded: in memory by title, and in a folder by fingerprint and list of titles.

    Args:
        bundle: the model.
        folder: where to keep vectors; None keeps none on disk.
        options: see ``Encoder``.
    """

    def __init__(self, bundle: Bundle, folder: Path | None, **options: Any) -> None:
        super().__init__(bundle, **options)
        self._folder = folder
        self._row_of: dict[str, int] = {}
        self._vectors: Vectors = np.empty((0, self.dimension), np.float32)

    def warm(self, titles: Sequence[str]) -> bool:
        """Encode the distinct titles, or read them from the folder; whether they were read."""
        distinct = list(dict.fromkeys(titles))
        digest = hashlib.sha256("\0".join(distinct).encode()).hexdigest()[:16]
        device = "gpu" if self.on_gpu else "cpu"
        path = self._folder / f"{self.fingerprint}-{digest}-{device}.npy" if self._folder else None
        vectors = _read_vectors(path, (len(distinct), self.dimension)) if path else None
        read = vectors is not None
        if vectors is None:
            vectors = super().encode(distinct)
            if path:
                _write_vectors(path, vectors)
        self._row_of = {title: row for row, title in enumerate(distinct)}
        self._vectors = vectors
        return read

    def encode(self, titles: Sequence[str], **options: Any) -> Vectors:
        """As ``Encoder.encode``; titles that ``warm`` saw are looked up."""
        rows = [self._row_of.get(title, -1) for title in titles]
        vectors: Vectors = np.zeros((len(titles), self.dimension), np.float32)
        known = np.array(rows, np.int64) >= 0
        vectors[known] = self._vectors[[row for row in rows if row >= 0]]
        if not known.all():
            vectors[~known] = super().encode([t for t, row in zip(titles, rows, strict=True) if row < 0], **options)
        return vectors


def _read_vectors(path: Path, shape: tuple[int, int]) -> Vectors | None:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # not there yet, or cut short: it is only a cache
    return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None


def _write_vectors(path: Path, vectors: Vectors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, vectors, allow_pickle=False)
        Path(beside).replace(path)
    finally:
        Path(beside).unlink(missing_ok=True)


@dataclass(frozen=True)
class Judged:
    """Neighbour lists of the judged rows of one side, in the pool's row numbers.

    Attributes:
        neighbours: shape (judged rows, width), best first, -1 padded.
        labels: product of each row of the pool, int64.
        rows: the judged rows' numbers in the pool.
    """

    neighbours: Neighbours
    labels: Rows
    rows: Rows


@dataclass(frozen=True)
class Pool:
    """A catalogue of some rows of a set. Make one with ``make_pool``.

    Attributes:
        rows: of the set, int64; a row's position in it is its number in the pool.
        labels: product of each, int64.
        judged: side -> numbers in the pool of the rows that are judged.
        matcher: searched, not blended.
    """

    rows: Rows
    labels: Rows
    judged: dict[str, Rows]
    matcher: Matcher = field(repr=False)

    def blend(self, config: BlendConfig) -> Blended:
        """The catalogue's nodes, blended."""
        return blend_catalogue(self.matcher.blended.stages[0], self.matcher.blended.neighbours, config)

    def judge(self, side: str, near: Neighbours) -> Judged:
        """The judged rows' lists from the nodes' lists."""
        rows = self.judged[side]
        return Judged(row_neighbours(self.matcher.nodes, near, rows), self.labels, rows)


def make_pool(
    data: LabelledSet,
    rows: Rows,
    sides: Iterable[str],
    encoder: Encoder,
    decision: Decision,
    like: Pool | None = None,
) -> Pool:
    """Search some rows of a set among themselves.

    Args:
        data: the set.
        rows: of the pool; the judged ones among them are those of ``sides``.
        sides: "validation", "test" or both.
        encoder: makes vectors.
        decision: tells how many candidates a row has.
        like: a pool that is used again if it is of the same rows.
    """
    if like and np.array_equal(rows, like.rows):
        matcher = like.matcher
    else:
        plain = replace(decision, blend=replace(decision.blend, stages=0))
        matcher = Matcher.from_items([str(r) for r in rows], [data.titles[r] for r in rows], encoder, plain)
    judged = {side: np.flatnonzero((data.sides[rows] == side) & data.judged[rows]) for side in sides}
    return Pool(rows, data.codes()[rows], judged, matcher)


def _members(nodes: Nodes) -> tuple[Rows, Rows, Rows]:
    """Rows ordered by their node; where each node's begin; how many each has."""
    counts = np.bincount(nodes.node_of, minlength=len(nodes.texts))
    return np.argsort(nodes.node_of, kind="stable"), np.cumsum(counts) - counts, counts


def row_neighbours(nodes: Nodes, near: Neighbours, rows: Rows, width: int = WIDTH) -> Neighbours:
    """Lists of rows from lists of nodes: rows of the same node first, as they always stand together, with score 1.

    A node that the encoder cannot read has no neighbours and is nobody's.

    Args:
        nodes: of the catalogue.
        near: of every node, best first.
        rows: whose lists are wanted.
        width: rows of a list at most.
    """
    members, starts, counts = _members(nodes)
    own = nodes.node_of[rows]
    ids = near.ids[own]
    real = (ids >= 0) & (ids != own[:, None]) & nodes.readable[ids] & nodes.readable[own][:, None]
    listed = np.concatenate([own[:, None], np.where(real, ids, -1)], axis=1)
    scores = np.concatenate([np.ones((len(rows), 1), np.float32), near.scores[own]], axis=1)
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
