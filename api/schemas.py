"""Schemas: what requests may say and what answers look like, with the limits of every field.

It knows shapes and limits; it does not know what a title means, nor how an answer is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from index.items import MAX_TITLE_BYTES
from index.vectors import Way

MAX_TITLES = 1_000
MAX_ITEMS = 10_000
MAX_K = 1_000
MAX_MATCHES = 100_000  # titles times k: an answer must fit into memory, and into somebody's patience
MAX_TEXT = 1_000_000  # bytes of all titles of a request together: a long title takes long to read
MAX_ID_LENGTH = 256
MAX_PAGE = 1_000


def fault(expected: str, value: str, *at: str | int) -> PydanticCustomError:
    """What is wrong with a value; ``at`` is where in the checked value it stands."""
    return PydanticCustomError("value", "{expected}", {"expected": expected, "value": value, "at": at})


def fit_text(text: str) -> str:
    """The text, which must say something and hold no NUL character."""
    if not text.strip():
        raise fault("text that is not blank", text)
    if "\0" in text:
        raise fault("text without a NUL character", text)
    return text


def _title(title: str) -> str:
    size = len(title.encode())
    if size > MAX_TITLE_BYTES:
        raise fault(f"at most {MAX_TITLE_BYTES} bytes of UTF-8, not {size}", title)
    return fit_text(title)


Title = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TITLE_BYTES, description=f"At most {MAX_TITLE_BYTES} bytes of UTF-8, not blank"),
    AfterValidator(_title),
]
ItemId = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="Not blank"), AfterValidator(fit_text)
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=60_000, pattern="^[A-Za-z0-9_=-]*$",
        description="The `next_cursor` of the page before; none for the first page",
    ),
]  # fmt: skip
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Of the page, at most")]
Threshold = Annotated[
    float | None,
    Field(ge=0, le=1, allow_inf_nan=False, description="Probability from which two titles are one; else the model's"),
]
MinPrecision = Annotated[
    float | None,
    Field(
        gt=0, lt=1, allow_inf_nan=False,
        description="Accept from the probability that is proven to have this precision of pairs; not with a threshold",
    ),
]  # fmt: skip


def check_distinct(ids: Sequence[str], *field: str) -> None:
    """Refuse ids two of which are one; ``field`` is where each stands in its element of the checked list."""
    first: dict[str, int] = {}
    for position, id in enumerate(ids):
        if first.setdefault(id, position) != position:
            raise fault(f"distinct ids; item {first[id]} has this one too", id, position, *field)


class Asked(BaseModel):
    """A request: exactly the fields there are, each of its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Deciding(Asked):
    """A request that may say from where on two titles are one product."""

    threshold: Threshold = None
    min_precision: MinPrecision = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.threshold is not None and self.min_precision is not None:
            value = f"threshold {self.threshold:g}, min_precision {self.min_precision:g}"
            raise fault("a threshold or a min_precision, not both", value)
        return self


def example(value: dict[str, Any]) -> ConfigDict:
    """The configuration of a model that OpenAPI shows by an example."""
    return ConfigDict(json_schema_extra={"examples": [value]})


class MatchRequest(_Deciding):
    """Titles to look up in the catalogue."""

    model_config = example({"titles": ["농심 신라면 120g 5개입", "Nintendo Switch OLED White"], "k": 5})

    titles: Annotated[list[Title], Field(min_length=1, max_length=MAX_TITLES)]
    k: Annotated[int, Field(ge=1, le=MAX_K, description="Matches a title at most")] = 10
    explain: Annotated[bool, Field(description="Tell the near misses of each title too, and why they are none")] = False

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        asked = len(self.titles) * self.k
        if asked > MAX_MATCHES:
            raise fault(f"titles times k of at most {MAX_MATCHES}", f"{len(self.titles)} titles, k {self.k}")
        if (size := sum(len(title.encode()) for title in self.titles)) > MAX_TEXT:
            raise fault(f"titles of at most {MAX_TEXT} bytes together", f"{len(self.titles)} titles of {size} bytes")
        return self


class ClusterItem(Asked):
    """An item to cluster."""

    id: ItemId
    title: Title


def _distinct(items: list[ClusterItem]) -> list[ClusterItem]:
    check_distinct([item.id for item in items], "id")
    return items


class ClusterRequest(_Deciding):
    """Items to group among themselves; the catalogue plays no part."""

    model_config = example(
        {
            "items": [
                {"id": "a1", "title": "농심 신라면 120g 5개입"},
                {"id": "b7", "title": "[무료배송] 농심 신라면 120g x 5봉"},
                {"id": "c3", "title": "닌텐도 스위치 OLED 화이트"},
            ]
        }
    )

    items: Annotated[list[ClusterItem], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_distinct)]


class ModelUsed(BaseModel):
    """What an answer was made with."""

    fingerprint: str = Field(description="Of the model: another one, another model", examples=["72f4288a701eff98"])
    decision: Literal["expected F1", "threshold"] = Field(
        description="How matches were accepted: of each title the set of the best expected F1, or from a threshold on"
    )
    threshold: float | None = Field(
        description="The probability from which two titles were taken for one product; null when each title had its "
        "own. Of clusters, the mean probability from which two became one",
        examples=[0.5],
    )
    proof: str | None = Field(default=None, description="With min_precision: what its proof has counted")


class MatchedItem(BaseModel):
    """An item of the catalogue that is the same product as a title."""

    id: str
    title: str
    score: float = Field(description="Cosine after blending; rounding may lift it slightly over 1")
    probability: float = Field(ge=0, le=1, description="Calibrated probability of being the same product")
    reason: str = Field(description="What the two titles contradict each other on, what they agree on, what they share")


class MatchResult(BaseModel):
    """The matches of one title, best first; none where the title holds no letter or digit."""

    title: str = Field(description="As it was sent")
    matches: list[MatchedItem]
    near_misses: list[MatchedItem] | None = Field(
        default=None, description="With explain: the most probable items that were not accepted"
    )


class MatchResponse(BaseModel):
    """One result for each title, in the titles' order."""

    model_config = example(
        {
            "results": [
                {
                    "title": "농심 신라면 120g 5개입",
                    "matches": [
                        {
                            "id": "s0042", "title": "[무료배송] 농심 신라면 120g x 5봉",
                            "score": 0.96, "probability": 0.98, "reason": "수량 같음 5개입 = 5봉 · 중량 같음 120g",
                        }
                    ],
                    "near_misses": [
                        {
                            "id": "s0311", "title": "농심 신라면 120g 20개입",
                            "score": 0.94, "probability": 0.03, "reason": "수량 다름 5개입 ≠ 20개입 · 중량 같음 120g",
                        }
                    ],
                }
            ],
            "model": {
                "fingerprint": "72f4288a701eff98", "decision": "threshold", "threshold": 0.81,
                "proof": "precision of at least 0.9 is proven with 95 % confidence: ...",
            },
            "revision": 17,
        }
    )  # fmt: skip

    results: list[MatchResult]
    model: ModelUsed
    revision: int = Field(description="Of the catalogue: all results are of this one")


class Cluster(BaseModel):
    """Items of one product."""

    cluster_id: str = Field(description="The smallest id in it")
    items: list[str] = Field(description="Ids, in the order they were sent")


class ClusterResponse(BaseModel):
    """Clusters in the order of their first items; every id stands in exactly one."""

    model_config = example(
        {
            "clusters": [{"cluster_id": "a1", "items": ["a1", "b7"]}, {"cluster_id": "c3", "items": ["c3"]}],
            "model": {"fingerprint": "72f4288a701eff98", "decision": "threshold", "threshold": 0.5},
        }
    )

    clusters: list[Cluster]
    model: ModelUsed


class IndexInfo(BaseModel):
    """How the catalogue is searched for titles that are asked about."""

    exact: bool = Field(description="Whether every search finds the true nearest items")
    recall: float = Field(description="Share of true nearest items found in a sample; 1 when exact")
    search: Way = Field(
        description="Exact; by a sketch that names items, which are then scored exactly; or by an inverted file"
    )


class Promised(BaseModel):
    """A precision that held-out products have proven."""

    precision: float = Field(description="Of accepted pairs, at least, with 95 % confidence")
    threshold: float = Field(description="The probability from which pairs are accepted then")
    recall: float = Field(description="Of the held-out pairs, at that probability")
    words: str = Field(description="What the proof has counted")


class ModelResponse(BaseModel):
    """The model, its thresholds and the catalogue."""

    model_config = example(
        {
            "fingerprint": "72f4288a701eff98", "architecture": "BERT, 3 layers, hidden 256", "dimensions": 256,
            "precision": "int8", "threshold": 0.5, "cluster_threshold": 0.4,
            "promises": [
                {
                    "precision": 0.9, "threshold": 0.81, "recall": 0.8,
                    "words": "precision of at least 0.9 is proven with 95 % confidence: ...",
                }
            ],
            "items": 538,
            "revision": 17,
            "index": {"exact": False, "recall": 0.9998, "search": "sketch, re-scored exactly"},
        }
    )  # fmt: skip

    fingerprint: str
    architecture: str
    dimensions: int = Field(description="Length of a vector")
    precision: str
    threshold: float = Field(description="The one probability that is best for all titles, where one is to hold")
    cluster_threshold: float = Field(description="Mean probability of clusters, unless the request names one")
    promises: list[Promised] = Field(description="What min_precision may ask for, and what stands behind it")
    items: int = Field(description="Items in the catalogue that can be found")
    revision: int = Field(description="Of the catalogue: it rises with every write")
    index: IndexInfo


class Health(BaseModel):
    """Yes: the service lives, or is ready."""

    model_config = example({"status": "ok"})

    status: Literal["ok"] = "ok"
