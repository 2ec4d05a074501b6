"""Ties: which items people have said belong together, and which they have kept apart.

Whatever a person moved belongs to the items it came to, and not to those that stayed where it left: so a merge ties, a
split keeps apart, and to undo either says the opposite. A label says it of one pair of items. Where sayings contradict
each other, the later one holds.

It knows the trail and the labels. It does not know titles or probabilities, nor how clusters are made with ties.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from index.catalog import Catalog
from index.ledger import Label
from index.trail import Event, EventKind, Move

_PAGE = 1_000
_BY_HAND: tuple[EventKind, ...] = ("merge", "split", "move", "undo")
_Moves = Callable[[int], list[Move]]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Ties:
    """What people have said of items that the catalogue holds.

    Attributes:
        together: groups of items that share a cluster; no item is in two.
        apart: pairs of items whose clusters differ; an item of a group speaks for the whole group.
    """

    together: tuple[tuple[str, ...], ...] = ()
    apart: tuple[Pair, ...] = ()

    def partners(self, item: str) -> tuple[str, ...]:
        """The group of an item, itself included; the item alone where it has none."""
        return self._group.get(item, (item,))

    def foes(self, item: str) -> frozenset[str]:
        """All items whose clusters differ from the item's."""
        return self._foes.get(self.partners(item)[0], frozenset())

    def with_twins(self, twins: Iterable[Sequence[str]]) -> Ties:
        """These ties, and after them that items of one title belong together: as far as nobody spoke against it."""
        knot = _Knot()
        knot.take(_Saying(0, self.together, self.apart))
        for some in twins:
            knot.take(_Saying(0, (tuple(some),)))
        return knot.ties(set(knot.items()))

    @cached_property
    def _group(self) -> dict[str, tuple[str, ...]]:
        return {item: group for group in self.together for item in group}

    @cached_property
    def _foes(self) -> dict[str, frozenset[str]]:
        foes = defaultdict[str, set[str]](set)
        for one, other in self.apart:
            foes[self.partners(one)[0]].update(self.partners(other))
            foes[self.partners(other)[0]].update(self.partners(one))
        return {item: frozenset(some) for item, some in foes.items()}


@dataclass(frozen=True)
class _Saying:
    """Items that belong together, and pairs that do not, as of a revision."""

    revision: int
    together: tuple[tuple[str, ...], ...] = ()
    apart: tuple[Pair, ...] = ()


def ties_of(catalog: Catalog) -> Ties:
    """What holds of all that people have said so far."""
    return Sayings(catalog)()


class Sayings:
    """What holds of all that people have said, for one thread that asks often: what is known already is not read again.

    What an event said never changes; labels do.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._of_events: list[_Saying] = []
        self._read_to = 0
        self._labels = (-1, -1)
        self._knot = _Knot()

    def __call__(self) -> Ties:
        """The ties of the items that are there now."""
        with self._catalog.snapshot():
            newest = next((event.id for event in self._catalog.clusters.events(limit=1)), 0)
            more = [*_of_events(self._catalog, self._read_to)] if newest > self._read_to else []
            self._of_events += more
            self._read_to = newest
            labels = self._catalog.labels.state()
            if more or labels != self._labels:
                sayings = [*self._of_events, *_of_labels(self._catalog)]
                self._knot, self._labels = _Knot(), labels
                for saying in sorted(sayings, key=lambda one: -one.revision):
                    self._knot.take(saying)
            there = self._catalog.clusters.places(self._knot.items())
        return self._knot.ties({*there})


def _of_labels(catalog: Catalog) -> Iterator[_Saying]:
    """Labels of items; those of mere titles teach the model, and tie nothing."""
    cursor: str | None = None
    while True:
        labels, cursor = catalog.labels.page(cursor, _PAGE)
        yield from (_of_label(label) for label in labels if label.of == "items" and label.verdict != "skip")
        if cursor is None:
            return


def _of_label(label: Label) -> _Saying:
    pair = label.left, label.right
    return _Saying(label.revision, (pair,)) if label.verdict == "same" else _Saying(label.revision, (), (pair,))


def _of_events(catalog: Catalog, after: int) -> Iterator[_Saying]:
    """What later events than one said, in no order that means anything."""
    moves: _Moves = lru_cache(maxsize=256)(catalog.clusters.moves)  # one rebuild made many of the clusters
    for kind in _BY_HAND:
        for event in _events(catalog, kind=kind):
            if event.id <= after:
                break
            if event.by_hand and event.moved:
                yield _of_event(catalog, event, moves)


def _of_event(catalog: Catalog, event: Event, moves: _Moves) -> _Saying:
    came, left = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for move in moves(event.id):
        if move.after is not None:
            came[move.after].add(move.item)
        if move.before is not None:
            left[move.before].add(move.item)
    stood = {cluster: _members(catalog, cluster, event.id, moves) for cluster in came.keys() | left.keys()}
    # Items that were put into a cluster of their own are only known to differ from the rest.
    together = [tuple(sorted(stood[cluster])) for cluster, items in came.items() if stood[cluster] - items]
    apart = [(one, other) for cluster, items in left.items() for one in items for other in stood[cluster]]
    return _Saying(event.revision, tuple(sorted(together)), tuple(sorted(apart)))


def _members(catalog: Catalog, cluster: str, event: int, moves: _Moves) -> set[str]:
    """The items that stood in a cluster when an event had happened."""
    members: set[str] = set()
    for earlier in reversed(list(_events(catalog, cluster=cluster, until=event))):
        for move in moves(earlier.id):
            if move.before == cluster:
                members.discard(move.item)
            if move.after == cluster:
                members.add(move.item)
    return members


def _events(
    catalog: Catalog, *, kind: EventKind | None = None, cluster: str | None = None, until: int | None = None
) -> Iterator[Event]:
    """The trail, newest first; see ``Clusters.events``."""
    before = None if until is None else until + 1
    while page := catalog.clusters.events(before, _PAGE, kind=kind, cluster=cluster):
        yield from page
        before = page[-1].id


class _Knot:
    """Sayings, taken one after the other, the latest first: what contradicts those before it is not taken."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._foes: dict[str, set[str]] = {}

    def take(self, saying: _Saying) -> None:
        for group in saying.together:
            heads: list[str] = []
            for item in group:
                # Of a group that was taken apart since, those that still may stay together.
                head = next((one for one in heads if self._root(one) not in self._foes[self._root(item)]), None)
                if head is None:
                    heads.append(item)
                else:
                    self._join(self._root(head), self._root(item))
        for left, right in saying.apart:
            one, other = self._root(left), self._root(right)
            if one != other:
                self._foes[one].add(other)
                self._foes[other].add(one)

    def items(self) -> list[str]:
        return list(self._parent)

    def ties(self, there: set[str]) -> Ties:
        """What is known of the items that are there, in a fixed order."""
        groups = defaultdict[str, list[str]](list)
        for item in sorted(there):
            groups[self._root(item)].append(item)
        apart = {
            (min(one[0], groups[foe][0]), max(one[0], groups[foe][0]))
            for root, one in list(groups.items()) for foe in self._foes[root] if foe in groups
        }  # fmt: skip
        return Ties(tuple(sorted(tuple(one) for one in groups.values() if len(one) > 1)), tuple(sorted(apart)))

    def _root(self, item: str) -> str:
        root = self._parent.setdefault(item, item)
        self._foes.setdefault(item, set())
        while root != (above := self._parent[root]):
            root = above
        while item != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def _join(self, one: str, other: str) -> None:
        if one == other:
            return
        self._parent[other] = one
        for foe in self._foes.pop(other):
            self._foes[foe].discard(other)
            self._foes[foe].add(one)
            self._foes[one].add(foe)
        self._foes[other] = set()
