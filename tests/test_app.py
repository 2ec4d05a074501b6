"""The service as its callers see it: answers, limits, problems, load, start and end."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import TestClient

import api.app
from api.app import Line, Service, create_app, load_service, serve
from api.problems import MEDIA_TYPE, Problem
from api.schemas import MAX_K, MAX_MATCHES, MAX_TITLES
from api.settings import Settings
from embedder.errors import InputError
from index.items import MAX_TITLE_BYTES, read_items
from index.matcher import Match, Matcher, Progress

SAMPLE = Path(__file__).resolve().parent.parent / "api" / "sample" / "catalog.csv"
KEY = "0123456789abcdef"
JSON = {"content-type": "application/json"}
TITLES = ["농심 너구리 얼큰한맛 120g 5개입", "Nintendo Switch OLED Model White", "🎉✨"]
ITEMS = [
    {"id": "b", "title": "농심 너구리 120g 5개입"},
    {"id": "🎉", "title": "🎉"},
    {"id": "c", "title": "Nintendo Switch OLED"},
    {"id": "a", "title": "농심 너구리 120g 5개입 [무료배송]"},
]


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("DONGIL_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def service(clean_environment: None) -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE))
    yield loaded
    loaded.line.close()


@pytest.fixture(scope="session")
def matcher(service: Service) -> Matcher:
    assert service.matcher is not None
    return service.matcher


@contextmanager
def serving(service: Service, *, matcher: Any = None, settings: Settings | None = None) -> Iterator[TestClient]:
    """A client of an app that is given what another one has loaded."""
    settings = settings or service.settings
    given = replace(
        service, matcher=matcher, settings=settings, line=Line(settings.max_concurrency, settings.max_queue)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.app, "load_service", lambda *_: given)
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            until_ready(client)
            patch.undo()
            yield client


def until_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 20
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="session")
def client(service: Service, matcher: Matcher) -> Iterator[TestClient]:
    with serving(service, matcher=matcher) as client:
        yield client


def refused(response: Any, status: int) -> dict[str, Any]:
    """The problem in an answer, which must be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    content: dict[str, Any] = response.json()
    problem = Problem.model_validate(content, strict=True, extra="forbid")
    assert (problem.type, problem.status) == ("about:blank", status)
    assert len(response.text) < 8_000
    return content


# Answers


@pytest.mark.parametrize("asked", [{}, {"k": 1}, {"k": 1000, "threshold": 0.5}, {"threshold": -1}, {"threshold": 1}])
def test_match_answers_what_the_matcher_answers(client: TestClient, matcher: Matcher, asked: dict[str, Any]) -> None:
    answer = client.post("/v1/match", json={"titles": TITLES, **asked}).json()
    expected = matcher.match(TITLES, **asked)
    assert [result["title"] for result in answer["results"]] == TITLES
    assert [result["matches"] for result in answer["results"]] == [[asdict(m) for m in found] for found in expected]
    assert answer["model"] == {
        "fingerprint": matcher.encoder.fingerprint,
        "threshold": asked.get("threshold", matcher.decision.threshold),
    }


def test_a_title_of_emoji_has_no_matches(client: TestClient) -> None:
    (result,) = client.post("/v1/match", json={"titles": ["🎉✨"], "threshold": -1}).json()["results"]
    assert result == {"title": "🎉✨", "matches": []}


@pytest.mark.parametrize("asked", [{}, {"threshold": 0.3}, {"threshold": -1}])
def test_cluster_answers_what_the_matcher_answers(client: TestClient, matcher: Matcher, asked: dict[str, Any]) -> None:
    answer = client.post("/v1/cluster", json={"items": ITEMS, **asked}).json()
    ids = [item["id"] for item in ITEMS]
    alone = Matcher.from_items(ids, [item["title"] for item in ITEMS], matcher.encoder)
    cluster_of = {id: cluster["cluster_id"] for cluster in answer["clusters"] for id in cluster["items"]}
    assert cluster_of == dict(zip(ids, alone.cluster(asked.get("threshold")), strict=True))
    assert sorted(id for cluster in answer["clusters"] for id in cluster["items"]) == sorted(ids)
    assert answer["model"] == {
        "fingerprint": matcher.encoder.fingerprint,
        "threshold": asked.get("threshold", matcher.decision.cluster_threshold),
    }


def test_clusters_and_their_items_stand_in_the_order_they_were_sent(client: TestClient) -> None:
    answer = client.post("/v1/cluster", json={"items": ITEMS, "threshold": 1}).json()
    assert answer["clusters"] == [
        {"cluster_id": "a", "items": ["b", "a"]},
        {"cluster_id": "🎉", "items": ["🎉"]},
        {"cluster_id": "c", "items": ["c"]},
    ]


def test_model_tells_what_answers(client: TestClient, matcher: Matcher) -> None:
    config = matcher.encoder.bundle.config
    assert client.get("/v1/model").json() == {
        "fingerprint": matcher.encoder.fingerprint,
        "architecture": config.architecture,
        "dimensions": config.dimensions,
        "precision": config.precision,
        "threshold": matcher.decision.threshold,
        "cluster_threshold": matcher.decision.cluster_threshold,
        "items": len(read_items(SAMPLE)),
        "index": {"exact": True, "recall": 1.0},
    }


def test_without_a_catalogue_only_clustering_works(service: Service) -> None:
    with serving(service) as client:
        assert "no catalogue" in refused(client.post("/v1/match", json={"titles": ["a"]}), 409)["detail"]
        assert client.post("/v1/cluster", json={"items": ITEMS}).status_code == 200
        answer = client.get("/v1/model").json()
        assert (answer["items"], answer["index"]) == (0, None)


# What is refused


def test_limits_are_met_exactly(client: TestClient) -> None:
    longest = "가" * (MAX_TITLE_BYTES // 3)
    assert client.post("/v1/match", json={"titles": [longest]}).status_code == 200
    (fault,) = refused(client.post("/v1/match", json={"titles": [longest + "가"]}), 422)["errors"]
    assert fault["expected"] == f"at most {MAX_TITLE_BYTES} bytes of UTF-8, not {len(longest.encode()) + 3}"
    assert client.post("/v1/match", json={"titles": ["🎉"] * MAX_TITLES}).status_code == 200
    assert (
        "at most 1000"
        in refused(client.post("/v1/match", json={"titles": ["🎉"] * 1_001}), 422)["errors"][0]["expected"]
    )
    assert client.post("/v1/match", json={"titles": ["🎉"] * (MAX_MATCHES // MAX_K), "k": MAX_K}).status_code == 200
    (fault,) = refused(client.post("/v1/match", json={"titles": ["🎉"] * 101, "k": MAX_K}), 422)["errors"]
    assert (fault["location"], fault["value"]) == ("#", "'101 titles, k 1000'")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=8,
)


@examples(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("titles", "items", "k", "threshold", "x"), values)) | values)
def test_no_json_makes_it_fail(client: TestClient, value: Any) -> None:
    for path in ("/v1/match", "/v1/cluster"):
        response = client.post(path, content=json.dumps(value).encode(), headers=JSON)
        assert response.status_code in {200, 422}, response.text


@examples(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(), min_size=1, max_size=20), min_size=1, max_size=4))
def test_every_title_is_answered_or_refused(client: TestClient, titles: list[str]) -> None:
    response = client.post("/v1/match", content=json.dumps({"titles": titles}).encode(), headers=JSON)
    fit = all(t.strip() and "\0" not in t and t.isascii() | (t == t.encode(errors="replace").decode()) for t in titles)
    assert response.status_code == (200 if fit else 422)
    assert not fit or [result["title"] for result in response.json()["results"]] == titles


def test_without_the_key_v1_is_closed_and_health_is_open(service: Service) -> None:
    with serving(service, settings=Settings(api_key=SecretStr(KEY))) as client:
        refused(client.get("/v1/model"), 401)
        refused(client.post("/v1/match", json={"titles": ["a"]}), 401)
        refused(client.post("/v1/cluster", json={"items": ITEMS}), 401)
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.get("/v1/model", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


# Load


class Broken:
    """A matcher whose every search fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def match(self, titles: Sequence[str], **_: Any) -> list[list[Match]]:
        raise self.error


class Slow:
    """A matcher that searches until it is let go, and counts."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def match(self, titles: Sequence[str], **_: Any) -> list[list[Match]]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.gate.wait(20)
        with self.lock:
            self.now -= 1
        return [[] for _ in titles]


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
