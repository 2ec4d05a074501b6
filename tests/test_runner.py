"""Jobs' lives: each ended once, stopped when it is asked to be, and begun again when the service ended under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import api.runner
from api.runner import BusyError, Interrupted, Runner, Stand, Told
from embedder.errors import InputError
from index.catalog import Catalog
from index.ledger import Job
from index.store import ConflictError, StorageError

DAY = 24 * 3_600.0
Do = Callable[[Job, Path, Told], Mapping[str, Any]]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "data") as catalog:
        yield catalog


@contextmanager
def running(catalog: Catalog, do: Do, at_once: int = 1) -> Iterator[Runner]:
    runner = Runner(catalog, do, at_once)
    runner.start()
    try:
        yield runner
    finally:
        runner.close()


def until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (value := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return value


def ended(catalog: Catalog, id: str) -> Job:
    def look() -> Job | None:
        job = catalog.jobs.get(id)
        assert job is not None
        return job if job.state not in ("queued", "running") else None

    found: Job = until(look)
    return found


def until_told(job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
    """Work that lasts until it is stopped."""
    (folder / "at-work").touch()
    while True:
        told("wait", 1, 2)
        time.sleep(0.005)


def at_work(runner: Runner, job: Job) -> None:
    until((runner.folder_of(job.id) / "at-work").exists)


def test_a_job_is_done_in_its_folder(catalog: Catalog) -> None:
    def do(job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        told("count", 3, 4)
        (folder / "out").mkdir()
        (folder / "out" / "made.csv").touch()
        (folder / "work").mkdir()
        return {"asked": job.request["x"], "found": (folder / "file").read_text()}

    with running(catalog, do) as runner:
        folder = runner.incoming()
        (folder / "file").write_text("here")
        job = ended(catalog, runner.submit("count", {"x": 1}, folder).id)
        assert (job.state, job.result, job.error) == ("done", {"asked": 1, "found": "here"}, None)
        assert (job.phase, job.done, job.total) == ("count", 3, 4)
        assert not folder.exists()
        until(lambda: runner.stand(job.id) is None)
        assert [path.name for path in runner.folder_of(job.id).iterdir()] == ["out"]
        assert (runner.folder_of(job.id) / "out" / "made.csv").exists()


def test_jobs_run_in_their_order_and_so_many_at_once(catalog: Catalog) -> None:
    order: list[str] = []
    met = threading.Barrier(2, timeout=10)

    def do(job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        order.append(job.kind)
        met.wait()
        return {}

    with running(catalog, do, at_once=2) as runner:
        last = [runner.submit(str(number), {}) for number in range(4)][-1]
        assert ended(catalog, last.id).state == "done"
    assert sorted(order[:2]) == ["0", "1"]
    assert sorted(order[2:]) == ["2", "3"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("no title", file="a.csv", line=3), "a.csv, line 3: no title"),
        (StorageError("broken", full=True), "the disk is full"),
        (StorageError("broken"), "the store could not be written or read"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("secret"), "it failed; the service's log says why"),
    ],
)
def test_a_job_that_fails_says_why_and_the_next_one_runs(catalog: Catalog, error: Exception, words: str) -> None:
    def do(job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        if job.kind == "bad":
            raise error
        return {}

    with running(catalog, do) as runner:
        bad, good = runner.submit("bad", {}), runner.submit("good", {})
        assert ended(catalog, good.id).state == "done"
        found = ended(catalog, bad.id)
        assert (found.state, found.error) == ("failed", words)


def test_a_job_that_runs_is_cancelled(catalog: Catalog) -> None:
    with running(catalog, until_told) as runner:
        job, waiting = runner.submit("long", {}), runner.submit("long", {})
        at_work(runner, job)
        assert runner.stand(job.id) == Stand("wait", 1, 2, None)
        assert runner.cancel(waiting.id).state == "cancelled"
        assert runner.cancel(job.id).cancelling
        assert ended(catalog, job.id).state == "cancelled"
        with pytest.raises(ConflictError):
            runner.cancel(job.id)
        with pytest.raises(InputError):
            runner.cancel("none")


def test_a_job_that_was_cancelled_does_not_fail_by_that(catalog: Catalog) -> None:
    def do(job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        try:
            return until_told(job, folder, told)
        except Interrupted:
            raise RuntimeError("on the way out") from None

    with running(catalog, do) as runner:
        job = runner.submit("long", {})
        at_work(runner, job)
        runner.cancel(job.id)
        assert ended(catalog, job.id).state == "cancelled"


def test_a_job_goes_on_with_the_next_service(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog, running(catalog, until_told) as runner:
        job = runner.submit("long", {})
        at_work(runner, job)
    with Catalog.open(tmp_path) as catalog:
        waiting = catalog.jobs.get(job.id)
        assert waiting is not None
        assert waiting.state == "queued"
        with running(catalog, lambda job, folder, told: {"was": (folder / "at-work").exists()}):
            assert ended(catalog, job.id).result == {"was": True}


def test_a_job_that_ends_the_service_again_and_again_fails(tmp_path: Path) -> None:
    class KilledError(BaseException):
        pass

    def die(*_: object) -> Mapping[str, Any]:
        raise KilledError

    with Catalog.open(tmp_path) as catalog:
        id = Runner(catalog, die).submit("deadly", {}).id
    for _ in range(api.runner._TRIES):
        with Catalog.open(tmp_path) as catalog:
            job = catalog.jobs.claim()
            assert job is not None
            with pytest.raises(KilledError):
                Runner(catalog, die)._run(job)
    with Catalog.open(tmp_path) as catalog, running(catalog, die):
        assert "the service ended 3 times" in str(ended(catalog, id).error)


def test_stopping_in_order_does_not_count(tmp_path: Path) -> None:
    for _ in range(api.runner._TRIES + 2):
        with Catalog.open(tmp_path) as catalog:
            for before in tmp_path.glob("jobs/*/at-work"):
                before.unlink()
            with running(catalog, until_told) as runner:
                (job,) = catalog.jobs.page()[0] or [runner.submit("long", {})]
                at_work(runner, job)
    with Catalog.open(tmp_path) as catalog, running(catalog, lambda *_: {}):
        assert ended(catalog, job.id).state == "done"


def test_a_key_makes_one_job(catalog: Catalog) -> None:
    runner = Runner(catalog, until_told)
    one = runner.submit("a", {"x": 1}, idempotency_key="k")
    folder = runner.incoming()
    assert runner.submit("a", {"x": 1}, folder, idempotency_key="k") == one
    with pytest.raises(ConflictError):
        runner.submit("a", {"x": 2}, idempotency_key="k")
    assert [path.name for path in runner.folder.iterdir()] == [one.id]


def test_too_many_jobs_are_not_taken(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.runner, "MAX_WAITING", 2)
    runner = Runner(catalog, until_told)
    ids = {runner.submit("a", {}, idempotency_key=str(number)).id for number in range(2)}
    with pytest.raises(BusyError):
        runner.submit("a", {})
    assert runner.submit("a", {}, idempotency_key="1").id in ids
    assert {path.name for path in runner.folder.iterdir()} == ids == {job.id for job in catalog.jobs.page()[0]}


def test_what_no_job_has_is_swept_away(catalog: Catalog) -> None:
    runner = Runner(catalog, until_told)
    job = runner.submit("a", {})
    runner.incoming()
    (runner.folder / "left").mkdir()
    Runner(catalog, until_told)
    assert [path.name for path in runner.folder.iterdir()] == [job.id]


def test_a_job_that_has_ended_is_deleted_with_its_files(catalog: Catalog) -> None:
    with running(catalog, until_told) as runner:
        job = runner.submit("long", {})
        at_work(runner, job)
        with pytest.raises(ConflictError):
            runner.delete(job.id)
        runner.cancel(job.id)
        ended(catalog, job.id)
        assert runner.delete(job.id)
        assert not runner.delete(job.id)
        assert list(runner.folder.iterdir()) == []


def test_jobs_that_ended_long_ago_are_forgotten_with_their_files(tmp_path: Path) -> None:
    now = [0.0]

    def do(job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        if job.kind == "fails":
            raise InputError("no")
        (folder / "out").mkdir()
        (folder / "out" / "made.csv").touch()
        return {}

    with Catalog.open(tmp_path, clock=lambda: now[0]) as catalog:
        with running(catalog, do) as runner:
            old = [ended(catalog, runner.submit(kind, {}).id).id for kind in ("works", "fails")]
            cancelled = catalog.jobs.cancel(Runner(catalog, do).submit("stopped", {}).id).id
            now[0] = 10.0
            young = ended(catalog, runner.submit("works", {}).id).id
        at_work = catalog.jobs.create("waits", {}), catalog.jobs.create("waits", {})
        assert catalog.jobs.claim() == catalog.jobs.get(at_work[0].id)
        for job in at_work:
            (tmp_path / "jobs" / job.id).mkdir()
        there = {young, *(job.id for job in at_work)}
        now[0] = 2 * DAY + 9.0
        for days, left in ((0, {*there, *old, cancelled}), (2, there)):
            kept = Runner(catalog, do, keep_days=days)
            assert kept.forget_old() == (3 if days else 0)
            assert {job.id for job in catalog.jobs.page()[0]} == left
            assert {path.name for path in runner.folder.iterdir()} == left
        now[0] = 1_000 * DAY
        assert kept.forget_old() == 1, "jobs that wait or run are never forgotten"
        assert {path.name for path in runner.folder.iterdir()} == {job.id for job in at_work}


def test_the_background_forgets_by_itself_and_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.runner, "_TIDIED", 0.02)
    now = [0.0]
    with Catalog.open(tmp_path, clock=lambda: now[0]) as catalog:
        runner = Runner(catalog, lambda *_: {}, at_once=2, keep_days=1)
        runner.start()
        try:
            for _ in range(2):
                job = ended(catalog, runner.submit("a", {}).id)
                now[0] += 1.5 * DAY
                until(lambda: catalog.jobs.get(job.id) is None)  # noqa: B023 - called here
                until(lambda: not list(runner.folder.iterdir()))
        finally:
            runner.close()


def test_what_was_forgotten_by_half_is_not_shown_and_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails between the row and the files."""
    now = [0.0]
    with Catalog.open(tmp_path, clock=lambda: now[0]) as catalog:
        with running(catalog, lambda *_: {}) as runner:
            job = ended(catalog, runner.submit("a", {}).id)
        now[0] = 2 * DAY
        kept = Runner(catalog, until_told, keep_days=1)
        with monkeypatch.context() as patched:
            patched.setattr("api.runner.shutil.rmtree", the_power_fails)
            with pytest.raises(KeyboardInterrupt):
                kept.forget_old()
        assert catalog.jobs.get(job.id) is None and catalog.jobs.page()[0] == []
        assert runner.folder_of(job.id).exists()
        Runner(catalog, until_told, keep_days=1)
        assert not runner.folder_of(job.id).exists()


def the_power_fails(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_store_that_cannot_forget_still_runs_jobs(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.runner, "_AGAIN", 0.01)

    def full(_: float) -> list[str]:
        raise StorageError("full", full=True)

    monkeypatch.setattr(catalog.jobs, "ended", full)
    runner = Runner(catalog, lambda *_: {"x": 1}, keep_days=1)
    runner.start()
    try:
        assert ended(catalog, runner.submit("a", {}).id).result == {"x": 1}
    finally:
        runner.close()


def test_a_failing_store_does_not_lose_an_end(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.runner, "_AGAIN", 0.01)
    end, failing = catalog.jobs.end, iter([True, True, False])

    def fail(*given: Any, **more: Any) -> Job:
        if next(failing):
            raise StorageError("full", full=True)
        return end(*given, **more)

    monkeypatch.setattr(catalog.jobs, "end", fail)
    with running(catalog, lambda *_: {"x": 1}) as runner:
        assert ended(catalog, runner.submit("a", {}).id).result == {"x": 1}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


steps = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9), st.integers(0, 9), st.floats(0, 2)), max_size=40
)


@given(steps)
def test_progress_never_goes_back_and_is_written_once_a_second(told_steps: list[tuple[str, int, int, float]]) -> None:
    clock, written = Clock(), list[tuple[float, Stand]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.runner, "time", clock)
        told = Told(lambda stand: written.append((clock.now, stand)), threading.Event())
        before = told.stand
        for phase, done, total, passed in told_steps:
            clock.now += passed
            told(phase, done, total)
            now = told.stand
            assert now.phase == phase
            assert now.done >= (before.done if before.phase == phase else done)
            assert now.total == 0 or now.done <= now.total
            assert now.eta_seconds is None or now.eta_seconds >= 0
            before = now
    assert all(later >= earlier + 1.0 for (earlier, _), (later, _) in pairwise(written))  # as the runner adds


def test_the_time_left_is_told_at_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(api.runner, "time", clock)
    told = Told(lambda _: None, threading.Event())
    told("encode", 0, 100)
    clock.now = 10.0
    told("encode", 20, 100)
    assert told.stand.eta_seconds == pytest.approx(40.0)
