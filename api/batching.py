"""Batching: titles of many requests answered together, which takes a third of the time of one after the other.

A title that finds a worker free is answered at once. While all work, those that come wait, and are the next batch:
nothing waits for a batch to fill. Requests take turns, so that a thousand titles do not keep one waiting. All titles
of a request are answered by the catalogue of one revision, the newest when the first of them has its turn.

It knows requests, turns and threads. It does not know HTTP routes, nor how a title is answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from fastapi import HTTPException

from index.answers import Answer, Ask

T = TypeVar("T")

_TURN = 16  # titles that a request may have answered before the next one's turn
_BATCH = 64  # titles answered at once: more make all wait longer, and take hardly less time of each
_SIZE = 8_192  # of a batch, as ``_size`` has it; a single title may exceed it
_HELD = 1 << 22  # size of all requests that wait or are being answered
_LOOK = 0.25  # seconds after which it is looked whether a client still waits


class Standing(Protocol):
    """A catalogue at one revision: ``index.snapshot.Snapshot``."""

    @property
    def revision(self) -> int:
        """Of the store."""

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """What it has to say to each title."""


class Living(Protocol):
    """A catalogue that changes: ``index.living.LivingMatcher``."""

    @property
    def snapshot(self) -> Standing:
        """The catalogue as it is now."""


@dataclass(frozen=True)
class Told(Generic[T]):
    """What was made of the answer to each title of a request, and the revision of the catalogue that gave them."""

    revision: int
    parts: list[T]


class _Request:
    """Titles on their way; whoever holds the batcher's lock may change what is told of them."""

    def __init__(
        self, asks: Sequence[Ask], living: Living, tell: Callable[[Ask, Answer], Any], future: asyncio.Future[None]
    ) -> None:
        self.asks, self.living, self.tell, self.future = asks, living, tell, future
        self.size = sum(map(_size, asks))
        self.standing: Standing | None = None
        self.parts: list[Any] = [None] * len(asks)
        self.taken = self.done = 0  # titles, from the first on
        self.error: Exception | None = None
        self.given_up = self.over = False


@dataclass(frozen=True)
class _Piece:
    """Some titles of a request, from one to another, and what became of them."""

    request: _Request
    start: int
    stop: int

    @property
    def asks(self) -> Sequence[Ask]:
        return self.request.asks[self.start : self.stop]


class Batcher:
    """Threads that answer titles of many requests at once. Safe to use from several event loops; close it at the end.

    Args:
        workers: batches answered at the same time; on a GPU one.
        titles: that may wait or be in work, of all requests together; a request that comes alone is always taken.
    """

    def __init__(self, workers: int, titles: int) -> None:
        self._most = titles
        self._line: deque[_Request] = deque()
        self._titles = self._held = 0
        self._closing = False
        self._news = threading.Condition()
        names = [f"dongil-batch-{number}" for number in range(workers)]
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    @property
    def titles(self) -> int:
        """Titles that wait or are in work."""
        return self._titles

    async def ask(
        self,
        asks: Sequence[Ask],
        living: Living,
        tell: Callable[[Ask, Answer], T],
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Told[T]:
        """What ``tell`` makes of the answer to each title.

        Args:
            asks: at least one.
            living: the catalogue to ask.
            tell: called in a worker's thread, to write JSON, say.
            gone: whether the client has gone away; then what waits of its titles is given up.

        Raises:
            HTTPException: 503, too much waits already, the service is being shut down, or the client has gone.
            Exception: whatever answering or telling raised.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = _Request(asks, living, tell, future)
        self._take(request)
        try:
            while not future.done():
                await asyncio.wait([future], timeout=_LOOK)
                if gone is not None and not future.done() and await gone():
                    raise HTTPException(503, "the client has gone away", {"Retry-After": "1"})
        finally:
            if not future.done():
                self._give_up(request)
        if request.error is not None or request.standing is None:
            raise request.error or RuntimeError("a request without titles")
        return Told(request.standing.revision, request.parts)

    def close(self) -> None:
        """Refuse what comes, finish what was taken, and end the threads."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _take(self, request: _Request) -> None:
        with self._news:
            if self._closing:
                raise HTTPException(503, "the service is being shut down", {"Retry-After": "5"})
            full = self._titles + len(request.asks) > self._most or self._held + request.size > _HELD
            if full and self._titles:
                raise HTTPException(503, "too many titles are waiting; come again", {"Retry-After": "1"})
            self._titles += len(request.asks)
            self._held += request.size
            self._line.append(request)
            self._news.notify()

    def _give_up(self, request: _Request) -> None:
        with self._news:
            request.given_up = True
            self._settle(request)

    def _settle(self, request: _Request) -> bool:
        """Whether a request is over just now: answered, failed or given up, and nothing of it in work."""
        ended = request.given_up or request.error is not None
        if ended and request in self._line:
            self._line.remove(request)
        if request.over or request.done < (request.taken if ended else len(request.asks)):
            return False
        request.over = True
        self._titles -= len(request.asks)
        self._held -= request.size
        return True

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._line or self._closing)
                if not self._line:
                    return
                standing, batch = self._next()
                if self._line:
                    self._news.notify()  # for whoever sleeps
            told = _told(standing, batch)
            with self._news:
                over = [piece.request for piece, parts in zip(batch, told, strict=True) if self._enter(piece, parts)]
            _deliver(over)

    def _next(self) -> tuple[Standing, list[_Piece]]:
        """Titles of requests in their turns, which one and the same catalogue may answer."""
        first = self._line[0]
        standing = first.living.snapshot if first.standing is None else first.standing
        batch: list[_Piece] = []
        others: list[_Request] = []
        titles = size = 0
        while self._line and titles < _BATCH and size < _SIZE:
            request = self._line.popleft()
            if request is not first:
                theirs = request.living.snapshot if request.standing is None else request.standing
                if theirs is not standing:
                    others.append(request)
                    continue
            request.standing, start = standing, request.taken
            most = min(len(request.asks), start + _TURN, start + _BATCH - titles)
            while request.taken < most and size < _SIZE:
                size += _size(request.asks[request.taken])
                request.taken += 1
            titles += request.taken - start
            batch.append(_Piece(request, start, request.taken))
            if request.taken < len(request.asks):
                self._line.append(request)
        self._line.extendleft(reversed(others))
        return standing, batch

    def _enter(self, piece: _Piece, parts: list[Any] | Exception) -> bool:
        """Take down what became of a piece; whether its request is over now, and somebody waits for it."""
        request = piece.request
        request.done += piece.stop - piece.start
        if isinstance(parts, Exception):
            request.error = request.error or parts
        else:
            request.parts[piece.start : piece.stop] = parts
        return self._settle(request) and not request.given_up


def _size(ask: Ask) -> int:
    """What a title costs, about: the work grows with its characters, the answer with the items that are told."""
    return len(ask.title) + ask.k + ask.near_misses


def _told(standing: Standing, batch: Sequence[_Piece]) -> list[list[Any] | Exception]:
    """What becomes of each piece: its parts, or its error alone; no piece fails for another."""
    try:
        answers = iter(standing.answers([ask for piece in batch for ask in piece.asks]))
    except BaseException as error:  # noqa: BLE001 - whoever asked is told
        return [_error(error)] if len(batch) == 1 else [told for piece in batch for told in _told(standing, [piece])]
    return [_parts(piece, list(islice(answers, piece.stop - piece.start))) for piece in batch]


def _parts(piece: _Piece, answers: Sequence[Answer]) -> list[Any] | Exception:
    try:
        return [piece.request.tell(ask, answer) for ask, answer in zip(piece.asks, answers, strict=True)]
    except BaseException as error:  # noqa: BLE001 - as above
        return _error(error)


def _error(error: BaseException) -> Exception:
    """An error that an event loop can bear: a panic of the tokenizer is no ``Exception``."""
    return error if isinstance(error, Exception) else RuntimeError(f"answering failed: {error!r}")


def _deliver(requests: Sequence[_Request]) -> None:
    """Wake those who wait; each event loop once, as every call takes the interpreter from whoever has it."""
    for loop in {request.future.get_loop() for request in requests}:
        with suppress(RuntimeError):  # a loop that was closed waits for nothing
            loop.call_soon_threadsafe(_set, [one for one in requests if one.future.get_loop() is loop])


def _set(requests: Sequence[_Request]) -> None:
    for request in requests:
        if not request.future.done():  # it may have been given up meanwhile
            request.future.set_result(None)
