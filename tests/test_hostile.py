"""Hostile input, end to end: a running service is sent what no honest caller sends, and goes on answering the others.

DONGIL_TEST_TITLES sets how many hostile titles are drawn.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import socket
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving import JSON, SAMPLE

from api.client import Client
from api.client_answers import Item
from api.client_calls import ProblemError
from api.client_jobs import JobError
from benchmarks.server import Server, free_port, serve_command
from embedder.text import clean
from index import codes
from index.items import MAX_TITLE_BYTES
from index.quantities import parse
from index.traits import TraitTable
from index.wording import Wording

TITLES = int(os.environ.get("DONGIL_TEST_TITLES", "1000"))
LIMITS = {"HEADER_SECONDS": 1, "BODY_SECONDS": 1, "MAX_UPLOAD_BYTES": 1 << 20, "MAX_UPLOAD_ROWS": 10_000}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    port = free_port()
    limits = [f"DONGIL_{name}={value}" for name, value in LIMITS.items()]
    command = serve_command(port, catalog=SAMPLE, data=home / "data", model=None)
    with Server(["env", f"TMPDIR={home}", *limits, *command], port) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        yield client


@pytest.fixture
def dongil(http: httpx.Client) -> Iterator[Client]:
    """A client of a service that must be as well after the test as it was before."""
    client = Client(http=http, patience=30)
    yield client
    assert http.get("/healthz", timeout=5).status_code == 200
    assert client.match(["오뚜기 진라면 순한맛 120g 5개입"], k=1).results[0].matches[0].id == "s0008"


# Titles

SCRIPTS = ("가나다라마바사", "ابجدهوز", "abcXYZ", "あいうカキ", "漢字简体", "абвг", "ไทยกขค", "नमस्ते", "ꆈꌠꁱꂷ", "ᄀᆞᆫ")
SIGNS = (
    "\u202e\u202d\u2066\u2069\u200f", "\u200b\u200c\u200d\u2060\ufeff", "\u0301\u0327\u1ab0\u20dd", "🎉👩‍👩‍👧🏳️‍🌈",
    "\t\n\r\x0b\x0c\x1f\x7f\x85", "<b>&amp;&#x41;%s{}${7*7}", "';--\"\\", "ﷺ﷽㎖①½²", "￾￿", "\ue000\U000e0041",
)  # fmt: skip
UNITS = ("1", "9" * 400, "x1", "1+1", "1,000", "0.1.", "120g ", "1/2", "g)12", "총 ", "개입 ", "ab-1", "*", "=")


def drawn(draw: random.Random) -> str:
    """A title as nobody writes one; some are no text at all, or too long."""
    kind = draw.randrange(8)
    if kind == 0:
        return draw.choice(UNITS) * draw.randint(1, 3_000)
    if kind == 1:
        return "".join(draw.choice(UNITS) for _ in range(draw.randint(1, 60)))
    if kind == 2:
        return "".join(draw.choice(draw.choice(SCRIPTS)) for _ in range(draw.randint(1, 40)))
    if kind == 3:
        return "".join(draw.choice(draw.choice(SCRIPTS + SIGNS)) for _ in range(draw.randint(1, 40)))
    if kind == 4:
        return "e" + draw.choice(SIGNS[2]) * draw.randint(1, 5_000)
    if kind == 5:
        return "".join(chr(draw.choice((draw.randrange(0x110000), draw.randrange(0x300)))) for _ in range(20))
    if kind == 6:
        return draw.choice(("\0", " ", "\ud800", "a\0b", "", "\u3000", "가" * 34_000, "a" * 100_000, "\udfff면"))
    return draw.choice(SIGNS) * draw.randint(1, 500)


def fit(title: str) -> bool:
    """Whether a title can be one, as the limits say."""
    whole = not any(unicodedata.category(char) == "Cs" for char in title)
    return bool(whole and title.strip() and "\0" not in title and len(title.encode()) <= MAX_TITLE_BYTES)


def posted(http: httpx.Client, titles: list[str]) -> httpx.Response:
    content = json.dumps({"titles": titles, "k": 3}).encode()
    return http.post("/v1/match", content=content, headers=JSON)


def test_every_title_gets_an_answer_or_a_422(http: httpx.Client, dongil: Client) -> None:
    draw, good = random.Random(7), list[str]()
    for _ in range(TITLES):
        title = drawn(draw)
        if fit(title):
            good.append(title)
        else:
            assert posted(http, [title]).status_code == 422, ascii(title)[:200]
    assert TITLES / 4 < len(good) < TITLES
    for start in range(0, len(good), 25):
        some = good[start : start + 25]
        answer = posted(http, some)
        assert answer.status_code == 200, answer.text
        assert [result["title"] for result in answer.json()["results"]] == some


def test_hostile_items_come_back_as_they_were(dongil: Client) -> None:
    draw = random.Random(8)
    items = [Item(f"h{n} {drawn(draw)[:30]}", drawn(draw)[:2_000], extra={"k": drawn(draw)[:50]}) for n in range(200)]
    items = [item for item in items if fit(item.id) and fit(item.title) and fit(str(item.extra["k"]) + "a")]
    items += [Item(id, id) for id in ("..", ".", "../..", "a/../b", "//", "a\n", "a", "?", "#", "%2e", "delete")]
    assert dongil.put_items(items, wait=True).created == len(items) > 50
    for item in items:
        found = dongil.get_item(item.id)
        assert (found.id, found.title, found.extra) == (item.id, item.title, item.extra)
    assert dongil.delete_items(item.id for item in items).deleted == len(items)


@pytest.mark.parametrize(
    "body",
    [b'{"titles": ["\xff\xfe"]}', b'{"titles": ["\xed\xa0\x80"]}', b'{"titles": ["\\ud800"]}', b"\xff", b"[" * 10**6],
)
def test_what_is_no_text_is_refused(http: httpx.Client, dongil: Client, body: bytes) -> None:
    assert http.post("/v1/match", content=body, headers=JSON).status_code == 422


@pytest.mark.parametrize(
    "pump", [*UNITS, "①g=", "ﷺ", "<b a=", "&amp;", "free ", "특가 ", "1e", "-1", "ᄀᆞ", "a1 ", "\\xe0"]
)
def test_no_title_takes_long_to_take_apart(pump: str) -> None:
    wording = Wording.of(["농심 신라면 120g 5개입"])
    title = pump * (MAX_TITLE_BYTES // len(pump.encode()))
    before = time.process_time()
    text = clean(title)
    parse(text)
    TraitTable.of([text])
    wording.queries([title])
    assert time.process_time() - before < 3


def test_codes_as_long_as_a_title_are_not_remembered() -> None:
    before = codes._parts.cache_info().currsize
    for number in range(20):
        TraitTable.of([f"a{number}" * 2_000, f"{number}b-" * 2_000])
    assert codes._parts.cache_info().currsize == before


# Bodies and files


def test_what_is_packed_is_not_unpacked(http: httpx.Client, dongil: Client) -> None:
    bomb = gzip.compress(b" " * (1 << 24))
    answer = http.post("/v1/match", content=bomb, headers=JSON | {"content-encoding": "gzip"})
    assert answer.status_code == 415


def test_a_model_that_unpacks_to_more_than_fits_is_refused(dongil: Client, home: Path) -> None:
    bomb = home / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", b"0" * (1 << 28))
    with pytest.raises(ProblemError) as refused:
        dongil.add_model("bomb", bomb)
    assert refused.value.status in (413, 422)
    bomb.unlink()
    with zipfile.ZipFile(bomb, "w") as file:
        file.writestr("../../../evil.json", b"{}")
    with pytest.raises(ProblemError) as refused:
        dongil.add_model("slip", bomb)
    assert refused.value.status == 422
    assert not list(home.parent.rglob("evil*"))
    bomb.unlink()


def test_a_table_that_unpacks_to_more_than_fits_fails_alone(dongil: Client, home: Path, server: Server) -> None:
    bomb = home / "bomb.parquet"
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 9_000, pa.int32()), pa.array(["장" * (1 << 17)]))
    ids = pa.array([str(row) for row in range(9_000)])
    pq.write_table(pa.table({"id": ids, "title": long}), bomb, compression="zstd")
    assert bomb.stat().st_size < LIMITS["MAX_UPLOAD_BYTES"]
    with pytest.raises(JobError, match=r"bomb\.parquet"):
        dongil.wait(dongil.submit("cluster", upload=bomb), poll=0.1, timeout=120)
    assert (server.peak_mb() or 0) < 1_500
    bomb.unlink()


@pytest.mark.parametrize(
    "name",
    ["../../evil.csv", "..\\..\\evil.csv", "/evil/evil.csv", "C:\\evil.csv", "evil.csv\0.txt", "evil\r\nX: 1.csv"],
)
def test_a_path_in_a_file_name_leads_nowhere(http: httpx.Client, dongil: Client, home: Path, name: str) -> None:
    form: dict[str, Any] = {
        "job": (None, '{"kind": "cluster"}', "application/json"), "file": (name, b"id,title\na,b\n"),
    }  # fmt: skip
    answer = http.post("/v1/jobs/upload", files=form)
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 202:
        assert dongil.wait(dongil.get_job(answer.json()["id"]), poll=0.05, timeout=60).files == ["clusters.csv"]
    assert not [path for path in home.parent.rglob("*") if "evil" in path.name]
    assert not Path("/evil").exists()


def test_a_formula_comes_home_as_text(dongil: Client, home: Path) -> None:
    table, home_again = home / "formulas.csv", home / "home.csv"
    formulas = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "＝1+1"]
    table.write_text("id,title\n" + "".join(f'{row},"{title} 계산기"\n' for row, title in enumerate(formulas)))
    job = dongil.wait(dongil.submit("cluster", upload=table), poll=0.05, timeout=60)
    dongil.download(job.id, job.files[0], home_again)
    cells = [line.split(",")[1].strip('"') for line in home_again.read_text(encoding="utf-8-sig").splitlines()[1:]]
    assert all(cell.startswith("`") for cell in cells)


def test_what_is_too_large_is_refused_before_it_is_read(http: httpx.Client, dongil: Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1_000):
            yield b" " * (1 << 16)

    declared = {"content-type": "application/json", "content-length": str(1 << 40)}
    with socket.create_connection(("127.0.0.1", http.base_url.port or 0), timeout=10) as raw:
        raw.sendall(b"POST /v1/match HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        raw.sendall("".join(f"{name}: {value}\r\n" for name, value in declared.items()).encode() + b"\r\n")
        assert b" 413 " in raw.recv(1_000)
    with suppress(httpx.TransportError):  # it may be cut off while it is still sending
        assert http.post("/v1/match", content=endless(), headers=JSON).status_code == 413
    form: dict[str, Any] = {"job": (None, '{"kind": "cluster"}'), "file": ("a.csv", io.BytesIO(b"x" * (3 << 20)))}
    with suppress(httpx.TransportError):
        assert http.post("/v1/jobs/upload", files=form).status_code == 413


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /v1/match HTTP/1.1\r\nHost: 127.0.0.1\r\nX-",
        b"POST /v1/match HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
    ],
)
def test_who_is_slow_keeps_nobody_waiting(dongil: Client, server: Server, begun: bytes) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(40)]
    try:
        for one in slow:
            one.sendall(begun)
        before = time.monotonic()
        dongil.match(["신라면"])
        assert time.monotonic() - before < 5
        said = [one.recv(2_000) for one in slow]  # all are sent away: this ends
        assert all(not words or b" 408 " in words for words in said), said[0]
    finally:
        for one in slow:
            one.close()
