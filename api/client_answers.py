"""Answers: what the service says, as the Python client hands it on.

Each class has the fields of one JSON object; fields that a newer service adds are passed over. It knows shapes alone.
``api.client`` is what asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
Verdict = Literal["same", "different", "skip"]
Of = Literal["items", "titles"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Match:
    """An item of the catalogue that is, or is not, the same product as a title; see ``POST /v1/match``."""

    id: str
    title: str
    score: float
    probability: float
    reason: str


@dataclass(frozen=True)
class Result:
    """The matches of one title, best first; near misses where they were asked for."""

    title: str
    matches: list[Match]
    near_misses: list[Match] | None = None


@dataclass(frozen=True)
class ModelUsed:
    """What an answer was made with."""

    fingerprint: str
    decision: str
    threshold: float | None
    proof: str | None = None


@dataclass(frozen=True)
class Matched:
    """One result for each title, all of one revision of the catalogue."""

    results: list[Result]
    model: ModelUsed
    revision: int


@dataclass(frozen=True)
class Group:
    """Ids of one product, by ``POST /v1/cluster``."""

    cluster_id: str
    items: list[str]


@dataclass(frozen=True)
class Clustered:
    """Every id in exactly one group."""

    clusters: list[Group]
    model: ModelUsed


@dataclass(frozen=True)
class Item:
    """A listing. To put one, ``id`` and ``title`` will do; the last three are told by the catalogue."""

    id: str
    title: str
    seller: str | None = None
    category: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    cluster: str | None = None
    created: int = 0
    updated: int = 0


@dataclass(frozen=True)
class Put:
    """How many items are new, changed, or stood there already; ``searchable`` where it was waited for."""

    created: int
    updated: int
    unchanged: int
    revision: int
    searchable: bool | None = None


@dataclass(frozen=True)
class Deleted:
    """How many there were, and the revision that made."""

    deleted: int
    revision: int


@dataclass(frozen=True)
class Kept:
    """How many labels were kept, and the revision that made."""

    kept: int
    revision: int


@dataclass(frozen=True)
class Move:
    """An item that went from one cluster to another; None is no cluster."""

    item: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Event:
    """An entry of the trail: what was done to clusters, by whom and when. A list of entries has no moves."""

    id: int
    kind: str
    who: str
    by_hand: bool
    at: datetime
    revision: int
    detail: Mapping[str, Any]
    moved: int
    into: list[str] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


@dataclass(frozen=True)
class Cluster:
    """A cluster of the catalogue: a list of clusters has some titles, one that was looked up its items and events."""

    id: str
    size: int
    cohesion: float | None
    titles: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Label:
    """What somebody says of a pair of items, or of titles. The last five are told by the catalogue."""

    left: str
    right: str
    verdict: Verdict
    of: Of = "items"
    who: str = ""
    left_title: str = ""
    right_title: str = ""
    at: datetime | None = None
    revision: int = 0


@dataclass(frozen=True)
class ReviewPair:
    """A pair whose label would teach much."""

    left: Item
    right: Item
    probability: float
    reason: str
    why: str


@dataclass(frozen=True)
class Job:
    """Work in the background, and how far it is; times are seconds since 1970."""

    id: str
    kind: str
    state: JobState
    phase: str
    done: int
    total: int
    eta_seconds: float | None
    cancelling: bool
    request: Mapping[str, Any]
    result: Mapping[str, Any]
    files: list[str]
    error: str | None
    created: float
    started: float | None
    updated: float
    finished: float | None

    @property
    def ended(self) -> bool:
        """Whether it will change no more."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Model:
    """A model that may be put to work; one that was looked up has its figures and its card."""

    name: str
    fingerprint: str
    digest: str
    active: bool
    outside: bool
    parent: str | None
    architecture: str
    dimensions: int
    precision: str
    size: int
    created: float
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""


@dataclass(frozen=True)
class Activation:
    """A model that was put to work; the time is seconds since 1970."""

    number: int
    model: str
    fingerprint: str
    who: str
    at: float
    clustered: bool


def read(kind: type[T], value: Any) -> T:
    """A JSON value as a type of this module, or one made of them.

    Raises:
        ValueError: it has another shape.
    """
    found: T = _read(kind, value)
    return found


def _read(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin is UnionType:
        if value is None:
            return None
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
        origin = get_origin(kind)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if origin is list:
        return [_read(get_args(kind)[0], one) for one in value]
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} for {kind}; expected an object")
    told: dict[str, Any] = {}
    for name, (hint, needed) in _shape(kind).items():
        if name in value:
            told[name] = _read(hint, value[name])
        elif needed:
            raise ValueError(f"{kind} without {name!r}")
    return kind(**told)


@lru_cache(maxsize=64)
def _shape(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    """The type of each field of a class, and whether it must be there."""
    hints = get_type_hints(kind)
    return {
        one.name: (hints[one.name], one.default is MISSING and one.default_factory is MISSING) for one in fields(kind)
    }
