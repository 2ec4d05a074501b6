"""Snapshots: a living catalogue as it is at one revision, searchable as long as anybody holds it.

A snapshot is a base, made whole at some revision, the few items that came since, and marks on those that went. It
never changes; the next one shares all that stayed. Until a new base is made, answers differ from a catalogue made at
once in this only: titles of the base are not blended with fresh ones nor ranked against them, fresh ones are not
blended with each other, the weights of words are the base's, and what is gone was met by others when they were blended.

It knows items, nodes and candidates. It does not know the store, when snapshots are made, or clusters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index.answers import Answerer, Judged
from index.blending import BlendConfig
from index.catalog import Loaded
from index.clustering import Ids
from index.cohesion import REACH
from index.crowd import Crowd
from index.decision import Decision
from index.evidence import Side, worth_a_look
from index.fresh import Fresh, blended_by, merged, nearest, without
from index.nodes import Nodes, key_of
from index.prior import prior_shift
from index.scene import JudgedPairs, Progress, Scene, readable
from index.vectors import Device, Vectors
from index.wording import Numbers

Encode = Callable[[Sequence[str]], Vectors]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Base:
    """A catalogue as it was at a revision, made whole.

    Attributes:
        ids, titles: of its items, raw.
        scene: their nodes, numbered by their first items.
        numbers: what the store calls each node, int64.
        keys: the node of each cleaned title.
        revision: the store's.
        crowded: which nodes have so many probable candidates that more would not have been found; see
            ``index.cohesion``.
        pairs: its pairs, judged; None before they are.
        shift: logits by which they are more probable than their evidence has it; 0 before they are judged.
    """

    ids: list[str]
    titles: list[str]
    scene: Scene
    numbers: Ids
    keys: Mapping[str, int]
    revision: int
    crowded: Flags
    pairs: JudgedPairs | None = None
    shift: float = 0.0

    @classmethod
    def of(
        cls,
        loaded: Loaded,
        blend: BlendConfig,
        background: npt.NDArray[np.uint8] | None,
        *,
        device: Device = "auto",
        progress: Progress | None = None,
    ) -> Base:
        """Search and blend what was loaded, perhaps nothing; arguments as in ``Scene.of``."""
        order, node_of = in_order_of_items(loaded)
        vectors = loaded.matrix[order]
        texts = texts_of(loaded.titles, node_of, len(order))
        nodes = Nodes(texts, node_of, readable(vectors))
        scene = Scene.on(nodes, vectors, blend, background=background, device=device, progress=progress)
        none = np.zeros(len(order), bool)
        return cls(loaded.ids, loaded.titles, scene, loaded.nodes[order], keys_of(texts), loaded.revision, none)

    def judged(self, pairs: JudgedPairs, decision: Decision) -> Base:
        """The base that knows its judged pairs, and by them its prior and its crowded nodes."""
        shift = prior_shift(self.scene.nodes, pairs)
        strong = pairs.edges.over(decision.clusters_from(shift))
        ends = np.concatenate([strong.left, strong.right])
        crowded = np.bincount(ends, minlength=len(self.scene.nodes.texts)) >= REACH
        return replace(self, crowded=crowded, pairs=pairs, shift=shift)

    def warm(self) -> None:
        """Work out now what the first requests would wait for otherwise."""
        self.scene.index.sketch()
        self.scene.around(np.empty(0, np.int64))
        _ = self.place, self.members

    @cached_property
    def place(self) -> dict[str, int]:
        """The number of each item."""
        return {id: item for item, id in enumerate(self.ids)}

    @cached_property
    def members(self) -> list[list[int]]:
        """The items of each node."""
        return self.scene.nodes.items()


def in_order_of_items(loaded: Loaded) -> tuple[Ids, Ids]:
    """The rows of what was loaded in the order of their first items, and the place in it of each item's."""
    rows, first = np.unique(loaded.row_of, return_index=True)
    order = rows[np.argsort(first)]
    place = np.empty(len(loaded.matrix), np.int64)
    place[order] = np.arange(len(order))
    return order, place[loaded.row_of]


def texts_of(titles: Sequence[str], node_of: Ids, nodes: int) -> list[str]:
    """The smallest raw title of each node; "" for one without an item."""
    texts: list[str | None] = [None] * nodes
    for title, node in zip(titles, node_of.tolist(), strict=True):
        text = texts[node]
        texts[node] = title if text is None else min(text, title)
    return [text or "" for text in texts]


def keys_of(texts: Sequence[str]) -> dict[str, int]:
    """The node of each cleaned title that says anything."""
    keys = {key_of(text): node for node, text in enumerate(texts)}
    keys.pop("", None)
    return keys


@dataclass(frozen=True)
class _Come:
    """The items that came since the base: their ids and titles, the node of each, and the nodes that are new."""

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    nodes: tuple[int, ...]
    place: Mapping[str, int]
    keys: Mapping[str, int]
    fresh: Fresh


class Snapshot(Answerer):
    """A catalogue at one revision. Make the first with ``first``, the next with ``after``.

    Items and nodes are numbered through: the base's, then those that came since.

    Attributes:
        base: what it stands on.
        revision: of the store.
    """

    def __init__(self, base: Base, come: _Come, gone: Flags, revision: int, encode: Encode, decision: Decision) -> None:
        self.base, self.revision, self.decision = base, revision, decision
        self._come, self._gone, self._encode = come, gone, encode
        self._fresh = come.fresh
        self._joined = defaultdict[int, list[int]](list)
        for item, node in enumerate(come.nodes, start=len(base.ids)):
            self._joined[node].append(item)
        node_of = np.concatenate([base.scene.nodes.node_of, np.array(come.nodes, np.int64)])
        nodes = len(base.scene.nodes.texts) + len(come.fresh)
        self._dead: Flags = np.bincount(node_of[~gone], minlength=nodes) == 0

    @classmethod
    def first(cls, base: Base, encode: Encode, decision: Decision) -> Snapshot:
        """The base alone.

        Args:
            base: made or kept.
            encode: makes float32 unit rows of raw titles.
            decision: the one that the base was blended by.
        """
        base.warm()
        come = _Come((), (), (), {}, {}, Fresh.beside(base.scene, decision.blend.k))
        return cls(base, come, np.zeros(len(base.ids), bool), base.revision, encode, decision)

    def after(self, loaded: Loaded, gone: Iterable[str], revision: int) -> Snapshot:
        """This snapshot with what has changed since.

        Args:
            loaded: items that came or have other titles, with vectors; one that stands here by its title stays.
            gone: ids of items that went, or have other titles by now.
            revision: which this makes.
        """
        base, come = self.base, self._come
        new = [at for at, id in enumerate(loaded.ids) if self.title(id) != loaded.titles[at]]
        left = [self._place(id) for id in {*gone, *(loaded.ids[at] for at in new)}]
        if not new and not any(item >= 0 for item in left):
            same = copy(self)
            same.revision = revision
            return same
        flags = np.concatenate([self._gone, np.zeros(len(new), bool)])
        flags[[item for item in left if item >= 0]] = True
        if new:
            come = self._with(loaded, new)
        return Snapshot(base, come, flags, revision, self._encode, self.decision)

    def retold(self, base: Base, encode: Encode, decision: Decision) -> Snapshot:
        """This snapshot on a base of the same nodes that knows its crowds, or by another decision that blends alike."""
        return Snapshot(base, self._come, self._gone, self.revision, encode, decision)

    def _with(self, loaded: Loaded, new: list[int]) -> _Come:
        """What came, and the items ``new`` of what was loaded."""
        come, keys = self._come, dict(self._come.keys)
        titles = [loaded.titles[at] for at in new]
        nodes: list[int] = []
        rows: list[int] = []
        texts: list[str] = []
        start = self._fresh.start + len(self._fresh)
        for at, title in zip(new, titles, strict=True):
            key = key_of(title)
            node = self.base.keys.get(key, keys.get(key, -1))
            if node < 0:
                node = start + len(texts)
                rows.append(int(loaded.row_of[at]))
                texts.append(title)
                if key:
                    keys[key] = node
            nodes.append(node)
        fresh = self._fresh.grown(texts, loaded.matrix[rows], self.decision.blend) if texts else self._fresh
        ids = [loaded.ids[at] for at in new]
        place = {**come.place, **{id: len(self._gone) + at for at, id in enumerate(ids)}}
        return _Come((*come.ids, *ids), (*come.titles, *titles), (*come.nodes, *nodes), place, keys, fresh)

    def __len__(self) -> int:
        """Items."""
        return len(self._gone) - int(self._gone.sum())

    @property
    def strayed(self) -> int:
        """How many items came or went since the base."""
        return len(self._come.ids) + int(self._gone.sum())

    def title(self, id: str) -> str | None:
        """The title by which an item stands here; None where it does not."""
        item = self._place(id)
        return None if item < 0 else self._item(item)[1]

    def node(self, id: str) -> int:
        """The node of an item; -1 where it does not stand here."""
        item = self._place(id)
        if item < len(self.base.ids):
            return int(self.base.scene.nodes.node_of[item]) if item >= 0 else -1
        return self._come.nodes[item - len(self.base.ids)]

    def items(self, node: int) -> list[str]:
        """Ids of the items of a node."""
        return [self._item(item)[0] for item in self._members(node)]

    def around(self, nodes: Ids) -> tuple[Ids, Ids, npt.NDArray[np.float64], Flags]:
        """The candidates of some nodes.

        Returns:
            Of each pair the place in ``nodes``, the other node, the probability that they are one product, and whether
            they contradict each other.
        """
        at, near = self._ways(nodes)
        evidence = self.between(nodes[at], near)
        return at, near, self.decision.probability(evidence), self.decision.contradictions(evidence)

    @property
    def shift(self) -> float:
        """Logits by which pairs of its own items are more probable than their evidence has it."""
        return self.base.shift

    @property
    def cluster_threshold(self) -> float:
        """The least mean probability that makes two clusters one."""
        return self.decision.clusters_from(self.shift)

    @property
    def nodes(self) -> Ids:
        """The nodes that an item stands on."""
        return np.flatnonzero(~self._dead)

    @property
    def dead(self) -> Flags:
        """Which nodes no item stands on, by number."""
        return self._dead

    @property
    def fresh(self) -> Fresh:
        """The nodes that came since the base."""
        return self._fresh

    def text(self, node: int) -> str:
        """The raw title that stands for a node."""
        return self._text(node)

    def ways(self, nodes: Ids) -> tuple[Ids, Ids]:
        """The candidates of some nodes: of each pair the place in ``nodes`` and the other node."""
        return self._ways(nodes)

    def between(self, one: Ids, other: Ids) -> Numbers:
        """The evidence on pairs of nodes, candidates or not; a pair's is the same from both ends."""
        left, right, start = np.maximum(one, other), np.minimum(one, other), self._fresh.start
        here = left >= start
        order = np.argsort(here, kind="stable")
        base, beside = order[: len(order) - int(here.sum())], order[len(order) - int(here.sum()) :]
        scene, fresh = self.base.scene, self._fresh
        found = np.concatenate([
            fresh.evidence(scene.side, right[base], left[base]),
            fresh.evidence(fresh.side, left[beside] - start, right[beside]),
        ])  # fmt: skip
        back = np.empty_like(found)
        back[order] = found
        return back

    def _place(self, id: str) -> int:
        """The number of an item; -1 where it does not stand here."""
        item = self._come.place.get(id, self.base.place.get(id, -1))
        return -1 if item < 0 or self._gone[item] else item

    def _node(self, key: str) -> int:
        node = self.base.keys.get(key, self._come.keys.get(key, -1))
        return node if node >= 0 and not self._dead[node] and self._readable(node) else -1

    def _readable(self, node: int) -> bool:
        start = self._fresh.start
        side, row = (self.base.scene.side, node) if node < start else (self._fresh.side, node - start)
        return bool(side.vectors[row].any())

    def _text(self, node: int) -> str:
        start = self._fresh.start
        return self.base.scene.nodes.texts[node] if node < start else self._fresh.texts[node - start]

    def _members(self, node: int) -> Sequence[int]:
        own = self.base.members[node] if node < self._fresh.start else []
        return [item for item in (*own, *self._joined.get(node, ())) if not self._gone[item]]

    def _item(self, item: int) -> tuple[str, str]:
        if item < len(self.base.ids):
            return self.base.ids[item], self.base.titles[item]
        item -= len(self.base.ids)
        return self._come.ids[item], self._come.titles[item]

    def _judge_known(self, nodes: Ids) -> list[list[Judged]]:
        at, near = self._ways(nodes)
        at, near = np.concatenate([np.arange(len(nodes)), at]), np.concatenate([nodes, near])
        return self._weigh(len(nodes), at, near, self.between(nodes[at], near))

    def _judge_new(self, titles: Sequence[str]) -> list[list[Judged]]:
        vectors, scene, blend = self._encode(titles), self.base.scene, self.decision.blend
        found = scene.index.search(vectors, blend.k)
        unread = ~readable(vectors)
        found.ids[unread], found.scores[unread] = -1, -np.inf
        found = without(found, self._dead)
        blended = blended_by(scene, vectors, found, blend)
        if len(self._fresh):
            numbers = self._fresh.start + np.arange(len(self._fresh))
            beside = nearest(vectors, self._fresh.side.vectors, numbers, blend.k)
            found = merged(found, without(beside, self._dead), blend.k)
        side = Side(vectors, blended, Crowd.of(found), scene.side.wording.queries(titles), new=True)
        at, column = np.nonzero(worth_a_look(*self._fresh.crowd_of(found)))
        near = found.ids[at, column]
        return self._weigh(len(titles), at, near, self._fresh.evidence(side, at, near))

    def _ways(self, nodes: Ids) -> tuple[Ids, Ids]:
        """The candidate pairs of some nodes: of each the place in ``nodes`` and the other node."""
        start = self._fresh.start
        inside = np.flatnonzero(nodes < start)
        at, near = self.base.scene.around(nodes[inside])
        ends, others = self._pairs_beside
        first, stop = np.searchsorted(ends, nodes), np.searchsorted(ends, nodes, "right")
        beside = np.concatenate([np.empty(0, np.int64), *(others[a:b] for a, b in zip(first, stop, strict=True))])
        at = np.concatenate([inside[at], np.repeat(np.arange(len(nodes)), stop - first)])
        near = np.concatenate([near, beside])
        real = ~self._dead[near]
        return at[real], near[real]

    @cached_property
    def _pairs_beside(self) -> tuple[Ids, Ids]:
        """The candidate pairs that fresh nodes stand in, from both ends, in the order of the one end."""
        lists = without(self._fresh.lists, self._dead)
        row, column = np.nonzero(worth_a_look(*self._fresh.crowd_of(lists)))
        one, other = row + self._fresh.start, lists.ids[row, column]
        nodes = len(self._dead)
        pairs = np.unique(np.concatenate([one * nodes + other, other * nodes + one]))
        return pairs // nodes, pairs % nodes
