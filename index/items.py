"""The items of a catalogue from a table: an id, a title and perhaps a label for each row.

The columns of Shopee and of Naver AI RUSH, and a few common names, are recognised; any other is named by the
caller. Every id and title is checked here, once, so that nobody after has to.

It does not know file formats (`index.tables`), nor how a title is cleaned or what a label is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from embedder.errors import InputError
from index.formats import cell_text, shown
from index.tables import Table, read_table

MAX_TITLE_BYTES = 10_000
TITLE_COLUMNS = ("title", "prod_nm", "product_name", "name", "상품명", "제목")
ID_COLUMNS = ("id", "posting_id", "nv_mid", "item_id", "product_id", "상품번호")
LABEL_COLUMNS = ("cluster_id", "label_group", "match_nv_mid", "label", "group_id", "catalog_id")


@dataclass(frozen=True)
class Items:
    """The rows of `table` as parallel lists.

    Args:
        table: the whole file, to write back with more columns.
        ids: distinct and not blank; "1", "2", ... where the file has no id column.
        titles: not blank, at most `MAX_TITLE_BYTES` bytes of UTF-8 each, as they stand in the file.
        labels: the group each row belongs to, "" for a row without one; None where the file has no labels.
        id_column, title_column, label_column: the columns they came from.
    """

    table: Table
    ids: list[str] = field(repr=False)
    titles: list[str] = field(repr=False)
    labels: list[str] | None = field(repr=False)
    id_column: str | None
    title_column: str
    label_column: str | None

    def __len__(self) -> int:
        return len(self.ids)


def read_items(
    path: str | Path,
    *,
    id_column: str | None = None,
    title_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = False,
) -> Items:
    """Read a file's ids, titles and labels, and refuse it if one of them cannot be used.

    Args:
        path: a file that `read_table` reads, or "-".
        id_column, title_column, label_column: columns to use; None looks for a known name in any case.
        need_labels: whether a file without a label column is an error.

    Raises:
        InputError: the file cannot be read, a column is missing, or an id or a title is not fit for use.
    """
    table = read_table(path)
    taken = (id_column, title_column, label_column)
    id_column = _column(table, id_column, ID_COLUMNS, taken)
    title_column = _column(table, title_column, TITLE_COLUMNS, taken)
    label_column = _column(table, label_column, LABEL_COLUMNS, taken)
    if title_column is None:
        raise _no_column(table, "title", TITLE_COLUMNS)
    if label_column is None and need_labels:
        raise _no_column(table, "label", LABEL_COLUMNS)
    return Items(
        table=table,
        ids=_ids(table, id_column) if id_column else [str(row + 1) for row in range(len(table))],
        titles=_titles(table, title_column),
        labels=[_label(value) for value in table.columns[label_column]] if label_column else None,
        id_column=id_column,
        title_column=title_column,
        label_column=label_column,
    )


def _column(table: Table, given: str | None, known: Sequence[str], taken: Sequence[str | None]) -> str | None:
    """The given column, or the first known name that the table has and that no other part has been given."""
    if given is not None:
        if given not in table.columns:
            raise InputError(f"no column {given!r}; expected one of {_listed(table)}", file=table.name)
        return given
    free = {column.strip().casefold(): column for column in reversed(table.columns) if column not in taken}
    return next((free[name] for name in known if name in free), None)


def _no_column(table: Table, part: str, names: Sequence[str]) -> InputError:
    message = f"no {part} column ({', '.join(names)}) among {_listed(table)}; name it with --{part}-column"
    return InputError(message, file=table.name)


def _listed(table: Table) -> str:
    return ", ".join(repr(column) for column in table.columns)


def _ids(table: Table, column: str) -> list[str]:
    first: dict[str, int] = {}
    for row, value in enumerate(table.columns[column]):
        key = _key(value)
        if _missing(value) or (key is not None and not key.strip()):
            fault = "missing id; expected one for every row"
        elif key is None:
            fault = f"id {shown(value)}; expected text or a whole number"
        elif "\0" in key:
            fault = f"id {shown(key)} holds a NUL character; expected none"
        elif key in first:
            fault = f"id {shown(key)} stands on {table.place(first[key])} too; expected distinct ids"
        else:
            first[key] = row
            continue
        raise table.error(row, fault, column=column)
    return list(first)


def _titles(table: Table, column: str) -> list[str]:
    titles = table.columns[column]
    for row, title in enumerate(titles):
        if fault := _title_fault(title):
            raise table.error(row, fault, column=column)
    return list(titles)


def _title_fault(title: Any) -> str | None:
    if _missing(title):
        return "missing title; expected text"
    if not isinstance(title, str):
        return f"title {shown(title)}; expected text"
    if not title.strip():
        return "blank title; expected text"
    if "\0" in title:
        return f"title {shown(title)} holds a NUL character; expected none"
    size = len(title.encode())
    if size > MAX_TITLE_BYTES:
        return f"title of {size} bytes; expected at most {MAX_TITLE_BYTES} bytes of UTF-8"
    return None


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _key(value: Any) -> str | None:
    """An id's text: text as it is, a whole number in digits however it is stored; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        # Beyond 2**53 neighbouring whole numbers share one float, and two ids would become one.
        return str(int(value)) if isinstance(value, Decimal) or abs(value) <= 2**53 else None
    return None


def _label(value: Any) -> str:
    """A label's text: only its equality matters, so any value will do; blank is "" for unlabelled."""
    key = _key(value)
    text = cell_text(value) if key is None else key
    return text if text.strip() else ""
