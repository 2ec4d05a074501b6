"""Schemas of labels and of the review queue: what people said of pairs, and which pairs to ask them about.

It knows shapes and limits; it does not know what labels teach.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from api.items_schemas import StoredItem
from api.schemas import MAX_ID_LENGTH, MAX_ITEMS, Asked, Title, example, fault
from index.ledger import Label, Of, Verdict
from index.review import Suggestion, Why

MAX_REVIEWED = 100

_LABEL = {
    "left": "a1", "right": "b/7", "of": "items", "verdict": "same", "who": "anonymous",
    "left_title": "농심 신라면 120g 5개입", "right_title": "[무료배송] 농심 신라면 120g x 5봉",
    "at": "2026-03-01T09:30:00Z", "revision": 58,
}  # fmt: skip

OfVerdict = Annotated[Verdict | None, Query(description="Only labels that say this")]
Exact = Annotated[bool, Query(description="Give titles to the letter, for a program; not safe to open as a sheet")]
ReviewLimit = Annotated[int, Query(ge=1, le=MAX_REVIEWED, description="Of pairs, at most")]
Seed = Annotated[int, Query(ge=0, le=2**31 - 1, description="Of the draw: people who review side by side take two")]


class LabelledPair(Asked):
    """A pair of items or of titles; their order means nothing."""

    left: Annotated[Title, Field(description="An item's id, or a title")]
    right: Annotated[Title, Field(description="Another one's")]
    of: Annotated[Of, Field(description="What left and right are")] = "items"

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.left == self.right:
            raise fault("two of them, not one and itself", self.left, "right")
        for end in ("left", "right"):
            text = getattr(self, end)
            if self.of == "items" and len(text) > MAX_ID_LENGTH:
                raise fault(f"an id, of at most {MAX_ID_LENGTH} characters", text, end)
        return self


class PutLabel(LabelledPair):
    """What somebody says of a pair."""

    verdict: Annotated[Verdict, Field(description="Whether they are the same product; skip: it cannot be told")]


class PutLabelsRequest(Asked):
    """Labels to keep."""

    model_config = example(
        {
            "labels": [
                {"left": "a1", "right": "b/7", "verdict": "same"},
                {
                    "left": "농심 신라면 120g 5개입", "right": "농심 신라면 120g 20개입", "of": "titles",
                    "verdict": "different",
                },
            ]
        }
    )  # fmt: skip

    labels: Annotated[list[PutLabel], Field(min_length=1, max_length=MAX_ITEMS)]


class PutLabelsResponse(BaseModel):
    """The labels are kept."""

    model_config = example({"kept": 2, "revision": 58})

    kept: int = Field(description="Labels of the request")
    revision: int = Field(description="Of the catalogue: what this request made")


class DeleteLabelsRequest(Asked):
    """Pairs whose labels to take back."""

    model_config = example({"labels": [{"left": "a1", "right": "b/7"}]})

    labels: Annotated[list[LabelledPair], Field(min_length=1, max_length=MAX_ITEMS)]


class DeleteLabelsResponse(BaseModel):
    """How many labels are gone."""

    model_config = example({"deleted": 1, "revision": 59})

    deleted: int = Field(description="Pairs without a label do not count")
    revision: int = Field(description="Of the catalogue: what this request made")


class StoredLabel(BaseModel):
    """What somebody said of a pair."""

    model_config = example(_LABEL)

    left: str = Field(description="An item's id, or a title; the smaller one of the pair")
    right: str
    of: Of = Field(description="What left and right are")
    verdict: Verdict
    who: str = Field(description="Said so: the name of a key")
    left_title: str = Field(description="When the label was given")
    right_title: str = Field(description="When the label was given")
    at: datetime
    revision: int = Field(description="Of the catalogue: what the label made")

    @classmethod
    def of_label(cls, label: Label) -> StoredLabel:
        """As the catalogue has it."""
        return cls(**{**vars(label), "at": datetime.fromtimestamp(label.at, UTC)})


class LabelsPage(BaseModel):
    """Labels, in the order of their pairs."""

    model_config = example({"items": [_LABEL], "next_cursor": None})

    items: list[StoredLabel]
    next_cursor: str | None = Field(description="Asks for the labels after these; null after the last")


class ReviewPair(BaseModel):
    """A pair to ask somebody about."""

    left: StoredItem
    right: StoredItem
    probability: float = Field(ge=0, le=1, description="That they are one product, as the model has it")
    reason: str = Field(description="What speaks for and against it, in words")
    why: Why = Field(
        description="It is asked: near the boundary, a proposed merge, of a loose cluster, a number differs, or a "
        "plain draw of the accepted or refused pairs, which keeps figures honest"
    )

    @classmethod
    def of(cls, one: Suggestion) -> ReviewPair:
        """As it was suggested."""
        return cls(
            left=StoredItem.of(one.left), right=StoredItem.of(one.right), probability=one.probability,
            reason=one.reason, why=one.why,
        )  # fmt: skip


class Review(BaseModel):
    """Pairs whose labels would teach most, the first to ask first."""

    model_config = example(
        {
            "items": [
                {
                    "left": {
                        "id": "a1", "title": "농심 신라면 120g 5개입", "seller": None, "category": None, "extra": {},
                        "cluster": "c17", "created": 3, "updated": 12,
                    },
                    "right": {
                        "id": "s0311", "title": "농심 신라면 120g 20개입", "seller": None, "category": None,
                        "extra": {}, "cluster": "c18", "created": 3, "updated": 3,
                    },
                    "probability": 0.48, "reason": "수량 다름 5개입 ≠ 20개입 · 중량 같음 120g", "why": "uncertain",
                }
            ]
        }
    )  # fmt: skip

    items: list[ReviewPair] = Field(description="None are left when it is empty")
