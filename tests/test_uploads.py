"""Uploads: whatever way a form arrives, the file is there as it was sent, or the form is refused."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException, Request
from hypothesis import given
from hypothesis import strategies as st

import api.uploads
from api.uploads import Upload, receive
from embedder.errors import InputError
from index.store import StorageError

BOUNDARY = "edge"
LIMIT = 1_000_000


def part(name: str, data: bytes, filename: str | None = None, more: str = "") -> bytes:
    told = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n{more}\r\n'
    return head.encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FILE = part("file", b"id,title\n1,a\n", "items.csv")


def sent(folder: Path, chunks: Sequence[bytes], limit: int = LIMIT, **headers: str) -> Upload:
    """What becomes of a body that arrives in chunks."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def arrive() -> Any:
        return waiting.pop(0)

    told = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"} | headers
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in told.items()],
    }  # fmt: skip
    return asyncio.run(receive(Request(scope, arrive), folder, suffixes=[".csv"], fields=["job"], limit=limit))


@given(
    st.binary(max_size=300).filter(lambda data: f"--{BOUNDARY}".encode() not in data),
    st.text("abc{}", max_size=20),
    st.lists(st.integers(0, 700), max_size=8),
    st.booleans(),
)
def test_a_form_is_the_same_however_it_is_cut(data: bytes, job: str, cuts: list[int], file_first: bool) -> None:
    parts = [part("file", data, "items.csv"), part("job", job.encode())]
    body = b"".join(parts if file_first else reversed(parts)) + END
    places = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    with tempfile.TemporaryDirectory() as folder:
        chunks = [body[start:stop] for start, stop in pairwise(places)]
        found = sent(Path(folder), chunks)
        assert (Path(folder) / found.stored).read_bytes() == data
    digest = hashlib.sha256(data).hexdigest()
    assert found == Upload("input.csv", "items.csv", len(data), digest, {"job": job})


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
def test_no_bytes_make_it_fail(body: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    with tempfile.TemporaryDirectory() as folder:
        chunks = [body[start:stop] for start, stop in pairwise(places)]
        with pytest.raises((InputError, HTTPException)):
            sent(Path(folder), chunks)


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("items.csv", "items.csv"),
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\Users\\me\\상품.CSV", "상품.CSV"),
        ("/abs/olute.csv", "olute.csv"),
        ("a\u202evsc.csv", "a\ufffdvsc.csv"),
        ("x" * 500 + ".csv", "x" * 196 + ".csv"),
    ],
)
def test_a_name_is_told_and_never_opened(tmp_path: Path, filename: str, name: str) -> None:
    found = sent(tmp_path, [part("file", b"x", filename), END])
    assert (found.name, found.stored) == (name, "input.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["input.csv"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (END, "no file"),
        (b"", "cut off"),
        (FILE, "cut off"),
        (FILE + FILE + END, "two files"),
        (part("file", b"x", "items.csv.gz") + END, "ends with .csv"),
        (part("file", b"x", "") + END, "without a name"),
        (part("file", b"x") + END, "without a name"),
        (part("other", b"x") + FILE + END, "expected each of file, job"),
        (part("job", b"{}") + part("job", b"{}") + FILE + END, "at most once"),
        (part("job", b"\xff") + FILE + END, "not UTF-8"),
        (b"no form at all", "not a form"),
    ],
)
def test_what_is_no_form_of_one_file_is_refused(tmp_path: Path, body: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sent(tmp_path, [body])


def test_limits_are_met_exactly(tmp_path: Path) -> None:
    assert sent(tmp_path, [part("file", b"x" * 100, "a.csv"), END], limit=100).size == 100
    for count, declared in ((101, None), (3_000_000, None), (10, "9999999")):
        (tmp_path / "input.csv").unlink(missing_ok=True)
        headers = {"content_length": declared} if declared else {}
        with pytest.raises(HTTPException) as refused:
            sent(tmp_path, [part("file", b"x" * count, "a.csv"), END], limit=100, **headers)
        assert refused.value.status_code == 413
    with pytest.raises(HTTPException) as refused:
        sent(tmp_path, [part("job", b"x" * 70_000), FILE, END])
    assert refused.value.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "multipart/form-data"},
        {"content-type": f"multipart/form-data; boundary={'x' * 300}"},
        {"content-encoding": "gzip"},
    ],
)
def test_what_is_declared_otherwise_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as refused:
        sent(tmp_path, [FILE, END], **headers)
    assert refused.value.status_code == 415


def test_a_part_that_is_packed_is_refused(tmp_path: Path) -> None:
    for header in ("Content-Encoding: gzip", "Content-Transfer-Encoding: base64"):
        with pytest.raises(HTTPException) as refused:
            sent(tmp_path, [part("file", b"x", "a.csv", f"{header}\r\n"), END])
        assert refused.value.status_code == 415


def test_a_disk_keeps_room_for_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.uploads, "_RESERVE", 1 << 60)
    with pytest.raises(StorageError) as full:
        sent(tmp_path, [FILE, END])
    assert full.value.full
