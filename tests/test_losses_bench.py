"""Losses compared: from one start, in steps that differ by the loss alone, taken up where they stopped."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs dongil[train]")
pytest.importorskip("matplotlib", reason="plots need dongil[bench]")

import benchmarks.losses as losses
from api.bench import bench
from benchmarks.labelled import LabelledSet
from benchmarks.losses import (
    REFERENCE,
    SCORE,
    START,
    VARIANTS,
    Over,
    Results,
    compared,
    measure_losses,
    read_results,
    write_results,
)
from embedder.errors import InputError
from training.labels import split_of
from training.settings import parse_config
from training.train import Trainer

TINY = "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=400,products_per_batch=12,decoys_per_batch=4"


def toy(name: str) -> LabelledSet:
    draw = random.Random(name)
    brands, things = "농심 오뚜기 삼양 동원".split(), "라면 참기름 만두 두부".split()
    titles, groups = list[str](), list[str]()
    for product in range(300):
        brand, thing, size = draw.choice(brands), draw.choice(things), draw.choice([100, 120, 500])
        titles += [f"{brand} {thing} {product}호 {size}g", f"{brand}){thing}{product}호{size}G 무료배송"]
        groups += [f"{name}:{product}"] * 2
    sides = np.array([split_of(group) for group in groups])
    return LabelledSet(name, "groups", titles, groups, sides, np.ones(len(titles), bool))


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two known sets of made titles, whatever they are asked for as."""
    monkeypatch.setattr(losses, "load_set", lambda name, _: toy(name))


def measure(report: Path, *names: str, seeds: tuple[int, ...] = (0,), **more: Any) -> list[str]:
    """Compare losses for a few steps; returns what was told."""
    told: list[str] = []
    options: dict[str, Any] = {"sets": ("one", "two"), "contrast_steps": 4, "steps": 3, "settings": TINY} | more
    measure_losses(report, report, losses=names, seeds=seeds, say=told.append, **options)
    return told


def kept(report: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((report / "results.json").read_text(encoding="utf-8"))["results"]
    return results


def test_losses_are_compared_from_one_start(tmp_path: Path) -> None:
    told = measure(tmp_path, "arcface alone", "multisimilarity", seeds=(0, 1))
    results = kept(tmp_path)
    assert set(results) == {"0", "1"}
    for runs in results.values():
        assert list(runs) == [START, "supcon", "arcface alone", "multisimilarity"]
        for run in runs.values():
            assert list(run) == ["one", "two", SCORE]
            assert run[SCORE] == pytest.approx((run["one"] + run["two"]) / 2)
            assert 0 < run["one"] <= 1
    assert sum(line.startswith("seed 1, supcon: one 0.") for line in told) == 1
    found = {one["name"]: one for one in json.loads((tmp_path / "losses.json").read_text())["losses"]}
    gains = [results[seed]["multisimilarity"]["two"] - results[seed]["supcon"]["two"] for seed in "01"]
    assert found["multisimilarity"]["gains"]["two"]["values"] == pytest.approx(gains, abs=1e-6)
    assert found["multisimilarity"]["scores"]["two"]["mean"] == pytest.approx(
        sum(results[seed]["multisimilarity"]["two"] for seed in "01") / 2
    )
    page = (tmp_path / "losses.md").read_text(encoding="utf-8")
    assert page.count("| arcface alone | 0, 1 |") == 2 and page.count("| supcon | 0, 1 |") == 1
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["start-0", "start-1", "tokenizer.json"]


def test_an_interrupted_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("subcenter + contrast", "cached-ranking")
    measure(tmp_path / "whole", *names)
    ran: list[str] = []
    whole = Trainer.run

    def stops(trainer: Trainer) -> Any:
        ran.append(trainer.folder.name)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return whole(trainer)

    monkeypatch.setattr(Trainer, "run", stops)
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        measure(stopped, *names)
    assert list(kept(stopped)["0"]) == [START, REFERENCE]
    measure(stopped, *names)
    assert ran == ["start-0", "supcon-0", "subcenter_+_contrast-0", "subcenter_+_contrast-0", "cached-ranking-0"]
    assert kept(stopped) == kept(tmp_path / "whole")
    measure(stopped, *names)
    assert len(ran) == 5, "nothing is run again"


def test_a_kept_result_needs_no_checkpoint(tmp_path: Path) -> None:
    measure(tmp_path)
    before = kept(tmp_path)
    for path in (tmp_path / "work" / "start-0").iterdir():
        path.unlink()
    measure(tmp_path, "cosface + contrast")
    assert kept(tmp_path)["0"] | before["0"] == kept(tmp_path)["0"]
    whole = tmp_path / "whole"
    measure(whole, "cosface + contrast")
    assert kept(whole) == kept(tmp_path)


def test_a_loss_that_fails_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trainer.run

    def fails(trainer: Trainer) -> Any:
        if trainer.config.loss == "multisimilarity":
            raise InputError("the gradient is not finite")
        return whole(trainer)

    monkeypatch.setattr(Trainer, "run", fails)
    told = measure(tmp_path, "multisimilarity", "cached-ranking")
    line = "seed 0, multisimilarity: the gradient is not finite"
    assert line in told
    assert json.loads((tmp_path / "losses.json").read_text())["failed"] == [line]
    assert f"- {line}" in (tmp_path / "losses.md").read_text(encoding="utf-8")
    assert list(kept(tmp_path)["0"]) == [START, REFERENCE, "cached-ranking"]


def test_without_a_start_there_is_nothing_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def fails(trainer: Trainer) -> Any:
        ran.append(trainer.config.seed)
        raise InputError("the gradient is not finite")

    monkeypatch.setattr(Trainer, "run", fails)
    with pytest.raises(InputError, match=r"no run came to its end.*seed 1, start: the gradient is not finite"):
        measure(tmp_path, "multisimilarity", seeds=(0, 1))
    assert ran == [0, 1], "no loss is tried without its start"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": ("supcon", "mystery")}, "no loss 'mystery' to compare; expected one of: supcon; arcface alone; "),
        ({"seeds": ()}, "0 seeds and 3 sets; expected at least one of each"),
        ({"sets": ()}, "2 seeds and 0 sets"),
        ({"steps": 0}, "0 steps of the compared pass; expected at least 1"),
        ({"contrast_steps": 0}, "0 steps of the contrastive pass"),
        ({"settings": "hidden=32,seed=3"}, "setting seed is .* expected --seed instead"),
        ({"settings": "depth=3"}, "no setting 'depth'"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure_losses(tmp_path, tmp_path / "report", **options)
    assert not (tmp_path / "report").exists()


def test_an_unknown_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for arguments, message in (
        (["--set", "colours"], "no data set 'colours'; expected one of korea_cvs"),
        ([], "data set korea_cvs is not here"),
        (["--loss", "mystery"], "no loss 'mystery'"),
    ):
        said = CliRunner().invoke(bench, ["losses", str(tmp_path), "-o", str(tmp_path / "report"), *arguments])
        assert said.exit_code == 1
        assert message in " ".join(said.output.split())
    assert not (tmp_path / "report").exists()


def test_the_command_passes_on_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def stands_in(*places: Path, **options: Any) -> Path:
        called.append((places, options))
        return tmp_path

    monkeypatch.setattr(losses, "measure_losses", stands_in)
    folder = ["losses", str(tmp_path), "-o", str(tmp_path)]
    assert CliRunner().invoke(bench, folder).exit_code == 0
    told = [
        "--loss",
        "supcon, mined",
        "--set",
        "shopee",
        "--seed",
        "5",
        "--seed",
        "6",
        "--steps",
        "7",
        "--config",
        "layers=1",
    ]
    assert CliRunner().invoke(bench, [*folder, *told, "--contrast-steps", "8"]).exit_code == 0
    (where, usual), (_, other) = called
    assert where == (tmp_path, tmp_path)
    assert (usual["sets"], usual["losses"], usual["seeds"]) == (losses.SETS, tuple(VARIANTS), (0, 1))
    assert (usual["contrast_steps"], usual["steps"], usual["settings"]) == (500, 500, "")
    assert (other["sets"], other["losses"], other["seeds"]) == (["shopee"], ["supcon, mined"], [5, 6])
    assert (other["contrast_steps"], other["steps"], other["settings"]) == (8, 7, "layers=1")


def test_without_the_extra_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    said = CliRunner().invoke(bench, ["losses", str(tmp_path), "-o", str(tmp_path / "report")])
    assert said.exit_code == 1
    assert "torch not installed; this benchmark needs pip install 'dongil[train]'" in " ".join(said.output.split())


def test_every_variant_is_a_setting_of_training() -> None:
    assert len(VARIANTS) == 11
    for changes in VARIANTS.values():
        text = ",".join(f"{name}={value}" for name, value in changes.items())
        assert parse_config(f"{losses.SETTINGS},{text}").loss == changes["loss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": f"{TINY},temperature=0.1"},
            r"something else \(temperature was 0\.05, is 0\.1\); expected the same",
        ),
        ({"steps": 5}, r"something else \(arcface_steps was 3, is 5\)"),
        ({"sets": ("two", "one")}, r"something else \(sets was \[\['one', "),
    ],
)
def test_results_of_something_else_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    measure(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(InputError, match=message):
        measure(tmp_path, **change)
    assert (tmp_path / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no results of compared losses"),
        ("{", "no results of compared losses"),
        ('{"of": 3, "results": {}}', "no results of compared losses"),
        ('{"of": {}, "results": {"one": {}}}', "no results of compared losses"),
        ('{"of": {}, "results": {"0": {"supcon": {"one": 0.5}}}}', "seed 0, supcon is judged by one; expected one and"),
    ],
)
def test_a_file_that_holds_no_results_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        read_results(path, {}, ["one"])
    assert error.value.file == str(path)


def test_results_come_back_as_they_were_kept(tmp_path: Path) -> None:
    results: Results = {3: {"supcon": {"one": 0.5, SCORE: 0.5}}, 0: {}}
    write_results(tmp_path / "results.json", {"sets": [["one", "a"]]}, results)
    assert read_results(tmp_path / "results.json", {"sets": [["one", "a"]]}, ["one"]) == results
    assert read_results(tmp_path / "nothing.json", {}, ["one"]) == {}
    later = {"sets": [["one", "a"]], "sub_centres": 3}
    assert read_results(tmp_path / "results.json", later, ["one"]) == results, "a setting that came later"


def test_a_gain_is_over_the_reference_of_the_same_seed() -> None:
    def run(f1: float) -> dict[str, float]:
        return {"one": f1, SCORE: f1}

    results: Results = {
        1: {START: run(0.4), REFERENCE: run(0.6), "cosface + contrast": run(0.7), "arcface alone": run(0.5)},
        0: {START: run(0.4), REFERENCE: run(0.5), "cosface + contrast": run(0.8)},
        2: {"arcface alone": run(0.9), "multisimilarity": run(0.9)},
    }
    found = compared(results)
    assert [one.name for one in found] == ["cosface + contrast", REFERENCE, "arcface alone", START, "multisimilarity"]
    best = found[0]
    assert best.seeds == (0, 1)
    assert best.scores["one"].values == (0.8, 0.7)
    assert best.gains["one"].values == (0.3, 0.1)
    assert best.gains["one"].mean == pytest.approx(0.2)
    assert best.gains[SCORE].told("+") == "+0.200 (+0.100 to +0.300)"
    assert found[1].gains["one"].values == (0, 0)
    assert (found[2].seeds, found[2].gains["one"].values) == ((1, 2), (-0.1,))
    assert found[4].gains == {}
    assert Over.of([0.25]).told() == "0.250"
