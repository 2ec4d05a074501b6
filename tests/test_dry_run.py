"""``dongil train --dry-run`` as its users meet it: a report to read, and an exit code to go by."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

pytest.importorskip("torch", reason="training needs dongil[train]")

from api.cli import app
from api.dry_run import show
from training.rehearsal import Cost
from training.survey import SetSurvey, Survey, Tokens

SETTINGS = "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=300,products_per_batch=8,decoys_per_batch=4"


def dry_run(*arguments: object) -> Result:
    return CliRunner().invoke(
        app, ["train", *map(str, arguments), "--dry-run", "--base", "small", "--config", SETTINGS]
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_good_labels_are_reported_and_nothing_is_written(tmp_path: Path) -> None:
    rows = "".join(f"{way} 상품 {n}호 500ml,g{n}\n" for n in range(300) for way in ("생수", "물"))
    path = write(tmp_path / "toy.csv", "title,cluster_id\n" + rows)
    answer = dry_run(path, "-o", tmp_path / "model", "--folds", "3")
    assert answer.exit_code == 0, answer.output
    for part in ("toy", "600", "300", "tokens a title", "contrast: 3,000 steps", "together", "parameters"):
        assert part in answer.output
    assert "nothing would stop this run" in answer.output
    assert list(tmp_path.iterdir()) == [path]


def test_bad_labels_are_reported_with_exit_code_1(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "title_a,title_b,label\n가,나,1\n나,다,1\n가,다,0\n라,마,0\n")
    answer = dry_run(path)
    assert answer.exit_code == 1
    assert "line 4 calls '가' and '다' different; called the same: '가' and '나' (line 2)" in answer.output
    assert "would stop: " in answer.output
    assert "nothing would stop" not in answer.output


def test_an_unreadable_file_is_reported_with_exit_code_1(tmp_path: Path) -> None:
    answer = dry_run(tmp_path / "none.csv")
    assert answer.exit_code == 1
    assert "none.csv: cannot be read" in answer.output


def test_titles_with_markup_are_shown_as_they_stand() -> None:
    one = SetSurvey(
        "[s]", 4, 0, 2, {"1": 2, "2": 0}, 0, 1, (("[bold]물[/bold]", ("[1]", "2", "3", "4", "5")),),
        1, 3, ("line 2 calls '[red]'",), {"train": (4, 2)},
    )  # fmt: skip
    cost = Cost(1000, 10, {"contrast": 9000}, {"contrast": 1.5}, 100.0, 4000, 12000, 640, 2**31, 2**20)
    console = Console(width=120, record=True, file=io.StringIO())
    show(Survey((one,), 5, 6, Tokens(9.5, 20, 0.01), cost, {"training": 13500.0, "x": 60.0}, ("[stop]",)), console)
    text = console.export_text()
    for part in ("[bold]물[/bold]: [1], 2, 3, 4, ...", "line 2 calls '[red]'", "and 2 more", "3.8 h", "60 s",
                 "2.0 GiB", "1 MiB", "would stop: [stop]", "5 titles of unknown product", "6 titles of"):  # fmt: skip
        assert part in text
