"""The catalogue that lives: items that come, change and go, with the vectors of their titles, in a durable store.

Items whose cleaned titles are equal share one node, and so one vector for each model. Whoever keeps a search index
follows by revision: it loads what there is once, and asks for what has changed since.

It knows items, nodes and vectors; what people and jobs did with them stands beside (``index.ledger``), reached by
``clusters``, ``labels`` and ``jobs``. It does not know how vectors are made or searched, what ends up in one cluster,
or HTTP and its limits.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from index.activations import Activations
from index.finding import Finder
from index.followers import Followers
from index.ledger import Jobs, Labels
from index.listings import ITEMS, Item, digest_of, drop_unused, from_row, model_of, put_row, renew_nodes, to_row
from index.store import Clock, Store, from_cursor, to_cursor
from index.trail import Clusters
from index.vectors import Vectors, check_vectors

Ids = npt.NDArray[np.int64]
_CHUNK = 8_192  # rows read at once


@dataclass(frozen=True)
class PutResult:
    """How many of the items that were put are new, changed, or stood there already; and the revision that made."""

    created: int
    updated: int
    unchanged: int
    revision: int


@dataclass(frozen=True)
class Page:
    """Some items in the order of their ids; ``next_cursor`` asks for those after them, None after the last."""

    items: list[Item]
    next_cursor: str | None
    revision: int


@dataclass(frozen=True)
class Changes:
    """Ids of items that came or changed, and of those that went, up to ``revision``."""

    changed: list[str]
    deleted: list[str]
    revision: int


@dataclass(frozen=True)
class Loaded:
    """Items with the vectors of one model; an item without one is not among them.

    Attributes:
        ids, titles: of the items, raw.
        row_of: the row of ``matrix`` that each item has, int64.
        nodes: the node of each row, int64.
        matrix: float32 unit rows (zeros for a title that the model cannot read), shape (nodes, dimension).
        revision: of the catalogue.
    """

    ids: list[str]
    titles: list[str]
    row_of: Ids
    nodes: Ids
    matrix: Vectors
    revision: int


@dataclass(frozen=True)
class Missing:
    """A node that a model has no vector of, and the raw title to encode for it: the smallest of its items'."""

    node: int
    title: str


class Catalog:
    """The durable catalogue. Make one with ``open``; safe to use from several threads.

    Every function is one transaction. ``snapshot`` and ``transaction`` make several of one thread into one. All raise
    ``StorageError`` when the disk is full or fails: then nothing has changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.clusters = Clusters(store)
        self.labels = Labels(store)
        self.finder = Finder(store)
        self.jobs = Jobs(store)
        self.activations = Activations(store)
        self.followers = Followers()

    @classmethod
    def open(cls, folder: str | Path, *, clock: Clock = time.time) -> Catalog:
        """Open the catalogue in a folder, or make an empty one there; jobs that were running wait to be resumed.

        Raises:
            InputError: another process has it, or what stands there is no catalogue of this dongil or an older one.
            StorageError: the disk is full, or fails.
        """
        catalog = cls(Store.open(folder, clock=clock))
        try:
            with catalog._store.write() as (connection, _):
                renew_nodes(connection)
                catalog.jobs.requeue()
        except BaseException:
            catalog.close()
            raise
        return catalog

    @property
    def folder(self) -> Path:
        """Where it stands."""
        return self._store.folder

    def close(self) -> None:
        """Wait for what is under way, then close."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Everything that this thread reads in the block is of one revision, which it yields. Keep it short."""
        with self._store.read() as (_, revision):
            yield revision

    @contextmanager
    def transaction(self) -> Iterator[int]:
        """Everything that this thread writes in the block stands together or not at all; yields the revision."""
        with self._store.write() as (_, revision):
            yield revision

    def put(self, items: Sequence[Item], *, idempotency_key: str | None = None) -> PutResult:
        """Add items, or replace those of the same ids whole. A cluster is kept, even by an item with another title.

        Args:
            items: with distinct ids.
            idempotency_key: the same key and items get the same answer, and do nothing, for a day.

        Raises:
            InputError: an id twice, text that is no Unicode, or an ``extra`` that is no JSON.
            ConflictError: the key was used for another request.
        """
        rows = [to_row(item) for item in items]
        if len({row[0] for row in rows}) != len(rows):
            twice = next(id for id, count in Counter(row[0] for row in rows).items() if count > 1)
            raise InputError(f"id {twice!r} stands twice; expected distinct ids")
        digests = [digest_of(row[0], row[1]) for row in rows]
        with self._store.write() as (connection, revision):
            if kept := self._store.recall(idempotency_key, ["put", rows]):
                return PutResult(**kept)
            each = zip(rows, digests, strict=True)
            outcomes = [put_row(connection, row, digest, revision) for row, digest in each]
            drop_unused(connection, {left for _, left in outcomes})  # last: an item may have come to where one left
            done = Counter(outcome for outcome, _ in outcomes)
            result = PutResult(done["created"], done["updated"], done["unchanged"], revision)
            self._store.remember(idempotency_key, ["put", rows], asdict(result))
        return result

    def get(self, id: str) -> Item | None:
        """The item of an id; None where there is none."""
        with self._store.read() as (connection, _):
            row = connection.execute(f"{ITEMS} WHERE id = ?", (id,)).fetchone()
        return None if row is None else from_row(row)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items, and the vectors that nothing else needs; ids that there are none of are no error.

        Returns:
            The revision that made.
        """
        gone = [(id,) for id in ids]
        with self._store.write() as (connection, revision):
            for key in gone:
                nodes = connection.execute("DELETE FROM items WHERE id = ? RETURNING node", key).fetchall()
                connection.executemany("INSERT INTO deleted VALUES (?, ?)", [(*key, revision) for _ in nodes])
                drop_unused(connection, [node for (node,) in nodes])
        return revision

    def count(self) -> int:
        """The number of items."""
        with self._store.read() as (connection, _):
            (items,) = connection.execute("SELECT count(*) FROM items").fetchone()
        return int(items)

    def page(
        self,
        after: str | None = None,
        limit: int = 100,
        *,
        seller: str | None = None,
        category: str | None = None,
        cluster: str | None = None,
    ) -> Page:
        """The items that follow a place, in the order of their ids: those that stay are seen once, whatever is written.

        Args:
            after: a page's ``next_cursor``; None for the beginning.
            limit: of items, at least 1.
            seller, category, cluster: only the items of these; None for any.

        Raises:
            InputError: limit below 1, or a cursor that no page gave.
        """
        if limit < 1:
            raise InputError(f"limit is {limit}; expected at least 1")
        (place,) = from_cursor(after, str) if after is not None else (None,)
        asked = {"id >": place, "seller =": seller, "category =": category, "cluster =": cluster}
        wanted = {term: value for term, value in asked.items() if value is not None}
        where = " AND ".join(f"{term} ?" for term in wanted) or "1"
        query = f"{ITEMS} WHERE {where} ORDER BY id LIMIT ?"
        with self._store.read() as (connection, revision):
            items = [from_row(row) for row in connection.execute(query, (*wanted.values(), limit + 1))]
        more = len(items) > limit
        return Page(items[:limit], to_cursor(items[limit - 1].id) if more else None, revision)

    def changes_since(self, revision: int, fingerprint: str | None = None) -> Changes:
        """What an index that was made at a revision must take up and drop.

        Args:
            revision: where the index stands.
            fingerprint: its model; items whose vectors came since then count as changed.

        Raises:
            InputError: deletions since then are forgotten, or the revision is of another catalogue's future: load anew.
        """
        with self._store.read() as (connection, now):
            (forgotten,) = connection.execute("SELECT forgotten FROM state").fetchone()
            if not forgotten <= revision <= now:
                raise InputError(f"revision {revision}; changes are known from {forgotten} to {now}: load anew")
            changed = connection.execute("SELECT id FROM items WHERE updated > ?", (revision,)).fetchall()
            changed += connection.execute(
                "SELECT id FROM vectors JOIN models USING (model) JOIN items USING (node)"
                " WHERE fingerprint = ? AND vectors.revision > ?",
                (fingerprint, revision),
            ).fetchall()
            deleted = connection.execute("SELECT id FROM deleted WHERE revision > ?", (revision,)).fetchall()
        return Changes(sorted({id for (id,) in changed}), sorted(id for (id,) in deleted), now)

    def forget_deleted(self, before: int) -> int:
        """Forget the deletions up to a revision that every index has passed; returns the revision that made.

        Where nothing was deleted by then, nothing is written.
        """
        with self._store.read() as (connection, revision):
            (there,) = connection.execute("SELECT count(*) FROM deleted WHERE revision <= ?", (before,)).fetchone()
        if not there:
            return revision
        with self._store.write() as (connection, revision):
            connection.execute("DELETE FROM deleted WHERE revision <= ?", (before,))
            connection.execute("UPDATE state SET forgotten = max(forgotten, min(?, ?))", (before, revision))
        return revision

    def missing_vectors(self, fingerprint: str, limit: int = 2_048, *, after: int = 0) -> list[Missing]:
        """Nodes to encode, in the order of their numbers.

        Args:
            fingerprint: of the model that would encode them.
            limit: of nodes.
            after: the last node of the list before this one, so that a long way is not gone again.
        """
        with self._store.read() as (connection, _):
            rows = connection.execute(
                "SELECT node, (SELECT min(title) FROM items WHERE items.node = nodes.node) FROM nodes"
                " WHERE node > ? AND NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.node = nodes.node"
                " AND model = (SELECT model FROM models WHERE fingerprint = ?)) ORDER BY node LIMIT ?",
                (after, fingerprint, limit),
            ).fetchall()
        return [Missing(*row) for row in rows]

    def missing_count(self, fingerprint: str) -> int:
        """How many nodes a model has no vector of."""
        with self._store.read() as (connection, _):
            ((nodes, there),) = connection.execute(
                "SELECT (SELECT count(*) FROM nodes),"
                " (SELECT count(*) FROM vectors JOIN models USING (model) WHERE fingerprint = ?)",
                (fingerprint,),
            )
        return int(nodes - there)

    def put_vectors(self, fingerprint: str, nodes: Sequence[int], vectors: Vectors) -> int:
        """Store the vectors of nodes by one model; a node that went meanwhile is passed over.

        Args:
            fingerprint: the model's.
            nodes: as ``missing_vectors`` told them.
            vectors: float32 unit rows or zeros, shape (len(nodes), dimension).

        Returns:
            The revision that made.

        Raises:
            InputError: another number or length of vectors than expected, or rows of another length than 1 or 0.
        """
        if len(nodes) != len(vectors):
            raise InputError(f"{len(vectors)} vectors for {len(nodes)} nodes; expected as many")
        with self._store.write() as (connection, revision):
            model, dimension = model_of(connection, fingerprint) or (None, None)
            vectors = check_vectors(vectors, dimension).astype("<f4", copy=False)
            if model is None:
                added = "INSERT INTO models (fingerprint, dimension) VALUES (?, ?) RETURNING model"
                (model,) = connection.execute(added, (fingerprint, vectors.shape[1])).fetchone()
            connection.executemany(
                "INSERT INTO vectors (model, node, revision, vector) SELECT ?, node, ?, ? FROM nodes WHERE node = ?"
                " ON CONFLICT (node, model) DO UPDATE SET revision = excluded.revision, vector = excluded.vector",
                ((model, revision, row.tobytes(), int(node)) for node, row in zip(nodes, vectors, strict=True)),
            )
        return revision

    def drop_vectors(self, fingerprint: str) -> int:
        """Remove a model and all its vectors, some at a time so that nobody waits; returns the revision that made."""
        while True:
            with self._store.write() as (connection, revision):
                model, _ = model_of(connection, fingerprint) or (None, 0)
                some = "DELETE FROM vectors WHERE place IN (SELECT place FROM vectors WHERE model = ? LIMIT ?)"
                if connection.execute(some, (model, _CHUNK)).rowcount < _CHUNK:
                    connection.execute("DELETE FROM models WHERE model = ?", (model,))
                    return revision

    def fingerprints(self) -> list[str]:
        """Of the models that there are vectors of."""
        with self._store.read() as (connection, _):
            return [one for (one,) in connection.execute("SELECT fingerprint FROM models ORDER BY model")]

    def vectors_of(self, fingerprint: str) -> Loaded:
        """All items that a model has vectors of, and those: a million of 256 dimensions is a gigabyte, in one array."""
        with self._store.read() as (connection, revision):
            model, dimension = model_of(connection, fingerprint) or (None, 0)
            (count,) = connection.execute("SELECT count(*) FROM vectors WHERE model = ?", (model,)).fetchone()
            nodes, matrix = np.empty(count, np.int64), np.empty((count, dimension), np.float32)
            rows = connection.execute("SELECT node, vector FROM vectors WHERE model = ?", (model,))
            done = 0
            while chunk := rows.fetchmany(_CHUNK):
                here = slice(done, done := done + len(chunk))
                nodes[here] = [node for node, _ in chunk]
                matrix[here] = np.frombuffer(b"".join([raw for _, raw in chunk]), "<f4").reshape(-1, dimension)
            items = connection.execute("SELECT id, title, node FROM items ORDER BY number").fetchall()
        node_of = np.array([node for _, _, node in items], np.int64)
        row_of = _rows(nodes, node_of)
        there = np.flatnonzero(row_of >= 0)
        kept = [items[item] for item in there.tolist()]
        return Loaded(
            [id for id, _, _ in kept], [title for _, title, _ in kept], row_of[there], nodes, matrix, revision
        )

    def vectors_for(self, fingerprint: str, ids: Sequence[str]) -> Loaded:
        """As ``vectors_of``, of a few items alone, such as those that changed; in the order of ``ids``."""
        with self._store.read() as (connection, revision):
            _, dimension = model_of(connection, fingerprint) or (None, 0)
            query = (
                "SELECT id, title, node, vector FROM items JOIN vectors USING (node) JOIN models USING (model)"
                " WHERE id = ? AND fingerprint = ?"
            )
            found = [row for id in ids for row in connection.execute(query, (id, fingerprint))]
        vectors = {node: raw for _, _, node, raw in found}
        nodes = np.array(sorted(vectors), np.int64)
        matrix = np.frombuffer(b"".join(vectors[node] for node in nodes.tolist()), "<f4").astype(np.float32)
        row_of = _rows(nodes, np.array([node for _, _, node, _ in found], np.int64))
        ids, titles = [row[0] for row in found], [row[1] for row in found]
        return Loaded(ids, titles, row_of, nodes, matrix.reshape(len(nodes), dimension), revision)


def _rows(nodes: Ids, wanted: Ids) -> Ids:
    """Where each wanted node stands in ``nodes``; -1 where it does not."""
    if not len(nodes):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(nodes)
    rows = order[np.searchsorted(nodes, wanted, sorter=order).clip(max=len(nodes) - 1)]
    return np.where(nodes[rows] == wanted, rows, -1)
