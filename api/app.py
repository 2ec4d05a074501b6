"""The app: rooms of routes around one service, which is loaded in the background and closed at the end.

The socket is open from the start, so that /healthz answers while model and catalogue are loaded; /readyz and /v1 say
503 until they are. ``serve`` ends when loading fails, with the error that says why.

It knows how an app starts and ends. It does not know what its rooms answer, nor how titles are compared.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from api import matching
from api.problems import add_schemas, documented, handlers
from api.schemas import Health
from api.service import Service, load_service
from api.settings import Settings
from api.state import Loaded, Shared

_KEY_SCHEME = {"type": "http", "scheme": "bearer", "description": "The key that the service was started with."}
_GRACE = 30  # seconds that open requests get when the service ends
_ROOMS = (matching,)
Failed = Callable[[BaseException], None]


async def health() -> Health:
    """Answers as long as the process lives, however busy it is."""
    return Health()


async def ready(_: Loaded) -> Health:
    """Answers 200 from when model and catalogue are loaded, and 503 before."""
    return Health()


class _Api(FastAPI):
    """FastAPI with the problem schema and the key in its description."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            add_schemas(schema)
            if self.state.shared.settings.api_key is not None:
                schema["components"]["securitySchemes"] = {"key": _KEY_SCHEME}
                for path, operations in schema["paths"].items():
                    for operation in operations.values() if path.startswith("/v1/") else ():
                        operation["security"] = [{"key": []}]
        return super().openapi()


def create_app(settings: Settings, *, on_failure: Failed | None = None) -> FastAPI:
    """The service as an ASGI app, which loads model and catalogue in the background when it is started.

    Args:
        settings: of this deployment.
        on_failure: called in the event loop with the error when loading fails; by default it is logged, and the app
            stays up without ever being ready. ``serve`` ends the process.
    """
    shared = Shared(settings)
    app = _Api(
        title="dongil",
        version="1",
        description="Finds the listings of the same product by their titles.",
        lifespan=_lifespan(shared, on_failure or _log),
        exception_handlers=handlers(),
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.shared = shared
    for room in _ROOMS:
        room.add_routes(app, settings)
    app.add_api_route("/healthz", health, summary="Tell whether the process lives", response_description="It does")
    app.add_api_route(
        "/readyz",
        ready,
        summary="Tell whether requests can be answered",
        response_description="They can",
        responses=documented(503),
    )
    return app


class _StoppedError(Exception):
    """Loading was given up because the app is being shut down."""


def _lifespan(shared: Shared, on_failure: Failed) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
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

        loading = asyncio.create_task(asyncio.to_thread(load_service, shared.settings, progress))
        loading.add_done_callback(finish)
        try:
            yield
        finally:
            stopping.set()
            await asyncio.wait([loading])
            if shared.service:
                await asyncio.to_thread(shared.service.close)

    return lifespan


def _log(error: BaseException) -> None:
    logging.getLogger("dongil").critical("cannot load: %s", error, exc_info=error)


def serve(settings: Settings) -> None:
    """Serve until a signal ends it; requests that are being answered are given time to end.

    Raises:
        InputError: the model or the catalogue cannot be loaded.
        SystemExit: the address cannot be listened on; the log says why.
        KeyboardInterrupt: after a graceful end by Ctrl-C.
    """
    failures: list[BaseException] = []

    def stop(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(settings, on_failure=stop)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            ws="none",
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
    )
    server.run()
    if failures:
        raise failures[0]
