"""Fresh nodes: the few titles that have come since a base was made, and stand beside it until the next one.

They are weighed and blended as the base weighs and blends queries, and found by plain dot products. Their numbers go on
where the base's end. It knows nodes, the base's scene and candidate lists. It does not know items, deletions, or when
a base is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index.blending import BlendConfig, blend_vectors
from index.clustering import Ids
from index.crowd import Crowd
from index.evidence import Side, gather
from index.lexical import Rows
from index.quantities import QuantityTable
from index.scene import Scene, readable
from index.traits import TraitTable
from index.vectors import FEW, Neighbours, Vectors
from index.wording import Numbers, Wording


@dataclass(frozen=True)
class Fresh:
    """The nodes beside a base. Make it with ``beside``, and larger with ``grown``; the one that was there stays.

    Attributes:
        scene: the base's.
        texts: a raw title of each node.
        lists: the nearest others of each, in the base and here, by the cosines before blending.
        side: the nodes as a side of pairs with the base.
    """

    scene: Scene
    texts: tuple[str, ...]
    lists: Neighbours
    side: Side

    @classmethod
    def beside(cls, scene: Scene, k: int) -> Fresh:
        """None yet; lists will hold k others."""
        none = np.empty((0, scene.index.dimension), np.float32)
        lists = Neighbours(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        return cls(scene, (), lists, Side(none, none, Crowd.of(lists), scene.side.wording.queries([]), new=True))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def start(self) -> int:
        """The number of the first node here."""
        return len(self.scene.nodes.texts)

    def grown(self, texts: Sequence[str], vectors: Vectors, blend: BlendConfig) -> Fresh:
        """These nodes and more: raw titles with their float32 unit rows."""
        k, before = self.lists.ids.shape[1], len(self)
        found = self.scene.index.search(vectors, k, at_once=FEW)  # as if they came one after the other
        found.ids[~readable(vectors)] = -1
        blended = blended_by(self.scene, vectors, found, blend)
        wording = joined(self.side.wording, self.side.wording.queries(texts))
        every = np.concatenate([self.side.vectors, vectors])
        own = self.start + np.arange(len(every))
        newer = nearest(vectors, every, own, k + 1)
        newer.ids[newer.ids == own[before:, None]] = -1
        newer = merged(found, newer, k)
        older = Neighbours(self.lists.ids.copy(), self.lists.scores.copy())
        met = nearest(self.side.vectors, vectors, own[before:], k)
        rows = np.flatnonzero((met.scores > older.scores[:, -1:]).any(axis=1))
        better = merged(rows_of(older, rows), rows_of(met, rows), k)
        older.ids[rows], older.scores[rows] = better.ids, better.scores
        lists = Neighbours(np.concatenate([older.ids, newer.ids]), np.concatenate([older.scores, newer.scores]))
        side = Side(every, np.concatenate([self.side.blended, blended]), Crowd.of(lists), wording, new=True)
        return Fresh(self.scene, (*self.texts, *texts), lists, side)

    def evidence(self, lefts: Side, left: Ids, near: Ids) -> Numbers:
        """The evidence on pairs of rows of ``lefts``, new titles or these nodes themselves, and nodes by any number."""
        found: list[Numbers] = []
        here = near >= self.start
        if not here.any():
            return gather(lefts, left, self.scene.side, near)
        order = np.argsort(here, kind="stable")
        base, beside = order[: len(order) - int(here.sum())], order[len(order) - int(here.sum()) :]
        if len(base):
            found.append(gather(lefts, left[base], self.scene.side, near[base]))
        if len(beside):
            # Numbers of the other side as that side has them, so that a row's nearest is told when it is met.
            crowd = Crowd(lefts.crowd.nearest - self.start, lefts.crowd.scores)
            lefts = replace(lefts, crowd=crowd, new=lefts is not self.side)
            rights = self.side if lefts.new else lefts
            found.append(gather(lefts, left[beside], rights, near[beside] - self.start))
        evidence = np.concatenate(found)
        back = np.empty_like(evidence)
        back[order] = evidence
        return back

    def crowd_of(self, near: Neighbours) -> tuple[Neighbours, Crowd]:
        """The lists with their entries numbered one by one, and the crowd around each entry."""
        flat = near.ids.ravel()
        base, here = (flat >= 0) & (flat < self.start), flat >= self.start
        scores = np.full((len(flat), self.side.crowd.scores.shape[1]), -1, np.float32)
        scores[base] = self.scene.side.crowd.scores[flat[base]]
        scores[here] = self.side.crowd.scores[flat[here] - self.start]
        places = np.where(near.ids >= 0, np.arange(len(flat)).reshape(near.ids.shape), -1)
        return Neighbours(places, near.scores), Crowd(np.full(len(flat), -1), scores)


def blended_by(scene: Scene, vectors: Vectors, found: Neighbours, blend: BlendConfig) -> Vectors:
    """New vectors after the stages of a scene, which may hold nothing."""
    return blend_vectors(vectors, scene.blended.stages, found, blend) if scene.nodes.texts else vectors


def nearest(queries: Vectors, vectors: Vectors, numbers: Ids, k: int) -> Neighbours:
    """The k nearest of a few vectors, by plain dot products; in no order.

    Args:
        queries, vectors: float32 unit rows.
        numbers: of the vectors, ascending.
        k: of each query at most; a query that the encoder could not read has none.
    """
    cosines = queries @ vectors.T
    ids = np.broadcast_to(numbers, cosines.shape)
    if len(vectors) > k:
        some = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        ids = np.take_along_axis(ids, some, 1)
        vectors = vectors[some]
    # A product of matrices rounds a row by the rows beside it; this one does not.
    cosines = np.matmul(vectors, queries[:, :, None])[:, :, 0]
    real = readable(queries)[:, None]
    return Neighbours(np.where(real, ids, -1), np.where(real, cosines, -np.inf).astype(np.float32))


def rows_of(lists: Neighbours, rows: Ids) -> Neighbours:
    """Some of the lists."""
    return Neighbours(lists.ids[rows], lists.scores[rows])


def merged(one: Neighbours, other: Neighbours, k: int) -> Neighbours:
    """The k best of two lists of each row, best first; equal scores in the order of ids, and -1 last."""
    ids = np.concatenate([one.ids, other.ids], axis=1)
    scores = np.concatenate([one.scores, other.scores], axis=1)
    scores = np.where(ids >= 0, scores, -np.inf)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1).astype(np.float32))


def without(lists: Neighbours, gone: npt.NDArray[np.bool_]) -> Neighbours:
    """The lists without nodes that are gone, by a flag for each number; those behind them move up."""
    lost = (lists.ids >= 0) & gone[lists.ids] if len(gone) else np.zeros(lists.ids.shape, bool)
    if not lost.any():
        return lists
    ids = np.where(lost, -1, lists.ids)
    none = Neighbours(np.empty((len(ids), 0), np.int64), np.empty((len(ids), 0), np.float32))
    return merged(Neighbours(ids, lists.scores), none, ids.shape[1])


def joined(first: Wording, second: Wording) -> Wording:
    """The titles of two wordings by the same lexicons, one after the other."""
    traits, more = first.traits, second.traits
    left, right = (np.concatenate(two) for two in zip(traits.spelled, more.spelled, strict=True))
    codes = np.where(more.codes >= 0, more.codes + np.int32(len(traits.lengths)), -1).astype(np.int32)
    return replace(
        first,
        char_rows=_rows(first.char_rows, second.char_rows),
        word_rows=_rows(first.word_rows, second.word_rows),
        quantities=QuantityTable(np.concatenate([first.quantities.values, second.quantities.values])),
        traits=TraitTable(
            (left, right), np.concatenate([traits.lengths, more.lengths]), np.concatenate([traits.codes, codes]),
            np.concatenate([traits.numbers, more.numbers]), np.concatenate([traits.brands, more.brands]),
            np.concatenate([traits.bits, more.bits]),
        ),
        words=np.concatenate([first.words, second.words]),
        shape=np.concatenate([first.shape, second.shape]),
    )  # fmt: skip


def _rows(first: Rows, second: Rows) -> Rows:
    return Rows(
        np.concatenate([first.starts, first.starts[-1] + second.starts[1:]]),
        np.concatenate([first.grams, second.grams]),
        np.concatenate([first.weights, second.weights]),
        np.concatenate([first.lengths, second.lengths]),
        np.concatenate([first.masses, second.masses]),
    )
