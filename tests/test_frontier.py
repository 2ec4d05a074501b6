"""Models by size: which lead, and that a table and a picture come of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("matplotlib")

import benchmarks.frontier as frontier
from benchmarks.frontier import Model, measure_frontier, placed
from benchmarks.labelled import read_groups
from benchmarks.rounds import Spread
from embedder.errors import InputError

DEFAULT = ROOT / "embedder" / "default"


def model(name: str, rate: float, score: float) -> Model:
    return Model(name, "a model", 1.0, Spread.of([rate]), {"one": score, "two": score}, {"one": 1.0, "two": 1.0})


def test_a_model_that_is_slower_and_no_better_is_behind() -> None:
    models = [model("slow", 10, 0.9), model("behind", 20, 0.7), model("fast", 100, 0.5), model("mid", 50, 0.8)]
    assert [(one.name, one.leads) for one in placed(models)] == [
        ("fast", True), ("mid", True), ("behind", False), ("slow", True),
    ]  # fmt: skip


def test_two_models_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        shutil.copytree(DEFAULT, tmp_path / name)
    sample = read_groups(ROOT / "api" / "sample" / "catalog.csv")
    monkeypatch.setattr(frontier, "load_set", lambda *_: sample)
    monkeypatch.setattr(frontier, "_TITLES", 40)
    models = [tmp_path / "one", tmp_path / "other"]
    folder = measure_frontier(tmp_path, models, tmp_path / "report", sets=("sample",))
    told = json.loads((folder / "frontier.json").read_text())["models"]
    assert {one["name"] for one in told} == {"one", "other"}
    assert told[0]["cosine"] == told[1]["cosine"] and 0 < told[0]["cosine"]["sample"] <= 1
    assert sum(one["leads"] for one in told) == 1
    assert "| one" in (folder / "frontier.md").read_text()
    assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_one_model_has_no_frontier(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected two models or more"):
        measure_frontier(tmp_path, [DEFAULT], tmp_path / "report")
