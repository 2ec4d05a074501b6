"""Downloads: harmless as a spreadsheet, to the letter when that is asked for, and never a page."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.downloads import _harmless, download

MARK = "\ufeff"


@pytest.mark.parametrize("formula", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\u200b=1"])
def test_formulas_are_text_in_a_sheet(tmp_path: Path, formula: str) -> None:
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        path = tmp_path / f"out{suffix}"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([["title", formula], [formula, "x"]])
        text = b"".join(_harmless(path)).decode()
        rows = list(csv.reader(io.StringIO(text.removeprefix(MARK), newline=""), delimiter=delimiter))
        assert rows == [["title", f"`{formula}"], [f"`{formula}", "x"]]


@given(st.lists(st.lists(st.text(max_size=6), min_size=2, max_size=2), min_size=1, max_size=2_005))
def test_all_rows_arrive_and_only_formulas_differ(rows: list[list[str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.csv"
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
        path.write_bytes(text.getvalue().encode(errors="replace"))
        told = b"".join(_harmless(path)).decode()
    before = list(csv.reader(io.StringIO(text.getvalue().encode(errors="replace").decode(), newline="")))
    after = list(csv.reader(io.StringIO(told.removeprefix(MARK), newline="")))
    assert [[cell.removeprefix("`") for cell in row] for row in after] == [
        [cell.removeprefix("`") for cell in row] for row in before
    ]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("-5,+3.5,-1e-5,-5%\n", encoding="utf-8")
    assert b"".join(_harmless(tmp_path / "out.csv")).decode() == f"{MARK}-5,+3.5,-1e-5,`-5%\n"


@pytest.mark.parametrize("name", ["index.html", "out.csv", "plot.png", "x.strange"])
def test_a_file_is_to_keep(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a", encoding="utf-8")
    for exact in (False, True):
        headers = download(tmp_path / name, exact=exact).headers
        assert headers["content-disposition"] == f'attachment; filename="{name}"'
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox"
