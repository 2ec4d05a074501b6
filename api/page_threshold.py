"""The threshold: a slider, and what comes of it.

It knows a page. What a threshold is worth is told by ``api.explorer``.
"""

from __future__ import annotations

import math
from functools import partial

from fastapi import FastAPI, Request, Response

from api.explorer import Explorer, path_of
from api.page_frame import add_pages, is_part, show
from api.service import Service
from api.settings import Settings
from api.state import Loaded


def explorer_of(request: Request, service: Service) -> Explorer:
    """The explorer of an app."""
    kept: Explorer | None = getattr(request.app.state, "explorer", None)
    if kept is None:
        kept = request.app.state.explorer = Explorer(service)
    return kept


async def threshold(request: Request, service: Loaded) -> Response:
    """The curves, and what the threshold is worth at which the slider stands."""
    explorer, decision = explorer_of(request, service), service.living.decision
    at = _read(request.query_params.get("at", ""), decision.threshold)
    explored, point = await service.line.run(lambda: (explorer.look(), explorer.at(at)))
    template = "_threshold.html" if is_part(request) else "threshold.html"
    return show(request, template, point=point, explored=explored, decision=decision, path_of=path_of)


def _read(text: str, otherwise: float) -> float:
    """A threshold of the slider; what is none is the model's own."""
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return min(max(round(value, 4), 0.01), 0.99) if math.isfinite(value) else otherwise


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    add = partial(add_pages, app, settings)
    add("read", {"/threshold": threshold})
