"""What comes through the door, and how long, how much and how many may try."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from serving import refused
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message

from api.door import CROWDED, Door
from api.metrics import Metrics
from api.problems import handlers
from api.server import Server, wire
from api.settings import Settings
from api.state import Shared


async def size(request: Request) -> Response:
    return JSONResponse(len(await request.body()))


async def plain(_: Request) -> Response:
    return PlainTextResponse("seen")


async def endless(_: Request) -> Response:
    async def parts() -> Any:
        while True:
            yield bytes(65_536)
            await asyncio.sleep(0)

    return StreamingResponse(parts())


def behind(settings: Settings) -> ASGIApp:
    """A small app behind the door."""
    routes = [
        Route("/", plain, methods=["GET"]), Route("/", size, methods=["POST", "PUT", "DELETE"]),
        Route("/healthz", plain), Route("/endless", endless),
    ]  # fmt: skip
    app = Starlette(routes=routes, exception_handlers=handlers())
    return Door(app, settings, Metrics(Shared(settings)))


# Where a request comes from


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("127.0.0.1:8000", 200), ("localhost:1", 200), ("LOCALHOST", 200), ("localhost.", 200),
        ("[::1]:8000", 200), ("a.localhost", 200), ("proxy.example", 200), ("proxy.example:80", 200),
        ("evil.example", 421), ("evil.example:8000", 421), ("127.0.0.1.evil.example", 421), ("", 421),
        ("localhost.evil.example", 421), ("[", 421), ("8.8.8.8", 421), ("localhost@evil.example", 421),
    ],
)  # fmt: skip
def test_on_loopback_a_loopback_host_must_be_named(host: str, status: int) -> None:
    client = TestClient(behind(Settings(allowed_hosts=("proxy.example",))), base_url="http://127.0.0.1:8000")
    assert client.get("/", headers={"host": host}).status_code == status
    if status == 421:
        assert "another name" in refused(client.get("/", headers={"host": host}), 421)["detail"]


def test_elsewhere_any_host_may_be_named() -> None:
    settings = Settings(host="192.168.0.2", api_key="0123456789abcdef")
    client = TestClient(behind(settings), base_url="http://192.168.0.2")
    assert client.get("/", headers={"host": "shop.example"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://proxy.example"}, 200),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
    ],
)
def test_another_sites_page_changes_nothing(headers: dict[str, str], status: int) -> None:
    client = TestClient(behind(Settings(allowed_hosts=("proxy.example",))), base_url="http://127.0.0.1:8000")
    assert [client.request(method, "/", headers=headers).status_code for method in ("POST", "PUT", "DELETE")] == [
        status
    ] * 3
    assert client.get("/", headers=headers).status_code == 200


# How long a body may take, and how much it may be


def sent(settings: Settings, parts: list[tuple[float, int]]) -> tuple[int, float]:
    """Status of a POST whose body comes in parts, each so many seconds and bytes, and how long it took."""
    statuses: list[int] = []
    left = list(parts)

    async def receive() -> Message:
        seconds, length = left.pop(0)
        if seconds:
            await asyncio.sleep(seconds)
        return {"type": "http.request", "body": bytes(length), "more_body": bool(left)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            assert message["status"] == 200 or (b"connection", b"close") in message["headers"]

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [], "server": None}
    started = time.monotonic()
    asyncio.run(behind(settings)(scope, receive, send))
    return statuses[0], time.monotonic() - started


def test_a_body_that_trickles_is_given_up() -> None:
    settings = Settings(body_seconds=0.2, body_rate=1_000)
    assert sent(settings, [(0, 10)])[0] == 200
    assert sent(settings, [(0.01, 10)] * 10)[0] == 200
    status, seconds = sent(settings, [(0.05, 1)] * 1_000)
    assert (status, seconds < 2) == (408, True)
    status, seconds = sent(settings, [(60, 1)])
    assert (status, seconds < 2) == (408, True)


def test_a_long_body_gets_more_time() -> None:
    settings = Settings(body_seconds=0.2, body_rate=1_000)
    assert sent(settings, [(0.05, 100)] * 10)[0] == 200  # half a second: 0.2, and 1 for 1,000 bytes
    assert sent(settings, [(0.3, 0), (0, 1)])[0] == 408


def test_a_wait_of_the_service_is_not_the_callers() -> None:
    async def late(request: Request) -> Response:
        await asyncio.sleep(0.4)
        return await size(request)

    settings = Settings(body_seconds=0.2)
    app = Starlette(routes=[Route("/", late, methods=["POST"])], exception_handlers=handlers())
    client = TestClient(Door(app, settings, Metrics(Shared(settings))))
    assert client.post("/", content=b"abc").json() == 3


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("application/x-www-form-urlencoded", 2_000),
        ("text/csv", 2_000),
        ("", 2_000),
        ("Multipart/Form-Data; boundary=a", 3_000 + 2**20),
    ],
)
def test_no_body_is_read_beyond_what_its_kind_may_have(kind: str, most: int) -> None:
    def parts(length: int) -> Iterator[bytes]:
        yield bytes(length - 1)
        yield b"a"

    client = TestClient(behind(Settings(max_body_bytes=2_000, max_upload_bytes=3_000)))
    assert client.post("/", content=parts(most), headers={"content-type": kind}).json() == most
    response = client.post("/", content=parts(most + 1), headers={"content-type": kind})
    assert refused(response, 413)["detail"] == f"the body is larger than {most} bytes"


# How many may come


def test_one_connection_too_many_is_told_to_come_again() -> None:
    door = behind(Settings())

    async def crowded(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})[CROWDED] = True
        await door(scope, receive, send)

    client = TestClient(crowded)
    response = client.get("/")
    assert "too many connections" in refused(response, 503)["detail"]
    assert (response.headers["retry-after"], response.headers["connection"]) == ("1", "close")
    assert client.get("/healthz").status_code == 200


@contextmanager
def listening(settings: Settings) -> Iterator[int]:
    """The port of a server that serves a small app."""
    config = uvicorn.Config(behind(settings), port=0, http=wire(settings), lifespan="off", log_config=None)
    server = Server(config, Shared(settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


def connect(port: int, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(said)
    return connection


def left_after(connection: socket.socket) -> float:
    """Seconds until the server leaves."""
    started = time.monotonic()
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - started


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_connections_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(Settings(max_connections=8)) as port:
        taken = [connect(port) for _ in range(8)]
        for _ in taken:
            with connect(port, GET) as one:
                assert one.recv(65_536).startswith(b"HTTP/1.1 503")
        many = [connect(port) for _ in range(8)]
        with connect(port) as one:
            assert left_after(one) < 5
        for connection in (*taken, *many):
            connection.close()
        deadline = time.monotonic() + 10
        while True:
            with connect(port, GET) as one:
                if one.recv(65_536).startswith(b"HTTP/1.1 200"):
                    break
            assert time.monotonic() < deadline


@pytest.mark.parametrize("said", [b"", GET[:20], GET + b"\r\n"], ids=["nothing", "half a head", "an empty line"])
def test_who_never_ends_a_head_is_left(said: bytes) -> None:
    with listening(Settings(header_seconds=0.3)) as port, connect(port, said) as connection:
        assert left_after(connection) < 3


REFUSED = b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize("said", [b"", REFUSED], ids=["a head", "a body that was refused"])
def test_who_trickles_is_left(said: bytes) -> None:
    with listening(Settings(header_seconds=0.3)) as port, connect(port, said) as connection:
        started = time.monotonic()
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            while time.monotonic() < started + 10:
                connection.sendall(b"a")
                time.sleep(0.02)
        assert time.monotonic() < started + 3


def test_a_slow_but_honest_caller_is_answered() -> None:
    with listening(Settings(header_seconds=0.5)) as port, connect(port) as connection:
        for _ in range(2):
            for part in (GET[:10], GET[10:]):
                connection.sendall(part)
                time.sleep(0.3)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


def test_who_does_not_read_the_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server._STALLED", 0.2)
    with listening(Settings()) as port, connect(port, GET.replace(b"/ HTTP", b"/endless HTTP")) as connection:
        time.sleep(1)
        assert left_after(connection) < 5


def test_health_answers_beside_a_body_that_trickles() -> None:
    with listening(Settings(max_connections=8)) as port:
        slow = [connect(port, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\na") for _ in range(8)]
        with connect(port, GET.replace(b"/ HTTP", b"/healthz HTTP")) as one:
            assert one.recv(65_536).startswith(b"HTTP/1.1 200")
        for connection in slow:
            connection.close()
