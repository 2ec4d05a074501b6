"""Jobs: work in the background asked for, watched, stopped and taken home.

Thin: routes pass the work on to the service's threads. It does not know what a job does (`api.tasks`), nor how jobs
are run (`api.runner`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.downloads import TYPES, download
from api.errands import OUT
from api.guard import guarded_route
from api.items_schemas import IdempotencyKey
from api.jobs_schemas import AnyJob, Exact, JobRequest, JobsPage, JobStatus, OfState
from api.orders import order
from api.problems import documented
from api.runner import AT_ONCE, BusyError
from api.schemas import Cursor, PageLimit
from api.service import Service
from api.settings import Settings
from api.state import Loaded, Who
from api.uploads import Upload, receive
from embedder.errors import InputError
from index.formats import shown
from index.ledger import Job
from index.tables import FORMATS

JobId = Annotated[str, InPath(min_length=1, max_length=100)]
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["job", "file"],
                "properties": {
                    "job": {"$ref": "#/components/schemas/JobRequest"},
                    "file": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
                },
            },
            "encoding": {"job": {"contentType": "application/json"}},
        }
    },
}


async def create_job(
    asked: JobRequest, service: Loaded, who: Who, response: Response, key: IdempotencyKey = None
) -> JobStatus:
    """Have something done in the background. A file that it needs stands where the operator has allowed.

    `POST /v1/jobs/upload` takes a file along.
    """
    job = await service.desk.run(lambda: ordered(partial(order, service, asked.root, who, idempotency_key=key)))
    return _accepted(service, job, response)


async def create_job_with_file(
    request: Request, service: Loaded, who: Who, response: Response, key: IdempotencyKey = None
) -> JobStatus:
    """Have something done in the background with the file that comes along: CSV, TSV, JSON Lines or Parquet.

    The form has two fields: `job`, in JSON as `POST /v1/jobs` takes it, and `file`, whose name's suffix tells its
    format.
    """
    async with arrived(request, service, FORMATS, ["job"]) as (upload, folder):
        asked = _read_job(upload)
        ordering = partial(order, service, asked, who, upload=upload, folder=folder, idempotency_key=key)
        job = await service.desk.run(lambda: ordered(ordering))
    return _accepted(service, job, response)


async def list_jobs(service: Loaded, limit: PageLimit = 100, cursor: Cursor = None, state: OfState = None) -> Response:
    """The jobs, newest first."""
    return await service.desk.answer(lambda: jobs_page(service, cursor, limit, state))


async def get_job(id: JobId, service: Loaded) -> Response:
    """A job: how far it is, and what came of it."""
    return await service.desk.answer(lambda: status_of(service, known_job(service, id)))


async def cancel_job(id: JobId, service: Loaded) -> JobStatus:
    """Stop a job: at once if it waits, as soon as it can if it runs. What it has written into the catalogue stays."""

    def cancel() -> JobStatus:
        known_job(service, id)
        return status_of(service, service.runner.cancel(id))

    return await service.desk.run(cancel)


async def delete_job(id: JobId, service: Loaded) -> None:
    """Forget a job that has ended, with its files."""

    def delete() -> None:
        if not service.runner.delete(known_job(service, id).id):
            raise _no_job(id)

    await service.desk.run(delete)


async def download_job_file(
    id: JobId, name: Annotated[str, InPath(max_length=200)], service: Loaded, exact: Exact = False
) -> Response:
    """A file that a job has made, to keep.

    Tables are safe to open as spreadsheets: text that one would take for a formula has a backtick before it. With
    `exact` they are as they were made.
    """
    path = await service.desk.run(lambda: file_of(service, id, name))
    return download(path, exact=exact)


@asynccontextmanager
async def arrived(
    request: Request, service: Service, suffixes: Any, fields: list[str]
) -> AsyncIterator[tuple[Upload, Path]]:
    """The file of a form, and the folder that it stands in, which goes when the block ends unless a job took it.

    Raises:
        HTTPException: 503, others are sending files.
        BaseException: as ``receive``.
    """
    runner = service.runner
    if not runner.places.acquire(blocking=False):
        raise HTTPException(503, f"{AT_ONCE} uploads are under way; come again", {"Retry-After": "5"})
    try:
        folder = await service.desk.run(runner.incoming)
        try:
            limit = service.settings.max_upload_bytes
            yield await receive(request, folder, suffixes=suffixes, fields=fields, limit=limit), folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        runner.places.release()


def jobs_page(service: Service, cursor: str | None, limit: int, state: OfState = None) -> JobsPage:
    """A page of jobs.

    Raises:
        InputError: a cursor that no page gave.
    """
    jobs, more = service.catalog.jobs.page(cursor, limit, state=state)
    return JobsPage(items=[status_of(service, job) for job in jobs], next_cursor=more)


def status_of(service: Service, job: Job) -> JobStatus:
    """A job as it is this moment, which the store knows a second later."""
    status = JobStatus.of(job)
    if job.state == "running" and (stand := service.runner.stand(job.id)) is not None:
        status = status.model_copy(update=vars(stand))
    return status


def known_job(service: Service, id: str) -> Job:
    """The job of an id.

    Raises:
        HTTPException: 404, there is none.
    """
    job = service.catalog.jobs.get(id)
    if job is None:
        raise _no_job(id)
    return job


def file_of(service: Service, id: str, name: str) -> Path:
    """Where a file stands that a job has made; no other name gets anywhere.

    Raises:
        HTTPException: 404, the job has made none of this name.
    """
    job = known_job(service, id)
    path = service.runner.folder_of(job.id) / OUT / name
    if name not in job.result.get("files", ()) or not path.is_file():
        raise HTTPException(404, f"no file {shown(name)} of job {shown(id)}")
    return path


def _no_job(id: str) -> HTTPException:
    return HTTPException(404, f"no job {shown(id)}")


def ordered(ordering: Callable[[], Job]) -> Job:
    try:
        return ordering()
    except BusyError:
        raise HTTPException(503, "too many jobs are waiting; come again", {"Retry-After": "60"}) from None


def _read_job(upload: Upload) -> AnyJob:
    try:
        value = json.loads(upload.fields.get("job", ""))
    except (ValueError, RecursionError) as error:
        raise InputError(f"field 'job' is no JSON: {error}") from None
    try:
        return JobRequest.model_validate(value).root
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", "job", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults, body={"job": value}) from None


def _accepted(service: Service, job: Job, response: Response) -> JobStatus:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return status_of(service, job)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    read = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "read"))
    admin = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "admin"))
    _add_looking(read)
    _add_doing(admin)


def _add_looking(read: Callable[..., None]) -> None:
    read(
        "/v1/jobs",
        list_jobs,
        summary="List jobs",
        response_model=JobsPage,
        response_description="Some jobs, and the cursor for older ones",
        responses=documented(401, 403, 422, 500, 503),
    )
    read(
        "/v1/jobs/{id}",
        get_job,
        summary="Look at a job",
        response_model=JobStatus,
        response_description="The job",
        responses=documented(401, 403, 404, 422, 500, 503),
    )
    read(
        "/v1/jobs/{id}/files/{name}",
        download_job_file,
        summary="Download a job's file",
        response_class=Response,
        response_description="The file",
        responses=documented(401, 403, 404, 422, 500, 503)
        | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TYPES.values()}}},
    )


def _add_doing(admin: Callable[..., None]) -> None:
    location = {"Location": {"description": "Where to watch it", "schema": {"type": "string"}}}
    accepted: dict[int | str, dict[str, Any]] = {202: {"headers": location}}
    admin(
        "/v1/jobs",
        create_job,
        methods=["POST"],
        status_code=202,
        summary="Ask for a job",
        response_description="The job, which waits for its turn",
        responses=accepted | documented(401, 403, 409, 413, 415, 422, 500, 503, 507),
    )
    admin(
        "/v1/jobs/upload",
        create_job_with_file,
        methods=["POST"],
        status_code=202,
        summary="Ask for a job on a file",
        response_description="The job, which waits for its turn",
        responses=accepted | documented(401, 403, 408, 409, 413, 415, 422, 500, 503, 507),
        openapi_extra={"requestBody": _FORM},
    )
    admin(
        "/v1/jobs/{id}/cancel",
        cancel_job,
        methods=["POST"],
        summary="Stop a job",
        response_description="The job; while it is `cancelling` it has not stopped yet",
        responses=documented(401, 403, 404, 409, 422, 500, 503, 507),
    )
    admin(
        "/v1/jobs/{id}",
        delete_job,
        methods=["DELETE"],
        status_code=204,
        summary="Forget a job",
        response_description="It is forgotten",
        responses=documented(401, 403, 404, 409, 422, 500, 503, 507),
    )
