"""Load: ``dongil serve`` started as a user starts it, and asked by 1, 8 and 32 clients on the loopback.

Clients wait for one answer before they ask again, share the machine with the server, and are bounded in requests and
in seconds. The server is ended whatever happens. It knows two paths of the service and nothing of its insides.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from embedder.errors import InputError

_ROOT = Path(__file__).parents[1]
_HOST = "127.0.0.1"
_TAIL = 1000  # characters of what a server said that are worth reading


@dataclass(frozen=True)
class Load:
    """What one number of clients got.

    Attributes:
        clients: asking at once.
        requests: answered well.
        failures: answered otherwise or not at all.
        seconds: from the first request to the last answer.
        p50_ms, p99_ms, worst_ms: latency of the requests answered well; None where there is none.
    """

    clients: int
    requests: int
    failures: int
    seconds: float
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None

    @property
    def per_second(self) -> float:
        """Requests answered well a second."""
        return self.requests / self.seconds if self.seconds else 0.0


def serve_command(catalog: Path, port: int, model: Path | None) -> list[str]:
    """``dongil serve`` as a command: the script beside this interpreter, or the same through it."""
    script = Path(sys.executable).with_name("dongil")
    start = [str(script)] if script.is_file() else [sys.executable, "-c", "from api.cli import main; main()"]
    named = ["--model", str(model)] if model else []
    return [*start, "serve", "--catalog", str(catalog), "--host", _HOST, "--port", str(port), *named]


def free_port() -> int:
    """A port of the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """A server that is started, waited for until it is ready, and ended on leaving the block.

    Args:
        command: with its arguments.
        port: where it will listen.
        limit_s: seconds it may take to be ready.

    Raises:
        InputError: it ended, or was not ready in time; the end of what it said is told.
    """

    def __init__(self, command: Sequence[str], port: int, *, limit_s: float = 300.0) -> None:
        self.port = port
        # A deployment's own settings (API key, catalogue, limits) are not what is measured.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DONGIL_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        start = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            list(command), stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            self._wait(start + limit_s)
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.monotonic() - start

    def _wait(self, until: float) -> None:
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise InputError(f"dongil serve ended with {self._process.returncode}: {self._tail()}")
            try:
                connection = http.client.HTTPConnection(_HOST, self.port, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass  # not listening yet
            finally:
                connection.close()
            time.sleep(0.1)
        raise InputError(f"dongil serve was not ready in time: {self._tail()}")

    def _tail(self) -> str:
        self._said.seek(0)
        return self._said.read()[-_TAIL:].decode(errors="replace").strip()

    def peak_mb(self) -> float | None:
        """Peak resident memory of the server so far in MiB, where the system tells."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0]) / 1024
        except (OSError, IndexError):
            return None

    def close(self) -> None:
        """Ask the server and whatever it started to end, and make sure of it."""
        for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                self._process.wait(patience)
                break
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(port: int, titles: Sequence[str], clients: int, *, most: int, seconds: float) -> Load:
    """Ask for matches of one title at a time from several clients at once.

    Args:
        port: of a server that is ready.
        titles: asked in turn; each client starts at another.
        clients: at once, each on one connection of its own.
        most: requests in all, at most.
        seconds: after which no further request is begun.
    """
    spent: list[list[float]] = [[] for _ in range(clients)]
    failed = [0] * clients
    start = time.perf_counter()
    until = start + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(_HOST, port, timeout=30)
        for place in range(number, most, clients):
            begun = time.perf_counter()
            if begun > until:
                break
            if _match(connection, titles[place % len(titles)]):
                spent[number].append(time.perf_counter() - begun)
            else:
                failed[number] += 1
                connection.close()  # the next request opens it again
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    times = 1000 * np.array([one for client_times in spent for one in client_times])
    p50, p99, worst = (float(v) for v in np.percentile(times, [50, 99, 100])) if len(times) else (None, None, None)
    return Load(clients, len(times), sum(failed), took, p50, p99, worst)


def _match(connection: http.client.HTTPConnection, title: str) -> bool:
    """Whether one title was answered well."""
    body = json.dumps({"titles": [title], "k": 10}).encode()
    try:
        connection.request("POST", "/v1/match", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status == 200 and "results" in json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
