"""Clusters: what stands together in the catalogue, merged and split by hand, and the trail of how it came to.

Thin: routes pass the work on to the service's threads. What a person does here is entered in the trail with their name,
and dongil will not undo it. It does not know what makes two items one product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from fastapi import FastAPI, HTTPException, Response

from api.clusters_schemas import (
    SHOWN,
    TOLD,
    ClusterDetail,
    ClusterOrder,
    ClustersPage,
    ClusterSummary,
    EventsPage,
    IdOfEvent,
    MergeRequest,
    Moved,
    MovedItem,
    OfKind,
    SplitRequest,
    Touched,
    TrailEvent,
    TrailEventWithMoves,
    Words,
)
from api.guard import guarded_route
from api.items import items_page, unknown_item
from api.items_schemas import IdInPath
from api.paths import allow_text
from api.problems import documented
from api.schemas import Cursor, PageLimit
from api.service import Service
from api.settings import Settings
from api.state import Loaded, Who
from embedder.errors import InputError
from index.catalog import Catalog
from index.formats import shown
from index.store import ConflictError, from_cursor, to_cursor
from index.trail import Cluster, Event, EventKind, Order

_EVENTS = 20  # told with a cluster


async def list_clusters(
    service: Loaded, order: ClusterOrder = "id", limit: PageLimit = 100, cursor: Cursor = None, q: Words = None
) -> Response:
    """Clusters by id, the largest or the loosest first, or those that a few words or a whole title lead to."""
    if q is not None:
        return await service.line.answer(lambda: found_clusters(service, q, limit))
    return await service.desk.answer(lambda: clusters_page(service, order, cursor, limit))


async def get_cluster(id: IdInPath, service: Loaded, limit: PageLimit = 100, cursor: Cursor = None) -> Response:
    """A cluster: a page of its items, how well they hold together, and what happened to it last."""
    return await service.desk.answer(lambda: cluster_detail(service, id, cursor, limit))


async def merge_clusters(asked: MergeRequest, service: Loaded, who: Who) -> TrailEventWithMoves:
    """Move everything that stands in some clusters into another one. It can be undone."""
    return await service.desk.run(lambda: merge(service, asked.into, asked.others, who))


async def split_cluster(asked: SplitRequest, service: Loaded, who: Who) -> TrailEventWithMoves:
    """Move items of one cluster into a new one, whose id is `into`; the rest keeps the id. It can be undone."""
    return await service.desk.run(lambda: split(service, asked.items, who))


async def list_events(
    service: Loaded,
    limit: PageLimit = 100,
    cursor: Cursor = None,
    kind: OfKind = None,
    item: Moved = None,
    cluster: Touched = None,
) -> Response:
    """The trail: what was done to clusters, by whom and when, newest first."""
    return await service.desk.answer(lambda: events_page(service, cursor, limit, kind, item, cluster))


async def get_event(id: IdOfEvent, service: Loaded) -> Response:
    """An entry of the trail, with what it moved."""
    return await service.desk.answer(lambda: _told(service.catalog, _event(service.catalog, id)))


async def undo_event(id: IdOfEvent, service: Loaded, who: Who) -> TrailEventWithMoves:
    """Put back what an event moved, but for items that are gone. To undo an undo is to do it again.

    Items that were moved again since are in the way: undo that first.
    """
    return await service.desk.run(lambda: undo(service, id, who))


async def accept_proposal(id: IdOfEvent, service: Loaded, who: Who) -> TrailEventWithMoves:
    """Merge the two clusters of a `propose` event, into the larger one. It can be undone."""
    return await service.desk.run(lambda: accept(service, id, who))


def clusters_page(service: Service, order: Order = "id", cursor: str | None = None, limit: int = 100) -> ClustersPage:
    """A page of clusters.

    Raises:
        InputError: a cursor that no page in this order gave.
    """
    with service.catalog.snapshot() as revision:
        clusters, more = service.catalog.clusters.page(order, cursor, limit)
        return ClustersPage(items=_summaries(service.catalog, clusters), next_cursor=more, revision=revision)


def found_clusters(service: Service, q: str, limit: int = 100) -> ClustersPage:
    """The clusters that a query leads to: first those it matches, then those that hold its words, then near ones."""
    (answer,) = service.living.answer([q], k=limit, near_misses=limit).answers
    catalog = service.catalog
    with catalog.snapshot() as revision:
        holding, _ = catalog.finder.items(q, limit=limit)
        items = [one.id for some in (answer.matches, holding, answer.near_misses) for one in some]
        ids = list(dict.fromkeys(_clusters_of(catalog, items)))[:limit]
        clusters = [cluster for id in ids if (cluster := catalog.clusters.get(id)) is not None]
        return ClustersPage(items=_summaries(catalog, clusters), next_cursor=None, revision=revision)


def cluster_detail(service: Service, id: str, cursor: str | None = None, limit: int = 100) -> ClusterDetail:
    """A cluster and a page of its items.

    Raises:
        HTTPException: 404, no item stands in it.
        InputError: a cursor that no page gave.
    """
    with service.catalog.snapshot():
        cluster = _cluster(service.catalog, id)
        page = items_page(service, cursor, limit, cluster=id)
        events = [TrailEvent.of(event) for event in service.catalog.clusters.events(limit=_EVENTS, cluster=id)]
    return ClusterDetail(**vars(cluster), events=events, **dict(page))


def merge(service: Service, into: str, others: Sequence[str], who: str) -> TrailEventWithMoves:
    """Merge clusters by hand.

    Raises:
        HTTPException: 404, one of them is not there.
        InputError: one with itself.
    """
    told = _merged(service.catalog, into, others, who)
    service.living.follow()
    return told


def split(service: Service, items: Sequence[str], who: str) -> TrailEventWithMoves:
    """Split a cluster by hand.

    Raises:
        HTTPException: 404, there is no such item.
        InputError: items of several clusters or none, or all items of their cluster.
    """
    with service.catalog.transaction():
        for id in items:
            if service.catalog.get(id) is None:
                raise unknown_item(id)
        told = _told(service.catalog, service.catalog.clusters.split(items, who, by_hand=True))
    service.living.follow()
    return told


def undo(service: Service, id: int, who: str) -> TrailEventWithMoves:
    """Undo an event by hand.

    Raises:
        HTTPException: 404, there is no such event.
        InputError: it moved nothing.
        ConflictError: an item was moved again since.
    """
    with service.catalog.transaction():
        _event(service.catalog, id)
        told = _told(service.catalog, service.catalog.clusters.undo(id, who))
    service.living.follow()
    return told


def accept(service: Service, id: int, who: str) -> TrailEventWithMoves:
    """Merge by hand what was proposed.

    Raises:
        HTTPException: 404, there is no such event.
        InputError: it is no proposal.
        ConflictError: one of the clusters is gone.
    """
    catalog = service.catalog
    with catalog.transaction():
        event = _event(catalog, id)
        if event.kind != "propose":
            raise InputError(f"event {id} is of kind {event.kind}; expected a proposal")
        names = [str(name) for name in event.detail["clusters"]]
        clusters = {name: cluster for name in names if (cluster := catalog.clusters.get(name)) is not None}
        if gone := [name for name in names if name not in clusters]:
            raise ConflictError(
                f"nothing stands in {gone[0]!r} any more; expected a proposal of clusters that are there"
            )
        into = max(names, key=lambda name: clusters[name].size)  # of equal ones the first
        told = _merged(catalog, into, [name for name in names if name != into], who)
    service.living.follow()
    return told


def events_page(
    service: Service,
    cursor: str | None = None,
    limit: int = 100,
    kind: EventKind | None = None,
    item: str | None = None,
    cluster: str | None = None,
) -> EventsPage:
    """A page of the trail, newest first.

    Raises:
        InputError: a cursor that no page gave.
    """
    before = from_cursor(cursor, int)[0] if cursor is not None else None
    events = service.catalog.clusters.events(before, limit + 1, kind=kind, item=item, cluster=cluster)
    more = to_cursor(events[limit - 1].id) if len(events) > limit else None
    return EventsPage(items=[TrailEvent.of(event) for event in events[:limit]], next_cursor=more)


def _merged(catalog: Catalog, into: str, others: Sequence[str], who: str) -> TrailEventWithMoves:
    with catalog.transaction():
        for id in (into, *others):
            _cluster(catalog, id)
        return _told(catalog, catalog.clusters.merge(into, others, who, by_hand=True))


def _summaries(catalog: Catalog, clusters: Sequence[Cluster]) -> list[ClusterSummary]:
    pages = [catalog.page(None, SHOWN, cluster=cluster.id) for cluster in clusters]
    return [
        ClusterSummary.of(cluster, [item.title for item in page.items])
        for cluster, page in zip(clusters, pages, strict=True)
    ]


def _clusters_of(catalog: Catalog, items: Sequence[str]) -> Iterator[str]:
    for id in items:
        item = catalog.get(id)
        if item is not None and item.cluster is not None:
            yield item.cluster


def _cluster(catalog: Catalog, id: str) -> Cluster:
    cluster = catalog.clusters.get(id)
    if cluster is None:
        last = catalog.clusters.events(limit=1, cluster=id)
        raise HTTPException(404, f"no cluster {shown(id)}" + (f"; event {last[0].id} was its last" if last else ""))
    return cluster


def _event(catalog: Catalog, id: int) -> Event:
    try:
        return catalog.clusters.event(id)
    except InputError as error:
        raise HTTPException(404, error.message) from None


def _told(catalog: Catalog, event: Event) -> TrailEventWithMoves:
    moves = catalog.clusters.moves(event.id)
    return TrailEventWithMoves(
        **dict(TrailEvent.of(event)),
        into=sorted({move.after for move in moves if move.after is not None}),
        moves=[MovedItem(**vars(move)) for move in moves[:TOLD]],
    )


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    allow_text()
    read = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "read"))
    write = partial(app.router.add_api_route, methods=["POST"], route_class_override=guarded_route(settings, "write"))
    read(
        "/v1/clusters",
        list_clusters,
        summary="List or find clusters",
        response_model=ClustersPage,
        response_description="A page of clusters",
        responses=documented(401, 403, 422, 500, 503),
    )
    write(
        "/v1/clusters/merge",
        merge_clusters,
        summary="Merge clusters by hand",
        response_description="The entry of the trail",
        responses=documented(401, 403, 404, 413, 415, 422, 500, 503, 507),
    )
    write(
        "/v1/clusters/split",
        split_cluster,
        summary="Split a cluster by hand",
        response_description="The entry of the trail; `into` names the new cluster",
        responses=documented(401, 403, 404, 413, 415, 422, 500, 503, 507),
    )
    read(
        "/v1/clusters/{id:text}",
        get_cluster,
        summary="Look a cluster up",
        response_model=ClusterDetail,
        response_description="The cluster",
        responses=documented(401, 403, 404, 422, 500, 503),
    )
    read(
        "/v1/events",
        list_events,
        summary="Read the trail of clusters",
        response_model=EventsPage,
        response_description="A page of the trail",
        responses=documented(401, 403, 422, 500, 503),
    )
    read(
        "/v1/events/{id}",
        get_event,
        summary="Look an entry of the trail up",
        response_model=TrailEventWithMoves,
        response_description="The entry, with what it moved",
        responses=documented(401, 403, 404, 422, 500, 503),
    )
    write(
        "/v1/events/{id}/undo",
        undo_event,
        summary="Undo an entry of the trail",
        response_description="The entry of the trail that undoes it",
        responses=documented(401, 403, 404, 409, 422, 500, 503, 507),
    )
    write(
        "/v1/events/{id}/accept",
        accept_proposal,
        summary="Accept a proposed merge",
        response_description="The entry of the trail that merges",
        responses=documented(401, 403, 404, 409, 422, 500, 503, 507),
    )
