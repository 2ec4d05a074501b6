"""Schemas of models: what is told of those on the shelf, and how another one comes there."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import Path
from pydantic import BaseModel, Field

from api.jobs_schemas import ModelName
from api.schemas import Asked, example
from index.activations import Activation
from index.shelf import Entry

NameInPath = Annotated[str, Path(min_length=1, max_length=64, description="Of a model, as `GET /v1/models` lists it")]

_MODEL = {
    "name": "relearn-9f2c4d1e", "fingerprint": "72f4288a701eff98", "digest": "0c1d2e3f4a5b6c7d", "active": False,
    "outside": False, "parent": "72f4288a701eff98", "architecture": "BERT, 3 layers, hidden 256", "dimensions": 256,
    "precision": "int8", "size": 12_582_912, "created": 1_790_000_000.0,
}  # fmt: skip
_ENTRY = {
    "number": 3, "model": "relearn-9f2c4d1e", "fingerprint": "72f4288a701eff98", "who": "back-office",
    "at": 1_790_000_000.0, "clustered": True,
}  # fmt: skip


class ModelOnShelf(BaseModel):
    """A model that may be put to work."""

    model_config = example(_MODEL)

    name: str
    fingerprint: str = Field(description="Of its vectors")
    digest: str = Field(description="Of how it decides: two models of one fingerprint may decide differently")
    active: bool = Field(description="Whether it is at work")
    outside: bool = Field(description="Whether it was given from outside the data folder; it cannot be deleted then")
    parent: str | None = Field(description="Fingerprint of the model that it was made from")
    architecture: str
    dimensions: int = Field(description="Length of a vector")
    precision: str
    size: int = Field(description="In bytes")
    created: float = Field(description="Seconds since 1970")

    @classmethod
    def of(cls, entry: Entry, active: Activation | None, **more: Any) -> Self:
        """As the shelf has it; ``more`` are fields of ``ModelDetails``."""
        config = entry.bundle.config
        return cls(
            name=entry.name, fingerprint=entry.bundle.fingerprint, digest=entry.model.digest,
            active=active is not None and active.model == entry.model, outside=entry.model.outside,
            parent=entry.parent, architecture=config.architecture, dimensions=config.dimensions,
            precision=config.precision, size=entry.size, created=entry.created, **more,
        )  # fmt: skip


class ModelDetails(ModelOnShelf):
    """A model with all that it says of itself."""

    model_config = example(_MODEL | {"metrics": {"row_f1": 0.86}, "card": "# dongil ..."})

    metrics: dict[str, Any] = Field(description="How good it was when it was made")
    card: str = Field(description="In Markdown")


class ModelList(BaseModel):
    """The models that there are."""

    model_config = example({"items": [_MODEL], "active": "default", "before": None, "faults": {}})

    items: list[ModelOnShelf]
    active: str | None = Field(description="The one at work")
    before: str | None = Field(description="The one that a rollback brings back; null where there is none")
    faults: dict[str, str] = Field(description="What is wrong with folders that cannot be used, by name")


class RegisterModel(Asked):
    """A model to take onto the shelf from where the service may read."""

    model_config = example({"name": "autumn", "folder": "models/autumn"})

    name: ModelName
    folder: Annotated[
        str,
        Field(min_length=1, max_length=1_000, description="Inside the folder that the operator has opened to jobs"),
    ]


class ActivationEntry(BaseModel):
    """A model that was put to work."""

    model_config = example(_ENTRY)

    number: int
    model: str
    fingerprint: str
    who: str = Field(description="Who wanted it")
    at: float = Field(description="Seconds since 1970")
    clustered: bool = Field(description="Whether the catalogue was clustered anew by it")

    @classmethod
    def of(cls, one: Activation) -> ActivationEntry:
        """As the record has it."""
        return cls(
            number=one.number, model=one.model.name, fingerprint=one.model.fingerprint, who=one.who, at=one.at,
            clustered=one.clustered,
        )  # fmt: skip


class ActivationsPage(BaseModel):
    """Which model was put to work when, newest first."""

    model_config = example({"items": [_ENTRY], "next_cursor": None})

    items: list[ActivationEntry]
    next_cursor: str | None = Field(description="Asks for the entries before these; null after the first one")
