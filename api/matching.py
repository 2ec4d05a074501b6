"""Matching: titles looked up in the catalogue, items grouped among themselves, and what answers them.

Thin: routes pass the work on to the service's batcher and threads. It does not know how titles are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fastapi import FastAPI, Request, Response

from api.guard import guarded_route
from api.problems import documented
from api.schemas import (
    Cluster,
    ClusterRequest,
    ClusterResponse,
    IndexInfo,
    MatchedItem,
    MatchRequest,
    MatchResponse,
    MatchResult,
    ModelResponse,
    ModelUsed,
    Promised,
)
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from embedder.encoder import Encoder
from index.answers import Answer, Ask, Match
from index.decision import Decision
from index.matcher import Matcher

NEAR_MISSES = 3  # told of a title, when a request asks to explain


async def match(asked: MatchRequest, service: Loaded, request: Request) -> Response:
    """The catalogue's items that are the same product as each title, best first, at most `k` a title.

    Each title gets the set of items whose expected F1 is best, unless the request names a `threshold`, or a
    `min_precision` that the model's labels prove. With `explain` it gets the best refused items too.

    A title without a letter or digit, such as one of emoji alone, has no matches.
    """
    request.state.titles = len(asked.titles)  # for the account at the door
    living = service.living
    threshold, proof = _asked(living.decision, asked)
    misses = NEAR_MISSES if asked.explain else 0

    def tell(ask: Ask, answer: Answer) -> bytes:
        more = {"near_misses": _items(answer.near_misses)} if asked.explain else {}
        result = MatchResult(title=ask.title, matches=_items(answer.matches), **more)
        return result.model_dump_json(exclude_unset=True).encode()

    asks = [Ask(title, asked.k, threshold, misses) for title in asked.titles]
    told = await service.batcher.ask(asks, living, tell, request.is_disconnected)
    used = _used(living.encoder, threshold, proof).model_dump_json(exclude_unset=True).encode()
    # The results are written where they are made, a title at a time; this is ``MatchResponse``.
    body = b'{"results":[%b],"model":%b,"revision":%d}' % (b",".join(told.parts), used, told.revision)
    return Response(body, media_type="application/json")


async def cluster(asked: ClusterRequest, service: Loaded) -> Response:
    """The posted items grouped among themselves: items of one cluster are one product."""
    return await service.line.answer(lambda: _cluster(service, asked))


async def model(service: Loaded) -> ModelResponse:
    """Which model answers, with which thresholds, and what is in the catalogue."""
    living = service.living
    config, snapshot = living.encoder.bundle.config, living.snapshot
    index = snapshot.base.scene.index
    return ModelResponse(
        fingerprint=living.encoder.fingerprint,
        architecture=config.architecture,
        dimensions=config.dimensions,
        precision=config.precision,
        threshold=living.decision.threshold,
        cluster_threshold=snapshot.cluster_threshold,
        promises=[Promised(**vars(promise)) for promise in living.decision.promises],
        items=len(snapshot),
        revision=snapshot.revision,
        index=IndexInfo(exact=index.way == "exact", recall=index.recall_of_few, search=index.way),
    )


def _cluster(service: Service, asked: ClusterRequest) -> ClusterResponse:
    living = service.living
    ids, titles = [item.id for item in asked.items], [item.title for item in asked.items]
    matcher = Matcher.from_items(ids, titles, living.encoder, living.decision, device=service.settings.device)
    threshold, proof = _asked(living.decision, asked)
    if threshold is None:
        threshold = matcher.cluster_threshold
    members: dict[str, list[str]] = {}
    for id, cluster_id in zip(ids, matcher.cluster(threshold), strict=True):
        members.setdefault(cluster_id, []).append(id)
    clusters = [Cluster(cluster_id=cluster_id, items=items) for cluster_id, items in members.items()]
    return ClusterResponse(clusters=clusters, model=_used(living.encoder, threshold, proof))


def _asked(decision: Decision, asked: MatchRequest | ClusterRequest) -> tuple[float | None, dict[str, str]]:
    """The threshold that a request asks for, if any, and the proof of a precision as a field of ``ModelUsed``.

    Raises:
        InputError: a precision that the model's labels do not prove.
    """
    if asked.min_precision is None:
        return asked.threshold, {}
    promise = decision.promised(asked.min_precision)
    return promise.threshold, {"proof": promise.words}


def _used(encoder: Encoder, threshold: float | None, proof: dict[str, str]) -> ModelUsed:
    decision: Literal["expected F1", "threshold"] = "expected F1" if threshold is None else "threshold"
    return ModelUsed(fingerprint=encoder.fingerprint, decision=decision, threshold=threshold, **proof)


def _items(matches: Sequence[Match]) -> list[MatchedItem]:
    return [MatchedItem(**vars(match)) for match in matches]


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    route = guarded_route(settings, "read")
    app.router.add_api_route(
        "/v1/match",
        match,
        methods=["POST"],
        summary="Match titles with the catalogue",
        response_model=MatchResponse,
        response_description="One result for each title, in the titles' order",
        responses=documented(401, 403, 413, 415, 422, 500, 503),
        route_class_override=route,
    )
    app.router.add_api_route(
        "/v1/cluster",
        cluster,
        methods=["POST"],
        summary="Cluster items",
        response_model=ClusterResponse,
        response_description="Clusters in the order of their first items; every id stands in exactly one",
        responses=documented(401, 403, 413, 415, 422, 500, 503),
        route_class_override=route,
    )
    app.router.add_api_route(
        "/v1/model",
        model,
        summary="Describe the model and the catalogue",
        response_description="The model, its thresholds and the catalogue",
        responses=documented(401, 403, 500, 503),
        route_class_override=route,
    )
