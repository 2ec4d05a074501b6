"""The review queue: pairs of a living catalogue whose labels would teach most, with a share that keeps figures honest.

Worth a label are pairs near the probability from which they are accepted, merges that were proposed, the least probable
pair of a loose cluster, and accepted pairs that differ in a number. Labels of such pairs alone would make a model look
worse than it is, so some pairs are plain draws of the accepted and of the refused ones. What is labelled, or follows
from labels, is not asked again; no cluster is asked about twice while others wait.

It looks at a draw of the nodes, not at all of them. Their pairs were judged when the base was made, but for those of
items that came since; what else is to be known of a pair is worked out when its turn comes. So it takes no longer for a
large catalogue. It knows snapshots, the trail and labels. It does not know what is learnt from a label;
``training.relearn`` weighs pairs by how many there are like them, because those asked here are no fair sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, pairwise
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from index.catalog import Catalog
from index.clustering import Ids
from index.correction import logits_of
from index.evidence import EVIDENCE
from index.ledger import Label
from index.listings import Item
from index.living import LivingMatcher
from index.nodes import key_of
from index.reasons import reason
from index.scene import LEAST
from index.snapshot import Snapshot
from index.verdict import Verdict

Why = Literal["uncertain", "proposed", "loose", "number", "accepted", "refused"]
SHARES: Mapping[Why, float] = MappingProxyType(
    {"uncertain": 0.35, "proposed": 0.1, "loose": 0.1, "number": 0.15, "accepted": 0.15, "refused": 0.15}
)
"""How much of a queue is of each kind, as far as there are such pairs."""
NODES = 1_000
"""Nodes whose candidates are looked at."""
_EVENTS, _CLUSTERS, _MEMBERS = 200, 100, 10  # proposals, loose clusters, and items of one that are looked at
_BLOCK = 1 << 13  # pairs that are weighed at once
_AT_ONCE = 8  # loose clusters that are looked at together
_FEW = 128  # accepted pairs that are looked through at once for numbers that differ
_WHOLE = (1 << 64) - 1
_WIDTH = 0.25  # logits within which no pair counts as nearer to the boundary than another
_PAGE = 1_000
_NUMBERS = [
    at
    for at, name in enumerate(EVIDENCE)
    if name.startswith("quantity_") or name in ("trait_number", "trait_model_code")
]


@dataclass(frozen=True)
class Suggestion:
    """A pair to label.

    Attributes:
        left, right: the items, with their sellers and clusters.
        probability: that they are one product, as the catalogue's decision has it now.
        reason: what speaks for and against it, in words.
        why: it is asked: "uncertain" (near the boundary), "proposed" (a merge that waits), "loose" (least probable
            pair of a cluster that holds together badly), "number" (accepted, but a number differs), or a plain draw
            of the "accepted" or the "refused" pairs.
    """

    left: Item
    right: Item
    probability: float
    reason: str
    why: Why


@dataclass(frozen=True)
class Draw:
    """Candidate pairs of nodes, each drawn as likely as any other; all arrays of one length.

    Attributes:
        left, right: nodes, the smaller one left; int64.
        probabilities: float64.
    """

    left: Ids
    right: Ids
    probabilities: npt.NDArray[np.float64]


def draw(snapshot: Snapshot, nodes: int = NODES, seed: int = 0) -> Draw:
    """The candidate pairs of a draw of the nodes, but for those so improbable that they are forgotten.

    The same snapshot and seed give the same pairs, and mostly do so still after some items have come.
    """
    there = snapshot.nodes
    place = np.random.default_rng(seed).random(int(there.max(initial=-1)) + 1)[there]
    drawn = np.sort(there[np.argsort(place, kind="stable")[:nodes]])
    found = [_judged_with_base(snapshot, drawn)]
    at, near = snapshot.ways(drawn)
    own = drawn[at]
    if snapshot.base.pairs is not None:  # what stands in the base alone was judged with it
        fresh = np.maximum(own, near) >= snapshot.fresh.start
        own, near = own[fresh], near[fresh]
    for start in range(0, len(own), _BLOCK):
        block = slice(start, start + _BLOCK)
        probabilities = snapshot.decision.probability(snapshot.between(own[block], near[block]))
        kept = probabilities >= LEAST
        one, other = own[block][kept], near[block][kept]
        found.append(Draw(np.minimum(one, other), np.maximum(one, other), probabilities[kept]))
    left, right = np.concatenate([one.left for one in found]), np.concatenate([one.right for one in found])
    once = np.unique(left * (len(snapshot.dead) + 1) + right, return_index=True)[1]  # both ends may be drawn
    return Draw(left[once], right[once], np.concatenate([one.probabilities for one in found])[once])


def _judged_with_base(snapshot: Snapshot, drawn: Ids) -> Draw:
    """The pairs of some nodes that were judged when the base was made; none where that was not done yet."""
    if snapshot.base.pairs is None:
        return Draw(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    edges, dead = snapshot.base.pairs.edges, snapshot.dead
    wanted = np.zeros(len(dead), bool)
    wanted[drawn] = True
    at = np.flatnonzero(wanted[edges.left] | wanted[edges.right])
    at = at[~(dead[edges.left[at]] | dead[edges.right[at]])]
    return Draw(edges.left[at], edges.right[at], edges.scores[at].astype(np.float64))


def suggest(
    living: LivingMatcher, catalog: Catalog, limit: int = 20, *, seed: int = 0, nodes: int = NODES
) -> list[Suggestion]:
    """The pairs to label next; any first part of the list is mixed as the whole.

    Args:
        living: the catalogue as it is searched.
        catalog: its store.
        limit: of pairs, at least 1.
        seed: of the draw; the same one, snapshot and labels give the same pairs.
        nodes: to look at.

    Raises:
        InputError: limit below 1.
    """
    if limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1")
    snapshot = living.snapshot
    drawn = draw(snapshot, nodes, seed)
    with catalog.snapshot():
        queue = _Queue(snapshot, catalog, _Said.of(catalog))
        options: dict[Why, Iterator[_Option]] = {
            "proposed": _proposed(snapshot, catalog), "loose": _loose(snapshot, catalog),
            **_of_draw(snapshot, drawn, seed),
        }  # fmt: skip
        return queue.fill(options, limit)


_Option = tuple[str, str, float]  # two items, and the probability that they are one product


def _of_draw(snapshot: Snapshot, drawn: Draw, seed: int) -> dict[Why, Iterator[_Option]]:
    """The pairs of a draw by why they would be asked, the first to ask first; looked at when they are asked for."""
    decision, p = snapshot.decision, drawn.probabilities
    boundary = logits_of(np.array([0.5, decision.threshold, snapshot.cluster_threshold]))
    far = np.abs(logits_of(p)[:, None] - boundary).min(axis=1) // _WIDTH
    lots = np.argsort(_lots(drawn, seed))
    nearest = lots[np.argsort(far[lots], kind="stable")]
    accepted = p >= decision.threshold
    sure, unsure = lots[accepted[lots]], lots[~accepted[lots]]
    return {
        "uncertain": _named(snapshot, drawn, nearest[far[nearest] <= 1 / _WIDTH]),
        "number": chain.from_iterable(
            _named(snapshot, drawn, _with_numbers(snapshot, drawn, sure[start : start + _FEW]))
            for start in range(0, len(sure), _FEW)
        ),
        "accepted": _named(snapshot, drawn, sure), "refused": _named(snapshot, drawn, unsure),
    }  # fmt: skip


def _named(snapshot: Snapshot, drawn: Draw, places: Ids) -> Iterator[_Option]:
    """The pairs at some places of a draw, each node by the first of its items."""
    for at in places.tolist():
        left, right = (min(snapshot.items(int(ends[at]))) for ends in (drawn.left, drawn.right))
        yield left, right, float(drawn.probabilities[at])


def _with_numbers(snapshot: Snapshot, drawn: Draw, places: Ids) -> Ids:
    """Those of some places of a draw whose pairs differ in a number."""
    evidence = snapshot.between(drawn.left[places], drawn.right[places])
    different = np.flatnonzero((evidence[:, _NUMBERS] == Verdict.DIFFERENT).any(axis=1))
    return places[different]


def _lots(drawn: Draw, seed: int) -> npt.NDArray[np.uint64]:
    """A lot for each pair, the same for the same nodes: mixed as in SplitMix64 (Steele, Lea and Flood, 2014)."""
    lots = np.full(len(drawn.left), seed & _WHOLE, np.uint64)
    for ends in (drawn.left, drawn.right):
        lots = (lots ^ ends.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            lots = (lots ^ (lots >> np.uint64(shift))) * np.uint64(factor)
        lots = lots ^ (lots >> np.uint64(31))
    return lots


def _proposed(snapshot: Snapshot, catalog: Catalog) -> Iterator[_Option]:
    """The item for which a merge was proposed, with the nearest of the other cluster; the last proposals first."""
    for event in catalog.clusters.events(limit=_EVENTS, kind="propose"):
        id, clusters = event.detail.get("item"), set(event.detail.get("clusters", ()))
        item = catalog.get(str(id))
        if item is None or item.cluster not in clusters or snapshot.node(item.id) < 0:
            continue
        others = [
            one.id for cluster in clusters - {item.cluster}
            for one in catalog.page(None, _MEMBERS, cluster=str(cluster)).items if snapshot.node(one.id) >= 0
        ]  # fmt: skip
        pairs = [one for one in _judged(snapshot, [(item.id, other) for other in others]) if one is not None]
        if pairs:
            yield max(pairs, key=lambda one: (one[2], one[1]))


def _loose(snapshot: Snapshot, catalog: Catalog) -> Iterator[_Option]:
    """Of each cluster that holds together badly the least probable pair, loosest first."""
    loosest = [one.id for one in catalog.clusters.page("loosest", limit=_CLUSTERS)[0] if one.cohesion is not None]
    for start in range(0, len(loosest), _AT_ONCE):
        pairs, ends = list[tuple[str, str]](), [0]
        for cluster in loosest[start : start + _AT_ONCE]:
            ids = [item.id for item in catalog.page(None, _MEMBERS, cluster=cluster).items]
            pairs += combinations([id for id in ids if snapshot.node(id) >= 0], 2)
            ends.append(len(pairs))
        judged = _judged(snapshot, pairs)
        for first, stop in pairwise(ends):
            of_titles = [one for one in judged[first:stop] if one is not None]
            if of_titles:
                yield min(of_titles, key=lambda one: (one[2], one[0], one[1]))


def _judged(snapshot: Snapshot, pairs: Sequence[tuple[str, str]]) -> list[_Option | None]:
    """The pairs with their probabilities; None in place of one of equal titles."""
    ends = np.array([[snapshot.node(id) for id in pair] for pair in pairs], np.int64).reshape(-1, 2)
    probabilities = snapshot.decision.probability(snapshot.between(ends[:, 0], ends[:, 1])).tolist()
    several = zip(pairs, ends.tolist(), probabilities, strict=True)
    return [(*pair, probability) if one != other else None for pair, (one, other), probability in several]


class _Said:
    """What people have said of pairs, and what follows from it: of items, and of titles whosever they are."""

    def __init__(self) -> None:
        self._above: dict[tuple[str, str], tuple[str, str]] = {}
        self._asked: set[frozenset[tuple[str, str]]] = set()
        self._different: list[tuple[tuple[str, str], tuple[str, str]]] = []
        self._foes: set[frozenset[tuple[str, str]]] = set()

    @classmethod
    def of(cls, catalog: Catalog) -> _Said:
        """All labels."""
        said, cursor = cls(), None
        while True:
            labels, cursor = catalog.labels.page(cursor, _PAGE)
            for label in labels:
                said._take(label)
            if cursor is None:
                said._foes = {frozenset((said._root(one), said._root(other))) for one, other in said._different}
                return said

    def knows(self, left: Item, right: Item) -> bool:
        """Whether the pair need not be asked."""
        ends = zip(_names(left.id, left.title), _names(right.id, right.title), strict=True)
        return any(self._known(one, other) for one, other in ends)

    def _known(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        if one == other or frozenset((one, other)) in self._asked:
            return True
        a, b = self._root(one), self._root(other)
        return a == b or frozenset((a, b)) in self._foes

    def _take(self, label: Label) -> None:
        lefts, rights = _names(label.left, label.left_title), _names(label.right, label.right_title)
        for one, other in list(zip(lefts, rights, strict=True))[label.of == "titles" :]:
            self._asked.add(frozenset((one, other)))
            if label.verdict == "same":
                self._above[self._root(one)] = self._root(other)
            elif label.verdict == "different":
                self._different.append((one, other))

    def _root(self, one: tuple[str, str]) -> tuple[str, str]:
        while (above := self._above.get(one, one)) != one:
            self._above[one] = self._above.get(above, above)
            one = above
        return one


def _names(id: str, title: str) -> list[tuple[str, str]]:
    return [("item", id), ("title", _key_of(title) or f"\0{id}")]


@lru_cache(maxsize=1 << 16)
def _key_of(title: str) -> str:
    """The same labels are read for every queue: their titles are cleaned once."""
    return key_of(title)


class _Queue:
    """Suggestions, taken one by one from several lists, each cluster as seldom as can be."""

    def __init__(self, snapshot: Snapshot, catalog: Catalog, said: _Said) -> None:
        self._snapshot, self._catalog, self._said = snapshot, catalog, said
        self._used: Counter[str] = Counter()
        self._chosen: set[frozenset[str]] = set()

    def fill(self, options: Mapping[Why, Iterator[_Option]], limit: int) -> list[Suggestion]:
        """At most ``limit`` suggestions of the options, by their shares."""
        taken: list[Suggestion] = []
        counts: Counter[Why] = Counter()
        again: dict[Why, list[_Option]] = {why: [] for why in SHARES}
        most = 1
        sources = {why: iter(some) for why, some in options.items()}
        while len(taken) < limit and (sources or any(again.values())):
            if not sources:  # those that were passed over, because their cluster had been asked about
                most *= 2
                sources, again = {why: iter(some) for why, some in again.items() if some}, {why: [] for why in SHARES}
            why = max(sources, key=lambda one: (SHARES[one] * (len(taken) + 1) - counts[one], SHARES[one]))
            found = self._next(sources[why], why, most, again[why].append)
            if found is None:
                del sources[why]
            else:
                taken.append(found)
                counts[why] += 1
        return taken

    def _next(
        self, some: Iterator[_Option], why: Why, most: int, wait: Callable[[_Option], object]
    ) -> Suggestion | None:
        """The next one of a list that may be asked."""
        for option in some:
            left, right = (self._catalog.get(id) for id in option[:2])
            if left is None or right is None or frozenset((left.id, right.id)) in self._chosen:
                continue
            if any(item.title != self._snapshot.title(item.id) for item in (left, right)):
                continue  # it has changed since
            if self._said.knows(left, right):
                continue
            clusters = {item.cluster or f"\0{item.id}" for item in (left, right)}
            if any(self._used[cluster] >= most for cluster in clusters):
                wait(option)
                continue
            self._used.update(clusters)
            self._chosen.add(frozenset((left.id, right.id)))
            return Suggestion(left, right, option[2], reason(left.title, right.title), why)
        return None
