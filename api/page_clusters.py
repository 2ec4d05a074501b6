"""Clusters: browsed, searched, looked into, split, merged, and put back.

It knows pages and forms. What holds a cluster together is weighed in ``api.cluster_look``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request, Response

from api import clusters as hands
from api.cluster_look import look_at, waiting_proposals
from api.page_frame import add_pages, first, form_of, go, is_part, show, visitor
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from embedder.errors import InputError
from index.ledger import Label
from index.listings import Item
from index.trail import Cluster, Event, Order

_PAGE = 25  # clusters at once
_SHOWN = 3  # titles of each
_FOUND = 200  # items that a search by words looks at
_TRAIL = 30


@dataclass(frozen=True)
class Row:
    """A cluster in a list: some of its items, and the probability by which it was found, if it was."""

    cluster: Cluster
    items: list[Item]
    probability: float | None = None


@dataclass(frozen=True)
class Listed:
    """A page of clusters.

    Attributes:
        rows: in their order.
        cursor: for those after them.
        total: items of the catalogue.
        waiting: whether some items stand in no cluster yet.
    """

    rows: list[Row]
    cursor: str | None
    total: int
    waiting: int


async def clusters(request: Request, service: Loaded) -> Response:
    """Clusters in an order, or those that a search finds."""
    query = request.query_params
    text, by = query.get("q", "").replace("\0", " ").strip(), "title" if query.get("by") == "title" else "words"
    order: Order = "largest" if query.get("order") == "largest" else "loosest"
    after = query.get("after") or None
    if text and by == "title":
        listed = await service.line.run(lambda: _found_by_title(service, text))
    else:
        listed = await service.desk.run(lambda: _listed(service, order, after, text))
    template = "_clusters.html" if is_part(request) else "clusters.html"
    return show(request, template, listed=listed, q=text, by=by, order=order, after=after)


def _listed(service: Service, order: Order, after: str | None, text: str) -> Listed:
    catalog = service.catalog
    with catalog.snapshot():
        if text:
            rows, cursor = _found_by_words(service, text, order), None
        else:
            page, cursor = catalog.clusters.page(order, after, _PAGE)
            rows = [Row(one, catalog.page(None, _SHOWN, cluster=one.id).items) for one in page]
        return Listed(rows, cursor, catalog.count(), len(catalog.clusters.unassigned(1_000)))


def _found_by_words(service: Service, text: str, order: Order) -> list[Row]:
    """The clusters of items whose titles hold the words, with those items."""
    found: dict[str, list[Item]] = {}
    for item in service.catalog.finder.items(text, limit=_FOUND)[0]:
        found.setdefault(item.cluster or "", []).append(item)
    there = [(cluster, items) for id, items in found.items() if (cluster := service.catalog.clusters.get(id))]
    rows = [Row(cluster, items[:_SHOWN]) for cluster, items in there]
    if order == "largest":
        return sorted(rows, key=lambda row: (-row.cluster.size, row.cluster.id))
    cohesion = {row.cluster.id: 2.0 if row.cluster.cohesion is None else row.cluster.cohesion for row in rows}
    return sorted(rows, key=lambda row: (cohesion[row.cluster.id], row.cluster.id))


def _found_by_title(service: Service, title: str) -> Listed:
    """The clusters of what the catalogue finds for a title, most probable first, accepted or not."""
    (answer,) = service.living.answer([title[:500]], k=30, threshold=0.0).answers
    rows: dict[str, Row] = {}
    catalog = service.catalog
    for match in answer.matches:
        item = catalog.get(match.id)
        if item and item.cluster and item.cluster not in rows and (cluster := catalog.clusters.get(item.cluster)):
            others = [one for one in catalog.page(None, _SHOWN, cluster=cluster.id).items if one.id != item.id]
            rows[cluster.id] = Row(cluster, [item, *others][:_SHOWN], match.probability)
    return Listed(list(rows.values()), None, catalog.count(), 0)


async def proposals(request: Request, service: Loaded) -> Response:
    """The merges that were proposed and wait for somebody to decide."""
    return show(request, "proposals.html", proposals=await service.line.run(lambda: waiting_proposals(service)))


async def decide(event: int, request: Request, service: Loaded) -> Response:
    """Merge what was proposed; or say that it is two products, by a label of the pair that stands for it."""
    form, who = await form_of(request), visitor(request).who

    def work() -> None:
        if first(form, "verdict") == "same":
            hands.accept(service, event, who)
        else:
            service.catalog.labels.put([Label(first(form, "left"), first(form, "right"), "different", who)])
            service.living.follow()

    await service.desk.run(work)
    return go(request, "/proposals")


async def cluster(id: str, request: Request, service: Loaded) -> Response:
    """One cluster, and why it holds together."""
    look, trail = await service.line.run(lambda: (look_at(service, id), _trail(service, id)))
    if look is None:
        return await _gone(request, service, id, trail)
    return show(request, "cluster.html", look=look, trail=trail)


async def _gone(request: Request, service: Service, id: str, trail: list[Event]) -> Response:
    if not trail:
        raise HTTPException(404, f"no cluster {id!r}")
    moves = await service.desk.run(lambda: service.catalog.clusters.moves(trail[0].id))
    went = sorted({move.after for move in moves if move.before == id and move.after})
    return show(request, "cluster_gone.html", status=404, id=id, trail=trail, went=went)


def _trail(service: Service, id: str) -> list[Event]:
    return service.catalog.clusters.events(limit=_TRAIL, cluster=id)


async def split(id: str, request: Request, service: Loaded) -> Response:
    """Move the ticked items into a cluster of their own."""
    items, who = (await form_of(request)).get("item", []), visitor(request).who

    def work() -> None:
        there = [item for ticked in items if (item := service.catalog.get(ticked)) and item.cluster == id]
        if not there or len(there) != len(items):
            raise InputError("the ticked items do not all stand in this cluster; expected some of it, not all")
        hands.split(service, items, who)

    await service.desk.run(work)
    return go(request, _path(id))


async def merge(id: str, request: Request, service: Loaded) -> Response:
    """Take everything of another cluster into this one."""
    other, who = first(await form_of(request), "other").strip(), visitor(request).who
    await service.desk.run(lambda: hands.merge(service, id, [other], who))
    return go(request, _path(id))


async def undo(event: int, request: Request, service: Loaded) -> Response:
    """Put back what an event of the trail moved."""
    id, who = first(await form_of(request), "cluster"), visitor(request).who
    await service.desk.run(lambda: hands.undo(service, event, who))
    return go(request, _path(id) if id else "/clusters")


def _path(id: str) -> str:
    return f"/clusters/{quote(id, safe='')}"


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    add = partial(add_pages, app, settings)
    add("read", {"/clusters": clusters, "/clusters/{id}": cluster, "/proposals": proposals})
    add(
        "write",
        {
            "/clusters/{id}/split": split,
            "/clusters/{id}/merge": merge,
            "/trail/{event}/undo": undo,
            "/trail/{event}/decide": decide,
        },
        method="POST",
    )
