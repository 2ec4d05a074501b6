"""The catalogue: how many items there are, one looked up or removed, and files of them taken in or worked on.

It knows pages and forms. It does not know how items are kept, nor what a job does with a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request, Response

from api.page_frame import add_pages, go, is_part, show
from api.paths import allow_text
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from index.formats import shown
from index.listings import Item

_PAGE = 50


@dataclass(frozen=True)
class Listed:
    """A page of items.

    Attributes:
        items: in the order of their ids.
        cursor: for those after them.
        total: items of the catalogue.
        revision: of the catalogue.
        found: items that can be found by now; fewer than ``total`` while titles are being encoded.
    """

    items: list[Item]
    cursor: str | None
    total: int
    revision: int
    found: int


async def items(request: Request, service: Loaded) -> Response:
    """The items in the order of their ids, or those that a search finds."""
    query = request.query_params
    text, after = query.get("q", "").strip(), query.get("after") or None
    listed = await service.desk.run(lambda: _listed(service, text, after))
    return show(request, "_items.html" if is_part(request) else "items.html", listed=listed, q=text, after=after)


def _listed(service: Service, text: str, after: str | None) -> Listed:
    catalog = service.catalog
    with catalog.snapshot() as revision:
        if text:
            some, cursor = catalog.finder.items(text, after, _PAGE)
        else:
            page = catalog.page(after, _PAGE)
            some, cursor = page.items, page.next_cursor
        return Listed(some, cursor, catalog.count(), revision, len(service.living.snapshot))


async def item(id: str, request: Request, service: Loaded) -> Response:
    """One item."""
    found = await service.desk.run(lambda: service.catalog.get(id))
    if found is None:
        raise HTTPException(404, f"no item {shown(id)}")
    return show(request, "item.html", item=found)


async def remove(id: str, request: Request, service: Loaded) -> Response:
    """Remove an item."""

    def work() -> None:
        if service.catalog.get(id) is None:
            raise HTTPException(404, f"no item {shown(id)}")
        service.catalog.delete([id])
        service.living.follow()

    await service.desk.run(work)
    return go(request, f"/items?gone={quote(id, safe='')}")


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    allow_text()
    add = partial(add_pages, app, settings)
    # An id may hold a slash, so that what is done to an item stands before it.
    add("read", {"/items": items, "/items/{id:text}": item})
    add("write", {"/remove/items/{id:text}": remove}, method="POST")
