"""The page: what a shop's employees see in a browser, room by room, and the few routes that all rooms share.

It knows the rooms, the static files, who is let in and which language is chosen. It does not know what a room shows.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from fastapi import FastAPI, Request, Response

from api import page_clusters, page_docs, page_items, page_jobs, page_models, page_review, page_threshold, page_try
from api.page_frame import THEMES, Frame, add_pages, back_path, first, form_of, frame_of, go, send_file, show
from api.session import log_in, log_out
from api.settings import Settings

_ROOMS = (page_try, page_clusters, page_review, page_threshold, page_items, page_jobs, page_models, page_docs)
_YEAR = 365 * 24 * 3_600


async def static(name: str, request: Request) -> Response:
    """A file of ours that pages refer to."""
    return send_file(request, frame_of(request).statics, name)


async def login_page(request: Request) -> Response:
    """Ask for the key."""
    target = back_path(request.query_params.get("next", "/"))
    if not frame_of(request).settings.closed:
        return go(request, target)
    return show(request, "login.html", next=target, wrong=False)


async def login(request: Request) -> Response:
    """Take the key, and go where the visitor wanted to."""
    form = await form_of(request)
    target = back_path(first(form, "next", "/"))
    response = go(request, target)
    secure = request.url.scheme == "https"
    if log_in(response, frame_of(request).settings, first(form, "key"), secure=secure):
        return response
    return show(request, "login.html", status=403, next=target, wrong=True)


async def logout(request: Request) -> Response:
    """End the session."""
    response = go(request, "/login")
    log_out(response)
    return response


async def choose(request: Request) -> Response:
    """Keep the language, or light or dark, that was chosen, and go back."""
    form = await form_of(request)
    response = go(request, back_path(first(form, "back", "/")))
    secure = request.url.scheme == "https"
    for name, known in (("lang", ("ko", "en")), ("theme", THEMES)):
        if (value := first(form, name)) in known:
            response.set_cookie(name, quote(value), max_age=_YEAR, httponly=True, samesite="lax", secure=secure)
    return response


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add all pages to an app."""
    app.state.frame = Frame.of(settings)
    add = partial(add_pages, app, settings, None)
    add({"/static/{name}": static, "/login": login_page})
    add({"/login": login, "/logout": logout, "/choose": choose}, method="POST")
    for room in _ROOMS:
        room.add_routes(app, settings)
