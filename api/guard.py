"""The guard: refuses by its headers, before the body is read, a request without a fit key or without JSON.

It knows headers and bytes; of what a body means it knows only where titles stand, which it logs when it is told to.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Never

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope

from api.keys import NOBODY, KeyScope, find_key
from api.settings import Settings
from index.formats import shown

_LOGGED = 20  # titles of one request
_TITLE = 200  # characters of a logged one


class JsonRequest(Request):
    """A request whose body is JSON of limited size, counted while it arrives: chunks do not say how many will come."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        super().__init__(scope, receive)
        self._limit = limit

    async def body(self) -> bytes:
        """The body.

        Raises:
            HTTPException: 413, larger than the limit.
        """
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) > self._limit:
                self._refuse()
            body = bytearray()
            async for chunk in self.stream():
                body += chunk
                if len(body) > self._limit:
                    self._refuse()
            self._body = bytes(body)
        return self._body

    def _refuse(self) -> Never:
        raise HTTPException(413, f"the body is larger than {self._limit} bytes", {"Connection": "close"})

    async def json(self) -> Any:
        """The value.

        Raises:
            JSONDecodeError: not UTF-8, not JSON, or JSON that is too deep or holds too long a number.
        """
        body = await self.body()
        text = body.decode(errors="replace")
        try:
            body.decode()
            return json.loads(text)
        except json.JSONDecodeError:
            raise
        except UnicodeDecodeError as error:
            raise json.JSONDecodeError("not UTF-8", text, len(body[: error.start].decode())) from error
        except RecursionError as error:
            raise json.JSONDecodeError("nested too deeply", text, 0) from error
        except ValueError as error:
            raise json.JSONDecodeError("a number of too many digits", text, 0) from error


class Guarded(APIRoute):
    """A route that asks for a key of a scope; ``guarded_route`` makes them."""

    key_scope: ClassVar[KeyScope]


def guarded_route(settings: Settings, scope: KeyScope = "read") -> type[Guarded]:
    """The class of routes that only a caller whose key has the scope, if keys are asked for, gets into.

    ``request.state.who`` is the name of the key then, and "anonymous" where none is asked for.
    """

    class GuardedRoute(Guarded):
        key_scope = scope

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            reads_body = self.body_field is not None

            async def guarded(request: Request) -> Response:
                check_key(request, settings, scope)
                if reads_body:
                    _check_media_type(request)
                asked = JsonRequest(request.scope, request.receive, settings.max_body_bytes)
                if reads_body and settings.log_titles:
                    await _log_titles(asked)
                return await handle(asked)

            return guarded

    return GuardedRoute


def check_key(request: Request, settings: Settings, scope: KeyScope) -> None:
    """Let a request in whose key has the scope, if keys are asked for, and note who asks.

    Raises:
        HTTPException: 401, no key; 403, one that does not allow this.
    """
    request.state.who = NOBODY
    if not settings.closed:
        return
    kind, _, presented = request.headers.get("authorization", "").partition(" ")
    key = find_key(settings, presented.strip())
    if key is None or kind.lower() != "bearer":
        detail = "no valid API key; expected the header Authorization: Bearer KEY"
        raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
    request.state.who = key.name
    if not key.allows(scope):
        raise HTTPException(403, f"the API key allows {key.scope}; expected one that allows {scope}")


async def _log_titles(request: JsonRequest) -> None:
    try:
        body = await request.json()
    except json.JSONDecodeError:
        return
    fields = body if isinstance(body, dict) else {}
    parts = [fields.get(name) for name in ("titles", "items", "input")]
    found = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    titles = [one.get("title") if isinstance(one, dict) else one for one in found]
    told = [title[:_TITLE] for title in titles if isinstance(title, str)]
    if told:
        more = {"titles": told[:_LOGGED], "of": len(told)}
        logging.getLogger("dongil").info("titles", extra={"fields": more})


def _check_media_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, f"content type {shown(media_type)}; expected application/json")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HTTPException(415, f"content encoding {shown(encoding)}; expected none")
