"""Sockets: HTTP/1.1 over kept-alive connections on one event loop, at as little cost as Python has.

Clients share the machine with the server that they load: what they take, the server lacks. Requests are written
beforehand, and of an answer only the status, the length and ``Retry-After`` are read. It knows the standard library
alone, and of HTTP what a server on the loopback needs to be asked. It does not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

HOST = "127.0.0.1"
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: status, body, and the seconds after which to come again; 0 where it named none."""

    status: int
    body: bytes
    retry_after: float = 0.0


def request(method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """A request as it goes over the wire; a body is JSON."""
    said = {"Host": HOST}
    if body is not None:
        said |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (said | dict(headers or {})).items())]
    return "\r\n".join(lines).encode() + _END + (body or b"")


def upload(path: str, job: bytes, name: str, file: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A form with a job, in JSON, and the file that it is about."""
    part = "--dongil-part\r\nContent-Disposition: form-data; name="
    body = f'{part}"job"\r\n\r\n'.encode() + job + f'\r\n{part}"file"; filename="{name}"\r\n\r\n'.encode()
    body += file + b"\r\n--dongil-part--\r\n"
    return request(
        "POST", path, body, {"Content-Type": "multipart/form-data; boundary=dongil-part"} | dict(headers or {})
    )


class Connection(asyncio.Protocol):
    """A connection that one request at a time goes over. Make one with ``connect``."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None
        self._least = 0  # bytes before which there is no looking

    @classmethod
    async def connect(cls, port: int) -> Connection:
        """A connection to a port of the loopback.

        Raises:
            OSError: nobody listens.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    @property
    def open(self) -> bool:
        """Whether a request can be sent; a server may close what lay idle, or whom it refused."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._got += data
        if len(self._got) < self._least:
            return
        try:
            answer = self._whole()
        except ValueError as error:
            self._give(error=ConnectionError(f"no HTTP: {error}"))
            return
        if answer is not None:
            self._give(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self._give(error=error or ConnectionError("closed by the server"))

    def _give(self, answer: Answer | None = None, error: Exception | None = None) -> None:
        waiting, self._waiting, self._least = self._waiting, None, 0
        self._got.clear()
        if waiting is not None and not waiting.done():
            if error is not None:
                waiting.set_exception(error)
            elif answer is not None:
                waiting.set_result(answer)

    def _whole(self) -> Answer | None:
        """The answer, once all of it is there."""
        end = self._got.find(_END)
        if end < 0:
            return None
        head = bytes(self._got[:end]).lower()
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head:
            body = _unchunked(self._got, end + 4)
        else:
            self._least = end + 4 + (0 if status == 204 else int(_field(head, b"content-length") or 0))
            body = bytes(self._got[end + 4 : self._least]) if len(self._got) >= self._least else None
        if body is None:
            return None
        return Answer(status, body, float(_field(head, b"retry-after") or 0))

    async def ask(self, wire: bytes, timeout: float = 60.0) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            OSError: the connection is or was closed, the answer is no HTTP, or it did not come in time.
        """
        if self._transport is None:
            raise ConnectionError("closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(wire)
        return await asyncio.wait_for(self._waiting, timeout)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


class Caller:
    """A connection to a port that is made anew when the server has closed the last one, as it may when it lay idle."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None

    async def ask(self, wire: bytes, timeout: float = 60.0) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            OSError: nobody listens, the connection was closed meanwhile, or the answer did not come in time.
        """
        if self._connection is None or not self._connection.open:
            self._connection = await Connection.connect(self._port)
        try:
            return await self._connection.ask(wire, timeout)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _field(head: bytes, name: bytes) -> bytes | None:
    at = head.find(b"\r\n" + name + b":")
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip() if at >= 0 else None


def _unchunked(got: bytearray, at: int) -> bytes | None:
    """The body of chunks, once the last one is there."""
    body = bytearray()
    while (end := got.find(b"\r\n", at)) >= 0:
        size = int(bytes(got[at:end]).split(b";")[0], 16)
        at = end + 2 + size + 2
        if len(got) < at:
            return None
        if not size:
            return bytes(body)
        body += got[end + 2 : end + 2 + size]
    return None
