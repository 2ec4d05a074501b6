"""What each format refuses and where it says so; text passes unchanged through every pair of formats."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.errors import InputError
from index.formats import (
    MAX_FIELD_CHARS,
    Columns,
    cell_text,
    read_delimited,
    read_json_lines,
    read_parquet,
    write_delimited,
    write_json_lines,
    write_parquet,
)
from index.tables import Table, read_table, write_table


def put(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def put_parquet(folder: Path, columns: Any) -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert caught.value.file == str(path)
    return caught.value


# CSV and TSV


def test_text_stays_as_it_stands(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "t.csv", 'id,title,n\n007, 농심 "백산수" ,1.10\n8,"a ""b"", c",\n'))
    assert table.columns == {"id": ["007", "8"], "title": [' 농심 "백산수" ', 'a "b", c'], "n": ["1.10", ""]}


def test_tsv_splits_on_tabs_only(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "t.tsv", 'id\ttitle\n1\ta, b 3.5" disk\n2\t"a\tb"\n'))
    assert table.columns == {"id": ["1", "2"], "title": ['a, b 3.5" disk', "a\tb"]}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_physical_whatever_is_quoted_or_blank(tmp_path: Path, ending: str) -> None:
    rows = ["", "id,title", '1,"one', "", 'three"', "", "2,two", '3,"x', 'y"', "4,z"]
    table = read_table(put(tmp_path, "t.csv", ending.join(rows)))
    assert table.columns["id"] == ["1", "2", "3", "4"]
    assert table.columns["title"][0] == f"one{ending}{ending}three"
    assert table.lines == [3, 7, 8, 10]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, name: str) -> None:
    text = '{"id": "1"}\n' if name == "t.jsonl" else "id\n1\n"
    assert read_table(put(tmp_path, name, b"\xef\xbb\xbf" + text.encode())).columns == {"id": ["1"]}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('id,title\n1,"a\nb"\n2,b,c\n', 4, "3 fields; expected 2, as in the header"),
        ("id,title\n1\n", 2, "1 fields; expected 2"),
        ("id,id\n1,2\n", 1, "two columns are called 'id'"),
        ("\nid,\n1,2\n", 2, "column 2 is called ''"),
        ("id, \n1,2\n", 1, "column 2 is called ' '"),
        ('id,title\n1,a\n2,"b\n3,c\n', 3, "a quoted field is never closed"),
        ('id,title\n1,"a"b\n', 2, "expected after"),
        ("id,title\n1,a\0b\n", 2, "a NUL character; expected UTF-8 text"),
    ],
)
def test_broken_csv_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    error = refused(put(tmp_path, "t.csv", text))
    assert error.line == line
    assert message in error.message


@pytest.mark.parametrize("rows", [1, 5_000])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_invalid_utf8_is_refused_with_its_line(tmp_path: Path, suffix: str, rows: int) -> None:
    good = '{"title": "백산수"}\n' if suffix == ".jsonl" else "백산수\n"
    data = (good * rows).encode() + good.encode("cp949")
    error = refused(put(tmp_path, f"t{suffix}", data))
    assert error.line == rows + 1
    assert "is not valid UTF-8" in error.message
    assert "cp949" in error.message


def test_utf16_is_refused_with_the_remedy(tmp_path: Path) -> None:
    assert "UTF-16 must be re-saved as UTF-8" in str(refused(put(tmp_path, "t.csv", "id,title\n".encode("utf-16"))))


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_empty_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    assert "empty" in str(refused(put(tmp_path, name, text)))


def test_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert "empty" in str(refused(put(tmp_path, "t.csv", "id,title\n")))
    assert "empty" in str(refused(put_parquet(tmp_path, {"id": pa.array([], pa.string())})))


def test_long_fields_are_read_and_the_process_limit_comes_back(tmp_path: Path) -> None:
    before = 131_072
    csv.field_size_limit(before)
    assert len(read_table(put(tmp_path, "t.csv", "title\n" + "x" * 200_000)).columns["title"][0]) == 200_000
    assert csv.field_size_limit() == before
    error = refused(put(tmp_path, "t.csv", "title\na\n" + "x" * (MAX_FIELD_CHARS + 1)))
    assert (error.line, str(MAX_FIELD_CHARS) in error.message) == (3, True)
    assert csv.field_size_limit() == before


# JSON Lines


def test_json_values_are_kept_and_missing_keys_are_none(tmp_path: Path) -> None:
    text = '{"id": 7, "tags": ["a", {"b": null}]}\r\n\n{"id": "007", "price": 1.5}\n{"new": true, "id": null}'
    table = read_table(put(tmp_path, "t.ndjson", text))
    assert list(table.columns.items()) == [
        ("id", [7, "007", None]),
        ("tags", [["a", {"b": None}], None, None]),
        ("price", [None, 1.5, None]),
        ("new", [None, None, True]),
    ]
    assert table.lines == [1, 3, 4]
    write_table(table, tmp_path / "again.jsonl")
    assert read_table(tmp_path / "again.jsonl").columns == table.columns


def test_json_is_written_as_readable_unicode(tmp_path: Path) -> None:
    write_table(Table("t", {"title": ["백산수 🎁\u2028", None]}), tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_text("utf-8") == '{"title": "백산수 🎁\u2028"}\n{"title": null}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "[1] is not an object"),
        ('"id"', "'id' is not an object"),
        ("{", "unreadable JSON"),
        ('{"id": 1} {"id": 2}', "unreadable JSON: Extra data"),
        ('{"id": NaN}', "NaN is not a finite number"),
        ('{"id": -Infinity}', "-Infinity is not a finite number"),
        ('{"id": 1e999}', "1e999 is not a finite number"),
        ('{"id": 1, "id": 2}', "a key stands twice"),
        ('{"": 1}', "key ''; expected a name"),
        ('{"id": ' + "[" * 100_000 + "}", "unreadable JSON"),
        ('{"id": ' + "[" * 100 + "]" * 100 + "}", "nested deeper than 100"),
        ('{"id": ' + "[" * 900 + "]" * 900 + "}", "unreadable JSON"),
        ('{"id": ' + "9" * 5_000 + "}", "unreadable JSON"),
    ],
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    error = refused(put(tmp_path, "t.jsonl", '{"id": 0}\n\n' + line + "\n"))
    assert error.line == 3
    assert message in error.message


def test_wide_json_and_brackets_in_text_are_not_deep(tmp_path: Path) -> None:
    brackets, wide, deep = "[" * 999, "[" + "[]," * 999 + "[]]", "[" * 99 + "]" * 99
    text = f'{{"id": "{brackets}", "tags": {wide}, "deep": {deep}}}'
    assert len(read_table(put(tmp_path, "t.jsonl", text)).columns["tags"][0]) == 1_000


def test_half_a_surrogate_pair_is_refused_with_line_and_column(tmp_path: Path) -> None:
    error = refused(put(tmp_path, "t.jsonl", r'{"id": 1, "title": "\ud83c\udf81"}' + "\n" + r'{"title": "\uD83C"}'))
    assert (error.line, error.column) == (2, "title")
    assert "half of a surrogate pair" in error.message
    str(refused(put(tmp_path, "t.jsonl", r'{"\ud800": 1}'))).encode()


def test_objects_without_keys_are_refused(tmp_path: Path) -> None:
    assert "no columns" in str(refused(put(tmp_path, "t.jsonl", "{}\n{}\n")))


# Parquet


def typed() -> pa.Table:
    moment = datetime.datetime(2021, 7, 1, 12, 30, 0, 5)
    fields = {
        "nv_mid": pa.array([2**62, None], pa.uint64()),
        "small": pa.array([1, -1], pa.int8()),
        "title": pa.array(["백산수", None], pa.large_string()),
        "brand": pa.array(["a", "a"]).dictionary_encode(),
        "price": pa.array([1.5, float("nan")], pa.float32()),
        "exact": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
        "when": pa.array([moment, None], pa.timestamp("us", "Asia/Seoul")),
        "nano": pa.array([1_000_000_123, None], pa.timestamp("ns")),
        "raw": pa.array([b"ok", b"\xff"], pa.binary()),
        "tags": pa.array([["a"], []], pa.list_(pa.string())),
        "size": pa.array([{"w": 1}, {"w": None}], pa.struct([("w", pa.int16())])),
    }
    return pa.table(fields).replace_schema_metadata({"made by": "a test"})


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = read_table(put_parquet(tmp_path, typed()))
    assert table.lines is None
    assert table.columns["nv_mid"] == [2**62, None]
    assert table.columns["nano"][0] == datetime.datetime(1970, 1, 1, 0, 0, 1)
    write_table(table.with_column("small", [3, 4]).with_column("cluster_id", ["c1", "c2"]), tmp_path / "again.pq")
    again = pq.read_table(tmp_path / "again.pq")
    assert again.column_names == [*typed().column_names, "cluster_id"]
    assert again["small"].to_pylist() == [3, 4]
    kept = [name for name in typed().column_names if name != "small"]
    assert again.select(kept).drop_columns("price").equals(typed().select(kept).drop_columns("price"))
    assert again.schema.field("price").type == pa.float32()
    assert again.schema.metadata[b"made by"] == b"a test"


def test_parquet_values_as_csv_and_json(tmp_path: Path) -> None:
    table = read_table(put_parquet(tmp_path, typed()))
    write_table(table, tmp_path / "t.csv")
    text = read_table(tmp_path / "t.csv").columns
    assert text["nv_mid"] == [str(2**62), ""]
    assert text["price"] == ["1.5", ""]
    assert text["exact"] == ["1.10", ""]
    assert text["nano"] == ["1970-01-01T00:00:01", ""]
    assert text["raw"] == ["ok", r"\xff"]
    assert text["tags"] == ['["a"]', "[]"]
    assert text["size"] == ['{"w": 1}', '{"w": null}']
    write_table(table, tmp_path / "t.jsonl")
    values = read_table(tmp_path / "t.jsonl").columns
    assert values["size"] == [{"w": 1}, {"w": None}]
    assert values["price"] == [1.5, None]


def test_text_columns_become_parquet_strings(tmp_path: Path) -> None:
    write_table(read_table(put(tmp_path, "t.csv", "id,title\n007,\n8,b\n")), tmp_path / "t.parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert [field.type for field in schema] == [pa.string(), pa.string()]


@pytest.mark.parametrize(
    ("values", "kind", "back"),
    [
        ([1, None], pa.int64(), [1, None]),
        ([1, "a", None], pa.string(), ["1", "a", None]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([2**70, 1], pa.string(), [str(2**70), "1"]),
        ([None, None], pa.string(), [None, None]),
        ([["a"], ["b", "c"]], pa.list_(pa.string()), [["a"], ["b", "c"]]),
        ([{"a": 1}, {"b": 2}], pa.string(), ['{"a": 1}', '{"b": 2}']),
        ([{}, {}], pa.string(), ["{}", "{}"]),
        ([np.int64(3), np.int64(4)], pa.int64(), [3, 4]),
    ],
)
def test_values_without_a_common_type_become_text(tmp_path: Path, values: list[Any], kind: Any, back: Any) -> None:
    write_table(Table("t", {"x": values}), tmp_path / "t.parquet")
    assert pq.read_schema(tmp_path / "t.parquet").field("x").type == kind
    assert read_table(tmp_path / "t.parquet").columns["x"] == back


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    assert "not a readable Parquet file" in str(refused(put(tmp_path, "t.parquet", b"")))
    assert "not a readable Parquet file" in str(refused(put(tmp_path, "t.parquet", b"id,title\n1,a\n")))
    data = put_parquet(tmp_path, {"id": list(range(1000))}).read_bytes()
    assert "not a readable Parquet file" in str(refused(put(tmp_path, "t.parquet", data[:-50])))
    ones = [pa.array([1]), pa.array([2])]
    twice = pa.Table.from_arrays(ones, names=["id", "id"])
    assert "two columns are called 'id'" in str(refused(put_parquet(tmp_path, twice)))
    blank = pa.Table.from_arrays(ones, names=["id", ""])
    assert "column 2 is called ''" in str(refused(put_parquet(tmp_path, blank)))
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    error = refused(put_parquet(tmp_path, {"id": [1], "title": bad}))
    assert error.column == "title"


# Every pair


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), "inf"),
        ("a", "a"),
        (True, "true"),
        (1.5, "1.5"),
        (np.float32(0.5), "0.5"),
        (np.float32("nan"), ""),
        (np.int64(7), "7"),
        (["백", float("nan")], '["백", null]'),
        ((1, datetime.date(2021, 7, 1)), '[1, "2021-07-01"]'),
        ({"a": b"b"}, '{"a": "b"}'),
    ],
)
def test_cell_text(value: Any, text: str) -> None:
    assert cell_text(value) == text


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        '"',
        '""',
        ",",
        "\t",
        "\n",
        "\r",
        "\r\n",
        " a ",
        "'",
        "\u2028",
        "\x85",
        "\ufeff",
        "NaN",
        "null",
        "007",
        "백산수 2L",
        "🎁",
    ]
)
NAMES = CELLS.filter(lambda name: name.strip() and not name.startswith("\ufeff"))


@st.composite
def text_columns(draw: st.DrawFn) -> dict[str, list[str]]:
    rows = draw(st.integers(1, 4))
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return {name: draw(st.lists(CELLS, min_size=rows, max_size=rows)) for name in names}


def through(form: str, columns: Columns) -> Columns:
    """The columns as they come back after being written and read in one format."""
    handle = io.BytesIO()
    if form == "parquet":
        write_parquet(columns, handle)
        return read_parquet(handle.getvalue(), "t")[0]
    if form == "jsonl":
        write_json_lines(columns, handle)
        return read_json_lines(handle.getvalue(), "t")[0]
    write_delimited(columns, handle, form)
    return read_delimited(handle.getvalue(), "t", form)[0]


@settings(max_examples=50, deadline=None)
@given(text_columns())
def test_text_passes_unchanged_through_every_pair_of_formats(columns: Columns) -> None:
    for first, second in product((",", "\t", "jsonl", "parquet"), repeat=2):
        assert through(second, through(first, columns)) == columns


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(JSON_VALUES, min_size=1, max_size=4))
def test_any_json_value_can_be_written_in_every_format(values: list[Any]) -> None:
    columns = {"x": values}
    assert through("jsonl", columns) == columns
    assert through(",", columns) == through("\t", columns) == {"x": [cell_text(value) for value in values]}
    assert len(through("parquet", columns)["x"]) == len(values)
