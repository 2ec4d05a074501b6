"""The service as its callers see it: answers, limits, problems, load, start and end."""

from __future__ import annotations

import asyncio
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
from starlette.testclient import TestClient

import api.app
from api.app import Line, Service, create_app, load_service, serve
from api.problems import LISTED, MEDIA_TYPE, Problem
from api.schemas import MAX_ID_LENGTH, MAX_ITEMS, MAX_K, MAX_MATCHES, MAX_TITLES, ClusterRequest, MatchRequest
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


# Problems


@pytest.mark.parametrize(
    ("body", "location", "value", "expected"),
    [
        (b"", "#", "None", "required"),
        (b"{", "#", "''", "JSON in UTF-8; Expecting property name"),
        (b'{"titles": oops}', "#", "'oops}'", "JSON in UTF-8; Expecting value at character 11"),
        (b'{"titles": ["\xff"]}', "#", "'\ufffd\"]}'", "JSON in UTF-8; not UTF-8 at character 13"),
        (b"[" * 100_000, "#", "'[[[", "nested too deeply"),
        (b'{"titles": ["a"], "k": ' + b"1" * 5_000 + b"}", "#", "'{", "too many digits"),
        (b"[]", "#", "[]", "a JSON object"),
        (b"{}", "#/titles", "{}", "required"),
        (b'{"titles": "a"}', "#/titles", "'a'", "a valid list"),
        (b'{"titles": []}', "#/titles", "[]", "at least 1 item"),
        (b'{"titles": [1]}', "#/titles/0", "1", "a valid string"),
        (b'{"titles": ["a", ""]}', "#/titles/1", "''", "at least 1 character"),
        (b'{"titles": ["a", " \\u3000\\t"]}', "#/titles/1", "' \\u3000\\t'", "text that is not blank"),
        (b'{"titles": ["a\\u0000b"]}', "#/titles/0", "'a\\x00b'", "text without a NUL character"),
        (b'{"titles": ["a\\ud800b"]}', "#/titles/0", "'a\\ud800b'", "surrogate"),
        (b'{"titles": ["a"], "\\udfff": 1}', "#", "'\\udfff'", "surrogate"),
        (b'{"titles": ["a"], "x~/y": 1}', "#/x~0~1y", "1", "no field of this name"),
        (b'{"titles": ["a"], "k": 0}', "#/k", "0", "greater than or equal to 1"),
        (b'{"titles": ["a"], "k": 1001}', "#/k", "1001", "less than or equal to 1000"),
        (b'{"titles": ["a"], "k": "7"}', "#/k", "'7'", "a valid integer"),
        (b'{"titles": ["a"], "k": true}', "#/k", "True", "a valid integer"),
        (b'{"titles": ["a"], "k": 1.5}', "#/k", "1.5", "a valid integer"),
        (b'{"titles": ["a"], "k": NaN}', "#/k", "nan", "a valid integer"),
        (b'{"titles": ["a"], "k": null}', "#/k", "None", "a valid integer"),
        (b'{"titles": ["a"], "threshold": NaN}', "#/threshold", "nan", "a finite number"),
        (b'{"titles": ["a"], "threshold": -Infinity}', "#/threshold", "-inf", "a finite number"),
        (b'{"titles": ["a"], "threshold": 1e400}', "#/threshold", "inf", "a finite number"),
        (b'{"titles": ["a"], "threshold": 1.01}', "#/threshold", "1.01", "less than or equal to 1"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(
    client: TestClient, body: bytes, location: str, value: str, expected: str
) -> None:
    (fault,) = refused(client.post("/v1/match", content=body, headers=JSON), 422)["errors"]
    assert fault["location"] == location
    assert fault["value"].startswith(value)
    assert expected in fault["expected"]


@pytest.mark.parametrize(
    ("items", "location", "value", "expected"),
    [
        ([{"id": "", "title": "a"}], "#/items/0/id", "''", "at least 1 character"),
        ([{"id": " ", "title": "a"}], "#/items/0/id", "' '", "not blank"),
        ([{"id": "a\0", "title": "a"}], "#/items/0/id", "'a\\x00'", "NUL"),
        ([{"id": 7, "title": "a"}], "#/items/0/id", "7", "a valid string"),
        ([{"id": "i" * (MAX_ID_LENGTH + 1), "title": "a"}], "#/items/0/id", "'iii", f"at most {MAX_ID_LENGTH}"),
        ([{"id": "x", "title": "\n"}], "#/items/0/title", "'\\n'", "not blank"),
        ([{"id": "x"}], "#/items/0/title", "{'id': 'x'}", "required"),
        ([{"id": "x", "title": "a"}, {"id": "x", "title": "b"}], "#/items/1/id", "'x'", "distinct ids; item 0 has"),
        ([], "#/items", "[]", "at least 1 item"),
        ([{"id": str(n), "title": "a"} for n in range(MAX_ITEMS + 1)], "#/items", "[", f"at most {MAX_ITEMS} items"),
    ],
)
def test_items_that_cannot_be_used_are_told_with_their_place(
    client: TestClient, items: list[Any], location: str, value: str, expected: str
) -> None:
    (fault,) = refused(client.post("/v1/cluster", json={"items": items}), 422)["errors"]
    assert (fault["location"], fault["value"].startswith(value)) == (location, True)
    assert expected in fault["expected"]


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
    items = [{"id": f"{n:0{MAX_ID_LENGTH}}", "title": "🎉"} for n in range(MAX_ITEMS)]
    assert len(client.post("/v1/cluster", json={"items": items}).json()["clusters"]) == MAX_ITEMS


def test_only_the_first_of_many_faults_are_listed(client: TestClient) -> None:
    content = refused(client.post("/v1/match", json={"titles": [1] * 900, "x" * 9_000: [["y" * 9_000] * 9] * 9}), 422)
    assert content["detail"] == f"901 faults in the request; the first {LISTED} are listed"
    assert len(content["errors"]) == LISTED
    (fault,) = refused(client.post("/v1/match", json={"titles": ["a"], "x" * 9_000: "y" * 9_000}), 422)["errors"]
    assert len(fault["location"]) + len(fault["value"]) < 200


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    assert refused(client.get("/nope"), 404)["detail"].startswith("nothing at '/nope'")
    refused(client.post("/v1/match/", json={"titles": ["a"]}), 404)
    refused(client.get("/" + "x" * 9_000), 404)
    response = client.get("/v1/match")
    assert refused(response, 405)["detail"] == "method 'GET'; expected POST"
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/jsonx"}, JSON | {"content-encoding": "gzip"}],
)
def test_other_media_types_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    refused(client.post("/v1/match", content=b'{"titles": ["a"]}', headers=headers), 415)


def test_json_may_name_its_charset(client: TestClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8", "content-encoding": "identity"}
    assert client.post("/v1/match", content='{"titles": ["🎉"]}'.encode(), headers=headers).status_code == 200


class Broken:
    """A matcher whose every search fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def match(self, titles: Sequence[str], **_: Any) -> list[list[Match]]:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("secret"), InputError("secret", file="/secret/model.onnx")])
def test_a_failure_tells_nothing_of_the_inside(service: Service, error: Exception) -> None:
    with serving(service, matcher=Broken(error)) as client:
        response = client.post("/v1/match", json={"titles": ["a"]})
        assert refused(response, 500)["detail"] == "the service failed; its log says why"
        assert "secret" not in response.text


def test_an_input_error_of_the_core_is_the_callers(service: Service) -> None:
    with serving(service, matcher=Broken(InputError("k is 0; expected at least 1"))) as client:
        assert refused(client.post("/v1/match", json={"titles": ["a"]}), 422)["detail"] == "k is 0; expected at least 1"


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


# The body's size, the key


def test_a_body_may_be_as_long_as_the_limit(service: Service, matcher: Matcher) -> None:
    with serving(service, matcher=matcher, settings=Settings(max_body_bytes=2_000)) as client:
        body = b'{"titles": ["\xf0\x9f\x8e\x89"]}'
        assert client.post("/v1/match", content=body + b" " * (2_000 - len(body)), headers=JSON).status_code == 200
        response = client.post("/v1/match", content=body + b" " * (2_001 - len(body)), headers=JSON)
        assert refused(response, 413)["detail"] == "the body is larger than 2000 bytes"

        def chunks(size: int) -> Iterator[bytes]:
            yield body
            yield b" " * (size - len(body))

        assert client.post("/v1/match", content=chunks(2_000), headers=JSON).status_code == 200
        refused(client.post("/v1/match", content=chunks(2_001), headers=JSON), 413)


def call(app: Any, headers: dict[str, str], chunk: bytes) -> tuple[int, int]:
    """Status of POST /v1/match, and how many chunks of an endless body it read."""
    read, statuses = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/match", "query_string": b"", "headers": fields}
    asyncio.run(app(scope, receive, send))
    return statuses[0], read


def test_no_more_is_read_than_the_limit() -> None:
    app = create_app(Settings(max_body_bytes=10_000))
    assert call(app, JSON, b" " * 1_000) == (413, 11)
    assert call(app, JSON | {"content-length": "10001"}, b" " * 1_000) == (413, 0)
    assert call(app, {"content-type": "text/csv"}, b" " * 1_000) == (415, 0)
    assert call(create_app(Settings(api_key=KEY)), JSON, b" ") == (401, 0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer 열쇠",
        f"BearerX {KEY}",
    ],
)
def test_without_the_key_v1_is_closed_and_health_is_open(service: Service, value: str | None) -> None:
    with serving(service, settings=Settings(api_key=KEY)) as client:
        headers = {} if value is None else {"authorization": value.encode()}
        for response in (
            client.get("/v1/model", headers=headers),
            client.post("/v1/match", headers=headers),
            client.post("/v1/cluster", headers=headers, json={"items": ITEMS}),
        ):
            assert KEY not in refused(response, 401)["detail"]
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/healthz", headers=headers).status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer  {KEY}"])
def test_the_key_opens(service: Service, value: str) -> None:
    with serving(service, settings=Settings(api_key=KEY)) as client:
        assert client.get("/v1/model", headers={"authorization": value}).status_code == 200


# Load


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
    monkeypatch.setattr(matcher.index, "on_gpu", True)
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


# The description


def _resolve(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = openapi["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _references(part)


STATUSES = {
    "match": {200, 401, 409, 413, 415, 422, 500, 503},
    "cluster": {200, 401, 413, 415, 422, 500, 503},
    "model": {200, 401, 500, 503},
    "health": {200},
    "ready": {200, 503},
}


def test_every_operation_is_described_with_examples_and_problems(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    assert openapi["openapi"].startswith("3.1")
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]
    assert {o["operationId"]: {int(status) for status in o["responses"]} for o in operations} == STATUSES
    for operation in operations:
        assert operation["summary"] and operation["description"]
        for status, response in operation["responses"].items():
            assert response["description"] not in {"", "Successful Response"}
            ((media_type, content),) = response["content"].items()
            if status == "200":
                assert media_type == "application/json" and _resolve(openapi, content["schema"])["examples"]
            else:
                assert media_type == MEDIA_TYPE and content["schema"]["$ref"].endswith("/Problem")
                assert Problem.model_validate(content["example"]).status == int(status)
    assert {openapi["components"]["schemas"][ref.rpartition("/")[2]] is not None for ref in _references(openapi)} == {
        True
    }
    assert "securitySchemes" not in openapi["components"]


def test_the_examples_are_good_requests_and_answers(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    for path, model in (("/v1/match", MatchRequest), ("/v1/cluster", ClusterRequest)):
        operation = openapi["paths"][path]["post"]
        asked = _resolve(openapi, operation["requestBody"]["content"]["application/json"]["schema"])
        answer = _resolve(openapi, operation["responses"]["200"]["content"]["application/json"]["schema"])
        assert model.model_validate(asked["examples"][0])
        answered = client.post(path, json=asked["examples"][0]).json()
        assert answered.keys() == answer["examples"][0].keys() == set(answer["required"])
    assert set(openapi["components"]["schemas"]) >= {"Problem", "Fault", "MatchRequest", "MatchedItem"}


def test_the_key_is_described_where_it_is_needed() -> None:
    openapi = create_app(Settings(api_key=KEY)).openapi()
    (name,) = openapi["components"]["securitySchemes"]
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == ([{name: []}] if path.startswith("/v1/") else None)
    assert KEY not in json.dumps(openapi)
