"""Weights of an ensemble: the search finds what a grid finds, and the command writes a whole ensemble or nothing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch", reason="training needs dongil[train]")

from api.cli import app
from embedder.bundle import load_bundle, write_bundle
from embedder.encoder import Encoder
from index.decision import Decision
from training.weights import best_weights


@pytest.mark.parametrize("best", [(0.7, 0.3), (0.1, 0.9), (0.5, 0.5), (0.2, 0.5, 0.3), (0.1, 0.1, 0.8)])
def test_the_search_comes_as_near_as_a_grid(best: tuple[float, ...]) -> None:
    def score(weights: Sequence[float]) -> float:
        return -float(np.abs(np.array(weights) - best).sum())

    found, reached = best_weights(score, len(best))
    assert sum(found) == pytest.approx(1, abs=1e-4)
    grid = [w for w in itertools.product(np.arange(0.1, 1, 0.1), repeat=len(best)) if abs(sum(w) - 1) < 1e-9]
    assert reached >= max(map(score, grid)) - 0.15
    if len(best) == 2:
        np.testing.assert_allclose(found, best, atol=1e-6)


def test_of_equal_scores_equal_weights_stay() -> None:
    seen: list[tuple[float, ...]] = []

    def score(weights: Sequence[float]) -> float:
        seen.append(tuple(weights))
        return 0.5

    assert best_weights(score, 3) == ((1 / 3, 1 / 3, 1 / 3), 0.5)
    assert len(seen) == len(set(seen)), "no weights are scored twice"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    brands, things = "농심 오뚜기 삼양 동원 풀무원".split(), "라면 참기름 만두 참치 두부 우동 김치".split()
    lines = ["title,cluster_id"]
    for product in range(300):
        brand, thing, size = rng.choice(brands), rng.choice(things), rng.choice([100, 120, 210, 500])
        lines += [f"{brand} {thing} {product}호 {size}g,{product}", f"{brand}){thing}{product}호{size}G 무료,{product}"]
    path = tmp_path_factory.mktemp("labels") / "toy.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, labelled: Path) -> list[Path]:
    """Two small models of two seeds."""
    folder = tmp_path_factory.mktemp("models")
    settings = (
        "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=500,contrast_steps=20,arcface_steps=5,"
        "products_per_batch=24,validate_every=20,seed="
    )
    for seed in "12":
        made = dongil("train", labelled, "-o", folder / f"m{seed}", "--base", "small", "--config", settings + seed)
        assert made.exit_code == 0, made.output
    return [folder / "m1", folder / "m2"]


def dongil(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def told(answer: Result) -> str:
    return " ".join(answer.output.split())


def test_an_ensemble_is_weighted_and_decided_for_by_labels(tmp_path: Path, models: list[Path], labelled: Path) -> None:
    made = dongil("ensemble", *models, "-o", tmp_path / "e", "--labelled", labelled, "--threads", "1")
    assert made.exit_code == 0, made.output
    assert "Validation row-F1 by plain cosine: m1 " in told(made)
    bundle = load_bundle(tmp_path / "e")
    metrics = bundle.read_json("metrics.json")
    assert metrics["ensemble"]["weights"] == [member.weight for member in bundle.members]
    assert metrics["ensemble"]["row_f1"] >= metrics["ensemble"]["equal"]
    assert len(metrics["ensemble"]["alone"]) == 2
    assert metrics["test"]["toy"]["rows"] > 0
    assert Decision.of(bundle).threshold > 0
    card = (tmp_path / "e" / "README.md").read_text(encoding="utf-8")
    assert "| member-2 (m2) |" in card
    assert "## Test products" in card
    again = dongil("ensemble", *models, "-o", tmp_path / "again", "--labelled", labelled, "--threads", "1")
    assert again.exit_code == 0, again.output
    assert load_bundle(tmp_path / "again").fingerprint == bundle.fingerprint
    # The members may go: the ensemble holds them.
    titles = ["농심 라면 7호 120g", "농심)라면7호120G"]
    assert Encoder(bundle, threads=1).encode(titles).shape == (2, 64)
    proven = dongil("threshold", labelled, "-o", tmp_path / "p", "--model", tmp_path / "e", "--part", "test")
    assert proven.exit_code == 0, proven.output
    assert load_bundle(tmp_path / "p").fingerprint == bundle.fingerprint


def test_weights_may_be_given_and_labels_left_out(tmp_path: Path, models: list[Path]) -> None:
    made = dongil("ensemble", *models, "-o", tmp_path / "e", "--weights", "3,1")
    assert made.exit_code == 0, made.output
    bundle = load_bundle(tmp_path / "e")
    assert [member.weight for member in bundle.members] == [0.75, 0.25]
    decision, first = Decision.of(bundle), Decision.of(load_bundle(models[0]))
    assert (decision.threshold, decision.promises) == (first.threshold, ())
    assert "promises nothing" in (tmp_path / "e" / "README.md").read_text(encoding="utf-8")


def test_every_command_takes_an_ensemble(tmp_path: Path, models: list[Path], labelled: Path) -> None:
    model = tmp_path / "e"
    assert dongil("ensemble", *models, "-o", model).exit_code == 0
    lines = labelled.read_text(encoding="utf-8").splitlines()[1:101]
    items = tmp_path / "items.csv"
    items.write_text(
        "id,title,cluster_id\n" + "".join(f"i{n},{line}\n" for n, line in enumerate(lines)), encoding="utf-8"
    )
    for command in (
        ("match", items, "--catalog", items, "-o", tmp_path / "m.csv"),
        ("cluster", items, "-o", tmp_path / "c.csv"),
        ("doctor",),
    ):
        answer = dongil(*command, "--model", model)
        assert answer.exit_code == 0, answer.output
    assert "model: ensemble of 2: 0.50 x BERT" in told(answer)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["{m1}"], 1, "1 model; expected two or more"),
        (["{m1}", "{m1}"], 1, "the same model twice"),
        (["{m1}", "{m2}", "--weights", "1"], 1, "1 weights for 2 models"),
        (["{m1}", "{m2}", "--weights", "1,x"], 2, "expected numbers joined by commas"),
        (["{m1}", "nowhere"], 1, "no such model folder"),
        (["{m1}", "{m2}", "--labelled", "nowhere.csv"], 1, "nowhere.csv"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    tmp_path: Path, models: list[Path], options: list[str], code: int, message: str
) -> None:
    filled = [option.format(m1=models[0], m2=models[1]) for option in options]
    answer = dongil("ensemble", *filled, "-o", tmp_path / "e")
    assert answer.exit_code == code, answer.output
    assert message in told(answer).replace("│ ", "")
    assert list(tmp_path.iterdir()) == []


def test_members_that_clean_otherwise_are_refused(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_bundle(models[0])
    monkeypatch.setattr("embedder.bundle.CLEANING_VERSION", 99)
    write_bundle(
        tmp_path / "other", replace(made.config, cleaning=99), model=made.model_path.read_bytes(),
        tokenizer=(models[0] / "tokenizer.json").read_text(encoding="utf-8"),
        decision=made.read_json("decision.json"), metrics={}, card="",
    )  # fmt: skip
    monkeypatch.undo()
    answer = dongil("ensemble", models[1], tmp_path / "other", "-o", tmp_path / "e")
    assert answer.exit_code == 1
    assert "titles were cleaned by version 99 in training" in told(answer)
    assert not (tmp_path / "e").exists()
