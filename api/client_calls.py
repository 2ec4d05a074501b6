"""Calls: requests to the service that are tried again where that is safe, and errors with what was wrong.

It knows HTTP, problems (RFC 9457) and when to come again. It does not know what is asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2 as httpx

from api.client_answers import read

T = TypeVar("T")
PAGE = 1_000  # of a list, fetched at once

_LATER = frozenset((429, 503))  # nothing was done: come again
_GATEWAYS = frozenset((502, 504))  # perhaps something was done
_FIRST, _LONGEST = 0.25, 30.0  # seconds before another attempt


@dataclass(frozen=True)
class Fault:
    """One value of a request that cannot be used: where it stands (a JSON Pointer), what it is, what was expected."""

    location: str
    value: str
    expected: str


class ProblemError(Exception):
    """The service refused a request, or failed.

    Attributes:
        status: the HTTP status.
        title, detail: the status in words, and what is wrong.
        faults: the values that cannot be used, with status 422.
        request_id: to look the request up in the service's log; empty where it named none.
    """

    def __init__(
        self, status: int, title: str, detail: str, faults: tuple[Fault, ...] = (), request_id: str = ""
    ) -> None:
        told = "".join(f"; {one.location} is {one.value}, expected {one.expected}" for one in faults[:3])
        super().__init__(f"{status} {title}: {detail}{told}")
        self.status, self.title, self.detail, self.faults, self.request_id = status, title, detail, faults, request_id


class Calls:
    """Requests over one pool of connections. Safe to use from several threads.

    Args:
        http: sends them.
        patience: seconds for which a request is tried again, at most.
        sleep, clock: wait, and tell the time.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.http, self._patience, self._sleep, self._clock = http, patience, sleep, clock

    def ask(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool = True,
        before: Callable[[], object] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Send a request until it is answered.

        Args:
            method, path: of the request.
            repeatable: whether doing it twice is doing it once. Else it is sent again only where it was surely not
                done: the service was too busy, or could not be reached.
            before: called before each attempt, such as to go back to the beginning of a file.
            request: the rest, as ``httpx.Client.request`` takes it; ``params`` of None are left out.

        Raises:
            ProblemError: the service refuses it, or was too busy for all of the patience.
            httpx.TransportError: the service cannot be reached, or did not answer in time.
        """
        request["params"] = {name: one for name, one in (request.get("params") or {}).items() if one is not None}
        until, attempt = self._clock() + self._patience, 0
        while True:
            attempt += 1
            if before:
                before()
            try:
                answer = self.http.request(method, path, **request)
            except httpx.TransportError as error:
                wait = self._wait(attempt, None)
                if not (repeatable or isinstance(error, httpx.ConnectError)) or self._clock() + wait > until:
                    raise
            else:
                if answer.is_success:
                    return answer
                wait = self._wait(attempt, answer.headers.get("retry-after"))
                again = answer.status_code in _LATER or (repeatable and answer.status_code in _GATEWAYS)
                if not again or self._clock() + wait > until:
                    raise problem_of(answer)
            self._sleep(wait)

    def get(self, kind: type[T], path: str, /, **params: Any) -> T:
        """What stands at a path."""
        return read(kind, self.ask("GET", path, params=params).json())

    def post(self, kind: type[T], path: str, asked: Any = None, *, repeatable: bool = True, **request: Any) -> T:
        """What comes of a request."""
        return read(kind, self.ask("POST", path, json=asked, repeatable=repeatable, **request).json())

    def pages(self, kind: type[T], path: str, limit: int, /, **params: Any) -> Iterator[T]:
        """All that a list holds, a page at a time."""
        cursor = None
        while True:
            answer = self.ask("GET", path, params={**params, "limit": limit, "cursor": cursor}).json()
            yield from (read(kind, one) for one in answer["items"])
            cursor = answer["next_cursor"]
            if cursor is None:
                return

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:
        """An answer whose body is read piece by piece.

        Raises:
            ProblemError: the service refuses it.
            httpx.TransportError: the service cannot be reached.
        """
        with self.http.stream("GET", path, **request) as answer:
            if not answer.is_success:
                answer.read()
                raise problem_of(answer)
            yield answer

    def _wait(self, attempt: int, named: str | None) -> float:
        """Seconds until the next attempt: as long as the service asks for, and a little more, so that not all its
        callers come at the same moment.
        """
        wait = min(_LONGEST, _FIRST * 2 ** (attempt - 1))
        if named is not None and named.strip().isdecimal():
            return float(named) + random.uniform(0, wait)  # noqa: S311 - no secret
        return random.uniform(wait / 2, wait)  # noqa: S311 - no secret


def in_path(name: str) -> str:
    """A name as a part of a path; dots too are encoded, for "a/.." would be taken for a way back."""
    return quote(name, safe="").replace(".", "%2E")


def problem_of(answer: httpx.Response) -> ProblemError:
    """The problem that an answer tells of; of a proxy's page only the status."""
    told: Mapping[str, Any] = {}
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        try:
            told = answer.json()
        except ValueError:
            told = {}
    faults = tuple(Fault(one["location"], one["value"], one["expected"]) for one in told.get("errors") or ())
    title, detail = told.get("title", answer.reason_phrase), told.get("detail", "no problem was told")
    return ProblemError(answer.status_code, title, detail, faults, answer.headers.get("x-request-id", ""))
