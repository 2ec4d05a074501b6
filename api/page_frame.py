"""The frame of every page: templates, language, light or dark, who looks on, and errors that people can read.

It knows how a page is put together and guarded. It does not know what any page shows.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException  # the door raises this one, of which FastAPI's is a kind

from api.keys import KeyScope
from api.page_errors import KoreanErrors
from api.page_told import add_filters
from api.phrases import Language, Phrases, language_of, read_korean
from api.problems import expected
from api.session import Visitor, visitor_of
from api.settings import Settings
from api.state import shared_of
from embedder.errors import InputError
from index.formats import shown
from index.store import ConflictError, StorageError

FOLDER = Path(__file__).parent / "pages"
MAX_FORM = 1_000_000  # bytes of a form
_MAX_FIELDS = 5_000
THEMES = ("auto", "light", "dark")
_YEAR = 365 * 24 * 3_600
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with that, browsers call the origin of a form "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


@dataclass(frozen=True)
class Static:
    """A file that pages refer to.

    Attributes:
        data: its bytes.
        media_type: what they are.
        digest: of them, so that a browser may keep the file for ever.
    """

    data: bytes
    media_type: str
    digest: str


@dataclass(frozen=True)
class Frame:
    """What the pages of one app share.

    Attributes:
        settings: of the deployment.
        templates: what pages are made of.
        statics: by name.
        korean: of each English phrase.
        errors: the Korean of what the core says is wrong.
    """

    settings: Settings
    templates: Environment
    statics: Mapping[str, Static] = field(repr=False)
    korean: Mapping[str, str] = field(repr=False)
    errors: KoreanErrors = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Frame:
        """Read everything that stands beside this module."""
        statics = read_files(FOLDER / "static")
        templates = Environment(
            loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        templates.globals["static"] = lambda name: f"/static/{name}?v={statics[name].digest}"
        add_filters(templates)
        korean, errors = read_korean(FOLDER / "korean.json"), KoreanErrors.read(FOLDER / "korean_errors.json")
        return cls(settings, templates, statics, korean, errors)


def read_files(folder: Traversable) -> Mapping[str, Static]:
    """The files of a folder that pages may refer to, by their names."""
    found = {
        path.name: (path.read_bytes(), media_type)
        for path in folder.iterdir()
        if (media_type := _TYPES.get(Path(path.name).suffix))
    }
    return {name: Static(data, kind, hashlib.sha256(data).hexdigest()[:12]) for name, (data, kind) in found.items()}


def send_file(request: Request, known: Mapping[str, Static], name: str) -> Response:
    """A file that pages refer to; by its digest a browser may keep it for ever.

    Raises:
        HTTPException: 404, there is none.
    """
    found = known.get(name)
    if found is None:
        raise HTTPException(404, "no such file")
    kept = f"public, max-age={_YEAR}, immutable" if request.query_params.get("v") == found.digest else "no-cache"
    return Response(found.data, media_type=found.media_type, headers={"Cache-Control": kept})


def frame_of(request: Request) -> Frame:
    """What the pages of a request's app share."""
    frame: Frame = request.app.state.frame
    return frame


def visitor(request: Request) -> Visitor:
    """Who sent a request that was let in."""
    found: Visitor = request.state.visitor
    return found


def is_part(request: Request) -> bool:
    """Whether a script asks for a part of a page."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-history-restore-request") != "true"


def language(request: Request) -> Language:
    """The language to answer in: the one that was chosen, or the browser's first that there is."""
    return language_of(request.cookies.get("lang", ""), request.headers.get("accept-language", ""))


def show(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """A page, or a part of one, in the visitor's language.

    Args:
        request: to answer.
        template: file of ``api/pages``.
        status, headers: of the answer.
        values: that the template names.
    """
    frame = frame_of(request)
    theme = request.cookies.get("theme", "")
    seen: Visitor | None = getattr(request.state, "visitor", None)
    spoken = language(request)
    context: dict[str, Any] = {
        "t": Phrases(spoken, frame.korean, frame.errors), "lang": spoken, "theme": theme if theme in THEMES else "auto",
        "path": request.url.path, "here": _here(request), "is_part": is_part(request), "visitor": seen,
        "may": seen.may if seen else (lambda _: False), "locked": frame.settings.closed,
        "service": shared_of(request).service if seen else None,
    }  # fmt: skip
    body = frame.templates.get_template(template).render(context | values)
    return HTMLResponse(body.encode(errors="replace"), status, dict(headers or {}))


def go(request: Request, path: str) -> Response:
    """Send the browser elsewhere on this page, whether a script asked or a form did."""
    if is_part(request):
        return Response(status_code=204, headers={"HX-Redirect": path})
    return RedirectResponse(path, 303)


def back_path(given: str, otherwise: str = "/") -> str:
    """A path of this page that a request named, if it is one."""
    plain = given.startswith("/") and given[1:2] not in ("/", "\\") and given.isprintable() and "\\" not in given
    return quote(given, safe="/?=&%+:,;@~.-_!*'()") if plain else otherwise


def _here(request: Request) -> str:
    query = request.url.query
    return back_path(request.url.path + (f"?{query}" if query else "")) if request.method == "GET" else "/"


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form that was sent.

    Raises:
        HTTPException: 413 or 422, too large, or not a form.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise HTTPException(413, f"the form is larger than {MAX_FORM:,} bytes")
    try:
        return parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="replace")
    except ValueError as error:
        raise HTTPException(422, "the form cannot be read") from error


def first(form: Mapping[str, list[str]], name: str, otherwise: str = "") -> str:
    """The first value of a field."""
    return form.get(name, [otherwise])[0]


def page_route(settings: Settings, scope: KeyScope | None = "read") -> type[APIRoute]:
    """The class of routes that show a page to visitors whose key has the scope, and errors as people read them.

    With None, anybody may see it, such as the page to log in by; other sites may use it no more for that.
    """

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def shown(request: Request) -> Response:
                try:
                    response = _stopped(request, settings, scope) or await handle(request)
                except Exception as error:  # noqa: BLE001 - of every kind there is something to tell
                    response = _failed(request, error)
                return _guarded(response)

            return shown

    return PageRoute


def _stopped(request: Request, settings: Settings, scope: KeyScope | None) -> Response | None:
    """What to answer instead, when a request must not go further."""
    if scope is None:
        return None
    found = visitor_of(request, settings)
    if (
        found is None
        and request.method == "GET"
        and request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    ):
        return show(request, "again.html")
    if found is None:
        return go(request, f"/login?next={quote(_here(request), safe='')}")
    request.state.visitor = found
    request.state.who = found.who
    if not found.may(scope):
        raise HTTPException(403, f"your key does not allow this; it takes one that allows {scope}")
    return None


def _failed(request: Request, error: Exception) -> Response:
    """The page of an error."""
    status, detail, headers = _told(request, error)
    if status == 503 and shared_of(request).service is None:
        return show(request, "waiting.html", status=503, headers=headers, stage=shared_of(request).stage)
    return _page_of(request, status, detail, headers)


def _page_of(request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    template = "_alert.html" if is_part(request) else "error.html"
    return show(request, template, status=status, headers=headers, detail=detail, status_code=status)


def for_people(answer: Callable[[Request, Any], Awaitable[Response]]) -> Callable[[Request, Any], Awaitable[Response]]:
    """How an app answers what no route answers: a browser that asks for a page gets one, a program what it got."""

    async def answered(request: Request, error: Any) -> Response:
        response = await answer(request, error)
        asked = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
        if not asked or response.status_code not in (404, 405):
            return response
        if found := visitor_of(request, frame_of(request).settings):
            request.state.visitor = found
        headers = {"Allow": response.headers["allow"]} if "allow" in response.headers else {}
        detail = str(json.loads(bytes(response.body))["detail"])
        return _guarded(_page_of(request, response.status_code, detail, headers))

    return answered


def _guarded(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _told(request: Request, error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        fault = error.errors()[0]
        return 422, f"{fault['loc'][-1]} is {shown(fault['input'])}; expected {expected(fault)}", {}
    if isinstance(error, ConflictError):
        return 409, error.message, {}
    if isinstance(error, InputError) and error.file is None:
        return 422, error.message, {}
    if isinstance(error, StorageError):
        logging.getLogger("dongil").error("the store failed: %s", error)
        return (507, "the disk is full; nothing was kept", {}) if error.full else (
            503, "the store cannot be written or read just now; come again", {"Retry-After": "5"},
        )  # fmt: skip
    logging.getLogger("dongil").error("page %s failed", request.url.path, exc_info=error)
    return 500, "the service failed; its log says why", {}


def add_pages(
    app: FastAPI,
    settings: Settings,
    scope: KeyScope | None,
    pages: Mapping[str, Callable[..., Awaitable[Response]]],
    method: str = "GET",
) -> None:
    """Add pages to an app, by their paths; they stand in no description of the service for programs."""
    for path, answer in pages.items():
        app.router.add_api_route(
            path, answer, methods=[method], include_in_schema=False, response_model=None,
            route_class_override=page_route(settings, scope),
        )  # fmt: skip
