"""Answers: what a catalogue has to say to a title, from the candidates it finds for it to matches in words.

It knows nodes by number, their evidence and a decision. It does not know how candidates are found, or whether the
catalogue ever changes: ``Matcher`` and ``Snapshot`` do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np

from embedder.errors import InputError
from index.clustering import Ids, assign_best
from index.decision import Decision, check_threshold
from index.evidence import EVIDENCE
from index.nodes import WIDTH, key_of
from index.reasons import reason_between, said
from index.scene import LEAST
from index.vectors import Neighbours
from index.wording import Numbers


@dataclass(frozen=True)
class Match:
    """One item of the catalogue that is the same product as a query.

    Attributes:
        id, title: the item's, as given.
        score: cosine after blending.
        probability: that it is the same product as the query, calibrated, between 0 and 1.
        reason: in words.
    """

    id: str
    title: str
    score: float
    probability: float
    reason: str


@dataclass(frozen=True)
class Answer:
    """What a catalogue has to say to a title.

    Attributes:
        matches: the items that are the same product, most probable first.
        near_misses: the most probable ones of those that are not.
    """

    matches: list[Match]
    near_misses: list[Match]


Judged = tuple[int, float, float]
"""A candidate node of a title, its probability and its blended cosine."""
_BLENDED = EVIDENCE.index("blended_cosine")


def assigned(answers: Sequence[Sequence[Match]]) -> list[list[Match]]:
    """Each item to its single best query: of the matches of many titles, those whose title is the item's most probable.

    As the winner of Naver AI RUSH 2021, task 2-5, did; see ``index.clustering.assign_best``. Of equally probable titles
    the first one has the item.
    """
    asked: dict[str, list[tuple[int, float]]] = {}
    for row, some in enumerate(answers):
        for match in some:
            asked.setdefault(match.id, []).append((row, match.probability))
    shape = len(asked), max(map(len, asked.values()), default=0)
    lists = Neighbours(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
    for item, told in enumerate(asked.values()):
        lists.ids[item, : len(told)], lists.scores[item, : len(told)] = zip(*told, strict=True)
    owner = dict(zip(asked, assign_best(lists, 0.0).tolist(), strict=True))
    return [[match for match in some if owner[match.id] == row] for row, some in enumerate(answers)]


@dataclass(frozen=True)
class Ask:
    """A title, and how much is asked about it.

    Attributes:
        title: raw; one that the encoder cannot read gets no matches.
        k: matches at most, at least 1.
        threshold: the probability from which a pair is accepted; by default the set whose expected F1 is best is.
        near_misses: at most, at least 0.

    Raises:
        InputError: k, threshold or near_misses out of range.
    """

    title: str
    k: int = 10
    threshold: float | None = None
    near_misses: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k is {self.k}; expected at least 1")
        if self.near_misses < 0:
            raise InputError(f"near_misses is {self.near_misses}; expected at least 0")
        if self.threshold is not None:
            check_threshold(self.threshold)


class Answerer(ABC):
    """A catalogue that answers titles; what it holds, and how it finds candidates, is told by those that are one."""

    decision: Decision

    @property
    @abstractmethod
    def shift(self) -> float:
        """Logits by which the catalogue's own pairs are more probable than evidence has it; see ``index.prior``."""

    def match(self, titles: Sequence[str], *, k: int = 10, threshold: float | None = None) -> list[list[Match]]:
        """The items that are the same product as each title: ``matches`` of ``answer``, whose arguments these are."""
        return [one.matches for one in self.answer(titles, k=k, threshold=threshold)]

    def answer(
        self, titles: Sequence[str], *, k: int = 10, threshold: float | None = None, near_misses: int = 0
    ) -> list[Answer]:
        """What the catalogue has to say to each title; the other arguments are those of ``Ask``.

        Raises:
            InputError: k, threshold or near_misses out of range.
        """
        return self.answers([Ask(title, k, threshold, near_misses) for title in titles])

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """What the catalogue has to say to each of some titles. One that it holds is answered as its row is judged."""
        own = [self._node(key_of(ask.title)) for ask in asks]
        every = self._judge([ask.title for ask in asks], np.array(own, np.int64))
        answers = []
        for ask, judged, accepted in zip(asks, every, self._accepted(asks, own, every), strict=True):
            matches = self._told(ask.title, judged[:accepted], ask.k)
            misses = self._told(ask.title, judged[accepted:], ask.near_misses)
            answers.append(Answer(matches, misses))
        return answers

    def _told(self, title: str, judged: Sequence[Judged], most: int) -> list[Match]:
        """The items of nodes, in their order."""
        told: list[Match] = []
        if not (judged and most):
            return told
        asked = said(title)
        for node, probability, score in judged:
            if len(told) >= most:
                break
            why, items = reason_between(asked, said(self._text(node))), self._members(node)[: most - len(told)]
            told += [Match(*self._item(item), score, probability, why) for item in items]
        return told

    def _accepted(self, asks: Sequence[Ask], own: Sequence[int], every: Sequence[Sequence[Judged]]) -> list[int]:
        """How many of the candidate nodes of each title, most probable first, are accepted."""
        counts: list[int] = []
        choosing: list[tuple[int, list[int], list[float]]] = []
        for row, (ask, judged) in enumerate(zip(asks, every, strict=True)):
            least = LEAST if ask.threshold is None else max(LEAST, ask.threshold)
            counts.append(sum(probability >= least for _, probability, _ in judged))
            if counts[row] and ask.threshold is None:
                # As items, whose number F1 counts; the choice among n of them takes n * n steps.
                sizes = [len(self._members(node)) for node, _, _ in judged[: counts[row]]]
                chances = (chance for (_, chance, _), size in zip(judged, sizes, strict=False) for _ in range(size))
                choosing.append((row, sizes, list(islice(chances, WIDTH))))
        table = np.zeros((len(choosing), max((len(listed) for _, _, listed in choosing), default=0)))
        for at, (_, _, listed) in enumerate(choosing):
            table[at, : len(listed)] = listed
        shift = np.array([self.shift if own[row] >= 0 else 0.0 for row, _, _ in choosing])
        chosen = self.decision.accepted(table, shift=shift).tolist()
        for (row, sizes, _), items in zip(choosing, chosen, strict=True):
            counts[row] = bisect_left(list(accumulate(sizes)), items) + 1 if items else 0
        return counts

    def _judge(self, titles: Sequence[str], asked: Ids) -> list[list[Judged]]:
        """Candidate nodes of each title, most probable first; ``asked`` is the title's own node, -1 for none."""
        judged: list[list[Judged]] = [[] for _ in titles]
        fresh, known = np.flatnonzero(asked < 0), np.flatnonzero(asked >= 0)
        if len(fresh):
            new = self._judge_new([titles[row] for row in fresh.tolist()])
            for row, found in zip(fresh.tolist(), new, strict=True):
                judged[row] = found
        if len(known):
            for row, found in zip(known.tolist(), self._judge_known(asked[known]), strict=True):
                judged[row] = found
        return judged

    def _weigh(self, rows: int, at: Ids, near: Ids, evidence: Numbers) -> list[list[Judged]]:
        """The nodes ``near`` by the row ``at`` which each stands, most probable first."""
        probabilities, scores = self.decision.probability(evidence), evidence[:, _BLENDED]
        order = np.lexsort((near, -probabilities, at))
        judged: list[list[Judged]] = [[] for _ in range(rows)]
        told = zip(at[order].tolist(), near[order].tolist(), probabilities[order].tolist(), scores[order].tolist(),
                   strict=True)  # fmt: skip
        for row, node, probability, score in told:
            judged[row].append((node, probability, score))
        return judged

    @abstractmethod
    def _node(self, key: str) -> int:
        """The node of a cleaned title, as ``key_of`` makes it; -1 for none that can be read."""

    @abstractmethod
    def _text(self, node: int) -> str:
        """The raw title that stands for a node."""

    @abstractmethod
    def _members(self, node: int) -> Sequence[int]:
        """The items of a node."""

    @abstractmethod
    def _item(self, item: int) -> tuple[str, str]:
        """Id and title of an item."""

    @abstractmethod
    def _judge_known(self, nodes: Ids) -> list[list[Judged]]:
        """Candidates of nodes of the catalogue, each itself among them, most probable first."""

    @abstractmethod
    def _judge_new(self, titles: Sequence[str]) -> list[list[Judged]]:
        """Candidates of raw titles that no node has, most probable first."""
