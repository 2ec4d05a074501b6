"""Health: whether the process lives, and whether requests can be answered, and if not, what that waits for.

It knows the stages of a start and an end, and that a store needs a disk. It does not know what is loaded.
"""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, HTTPException, Request

from api.problems import documented
from api.schemas import Health
from api.settings import Settings
from api.state import Loaded, shared_of
from index.store import StorageError

_PATIENCE = 5.0  # seconds that the disk has to answer


async def health() -> Health:
    """Answers as long as the process lives, however busy it is."""
    return Health()


async def ready(request: Request, service: Loaded) -> Health:
    """Answers 200 while requests can be answered, and else 503, which says what that waits for.

    It waits for model and catalogue to be loaded, and for a store that can be written. From the signal to end on the
    service is not ready any more, while it still answers what comes.
    """
    shared = shared_of(request)
    if shared.stopping:
        raise HTTPException(503, "not ready (stopping)")
    try:
        trouble = await asyncio.wait_for(asyncio.to_thread(shared.disk.trouble), _PATIENCE) if shared.disk else None
    except TimeoutError:
        trouble = "the disk does not answer"
    if trouble is None and isinstance(service.living.trouble, StorageError):
        trouble = "work in the background cannot write"
    if trouble is not None:
        raise HTTPException(503, f"not ready (the store: {trouble})")
    return Health()


def add_routes(app: FastAPI, settings: Settings) -> None:  # noqa: ARG001 - rooms are all added alike
    """Add the routes of this room to an app."""
    app.add_api_route("/healthz", health, summary="Tell whether the process lives", response_description="It does")
    app.add_api_route(
        "/readyz",
        ready,
        summary="Tell whether requests can be answered",
        response_description="They can",
        responses=documented(503),
    )
