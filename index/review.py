"""The review queue: pairs of a living catalogue whose labels would teach most, with a share that keeps figures honest.

Worth a label are pairs near the probability from which they are accepted, merges that were proposed, the least probable
pair of a loose cluster, and accepted pairs that differ in a number. Labels of such pairs alone would make a model look
worse than it is, so some pairs are plain draws of the accepted and of the refused ones. What is labelled, or follows
from labels, is not asked again; no cluster is asked about twice while others wait.

It looks at a draw of the nodes, not at all of them: seconds, however large the catalogue. It knows snapshots, the trail
and labels. It does not know what is learnt from a label; ``training.relearn`` weighs pairs by how many there are like
them, because those asked here are no fair sample.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
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
_BLOCK = 256  # nodes whose candidates are weighed at once
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
    none = np.empty(0, np.int64)
    found = [(none, none, np.empty(0, np.float64))]
    for start in range(0, len(drawn), _BLOCK):
        block = drawn[start : start + _BLOCK]
        at, near, probabilities, _ = snapshot.around(block)
        kept = probabilities >= LEAST
        own, near = block[at[kept]], near[kept]
        found.append((np.minimum(own, near), np.maximum(own, near), probabilities[kept]))
    left, right = np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])
    probabilities = np.concatenate([one[2] for one in found])
    once = np.unique(np.stack([left, right]), axis=1, return_index=True)[1]
    return Draw(left[once], right[once], probabilities[once])


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
            "proposed": iter(_proposed(snapshot, catalog)), "loose": iter(_loose(snapshot, catalog)),
            **{why: iter(some) for why, some in _of_draw(snapshot, drawn, seed).items()},
        }  # fmt: skip
        return queue.fill(options, limit)


_Option = tuple[str, str, float]  # two items, and the probability that they are one product


def _of_draw(snapshot: Snapshot, drawn: Draw, seed: int) -> dict[Why, list[_Option]]:
    """The pairs of a draw by why they would be asked, the first to ask first."""
    decision, p = snapshot.decision, drawn.probabilities
    boundary = logits_of(np.array([0.5, decision.threshold, decision.cluster_threshold]))
    far = np.abs(logits_of(p)[:, None] - boundary).min(axis=1) // _WIDTH
    accepted = np.flatnonzero(p >= decision.threshold)
    evidence = snapshot.between(drawn.left[accepted], drawn.right[accepted])
    numbers = (evidence[:, _NUMBERS] == Verdict.DIFFERENT).any(axis=1)
    places: dict[Why, Ids] = {
        "uncertain": np.flatnonzero(far <= 1 / _WIDTH), "number": accepted[numbers],
        "accepted": accepted, "refused": np.flatnonzero(p < decision.threshold),
    }  # fmt: skip
    names = {node: min(snapshot.items(node)) for node in np.unique([drawn.left, drawn.right]).tolist()}
    chance = [_chance(seed, names[a], names[b]) for a, b in zip(drawn.left.tolist(), drawn.right.tolist(), strict=True)]
    told: dict[Why, list[_Option]] = {}
    for why, some in places.items():
        nearest = far[some] if why == "uncertain" else np.zeros(len(some))
        order = sorted(zip(nearest.tolist(), [chance[at] for at in some.tolist()], some.tolist(), strict=True))
        told[why] = [
            (names[int(drawn.left[at])], names[int(drawn.right[at])], float(p[at])) for _, _, at in order
        ]  # fmt: skip
    return told


def _chance(seed: int, left: str, right: str) -> bytes:
    """A place by lot, the same for the same pair."""
    return hashlib.blake2b(f"{seed}\0{left}\0{right}".encode(), digest_size=8).digest()


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
        pairs = _judged(snapshot, [(item.id, other) for other in others])
        if pairs:
            yield max(pairs, key=lambda one: (one[2], one[1]))


def _loose(snapshot: Snapshot, catalog: Catalog) -> Iterator[_Option]:
    """Of each cluster that holds together badly the least probable pair, loosest first."""
    for cluster in catalog.clusters.page("loosest", limit=_CLUSTERS)[0]:
        if cluster.cohesion is None:
            return
        items = [item.id for item in catalog.page(None, _MEMBERS, cluster=cluster.id).items]
        pairs = _judged(snapshot, list(combinations([id for id in items if snapshot.node(id) >= 0], 2)))
        if pairs:
            yield min(pairs, key=lambda one: (one[2], one[0], one[1]))


def _judged(snapshot: Snapshot, pairs: Sequence[tuple[str, str]]) -> list[_Option]:
    """The pairs of different titles among these, with their probabilities."""
    ends = np.array([[snapshot.node(id) for id in pair] for pair in pairs], np.int64).reshape(-1, 2)
    probabilities = snapshot.decision.probability(snapshot.between(ends[:, 0], ends[:, 1])).tolist()
    several = zip(pairs, ends.tolist(), probabilities, strict=True)
    return [(*pair, probability) for pair, (one, other), probability in several if one != other]


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
    return [("item", id), ("title", key_of(title) or f"\0{id}")]


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
