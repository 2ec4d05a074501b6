"""The service: match and cluster over HTTP. Thin: routes pass the work on to threads, and to no more than there are.

The socket is open from the start, so that /healthz answers while model and catalogue are loaded in the background;
/readyz and /v1 say 503 until they are. ``serve`` ends when loading fails, with the error that says why.

It knows HTTP, limits and threads. It does not know how titles are compared, nor files.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.guard import guarded_route
from api.problems import add_schemas, documented, handlers
from api.schemas import (
    Cluster,
    ClusterRequest,
    ClusterResponse,
    Health,
    IndexInfo,
    MatchedItem,
    MatchRequest,
    MatchResponse,
    MatchResult,
    ModelResponse,
    ModelUsed,
    Promised,
)
from api.settings import Settings, load_encoder, load_matcher
from embedder.encoder import Encoder
from index.answers import Match
from index.decision import Decision
from index.matcher import Matcher
from index.scene import Progress
from index.vectors import wants_gpu

_KEY_SCHEME = {"type": "http", "scheme": "bearer", "description": "The key that the service was started with."}
NEAR_MISSES = 3  # told of a title, when a request asks to explain
_GRACE = 30  # seconds that open requests get when the service ends
Failed = Callable[[BaseException], None]


class Line:
    """Work on processors: a few threads, a line of limited length before them, and the door shut beyond.

    Args:
        at_once: pieces of work done at the same time.
        waiting: pieces that may wait for those.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="dongil")
        self._places = at_once + waiting

    async def answer(self, work: Callable[[], BaseModel]) -> Response:
        """The work's result as JSON, which is written in the work's thread too: an answer may be long.

        Raises:
            HTTPException: 503, no place is left.
        """
        if not self._places:
            raise HTTPException(503, "too many requests are waiting; come again", {"Retry-After": "1"})
        self._places -= 1
        try:
            loop = asyncio.get_running_loop()
            # What a route does not set, nobody asked for.
            body = await loop.run_in_executor(self._threads, lambda: work().model_dump_json(exclude_unset=True))
        finally:
            self._places += 1
        return Response(body, media_type="application/json")

    def close(self) -> None:
        """End the threads after what they are doing."""
        self._threads.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Service:
    """What requests are answered with, once it is loaded; ``matcher`` is None without a catalogue."""

    encoder: Encoder
    decision: Decision
    matcher: Matcher | None
    line: Line
    settings: Settings

    def match(self, matcher: Matcher, asked: MatchRequest) -> MatchResponse:
        """The matches of titles in the catalogue."""
        threshold, proof = self._asked(asked)
        misses = NEAR_MISSES if asked.explain else 0
        answers = matcher.answer(asked.titles, k=asked.k, threshold=threshold, near_misses=misses)
        results = []
        for title, answer in zip(asked.titles, answers, strict=True):
            more = {"near_misses": _items(answer.near_misses)} if asked.explain else {}
            results.append(MatchResult(title=title, matches=_items(answer.matches), **more))
        return MatchResponse(results=results, model=self._used(threshold, proof))

    def cluster(self, asked: ClusterRequest) -> ClusterResponse:
        """The posted items grouped among themselves."""
        ids, titles = [item.id for item in asked.items], [item.title for item in asked.items]
        matcher = Matcher.from_items(ids, titles, self.encoder, self.decision, device=self.settings.device)
        threshold, proof = self._asked(asked)
        if threshold is None:
            threshold = self.decision.cluster_threshold
        members: dict[str, list[str]] = {}
        for id, cluster_id in zip(ids, matcher.cluster(threshold), strict=True):
            members.setdefault(cluster_id, []).append(id)
        clusters = [Cluster(cluster_id=cluster_id, items=items) for cluster_id, items in members.items()]
        return ClusterResponse(clusters=clusters, model=self._used(threshold, proof))

    def describe(self) -> ModelResponse:
        """The model, its thresholds and the catalogue."""
        config, index = self.encoder.bundle.config, None if self.matcher is None else self.matcher.index
        return ModelResponse(
            fingerprint=self.encoder.fingerprint,
            architecture=config.architecture,
            dimensions=config.dimensions,
            precision=config.precision,
            threshold=self.decision.threshold,
            cluster_threshold=self.decision.cluster_threshold,
            promises=[Promised(**vars(promise)) for promise in self.decision.promises],
            items=0 if self.matcher is None else len(self.matcher),
            index=IndexInfo(exact=index.exact, recall=index.recall) if index is not None else None,
        )

    def _asked(self, asked: MatchRequest | ClusterRequest) -> tuple[float | None, dict[str, str]]:
        """The threshold that a request asks for, if any, and the proof of a precision as a field of ``ModelUsed``.

        Raises:
            InputError: a precision that the model's labels do not prove.
        """
        if asked.min_precision is None:
            return asked.threshold, {}
        promise = self.decision.promised(asked.min_precision)
        return promise.threshold, {"proof": promise.words}

    def _used(self, threshold: float | None, proof: dict[str, str]) -> ModelUsed:
        decision: Literal["expected F1", "threshold"] = "expected F1" if threshold is None else "threshold"
        return ModelUsed(fingerprint=self.encoder.fingerprint, decision=decision, threshold=threshold, **proof)


def _items(matches: Sequence[Match]) -> list[MatchedItem]:
    return [MatchedItem(**vars(match)) for match in matches]


def load_service(settings: Settings, progress: Progress | None = None) -> Service:
    """Load the model and the catalogue that the settings name.

    Raises:
        InputError: one of them cannot be used.
    """
    encoder = load_encoder(settings)
    matcher = load_matcher(settings, progress, encoder=encoder)
    # An index on a GPU is not safe for two searches at once, and one keeps the GPU busy.
    on_gpu = encoder.on_gpu or wants_gpu(settings.device)
    line = Line(1 if on_gpu else settings.max_concurrency, settings.max_queue)
    decision = Decision.of(encoder.bundle, threads=encoder.threads) if matcher is None else matcher.decision
    return Service(encoder, decision, matcher, line, settings)


@dataclass
class Shared:
    """What the routes of one app share; loading fills it in."""

    settings: Settings
    stage: str = "starting"
    service: Service | None = None


def _shared(request: Request) -> Shared:
    shared: Shared = request.app.state.shared
    return shared


async def _loaded(request: Request) -> Service:
    shared = _shared(request)
    if shared.service is None:
        raise HTTPException(503, f"not ready ({shared.stage})", {"Retry-After": "5"})
    return shared.service


Loaded = Annotated[Service, Depends(_loaded)]


async def _searched(service: Loaded) -> Matcher:
    if service.matcher is None:
        raise HTTPException(409, "no catalogue is loaded; start the service with --catalog or DONGIL_CATALOG")
    return service.matcher


Searched = Annotated[Matcher, Depends(_searched)]


async def match(asked: MatchRequest, service: Loaded, matcher: Searched) -> Response:
    """The catalogue's items that are the same product as each title, best first, at most `k` a title.

    Each title gets the set of items whose expected F1 is best, unless the request names a `threshold`, or a
    `min_precision` that the model's labels prove. With `explain` it gets the best refused items too.

    A title without a letter or digit, such as one of emoji alone, has no matches.
    """
    return await service.line.answer(lambda: service.match(matcher, asked))


async def cluster(asked: ClusterRequest, service: Loaded) -> Response:
    """The posted items grouped among themselves: items of one cluster are one product."""
    return await service.line.answer(lambda: service.cluster(asked))


async def model(service: Loaded) -> ModelResponse:
    """Which model answers, with which thresholds, and what is in the catalogue."""
    return service.describe()


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
    _add_v1(app, guarded_route(settings))
    app.add_api_route("/healthz", health, summary="Tell whether the process lives", response_description="It does")
    app.add_api_route(
        "/readyz",
        ready,
        summary="Tell whether requests can be answered",
        response_description="They can",
        responses=documented(503),
    )
    return app


def _add_v1(app: FastAPI, route: type[APIRoute]) -> None:
    app.router.add_api_route(
        "/v1/match",
        match,
        methods=["POST"],
        summary="Match titles with the catalogue",
        response_model=MatchResponse,
        response_description="One result for each title, in the titles' order",
        responses=documented(401, 409, 413, 415, 422, 500, 503),
        route_class_override=route,
    )
    app.router.add_api_route(
        "/v1/cluster",
        cluster,
        methods=["POST"],
        summary="Cluster items",
        response_model=ClusterResponse,
        response_description="Clusters in the order of their first items; every id stands in exactly one",
        responses=documented(401, 413, 415, 422, 500, 503),
        route_class_override=route,
    )
    app.router.add_api_route(
        "/v1/model",
        model,
        summary="Describe the model and the catalogue",
        response_description="The model, its thresholds and the catalogue",
        responses=documented(401, 500, 503),
        route_class_override=route,
    )


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
                shared.service.line.close()

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
