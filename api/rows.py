"""Rows: what commands and jobs write about items, as tables. It knows columns; it does not know matching or files."""

from __future__ import annotations

from collections.abc import Iterable

from embedder.errors import InputError
from index.answers import Match
from index.formats import cell_text
from index.items import Items
from index.tables import Table

MatchRow = tuple[str, str, float, float, str, bool]
"""Id of what was looked up; id, score, probability and reason of what was found; whether that was accepted."""


def match_row(query_id: str, match: Match, accepted: bool) -> MatchRow:
    """A row of a match file."""
    return query_id, match.id, match.score, match.probability, match.reason, accepted


def matches_table(name: str, rows: Iterable[MatchRow], with_misses: bool) -> Table:
    """A match file; which rows were accepted is told where others stand among them.

    Args:
        name: of the file.
        rows: best first, of each query.
        with_misses: whether there may be others than accepted ones.
    """
    names = ("query_id", "item_id", "score", "probability", "reason", *["accepted"] * with_misses)
    columns: dict[str, list[object]] = {name: [] for name in names}
    for query_id, item_id, score, probability, reason, accepted in rows:
        values = (query_id, item_id, round(score, 6), round(probability, 6), reason, "true" if accepted else "false")
        for column, value in zip(columns.values(), values, strict=False):
            column.append(value)
    return Table(name, columns)


def column_values(rows: Items, column: str) -> list[str]:
    """A column's values as text, blank where there is none.

    Raises:
        InputError: there is no such column.
    """
    if column not in rows.table.columns:
        listed = ", ".join(repr(name) for name in rows.table.columns)
        raise InputError(f"no column {column!r}; expected one of {listed}", file=rows.table.name)
    return [cell_text(value) for value in rows.table.columns[column]]


def with_clusters(table: Table, clusters: list[str]) -> Table:
    """The table with a column ``cluster_id``; one that it has already is kept under another name."""
    if "cluster_id" in table.columns:
        name = "cluster_id_in"
        while name in table.columns:
            name += "_"
        table = table.with_column(name, table.columns["cluster_id"])
    return table.with_column("cluster_id", clusters)
