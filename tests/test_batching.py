"""Titles of many requests are answered together as each would be alone, in turn, in bounds, and by one revision."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import HTTPException
from living import DECISION, QUERIES, TITLES

from api import batching
from api.batching import Batcher, Told
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.answers import Answer, Ask, Match
from index.catalog import Catalog
from index.listings import Item
from index.living import LivingMatcher, Pace
from index.snapshot import Snapshot

NOTHING = Answer([], [])


class Stand:
    """A catalogue of one revision that answers each title with itself, and fails at some."""

    def __init__(self, living: Fake, revision: int) -> None:
        self.living, self.revision = living, revision

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        titles = [ask.title for ask in asks]
        with self.living.lock:
            self.living.batches.append(titles)
        self.living.begun.release()
        assert self.living.gate.wait(20)
        if any("bad" in title for title in titles):
            raise InputError("a bad title")
        if any("panic" in title for title in titles):
            raise SystemExit("no Exception")
        told = f"r{self.revision}"
        return [
            Answer([Match(title, told, 1.0, 1.0, told)][: ask.k], []) for title, ask in zip(titles, asks, strict=True)
        ]


class Fake:
    """A catalogue that changes when told, works when let, and remembers what was asked at once."""

    def __init__(self) -> None:
        self.lock, self.gate, self.begun = threading.Lock(), threading.Event(), threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.snapshot = Stand(self, 1)
        self.gate.set()

    def change(self) -> None:
        self.snapshot = Stand(self, self.snapshot.revision + 1)

    async def working(self) -> None:
        """Wait until one more batch is begun."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=20)


@contextmanager
def batching_with(workers: int = 1, titles: int = 10_000) -> Iterator[Batcher]:
    batcher = Batcher(workers, titles)
    try:
        yield batcher
    finally:
        batcher.close()


def asks(*titles: str) -> list[Ask]:
    return [Ask(title) for title in titles]


def named(ask: Ask, answer: Answer) -> str:
    assert [match.id for match in answer.matches] == [ask.title]
    return f"{ask.title} {answer.matches[0].reason}"


async def begin(batcher: Batcher, living: Fake, *titles: str) -> asyncio.Task[Told[str]]:
    """Ask, and let the request get into the line."""
    task = asyncio.ensure_future(batcher.ask(asks(*titles), living, named))
    await asyncio.sleep(0)
    return task


def test_a_lone_request_is_answered_at_once() -> None:
    living = Fake()

    async def alone() -> Told[str]:
        return await batcher.ask(asks("a", "b"), living, named)

    with batching_with() as batcher:
        assert asyncio.run(alone()) == Told(1, ["a r1", "b r1"])
        assert living.batches == [["a", "b"]]
        assert batcher.titles == 0


def test_what_comes_meanwhile_is_one_batch() -> None:
    living = Fake()

    async def several() -> None:
        living.gate.clear()
        tasks = [await begin(batcher, living, "first")]
        await living.working()
        tasks += [await begin(batcher, living, f"a{place}", f"b{place}") for place in range(10)]
        assert batcher.titles == 21
        living.gate.set()
        told = await asyncio.gather(*tasks)
        assert [one.parts for one in told] == [["first r1"]] + [[f"a{n} r1", f"b{n} r1"] for n in range(10)]

    with batching_with() as batcher:
        asyncio.run(several())
    assert living.batches == [["first"], [f"{letter}{place}" for place in range(10) for letter in "ab"]]


def test_many_titles_do_not_keep_one_waiting() -> None:
    living = Fake()

    async def large_and_small() -> None:
        living.gate.clear()
        first = await begin(batcher, living, *(f"a{place}" for place in range(1_000)))
        await living.working()
        second = await begin(batcher, living, *(f"b{place}" for place in range(1_000)))
        small = await begin(batcher, living, "c")
        living.gate.set()
        assert (await small).parts == ["c r1"]
        assert "c" in living.batches[1]
        assert len((await first).parts) == len((await second).parts) == 1_000

    with batching_with() as batcher:
        asyncio.run(large_and_small())
    assert max(map(len, living.batches)) <= batching._BATCH
    mixed = [batch for batch in living.batches if {title[0] for title in batch} >= {"a", "b"}]
    assert len(mixed) > 20
    assert [title for batch in living.batches for title in batch if title[0] == "b"] == [f"b{n}" for n in range(1_000)]


def test_a_batch_is_bounded_by_what_its_titles_cost() -> None:
    living = Fake()
    long = "x" * (batching._SIZE // 4)

    async def one() -> None:
        await batcher.ask([Ask(f"{place}{long}") for place in range(9)], living, named)
        await batcher.ask([Ask(str(place), k=batching._SIZE // 2) for place in range(9)], living, named)

    with batching_with() as batcher:
        asyncio.run(one())
    assert [len(batch) for batch in living.batches] == [4, 4, 1, 2, 2, 2, 2, 1]


def test_more_than_may_wait_is_sent_away_and_a_lone_request_never_is(monkeypatch: pytest.MonkeyPatch) -> None:
    living = Fake()

    async def crowd() -> None:
        living.gate.clear()
        first = await begin(batcher, living, *(f"a{place}" for place in range(50)))
        with pytest.raises(HTTPException) as refused:
            await batcher.ask(asks("b"), living, named)
        assert refused.value.status_code == 503
        assert refused.value.headers is not None and int(refused.value.headers["Retry-After"]) >= 1
        living.gate.set()
        await first
        second = await begin(batcher, living, *"abcdefgh")
        with pytest.raises(HTTPException, match="too many"):
            await batcher.ask(asks("i", "j", "k"), living, named)
        assert (await batcher.ask(asks("i", "j"), living, named)).parts == ["i r1", "j r1"]
        await second
        monkeypatch.setattr(batching, "_HELD", 100)
        living.gate.clear()
        third = await begin(batcher, living, "a" * 200)
        with pytest.raises(HTTPException, match="too many"):
            await batcher.ask(asks("b"), living, named)
        living.gate.set()
        await third

    with batching_with(titles=10) as batcher:
        asyncio.run(crowd())
        assert batcher.titles == 0


def test_who_has_gone_is_not_worked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    living = Fake()
    monkeypatch.setattr(batching, "_LOOK", 0.01)

    async def left() -> bool:
        return True

    async def stays() -> bool:
        return False

    async def visits() -> None:
        living.gate.clear()
        busy = await begin(batcher, living, *(f"a{place}" for place in range(100)))
        await living.working()
        impatient = await begin(batcher, living, "impatient")
        waiting = asyncio.ensure_future(batcher.ask(asks("waits"), living, named, stays))
        with pytest.raises(HTTPException, match="gone"):
            await batcher.ask(asks("left"), living, named, left)
        for task in (impatient, busy):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert batcher.titles == 101, "those of the request in work, and the one that waits"
        living.gate.set()
        assert (await waiting).parts == ["waits r1"]

    with batching_with() as batcher:
        asyncio.run(visits())
        assert batcher.titles == 0
    assert living.batches == [[f"a{place}" for place in range(64)], ["waits"]]


def test_a_title_that_fails_fails_its_request_alone() -> None:
    living = Fake()

    def telling(ask: Ask, answer: Answer) -> str:
        if ask.title == "mute":
            raise ValueError("nothing to tell")
        return named(ask, answer)

    async def some() -> list[Told[str] | BaseException]:
        living.gate.clear()
        first = await begin(batcher, living, "first")
        await living.working()
        tasks = [
            asyncio.ensure_future(batcher.ask(asks(*titles), living, telling))
            for titles in (["a"], ["b", "bad"], ["c", "mute"], ["d"] * 100, ["bad"] + ["e"] * 100, ["f"])
        ]
        await asyncio.sleep(0)
        living.gate.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    for workers in (1, 3):
        with batching_with(workers) as batcher:
            told = asyncio.run(some())
            assert [type(one) for one in told] == [Told, InputError, ValueError, Told, InputError, Told]
            assert batcher.titles == 0


def test_a_worker_outlives_what_is_no_exception() -> None:
    living = Fake()

    async def panic() -> None:
        for _ in range(3):
            task = asyncio.ensure_future(batcher.ask(asks("panic"), living, named))
            await asyncio.wait([task])
            with pytest.raises(RuntimeError, match="no Exception"):
                task.result()
        assert (await batcher.ask(asks("calm"), living, named)).parts == ["calm r1"]

    with batching_with() as batcher:
        asyncio.run(panic())


def test_a_request_is_answered_by_one_revision_and_the_newest_when_it_comes() -> None:
    living = Fake()

    async def changing() -> None:
        living.gate.clear()
        old = await begin(batcher, living, *(f"a{place}" for place in range(200)))
        await living.working()
        living.change()
        new = await begin(batcher, living, "new", *(f"b{place}" for place in range(200)))
        living.change()
        newest = await begin(batcher, living, "newest")
        living.gate.set()
        told = await asyncio.gather(old, new, newest)
        assert [one.revision for one in told] == [1, 3, 3]
        assert all(part.endswith(f"r{one.revision}") for one in told for part in one.parts)

    with batching_with() as batcher:
        asyncio.run(changing())


def test_closing_finishes_what_was_taken_and_refuses_the_rest() -> None:
    living = Fake()
    batcher = Batcher(2, 10_000)

    async def ending() -> None:
        living.gate.clear()
        tasks = [await begin(batcher, living, *(f"{n}a{place}" for place in range(100))) for n in range(5)]
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await living.working()
        while not batcher._closing:
            await asyncio.sleep(0.001)
        with pytest.raises(HTTPException, match="shut down"):
            await batcher.ask(asks("late"), living, named)
        living.gate.set()
        assert [len(told.parts) for told in await asyncio.gather(*tasks)] == [100] * 5
        await closing

    asyncio.run(ending())
    assert not any(thread.is_alive() for thread in batcher._threads)


def test_whatever_comes_is_answered_once_and_room_is_free_again() -> None:
    living = Fake()

    async def client(seed: int) -> int:
        draw, answered = random.Random(seed), 0
        for turn in range(40):
            titles = [f"{seed} {turn} {n} {'bad' * (draw.random() < 0.01)}" for n in range(draw.choice([1, 1, 3, 70]))]
            task = asyncio.ensure_future(batcher.ask([Ask(title, k=5) for title in titles], living, named))
            if draw.random() < 0.1:
                await asyncio.sleep(draw.random() / 500)
                task.cancel()
            if draw.random() < 0.1:
                living.change()
            try:
                told = await task
            except (asyncio.CancelledError, InputError, HTTPException):
                continue
            assert told.parts == [f"{title} r{told.revision}" for title in titles]
            answered += 1
        return answered

    async def clients(seed: int) -> int:
        return sum(await asyncio.gather(*(client(100 * seed + n) for n in range(8))))

    with batching_with(workers=3, titles=300) as batcher:
        with ThreadPoolExecutor(3) as loops:
            assert sum(loops.map(lambda seed: asyncio.run(clients(seed)), range(3))) > 400
        batcher.close()
        assert (batcher.titles, batcher._held, len(batcher._line)) == (0, 0, 0)


def listed(answer: Answer) -> Iterator[tuple[str, ...] | float]:
    """What an answer says; the stand-in for a model adds up columns in an order that hangs on the rows."""
    for match in (*answer.matches, *answer.near_misses):
        yield match.id, match.title, match.reason
        yield match.score
        yield round(match.probability, 9)


@dataclass
class Held:
    """A catalogue that does not go on: writing down clusters makes another revision, too."""

    snapshot: Snapshot


def test_real_answers_are_those_of_each_title_alone(tmp_path: Path, encoder: Encoder) -> None:
    items = [Item(f"i{place:03}", title) for place, title in enumerate(TITLES)]

    async def everybody(batcher: Batcher, living: Held, wanted: list[list[Ask]]) -> list[Told[Answer]]:
        return await asyncio.gather(*(batcher.ask(some, living, lambda _, answer: answer) for some in wanted))

    with Catalog.open(tmp_path / "data") as catalog:
        catalog.put(items)
        with LivingMatcher.open(catalog, encoder, DECISION, device="cpu", pace=Pace(least=10**6)) as living:
            assert living.settle()
            living.rebuild()
            catalog.put([Item("x", "듀라셀 건전지 AA 20개입"), Item("y", f"{TITLES[3]} 새 상품")])
            assert living.settle()
            terms = [(10, None, 0), (3, 0.2, 2), (100, 0.0, 5)]
            wanted = [[Ask(title, *terms[n % 3])] for n, title in enumerate(QUERIES * 3)] + [[Ask(t) for t in QUERIES]]
            held = Held(living.snapshot)
            with batching_with(2) as batcher:
                found = asyncio.run(everybody(batcher, held, wanted))
            for some, told in zip(wanted, found, strict=True):
                assert told.revision == held.snapshot.revision
                alone = [held.snapshot.answers([ask])[0] for ask in some]
                assert [list(listed(one)) for one in told.parts] == [list(listed(one)) for one in alone]
