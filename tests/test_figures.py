"""Report files: whole or not at all, and tables that read as tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.figures import (
    empty_figure,
    machine,
    machine_line,
    markdown_table,
    report_folder,
    write_figures,
    write_file,
)
from embedder.errors import InputError


def test_a_report_is_json_markdown_and_a_picture(tmp_path: Path) -> None:
    figure = empty_figure(3, 2)
    figure.add_subplot().plot([1, 2], [3, 4])
    write_figures(report_folder(tmp_path / "a" / "b"), "x", values={"값": 1}, markdown="# x\n", figure=figure)
    folder = tmp_path / "a" / "b"
    assert json.loads((folder / "x.json").read_text()) == {"값": 1}
    assert (folder / "x.md").read_text() == "# x\n"
    assert (folder / "x.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir()) == ["x.json", "x.md", "x.png"]


def test_a_value_that_is_no_number_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_figures(tmp_path, "x", values={"f1": float("nan")}, markdown="")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.md").mkdir()
    with pytest.raises(InputError, match="cannot be written") as caught:
        write_file(tmp_path / "x.md", b"x")
    assert caught.value.file == str(tmp_path / "x.md")
    assert [path.name for path in tmp_path.iterdir()] == ["x.md"]
    assert not list((tmp_path / "x.md").iterdir())


def test_a_report_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "in"):
        with pytest.raises(InputError, match="no report can be written here"):
            report_folder(place)


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    table = markdown_table(("a", "b"), [["x|y", "1"], ["z", ""]])
    assert table.splitlines() == ["| a | b |", "| --- | ---: |", "| x/y | 1 |", "| z |  |"]


def test_the_machine_is_told() -> None:
    about = machine()
    assert about["cpus"] >= 1
    assert "numpy" in about["versions"]
    assert str(about["cpus"]) in machine_line(about)
    assert "load" not in machine_line(about | {"load_before": None, "memory_gb": None})
