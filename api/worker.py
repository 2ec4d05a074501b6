"""The worker: ``python -m api.worker``, a process that does one heavy errand of a job and may die of it.

The errand is one line of JSON on standard input, which then stays open: when it closes, whoever asked is gone, and so
is the worker. Progress and the result are lines of JSON on standard output; what libraries print goes to standard
error. It gives way to the service: in processor time, and in memory when there is too little for both.

It knows processes and lines. What an errand does stands in `api.errands`; how one is started, in `api.children`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from embedder.errors import InputError

_PAUSE = 0.2  # seconds between two lines of progress
_NICE = 10
_LOCK = ".lock"


def main() -> None:
    """Do the errand on standard input."""
    said = _protocol()
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _give_way()
    from api.errands import ERRANDS
    from api.intake import by_users_names

    with _alone(Path(task["folder"])):
        try:
            told: dict[str, Any] = {"result": ERRANDS[task["errand"]](task, _Progress(said))}
        except InputError as error:
            told = {"error": str(by_users_names(error, task))}
        except MemoryError:
            told = {"error": "not enough memory; try fewer rows, or a machine with more"}
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            told = {"error": "the disk is full" if full else error.strerror or str(error)}
        _say(said, told)


class _Progress:
    """Says how far the errand is, but not all the time."""

    def __init__(self, said: TextIO) -> None:
        self._said, self._phase, self._next = said, "", 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase or time.monotonic() >= self._next:
            self._phase, self._next = phase, time.monotonic() + _PAUSE
            _say(self._said, {"phase": phase, "done": done, "total": total})


def _say(said: TextIO, told: dict[str, Any]) -> None:
    said.write(json.dumps(told, ensure_ascii=True) + "\n")
    said.flush()


def _protocol() -> TextIO:
    """Standard output, kept from everybody else in this process: what they print goes to standard error."""
    said = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    return said


def _end_with_parent() -> None:
    """Wait until standard input closes, then end at once, with whatever this process has started."""
    with suppress(OSError):
        while os.read(0, 4_096):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _give_way() -> None:
    os.nice(_NICE)
    with suppress(OSError):  # there is none but on Linux
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No two workers in one job's folder: the one of a killed service may still be on its way out."""
    with (folder / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
