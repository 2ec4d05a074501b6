"""Pools: some rows of a labelled set as one catalogue, judged, and the lists of the rows that count.

Everything goes through `index.matcher.Matcher`, as it does for users: rows of equal cleaned title are one node there,
and here each row is given back its own list of rows. Vectors are encoded once and kept by model and titles. It does
not know measures, nor which threshold is the right one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.labelled import LabelledSet, Rows
from embedder.bundle import Bundle
from embedder.encoder import Encoder
from index.blending import BlendConfig, Blended, blend_catalogue, rescore
from index.clustering import lists_of
from index.decision import Decision
from index.evidence import gather
from index.matcher import Matcher
from index.nodes import row_neighbours
from index.vectors import Neighbours, Vectors

_WIDTH = 100  # nodes a list of candidates holds, as where the decision was chosen
_PAIRS = 1 << 17  # pairs whose evidence is held at once


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
        matcher: of the rows, by the decision that is measured.
    """

    rows: Rows
    labels: Rows
    judged: dict[str, Rows]
    matcher: Matcher = field(repr=False)

    @cached_property
    def searched(self) -> Neighbours:
        """The nodes' lists as search brings them: by cosine before blending."""
        plain = self.matcher.blended.stages[0]
        return rescore(plain, plain, self.matcher.blended.neighbours)

    def blend(self, config: BlendConfig) -> Blended:
        """The catalogue's nodes, blended in another way than the decision's."""
        return blend_catalogue(self.matcher.blended.stages[0], self.searched, config)

    def judge(self, side: str, near: Neighbours) -> Judged:
        """The judged rows' lists from the nodes' lists, scored by cosines."""
        rows = self.judged[side]
        return Judged(row_neighbours(self.matcher.nodes, near, rows), self.labels, rows)

    def decide(self, side: str) -> Judged:
        """The judged rows' candidates, scored by probability."""
        rows = self.judged[side]
        return Judged(probable(self.matcher, rows), self.labels, rows)

    def accept(self, judged: Judged) -> Judged:
        """What the decision accepts of lists by probability where no threshold is named; scored 1."""
        return replace(judged, neighbours=accepted(self.matcher, judged.neighbours))

    def clusters(self, threshold: float | None = None) -> Rows:
        """The cluster of each row, int64, at a mean probability above 0; the decision's own by default."""
        if threshold not in self._clusters:
            # Over 1 stands the choice to join nothing, which no user can ask for.
            names = self.matcher.cluster(None if threshold is None else min(threshold, 1.0))
            self._clusters[threshold] = np.unique(names, return_inverse=True)[1].astype(np.int64)
        return self._clusters[threshold]

    @cached_property
    def _clusters(self) -> dict[float | None, Rows]:
        return {}

    def probability(self, left: Rows, right: Rows) -> npt.NDArray[np.float64]:
        """The probability that two rows are one product, be they candidates or not; shape (pairs,)."""
        nodes, side, decision = self.matcher.nodes, self.matcher.scene.side, self.matcher.decision
        a, b = nodes.node_of[left], nodes.node_of[right]
        found = np.empty(len(a))
        for start in range(0, len(a), _PAIRS):
            block = slice(start, start + _PAIRS)
            found[block] = decision.probability(gather(side, a[block], side, b[block]))
        found[~(nodes.readable[a] & nodes.readable[b])] = 0
        return found


def probable(matcher: Matcher, rows: Rows) -> Neighbours:
    """The candidates of some rows of a catalogue, scored by probability, best first; the row itself is left out."""
    near = lists_of(len(matcher.nodes.texts), matcher.pairs.edges, _WIDTH)
    lists = row_neighbours(matcher.nodes, near, rows, twins=matcher.pairs.twins)
    scores = np.where((lists.ids >= 0) & (lists.ids != rows[:, None]), lists.scores, -np.inf).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, 1)
    return Neighbours(np.where(np.isfinite(scores), np.take_along_axis(lists.ids, order, 1), -1), scores)


def accepted(matcher: Matcher, lists: Neighbours) -> Neighbours:
    """What a catalogue accepts of its rows' lists by probability where no threshold is named; scored 1."""
    probabilities = np.where(lists.ids >= 0, lists.scores, 0).astype(np.float64)
    counts = matcher.decision.accepted(probabilities, shift=matcher.shift)
    taken = np.arange(lists.ids.shape[1]) < counts[:, None]
    return Neighbours(np.where(taken, lists.ids, -1), np.where(taken, 1, -np.inf).astype(np.float32))


def make_pool(
    data: LabelledSet,
    rows: Rows,
    sides: Iterable[str],
    encoder: Encoder,
    decision: Decision,
    like: Pool | None = None,
) -> Pool:
    """Search and blend some rows of a set among themselves.

    Args:
        data: the set.
        rows: of the pool; the judged ones among them are those of ``sides``.
        sides: "validation", "test" or both.
        encoder: makes vectors.
        decision: the one that is measured.
        like: a pool that is used again if it is of the same rows.
    """
    if like and np.array_equal(rows, like.rows):
        matcher = like.matcher
    else:
        matcher = Matcher.from_items([str(r) for r in rows], [data.titles[r] for r in rows], encoder, decision)
    judged = {side: np.flatnonzero((data.sides[rows] == side) & data.judged[rows]) for side in sides}
    return Pool(rows, data.codes()[rows], judged, matcher)
