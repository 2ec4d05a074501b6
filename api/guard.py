"""The guard: refuses by its headers, before the body is read, a request without the key or without JSON.

It knows headers and bytes; it does not know what a body means.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Never

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope

from api.settings import Settings
from index.formats import shown

KeyScope = Literal["read", "write", "admin"]
"""What a key allows; each one includes those before it."""


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


def guarded_route(settings: Settings, scope: KeyScope = "read") -> type[APIRoute]:  # noqa: ARG001 - keys get scopes next
    """The class of routes that only a caller whose key has the scope, if keys are asked for, gets into."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            reads_body = self.body_field is not None

            async def guarded(request: Request) -> Response:
                if settings.api_key is not None:
                    _check_key(request, settings.api_key.get_secret_value())
                if reads_body:
                    _check_media_type(request)
                return await handle(JsonRequest(request.scope, request.receive, settings.max_body_bytes))

            return guarded

    return GuardedRoute


def _check_key(request: Request, key: str) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    # Bytes, because compare_digest takes no other than ASCII text; headers are read as Latin-1.
    same = hmac.compare_digest(token.strip().encode("latin-1"), key.encode())
    if not same or scheme.lower() != "bearer":
        detail = "no valid API key; expected the header Authorization: Bearer KEY"
        raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _check_media_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, f"content type {shown(media_type)}; expected application/json")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HTTPException(415, f"content encoding {shown(encoding)}; expected none")
