"""Models: which there are, which works, what would change with another, and putting one to work or taking it back.

It knows pages and jobs. It does not know how a model takes over (``index.switching``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response

from api.page_frame import add_pages, go, is_part, show, visitor
from api.page_jobs import Progress, progress_of, queue
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from index.activations import Activation
from index.decision import Decision
from index.shelf import Entry

_LATEST, _HISTORY = 30, 10
_KINDS = ("activate", "rollback", "compare")


@dataclass(frozen=True)
class Row:
    """A model in the list: its decision, and how good it was on held-out products, if its metrics say."""

    entry: Entry
    decision: Decision
    active: bool
    score: float | None
    relearnt: Mapping[str, Any] | None


@dataclass(frozen=True)
class Shelved:
    """All models.

    Attributes:
        rows: those that can be used.
        faults: what is wrong with the others, by name.
        before: name of the one that comes back when the active one is taken back; None for none.
        history: which worked when, newest first.
        running: the switch or comparison that is under way; None for none.
        last: the last one of these that has ended.
    """

    rows: list[Row]
    faults: Mapping[str, str]
    before: str | None
    history: list[Activation]
    running: Progress | None
    last: Progress | None


def shelved(service: Service) -> Shelved:
    """All models, as they stand."""
    catalog = service.catalog
    with catalog.snapshot():
        active, before = catalog.activations.active(), catalog.activations.before()
        jobs = [job for job in catalog.jobs.page(limit=_LATEST)[0] if job.kind in _KINDS]
        history = catalog.activations.page(limit=_HISTORY)[0]
    rows = [_row(entry, active is not None and active.model == entry.model) for entry in service.shelf.entries()]
    at_work = [progress_of(service, job) for job in jobs]
    return Shelved(
        rows, service.shelf.faults(), before.model.name if before else None, history,
        next((one for one in at_work if not one.over), None), next((one for one in at_work if one.over), None),
    )  # fmt: skip


def _row(entry: Entry, active: bool) -> Row:
    metrics = entry.metrics
    sets = metrics.get("test") or metrics.get("validation")
    told = [one.get("row_f1") for one in sets.values() if isinstance(one, Mapping)] if isinstance(sets, Mapping) else []
    known = [float(value) for value in told if isinstance(value, int | float)]
    relearnt = metrics.get("relearn")
    decision = Decision.from_json(entry.bundle.read_json("decision.json"))
    score = sum(known) / len(known) if known else None
    return Row(entry, decision, active, score, relearnt if isinstance(relearnt, Mapping) else None)


async def models(request: Request, service: Loaded) -> Response:
    """The list."""
    found = await service.desk.run(lambda: shelved(service))
    return show(request, "_models.html" if is_part(request) else "models.html", shelved=found)


async def change(name: str, what: str, request: Request, service: Loaded) -> Response:
    """Begin to compare a model with the active one, or to put it to work."""
    if what not in ("compare", "activate"):
        raise HTTPException(404, "nothing of this kind is done with a model")
    return await _begun(request, service, {"kind": what, "model": name})


async def rollback(request: Request, service: Loaded) -> Response:
    """Begin to take the active model back."""
    return await _begun(request, service, {"kind": "rollback"})


async def remove(name: str, request: Request, service: Loaded) -> Response:
    """Remove a model that does not work."""
    await service.desk.run(lambda: service.shelf.remove(name))
    return go(request, "/models")


async def _begun(request: Request, service: Service, asked: Mapping[str, str]) -> Response:
    who = visitor(request).who
    await service.desk.run(lambda: queue(service, asked, who))
    return go(request, "/models")


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    add = partial(add_pages, app, settings)
    add("read", {"/models": models})
    add(
        "admin",
        {"/models/rollback": rollback, "/models/{name}/delete": remove, "/models/{name}/{what}": change},
        method="POST",
    )
