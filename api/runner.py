"""The runner: jobs one after the other, in the background, each ended once whatever happens meanwhile.

A job that was running when the service ended waits again when it starts, so that every kind of job may be begun again
at any point. The store keeps what is to outlive the process; how far a job is, it is told once a second. Jobs that
ended long ago are forgotten with their files: the store forgets first, and files that no job has go at the next start.

It knows jobs' lives, folders and threads. What a job does stands in `api.tasks`; it does not know HTTP.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from api.children import LOG
from api.errands import OUT
from embedder.errors import InputError
from index.catalog import Catalog
from index.ledger import Job
from index.store import ConflictError, StorageError

FOLDER = "jobs"
"""The folder in a data folder."""
MAX_WAITING = 100  # jobs that may wait
AT_ONCE = 4  # uploads; each may take long
_TELL = 1.0  # seconds between two writes of how far a job is
_AGAIN = 5.0  # seconds until a failing store is tried again
_TIDIED = 3_600.0  # seconds between two looks for jobs that ended long ago
_DAY = 24 * 3_600.0
_TRIES = 3  # times that a job may end the service, most likely by using up its memory
_INCOMING, _BEGUN = ".incoming-", ".begun"
_LOG = logging.getLogger("dongil.jobs")


class BusyError(Exception):
    """So many jobs wait that no other one is taken."""


class Interrupted(Exception):  # noqa: N818 - it is no error
    """A job was asked to stop, or the service is."""


class Work(Protocol):
    """What a job does; see ``api.tasks``."""

    def __call__(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        """Do it; the result, of what JSON can say."""


@dataclass(frozen=True)
class Stand:
    """How far a job is: its phase, how much of how much, and the seconds until the phase ends, None if unknown."""

    phase: str
    done: int
    total: int
    eta_seconds: float | None


class Told:
    """What a running job tells of itself by calling this, and how it learns that it is to stop.

    Within a phase it never seems to go back.
    """

    def __init__(self, write: Callable[[Stand], None], stopping: threading.Event) -> None:
        self._write, self._stopping = write, stopping
        self._cancelled = threading.Event()
        self._begun = self._next = time.monotonic()
        self.stand = Stand("", 0, 0, None)

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` of a phase is done; 0 where nobody knows.

        Raises:
            Interrupted: the job is to stop.
        """
        self.check()
        now = time.monotonic()
        if phase != self.stand.phase:
            self._begun = now
        else:
            done = max(done, self.stand.done)
        passed = now - self._begun
        eta = passed * (total - done) / done if 0 < done <= total and passed >= _TELL else None
        self.stand = Stand(phase, done, max(total, done) if total else 0, eta)
        if now >= self._next:
            self._next = now + _TELL
            self._write(self.stand)

    def check(self) -> None:
        """Go on.

        Raises:
            Interrupted: the job is to stop.
        """
        if self._stopping.is_set() or self._cancelled.is_set():
            raise Interrupted

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop, for good."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the job to stop, for good."""
        self._cancelled.set()


class Runner:
    """Threads that run the catalogue's jobs. Close it at the end: what runs then waits for the next start.

    Args:
        catalog: whose jobs.
        work: what they do.
        at_once: how many run at the same time.
        keep_days: how long jobs are kept that have ended; 0 is for ever.

    Attributes:
        folder: of all jobs' folders.
        places: of uploads that are under way.
    """

    def __init__(self, catalog: Catalog, work: Work, at_once: int = 1, keep_days: int = 0) -> None:
        self._jobs, self._catalog, self._work = catalog.jobs, catalog, work
        self.folder = catalog.folder / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self.places = threading.Semaphore(AT_ONCE)
        self._running: dict[str, Told] = {}
        self._news = threading.Condition()
        self._asked = 0
        self._kept, self._look_at = keep_days * _DAY, -math.inf
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, name=f"dongil-jobs-{number}", daemon=True) for number in range(at_once)
        ]

    def start(self) -> None:
        """Begin with the jobs that wait."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop at the next safe point."""
        with self._news:
            self._stopping.set()
            self._news.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def incoming(self) -> Path:
        """A new folder for what is to become a job's; one that does not is to be removed.

        Raises:
            StorageError: the disk is full, or fails.
        """
        folder = self.folder / f"{_INCOMING}{uuid.uuid4().hex}"
        try:
            folder.mkdir()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StorageError(f"{folder}: {error.strerror}", full=full) from error
        return folder

    def submit(
        self, kind: str, request: Mapping[str, Any], folder: Path | None = None, *, idempotency_key: str | None = None
    ) -> Job:
        """Queue a job.

        Args:
            kind, request, idempotency_key: as ``Jobs.create`` takes them.
            folder: of ``incoming``, with the job's files; it is the job's own now, or gone.

        Raises:
            BusyError: too many wait already.
            ConflictError: the key was used for another request.
        """
        folder = folder or self.incoming()
        try:
            with self._catalog.transaction():  # nobody claims the job before its folder stands there
                job = self._jobs.create(kind, request, idempotency_key=idempotency_key)
                if not self.folder_of(job.id).exists():
                    if len(self._jobs.page(limit=MAX_WAITING + 1, state="queued")[0]) > MAX_WAITING:
                        raise BusyError
                    folder.rename(self.folder_of(job.id))
                    _sync(self.folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        with self._news:
            self._asked += 1
            self._news.notify()
        return job

    def cancel(self, id: str) -> Job:
        """Stop a job that waits or runs.

        Raises:
            InputError: there is no such job.
            ConflictError: it has ended.
        """
        job = self._jobs.cancel(id)
        if job.state == "cancelled":
            _tidy(self.folder_of(id))
        if told := self._running.get(id):
            told.cancel()
        return job

    def delete(self, id: str) -> bool:
        """Forget a job that has ended, with its files; whether there was one.

        Raises:
            ConflictError: it has not ended.
        """
        job = self._jobs.get(id)
        if job is not None and job.state in ("queued", "running"):
            raise ConflictError(f"job {id!r} is {job.state}; expected one that has ended")
        gone = self._jobs.delete(id)
        if gone:
            shutil.rmtree(self.folder_of(id), ignore_errors=True)
        return gone

    def forget_old(self) -> int:
        """Forget the jobs that ended longer ago than they are kept, with their files; how many.

        Raises:
            StorageError: the store fails; what is left is forgotten later.
        """
        if not self._kept:
            return 0
        old = self._jobs.ended(self._kept)
        return sum(self.delete(id) for id in old if not self._stopping.is_set())

    def stand(self, id: str) -> Stand | None:
        """How far a job is that runs just now."""
        told = self._running.get(id)
        return told.stand if told is not None and told.stand.phase else None

    def folder_of(self, id: str) -> Path:
        """Where a job's files are; ``id`` is that of a job, not of a caller."""
        return self.folder / id

    def _sweep(self) -> None:
        """Remove folders that no job has, such as of an upload that was cut off, and what ended jobs need no more."""
        for folder in self.folder.iterdir():
            job = None if folder.name.startswith(_INCOMING) else self._jobs.get(folder.name)
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)
            elif job.state not in ("queued", "running"):
                _tidy(folder)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            with self._news:
                asked = self._asked
            try:
                self._forget_at_times()
                job = self._jobs.claim() if self._jobs.page(limit=1, state="queued")[0] else None
            except StorageError as error:
                _LOG.error("cannot look for jobs: %s", error)
                self._stopping.wait(_AGAIN)
                continue
            if job is not None:
                self._run(job)
                continue
            with self._news:
                seconds = _TIDIED if self._kept else None
                self._news.wait_for(lambda: self._asked != asked or self._stopping.is_set(), seconds)  # noqa: B023 - called here

    def _forget_at_times(self) -> None:
        """Forget old jobs, of several threads one, if that was not done in the last hour."""
        with self._news:
            now = time.monotonic()
            if now < self._look_at:
                return
            self._look_at = now + _TIDIED
        if forgotten := self.forget_old():
            _LOG.info("forgot %d jobs that ended long ago", forgotten)

    def _run(self, job: Job) -> None:
        def write(stand: Stand) -> None:
            with suppress(StorageError):  # the job may have what it needs, although this cannot be kept
                if self._jobs.advance(job.id, stand.phase, stand.done, stand.total).cancelling:
                    told.cancel()

        told = self._running[job.id] = Told(write, self._stopping)
        _LOG.info("job %s (%s) begins", job.id, job.kind)
        try:
            ended = self._ended(job, told)
            if ended is not None:
                self._end(job.id, told.stand, ended)
                _tidy(self.folder_of(job.id))
        finally:
            del self._running[job.id]

    def _ended(self, job: Job, told: Told) -> dict[str, Any] | None:
        """Do a job; how it ended as ``Jobs.end`` takes it, or None where it waits for the next start."""
        folder = self.folder_of(job.id)
        try:
            if job.cancelling:
                return {}
            if _begun(folder) > _TRIES:
                return {"error": f"the service ended {_TRIES} times while it ran"}
            return {"result": self._work(job, folder, told)}
        except Exception as error:  # noqa: BLE001 - a job may fail in any way, and the next one must run
            if told.cancelled:
                return {}
            if self._stopping.is_set():
                (folder / _BEGUN).unlink(missing_ok=True)
                return None
            return {"error": _words(job, error)}

    def _end(self, id: str, stand: Stand, ended: Mapping[str, Any]) -> None:
        """Write down how a job ended, however long the store takes; else it would seem to run for ever."""
        while True:
            try:
                with self._catalog.transaction():
                    self._jobs.advance(id, stand.phase, stand.done, stand.total)
                    job = self._jobs.end(id, **ended)
            except StorageError as error:
                _LOG.error("job %s has ended, which cannot be written down: %s", id, error)
                if self._stopping.wait(_AGAIN):
                    return
            else:
                _LOG.info("job %s (%s) is %s", id, job.kind, job.state)
                return


def _words(job: Job, error: Exception) -> str:
    """Why a job failed, for whoever asked for it; for the operator the log says more."""
    if isinstance(error, InputError):
        return str(error)
    _LOG.error("job %s failed", job.id, exc_info=error)
    if isinstance(error, StorageError):
        return "the disk is full" if error.full else "the store could not be written or read"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return "it failed; the service's log says why"


def _begun(folder: Path) -> int:
    """How often a job was begun and not stopped in order, this time included."""
    with (folder / _BEGUN).open("ab") as file:
        file.write(b".")
        return file.tell()


def _tidy(folder: Path) -> None:
    """Remove what an ended job has no use for: all but what it made, and its worker's words."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and path.name != OUT:
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file() and path.name != LOG:
                path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make what was renamed in a folder stand there after the power failed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
