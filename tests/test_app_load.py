"""The service under load, while it starts, and when it ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from serving import ITEMS, JSON, SAMPLE, lent, refused, serving, until_ready
from starlette.testclient import TestClient

import api.app
import api.server
import api.service
from api.app import create_app
from api.line import Line
from api.server import serve
from api.service import Service, load_service
from api.settings import Settings
from embedder.errors import InputError
from index.answers import Answer, Ask
from index.items import read_items
from index.listings import Item
from index.living import LivingMatcher
from index.scene import Progress


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE))
    yield loaded
    loaded.close()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server in a process of tests leaves the process's logs alone."""
    monkeypatch.setattr(api.server, "set_up", lambda *_: None)


# Load


class Around:
    """A living catalogue, but for its answers."""

    def __init__(self, living: LivingMatcher) -> None:
        self.living = living

    def __getattr__(self, name: str) -> Any:
        return getattr(self.living, name)


class Broken(Around):
    """Every search fails."""

    revision = 1

    @property
    def snapshot(self) -> Any:
        return self

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        raise RuntimeError


class Slow(Around):
    """It searches until it is let go, and counts."""

    def __init__(self, living: LivingMatcher) -> None:
        super().__init__(living)
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    revision = 1

    @property
    def snapshot(self) -> Any:
        return self

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.gate.wait(20)
        with self.lock:
            self.now -= 1
        return [Answer([], []) for _ in asks]


def test_more_than_the_line_holds_are_sent_away_and_health_never_waits(service: Service) -> None:
    slow = Slow(service.living)
    with serving(service, living=slow, settings=Settings(max_concurrency=2, max_titles=3)) as client:
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
        assert slow.most <= 2
        assert client.post("/v1/match", json={"titles": ["a"]}).status_code == 200


def test_a_place_is_free_again_after_a_failure(service: Service) -> None:
    settings = Settings(max_concurrency=1, max_queue=0)
    with serving(service, living=Broken(service.living), settings=settings) as client:
        assert [client.post("/v1/match", json={"titles": ["a"]}).status_code for _ in range(3)] == [500] * 3


def test_what_asks_the_store_alone_does_not_wait_for_searches(service: Service) -> None:
    slow = Slow(service.living)
    settings = Settings(max_concurrency=1, max_queue=0)
    with serving(service, living=slow, settings=settings) as client, ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(client.post, "/v1/match", json={"titles": ["a"]})
        try:
            while not slow.now:
                time.sleep(0.005)
            given: Service = client.app.state.shared.service  # type: ignore[attr-defined]
            assert client.portal is not None
            assert client.portal.call(given.desk.run, service.catalog.count) > 500
        finally:
            slow.gate.set()
        assert waiting.result(20).status_code == 200


def test_one_at_a_time_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[int, int]] = []

    class Seen(Line):
        def __init__(self, *places: int) -> None:
            lines.append(places)  # type: ignore[arg-type]
            super().__init__(*places)

    monkeypatch.setattr(api.service, "Line", Seen)
    settings = Settings(max_concurrency=4, max_queue=5)
    load_service(settings).close()
    monkeypatch.setattr(api.service, "wants_gpu", lambda _: True)
    load_service(settings).close()
    desk = lines[1]
    assert lines == [(4, 5), desk, (1, 5), desk]


# Start and end


def test_health_answers_while_loading_and_ready_does_not(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    gate = threading.Event()
    told = threading.Event()

    def load(_: Settings, progress: Progress) -> Service:
        progress("encode", 1_500, 20_000)
        told.set()
        assert gate.wait(20)
        return lent(service, Settings())

    monkeypatch.setattr(api.app, "load_service", load)
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
    servers: list[api.server.Server] = []

    class Seen(api.server.Server):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            servers.append(self)

    def visit() -> list[int]:
        try:
            deadline = time.monotonic() + 20
            while not (servers and servers[0].started):
                assert time.monotonic() < deadline
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

    monkeypatch.setattr(api.server, "Server", Seen)
    monkeypatch.setattr(api.app, "load_service", lambda *_: lent(service, Settings(max_concurrency=1, max_queue=0)))
    with ThreadPoolExecutor(1) as visitors:
        visited = visitors.submit(visit)
        serve(Settings(port=0))
        assert visited.result(20) == [413, 200]


# What is kept


@contextmanager
def serving_data(settings: Settings) -> Iterator[tuple[TestClient, Service]]:
    """The app as it is, from its start to its end, and what it has loaded."""
    with TestClient(create_app(settings)) as client:
        until_ready(client)
        yield client, client.app.state.shared.service  # type: ignore[attr-defined]


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    title = "농심 신라면 120g 5개입"
    with serving_data(settings) as (client, service):
        service.catalog.put([Item("x", title), Item("gone", title)])
        service.catalog.delete(["gone"])
        service.living.follow()
        revision = client.get("/v1/model").json()["revision"]
    with serving_data(settings) as (client, service):
        assert client.get("/v1/model").json()["items"] == 1
        answer = client.post("/v1/match", json={"titles": [title]}).json()
        assert [match["id"] for match in answer["results"][0]["matches"]] == ["x"]
        assert answer["revision"] >= revision


def test_a_file_is_taken_in_beside_what_stands_there(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    with serving_data(settings) as (_, service):
        service.catalog.put([Item("x", "농심 신라면 120g 5개입"), Item("s0001", "another title of ours")])
    file = Settings(data=tmp_path / "data", catalog=SAMPLE)
    for _ in range(2):
        with serving_data(file) as (_, service):
            count = service.catalog.count()
            (first,) = (service.catalog.get("s0001"),)
            assert service.catalog.get("x") is not None
            assert first is not None and first.title != "another title of ours"
            assert service.living.settle() and len(service.living.snapshot) == count == len(read_items(SAMPLE)) + 1


def test_without_a_data_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving_data(Settings()) as (_, service):
        (folder,) = tmp_path.iterdir()
        assert service.catalog.folder == folder
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        load_service(Settings(catalog=Path("nowhere.csv")))
    assert not list(tmp_path.iterdir())


_HOLD = """
import sys
from index.catalog import Catalog
with Catalog.open(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_data_folder_of_another_process_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match=rf"{folder}: in use by another catalogue \(process {other.pid}\)"):
            serve(Settings(data=folder, port=0))
        other.stdin.close()
    load_service(Settings(data=folder)).close()


def test_a_data_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="file: cannot be a data folder"):
        load_service(Settings(data=file))
    assert file.read_text() == "mine"
