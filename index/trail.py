"""The trail: which item stands in which cluster, and who moved it there when.

Every change of a cluster is an event that says which items went from where to where, so that it can be looked up and
taken back. Ids of clusters are stable: a cluster that nobody touches keeps its own.

It knows how that is kept. It does not know what makes two items one product, nor when clusters should be made anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from embedder.errors import InputError
from index.store import ConflictError, Store, from_cursor, to_cursor, to_json

EventKind = Literal["join", "found", "propose", "merge", "split", "move", "rebuild", "undo"]
Order = Literal["id", "largest", "loosest"]

_ORDERS: Mapping[str, tuple[str, type]] = {
    "id": ("id", str), "largest": ("-size", int), "loosest": ("ifnull(cohesion, 2.0)", float),
}  # fmt: skip
_ASKED = 500  # values in one query
_EVENTS = (
    "SELECT event, kind, who, by_hand, at, revision, detail,"
    " (SELECT count(*) FROM moves WHERE moves.event = events.event) FROM events"
)


@dataclass(frozen=True)
class Cluster:
    """A cluster: its id, how many items it has, and how well they hold together; None until it is rated anew."""

    id: str
    size: int
    cohesion: float | None


@dataclass(frozen=True)
class Move:
    """An item that went from one cluster to another; None is no cluster."""

    item: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Event:
    """An entry of the trail.

    Attributes:
        id: rising.
        kind: what was done.
        who: did it.
        by_hand: whether a person decided it, so that no machine should undo it.
        at: seconds since 1970.
        revision: that it made.
        detail: anything more, such as the two clusters of a proposed merge.
        moved: how many items it moved; ``Clusters.moves`` tells them.
    """

    id: int
    kind: EventKind
    who: str
    by_hand: bool
    at: float
    revision: int
    detail: Mapping[str, Any]
    moved: int


class Clusters:
    """Which item stands in which cluster, and how it came there. Ids of clusters are stable, and never given twice."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def fresh(self, count: int = 1) -> list[str]:
        """Ids that no cluster has or had by this function."""
        ids: list[str] = []
        with self._store.write() as (connection, _):
            while len(ids) < count:
                query = "UPDATE state SET named = named + 1 RETURNING 'c' || named"
                (id,) = connection.execute(query).fetchone()
                if connection.execute("SELECT 1 FROM clusters WHERE id = ?", (id,)).fetchone() is None:
                    ids.append(id)
        return ids

    def get(self, id: str) -> Cluster | None:
        """The cluster of an id; None where no item stands in it."""
        with self._store.read() as (connection, _):
            row = connection.execute("SELECT id, size, cohesion FROM clusters WHERE id = ?", (id,)).fetchone()
        return None if row is None else Cluster(*row)

    def page(self, order: Order = "id", after: str | None = None, limit: int = 100) -> tuple[list[Cluster], str | None]:
        """The clusters that follow a place, and the cursor for those after them.

        Only by id is every cluster seen once while others write: the rest move as they grow.

        Raises:
            InputError: a cursor that no page in this order gave.
        """
        key, kind = _ORDERS[order]
        place = from_cursor(after, kind, str) if after is not None else []
        where = f"{key} >= ?1 AND ({key}, id) > (?1, ?2)" if place else "1"  # the first part is what finds the index
        query = f"SELECT id, size, cohesion, {key} FROM clusters WHERE {where} ORDER BY {key}, id LIMIT ?"  # noqa: S608 - of the orders above
        with self._store.read() as (connection, _):
            rows = connection.execute(query, (*place, limit + 1)).fetchall()
        more = to_cursor(rows[limit - 1][3], rows[limit - 1][0]) if len(rows) > limit else None
        return [Cluster(*row[:3]) for row in rows[:limit]], more

    def unassigned(self, limit: int = 1_000) -> list[str]:
        """Ids of items that stand in no cluster yet, smallest first."""
        with self._store.read() as (connection, _):
            query = "SELECT id FROM items WHERE cluster IS NULL ORDER BY id LIMIT ?"
            return [id for (id,) in connection.execute(query, (limit,))]

    def places(self, ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Title and cluster of items, by id; of those that there are."""
        return self._places("id", ids)

    def members(self, clusters: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Title and cluster of all items of some clusters, by id."""
        return self._places("cluster", clusters)

    def move(
        self,
        to: Mapping[str, str | None],
        kind: EventKind,
        who: str,
        *,
        by_hand: bool = False,
        detail: Mapping[str, Any] | None = None,
    ) -> Event:
        """Put items into clusters, and enter it in the trail.

        Args:
            to: the cluster of each item, None for none; those that stand there already are not moved. May be empty:
                a proposal moves nothing.
            kind, who, by_hand, detail: see ``Event``.

        Raises:
            InputError: an item that there is not, or a detail that is no JSON.
        """
        with self._store.write() as (connection, revision):
            moves: list[Move] = []
            for item, after in to.items():
                row = connection.execute("SELECT cluster FROM items WHERE id = ?", (item,)).fetchone()
                if row is None:
                    raise InputError(f"no item {item!r}; expected items of the catalogue")
                if row[0] != after:
                    moves.append(Move(item, row[0], after))
            query = "INSERT INTO events (kind, who, by_hand, at, revision, detail) VALUES (?, ?, ?, ?, ?, ?)"
            said = to_json(detail or {})
            event = connection.execute(query, (kind, who, by_hand, self._store.clock(), revision, said)).lastrowid
            connection.executemany(
                "INSERT INTO moves VALUES (?, ?, ?, ?)", [(event, move.item, move.before, move.after) for move in moves]
            )
            connection.executemany(
                "UPDATE items SET cluster = ? WHERE id = ?", [(move.after, move.item) for move in moves]
            )
            return self.event(int(event or 0))

    def merge(self, into: str, others: Sequence[str], who: str, *, by_hand: bool = False) -> Event:
        """Move everything that stands in other clusters into one.

        Raises:
            InputError: a cluster that there is not, or one that would be merged with itself.
        """
        with self._store.write():
            if into in others:
                raise InputError(f"cluster {into!r} cannot be merged with itself; expected others")
            items = [item for cluster in (into, *others) for item in self._items(cluster)]
            return self.move(dict.fromkeys(items, into), "merge", who, by_hand=by_hand)

    def split(self, items: Sequence[str], who: str, *, by_hand: bool = False) -> Event:
        """Move some items of one cluster into a new one; the rest keeps the id.

        Raises:
            InputError: items of several clusters or none, or all items of their cluster.
        """
        with self._store.write() as (connection, _):
            query = "SELECT cluster FROM items WHERE id = ?"
            clusters = {row[0] for item in items for row in connection.execute(query, (item,))}
            if len(clusters) != 1 or None in clusters:
                raise InputError(f"items of {len(clusters - {None})} clusters; expected items of exactly one")
            if not set(self._items(clusters.pop())) - set(items):
                raise InputError("all items of the cluster; expected that some stay")
            return self.move(dict.fromkeys(items, self.fresh()[0]), "split", who, by_hand=by_hand)

    def undo(self, event: int, who: str, *, by_hand: bool = True) -> Event:
        """Put back what an event moved, but for items that are gone. To undo an undo is to do it again.

        Raises:
            InputError: no such event, or one that moved nothing.
            ConflictError: an item was moved again since.
        """
        with self._store.write() as (connection, _):
            moves = self.moves(event)
            if not moves:
                raise InputError(f"event {event} moved nothing; expected one that did")
            back: dict[str, str | None] = {}
            for move in moves:
                row = connection.execute("SELECT cluster FROM items WHERE id = ?", (move.item,)).fetchone()
                if row is not None and row[0] != move.after:
                    raise ConflictError(f"item {move.item!r} was moved again since event {event}; undo that first")
                if row is not None:
                    back[move.item] = move.before
            return self.move(back, "undo", who, by_hand=by_hand, detail={"event": event})

    def rate(self, cohesion: Mapping[str, float]) -> int:
        """Note how well clusters hold together; one that is gone is passed over. Returns the revision that made."""
        with self._store.write() as (connection, revision):
            rows = [(value, id) for id, value in cohesion.items()]
            connection.executemany("UPDATE clusters SET cohesion = ? WHERE id = ?", rows)
        return revision

    def event(self, id: int) -> Event:
        """One entry of the trail.

        Raises:
            InputError: there is none of this id.
        """
        with self._store.read() as (connection, _):
            row = connection.execute(f"{_EVENTS} WHERE event = ?", (id,)).fetchone()
        if row is None:
            raise InputError(f"no event {id}; expected one of the trail")
        return _event(row)

    def moves(self, event: int) -> list[Move]:
        """What an event moved, by item."""
        with self._store.read() as (connection, _):
            query = "SELECT item, before, after FROM moves WHERE event = ? ORDER BY item"
            return [Move(*row) for row in connection.execute(query, (event,))]

    def events(
        self,
        before: int | None = None,
        limit: int = 100,
        *,
        kind: EventKind | None = None,
        item: str | None = None,
        cluster: str | None = None,
    ) -> list[Event]:
        """The trail, newest first.

        Args:
            before: only entries older than this one; the last of a page asks for the next.
            limit: of entries.
            kind: only these.
            item, cluster: only entries that moved it, or moved something out of it or into it.
        """
        asked = {
            "event < ?": (before,),
            "kind = ?": (kind,),
            "event IN (SELECT event FROM moves WHERE item = ?)": (item,),
            "event IN (SELECT event FROM moves WHERE before = ? UNION SELECT event FROM moves WHERE after = ?)": (
                cluster,
                cluster,
            ),
        }
        wanted = {term: values for term, values in asked.items() if values[0] is not None}
        where = " AND ".join(wanted) or "1"
        query = f"{_EVENTS} WHERE {where} ORDER BY event DESC LIMIT ?"
        with self._store.read() as (connection, _):
            values = [value for given in wanted.values() for value in given]
            return [_event(row) for row in connection.execute(query, (*values, limit))]

    def _places(self, column: str, values: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        found: dict[str, tuple[str, str | None]] = {}
        with self._store.read() as (connection, _):
            for start in range(0, len(values), _ASKED):
                some = values[start : start + _ASKED]
                marks = ", ".join("?" * len(some))
                query = f"SELECT id, title, cluster FROM items WHERE {column} IN ({marks})"  # noqa: S608 - one of two columns
                found.update((id, (title, cluster)) for id, title, cluster in connection.execute(query, some))
        return found

    def _items(self, cluster: str) -> list[str]:
        with self._store.read() as (connection, _):
            items = [id for (id,) in connection.execute("SELECT id FROM items WHERE cluster = ?", (cluster,))]
        if not items:
            raise InputError(f"no cluster {cluster!r}; expected one that items stand in")
        return items


def _event(row: Sequence[Any]) -> Event:
    id, kind, who, by_hand, at, revision, detail, moved = row
    return Event(id, kind, who, bool(by_hand), at, revision, json.loads(detail), moved)
