"""Whether the service lives and is ready, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from serving import refused, serving
from starlette.testclient import TestClient

from api.disk import Disk
from api.service import Service, load_service
from api.settings import Settings
from index.store import StorageError


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings())
    yield loaded
    loaded.close()


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with serving(service) as client:
        yield client


def shared_of(client: TestClient) -> Any:
    return client.app.state.shared  # type: ignore[attr-defined]


def test_a_disk_that_can_be_written_has_no_trouble(tmp_path: Path) -> None:
    assert Disk(tmp_path).trouble() is None
    assert not list(tmp_path.iterdir())
    assert Disk(tmp_path / "nowhere").trouble() == "No such file or directory"


def test_a_disk_is_not_asked_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("api.disk.time.monotonic", lambda: now[0])
    disk = Disk(tmp_path)
    assert disk.trouble() is None
    tmp_path.rmdir()
    assert disk.trouble() is None
    now[0] += 1.5
    assert disk.trouble() == "No such file or directory"
    tmp_path.mkdir()
    now[0] += 1.5
    assert disk.trouble() is None


def test_a_full_disk_is_not_ready_until_there_is_room(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("api.disk.os.fsync", full)
    shared_of(client).disk = Disk(tmp_path)
    response = client.get("/readyz")
    assert refused(response, 503)["detail"] == "not ready (the store: No space left on device)"
    assert int(response.headers["retry-after"]) >= 1
    assert client.get("/healthz").status_code == 200
    monkeypatch.undo()
    shared_of(client).disk = Disk(tmp_path)
    assert client.get("/readyz").json() == {"status": "ok"}


def test_background_work_that_cannot_write_is_not_ready(service: Service) -> None:
    class Failing:
        trouble: Exception | None = None

        def __getattr__(self, name: str) -> Any:
            return getattr(service.living, name)

    failing = Failing()
    with serving(service, living=failing) as client:
        failing.trouble = StorageError("full", full=True)
        assert "work in the background" in refused(client.get("/readyz"), 503)["detail"]
        failing.trouble = ValueError("something else")
        assert client.get("/readyz").status_code == 200


def test_a_disk_that_hangs_is_not_ready(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.health._PATIENCE", 0.05)
    shared_of(client).disk = SimpleNamespace(trouble=lambda: time.sleep(0.5))
    assert "the disk does not answer" in refused(client.get("/readyz"), 503)["detail"]
    assert client.get("/healthz").status_code == 200


def test_from_the_signal_on_it_is_not_ready_and_still_answers(client: TestClient) -> None:
    shared_of(client).stopping = True
    assert refused(client.get("/readyz"), 503)["detail"] == "not ready (stopping)"
    assert client.get("/healthz").status_code == client.get("/v1/model").status_code == 200


# How it ends

_SERVER = """
import asyncio, signal, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from api.server import Server, wire
from api.settings import Settings
from api.state import Shared

async def slow(request):
    print("took", flush=True)
    await asyncio.sleep(float(request.path_params["seconds"]))
    print("done", flush=True)
    return PlainTextResponse("done")

async def ready(request):
    return PlainTextResponse("stopping" if shared.stopping else "ready")

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
settings = Settings()
shared = Shared(settings)
app = Starlette(routes=[Route("/slow/{seconds}", slow), Route("/ready", ready)])
config = uvicorn.Config(app, port=int(sys.argv[1]), http=wire(settings), lifespan="off", log_config=None,
                        timeout_graceful_shutdown=settings.grace_seconds)
class Told(Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("started", flush=True)
try:
    Told(config, shared).run()
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("DONGIL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(self.port)], cwd=ROOT, env=clean | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.says("started")

    def says(self, expected: str) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        said = self.process.stdout.readline().strip()
        assert said == expected, self.process.stderr.read() if not said else ""

    def ask(self, path: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return connection

    def answer(self, asked: socket.socket) -> bytes:
        """The body; nothing where the server left without an answer."""
        parts = iter(lambda: asked.recv(65_536), b"")
        return b"".join(parts).rpartition(b"\r\n\r\n")[2]

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_what_was_taken_comes_to_its_end() -> None:
    with Process() as server, server.ask("/slow/0.7") as asked:
        server.says("took")
        server.process.send_signal(signal.SIGINT)
        server.says("done")
        assert server.answer(asked) == b"done"
        server.says("stopped")
        assert server.process.wait(20) == 0


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    with Process() as server, server.ask("/slow/60") as asked:
        server.says("took")
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        started = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 130
        assert time.monotonic() < started + 2
        assert server.answer(asked) == b""


def test_the_grace_is_limited() -> None:
    with Process(DONGIL_GRACE_SECONDS="1") as server, server.ask("/slow/60"):
        server.says("took")
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
        assert 0.9 < time.monotonic() - started < 10


def test_while_it_drains_it_takes_requests_and_is_not_ready() -> None:
    with Process(DONGIL_DRAIN_SECONDS="1") as server:
        with server.ask("/ready") as asked:
            assert server.answer(asked) == b"ready"
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with server.ask("/ready") as asked:
            assert server.answer(asked) == b"stopping"
        server.process.wait(20)


@pytest.mark.parametrize("data", [False, True])
def test_at_once_leaves_no_temporary_folder_and_keeps_the_durable_one(tmp_path: Path, data: bool) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from api.server import Server
from api.settings import Settings
from api.state import Shared
import uvicorn
folder = Path(sys.argv[1])
shared = Shared(Settings(data=folder if len(sys.argv) > 2 else None))
shared.service = SimpleNamespace(catalog=SimpleNamespace(folder=folder))
server = Server(uvicorn.Config("none:none", log_config=None), shared)
server.handle_exit(signal.SIGINT, None)
assert shared.stopping and server.should_exit
server.handle_exit(signal.SIGTERM, None)
server.handle_exit(signal.SIGINT, None)
"""
    folder = tmp_path / "folder"
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder), *(["data"] if data else [])],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, folder.exists()) == (130, data), ran.stderr
