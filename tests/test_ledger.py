"""Labels are kept one a pair, and jobs are done once, whoever asks and whatever ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embedder.errors import InputError
from index.catalog import Catalog
from index.ledger import Jobs, Label, Labels
from index.listings import Item
from index.store import ConflictError, StorageError


class Time:
    """A clock that goes one second a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, clock=Time()) as opened:
        opened.put([Item("a", "신라면 5봉"), Item("b", "신라면 5개입"), Item("c", "너구리")])
        yield opened


@pytest.fixture
def labels(catalog: Catalog) -> Labels:
    return catalog.labels


@pytest.fixture
def jobs(catalog: Catalog) -> Jobs:
    return catalog.jobs


def test_one_label_a_pair(catalog: Catalog, labels: Labels) -> None:
    first = labels.put([Label("b", "a", "same", "kim"), Label("a", "c", "skip", "kim")])
    kept = labels.get("a", "b")
    assert kept == labels.get("b", "a")
    assert kept is not None
    assert (kept.left, kept.right, kept.left_title, kept.right_title) == ("a", "b", "신라면 5봉", "신라면 5개입")
    second = labels.put([Label("a", "b", "different", "lee")])
    changed = labels.get("a", "b")
    assert changed is not None
    assert changed == replace(kept, verdict="different", who="lee", at=changed.at, revision=second)
    assert (labels.count(), labels.count(since=first), labels.count(since=second)) == (2, 1, 0)
    catalog.delete(["a"])
    assert labels.get("a", "b") == changed, "what was learnt outlives the item"


def test_pairs_of_titles(labels: Labels) -> None:
    labels.put([Label("a", "b", "same", "kim"), Label("b", "a", "different", "kim", of="titles")])
    kept = labels.get("a", "b", "titles")
    assert kept is not None
    assert (kept.verdict, kept.left_title, kept.right_title) == ("different", "a", "b")
    assert labels.delete("b", "a", "titles")
    assert not labels.delete("b", "a", "titles")
    assert labels.count() == 1


def test_labels_that_cannot_be_kept(labels: Labels) -> None:
    for said, bad in (
        ("'a' with itself", Label("a", "a", "same", "kim")),
        ("no item 'nobody'", Label("a", "nobody", "same", "kim")),
        ("half a character", Label("a", "\ud83d", "same", "kim", of="titles")),
    ):
        with pytest.raises(InputError, match=said):
            labels.put([Label("a", "b", "same", "kim"), bad])
    with pytest.raises(StorageError, match="verdict"):
        labels.put([Label("a", "b", "perhaps", "kim")])  # type: ignore[arg-type]
    assert labels.count() == 0


def test_pages_of_labels(labels: Labels) -> None:
    given = [Label(f"{n:02d}", f"{n:02d}x", ("same", "skip")[n % 2], "kim", "titles") for n in range(11)]
    labels.put(given)
    for verdict in (None, "same", "skip"):
        found, cursor = list[str](), None
        while True:
            page, cursor = labels.page(cursor, 3, verdict=verdict)
            found += [label.left for label in page]
            if cursor is None:
                break
        assert found == [label.left for label in given if verdict in (None, label.verdict)]
    with pytest.raises(InputError, match="expected one that a page gave"):
        labels.page("page 2")


def test_the_life_of_a_job(jobs: Jobs) -> None:
    made = jobs.create("cluster", {"file": "상품.csv"})
    assert (made.state, made.request, made.result, made.started) == ("queued", {"file": "상품.csv"}, {}, None)
    running = jobs.claim()
    assert running is not None
    assert (running.id, running.state) == (made.id, "running")
    assert jobs.claim() is None
    going = jobs.advance(made.id, "encode", 3, 10)
    assert (going.phase, going.done, going.total, going.cancelling) == ("encode", 3, 10, False)
    ended = jobs.end(made.id, result={"clusters": 4})
    assert ended == jobs.get(made.id)
    assert (ended.state, ended.result, ended.error) == ("done", {"clusters": 4}, None)
    times = (ended.created, ended.started, ended.finished, ended.updated)
    assert times == tuple(sorted(time or 0 for time in times))


def test_how_jobs_end(jobs: Jobs) -> None:
    for n in range(3):
        jobs.create("match", {"n": n})
    failed, stopped = jobs.claim(), jobs.claim()
    assert failed is not None
    assert stopped is not None
    assert (failed.request, stopped.request) == ({"n": 0}, {"n": 1}), "the oldest first"
    assert jobs.end(failed.id, error="no such file").error == "no such file"
    assert jobs.cancel(stopped.id).state == "running"
    assert jobs.advance(stopped.id, "encode", 1, 2).cancelling
    assert jobs.end(stopped.id).state == "cancelled"
    (waiting, *_), _ = jobs.page(state="queued")
    assert jobs.cancel(waiting.id).state == "cancelled"
    assert jobs.claim() is None
    for act in (jobs.cancel, jobs.end, lambda job: jobs.advance(job, "encode", 1, 2)):
        with pytest.raises(ConflictError, match=r"is failed; expected running"):
            act(failed.id)
        with pytest.raises(InputError, match="no job 'x'"):
            act("x")
    assert jobs.delete(failed.id)
    assert not jobs.delete(failed.id)
    assert jobs.get(failed.id) is None


def test_a_job_that_is_at_work_is_not_deleted(jobs: Jobs) -> None:
    made = jobs.create("train", {})
    assert not jobs.delete(made.id)
    jobs.claim()
    assert not jobs.delete(made.id)


def test_jobs_that_ended_some_time_ago(tmp_path: Path) -> None:
    now = [100.0]
    with Catalog.open(tmp_path, clock=lambda: now[0]) as catalog:
        jobs, made = catalog.jobs, list[str]()
        for error in ("no", None, "no"):
            made.append(jobs.create("match", {}).id)
            jobs.claim()
            jobs.end(made[-1], error=error)
            now[0] += 10.0
        waits = jobs.create("match", {})
        assert jobs.ended(0.0) == made
        assert jobs.ended(20.0) == made[:2] and jobs.ended(21.0) == made[:1] and jobs.ended(31.0) == []
        jobs.cancel(waits.id)
        assert jobs.ended(0.0) == [*made, waits.id]


def test_requests_and_results_are_json(jobs: Jobs) -> None:
    with pytest.raises(InputError, match="expected what JSON can say"):
        jobs.create("match", {"k": float("nan")})
    made = jobs.create("match", {})
    jobs.claim()
    with pytest.raises(InputError, match="expected what JSON can say"):
        jobs.end(made.id, result={"a": {1}})
    assert jobs.end(made.id, result={}).state == "done"


def test_the_same_key_makes_one_job(jobs: Jobs) -> None:
    made = jobs.create("cluster", {"a": 1}, idempotency_key="k")
    jobs.claim()
    assert jobs.create("cluster", {"a": 1}, idempotency_key="k") == jobs.get(made.id), "as it is now"
    for kind, request in (("cluster", {"a": 2}), ("match", {"a": 1})):
        with pytest.raises(ConflictError, match="another request"):
            jobs.create(kind, request, idempotency_key="k")
    jobs.end(made.id)
    jobs.delete(made.id)
    with pytest.raises(InputError, match="no job"):
        jobs.create("cluster", {"a": 1}, idempotency_key="k")


def test_pages_of_jobs(jobs: Jobs) -> None:
    made = [jobs.create("match", {"n": n}).id for n in range(7)]
    found, cursor = list[str](), None
    while True:
        page, cursor = jobs.page(cursor, 3)
        found += [job.id for job in page]
        if cursor is None:
            break
    assert found == made[::-1]


def test_after_a_restart_jobs_wait_again(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        ids = [catalog.jobs.create("cluster", {"n": n}).id for n in range(4)]
        for _ in range(3):
            catalog.jobs.claim()
        catalog.jobs.advance(ids[0], "encode", 5, 9)
        catalog.jobs.cancel(ids[1])
        catalog.jobs.end(ids[2], result={})
    with Catalog.open(tmp_path) as catalog:
        states = [job.state for id in ids if (job := catalog.jobs.get(id))]
        assert states == ["queued", "cancelled", "done", "queued"]
        again = catalog.jobs.claim()
        assert again is not None
        assert (again.id, again.phase, again.done) == (ids[0], "encode", 5)


def test_no_two_workers_claim_one_job(jobs: Jobs) -> None:
    ids = {jobs.create("match", {"n": n}).id for n in range(20)}
    claimed: list[str] = []

    def work() -> None:
        while job := jobs.claim():
            claimed.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(claimed) == sorted(ids)
