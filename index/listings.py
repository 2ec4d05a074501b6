"""A listing as the store keeps it: its row, and the node that it shares with listings of the same cleaned title.

It knows rows and nodes, inside somebody's transaction. It does not know pages, or what vectors are for.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedder.errors import InputError
from embedder.text import CLEANING_VERSION
from index.nodes import key_of
from index.store import to_json

_CHUNK = 8_192  # rows at once
ITEMS = "SELECT id, title, seller, category, extra, cluster, created, updated FROM items"
"""What ``from_row`` reads."""


@dataclass(frozen=True)
class Item:
    """One listing.

    Attributes:
        id: unique in the catalogue.
        title: as the seller wrote it.
        seller, category: to filter by.
        extra: any further columns, of what JSON can say.
        cluster, created, updated: told by the catalogue, not to it: where the item stands, and the revisions in which
            it first came and last changed.
    """

    id: str
    title: str
    seller: str | None = None
    category: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    cluster: str | None = None
    created: int = 0
    updated: int = 0


Row = tuple[str, str, str | None, str | None, str]
"""An item's id, title, seller, category, and extra columns in JSON."""


def to_row(item: Item) -> Row:
    """What is kept of an item.

    Raises:
        InputError: text that is no Unicode, or an ``extra`` that is no JSON.
    """
    try:
        row = (item.id, item.title, item.seller, item.category, to_json(item.extra))
        "".join((row[0], row[1], row[2] or "", row[3] or "", row[4])).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"item {item.id!r} holds half a character, {error.object[error.start]!r}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"item {item.id!r}: {error}") from error
    return row


def from_row(row: Sequence[Any]) -> Item:
    """The item of a row that ``ITEMS`` selects."""
    id, title, seller, category, extra, cluster, created, updated = row
    return Item(id, title, seller, category, json.loads(extra), cluster, created, updated)


def digest_of(id: str, title: str) -> bytes:
    """What tells items of one node from others: the cleaned title. As for the matcher, one that says nothing is alone.

    Returns:
        16 bytes: at a hundred million titles the chance that any two fall on one is below 1e-22.
    """
    key = key_of(title) or f"\0{id}"
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def node_of_digest(connection: sqlite3.Connection, digest: bytes) -> int:
    """The number of a node, which is made where there is none."""
    found = connection.execute("SELECT node FROM nodes WHERE digest = ?", (digest,)).fetchone()
    if found is None:
        found = connection.execute("INSERT INTO nodes (digest) VALUES (?) RETURNING node", (digest,)).fetchone()
    return int(found[0])


def put_row(connection: sqlite3.Connection, row: Row, digest: bytes, revision: int) -> tuple[str, int | None]:
    """Keep a row in place of the one of its id.

    Returns:
        "created", "updated" or "unchanged", and the node that the item left, if it did.
    """
    query = "SELECT id, title, seller, category, extra, node FROM items WHERE id = ?"
    stood = connection.execute(query, row[:1]).fetchone()
    if stood is not None and stood[:5] == row:
        return "unchanged", None
    node = node_of_digest(connection, digest)
    if stood is None:
        query = (
            "INSERT INTO items (id, title, seller, category, extra, node, created, updated)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        connection.execute(query, (*row, node, revision, revision))
        connection.execute("DELETE FROM deleted WHERE id = ?", row[:1])
        return "created", None
    query = "UPDATE items SET title = ?, seller = ?, category = ?, extra = ?, node = ?, updated = ? WHERE id = ?"
    connection.execute(query, (*row[1:], node, revision, row[0]))
    return "updated", stood[5] if stood[5] != node else None


def drop_unused(connection: sqlite3.Connection, nodes: Iterable[int | None]) -> None:
    """Remove those of the nodes that no item has any more, with their vectors."""
    query = "DELETE FROM nodes WHERE node = ?1 AND NOT EXISTS (SELECT 1 FROM items WHERE node = ?1)"
    connection.executemany(query, [(node,) for node in nodes])


def renew_nodes(connection: sqlite3.Connection) -> None:
    """After titles came to be cleaned in another way: group all items anew; texts that stay keep vectors."""
    (cleaning,) = connection.execute("SELECT cleaning FROM state").fetchone()
    if cleaning == CLEANING_VERSION:
        return
    connection.execute("UPDATE state SET cleaning = ?", (CLEANING_VERSION,))
    last = 0
    query = "SELECT number, id, title FROM items WHERE number > ? ORDER BY number LIMIT ?"
    while chunk := connection.execute(query, (last, _CHUNK)).fetchall():
        renewed = [(node_of_digest(connection, digest_of(id, title)), number) for number, id, title in chunk]
        connection.executemany("UPDATE items SET node = ? WHERE number = ?", renewed)
        last = chunk[-1][0]
    connection.execute("DELETE FROM nodes WHERE node NOT IN (SELECT node FROM items)")


def model_of(connection: sqlite3.Connection, fingerprint: str) -> tuple[int, int] | None:
    """Number and dimension of a model that there are vectors of."""
    query = "SELECT model, dimension FROM models WHERE fingerprint = ?"
    found: tuple[int, int] | None = connection.execute(query, (fingerprint,)).fetchone()
    return found
