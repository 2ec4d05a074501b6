"""Items: the listings of the catalogue put, looked up and removed.

Thin: routes pass the work on to the service's threads. It does not know how items are kept, nor how they are found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

from fastapi import FastAPI, HTTPException, Response

from api.guard import guarded_route
from api.items_schemas import (
    WAIT,
    DeleteItemsRequest,
    DeleteItemsResponse,
    Filter,
    IdempotencyKey,
    IdInPath,
    ItemsPage,
    PutItemsRequest,
    PutItemsResponse,
    StoredItem,
    Wait,
)
from api.paths import allow_text
from api.problems import documented
from api.schemas import Cursor, PageLimit
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from index.catalog import PutResult
from index.formats import shown

_LOOK = 0.02  # seconds between two looks whether items are found


async def put_items(
    asked: PutItemsRequest, service: Loaded, key: IdempotencyKey = None, wait: Wait = False
) -> PutItemsResponse:
    """Add items, or replace those of the same ids whole, all of them or none.

    What is acknowledged is kept. A known title is found at once, a new one as soon as it is encoded, which `wait`
    waits for. An item keeps its cluster until its new title has found another one.
    """
    done = await service.desk.run(lambda: _put(service, asked, key))
    titles = {item.id: item.title for item in asked.items}
    searchable = await _found(service, titles, time.monotonic() + WAIT) if wait else None
    return PutItemsResponse(
        created=done.created,
        updated=done.updated,
        unchanged=done.unchanged,
        revision=done.revision,
        searchable=searchable,
    )


async def list_items(
    service: Loaded,
    limit: PageLimit = 100,
    cursor: Cursor = None,
    seller: Filter = None,
    category: Filter = None,
    cluster: Filter = None,
) -> Response:
    """The items in the order of their ids. Those that stay are seen once, whatever is written between two pages."""
    filters = {"seller": seller, "category": category, "cluster": cluster}
    return await service.desk.answer(lambda: items_page(service, cursor, limit, **filters))


async def get_item(id: IdInPath, service: Loaded) -> Response:
    """The item of an id, with the cluster that it stands in."""
    return await service.desk.answer(lambda: _get(service, id))


async def delete_item(id: IdInPath, service: Loaded) -> DeleteItemsResponse:
    """Remove an item; it is matched no more when this is answered."""
    return await service.desk.run(lambda: _delete(service, [id], must=True))


async def delete_items(asked: DeleteItemsRequest, service: Loaded) -> DeleteItemsResponse:
    """Remove items, all at once; ids that there are none of are passed over. They are matched no more from now on."""
    return await service.desk.run(lambda: _delete(service, asked.ids))


def items_page(service: Service, cursor: str | None = None, limit: int = 100, **filters: str | None) -> ItemsPage:
    """A page of items; ``filters`` are those of ``Catalog.page``.

    Raises:
        InputError: a cursor that no page gave.
    """
    page = service.catalog.page(cursor, limit, **filters)
    items = [StoredItem.of(item) for item in page.items]
    return ItemsPage(items=items, next_cursor=page.next_cursor, revision=page.revision)


def _put(service: Service, asked: PutItemsRequest, key: str | None) -> PutResult:
    done = service.catalog.put([item.item() for item in asked.items], idempotency_key=key)
    service.living.follow()
    return done


async def _found(service: Service, titles: Mapping[str, str], until: float) -> bool:
    """Whether all items can be found by their titles, before a moment of the monotonic clock."""
    left = list(titles.items())
    while True:
        snapshot = service.living.snapshot
        while left and snapshot.title(left[-1][0]) == left[-1][1]:
            left.pop()
        if not left or time.monotonic() >= until:
            return not left
        await asyncio.sleep(_LOOK)


def _get(service: Service, id: str) -> StoredItem:
    item = service.catalog.get(id)
    if item is None:
        raise unknown_item(id)
    return StoredItem.of(item)


def _delete(service: Service, ids: Sequence[str], *, must: bool = False) -> DeleteItemsResponse:
    catalog = service.catalog
    with catalog.transaction():
        deleted = sum(catalog.get(id) is not None for id in ids)
        if must and not deleted:
            raise unknown_item(ids[0])
        revision = catalog.delete(ids)
    service.living.follow()
    return DeleteItemsResponse(deleted=deleted, revision=revision)


def unknown_item(id: str) -> HTTPException:
    """What says that there is no item of an id."""
    return HTTPException(404, f"no item {shown(id)}")


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    allow_text()
    read = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "read"))
    write = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "write"))
    write(
        "/v1/items",
        put_items,
        methods=["PUT"],
        summary="Put items into the catalogue",
        response_description="How many are new, changed, or stood there already",
        responses=documented(401, 403, 409, 413, 415, 422, 500, 503, 507),
    )
    read(
        "/v1/items",
        list_items,
        summary="List items",
        response_model=ItemsPage,
        response_description="A page of items",
        responses=documented(401, 403, 422, 500, 503),
    )
    write(
        "/v1/items/delete",
        delete_items,
        methods=["POST"],
        summary="Remove items",
        response_description="How many there were",
        responses=documented(401, 403, 413, 415, 422, 500, 503, 507),
    )
    read(
        "/v1/items/{id:text}",
        get_item,
        summary="Look an item up",
        response_model=StoredItem,
        response_description="The item",
        responses=documented(401, 403, 404, 422, 500, 503),
    )
    write(
        "/v1/items/{id:text}",
        delete_item,
        methods=["DELETE"],
        summary="Remove an item",
        response_description="It is gone",
        responses=documented(401, 403, 404, 422, 500, 503, 507),
    )
