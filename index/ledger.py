"""The ledger: what people said of pairs of items, and what they asked to be done. Labels and jobs.

It knows how such records are kept, and that a job whose process ended is asked for again. It does not know what labels
teach, or what a job does.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from embedder.errors import InputError
from index.store import ConflictError, Store, from_cursor, to_cursor, to_json

Verdict = Literal["same", "different", "skip"]
Of = Literal["items", "titles"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

_LABELS = "SELECT left, right, verdict, who, of, left_title, right_title, at, revision FROM labels"
_JOBS = (
    "SELECT id, kind, state, phase, done, total, request, result, error, cancelling,"
    " created, started, updated, finished, number FROM jobs"
)


@dataclass(frozen=True)
class Label:
    """What somebody said of a pair.

    Attributes:
        left, right: ids of two items, or two titles; their order means nothing, and the smaller is kept left.
        verdict: whether they are the same product; "skip" when it could not be told.
        who: said so.
        of: what left and right are.
        left_title, right_title: told by the catalogue: the titles when the label was given.
        at, revision: told by the catalogue: when that was.
    """

    left: str
    right: str
    verdict: Verdict
    who: str
    of: Of = "items"
    left_title: str = ""
    right_title: str = ""
    at: float = 0.0
    revision: int = 0


@dataclass(frozen=True)
class Job:
    """Work in the background.

    Attributes:
        id, kind: its name, and what it does.
        state: queued, running, or how it ended.
        phase, done, total: how far it is; total is 0 while nobody knows.
        request, result: what was asked, and what came of it.
        error: why it failed.
        cancelling: whether it was asked to stop.
        created, started, updated, finished: seconds since 1970; None for what has not happened.
        number: rising with each job.
    """

    id: str
    kind: str
    state: JobState
    phase: str
    done: int
    total: int
    request: Mapping[str, Any] = field(repr=False)
    result: Mapping[str, Any] = field(repr=False)
    error: str | None
    cancelling: bool
    created: float
    started: float | None
    updated: float
    finished: float | None
    number: int


class Labels:
    """What people said of pairs: one label a pair, the last one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, labels: Sequence[Label]) -> int:
        """Keep labels; one of a pair that has a label already takes its place. Returns the revision that made.

        Raises:
            InputError: a pair of one with itself, or an item that there is not.
        """
        with self._store.write() as (connection, revision):
            now = self._store.clock()
            for label in labels:
                left, right = _ordered(label.left, label.right)
                titles = [_title(connection, one) if label.of == "items" else one for one in (left, right)]
                connection.execute(
                    "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (label.of, left, right, *titles, label.verdict, label.who, now, revision),
                )
        return revision

    def get(self, left: str, right: str, of: Of = "items") -> Label | None:
        """The label of a pair, in either order; None where it has none."""
        with self._store.read() as (connection, _):
            query = f"{_LABELS} WHERE of = ? AND left = ? AND right = ?"
            row = connection.execute(query, (of, *_ordered(left, right))).fetchone()
        return None if row is None else Label(*row)

    def page(
        self, after: str | None = None, limit: int = 100, *, verdict: Verdict | None = None
    ) -> tuple[list[Label], str | None]:
        """The labels that follow a place, each seen once whatever is written, and the cursor for those after them.

        Raises:
            InputError: a cursor that no page gave.
        """
        place = from_cursor(after, str, str, str) if after is not None else ["", "", ""]
        query = (
            f"{_LABELS} WHERE (of, left, right) > (?, ?, ?) AND verdict = ifnull(?, verdict)"
            " ORDER BY of, left, right LIMIT ?"
        )
        with self._store.read() as (connection, _):
            labels = [Label(*row) for row in connection.execute(query, (*place, verdict, limit + 1))]
        last = labels[limit - 1] if len(labels) > limit else None
        return labels[:limit], to_cursor(last.of, last.left, last.right) if last else None

    def count(self, since: int = 0) -> int:
        """How many labels were given or changed after a revision."""
        with self._store.read() as (connection, _):
            (count,) = connection.execute("SELECT count(*) FROM labels WHERE revision > ?", (since,)).fetchone()
        return int(count)

    def tally(self) -> dict[Verdict, int]:
        """How many labels there are of each verdict that any has."""
        with self._store.read() as (connection, _):
            return dict(connection.execute("SELECT verdict, count(*) FROM labels GROUP BY verdict").fetchall())

    def state(self) -> tuple[int, int]:
        """How many labels there are, and the revision of the last one: one of them changes with any label."""
        with self._store.read() as (connection, _):
            (count, last) = connection.execute("SELECT count(*), ifnull(max(revision), 0) FROM labels").fetchone()
        return int(count), int(last)

    def delete(self, left: str, right: str, of: Of = "items") -> bool:
        """Take a label back; whether there was one."""
        with self._store.write() as (connection, _):
            query = "DELETE FROM labels WHERE of = ? AND left = ? AND right = ?"
            return connection.execute(query, (of, *_ordered(left, right))).rowcount > 0


def _ordered(left: str, right: str) -> tuple[str, str]:
    if left == right:
        raise InputError(f"a pair of {left!r} with itself; expected two")
    return min(left, right), max(left, right)


def _title(connection: sqlite3.Connection, item: str) -> str:
    row = connection.execute("SELECT title FROM items WHERE id = ?", (item,)).fetchone()
    if row is None:
        raise InputError(f"no item {item!r}; expected items of the catalogue")
    return str(row[0])


class Jobs:
    """Work that outlives its request, and the process: queued, claimed by a worker, ended once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, kind: str, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Queue a job; with a key that was used for the same request before, tell of the job that made.

        Raises:
            InputError: a request that is no JSON.
            ConflictError: the key was used for another request.
        """
        asked = to_json(request)
        with self._store.write() as (connection, _):
            if kept := self._store.recall(idempotency_key, ["job", kind, asked]):
                return self._stored(kept["id"])
            id, now = uuid.uuid4().hex, self._store.clock()
            connection.execute(
                "INSERT INTO jobs (id, kind, state, phase, done, total, request, result, cancelling, created, updated)"
                " VALUES (?, ?, 'queued', '', 0, 0, ?, '{}', 0, ?, ?)",
                (id, kind, asked, now, now),
            )
            self._store.remember(idempotency_key, ["job", kind, asked], {"id": id})
            return self._stored(id)

    def get(self, id: str) -> Job | None:
        """The job of an id; None where there is none."""
        with self._store.read() as (connection, _):
            row = connection.execute(f"{_JOBS} WHERE id = ?", (id,)).fetchone()
        return None if row is None else _job(row)

    def page(
        self, after: str | None = None, limit: int = 100, *, state: JobState | None = None
    ) -> tuple[list[Job], str | None]:
        """Jobs, newest first, and the cursor for older ones.

        Raises:
            InputError: a cursor that no page gave.
        """
        (place,) = from_cursor(after, int) if after is not None else (2**62,)
        query = f"{_JOBS} WHERE number < ? AND state = ifnull(?, state) ORDER BY number DESC LIMIT ?"
        with self._store.read() as (connection, _):
            jobs = [_job(row) for row in connection.execute(query, (place, state, limit + 1))]
        return jobs[:limit], to_cursor(jobs[limit - 1].number) if len(jobs) > limit else None

    def tally(self) -> dict[str, int]:
        """How many jobs there are of each state that any is in."""
        with self._store.read() as (connection, _):
            return dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def claim(self) -> Job | None:
        """Take the oldest queued job to run it; None where none waits. No two workers get the same one."""
        with self._store.write() as (connection, _):
            row = connection.execute(
                "UPDATE jobs SET state = 'running', started = ifnull(started, ?1), updated = ?1 WHERE number ="
                " (SELECT number FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1) RETURNING id",
                (self._store.clock(),),
            ).fetchone()
            return None if row is None else self._stored(row[0])

    def advance(self, id: str, phase: str, done: int, total: int) -> Job:
        """Note how far a running job is. A write to the disk: once a second is often enough.

        Returns:
            The job; its ``cancelling`` asks the worker to stop, and to say so by ``end``.
        """
        return self._change(id, ("running",), phase=phase, done=done, total=total)

    def end(self, id: str, *, result: Mapping[str, Any] | None = None, error: str | None = None) -> Job:
        """End a running job: failed with an error, done with a result, cancelled with neither.

        Raises:
            InputError: there is no such job, or a result that is no JSON.
            ConflictError: it is not running.
        """
        state = "failed" if error is not None else "cancelled" if result is None else "done"
        ended = {"state": state, "error": error, "result": to_json(result or {}), "finished": self._store.clock()}
        return self._change(id, ("running",), **ended)

    def cancel(self, id: str) -> Job:
        """Stop a job that waits, or ask one that runs to stop.

        Raises:
            InputError: there is no such job.
            ConflictError: it has ended.
        """
        with self._store.write():
            job = self._stored(id)
            if job.state == "queued":
                return self._change(id, ("queued",), state="cancelled", cancelling=1, finished=self._store.clock())
            return self._change(id, ("running",), cancelling=1)

    def requeue(self) -> int:
        """After a restart: jobs that were running wait again, or are cancelled if they were to be; how many."""
        with self._store.write() as (connection, _):
            return connection.execute(
                "UPDATE jobs SET state = iif(cancelling, 'cancelled', 'queued'), updated = ?1,"
                " finished = iif(cancelling, ?1, NULL) WHERE state = 'running'",
                (self._store.clock(),),
            ).rowcount

    def ended(self, seconds: float) -> list[str]:
        """Ids of the jobs that ended at least so long ago, the oldest first."""
        query = "SELECT id FROM jobs WHERE state NOT IN ('queued', 'running') AND finished <= ? ORDER BY number"
        with self._store.read() as (connection, _):
            return [str(id) for (id,) in connection.execute(query, (self._store.clock() - seconds,))]

    def delete(self, id: str) -> bool:
        """Forget a job that has ended; whether there was one."""
        with self._store.write() as (connection, _):
            query = "DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')"
            return connection.execute(query, (id,)).rowcount > 0

    def _change(self, id: str, states: tuple[JobState, ...], **columns: Any) -> Job:
        with self._store.write() as (connection, _):
            job = self._stored(id)
            if job.state not in states:
                raise ConflictError(f"job {id!r} is {job.state}; expected {' or '.join(states)}")
            columns["updated"] = self._store.clock()
            setting = ", ".join(f"{column} = ?" for column in columns)
            query = f"UPDATE jobs SET {setting} WHERE id = ?"  # noqa: S608 - columns of this class, not of callers
            connection.execute(query, (*columns.values(), id))
            return self._stored(id)

    def _stored(self, id: str) -> Job:
        job = self.get(id)
        if job is None:
            raise InputError(f"no job {id!r}; expected one that was created")
        return job


def _job(row: Sequence[Any]) -> Job:
    values = list(row)
    values[6], values[7], values[9] = json.loads(row[6]), json.loads(row[7]), bool(row[9])
    return Job(*values)
