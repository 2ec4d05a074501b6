"""Models: which there are, how others come onto the shelf and go, and jobs that compare, activate and roll back.

Thin: routes pass the work on. It does not know what a model is, nor how one takes over from another.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response

from api.children import FailedError, run_errand
from api.guard import guarded_route
from api.items_schemas import IdempotencyKey
from api.jobs import arrived, ordered, status_of
from api.jobs_schemas import ActivateJob, AnyJob, CompareJob, JobStatus, RollbackJob
from api.models_schemas import (
    ActivationEntry,
    ActivationsPage,
    ModelDetails,
    ModelList,
    ModelOnShelf,
    NameInPath,
    RegisterModel,
)
from api.orders import allowed_model, order
from api.problems import documented
from api.schemas import Cursor, PageLimit
from api.service import Service
from api.settings import Settings
from api.state import Loaded, Who
from embedder.errors import InputError
from index.formats import shown
from index.shelf import Entry
from index.store import ConflictError

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["name", "file"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
                    "file": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
                },
            }
        }
    },
}


async def list_models(service: Loaded) -> Response:
    """The models that may be put to work, and which one is."""
    return await service.desk.answer(lambda: model_list(service))


async def get_model(name: NameInPath, service: Loaded) -> Response:
    """A model, with its figures and its card."""
    return await service.desk.answer(lambda: model_details(service, name))


async def register_model(asked: RegisterModel, service: Loaded, response: Response) -> ModelDetails:
    """Take a model onto the shelf from the folder that the operator has opened. It is tried first."""

    def register() -> ModelDetails:
        path = allowed_model(service.settings.files, asked.folder)
        folder = service.runner.incoming()
        try:
            return _shelve(service, asked.name, path, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    details = await asyncio.to_thread(register)
    response.headers["Location"] = f"/v1/models/{details.name}"
    return details


async def upload_model(request: Request, service: Loaded, response: Response) -> ModelDetails:
    """Take a model onto the shelf: the zip file of a bundle's folder. It is tried first.

    The form has two fields: `name`, and `file`.
    """
    async with arrived(request, service, [".zip"], ["name"]) as (upload, folder):
        name = upload.fields.get("name", "")
        details = await asyncio.to_thread(_shelve, service, name, folder / "model", folder, folder / upload.stored)
    response.headers["Location"] = f"/v1/models/{details.name}"
    return details


async def delete_model(name: NameInPath, service: Loaded) -> None:
    """Remove a model that is not at work."""

    def delete() -> None:
        _known(service, name)
        service.shelf.remove(name)

    await service.desk.run(delete)


async def compare_model(
    name: NameInPath, service: Loaded, who: Who, response: Response, key: IdempotencyKey = None
) -> JobStatus:
    """What would change if a model took over, as a job: on the labels, and on the clusters."""
    return await _job(service, partial(CompareJob, kind="compare"), name, who, response, key)


async def activate_model(
    name: NameInPath, service: Loaded, who: Who, response: Response, key: IdempotencyKey = None
) -> JobStatus:
    """Let a model take over, as a job.

    All titles are encoded beside the model that works, the result is checked, and requests are answered by the new one
    from one moment on. Then the catalogue is clustered anew by it.
    """
    return await _job(service, partial(ActivateJob, kind="activate"), name, who, response, key)


async def roll_back_model(service: Loaded, who: Who, response: Response, key: IdempotencyKey = None) -> JobStatus:
    """Let the model that worked before take over again, as a job."""
    return await _queue(service, RollbackJob(kind="rollback"), who, response, key)


async def list_activations(service: Loaded, limit: PageLimit = 100, cursor: Cursor = None) -> Response:
    """Which model was put to work when, and by whom; newest first."""
    return await service.desk.answer(lambda: activations_page(service, cursor, limit))


def model_list(service: Service) -> ModelList:
    """The shelf."""
    shelf, activations = service.shelf, service.catalog.activations
    active, before = activations.active(), activations.before()
    return ModelList(
        items=[ModelOnShelf.of(entry, active) for entry in shelf.entries()],
        active=active.model.name if active else None,
        before=before.model.name if before else None,
        faults=shelf.faults(),
    )


def model_details(service: Service, name: str) -> ModelDetails:
    """A model.

    Raises:
        HTTPException: 404, there is none of this name.
    """
    entry = _known(service, name)
    card = (entry.bundle.folder / "README.md").read_text(encoding="utf-8", errors="replace")
    return ModelDetails.of(entry, service.catalog.activations.active(), metrics=dict(entry.metrics), card=card)


def activations_page(service: Service, cursor: str | None, limit: int) -> ActivationsPage:
    """A page of the record.

    Raises:
        InputError: a cursor that no page gave.
    """
    entries, more = service.catalog.activations.page(cursor, limit)
    return ActivationsPage(items=[ActivationEntry.of(one) for one in entries], next_cursor=more)


def _shelve(service: Service, name: str, model: Path, folder: Path, zipped: Path | None = None) -> ModelDetails:
    """Have a worker unpack and try a model, which may be anything, then put it on the shelf."""
    service.shelf.check_free(name)
    task = {"model": str(model), "limit": service.settings.max_upload_bytes}
    if zipped is not None:
        task["zip"] = str(zipped)
    try:
        run_errand("check_model", task, folder, lambda *_: None, lambda: None)
    except FailedError as error:
        raise InputError("a model that crashes whoever uses it; expected one that works") from error
    try:
        service.shelf.put(name, model)
    except InputError as error:
        if isinstance(error, ConflictError):
            raise
        raise InputError(error.message) from error  # a file that it names is the service's own
    return model_details(service, name)


def _known(service: Service, name: str) -> Entry:
    try:
        return service.shelf.get(name)
    except InputError:
        raise HTTPException(404, f"no model {shown(name)}") from None


async def _job(service: Service, make: Any, name: str, who: str, response: Response, key: str | None) -> JobStatus:
    entry = await service.desk.run(lambda: _known(service, name))
    return await _queue(service, make(model=entry.name), who, response, key)


async def _queue(service: Service, asked: AnyJob, who: str, response: Response, key: str | None) -> JobStatus:
    job = await service.desk.run(lambda: ordered(partial(order, service, asked, who, idempotency_key=key)))
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return status_of(service, job)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    read = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "read"))
    admin = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "admin"), methods=["POST"])
    _add_looking(read)
    _add_doing(admin)


def _add_looking(read: Callable[..., None]) -> None:
    read(
        "/v1/models",
        list_models,
        summary="List models",
        response_model=ModelList,
        response_description="The models",
        responses=documented(401, 403, 500, 503),
    )
    read(
        "/v1/models/{name}",
        get_model,
        summary="Look at a model",
        response_model=ModelDetails,
        response_description="The model",
        responses=documented(401, 403, 404, 422, 500, 503),
    )
    read(
        "/v1/activations",
        list_activations,
        summary="List activations",
        response_model=ActivationsPage,
        response_description="Some entries, and the cursor for older ones",
        responses=documented(401, 403, 422, 500, 503),
    )


def _add_doing(admin: Callable[..., None]) -> None:
    where = {"Location": {"description": "Where to look at it", "schema": {"type": "string"}}}
    made: dict[int | str, dict[str, Any]] = {201: {"headers": where}}
    accepted: dict[int | str, dict[str, Any]] = {202: {"headers": where}}
    admin(
        "/v1/models",
        register_model,
        status_code=201,
        summary="Take a model from a folder",
        response_description="The model, which is not at work yet",
        responses=made | documented(401, 403, 409, 413, 415, 422, 500, 503, 507),
    )
    admin(
        "/v1/models/upload",
        upload_model,
        status_code=201,
        summary="Upload a model",
        response_description="The model, which is not at work yet",
        responses=made | documented(401, 403, 408, 409, 413, 415, 422, 500, 503, 507),
        openapi_extra={"requestBody": _FORM},
    )
    admin(
        "/v1/models/rollback",
        roll_back_model,
        status_code=202,
        summary="Go back to the model before",
        response_description="The job that does so",
        responses=accepted | documented(401, 403, 409, 422, 500, 503, 507),
    )
    admin(
        "/v1/models/{name}",
        delete_model,
        methods=["DELETE"],
        status_code=204,
        summary="Remove a model",
        response_description="It is removed",
        responses=documented(401, 403, 404, 409, 422, 500, 503, 507),
    )
    for path, route, summary in (
        ("compare", compare_model, "Compare a model with the one at work"),
        ("activate", activate_model, "Put a model to work"),
    ):
        admin(
            f"/v1/models/{{name}}/{path}",
            route,
            status_code=202,
            summary=summary,
            response_description="The job that does so",
            responses=accepted | documented(401, 403, 404, 409, 422, 500, 503, 507),
        )
