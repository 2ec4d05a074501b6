"""Children: how the service has a worker do an errand, hears how far it is, and ends it.

A process of its own may use up its memory or be killed, and nobody else notices. It is spawned, in a session of its
own, so that Ctrl-C ends the service in order and not the worker under it.

It knows processes and lines of JSON. It does not know what an errand does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embedder.errors import InputError
from index.scene import Progress

LOG = "worker.log"
"""What a worker says on standard error, in its job's folder."""
_ROOT = Path(__file__).resolve().parent.parent
_LOOK = 0.2  # seconds between two looks whether the job is to stop
_PATIENCE = 5.0  # seconds that a worker gets to end
_Lines = queue.SimpleQueue[str | None]


class FailedError(Exception):
    """A worker ended without a result: it crashed, or was killed."""


def run_errand(
    errand: str, task: Mapping[str, Any], folder: Path, tell: Progress, check: Callable[[], None]
) -> dict[str, Any]:
    """Have a worker do an errand; its result.

    Args:
        errand: a name in ``api.errands.ERRANDS``.
        task: what the errand is to know, as JSON can say it.
        folder: the job's.
        tell: is told how far it is.
        check: raises when the job is to stop; the worker is ended then.

    Raises:
        InputError: what the worker says is wrong with its input.
        FailedError: it crashed.
    """
    asked = json.dumps({**task, "errand": errand, "folder": str(folder)})
    with _spawned(folder) as process:
        lines = _lines_of(process)
        if process.stdin is None:
            raise FailedError("a worker without standard input")
        with suppress(BrokenPipeError):  # it ended at once; why, is told below
            process.stdin.write(asked + "\n")
            process.stdin.flush()
        for line in _while_waiting(lines, check):
            told = json.loads(line)
            if "result" in told:
                result: dict[str, Any] = told["result"]
                return result
            if "error" in told:
                raise InputError(told["error"])
            tell(told["phase"], told["done"], told["total"])
        code = process.wait()
    if code == -signal.SIGKILL:
        raise InputError("the worker was killed, most likely because the machine has too little memory for it")
    raise FailedError(f"the worker ended with {code}; {folder / LOG} says why")


@contextmanager
def _spawned(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker, which is gone when the block ends."""
    # Not from the current folder, which may hold an "api" of somebody else's; and without our keys.
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("DONGIL_")}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "api.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, encoding="utf-8", env=kept, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()  # enough for one that is well
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _lines_of(process: subprocess.Popen[str]) -> _Lines:
    """The lines that a process writes, and None after the last; a thread waits for them."""
    lines: _Lines = queue.SimpleQueue()

    def read() -> None:
        with suppress(ValueError):  # closed under us: nobody listens any more
            for line in process.stdout or ():
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="dongil-worker-lines", daemon=True).start()
    return lines


def _while_waiting(lines: _Lines, check: Callable[[], None]) -> Iterator[str]:
    while True:
        check()
        try:
            line = lines.get(timeout=_LOOK)
        except queue.Empty:
            continue
        if line is None:
            return
        yield line
