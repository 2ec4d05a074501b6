"""Activations: which model was put to work when, and by whom. The last one is the active one.

An entry that takes a model back points at what stood before the model that comes back, so that one can go back step by
step. It knows names, fingerprints and digests as text. It does not know where models stand, nor how one is switched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from index.store import ConflictError, Store, from_cursor, to_cursor

_ENTRIES = "SELECT activation, name, fingerprint, digest, who, at, previous, clustered FROM activations"


@dataclass(frozen=True)
class Activation:
    """A model that was put to work.

    Attributes:
        number: rising.
        name: the model's, by which the shelf has it.
        fingerprint, digest: what its vectors and its decision were told by.
        who: put it to work.
        at: seconds since 1970.
        previous: the number of the entry whose model comes back when this one is taken back; None for none.
        clustered: whether the catalogue was clustered anew by it.
    """

    number: int
    name: str
    fingerprint: str
    digest: str
    who: str
    at: float
    previous: int | None
    clustered: bool

    @property
    def model(self) -> tuple[str, str, str]:
        """What tells it from other models: name, fingerprint and digest."""
        return self.name, self.fingerprint, self.digest


class Activations:
    """The record of which model works; kept by the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def active(self) -> Activation | None:
        """The last entry; None before the first."""
        with self._store.read() as (connection, _):
            return _first(connection, f"{_ENTRIES} ORDER BY activation DESC LIMIT 1")

    def get(self, number: int) -> Activation | None:
        """The entry of a number; None where there is none."""
        with self._store.read() as (connection, _):
            return _first(connection, f"{_ENTRIES} WHERE activation = ?", number)

    def before(self) -> Activation | None:
        """The entry whose model comes back when the active one is taken back; None where there is none."""
        with self._store.read():
            active = self.active()
            return self.get(active.previous) if active is not None and active.previous is not None else None

    def page(self, after: str | None = None, limit: int = 100) -> tuple[list[Activation], str | None]:
        """Entries, newest first, and the cursor for older ones.

        Raises:
            InputError: a cursor that no page gave.
        """
        (place,) = from_cursor(after, int) if after is not None else (2**62,)
        query = f"{_ENTRIES} WHERE activation < ? ORDER BY activation DESC LIMIT ?"
        with self._store.read() as (connection, _):
            some = [_entry(row) for row in connection.execute(query, (place, limit + 1))]
        return some[:limit], to_cursor(some[limit - 1].number) if len(some) > limit else None

    def add(self, name: str, fingerprint: str, digest: str, who: str, *, clustered: bool = False) -> Activation:
        """Enter that a model works from now on.

        Args:
            name, fingerprint, digest, who: see ``Activation``.
            clustered: whether the catalogue's clusters are this model's already.
        """
        with self._store.write():
            active = self.active()
            return self._enter((name, fingerprint, digest), who, None if active is None else active.number, clustered)

    def back(self, who: str) -> Activation:
        """Enter that the model before the active one works again; to go back again goes to the one before that.

        Raises:
            ConflictError: there is none before it.
        """
        with self._store.write():
            before = self.before()
            if before is None:
                raise ConflictError("no model worked before the active one; expected one to go back to")
            return self._enter(before.model, who, before.previous, clustered=False)

    def clustered(self, fingerprint: str, digest: str) -> bool:
        """Note that the catalogue was clustered anew by a model; whether that is the active one."""
        with self._store.write() as (connection, _):
            active = self.active()
            if active is None or active.model[1:] != (fingerprint, digest):
                return False
            connection.execute("UPDATE activations SET clustered = 1 WHERE activation = ?", (active.number,))
            return True

    def _enter(self, model: tuple[str, str, str], who: str, previous: int | None, clustered: bool) -> Activation:
        with self._store.write() as (connection, _):
            query = (
                "INSERT INTO activations (name, fingerprint, digest, who, at, previous, clustered)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            row = connection.execute(query, (*model, who, self._store.clock(), previous, clustered))
            return Activation(int(row.lastrowid or 0), *model, who, self._store.clock(), previous, clustered)


def _first(connection: sqlite3.Connection, query: str, *values: int) -> Activation | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else _entry(row)


def _entry(row: Sequence[object]) -> Activation:
    *told, clustered = row
    return Activation(*told, bool(clustered))  # type: ignore[arg-type]
