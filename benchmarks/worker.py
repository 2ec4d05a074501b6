"""Workers: contenders that run in Python processes of their own, one command at a time.

Imports, threads and peak memory are then a contender's own, a contender that hangs can be ended, and one whose pins
clash with ours can run in another interpreter (``DONGIL_PEER_PYTHON``, several parted by the path separator). Parent
and child speak one line of JSON at a time. It does not know what is measured.

A contender is a function ``options -> run``: called once to import and load, then ``run() -> dict`` as often as the
parent asks. It is named "module:function", and its module may import at its top only what every interpreter has.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from embedder.errors import InputError

PEER_PYTHON = "DONGIL_PEER_PYTHON"
_ROOT = Path(__file__).parents[1]
_SHARED = ("benchmarks", "embedder", "index", "training", "api")
_TAIL = 2000  # characters of a failed worker's messages that are worth reading

Run = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Contender:
    """What to run and what it needs.

    Attributes:
        name: as tables show it.
        target: "module:function".
        options: what the function is given; must be JSON.
        packages: distributions whose versions stand in the report, the contender's own first.
        pip: what to install when one is missing.
    """

    name: str
    target: str
    options: Mapping[str, Any]
    packages: Sequence[str] = ()
    pip: str = ""


@dataclass(frozen=True)
class Measured:
    """One run: seconds of the run alone, peak memory of the process so far in MiB, and what the contender returned."""

    seconds: float
    peak_mb: float
    result: dict[str, Any]


class NoResult(Exception):  # noqa: N818 - a finding for the table rather than a fault of ours
    """A contender that gave no result, and why, in words for a table."""


class _MissingPackage(NoResult):
    pass


def interpreters() -> list[str]:
    """This interpreter, then those of ``DONGIL_PEER_PYTHON``.

    Raises:
        InputError: one of them is not there.
    """
    others = [path for path in os.environ.get(PEER_PYTHON, "").split(os.pathsep) if path]
    for path in others:
        if not os.access(path, os.X_OK):
            raise InputError(f"{PEER_PYTHON} names {path!r}, which is no program; expected a Python interpreter")
    return [sys.executable, *others]


class Worker:
    """A contender in a process. Use as a context manager: leaving it ends the process.

    Args:
        contender: see there.
        limit_s: seconds that loading, and each run, may take.

    Raises:
        NoResult: it is installed in none of the interpreters, failed to load or took too long.
    """

    def __init__(self, contender: Contender, *, limit_s: float = 600.0) -> None:
        self.contender = contender
        self.limit_s = limit_s
        missing: list[str] = []
        for python in interpreters():
            try:
                self._start(python)
                return
            except _MissingPackage as error:
                missing.append(str(error))
        raise NoResult(f"not installed: pip install {contender.pip or contender.name} ({missing[0]})")

    def _start(self, python: str) -> None:
        c = self.contender
        self._folder = tempfile.TemporaryDirectory(prefix="dongil-bench-")
        home = Path(self._folder.name)
        for package in _SHARED:
            # Only our own packages: the folder they stand in may be this interpreter's site-packages.
            if (_ROOT / package).is_dir():
                (home / package).symlink_to(_ROOT / package, target_is_directory=True)
        (home / "job.json").write_text(
            json.dumps({"target": c.target, "options": dict(c.options), "packages": c.packages})
        )
        environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS")
        }
        environment |= {"PYTHONPATH": str(home), "PYTHONSAFEPATH": "1", "TOKENIZERS_PARALLELISM": "true"}
        # What a contender leaves in temporary files goes with the folder, however it ends.
        environment |= {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(home)}
        self._messages = (home / "messages").open("w+b")
        self._process: subprocess.Popen[str] = subprocess.Popen(  # noqa: S603 - an interpreter the user named
            [python, "-m", "benchmarks.worker", str(home / "job.json")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._process.stdout, self._replies), daemon=True).start()
        try:
            loaded = self._reply("load")
        except BaseException:
            self.close()
            raise
        self.load_seconds = float(loaded["seconds"])
        self.versions: dict[str, str] = loaded["versions"]

    def run(self) -> Measured:
        """Run the contender once.

        Raises:
            NoResult: it failed or took longer than the limit; the process is ended.
        """
        try:
            if self._process.stdin is None:
                raise NoResult("failed: no pipe to it")
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
            reply = self._reply("run")
        except OSError as error:
            self.close()
            raise NoResult(f"failed: {error}") from error
        except BaseException:
            self.close()
            raise
        return Measured(reply["seconds"], reply["peak_mb"], reply["result"])

    def _reply(self, doing: str) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=self.limit_s)
        except queue.Empty:
            raise NoResult(f"ended after {self.limit_s:.0f} s") from None
        if not line:
            self._process.wait()
            self._messages.seek(0)
            said = self._messages.read()[-_TAIL:].decode(errors="replace").strip()
            raise NoResult(
                f"failed to {doing} (exit {self._process.returncode}): {said.splitlines()[-1] if said else ''}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "missing" in reply:
            raise _MissingPackage(reply["missing"])
        if "error" in reply:
            raise NoResult(f"failed to {doing}: {reply['error']}")
        return reply

    def close(self) -> None:
        """End the process and drop its files; doing it twice is nothing."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # with whatever it started
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):  # what was still to be written to a process that is gone
                    pipe.close()
        self._messages.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listen(pipe: IO[str], replies: queue.SimpleQueue[str]) -> None:
    with contextlib.suppress(ValueError):  # closed while reading
        for line in pipe:
            replies.put(line)
    replies.put("")


def peak_mb() -> float:
    """Peak resident memory of this process in MiB.

    From ``VmHWM`` where there is one: ``ru_maxrss`` starts from the peak of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _serve(job: Mapping[str, Any], replies: IO[str]) -> None:
    """The child's side: load, then run once for every line of standard input."""

    def reply(**values: Any) -> None:
        replies.write(json.dumps(values) + "\n")
        replies.flush()

    try:
        start = time.perf_counter()
        module, function = job["target"].split(":")
        run: Run = getattr(importlib.import_module(module), function)(job["options"])
        versions = {package: _version(package) for package in job["packages"]}
        reply(seconds=time.perf_counter() - start, versions=versions)
        for _ in sys.stdin:
            start = time.perf_counter()
            result = run()
            reply(seconds=time.perf_counter() - start, peak_mb=peak_mb(), result=result)
    except ModuleNotFoundError as error:
        reply(missing=str(error))
    except Exception as error:  # noqa: BLE001 - whatever a contender raises is a finding about it
        reply(error=f"{type(error).__name__}: {error}"[:_TAIL])


def main() -> None:
    """Run as a child; whatever contenders print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(json.loads(Path(sys.argv[1]).read_text()), replies)


if __name__ == "__main__":
    main()
