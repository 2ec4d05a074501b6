"""The app: rooms of routes behind one door, around one service, which is loaded beside and closed at the end.

It answers from the start: /healthz while model and catalogue are loaded, /readyz and /v1 with 503 until they are.

It knows how an app starts and ends. It does not know what its rooms answer, nor how titles are compared.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api import clusters, embeddings, health, items, jobs, labels, matching, metrics, models, page
from api.disk import Disk
from api.door import Door
from api.guard import Guarded
from api.keys import KeyScope
from api.metrics import Metrics
from api.page_frame import for_people
from api.problems import add_schemas, documented, handlers
from api.service import Service, load_service
from api.settings import Settings
from api.state import Shared
from api.tracing import Tracer, make_tracer

_KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the service's; each operation names the scope that it must have. admin includes write, "
    "write includes read.",
}
_GUARDED = (401, 403, 421, 500, 503)
_WITH_BODY = (408, 413, 415, 422)
_ROOMS = (matching, items, clusters, labels, embeddings, jobs, models, health, metrics, page)
Failed = Callable[[BaseException], None]


class _Api(FastAPI):
    """FastAPI behind the door, with keys and every problem there may be in its description."""

    def build_middleware_stack(self) -> ASGIApp:
        state = self.state
        return Door(super().build_middleware_stack(), state.shared.settings, state.metrics, state.tracer)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            add_schemas(schema)
            closed = self.state.shared.settings.closed
            if closed:
                schema["components"]["securitySchemes"] = {"key": _KEY_SCHEME}
            scopes = {
                (route.path_format, method.lower()): route.key_scope
                for route in self.routes if isinstance(route, Guarded) for method in route.methods or ()
            }  # fmt: skip
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    _describe(operation, scopes.get((path, method)), closed)
        return super().openapi()


def _describe(operation: dict[str, Any], scope: KeyScope | None, closed: bool) -> None:
    """Add what every operation of its kind may answer, and the key that it asks for."""
    may = (421,)
    if scope is not None:
        may = (*_GUARDED, *(_WITH_BODY if "requestBody" in operation else ()))
        if closed:
            operation["security"] = [{"key": [scope]}]
    told = operation["responses"]
    told |= {str(status): answer for status, answer in documented(*may).items() if str(status) not in told}
    operation["responses"] = dict(sorted(told.items()))


def create_app(settings: Settings, *, on_failure: Failed | None = None) -> FastAPI:
    """The service as an ASGI app, which loads model and catalogue in the background when it is started.

    Args:
        settings: of this deployment.
        on_failure: called in the event loop with the error when loading fails; by default it is logged, and the app
            stays up without ever being ready. ``serve`` ends the process.
    """
    shared, tracer, answers = Shared(settings), make_tracer(), handlers()
    app = _Api(
        title="dongil",
        version="1",
        description="Finds the listings of the same product by their titles.",
        lifespan=_lifespan(shared, tracer, on_failure or _log),
        exception_handlers=answers | {HTTPException: for_people(answers[HTTPException])},
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        docs_url=None,  # `api.page_docs` describes it, without another host
        redoc_url=None,
    )
    app.state.shared, app.state.metrics, app.state.tracer = shared, Metrics(shared), tracer
    for room in _ROOMS:
        room.add_routes(app, settings)
    return app


class _StoppedError(Exception):
    """Loading was given up because the app is being shut down."""


def _lifespan(
    shared: Shared, tracer: Tracer | None, on_failure: Failed
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stopping = threading.Event()

        def progress(phase: str, done: int, total: int) -> None:
            shared.stage = f"loading: {phase} {done:,} of {total:,}"
            if stopping.is_set():
                raise _StoppedError

        def finish(task: asyncio.Task[Service]) -> None:
            if error := task.exception():
                shared.stage = "loading failed"
                if not isinstance(error, _StoppedError):
                    on_failure(error)
            else:
                shared.service = task.result()
                shared.disk = Disk(shared.service.catalog.folder)

        loading = asyncio.create_task(asyncio.to_thread(load_service, shared.settings, progress))
        loading.add_done_callback(finish)
        try:
            yield
        finally:
            shared.stopping = True
            stopping.set()
            await asyncio.wait([loading])
            if shared.service:
                await asyncio.to_thread(shared.service.close)
            if tracer:
                await asyncio.to_thread(tracer.close)

    return lifespan


def _log(error: BaseException) -> None:
    logging.getLogger("dongil").critical("cannot load: %s", error, exc_info=error)
