"""Contenders in processes of their own: what comes back, and every way in which one gives no result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import worker
from benchmarks.rounds import Runs, Spread, ratio, take_turns
from benchmarks.worker import Contender, NoResult, Worker, interpreters, peak_mb
from embedder.errors import InputError

ODD = """
import os, subprocess, sys, time

def double(options):
    print("libraries print while they load")
    def run():
        print("and while they run")
        return {"twice": 2 * options["number"], "pid": os.getpid()}
    return run

def hang(options):
    def run():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open(options["file"], "w").write(f"{os.getpid()} {child.pid}")
        time.sleep(60)
    return run

def crash(options):
    def run():
        sys.stderr.write("no such luck\\n")
        os._exit(7)
    return run

def fail(options):
    def run():
        raise ValueError("47 is odd")
    return run

def heavy(options):
    def run():
        bytearray(b"x") * (64 << 20)
        return {}
    return run

def lacking(options):
    import no_such_package_of_anybody
"""

MakeContender = Callable[..., Contender]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeContender:
    """Contenders of a package that workers can import beside our own."""
    for package in ("benchmarks", "embedder"):
        (tmp_path / package).symlink_to(Path(worker.__file__).parents[1] / package)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "__init__.py").write_text(ODD)
    monkeypatch.setattr(worker, "_ROOT", tmp_path)
    monkeypatch.setattr(worker, "_SHARED", ("benchmarks", "embedder", "odd"))
    monkeypatch.delenv(worker.PEER_PYTHON, raising=False)
    return lambda name, function=None, **options: Contender(name, f"odd:{function or name}", options, ("numpy",), name)


def test_a_contender_runs_in_a_process_of_its_own_as_often_as_asked(odd: MakeContender) -> None:
    with Worker(odd("double", number=21)) as one:
        runs = [one.run() for _ in range(2)]
    assert [run.result["twice"] for run in runs] == [42, 42]
    assert runs[0].result["pid"] == runs[1].result["pid"] != os.getpid()
    assert all(run.seconds >= 0 for run in runs)
    assert one.versions["numpy"] != "?"


def test_peak_memory_is_the_contenders_own(odd: MakeContender) -> None:
    ours = bytearray(256 << 20)
    with Worker(odd("double", number=1)) as light, Worker(odd("heavy")) as heavy:
        small, large = light.run().peak_mb, heavy.run().peak_mb
    assert 5 < small < 100
    assert large > small + 50
    assert peak_mb() > len(ours) / 2**20 / 2


def test_a_contender_that_hangs_is_ended_with_what_it_started(odd: MakeContender, tmp_path: Path) -> None:
    started = time.monotonic()
    hanging = odd("hang", file=str(tmp_path / "pid"))
    with Worker(hanging, limit_s=2) as one, pytest.raises(NoResult, match="ended after 2 s"):
        one.run()
    assert time.monotonic() - started < 20
    time.sleep(0.2)  # a signal takes a moment
    assert not any(_lives(pid) for pid in (tmp_path / "pid").read_text().split())


def _lives(pid: str) -> bool:
    """A process that has ended but that nobody has asked after is still listed, as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_crash_tells_its_last_words(odd: MakeContender) -> None:
    with Worker(odd("crash")) as one, pytest.raises(NoResult, match=r"exit 7\): no such luck"):
        one.run()


def test_an_exception_is_told(odd: MakeContender) -> None:
    with Worker(odd("fail")) as one, pytest.raises(NoResult, match="failed to run: ValueError: 47 is odd"):
        one.run()


def test_a_missing_package_says_what_to_install(odd: MakeContender) -> None:
    with pytest.raises(NoResult, match=r"not installed: pip install lacking \(No module named 'no_such_package"):
        Worker(odd("lacking"))


def test_a_missing_package_is_looked_for_in_the_other_interpreters(
    odd: MakeContender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = tmp_path / "other"
    there.mkdir()
    (there / "no_such_package_of_anybody.py").write_text("")
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{there}" exec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv(worker.PEER_PYTHON, str(script))
    assert interpreters() == [sys.executable, str(script)]
    with Worker(odd("lacking")) as one, pytest.raises(NoResult, match="not callable"):
        one.run()  # it loads there; it has nothing to run


def test_an_interpreter_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(worker.PEER_PYTHON, "/no/such/python")
    with pytest.raises(InputError, match="DONGIL_PEER_PYTHON names '/no/such/python'"):
        interpreters()


def test_nothing_is_left_behind(odd: MakeContender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with Worker(odd("double", number=1)) as one:
        assert list((tmp_path / "temporary").iterdir())
        one.run()
    assert not list((tmp_path / "temporary").iterdir())


def test_contenders_take_turns_and_one_that_fails_drops_out(odd: MakeContender) -> None:
    told: list[str] = []
    contenders = [odd("a", "double", number=1), odd("b", "fail"), odd("c", "lacking"), odd("d", "double", number=4)]
    runs = take_turns(contenders, rounds=3, say=told.append)
    assert list(runs) == ["a", "b", "c", "d"]
    assert [len(run.seconds) for run in runs.values()] == [3, 0, 0, 3]
    assert [run.ok for run in runs.values()] == [True, False, False, True]
    assert runs["d"].result["twice"] == 8
    assert "47 is odd" in runs["b"].status
    assert "not installed" in runs["c"].status
    assert len(told) == 3


def test_no_round_begins_when_the_budget_is_spent(odd: MakeContender) -> None:
    runs = take_turns([odd("double", number=1)], rounds=50, least_rounds=2, budget_s=0)
    assert len(runs["double"].seconds) == 2


def test_a_ratio_is_taken_within_rounds() -> None:
    slow, fast = Runs("slow", seconds=[2.0, 9.0, 4.0]), Runs("fast", seconds=[1.0, 3.0, 1.0])
    assert ratio(slow, fast) == Spread(3.0, 2.0, 4.0)
    assert ratio(slow, fast).told(".1f") == "3.0 (2.0-4.0)"
