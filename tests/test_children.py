"""Workers: what they say is heard, whatever becomes of them, and none outlives who asked for it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from api.children import FailedError, run_errand
from api.runner import Interrupted
from embedder.errors import InputError


def task(folder: Path, text: str = "id,title\n1,신라면\n2,진라면\n", **more: Any) -> dict[str, Any]:
    (folder / "input.csv").write_text(text, encoding="utf-8")
    return {"file": str(folder / "input.csv"), "file_name": "items.csv", "max_rows": 100, **more}


def go_on() -> None:
    """Never stop."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Whoever works in the folder waits."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and child_of_ours(path)}


def child_of_ours(path: Path) -> bool:
    try:
        return b"api.worker" in (path / "cmdline").read_bytes() and int(
            (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        ) == os.getpid()  # fmt: skip
    except OSError:
        return False


def test_an_errand_tells_how_far_it_is_and_what_came_of_it(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = run_errand("read", task(tmp_path), tmp_path, lambda *one: told.append(one), go_on)
    assert found == {"rows": 2}
    assert told == [("read", 0, 0)]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == [{"id": "1", "title": "신라면"}, {"id": "2", "title": "진라면"}]


def test_what_is_wrong_with_the_input_is_told_by_the_users_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"items\.csv, line 3, column title: blank title"):
        run_errand("read", task(tmp_path, "id,title\n1,a\n2, \n"), tmp_path, lambda *_: None, go_on)


def test_a_worker_that_crashes_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="ended with 1"):
        run_errand("none", task(tmp_path), tmp_path, lambda *_: None, go_on)
    assert "KeyError" in (tmp_path / "worker.log").read_text(encoding="utf-8")


def test_a_worker_that_is_killed_is_told_as_too_little_memory(tmp_path: Path) -> None:
    def kill() -> None:
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    with locked(tmp_path), pytest.raises(InputError, match="too little memory"):
        run_errand("read", task(tmp_path), tmp_path, lambda *_: None, kill)


def test_a_worker_is_ended_when_its_job_is_to_stop(tmp_path: Path) -> None:
    seen: set[int] = set()
    stop = threading.Event()

    def check() -> None:
        seen.update(workers())
        if stop.is_set():
            raise Interrupted

    threading.Timer(1.0, stop.set).start()
    with locked(tmp_path), pytest.raises(Interrupted):
        run_errand("read", task(tmp_path), tmp_path, lambda *_: None, check)
    assert seen
    assert all(gone(pid) for pid in seen)


def test_a_worker_ends_with_whoever_asked(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from api.children import run_errand\n"
        "folder = Path(sys.argv[1])\n"
        "task = {'file': str(folder / 'input.csv'), 'file_name': 'x', 'max_rows': 9}\n"
        "run_errand('read', task, folder, lambda *_: None, lambda: None)"
    )
    task(tmp_path)
    with locked(tmp_path):
        asking = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
        children = Path(f"/proc/{asking.pid}/task/{asking.pid}/children")
        deadline = time.monotonic() + 20
        while not (pids := children.read_text(encoding="ascii").split()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        asking.kill()
        asking.wait()
        until_gone(int(pids[0]))


def test_no_setting_of_the_service_reaches_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DONGIL_API_KEY", "0123456789abcdef")
    seen: set[bytes] = set()

    def check() -> None:
        seen.update(Path(f"/proc/{pid}/environ").read_bytes() for pid in workers())

    run_errand("read", task(tmp_path), tmp_path, lambda *_: None, check)
    told = [one for one in seen if b"PYTHONPATH=" in one]
    assert told
    assert not any(b"DONGIL_" in one for one in told)
