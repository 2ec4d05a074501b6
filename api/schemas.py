"""Schemas: what requests may say and what answers look like, with the limits of every field.

It knows shapes and limits; it does not know what a title means, nor how an answer is found.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from index.items import MAX_TITLE_BYTES

MAX_TITLES = 1_000
MAX_ITEMS = 10_000
MAX_K = 1_000
MAX_MATCHES = 100_000  # titles times k: an answer must fit into memory, and into somebody's patience
MAX_ID_LENGTH = 256


def _fault(expected: str, value: str, *at: str | int) -> PydanticCustomError:
    """What is wrong with a value; ``at`` is where in the checked value it stands."""
    return PydanticCustomError("value", "{expected}", {"expected": expected, "value": value, "at": at})


def _text(text: str) -> str:
    if not text.strip():
        raise _fault("text that is not blank", text)
    if "\0" in text:
        raise _fault("text without a NUL character", text)
    return text


def _title(title: str) -> str:
    size = len(title.encode())
    if size > MAX_TITLE_BYTES:
        raise _fault(f"at most {MAX_TITLE_BYTES} bytes of UTF-8, not {size}", title)
    return _text(title)


Title = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TITLE_BYTES, description=f"At most {MAX_TITLE_BYTES} bytes of UTF-8, not blank"),
    AfterValidator(_title),
]
ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="Not blank"), AfterValidator(_text)]
Threshold = Annotated[
    float | None,
    Field(ge=-1, le=1, allow_inf_nan=False, description="Score from which two titles are one; else the model's"),
]


class _Asked(BaseModel):
    """A request: exactly the fields there are, each of its own type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class MatchRequest(_Asked):
    """Titles to look up in the catalogue."""

    model_config = _example({"titles": ["농심 신라면 120g 5개입", "Nintendo Switch OLED White"], "k": 5})

    titles: Annotated[list[Title], Field(min_length=1, max_length=MAX_TITLES)]
    k: Annotated[int, Field(ge=1, le=MAX_K, description="Matches a title at most")] = 10
    threshold: Threshold = None

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        asked = len(self.titles) * self.k
        if asked > MAX_MATCHES:
            raise _fault(f"titles times k of at most {MAX_MATCHES}", f"{len(self.titles)} titles, k {self.k}")
        return self


class ClusterItem(_Asked):
    """An item to cluster."""

    id: ItemId
    title: Title


def _distinct(items: list[ClusterItem]) -> list[ClusterItem]:
    first: dict[str, int] = {}
    for position, item in enumerate(items):
        if first.setdefault(item.id, position) != position:
            raise _fault(f"distinct ids; item {first[item.id]} has this one too", item.id, position, "id")
    return items


class ClusterRequest(_Asked):
    """Items to group among themselves; the catalogue plays no part."""

    model_config = _example(
        {
            "items": [
                {"id": "a1", "title": "농심 신라면 120g 5개입"},
                {"id": "b7", "title": "[무료배송] 농심 신라면 120g x 5봉"},
                {"id": "c3", "title": "닌텐도 스위치 OLED 화이트"},
            ]
        }
    )

    items: Annotated[list[ClusterItem], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_distinct)]
    threshold: Threshold = None


class ModelUsed(BaseModel):
    """What an answer was made with."""

    fingerprint: str = Field(description="Of the model: another one, another model", examples=["72f4288a701eff98"])
    threshold: float = Field(description="The score from which two titles were taken for one product", examples=[0.9])


class MatchedItem(BaseModel):
    """An item of the catalogue that is the same product as a title."""

    id: str
    title: str
    score: float = Field(description="Cosine after blending; rounding may lift it slightly over 1")
    probability: float = Field(ge=0, le=1, description="Calibrated probability of being the same product")
    reason: str = Field(description="What the titles share, and the numbers that only one of them has")


class MatchResult(BaseModel):
    """The matches of one title, best first; none where the title holds no letter or digit."""

    title: str = Field(description="As it was sent")
    matches: list[MatchedItem]


class MatchResponse(BaseModel):
    """One result for each title, in the titles' order."""

    model_config = _example(
        {
            "results": [
                {
                    "title": "농심 신라면 120g 5개입",
                    "matches": [
                        {
                            "id": "s0042", "title": "[무료배송] 농심 신라면 120g x 5봉",
                            "score": 0.96, "probability": 0.98, "reason": "공통: 농심, 신라면, 120, 5",
                        }
                    ],
                }
            ],
            "model": {"fingerprint": "72f4288a701eff98", "threshold": 0.9},
        }
    )  # fmt: skip

    results: list[MatchResult]
    model: ModelUsed


class Cluster(BaseModel):
    """Items of one product."""

    cluster_id: str = Field(description="The smallest id in it")
    items: list[str] = Field(description="Ids, in the order they were sent")


class ClusterResponse(BaseModel):
    """Clusters in the order of their first items; every id stands in exactly one."""

    model_config = _example(
        {
            "clusters": [{"cluster_id": "a1", "items": ["a1", "b7"]}, {"cluster_id": "c3", "items": ["c3"]}],
            "model": {"fingerprint": "72f4288a701eff98", "threshold": 0.9},
        }
    )

    clusters: list[Cluster]
    model: ModelUsed


class IndexInfo(BaseModel):
    """How the catalogue is searched."""

    exact: bool = Field(description="Whether every search finds the true nearest items")
    recall: float = Field(description="Share of true nearest items found in a sample; 1 when exact")


class ModelResponse(BaseModel):
    """The model, its thresholds and the catalogue."""

    model_config = _example(
        {
            "fingerprint": "72f4288a701eff98", "architecture": "BERT, 3 layers, hidden 256", "dimensions": 256,
            "precision": "int8", "threshold": 0.9, "cluster_threshold": 0.92, "items": 538,
            "index": {"exact": True, "recall": 1.0},
        }
    )  # fmt: skip

    fingerprint: str
    architecture: str
    dimensions: int = Field(description="Length of a vector")
    precision: str
    threshold: float = Field(description="Of matches, unless the request names one")
    cluster_threshold: float = Field(description="Of clusters, unless the request names one")
    items: int = Field(description="Items in the catalogue; 0 without one")
    index: IndexInfo | None = Field(description="null without a catalogue")


class Health(BaseModel):
    """Yes: the service lives, or is ready."""

    model_config = _example({"status": "ok"})

    status: Literal["ok"] = "ok"
