"""Jobs and models of the Python client: work in the background, watched and taken home.

``api.client.Client`` has these functions. It does not know what a job does.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from api.client_answers import Activation, Job, JobState, Model, read
from api.client_calls import PAGE, Calls, in_path


class JobError(Exception):
    """A job failed, or was cancelled.

    Attributes:
        job: as it ended.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} ({job.kind}) {job.state}{f': {job.error}' if job.error else ''}")
        self.job = job


class Background:
    """What is done in the background."""

    _calls: Calls

    def submit(
        self,
        kind: str,
        *,
        upload: str | Path | None = None,
        idempotency_key: str | None = None,
        **request: Any,
    ) -> Job:
        """Have something done in the background.

        Args:
            kind: cluster, match, import, rebuild, train, benchmark, compare, activate or rollback.
            upload: a file to take along; its suffix tells its format.
            idempotency_key: as of ``put_items``.
            request: further fields of the job, as ``POST /v1/jobs`` has them.
        """
        headers, asked = _key(idempotency_key), {"kind": kind, **request}
        if upload is None:
            return self._calls.post(Job, "/v1/jobs", asked, headers=headers)
        path = Path(upload)
        with path.open("rb") as file:
            form = {"job": (None, json.dumps(asked), "application/json"), "file": (path.name, file)}
            return self._calls.post(Job, "/v1/jobs/upload", before=lambda: file.seek(0), files=form, headers=headers)

    def get_job(self, id: str) -> Job:
        """A job, and how far it is."""
        return self._calls.get(Job, f"/v1/jobs/{in_path(id)}")

    def jobs(self, *, state: JobState | None = None, page: int = PAGE) -> Iterator[Job]:
        """All jobs, newest first."""
        return self._calls.pages(Job, "/v1/jobs", page, state=state)

    def wait(
        self,
        job: Job,
        *,
        progress: Callable[[Job], object] | None = None,
        poll: float = 0.5,
        timeout: float | None = None,
    ) -> Job:
        """Wait until a job is done.

        Args:
            job: as it was submitted.
            progress: called with the job whenever it was looked at.
            poll: seconds between two looks.
            timeout: seconds to wait at most; the job goes on.

        Raises:
            JobError: it failed, or was cancelled.
            TimeoutError: it takes longer.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self.get_job(job.id)
            if progress:
                progress(job)
            if job.state == "done":
                return job
            if job.ended:
                raise JobError(job)
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"job {job.id} is {job.state} after {timeout:g} seconds")
            time.sleep(poll)

    def cancel(self, id: str) -> Job:
        """Stop a job: at once if it waits, as soon as it can if it runs."""
        return self._calls.post(Job, f"/v1/jobs/{in_path(id)}/cancel", repeatable=False)

    def delete_job(self, id: str) -> None:
        """Forget a job that has ended, with its files."""
        self._calls.ask("DELETE", f"/v1/jobs/{in_path(id)}", repeatable=False)

    def download(self, id: str, name: str, to: str | Path, *, exact: bool = False) -> Path:
        """Fetch a file that a job has made.

        Args:
            id: of the job.
            name: one of its ``files``.
            to: where to write it; it appears whole or not at all.
            exact: as it was made; by default text that a spreadsheet would take for a formula has a backtick before it.
        """
        to = Path(to)
        beside = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}.tmp")
        path = f"/v1/jobs/{in_path(id)}/files/{in_path(name)}"
        try:
            asked = self._calls.stream(path, params={"exact": "true"} if exact else {})
            with asked as answer, beside.open("xb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
            beside.replace(to)
        finally:
            beside.unlink(missing_ok=True)
        return to

    def models(self) -> list[Model]:
        """The models that may be put to work; one of them is ``active``."""
        return read(list[Model], self._calls.ask("GET", "/v1/models").json()["items"])

    def get_model(self, name: str) -> Model:
        """A model with its figures and its card."""
        return self._calls.get(Model, f"/v1/models/{in_path(name)}")

    def add_model(self, name: str, bundle: str | Path) -> Model:
        """Take a model onto the shelf.

        Args:
            name: that it gets.
            bundle: a zip file of a bundle's folder, which is sent; or the name of a folder that the service may read.
        """
        path = Path(bundle)
        if path.suffix.lower() != ".zip":
            asked = {"name": name, "folder": str(bundle)}
            return self._calls.post(Model, "/v1/models", asked, repeatable=False)
        with path.open("rb") as file:
            form = {"name": (None, name), "file": (path.name, file)}
            return self._calls.post(
                Model, "/v1/models/upload", repeatable=False, before=lambda: file.seek(0), files=form
            )

    def delete_model(self, name: str) -> None:
        """Remove a model that is not at work."""
        self._calls.ask("DELETE", f"/v1/models/{in_path(name)}", repeatable=False)

    def compare(self, name: str, **how: Any) -> Job:
        """What would change if a model took over, on the labels and on the clusters, as a job."""
        return self._do(f"/v1/models/{in_path(name)}/compare", **how)

    def activate(self, name: str, **how: Any) -> Job:
        """Let a model take over, as a job: made ready beside the one that works, checked, put in its place."""
        return self._do(f"/v1/models/{in_path(name)}/activate", **how)

    def roll_back(self, **how: Any) -> Job:
        """Let the model that worked before take over again, as a job."""
        return self._do("/v1/models/rollback", **how)

    def activations(self, *, page: int = PAGE) -> Iterator[Activation]:
        """Which model was put to work when, and by whom; newest first."""
        return self._calls.pages(Activation, "/v1/activations", page)

    def _do(self, path: str, *, idempotency_key: str | None = None) -> Job:
        return self._calls.post(Job, path, headers=_key(idempotency_key))


def _key(given: str | None) -> Mapping[str, str]:
    return {"idempotency-key": given or uuid.uuid4().hex}
