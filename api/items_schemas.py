"""Schemas of items: what a catalogue is told of a listing, and what it tells.

It knows shapes and limits; it does not know how items are kept or found.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BaseModel, Field

from api.schemas import MAX_ID_LENGTH, MAX_ITEMS, Asked, ItemId, Title, check_distinct, example, fault, fit_text
from index.formats import MAX_JSON_DEPTH, depth_of
from index.listings import Item

MAX_NAME_LENGTH = 256  # of a seller, a category, a column
MAX_EXTRA_BYTES = 20_000
WAIT = 20.0  # seconds that a request may wait for what it wrote to be found

_STORED = {
    "id": "a1", "title": "농심 신라면 120g 5개입", "seller": "신선마트", "category": "food", "extra": {"price": 4280},
    "cluster": "c17", "created": 3, "updated": 12,
}  # fmt: skip


def _fit_extra(extra: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(extra, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
        deep = text.count("[") + text.count("{") > MAX_JSON_DEPTH and depth_of(extra) > MAX_JSON_DEPTH
    except UnicodeEncodeError:
        raise fault("text that UTF-8 can hold", "half of a surrogate pair") from None
    except ValueError:
        raise fault("finite numbers", "one that is not") from None
    except RecursionError:
        size, deep = 0, True
    if deep:
        raise fault(f"values nested at most {MAX_JSON_DEPTH} deep", "deeper ones")
    if size > MAX_EXTRA_BYTES:
        raise fault(f"at most {MAX_EXTRA_BYTES} bytes of JSON, not {size}", text[:100])
    return extra


def distinct(ids: list[str]) -> list[str]:
    """The ids, no two of which may be one."""
    check_distinct(ids)
    return ids


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(fit_text)]
DistinctIds = Annotated[
    list[ItemId],
    Field(min_length=1, max_length=MAX_ITEMS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(distinct),
]
IdInPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description="Percent-encoded; it may hold slashes and any text. Clients may drop a bare `.` or `..`",
    ),
]
Filter = Annotated[str | None, Query(max_length=MAX_NAME_LENGTH, description="Only items of exactly this one")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255,
        description="Chosen by the caller. For a day the same key and items get the same answer and do nothing more",
    ),
]  # fmt: skip
Wait = Annotated[
    bool, Query(description=f"Answer only when the items can be found, or after {WAIT:g} seconds: see `searchable`")
]


class PutItem(Asked):
    """An item as it shall stand in the catalogue; what is left out, it does not have."""

    id: ItemId
    title: Title
    seller: Name | None = None
    category: Name | None = None
    extra: Annotated[
        dict[Name, Any],
        Field(
            default_factory=dict,
            max_length=100,
            description=f"Any further columns, at most {MAX_EXTRA_BYTES} bytes as JSON",
        ),
        AfterValidator(_fit_extra),
    ]

    def item(self) -> Item:
        """The item as the catalogue takes it."""
        return Item(self.id, self.title, self.seller, self.category, self.extra)


def _apart(items: list[PutItem]) -> list[PutItem]:
    check_distinct([item.id for item in items], "id")
    return items


class PutItemsRequest(Asked):
    """Items to add, or to replace whole."""

    model_config = example(
        {
            "items": [
                {
                    "id": "a1", "title": "농심 신라면 120g 5개입", "seller": "신선마트", "category": "food",
                    "extra": {"price": 4280},
                },
                {"id": "b/7", "title": "Nintendo Switch OLED White"},
            ]
        }
    )  # fmt: skip

    items: Annotated[list[PutItem], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_apart)]


class PutItemsResponse(BaseModel):
    """How many items are new, changed, or stood there already."""

    model_config = example({"created": 1, "updated": 1, "unchanged": 0, "revision": 18, "searchable": None})

    created: int
    updated: int
    unchanged: int
    revision: int = Field(description="Of the catalogue: what this request made")
    searchable: bool | None = Field(
        description="With `wait`: whether all the items can be found now; false when that takes longer. Else null"
    )


class DeleteItemsRequest(Asked):
    """Items to remove."""

    model_config = example({"ids": ["a1", "b/7"]})

    ids: DistinctIds


class DeleteItemsResponse(BaseModel):
    """How many items are gone; they are matched no more."""

    model_config = example({"deleted": 2, "revision": 19})

    deleted: int = Field(description="Those that there were none of do not count")
    revision: int = Field(description="Of the catalogue: what this request made")


class StoredItem(BaseModel):
    """An item of the catalogue."""

    model_config = example(_STORED)

    id: str
    title: str = Field(description="As it was sent")
    seller: str | None
    category: str | None
    extra: dict[str, Any] = Field(description="Any further columns")
    cluster: str | None = Field(description="Its cluster; null until it has found one")
    created: int = Field(description="The revision in which it came")
    updated: int = Field(description="The revision in which it last changed")

    @classmethod
    def of(cls, item: Item) -> StoredItem:
        """As the catalogue has it."""
        return cls(
            id=item.id, title=item.title, seller=item.seller, category=item.category, extra=dict(item.extra),
            cluster=item.cluster, created=item.created, updated=item.updated,
        )  # fmt: skip


class ItemsPage(BaseModel):
    """Items in the order of their ids."""

    model_config = example({"items": [_STORED], "next_cursor": "WyJhMSJd", "revision": 18})

    items: list[StoredItem]
    next_cursor: str | None = Field(description="Asks for the items after these; null after the last")
    revision: int = Field(description="Of the catalogue: the page is of this one")
