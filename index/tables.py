"""Tabular files in and out: CSV, TSV, JSON Lines and Parquet, told apart by suffix.

A file is read whole into columns of Python values, and written whole: beside its target, then renamed into
place. How each format is spelt is told in `index.formats`.

It does not know what a column means: ids, titles and labels are read by `index.items`.
"""

from __future__ import annotations

import codecs
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from embedder.errors import InputError
from index.formats import (
    Columns,
    arrow_array,
    read_delimited,
    read_json_lines,
    read_parquet,
    shown,
    write_delimited,
    write_json_lines,
    write_parquet,
)

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        ".csv": "csv",
        ".tsv": "tsv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".parquet": "parquet",
        ".pq": "parquet",
    }
)

_DELIMITERS: Mapping[str, str] = MappingProxyType({"csv": ",", "tsv": "\t"})


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the file's order.

    Args:
        name: the file as the user named it, for messages; "<stdin>" for standard input.
        columns: the values of each column, by name; str for CSV and TSV, None where a value is missing.
        lines: the physical line on which each row starts, counted from 1; None where a format has no lines.
        arrow: the same columns as a `pyarrow.Table`, where they came from Parquet; what keeps their types.
    """

    name: str
    columns: Columns = field(repr=False)
    lines: Sequence[int] | None = field(default=None, repr=False)
    arrow: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        lengths = {column: len(values) for column, values in self.columns.items()}
        if self.lines is not None:
            lengths["(lines)"] = len(self.lines)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of unequal length: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def with_column(self, name: str, values: Sequence[Any]) -> Table:
        """This table with one value a row under `name`: in place of that column, or after the last one."""
        arrow, values = self.arrow, list(values)
        if len(values) != len(self):
            raise ValueError(f"{len(values)} values for column {name!r} of a table of {len(self)} rows")
        if arrow is not None:
            array = arrow_array(values)
            place = arrow.schema.get_field_index(name)
            arrow = arrow.append_column(name, array) if place < 0 else arrow.set_column(place, name, array)
        return replace(self, columns={**self.columns, name: values}, arrow=arrow)

    def place(self, row: int) -> str:
        """Where row `row`, counted from 0, stands in the file: "line 7", or "row 6" without lines."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"

    def error(self, row: int, message: str, *, column: str | None = None) -> InputError:
        """The error to raise about row `row`, counted from 0."""
        if self.lines is None:
            return InputError(f"{self.place(row)}: {message}", file=self.name, column=column)
        return InputError(message, file=self.name, line=self.lines[row], column=column)


def read_table(path: str | Path) -> Table:
    """Read a file, or standard input for "-", whose format is guessed: JSON Lines, TSV or CSV.

    Blank lines are skipped, and so are byte order marks.

    Raises:
        InputError: the file cannot be opened, has an unknown suffix, no rows, or breaks its format.
    """
    piped = str(path) == "-"
    name = "<stdin>" if piped else str(path)
    known = "" if piped else _format_of(path)
    try:
        data = sys.stdin.buffer.read() if piped else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=name) from error
    table = _parse(data, known or _sniff(data), name)
    if not len(table):
        raise InputError("empty; expected at least one row", file=name)
    return table


def write_table(table: Table, path: str | Path) -> None:
    """Write a table in the format of the suffix, or as CSV to standard output for "-".

    A file appears complete or not at all. In CSV and TSV, None and NaN become empty and other values that are
    not text become JSON text; in Parquet a column that no one type can hold becomes text in the same way.

    Raises:
        InputError: the target cannot be written, or a value is not valid Unicode.
        BrokenPipeError: whoever read standard output has left.
    """
    piped = str(path) == "-"
    name = "<stdout>" if piped else str(path)
    try:
        if piped:
            sys.stdout.flush()
            _render(table, sys.stdout.buffer, "csv")
            sys.stdout.buffer.flush()
        else:
            check_writable(path)
            with _replacing(Path(path)) as handle:
                _render(table, handle, _format_of(path))
    except BrokenPipeError:
        raise
    except UnicodeEncodeError as error:
        raise InputError(f"{shown(error.object)} is not valid Unicode", file=name) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space left on the disk" if full else error.strerror or str(error)
        raise InputError(f"cannot be written: {reason}", file=name) from error


def check_writable(path: str | Path) -> None:
    """Refuse a target that `write_table` could not write, before any work is spent on it.

    Raises:
        InputError: an unknown suffix, a missing or unwritable folder, a folder or a read-only file as target.
    """
    if str(path) == "-":
        return
    _format_of(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError("is a folder; expected a file to write", file=str(path))
    if not target.parent.is_dir():
        raise InputError(f"no folder {str(Path(path).parent)!r} to write into", file=str(path))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"no permission to write into folder {str(Path(path).parent)!r}", file=str(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError("is read-only; expected a file that may be replaced", file=str(path))


def _format_of(path: str | Path) -> str:
    suffix = Path(path).suffix
    if suffix.lower() not in FORMATS:
        raise InputError(f"unknown suffix {suffix!r}; expected one of {', '.join(FORMATS)}", file=str(path))
    return FORMATS[suffix.lower()]


def _sniff(data: bytes) -> str:
    start = data.removeprefix(codecs.BOM_UTF8).lstrip()
    header = start.partition(b"\n")[0].rstrip(b"\r")
    if start.startswith(b"{"):
        return "jsonl"
    return "tsv" if b"\t" in header and b"," not in header else "csv"


def _parse(data: bytes, form: str, name: str) -> Table:
    if form == "parquet":
        columns, arrow = read_parquet(data, name)
        return Table(name, columns, arrow=arrow)
    if form == "jsonl":
        return Table(name, *read_json_lines(data, name))
    return Table(name, *read_delimited(data, name, _DELIMITERS[form]))


def _render(table: Table, handle: BinaryIO, form: str) -> None:
    if form == "parquet":
        write_parquet(table.columns, handle, table.arrow)
    elif form == "jsonl":
        write_json_lines(table.columns, handle)
    else:
        write_delimited(table.columns, handle, _DELIMITERS[form])


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when the block succeeds, and goes when it does not."""
    target = Path(os.path.realpath(path))  # a link stays a link
    beside = target.with_name(f".dongil-{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as handle:
            if target.exists():
                os.chmod(beside, stat.S_IMODE(target.stat().st_mode))
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
