"""The service under load, while it starts, and when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from test_app import ITEMS, JSON, SAMPLE, refused, serving, until_ready

import api.app
from api.app import Line, Service, create_app, load_service, serve
from api.settings import Settings
from embedder.errors import InputError
from index.answers import Answer
from index.matcher import Matcher
from index.scene import Progress


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE))
    yield loaded
    loaded.line.close()


@pytest.fixture(scope="module")
def matcher(service: Service) -> Matcher:
    assert service.matcher is not None
    return service.matcher


# Load


class Broken:
    """A matcher whose every search fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def answer(self, titles: Sequence[str], **_: Any) -> list[Answer]:
        raise self.error


class Slow:
    """A matcher that searches until it is let go, and counts."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def answer(self, titles: Sequence[str], **_: Any) -> list[Answer]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.gate.wait(20)
        with self.lock:
            self.now -= 1
        return [Answer([], []) for _ in titles]


def test_more_than_the_line_holds_are_sent_away_and_health_never_waits(service: Service) -> None:
    slow = Slow()
    with serving(service, matcher=slow, settings=Settings(max_concurrency=2, max_queue=1)) as client:
        with ThreadPoolExecutor(8) as callers:
            sent: list[Future[Any]] = [
                callers.submit(client.post, "/v1/match", json={"titles": ["a"]}) for _ in range(8)
            ]
            away: set[Future[Any]] = set()
            try:
                while len(away) < 5:
                    done, _ = wait(set(sent) - away, timeout=10, return_when=FIRST_COMPLETED)
                    assert done
                    away |= done
                assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
            finally:
                slow.gate.set()
        for future in away:
            refused(future.result(), 503)
            assert int(future.result().headers["retry-after"]) >= 1
        assert [future.result().status_code for future in sent if future not in away] == [200] * 3
        assert slow.most == 2
        assert client.post("/v1/match", json={"titles": ["a"]}).status_code == 200


def test_a_place_is_free_again_after_a_failure(service: Service) -> None:
    with serving(service, matcher=Broken(RuntimeError()), settings=Settings(max_concurrency=1, max_queue=0)) as client:
        assert [client.post("/v1/match", json={"titles": ["a"]}).status_code for _ in range(3)] == [500] * 3


def test_one_at_a_time_on_a_gpu(monkeypatch: pytest.MonkeyPatch, matcher: Matcher) -> None:
    monkeypatch.setattr(api.app, "load_matcher", lambda *_, **__: matcher)
    lines: list[tuple[int, int]] = []
    monkeypatch.setattr(api.app, "Line", lambda *places: lines.append(places))
    load_service(Settings(max_concurrency=4, max_queue=5))
    monkeypatch.setattr(api.app, "wants_gpu", lambda _: True)
    load_service(Settings(max_concurrency=4, max_queue=5))
    assert lines == [(4, 5), (1, 5)]


# Start and end


def test_health_answers_while_loading_and_ready_does_not(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    gate = threading.Event()
    told = threading.Event()

    def load(_: Settings, progress: Progress) -> Service:
        progress("encode", 1_500, 20_000)
        told.set()
        assert gate.wait(20)
        return service

    monkeypatch.setattr(api.app, "load_service", load)
    monkeypatch.setattr(service.line, "close", lambda: None)
    with TestClient(create_app(Settings())) as client:
        assert told.wait(20)
        assert client.get("/healthz").json() == {"status": "ok"}
        for response in (
            client.get("/readyz"),
            client.get("/v1/model"),
            client.post("/v1/match", json={"titles": ["a"]}),
            client.post("/v1/cluster", json={"items": ITEMS}),
        ):
            assert refused(response, 503)["detail"] == "not ready (loading: encode 1,500 of 20,000)"
            assert int(response.headers["retry-after"]) >= 1
        gate.set()
        until_ready(client)
        assert client.get("/v1/model").status_code == 200


def test_shutting_down_ends_the_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []

    def load(_: Settings, progress: Progress) -> Service:
        for done in range(2_000):
            progress("encode", done, 2_000)
            time.sleep(0.01)
        raise AssertionError("not ended")

    monkeypatch.setattr(api.app, "load_service", load)
    with TestClient(create_app(Settings(), on_failure=failures.append)) as client:
        assert client.get("/healthz").status_code == 200
    assert not failures


def test_what_cannot_be_loaded_is_reported_and_never_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failures: list[BaseException] = []
    settings = Settings(catalog=tmp_path / "nowhere.csv")
    for on_failure in (failures.append, None):
        with TestClient(create_app(settings, on_failure=on_failure)) as client:
            deadline = time.monotonic() + 20
            while "failed" not in client.get("/readyz").json()["detail"]:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            assert str(tmp_path) not in refused(client.get("/readyz"), 503)["detail"]
            assert client.get("/healthz").status_code == 200
    (failure,) = failures
    assert isinstance(failure, InputError) and failure.file == str(tmp_path / "nowhere.csv")
    assert "cannot load: " in caplog.text and "nowhere.csv" in caplog.text


def test_serve_ends_with_the_error_of_loading(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        serve(Settings(catalog=tmp_path / "nowhere.csv", port=0))


def test_serve_answers_on_its_socket(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    httpx = pytest.importorskip("httpx2")
    servers: list[uvicorn.Server] = []

    class Seen(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    def visit() -> list[int]:
        try:
            while not (servers and servers[0].started):
                time.sleep(0.005)
            host, port = servers[0].servers[0].sockets[0].getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}") as visitor:
                while visitor.get("/readyz").status_code != 200:
                    time.sleep(0.005)
                too_long = visitor.post("/v1/cluster", content=iter([b" " * 1_000_000] * 10), headers=JSON)
                answer = visitor.post("/v1/cluster", json={"items": ITEMS})
                assert "server" not in answer.headers
                return [too_long.status_code, answer.status_code]
        finally:
            servers[0].should_exit = True

    monkeypatch.setattr(uvicorn, "Server", Seen)
    monkeypatch.setattr(api.app, "load_service", lambda *_: replace(service, line=Line(1, 0)))
    with ThreadPoolExecutor(1) as visitors:
        visited = visitors.submit(visit)
        serve(Settings(port=0))
        assert visited.result(20) == [413, 200]
