"""The door: what every request passes on its way in and out, whatever route it is for.

It gives the request an id, refuses what comes from another site's page or for another host's name, bounds the time
that a body may take, and at the end keeps account: a line in the log, the metrics, and a span where there is a tracer.

It knows headers, time and bytes. It does not know keys, routes' work, nor what a body means.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.keys import NOBODY
from api.logs import REQUEST_ID, request_id
from api.metrics import Metrics
from api.problems import problem
from api.settings import Settings, is_loopback
from api.tracing import Tracer

CROWDED = "dongil_crowded"
"""In the state of a request that came over one connection too many."""
_SAFE = ("GET", "HEAD", "OPTIONS")
_QUIET = ("/healthz", "/readyz", "/metrics")  # asked every few seconds by machines
_FORM_EXTRA = 1 << 20  # bytes that a form may have beside its file
_GONE = 499  # what the log calls a request whose caller left before the answer


@dataclass
class _Visit:
    """What is told of a request in the end."""

    started: float
    status: int | None = None


class Door:
    """An app behind the door.

    Args:
        app: to let requests into.
        settings: of this deployment.
        metrics: to count in.
        tracer: to make spans with, if any.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app, self._settings, self._metrics, self._tracer = app, settings, metrics, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        id = request_id(headers.get("x-request-id"))
        scope.setdefault("state", {}).update(who=NOBODY, request_id=id)
        token = REQUEST_ID.set(id)
        visit = _Visit(time.perf_counter())

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["x-request-id"] = id
                answered.setdefault("x-content-type-options", "nosniff")
            await send(message)

        span = self._tracer.request(scope["method"], headers) if self._tracer else nullcontext()
        try:
            with self._metrics.in_flight.track_inprogress(), span:
                try:
                    refusal = self._refusal(scope, headers)
                    await (refusal or self._app)(scope, self._bounded(headers, receive), told)
                except Exception:
                    visit.status = visit.status or 500
                    raise
                finally:
                    self._account(scope, visit)
        finally:
            REQUEST_ID.reset(token)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["state"].get(CROWDED) and scope["path"] != "/healthz":
            return problem(503, "too many connections; come again", headers={"Retry-After": "1", "Connection": "close"})
        if not self._host_is_ours(scope, headers.get("host", "")):
            return problem(421, "asked for by another name than this machine's; expected localhost, or a name of "
                                "the setting allowed_hosts")  # fmt: skip
        if scope["method"] not in _SAFE and not self._from_here(headers):
            return problem(403, "sent by a page of another site")
        return None

    def _host_is_ours(self, scope: Scope, host: str) -> bool:
        """Whether a request over the loopback names a loopback host.

        Another site's name that was made to point to 127.0.0.1 (DNS rebinding) would be the same origin otherwise.
        """
        server = scope.get("server") or ("", None)
        if not self._settings.local or not is_loopback(str(server[0])):
            return True
        name = _name_of(host)
        return is_loopback(name) or name.endswith(".localhost") or name in self._settings.allowed_hosts

    def _from_here(self, headers: Headers) -> bool:
        """Whether a request that may change something comes from no browser, or from a page of this service.

        Browsers say where it comes from: ``Sec-Fetch-Site`` where the address is trustworthy, ``Origin`` everywhere.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            return site in ("same-origin", "none")
        if origin is None:
            return True
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        return netloc == headers.get("host") or _name_of(netloc) in self._settings.allowed_hosts

    def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        """The body's parts; waiting for them all may take ``body_seconds``, and a second more each ``body_rate`` bytes.

        Only a form with a file may be as large as one. Routes that read a body may bound it further.

        Raises:
            HTTPException: 408, they come too slowly; 413, they are too many.
        """
        waited, received, whole = 0.0, 0, False
        upload = headers.get("content-type", "").lower().startswith("multipart/form-data")
        most = self._settings.max_upload_bytes + _FORM_EXTRA if upload else self._settings.max_body_bytes

        async def bounded() -> Message:
            nonlocal waited, received, whole
            if whole:
                return await receive()
            left = self._settings.body_seconds + received / self._settings.body_rate - waited
            started = time.perf_counter()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await receive()
            except TimeoutError:
                told = f"the body came too slowly: {received} bytes in {waited + max(0.0, left):.0f} seconds"
                raise HTTPException(408, told, {"Connection": "close"}) from None
            waited += time.perf_counter() - started
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, f"the body is larger than {most} bytes", {"Connection": "close"})
            whole = message["type"] != "http.request" or not message.get("more_body")
            return message

        return bounded

    def _account(self, scope: Scope, visit: _Visit) -> None:
        seconds = time.perf_counter() - visit.started
        status = visit.status or _GONE
        route = str(getattr(scope.get("route"), "path", "none"))
        titles = scope["state"].get("titles", 0) if status == 200 else 0
        self._metrics.count(scope["method"], route, status, seconds, titles)
        if self._tracer:
            self._tracer.tell(route, status)
        quiet = route in _QUIET and status < 400
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(1_000 * seconds, 1),
            "who": scope["state"]["who"],
            "client": (scope.get("client") or ("-",))[0],
            **({"titles": titles} if titles else {}),
        }
        level = logging.DEBUG if quiet else logging.INFO
        logging.getLogger("dongil.access").log(level, "request", extra={"fields": told})


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
