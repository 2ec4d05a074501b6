"""Who gets in, and how much of a body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.guard import guarded_route
from api.problems import handlers
from api.schemas import MatchRequest
from api.settings import Settings

KEY = "0123456789abcdef"
JSON = {"content-type": "application/json"}
BODY = '{"titles": ["🎉"]}'.encode()


async def echo(asked: MatchRequest) -> MatchRequest:
    return asked


async def look() -> str:
    return "seen"


def guarded(settings: Settings) -> FastAPI:
    app, route = FastAPI(exception_handlers=handlers()), guarded_route(settings)
    app.router.add_api_route("/", echo, methods=["POST"], route_class_override=route)
    app.router.add_api_route("/", look, methods=["GET"], route_class_override=route)
    return app


def post(client: TestClient, content: bytes | Iterator[bytes]) -> int:
    return client.post("/", content=content, headers=JSON).status_code


def test_a_body_may_be_as_long_as_the_limit() -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield BODY
        yield b" " * (size - len(BODY))

    client = TestClient(guarded(Settings(max_body_bytes=2_000)))
    assert post(client, BODY.ljust(2_000)) == post(client, chunks(2_000)) == 200
    assert post(client, BODY.ljust(2_001)) == post(client, chunks(2_001)) == 413
    response = client.post("/", content=BODY.ljust(2_001), headers=JSON)
    assert response.json()["detail"] == "the body is larger than 2000 bytes"


def call(settings: Settings, headers: dict[str, str]) -> tuple[int, int]:
    """Status of a POST, and how many chunks of 1,000 bytes of its endless body were read."""
    read, statuses = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b" " * 1_000, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": fields}
    asyncio.run(guarded(settings)(scope, receive, send))
    return statuses[0], read


def test_no_more_is_read_than_the_limit() -> None:
    settings = Settings(max_body_bytes=10_000)
    assert call(settings, JSON) == (413, 11)
    assert call(settings, JSON | {"content-length": "10001"}) == (413, 0)
    assert call(settings, JSON | {"content-length": "many"}) == (413, 11)
    assert call(settings, {"content-type": "text/csv"}) == (415, 0)
    assert call(Settings(api_key=SecretStr(KEY)), JSON) == (401, 0)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/jsonx"}, JSON | {"content-encoding": "gzip"}],
)
def test_other_media_types_are_refused(headers: dict[str, str]) -> None:
    response = TestClient(guarded(Settings())).post("/", content=BODY, headers=headers)
    assert (response.status_code, "; expected " in response.json()["detail"]) == (415, True)


def test_json_may_name_its_charset() -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8", "content-encoding": "identity"}
    response = TestClient(guarded(Settings())).post("/", content=BODY, headers=headers)
    assert response.json()["titles"] == ["🎉"]


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    f"Basic {KEY}",
    KEY,
    f"Bearer {KEY}x",
    f"Bearer {KEY[:-1]}",
    "Bearer 열쇠",
    f"X {KEY}",
]


@pytest.mark.parametrize("value", [None, *WRONG])
def test_without_the_key_it_is_closed(value: str | None) -> None:
    client = TestClient(guarded(Settings(api_key=SecretStr(KEY))))
    headers = {} if value is None else {b"authorization": value.encode()}
    for response in (client.get("/", headers=headers), client.post("/", headers=headers)):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert KEY not in response.text


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer  {KEY}"])
def test_the_key_opens(value: str) -> None:
    client = TestClient(guarded(Settings(api_key=SecretStr(KEY))))
    assert client.get("/", headers={"authorization": value}).json() == "seen"
    assert client.post("/", content=BODY, headers=JSON | {"authorization": value}).status_code == 200
