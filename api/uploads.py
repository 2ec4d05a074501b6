"""Uploads: a file sent as a form, written to disk while it arrives, into a folder that nobody has named.

A form's other fields are short text. Nothing that a caller says becomes a path: of a file's name only the suffix is
heeded, and must be one of a few. Nothing is unpacked. Whatever is wrong, the folder is the caller's to remove.

It knows forms, bytes and limits. It does not know what a file is for; how slow a body may come, `api.door` says.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from embedder.errors import InputError
from index.formats import shown
from index.store import StorageError

_PIECE = 1 << 20  # bytes written at once
_MORE = 1 << 20  # bytes that a form may have besides the file
_FIELD = 65_536  # bytes of another field
_RESERVE = 64 << 20  # bytes of the disk that are left to the catalogue
_NAME = 200  # characters that are kept of a file's name
_UNTOLD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Upload:
    """A file that has arrived.

    Attributes:
        stored: what it is called in its folder.
        name: what its sender calls it; to be shown, never to be opened.
        size: in bytes.
        sha256: of its bytes.
        fields: the form's other fields.
    """

    stored: str
    name: str
    size: int
    sha256: str
    fields: dict[str, str] = field(default_factory=dict)


async def receive(
    request: Request, folder: Path, *, suffixes: Collection[str], fields: Collection[str], limit: int
) -> Upload:
    """Take in a form of one file and perhaps other fields.

    Args:
        request: whose body it is.
        folder: to write into.
        suffixes: that the file's name may have, in lower case.
        fields: names of the other fields that there may be.
        limit: of the file's size.

    Raises:
        HTTPException: 413, too large; 415, no plain form.
        InputError: no whole form of one file with such a suffix and such fields.
        StorageError: the disk is full.
    """
    form = _Form(_boundary(request), folder, suffixes, fields, limit)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit + _MORE:
        raise _too_large(limit)
    waiting, received = bytearray(), 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit + _MORE:
                raise _too_large(limit)
            waiting += chunk
            if len(waiting) >= _PIECE:
                await asyncio.to_thread(form.feed, bytes(waiting))
                waiting.clear()
        return await asyncio.to_thread(form.finish, bytes(waiting))
    except ClientDisconnect as error:
        raise HTTPException(408, "the body was cut off", {"Connection": "close"}) from error
    finally:
        form.close()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        told = shown(kind.decode("latin-1"))
        raise HTTPException(415, f"content type {told}; expected multipart/form-data with a boundary")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HTTPException(415, f"content encoding {shown(encoding)}; expected none")
    return options[b"boundary"]


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the file is larger than {limit} bytes", {"Connection": "close"})


class _Form:
    """A form that is read piece by piece; the file goes to disk, the rest is kept."""

    def __init__(
        self, boundary: bytes, folder: Path, suffixes: Collection[str], fields: Collection[str], limit: int
    ) -> None:
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
                    "on_header_field": self._header_field, "on_header_value": self._header_value,
                    "on_header_end": self._header_end, "on_headers_finished": self._headers_finished,
                    "on_end": self._finish,
                },
            )  # fmt: skip
        except FormParserError as error:
            raise HTTPException(415, "a boundary that is too long; expected at most 256 bytes") from error
        self._folder, self._suffixes, self._fields, self._limit = folder, suffixes, fields, limit
        self._file: BinaryIO | None = None
        self._digest, self._size = hashlib.sha256(), 0
        self._stored = self._name = ""
        self._texts: dict[str, bytearray] = {}
        self._text: bytearray | None = None  # of the part that is being read; None while that is the file
        self._headers: dict[str, bytes] = {}
        self._header = self._value = b""
        self._whole = False

    def feed(self, piece: bytes) -> None:
        """Take up the next bytes."""
        try:
            if shutil.disk_usage(self._folder).free < _RESERVE + len(piece):
                raise StorageError(f"{self._folder}: no space is left for an upload", full=True)
            self._parser.write(piece)
        except FormParserError as error:
            raise InputError(f"not a form: {error}") from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StorageError(f"{self._folder}: {error.strerror}", full=full) from error

    def finish(self, piece: bytes) -> Upload:
        """Take up the last bytes; the file stands on the disk then."""
        self.feed(piece)
        if not self._whole:
            raise InputError("the form is cut off; expected its closing boundary")
        if self._file is None:
            raise InputError("no file; expected a field 'file' that has a file name")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"{self._folder}: {error.strerror}", full=error.errno == errno.ENOSPC) from error
        try:
            fields = {name: bytes(text).decode() for name, text in self._texts.items()}
        except UnicodeDecodeError as error:
            raise InputError("a field that is not UTF-8; expected text") from error
        return Upload(self._stored, self._name, self._size, self._digest.hexdigest(), fields)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        self._headers, self._header, self._value = {}, b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        encodings = [self._headers.get(one, b"binary") for one in ("content-encoding", "content-transfer-encoding")]
        if any(one.lower() not in (b"binary", b"8bit", b"7bit", b"identity") for one in encodings):
            raise HTTPException(415, f"field {shown(name)} is encoded; expected it as it is")
        if name == "file":
            self._open(options.get(b"filename", b"").decode(errors="replace"))
        elif name not in self._fields or name in self._texts:
            expected = ", ".join(["file", *self._fields])
            raise InputError(f"field {shown(name)}; expected each of {expected} at most once")
        else:
            self._text = self._texts[name] = bytearray()

    def _open(self, filename: str) -> None:
        # Some send a path of their own machine.
        name = _UNTOLD.sub("\ufffd", PurePosixPath(filename.replace("\\", "/")).name)
        suffix = PurePosixPath(name).suffix.lower()
        if self._file is not None:
            raise InputError("two files; expected one")
        if suffix not in self._suffixes:
            told = f"a file called {shown(name)}" if name else "a file without a name"
            raise InputError(f"{told}; expected a name that ends with {', '.join(self._suffixes)}")
        self._text, self._name, self._stored = None, name[-_NAME:], f"input{suffix}"
        self._file = (self._folder / self._stored).open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._text is not None:
            if len(self._text) + end - start > _FIELD:
                raise HTTPException(413, f"a field is larger than {_FIELD} bytes", {"Connection": "close"})
            self._text += data[start:end]
        elif self._file is not None:
            piece = memoryview(data)[start:end]
            self._size += len(piece)
            if self._size > self._limit:
                raise _too_large(self._limit)
            self._digest.update(piece)
            self._file.write(piece)

    def _end(self) -> None:
        self._text = None

    def _finish(self) -> None:
        self._whole = True
