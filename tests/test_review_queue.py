"""The review queue: nobody is shown what somebody else has before them, and what was left comes back."""

from __future__ import annotations

from typing import Any

from api.review_queue import ReviewQueue
from index.ledger import Label
from index.listings import Item
from index.review import Suggestion


class Desk:
    """Suggests pairs that have no label, the same ones first each time."""

    def __init__(self, pairs: int) -> None:
        self.pairs = [Suggestion(Item(f"a{n}", "x"), Item(f"b{n}", "y"), 0.5, "", "uncertain") for n in range(pairs)]
        self.labels: dict[frozenset[str], Label] = {}
        self.asked: list[tuple[int, int]] = []
        self.now = 0.0

    def suggest(self, limit: int, seed: int) -> list[Suggestion]:
        self.asked.append((limit, seed))
        return [pair for pair in self.pairs if self.find(pair.left.id, pair.right.id) is None][:limit]

    def find(self, left: str, right: str) -> Label | None:
        return self.labels.get(frozenset((left, right)))

    def label(self, pair: Suggestion) -> None:
        self.labels[frozenset((pair.left.id, pair.right.id))] = Label(pair.left.id, pair.right.id, "same", "me")

    def queue(self) -> ReviewQueue:
        return ReviewQueue(self.suggest, self.find, lambda: self.now)


def name(pair: Any) -> str:
    return str(pair.left.id) if pair else "none"


def test_two_people_get_different_pairs() -> None:
    desk = Desk(3)
    queue = desk.queue()
    assert [name(queue.next()) for _ in range(4)] == ["a0", "a1", "a2", "none"]


def test_what_was_answered_is_not_asked_again() -> None:
    desk = Desk(40)
    queue = desk.queue()
    seen = []
    while pair := queue.next():
        seen.append(name(pair))
        desk.label(pair)
        desk.now += 1
    assert sorted(seen) == sorted(f"a{n}" for n in range(40))
    assert [seed for _, seed in desk.asked] == list(range(len(desk.asked)))


def test_what_somebody_else_labelled_meanwhile_is_passed_over() -> None:
    desk = Desk(3)
    queue = desk.queue()
    queue.next()
    desk.label(desk.pairs[1])
    assert name(queue.next()) == "a2"


def test_what_was_left_comes_back() -> None:
    desk = Desk(1)
    queue = desk.queue()
    assert (name(queue.next()), name(queue.next())) == ("a0", "none")
    desk.now = 301.0
    assert name(queue.next()) == "a0"


def test_nothing_to_ask_is_nothing() -> None:
    assert Desk(0).queue().next() is None
