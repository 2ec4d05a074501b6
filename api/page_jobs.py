"""Jobs: what is done in the background, how far it is, and what came of it.

It knows pages, forms and jobs' records. It does not know how a job is run (``api.runner``) or done (``api.tasks``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError

from api.downloads import download
from api.jobs import arrived, file_of, known_job, ordered
from api.jobs_schemas import JobRequest
from api.orders import order
from api.page_frame import add_pages, go, is_part, show, visitor
from api.problems import expected
from api.runner import Stand
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from embedder.errors import InputError
from index.formats import shown
from index.ledger import Job
from index.tables import FORMATS

_PAGE = 30
_ENDED = ("done", "failed", "cancelled")
_REPORT = "index.html"
_FIELDS = ("kind", "threshold", "id_column", "title_column", "label_column", "delete_missing")
# A report is one page by itself, with its style and pictures in it, and without scripts.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True)
class Progress:
    """A job, and how far it is just now."""

    job: Job
    stand: Stand | None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.job.state in _ENDED

    @property
    def phase(self) -> str:
        """What is being done."""
        return self.stand.phase if self.stand else self.job.phase

    @property
    def share(self) -> float | None:
        """Of the phase; None where nobody knows."""
        done, total = (self.stand.done, self.stand.total) if self.stand else (self.job.done, self.job.total)
        return min(1.0, done / total) if total else None

    @property
    def left(self) -> float | None:
        """Seconds until the phase ends, at the pace it has; None where nobody knows."""
        return self.stand.eta_seconds if self.stand else None

    @property
    def files(self) -> list[str]:
        """Names of the files that it made."""
        return [str(name) for name in self.job.result.get("files", [])]


def progress_of(service: Service, job: Job) -> Progress:
    """How far a job is."""
    return Progress(job, service.runner.stand(job.id))


def queue(service: Service, asked: Mapping[str, Any], who: str, **file: Any) -> Job:
    """Queue a job.

    Args:
        service: whose.
        asked: what, as ``api.jobs_schemas`` has it.
        who: asks.
        file: that came with it; see ``order``.

    Raises:
        InputError: options that it does not have, or what ``order`` says.
        HTTPException: 503, too many jobs wait.
    """
    try:
        job = JobRequest.model_validate(dict(asked)).root
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"][1:]))
        value = fault["input"] if where else asked.get("kind", "")
        raise InputError(f"{where or 'kind'} is {shown(value)}; expected {expected(fault)}") from None
    return ordered(partial(order, service, job, who, **file))


async def jobs(request: Request, service: Loaded) -> Response:
    """Jobs, newest first."""
    after = request.query_params.get("after") or None

    def work() -> tuple[list[Progress], str | None]:
        page, cursor = service.catalog.jobs.page(after, _PAGE)
        return [progress_of(service, job) for job in page], cursor

    listed, cursor = await service.desk.run(work)
    template = "_jobs.html" if is_part(request) else "jobs.html"
    return show(request, template, jobs=listed, cursor=cursor, after=after)


async def job(id: str, request: Request, service: Loaded) -> Response:
    """One job."""
    found = await service.desk.run(lambda: known_job(service, id))
    return show(request, "_job.html" if is_part(request) else "job.html", one=progress_of(service, found))


async def file(id: str, name: str, service: Loaded) -> Response:
    """A file that a job made, to keep; the report of a benchmark, to read."""
    path, kind = await service.desk.run(lambda: (file_of(service, id, name), known_job(service, id).kind))
    if kind == "benchmark" and name == _REPORT:
        headers = {"Content-Security-Policy": _REPORT_POLICY}
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)
    return download(path, exact=False)


async def upload(request: Request, service: Loaded) -> Response:
    """Take a file in, and queue what is to be done with it."""
    who = visitor(request).who
    async with arrived(request, service, FORMATS, list(_FIELDS)) as (sent, folder):
        asked = _options(sent.fields)
        queued = await service.desk.run(lambda: queue(service, asked, who, upload=sent, folder=folder))
    return go(request, f"/jobs/{queued.id}")


def _options(fields: Mapping[str, str]) -> dict[str, Any]:
    """The options of a job in a form's fields; what is blank is not said."""
    said: dict[str, Any] = {name: value.strip() for name, value in fields.items() if value.strip()}
    try:
        if "threshold" in said:
            said["threshold"] = float(said["threshold"])
    except ValueError:
        raise InputError(f"threshold is {shown(said['threshold'])}; expected a number between 0 and 1") from None
    if "delete_missing" in said:
        said["delete_missing"] = True
    return said


async def cancel(id: str, request: Request, service: Loaded) -> Response:
    """Stop a job."""
    await service.desk.run(lambda: service.runner.cancel(known_job(service, id).id))
    return go(request, f"/jobs/{quote(id, safe='')}")


async def forget(id: str, request: Request, service: Loaded) -> Response:
    """Remove a job that has ended, and its files."""
    await service.desk.run(lambda: service.runner.delete(known_job(service, id).id))
    return go(request, "/jobs")


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    add = partial(add_pages, app, settings)
    add("read", {"/jobs": jobs, "/jobs/{id}": job, "/jobs/{id}/files/{name}": file})
    add("admin", {"/jobs": upload, "/jobs/{id}/cancel": cancel, "/jobs/{id}/delete": forget}, method="POST")
