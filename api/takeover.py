"""Taking over: another model put to work while requests go on, as a job; and what would change if one were.

Vectors that were made stay when it is stopped, so that the next time goes on from there. Who works is written down in
one entry of the catalogue's record, and a job that finds its model at work already has nothing left to do.

It knows the steps of `index.switching` and the service. It does not know HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from index.comparing import Agreement, Comparison
from index.shelf import Entry
from index.switching import Prepared, prepare, tidy

if TYPE_CHECKING:
    from api.runner import Told
    from api.service import Service


def activate(service: Service, request: Mapping[str, Any], told: Told) -> dict[str, Any]:
    """Let the model that a request names take over.

    Args:
        service: whose.
        request: ``model`` is its name, ``who`` wants it; ``kind`` is "rollback" where it is the one before.
        told: how far it is.

    Raises:
        InputError: there is no such model, or it cannot take over.
        ConflictError: another one took over meanwhile.
    """
    entry = service.shelf.get(request["model"])
    active = service.catalog.activations.active()
    if active is not None and active.model == entry.model:
        return {"model": entry.name, "fingerprint": entry.bundle.fingerprint, "took_over": False}
    with _ready(service, entry, told) as prepared:
        compared = told_comparison(prepared.compared(service.living))
        told("switch", 0, 0)
        old = service.living
        prepared.take_over(old, request["who"], back=request["kind"] == "rollback")
        service.switch(prepared.living)
    old.close()
    tidy(service.catalog)
    return {
        "model": entry.name, "fingerprint": entry.bundle.fingerprint, "took_over": True,
        "checks": asdict(prepared.checks), "comparison": compared,
    }  # fmt: skip


def compare_models(service: Service, name: str, told: Told) -> dict[str, Any]:
    """What would change if a model took over.

    Raises:
        InputError: there is no such model, or it could not take over.
    """
    entry = service.shelf.get(name)
    with _ready(service, entry, told) as prepared:
        told("compare", 0, 0)
        return {
            "model": name, "fingerprint": entry.bundle.fingerprint, "checks": asdict(prepared.checks),
            "comparison": told_comparison(prepared.compared(service.living)),
        }  # fmt: skip


def told_comparison(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON can say it."""
    return {
        "labels": found.labels, "old": _agreement(found.old), "new": _agreement(found.new),
        "items": found.items, "old_clusters": found.old_clusters, "new_clusters": found.new_clusters,
        "kept_share": found.kept_share, "changed": [asdict(one) for one in found.changed],
    }  # fmt: skip


def _agreement(found: Agreement) -> dict[str, Any]:
    return {**asdict(found), "precision": found.precision, "recall": found.recall}


@contextmanager
def _ready(service: Service, entry: Entry, told: Told) -> Iterator[Prepared]:
    """A model made ready beside the one that works, and given up at the end unless it works by then."""
    settings = service.settings
    prepared = prepare(
        service.catalog, entry, service.living, threads=settings.threads, device=settings.device, progress=told
    )
    try:
        yield prepared
    finally:
        if service.living is not prepared.living:
            prepared.close()
