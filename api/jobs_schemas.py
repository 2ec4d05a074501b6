"""Schemas of jobs: what may be asked to be done in the background, and what is told of it.

It knows shapes and limits; it does not know how anything is done.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from api.items_schemas import Name
from api.schemas import MAX_K, Asked, MinPrecision, Threshold, example, fault
from index.ledger import Job

ModelName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Of a model, as `GET /v1/models` lists it"),
]
Column = Annotated[Name | None, Field(description="Column, when it has no name that dongil knows")]
Format = Annotated[
    Literal["csv", "tsv", "jsonl", "parquet"] | None, Field(description="Of the file that is made; else the input's")
]
Setting = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]


class OfFile(Asked):
    """A job on a file, which is uploaded with it, or stands where the service may read."""

    file: Annotated[
        str | None,
        Field(
            min_length=1, max_length=1_000,
            description="A file inside the folder that the operator has opened to jobs, relative to it; none where "
            "the file is uploaded",
        ),
    ] = None  # fmt: skip
    id_column: Column = None
    title_column: Column = None


class _Deciding(OfFile):
    threshold: Threshold = None
    min_precision: MinPrecision = None
    format: Format = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.threshold is not None and self.min_precision is not None:
            value = f"threshold {self.threshold:g}, min_precision {self.min_precision:g}"
            raise fault("a threshold or a min_precision, not both", value)
        return self


class ClusterJob(_Deciding):
    """Group the rows of a file: the same rows with a `cluster_id`."""

    kind: Literal["cluster"]
    threshold: Annotated[
        float | None,
        Field(gt=0, le=1, allow_inf_nan=False, description="Mean probability of a cluster; else the model's"),
    ] = None
    label_column: Column = None
    one_per: Annotated[
        Name | None, Field(description="Two rows of one value in this column, such as the seller, are never one")
    ] = None


class MatchJob(_Deciding):
    """Look each title of a file up in the catalogue: rows of query_id, item_id, score, probability, reason.

    All titles are answered by the catalogue of one revision.
    """

    kind: Literal["match"]
    k: Annotated[int, Field(ge=1, le=MAX_K, description="Matches a title at most")] = 10
    near_misses: Annotated[int, Field(ge=0, le=MAX_K, description="Of the best refused items, so many a title")] = 0


class ImportJob(OfFile):
    """Put the rows of a file into the catalogue: id, title, seller, category, and any other column as extra.

    When it is done all items are kept; those of new titles are found as soon as they are encoded.
    """

    kind: Literal["import"]
    seller_column: Column = None
    category_column: Column = None
    delete_missing: Annotated[
        bool, Field(description="Remove items that the file does not have, but those that came since the job began")
    ] = False


class RebuildJob(Asked):
    """Search and cluster the whole catalogue anew."""

    kind: Literal["rebuild"]


class TrainJob(OfFile):
    """Make a new model of the labels in the catalogue, which may then be compared and activated.

    `relearn` takes a minute: it learns anew how pairs are judged, and tells how that does on products that it has not
    learnt from. `encoder` trains all of the model, on a file of labelled titles too if there is one; that takes hours,
    and an installation for training.
    """

    kind: Literal["train"]
    what: Literal["relearn", "encoder"]
    name: Annotated[ModelName | None, Field(description="Of the new model; one is made up where none is given")] = None
    base: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", max_length=200,
            description="With `encoder`: what to start from, a name on the model hub, or small: ours, from nothing",
        ),
    ] = "small"  # fmt: skip
    config: Annotated[
        dict[Setting, int | float | bool | Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9:+*._-]{0,60}$")]],
        Field(max_length=50, description="With `encoder`: settings of the run that differ from the defaults"),
    ] = Field(default_factory=dict)


class BenchmarkJob(OfFile):
    """Recall, precision and F1 against the threshold of a labelled file: JSON, CSV, plots and one page."""

    kind: Literal["benchmark"]
    label_column: Column = None
    models: Annotated[
        list[ModelName], Field(max_length=10, description="To put side by side; none: the active one")
    ] = Field(default_factory=list)
    name: Annotated[Name | None, Field(description="What training called the set: the split hangs on it")] = None
    unseen: Annotated[
        bool, Field(description="No model was trained on this file: half of it chooses, half is reported")
    ] = True
    quick: Annotated[bool, Field(description="Leave out other pool sizes and regimes")] = True


class CompareJob(Asked):
    """What would change if another model took over: on the labels, and on the clusters."""

    kind: Literal["compare"]
    model: ModelName


class ActivateJob(Asked):
    """Let another model take over: it is made ready beside the one that works, checked, and put in its place."""

    kind: Literal["activate"]
    model: ModelName


class RollbackJob(Asked):
    """Let the model that worked before take over again."""

    kind: Literal["rollback"]


AnyJob = (
    ClusterJob | MatchJob | ImportJob | RebuildJob | TrainJob | BenchmarkJob | CompareJob | ActivateJob | RollbackJob
)


class JobRequest(RootModel[Annotated[AnyJob, Field(discriminator="kind")]]):
    """What is to be done: `kind` tells which of these it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "cluster", "file": "2026/items.csv"}]})


OfState = Annotated[
    Literal["queued", "running", "done", "failed", "cancelled"] | None, Query(description="Only jobs in this state")
]
Exact = Annotated[bool, Query(description="As it was made, for a program; not safe to open as a spreadsheet")]

_JOB = {
    "id": "9f2c4d1e8a7b4c3d9e0f1a2b3c4d5e6f", "kind": "cluster", "state": "running", "phase": "encode",
    "done": 61_440, "total": 100_000, "eta_seconds": 41.5, "cancelling": False,
    "request": {"kind": "cluster", "upload": {"name": "items.csv", "bytes": 7_340_032}},
    "result": {}, "files": [], "error": None, "created": 1_790_000_000.0, "started": 1_790_000_001.0,
    "updated": 1_790_000_060.0, "finished": None,
}  # fmt: skip


class JobStatus(BaseModel):
    """A job, and how far it is."""

    model_config = example(_JOB)

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    phase: str = Field(description="What is being done; empty before it starts")
    done: int = Field(description="Of the phase")
    total: int = Field(description="Of the phase; 0 while nobody knows")
    eta_seconds: float | None = Field(description="Until the end of the phase, at the pace it has; null if unknown")
    cancelling: bool = Field(description="Whether it was asked to stop")
    request: dict[str, Any] = Field(description="What was asked")
    result: dict[str, Any] = Field(description="What came of it")
    files: list[str] = Field(description="Names of the files that it made, to be downloaded")
    error: str | None = Field(description="Why it failed")
    created: float = Field(description="Seconds since 1970, as all times")
    started: float | None
    updated: float
    finished: float | None

    @classmethod
    def of(cls, job: Job, eta_seconds: float | None = None) -> JobStatus:
        """As the catalogue has it."""
        result = dict(job.result)
        return cls(
            id=job.id, kind=job.kind, state=job.state, phase=job.phase, done=job.done, total=job.total,
            eta_seconds=eta_seconds, cancelling=job.cancelling, request=dict(job.request),
            files=result.pop("files", []), result=result, error=job.error, created=job.created, started=job.started,
            updated=job.updated, finished=job.finished,
        )  # fmt: skip


class JobsPage(BaseModel):
    """Jobs, newest first."""

    model_config = example({"items": [_JOB], "next_cursor": None})

    items: list[JobStatus]
    next_cursor: str | None = Field(description="Asks for the jobs before these; null after the oldest")
