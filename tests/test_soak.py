"""The soak: what it would find is found, in answers and stores that are wrong on purpose; and all of it in small."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import soak
from benchmarks.kills import Kept, Lost, Write, _found, _settle
from benchmarks.mixing import GROUP, Group, Reading, plain
from benchmarks.soak import PARTS, flatness, run_soak
from benchmarks.sockets import Answer, Connection, request, upload
from embedder.errors import InputError

# Torn reads


def test_a_group_is_what_was_acknowledged_last() -> None:
    group = Group("g", [(0, None), (5, "one"), (9, None), (12, "two")])
    stood = [group.at(revision) for revision in (0, 4, 5, 8, 9, 11, 12, 99)]
    assert stood == [None, None, "one", "one", None, None, "two", "two"]


@pytest.mark.parametrize(
    ("revision", "seen"),
    [(5, ("one",) * 3), (5, ("one", "one", "one", "two")), (4, ("one",) * GROUP), (9, ("one",) * GROUP)],
)
def test_a_torn_answer_is_found(revision: int, seen: tuple[str, ...]) -> None:
    group = Group("g", [(0, None), (5, "one"), (9, None), (12, "two")])
    assert "revision" in (Reading(group, revision, seen).torn() or "")


def test_a_whole_answer_is_not() -> None:
    group = Group("g", [(0, None), (5, "one"), (9, None), (12, "two")])
    whole = [(5, ("one",) * GROUP), (8, ("one",) * GROUP), (12, ("two",) * GROUP), (9, ()), (5, ())]
    assert [Reading(group, revision, seen).torn() for revision, seen in whole] == [None] * 5


def test_wrappings_come_off() -> None:
    assert {plain(title) for title in ("물건 1", "[무료배송] 물건 1", "물건 1 당일발송", "(특가) 물건 1")} == {"물건 1"}


def test_memory_is_flat_or_not() -> None:
    seconds = range(100)
    growing = flatness([(second, 100.0 + second) for second in seconds])
    steady = flatness([(second, 500.0 if second < 20 else 100.0) for second in seconds])
    assert growing is not None and growing["growth"] > 0.4
    assert steady == {"first_mb": 100, "last_mb": 100, "growth": 0}
    assert flatness([(0, 1.0)] * 3) is None
    assert flatness([]) is None


# What was lost


def put(kind: str = "items", **changes: str | None) -> Write:
    return Write(kind, b"", 200, changes)


def kept(doubtful: list[Write] | None = None, kind: str = "items", **there: str) -> Kept:
    return Kept(**{kind: there}, doubtful=doubtful or [])


@pytest.mark.parametrize(
    "found", [kept(a="1"), kept(a="1", b="3"), kept(a="1", b="2", c="3"), kept(kind="jobs", a="1", b="2")]
)
def test_what_was_acknowledged_is_missed(found: Kept) -> None:
    with pytest.raises(Lost):
        _settle(kept(a="1", b="2"), found)


def test_what_was_not_answered_stands_whole_or_not_at_all() -> None:
    doubt = put(b="2", c="3", a=None)
    for there in ({"a": "1"}, {"b": "2", "c": "3"}):
        _settle(kept([doubt], a="1"), kept(**there))
    for there in ({"a": "1", "b": "2", "c": "3"}, {"b": "2"}, {}, {"a": "1", "b": "9", "c": "3"}):
        with pytest.raises(Lost, match="a part of a request"):
            _settle(kept([doubt], a="1"), kept(**there))
    job = put("jobs", name="")
    for found in (kept(kind="jobs"), kept(kind="jobs", name="id")):
        _settle(kept([job], kind="jobs"), found)


class Listing:
    """A connection to a service that holds what it is told, in pages of two."""

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    async def ask(self, wire: bytes) -> Answer:
        path = wire.split(b" ")[1].decode()
        kind, _, query = path.removeprefix("/v1/").partition("?")
        start = int(query.partition("cursor=")[2] or 0)
        rows = self.rows.get(kind, [])
        more = str(start + 2) if len(rows) > start + 2 else None
        return Answer(200, json.dumps({"items": rows[start : start + 2], "next_cursor": more}).encode())


def test_what_stands_there_twice_is_found() -> None:
    items = [{"id": str(number), "title": "t"} for number in range(5)]
    labels = [
        {"left": "다른 킬 1", "right": "킬 2", "verdict": "same"},
        {"left": "someone's", "right": "x", "verdict": "same"},
    ]
    jobs = [{"id": "j", "request": {"upload": {"name": "7.csv"}}}, {"id": "k", "request": {"kind": "rebuild"}}]
    there = asyncio.run(_found(Listing(items=items, labels=labels, jobs=jobs)))  # type: ignore[arg-type]
    assert there.items == {str(number): "t" for number in range(5)}
    assert (there.labels, there.jobs) == ({"다른 킬 1\n킬 2": "same"}, {"7.csv": "j"})
    with pytest.raises(Lost, match="twice"):
        asyncio.run(_found(Listing(items=items, jobs=[jobs[0], jobs[0] | {"id": "l"}])))  # type: ignore[arg-type]


# Sockets


def ask(*chunks: bytes) -> Answer:
    """What a client makes of bytes that come one after the other."""

    def serve() -> None:
        accepted, _ = listening.accept()
        with accepted:
            accepted.recv(1_000)
            for chunk in chunks:
                accepted.sendall(chunk)
                time.sleep(0.01)

    async def asked() -> Answer:
        connection = await Connection.connect(listening.getsockname()[1])
        try:
            return await connection.ask(request("GET", "/"), timeout=5)
        finally:
            connection.close()
            await asyncio.sleep(0)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return asyncio.run(asked())
        finally:
            thread.join()


def test_answers_are_read_as_they_come() -> None:
    assert ask(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") == Answer(200, b"hello")
    assert ask(b"HTTP/1.1 200 OK\r\nconTENT-length:", b" 5\r\n", b"\r\nhe", b"llo").body == b"hello"
    assert ask(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n") == Answer(503, b"", 7)
    assert ask(b"HTTP/1.1 204 No Content\r\n\r\n") == Answer(204, b"")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert ask(head + b"3\r\nabc\r\n", b"2\r\nde\r", b"\n0\r\n\r\n").body == b"abcde"


@pytest.mark.parametrize(
    "chunks", [[], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe"], [b"SSH-2.0 hello\r\n\r\n"]]
)
def test_half_an_answer_is_none(chunks: list[bytes]) -> None:
    with pytest.raises(OSError, match=r"closed|no HTTP"):
        ask(*chunks)


def test_a_form_holds_a_job_and_its_file() -> None:
    head, _, body = upload("/v1/jobs/upload", b"{}", "a.csv", b"id\n1\n", {"Idempotency-Key": "k"}).partition(
        b"\r\n\r\n"
    )
    assert b"multipart/form-data; boundary=dongil-part" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.count(b"--dongil-part") == 3


# All of it, in small


def test_the_service_is_soaked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "CLIENTS", 8)
    monkeypatch.setattr(soak, "GROUPS", 6)
    told: list[str] = []
    run_soak(tmp_path, size=100, seconds=4, kills=2, say=told.append)
    mixed, kills = (json.loads((tmp_path / f"soak-{part}.json").read_text()) for part in PARTS)
    for trouble in ("wrong", "torn", "stale"):
        assert mixed[trouble] == {"count": 0, "first": []}
    assert {"match", "put", "look", "label", "browse", "job"} <= set(mixed["kinds"])
    assert mixed["readings"] >= mixed["readings_that_saw"]
    assert mixed["clients"] == 8
    assert (kills["kills"], kills["lost"]) == (2, "")
    assert "| lost, or there twice | none |" in (tmp_path / "soak-kills.md").read_text()
    assert (tmp_path / "soak-mixed.png").read_bytes().startswith(b"\x89PNG")


def test_bad_questions_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no part 'sleep'; expected mixed, kills"):
        run_soak(tmp_path, parts=["sleep"])
    with pytest.raises(InputError, match="size 5; expected at least 100"):
        run_soak(tmp_path, size=5)
