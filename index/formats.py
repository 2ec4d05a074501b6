"""The four formats as bytes and columns: CSV, TSV, JSON Lines and Parquet.

Text stays exactly as it stands ("007" stays "007"), JSON values stay JSON values, Parquet keeps its types.
Readers check everything that a format can break and name the line; writers take columns of any values.

It does not know paths, suffixes or streams (`index.tables` does), nor what a column means.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, time
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from embedder.errors import InputError

Columns = dict[str, list[Any]]

MAX_FIELD_CHARS = 16 * 1024 * 1024
MAX_JSON_DEPTH = 100

_ENCODING_HINT = "expected UTF-8 text; a file in cp949, EUC-KR or UTF-16 must be re-saved as UTF-8"
# The csv module keeps one field limit for the whole process; whoever raises it holds this until it is back.
_FIELD_LIMIT = threading.Lock()
# Strictly decoded text holds no surrogates, so a lone one can only come from an escape that looks like this.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def cell_text(value: Any) -> str:
    """A value as one CSV cell: text as it is, None and NaN empty, anything else as JSON."""
    plain = plain_value(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def plain_value(value: Any) -> Any:
    """A value as JSON can hold it: NaN is None, an infinity, a date or a decimal is its text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, np.generic):
        return plain_value(value.item())
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value.isoformat() if isinstance(value, (date, time)) else str(value)


def shown(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_names(names: Sequence[str], file: str, line: int | None = None) -> None:
    for position, name in enumerate(names, start=1):
        if not name.strip():
            message = f"column {position} is called {name!r}; expected a name for every column"
            raise InputError(message, file=file, line=line)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two columns are called {twice!r}; expected different names", file=file, line=line)


def _text_lines(data: bytes, file: str) -> Iterator[str]:
    """The lines of UTF-8 text with their endings, without a byte order mark."""
    nul = data.find(b"\0")
    if nul >= 0:
        raise InputError(f"a NUL character; {_ENCODING_HINT}", file=file, line=_line_of(data, nul))
    try:
        yield from io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    except UnicodeDecodeError:
        try:
            data.decode()  # the wrapper counts from its own buffer, this from the start of the file
        except UnicodeDecodeError as error:
            message = f"byte 0x{data[error.start]:02x} is not valid UTF-8; {_ENCODING_HINT}"
            raise InputError(message, file=file, line=_line_of(data, error.start)) from None


def _line_of(data: bytes, offset: int) -> int:
    return len((data[:offset] + b".").splitlines())


@contextmanager
def _large_fields() -> Iterator[None]:
    with _FIELD_LIMIT:
        before = csv.field_size_limit(MAX_FIELD_CHARS)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def read_delimited(data: bytes, file: str, delimiter: str) -> tuple[Columns, list[int]]:
    """The columns of a CSV or TSV file, and the line on which each row starts, counted from 1."""
    names: list[str] = []
    columns: list[list[Any]] = []
    lines: list[int] = []
    start = 1
    reader = csv.reader(_text_lines(data, file), delimiter=delimiter, strict=True)
    with _large_fields():
        try:
            for row in reader:
                if row and not names:
                    names, columns = row, [[] for _ in row]
                    _check_names(names, file, start)
                elif row:
                    if len(row) != len(names):
                        message = f"{len(row)} fields; expected {len(names)}, as in the header"
                        raise InputError(message, file=file, line=start)
                    lines.append(start)
                    for column, value in zip(columns, row, strict=True):
                        column.append(value)
                start = reader.line_num + 1
        except csv.Error as error:
            unclosed = "a quoted field is never closed; expected a closing quote"
            message = unclosed if "end of data" in str(error) else str(error)
            raise InputError(message, file=file, line=start) from error
    return dict(zip(names, columns, strict=True)), lines


def write_delimited(columns: Columns, handle: BinaryIO, delimiter: str) -> None:
    """Write a header and the rows, each value as `cell_text`, quoted where it must be."""
    text = codecs.getwriter("utf-8")(handle)  # a TextIOWrapper would close the handle, which may be stdout
    plain = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    quoted = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in chain([tuple(columns)], zip(*columns.values(), strict=True)):
        cells = [cell_text(value) for value in row]
        # A bare carriage return would end the row for every reader, yet the csv module leaves it unquoted.
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError(f"a key stands twice among {shown([key for key, _ in pairs])}")
    return made


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not a finite number")
    return value


def depth_of(value: Any) -> int:
    """How deep a JSON value is nested: 0 for one that holds no others.

    Raises:
        RecursionError: deeper than Python can follow.
    """
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def read_json_lines(data: bytes, file: str) -> tuple[Columns, list[int]]:
    """The columns of a JSON Lines file in first-seen order, and each row's line; a missing key is None."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)
    columns: Columns = {}
    lines: list[int] = []
    for number, line in enumerate(_text_lines(data, file), start=1):
        if line.isspace():
            continue
        try:
            record = decoder.decode(line)
            if line.count("[") + line.count("{") > MAX_JSON_DEPTH and depth_of(record) > MAX_JSON_DEPTH:
                raise ValueError(f"values nested deeper than {MAX_JSON_DEPTH}")  # what is read can be written
        except (ValueError, RecursionError) as error:
            message = f"unreadable JSON: {getattr(error, 'msg', error)}; expected one object a line"
            raise InputError(message, file=file, line=number) from error
        if not isinstance(record, dict):
            raise InputError(f"{shown(record)} is not an object; expected one a line", file=file, line=number)
        if _SURROGATE_ESCAPE.search(line):
            _check_surrogates(record, file, number)
        for name, value in record.items():
            if name not in columns:
                if not name.strip():
                    raise InputError(f"key {name!r}; expected a name for a column", file=file, line=number)
                columns[name] = [None] * len(lines)
            columns[name].append(value)
        lines.append(number)
        if len(record) < len(columns):
            for values in columns.values():
                if len(values) < len(lines):
                    values.append(None)
    if lines and not columns:
        raise InputError("no columns; expected objects with keys", file=file)
    return columns, lines


def _check_surrogates(record: dict[str, Any], file: str, line: int) -> None:
    for name, value in record.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            message = f"{shown(value)} holds half of a surrogate pair; expected valid Unicode"
            raise InputError(message, file=file, line=line, column=ascii(name)[1:-1]) from error


def write_json_lines(columns: Columns, handle: BinaryIO) -> None:
    """Write one object a line, each with every column."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for row in zip(*columns.values(), strict=True):
        record = dict(zip(columns, map(plain_value, row), strict=True))
        handle.write(encode(record).encode() + b"\n")


def read_parquet(data: bytes, file: str) -> tuple[Columns, Any]:
    """The columns of a Parquet file as Python values, and the `pyarrow.Table` that keeps their types.

    Nanoseconds are cut to Python's microseconds in the values, and stay in the table.
    """
    # Loaded here and below, not at the top: it is slow to load, and only Parquet needs it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a readable Parquet file: {error}", file=file) from error
    _check_names(arrow.column_names, file)
    columns: Columns = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        try:
            columns[name] = _microseconds(column).to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(f"a {column.type} cannot be read: {error}", file=file, column=name) from error
    return columns, arrow


def _microseconds(column: Any) -> Any:
    """Nanoseconds cut to what Python's own types hold, so that the answer does not depend on pandas."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    return column


def arrow_array(values: list[Any]) -> Any:
    """The values in the type Arrow finds for them if it gives them back unchanged, otherwise as text."""
    import pyarrow as pa

    try:
        array = pa.array(values)
        # Objects with different keys would come back with each other's; Parquet cannot hold one without keys.
        nested = pa.types.is_nested(array.type)
        kept = not nested or ("struct<>" not in str(array.type) and array.to_pylist() == values)
    except (pa.ArrowException, OverflowError):
        kept = False
    if kept and not pa.types.is_null(array.type):
        return array
    return pa.array([None if plain_value(value) is None else cell_text(value) for value in values], pa.string())


def write_parquet(columns: Columns, handle: BinaryIO, arrow: Any = None) -> None:
    """Write `arrow` where there is one, otherwise the columns in the types that `arrow_array` finds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if arrow is None:
        arrow = pa.table({name: arrow_array(values) for name, values in columns.items()})
    pq.write_table(arrow, handle)
