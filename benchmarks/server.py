"""Server: ``dongil serve``, or another one, started as a user starts it, watched, and ended whatever happens.

It knows processes and one path that says when a server is ready. It does not know what servers are asked.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from benchmarks.sockets import HOST
from embedder.errors import InputError

_ROOT = Path(__file__).parents[1]
_TAIL = 1000  # characters of what a process said that are worth reading


def serve_command(port: int, *, catalog: Path | None = None, data: Path | None = None, model: Path | None) -> list[str]:
    """``dongil serve`` as a command: the script beside this interpreter, or the same through it."""
    script = Path(sys.executable).with_name("dongil")
    start = [str(script)] if script.is_file() else [sys.executable, "-c", "from api.cli import main; main()"]
    flags = {"--catalog": catalog, "--data": data, "--model": model}
    named = [part for name, value in flags.items() if value is not None for part in (name, str(value))]
    return [*start, "serve", "--host", HOST, "--port", str(port), *named]


def free_port() -> int:
    """A port of the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """A server that is started, waited for until it is ready, and ended on leaving the block.

    Args:
        command: with its arguments.
        port: where it will listen.
        path: that answers 200 once it is ready.
        limit_s: seconds it may take to be ready.
        wait: whether to wait for that.

    Raises:
        InputError: it ended, or was not ready in time; the end of what it said is told.
    """

    def __init__(
        self, command: Sequence[str], port: int, *, path: str = "/readyz", limit_s: float = 300.0, wait: bool = True
    ) -> None:
        self.port, self._path = port, path
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._begun = time.monotonic()
        self.start_seconds = 0.0
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            list(command), stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
            env=bare_environment(), start_new_session=True,
        )  # fmt: skip
        if wait:
            try:
                self.wait(limit_s)
            except BaseException:
                self.close()
                raise

    def wait(self, limit_s: float) -> None:
        """Wait until it is ready, and note how long that took from its start.

        Raises:
            InputError: see above.
        """
        while time.monotonic() < self._begun + limit_s:
            if self._process.poll() is not None:
                raise InputError(f"the server ended with {self._process.returncode}: {self._tail()}")
            if self._is_ready():
                self.start_seconds = time.monotonic() - self._begun
                return
            time.sleep(0.02)
        raise InputError(f"the server was not ready in time: {self._tail()}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", self._path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False  # not listening yet
        finally:
            connection.close()

    def _tail(self) -> str:
        self._said.seek(0)
        return self._said.read()[-_TAIL:].decode(errors="replace").strip()

    def peak_mb(self) -> float | None:
        """Peak resident memory of the server so far in MiB, where the system tells."""
        return _status_mb(self._process.pid, "VmHWM")

    def memory_mb(self) -> float | None:
        """Resident memory of the server now in MiB, where the system tells; of jobs in other processes it knows not."""
        return _status_mb(self._process.pid, "VmRSS")

    def rest(self, limit_s: float = 900.0, *, share: float = 0.1) -> bool:
        """Wait until the server does next to nothing: what it does in the background is done.

        Args:
            limit_s: seconds to wait at most.
            share: of one processor that is next to nothing, over three looks one second apart.

        Returns:
            Whether that came true; at once where the system does not tell.
        """
        calm, until, before = 0, time.monotonic() + limit_s, self._cpu_seconds()
        while before is not None and calm < 3:
            if time.monotonic() > until:
                return False
            time.sleep(1)
            now = self._cpu_seconds()
            calm = calm + 1 if now is not None and now - before < share else 0
            before = now
        return True

    def _cpu_seconds(self) -> float | None:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return None

    def kill(self) -> None:
        """End it at once and whatever it started, as when the power goes: it gets no chance to tidy up."""
        self._end(signal.SIGKILL, 30)
        self._said.close()

    def close(self) -> None:
        """Ask the server and whatever it started to end, and make sure of it."""
        if not self._end(signal.SIGTERM, 30):
            self._end(signal.SIGKILL, 10)
        self._said.close()

    def _end(self, sign: signal.Signals, patience: float) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, sign)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _status_mb(pid: int, field: str) -> float | None:
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return None


def run_child(module: str, said: str, *, limit_s: float) -> str:
    """What one of our modules, run in a process of its own, says to what is said to it.

    Raises:
        InputError: it failed, or did not end in time.
    """
    try:
        ran = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", module], input=said, capture_output=True, text=True, timeout=limit_s,
            env=bare_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"{module} did not end in {limit_s:.0f} s") from None
    if ran.returncode:
        raise InputError(f"{module} ended with {ran.returncode}: {ran.stderr[-_TAIL:].strip()}")
    return ran.stdout


def bare_environment() -> dict[str, str]:
    """This process's environment, less a deployment's own settings: they are not what is measured."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DONGIL_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
    return environment
