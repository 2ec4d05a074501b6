"""Which columns are taken for ids, titles and labels, and every value that is refused."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from embedder.errors import InputError
from index.items import ID_COLUMNS, LABEL_COLUMNS, MAX_TITLE_BYTES, TITLE_COLUMNS, Items, read_items


def put(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def from_parquet(folder: Path, **columns: Any) -> Items:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return read_items(folder / "t.parquet")


def refused(path: Path, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read_items(path, **options)
    assert caught.value.file == str(path)
    return caught.value


# Columns


@pytest.mark.parametrize(
    "header",
    [
        "id,title,cluster_id",
        "posting_id,title,label_group",
        "nv_mid,prod_nm,match_nv_mid",
        "Product_ID,Product_Name,Group_Id",
        "상품번호,상품명,catalog_id",
        "ITEM_ID,제목, Label ",
    ],
)
def test_known_columns_are_found_in_any_case(tmp_path: Path, header: str) -> None:
    items = read_items(put(tmp_path, f"x,{header}\n0,007,백산수 2L,c1\n0,8,백산수,\n"), need_labels=True)
    assert items.ids == ["007", "8"]
    assert items.titles == ["백산수 2L", "백산수"]
    assert items.labels == ["c1", ""]
    assert [items.id_column, items.title_column, items.label_column] == header.split(",")
    assert len(items) == len(items.table) == 2


@pytest.mark.parametrize("names", [ID_COLUMNS, TITLE_COLUMNS, LABEL_COLUMNS])
def test_known_names_are_distinct_and_folded(names: tuple[str, ...]) -> None:
    assert len(set(names)) == len(names)
    assert all(name == name.strip().casefold() for name in names)


def test_the_first_known_name_wins_wherever_it_stands(tmp_path: Path) -> None:
    items = read_items(put(tmp_path, "name,product_id,title,id,TITLE\nn,p,t,i,T\n"))
    assert (items.id_column, items.title_column) == ("id", "title")


def test_without_an_id_column_rows_are_counted(tmp_path: Path) -> None:
    items = read_items(put(tmp_path, "title\na\n\nb\n"))
    assert (items.ids, items.id_column, items.labels, items.label_column) == (["1", "2"], None, None, None)


def test_named_columns_are_used_and_given_no_second_part(tmp_path: Path) -> None:
    path = put(tmp_path, "id,title,label,sku\n1,x,a,s1\n1,y,b,s2\n")
    items = read_items(path, id_column="sku", title_column="label")
    assert (items.ids, items.titles, items.labels) == (["s1", "s2"], ["a", "b"], None)
    assert read_items(path, id_column="sku", label_column="id").labels == ["1", "1"]


@pytest.mark.parametrize("option", ["id_column", "title_column", "label_column"])
@pytest.mark.parametrize("name", ["sku", "Title", ""])
def test_a_named_column_must_exist(tmp_path: Path, option: str, name: str) -> None:
    error = refused(put(tmp_path, "id,title\n1,a\n"), **{option: name})
    assert error.message == f"no column {name!r}; expected one of 'id', 'title'"


def test_a_missing_column_names_the_option(tmp_path: Path) -> None:
    path = put(tmp_path, "id,text\n1,a\n")
    message = refused(path).message
    assert "no title column (title, prod_nm," in message
    assert "among 'id', 'text'; name it with --title-column" in message
    message = refused(path, title_column="text", need_labels=True).message
    assert "no label column (cluster_id," in message
    assert "name it with --label-column" in message


# Values


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("1,a\n,b\n", 3, "missing id"),
        ("1,a\n  ,b\n", 3, "missing id"),
        ('1,"a\nb"\n2,b\n\n1,c\n', 6, "id '1' stands on line 2 too; expected distinct ids"),
    ],
)
def test_bad_ids_are_refused_with_line_and_column(tmp_path: Path, rows: str, line: int, message: str) -> None:
    error = refused(put(tmp_path, "nv_mid,title\n" + rows))
    assert (error.line, error.column) == (line, "nv_mid")
    assert message in error.message


def test_whole_numbers_are_ids_however_they_are_stored(tmp_path: Path) -> None:
    titles = ["a", "b"]
    assert from_parquet(tmp_path, id=[2**60, 2], title=titles).ids == [str(2**60), "2"]
    assert from_parquet(tmp_path, id=[7.0, 8.0], title=titles).ids == ["7", "8"]
    exact = pa.array([decimal.Decimal(10**30), decimal.Decimal(7)], pa.decimal128(38, 2))
    assert from_parquet(tmp_path, id=exact, title=titles).ids == [str(10**30), "7"]
    assert read_items(put(tmp_path, '{"id": 7, "title": "a"}\n{"id": "07", "title": "b"}', "t.jsonl")).ids == [
        "7",
        "07",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "row 2: missing id"),
        (float("nan"), "row 2: missing id"),
        (7.5, "row 2: id 7.5; expected text or a whole number"),
        (float("inf"), "row 2: id inf; expected"),
        (float(2**60), "row 2: id 1.15"),
        (1.0, "row 2: id '1' stands on row 1 too"),
    ],
)
def test_other_numbers_are_no_ids(tmp_path: Path, value: float | None, message: str) -> None:
    with pytest.raises(InputError, match="column id: ") as caught:
        from_parquet(tmp_path, id=pa.array([1.0, value]), title=["a", "b"])
    assert message in caught.value.message


@pytest.mark.parametrize("value", ["true", "[1]", '{"a": 1}', r'"a\u0000b"'])
def test_other_json_values_are_no_ids(tmp_path: Path, value: str) -> None:
    error = refused(put(tmp_path, f'{{"id": {value}, "title": "a"}}', "t.jsonl"))
    assert (error.line, error.column) == (1, "id")
    assert error.message.startswith("id ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("null", "missing title"),
        ("12", "title 12; expected text"),
        ('["a"]', "title ['a']; expected text"),
        ('""', "blank title"),
        (r'" \t\u3000"', "blank title"),
        (r'"a\u0000b"', "holds a NUL character"),
        (r'"a\ud800b"', "half of a surrogate pair"),
        ('"' + "가" * 3_334 + '"', "title of 10002 bytes; expected at most 10000 bytes"),
    ],
)
def test_bad_titles_are_refused_with_line_and_column(tmp_path: Path, value: str, message: str) -> None:
    error = refused(put(tmp_path, '{"prod_nm": "good"}\n\n' + f'{{"prod_nm": {value}}}\n', "t.jsonl"))
    assert (error.line, error.column) == (3, "prod_nm")
    assert message in error.message
    assert len(str(error)) < 300 + len(str(tmp_path))


def test_parquet_titles_must_be_text_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column title: row 1: missing title"):
        from_parquet(tmp_path, title=[float("nan"), 1.0])
    with pytest.raises(InputError, match="column title: row 1: title b'a'; expected text"):
        from_parquet(tmp_path, title=[b"a"])


def test_titles_stay_as_they_stand_up_to_the_limit(tmp_path: Path) -> None:
    longest = " " + "가" * 3_333
    assert len(longest.encode()) == MAX_TITLE_BYTES
    assert read_items(put(tmp_path, f"title\n{longest}\n")).titles == [longest]


def test_any_label_will_do(tmp_path: Path) -> None:
    values = ['"a"', "7", "7.0", "7.5", "true", "null", '" "', "[1]"]
    text = "\n".join(f'{{"title": "t", "label": {value}}}' for value in values)
    items = read_items(put(tmp_path, text, "t.jsonl"))
    assert items.labels == ["a", "7", "7", "7.5", "true", "", "", "[1]"]
