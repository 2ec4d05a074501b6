"""Activations: which model was put to work when, and by whom. The last one is the active one.

An entry that takes a model back points at what stood before the model that comes back, so that one can go back step by
step. It knows models by what they are called. It does not know where they stand, nor how one is switched for another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from index.store import ConflictError, Store, from_cursor, to_cursor

_ENTRIES = "SELECT activation, name, fingerprint, digest, outside, who, at, previous, clustered FROM activations"


@dataclass(frozen=True)
class Called:
    """What tells a model from all others.

    Attributes:
        name: by which people call it.
        fingerprint: of its vectors.
        digest: of its decision; see ``index.shelf.digest_of``.
        outside: whether it stands outside the data folder.
    """

    name: str
    fingerprint: str
    digest: str
    outside: bool


@dataclass(frozen=True)
class Activation:
    """A model that was put to work.

    Attributes:
        number: rising.
        model: which.
        who: put it to work.
        at: seconds since 1970.
        previous: the number of the entry whose model comes back when this one is taken back; None for none.
        clustered: whether the catalogue was clustered anew by it.
    """

    number: int
    model: Called
    who: str
    at: float
    previous: int | None
    clustered: bool


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

    def add(self, model: Called, who: str, *, clustered: bool = False) -> Activation:
        """Enter that a model works from now on.

        Args:
            model: which.
            who: put it to work.
            clustered: whether the catalogue's clusters are this model's already.
        """
        with self._store.write():
            active = self.active()
            return self._enter(model, who, None if active is None else active.number, clustered)

    def back(self, who: str) -> Activation:
        """Enter that the model before the active one works again; to go back again goes to the one before that.

        Raises:
            ConflictError: there is none before it.
        """
        with self._store.write():
            before = self.before()
            if before is None:
                raise ConflictError("no model worked before the active one; expected one to go back to")
            return self._enter(before.model, who, before.previous, False)

    def clustered(self, fingerprint: str, digest: str) -> bool:
        """Note that the catalogue was clustered anew by a model; whether that is the active one."""
        with self._store.write() as (connection, _):
            active = self.active()
            if active is None or (active.model.fingerprint, active.model.digest) != (fingerprint, digest):
                return False
            connection.execute("UPDATE activations SET clustered = 1 WHERE activation = ?", (active.number,))
            return True

    def _enter(self, model: Called, who: str, previous: int | None, clustered: bool) -> Activation:
        with self._store.write() as (connection, _):
            now, told = self._store.clock(), (model.name, model.fingerprint, model.digest, model.outside)
            entered = connection.execute(
                "INSERT INTO activations (name, fingerprint, digest, outside, who, at, previous, clustered)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*told, who, now, previous, clustered),
            )
            return Activation(int(entered.lastrowid or 0), model, who, now, previous, clustered)


def _first(connection: sqlite3.Connection, query: str, *values: int) -> Activation | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else _entry(row)


def _entry(row: Sequence[Any]) -> Activation:
    number, name, fingerprint, digest, outside, who, at, previous, clustered = row
    model = Called(name, fingerprint, digest, bool(outside))
    return Activation(number, model, who, at, previous, bool(clustered))
