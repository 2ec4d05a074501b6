"""Schemas of clusters and of the trail: what stands together, and who moved what where when.

It knows shapes and limits; it does not know what makes two items one product.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, Field

from api.items_schemas import DistinctIds, StoredItem, distinct
from api.schemas import MAX_ID_LENGTH, Asked, ItemId, example, fit_text
from index.trail import Cluster, Event, EventKind, Order

MAX_MERGED = 1_000
MAX_QUERY = 1_000
TOLD = 1_000  # moves that are told of one event
SHOWN = 3  # titles that stand for a cluster

_EVENT = {
    "id": 41, "kind": "merge", "who": "anonymous", "by_hand": True, "at": "2026-03-01T09:30:00Z", "revision": 57,
    "detail": {}, "moved": 1,
}  # fmt: skip
_SUMMARY = {"id": "c17", "size": 2, "cohesion": 0.93, "titles": ["농심 신라면 120g 5개입", "신라면 120g x 5봉"]}

IdOfEvent = Annotated[int, Path(ge=1, le=2**63 - 1, description="Of an entry of the trail")]
ClusterOrder = Annotated[
    Order,
    Query(description="By id each cluster is seen once, whatever is written. Loosest: the lowest cohesion comes first"),
]
Words = Annotated[
    str | None,
    Query(
        min_length=1, max_length=MAX_QUERY,
        description="Only clusters that match this title or hold all its words, best first, on one page; "
        "`order` and `cursor` play no part then",
    ),
    AfterValidator(lambda text: text if text is None else fit_text(text)),
]  # fmt: skip
OfKind = Annotated[EventKind | None, Query(description="Only entries of this kind")]
Moved = Annotated[str | None, Query(max_length=MAX_ID_LENGTH, description="Only entries that moved this item")]
Touched = Annotated[
    str | None, Query(max_length=MAX_ID_LENGTH, description="Only entries that moved items out of or into this cluster")
]


class MergeRequest(Asked):
    """Clusters to make one of."""

    model_config = example({"into": "c17", "others": ["c23"]})

    into: Annotated[ItemId, Field(description="The cluster that keeps its id")]
    others: Annotated[
        list[ItemId],
        Field(
            min_length=1, max_length=MAX_MERGED, description="Clusters whose items go there",
            json_schema_extra={"uniqueItems": True},
        ),
        AfterValidator(distinct),
    ]  # fmt: skip


class SplitRequest(Asked):
    """Items of one cluster to put into a new one."""

    model_config = example({"items": ["a1", "b/7"]})

    items: Annotated[DistinctIds, Field(description="Ids of items of one cluster; some others of it must stay")]


class TrailEvent(BaseModel):
    """An entry of the trail: something was done to clusters."""

    model_config = example(_EVENT)

    id: int = Field(description="Rising")
    kind: EventKind = Field(description="What was done; `propose` only asks for a merge")
    who: str = Field(description="Did it: the name of a key, or dongil itself")
    by_hand: bool = Field(description="Whether a person decided it, so that dongil will not undo it")
    at: datetime
    revision: int = Field(description="Of the catalogue: what it made")
    detail: dict[str, Any] = Field(description="Anything more, such as the two `clusters` that a proposal is about")
    moved: int = Field(description="How many items it moved")

    @classmethod
    def of(cls, event: Event, **more: Any) -> TrailEvent:
        """As the trail has it."""
        return cls(
            id=event.id, kind=event.kind, who=event.who, by_hand=event.by_hand, detail=dict(event.detail),
            at=datetime.fromtimestamp(event.at, UTC), revision=event.revision, moved=event.moved, **more,
        )  # fmt: skip


class MovedItem(BaseModel):
    """An item that went from one cluster to another; null is no cluster."""

    item: str
    before: str | None
    after: str | None


class TrailEventWithMoves(TrailEvent):
    """An entry of the trail, and what it moved."""

    model_config = example(
        {**_EVENT, "into": ["c17"], "moves": [{"item": "b/7", "before": "c23", "after": "c17"}]},
    )

    into: list[str] = Field(description="Ids of the clusters that items went to; after a split the new one")
    moves: list[MovedItem] = Field(description=f"The first {TOLD}, by item")


class EventsPage(BaseModel):
    """The trail, newest first."""

    model_config = example({"items": [_EVENT], "next_cursor": "WzQxXQ=="})

    items: list[TrailEvent]
    next_cursor: str | None = Field(description="Asks for older ones; null after the oldest")


class ClusterSummary(BaseModel):
    """A cluster, and some titles of it."""

    model_config = example(_SUMMARY)

    id: str
    size: int = Field(description="How many items stand in it")
    cohesion: float | None = Field(
        description="How probable its pairs are on average, between 0 and 1; null until it is rated anew"
    )
    titles: list[str] = Field(description=f"Of its first items, at most {SHOWN}")

    @classmethod
    def of(cls, cluster: Cluster, titles: list[str]) -> ClusterSummary:
        """As the catalogue has it."""
        return cls(id=cluster.id, size=cluster.size, cohesion=cluster.cohesion, titles=titles)


class ClustersPage(BaseModel):
    """Clusters in the order that was asked for."""

    model_config = example({"items": [_SUMMARY], "next_cursor": "WyJjMTciXQ==", "revision": 57})

    items: list[ClusterSummary]
    next_cursor: str | None = Field(description="Asks for the clusters after these; null after the last")
    revision: int = Field(description="Of the catalogue")


class ClusterDetail(BaseModel):
    """A cluster: its items, and what happened to it."""

    model_config = example(
        {
            "id": "c17", "size": 1, "cohesion": 1.0, "events": [_EVENT], "next_cursor": None, "revision": 57,
            "items": [
                {
                    "id": "a1", "title": "농심 신라면 120g 5개입", "seller": None, "category": "food", "extra": {},
                    "cluster": "c17", "created": 3, "updated": 12,
                }
            ],
        }
    )  # fmt: skip

    id: str
    size: int = Field(description="How many items stand in it")
    cohesion: float | None = Field(
        description="How probable its pairs are on average, between 0 and 1; null until it is rated anew"
    )
    items: list[StoredItem] = Field(description="A page of its items, in the order of their ids")
    next_cursor: str | None = Field(description="Asks for the items after these; null after the last")
    events: list[TrailEvent] = Field(description="The last entries of the trail that moved items out of or into it")
    revision: int = Field(description="Of the catalogue")
