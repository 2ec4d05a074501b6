"""Logs: one line an event, with the id of its request, and no titles that nobody asked for."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.door import Door
from api.guard import guarded_route
from api.logs import REQUEST_ID, JsonFormatter, PlainFormatter, request_id, set_up
from api.metrics import Metrics
from api.problems import handlers
from api.schemas import ClusterRequest, MatchRequest
from api.settings import Settings
from api.state import Shared

TITLE = "농심 신라면 120g 5개입"


def record(message: str, *args: object, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("dongil", logging.INFO, "here", 1, message, args, None)
    vars(made).update(fields={**fields}, created=0.25, msecs=250.0)
    return made


def test_a_plain_line() -> None:
    line = PlainFormatter().format(record("request %d", 1, status=200, path="/a b", who="shop"))
    assert line == '1970-01-01T00:00:00.250Z INFO dongil: request 1 status=200 path="/a b" who=shop'


def test_a_json_line_and_the_request_that_it_belongs_to() -> None:
    token = REQUEST_ID.set("abc")
    try:
        line = JsonFormatter().format(record("request", status=200, titles=[TITLE]))
    finally:
        REQUEST_ID.reset(token)
    assert TITLE in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z", "level": "info", "logger": "dongil", "message": "request",
        "request_id": "abc", "status": 200, "titles": [TITLE],
    }  # fmt: skip


@given(st.text(st.characters()), st.text(st.characters()))
def test_whatever_is_logged_is_one_line(message: str, value: str) -> None:
    plain = PlainFormatter().format(record("%s", message, value=value))
    assert len(plain.splitlines()) == 1 and plain.encode()
    line = JsonFormatter().format(record("%s", message, value=value))
    assert "\n" not in line and line.encode()
    assert json.loads(line)["message"] == message


def test_a_traceback_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("why\x1b[0m")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: why\\x1b[0m" in PlainFormatter().format(made)
    assert "ValueError: why" in json.loads(JsonFormatter().format(made))["exception"]


@pytest.mark.parametrize("offered", ["a", "a" * 128, "01JABC/7:x_y-z.+=", "550e8400-e29b-41d4-a716-446655440000"])
def test_a_fit_id_is_kept(offered: str) -> None:
    assert request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "a" * 129, "a b", 'a"', "a\n", "열쇠"])
def test_an_unfit_id_is_replaced(offered: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{16}", request_id(offered))
    assert request_id(offered) != request_id(offered)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where everything is logged, as JSON, while a test runs."""
    root, captured = logging.getLogger(), io.StringIO()
    before, level = list(root.handlers), root.level
    root.handlers = []
    set_up("json", "debug", captured)
    yield captured
    root.handlers, root.level = before, level
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").disabled = False


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines() if '"asyncio"' not in line]


def test_uvicorn_logs_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("running on %s", "http://127.0.0.1:1")
    logging.getLogger("uvicorn.access").info("GET /?q=title")
    (line,) = lines(stream)
    assert (line["logger"], line["message"]) == ("uvicorn.error", "running on http://127.0.0.1:1")


def visited(settings: Settings) -> TestClient:
    """A client of an app behind the door."""

    async def match(asked: MatchRequest) -> str:
        logging.getLogger("dongil").warning("within")
        return asked.titles[0]

    async def cluster(asked: ClusterRequest) -> str:
        return asked.items[0].title

    async def item(id: str, request: Request) -> str:
        if id == "fail":
            raise RuntimeError("secret")
        return str(request.state.request_id)

    async def healthz() -> str:
        return "ok"

    app = FastAPI(exception_handlers=handlers())
    for path, endpoint, method in (
        ("/match", match, "POST"), ("/cluster", cluster, "POST"), ("/items/{id}", item, "GET"),
        ("/healthz", healthz, "GET"),
    ):  # fmt: skip
        app.router.add_api_route(path, endpoint, methods=[method], route_class_override=guarded_route(settings))
    return TestClient(Door(app, settings, Metrics(Shared(settings))), raise_server_exceptions=False)


def test_every_answer_has_an_id_and_a_line(stream: io.StringIO) -> None:
    client = visited(Settings())
    answer = client.get("/items/a?q=title", headers={"x-request-id": "mine"})
    assert (answer.headers["x-request-id"], answer.json()) == ("mine", "mine")
    assert answer.headers["x-content-type-options"] == "nosniff"
    missing = client.get("/nowhere")
    assert missing.json()["request_id"] == missing.headers["x-request-id"]
    failed = client.get("/items/fail", headers={"x-request-id": "f"})
    assert (failed.status_code, failed.json()["request_id"], failed.headers["x-request-id"]) == (500, "f", "f")
    told = [line for line in lines(stream) if line["logger"] == "dongil.access"]
    assert [(line["request_id"], line["path"], line["status"], line["who"]) for line in told] == [
        ("mine", "/items/a", 200, "anonymous"),
        (missing.headers["x-request-id"], "/nowhere", 404, "anonymous"),
        ("f", "/items/fail", 500, "anonymous"),
    ]
    assert all(line["ms"] >= 0 and line["method"] == "GET" for line in told)
    assert REQUEST_ID.get() is None


def test_no_title_is_logged(stream: io.StringIO) -> None:
    client = visited(Settings())
    assert client.post("/match", json={"titles": [TITLE]}).json() == TITLE
    assert client.post("/cluster", json={"items": [{"id": "a", "title": TITLE}]}).json() == TITLE
    assert client.post("/match", json={"titles": [TITLE], "k": 0}).status_code == 422
    assert TITLE not in stream.getvalue()
    (within,) = (line for line in lines(stream) if line["message"] == "within")
    assert within["request_id"]


def test_titles_are_logged_when_asked_for(stream: io.StringIO) -> None:
    client = visited(Settings(log_titles=True))
    assert client.post("/match", json={"titles": [TITLE, "b" * 900] * 30}).status_code == 200
    assert client.post("/cluster", json={"items": [{"id": "a", "title": TITLE}]}).json() == TITLE
    assert client.post("/match", content=b"{", headers={"content-type": "application/json"}).status_code == 422
    first, second = (line for line in lines(stream) if line["message"] == "titles")
    assert (len(first["titles"]), first["of"], first["titles"][:2]) == (20, 60, [TITLE, "b" * 200])
    assert second["titles"] == [TITLE]


def test_machines_that_ask_often_are_quiet(stream: io.StringIO) -> None:
    client = visited(Settings())
    client.get("/healthz")
    client.get("/items/a")
    levels = {line["path"]: line["level"] for line in lines(stream) if line["logger"] == "dongil.access"}
    assert levels == {"/healthz": "debug", "/items/a": "info"}
