"""Tuning looks where it says, trials are comparable, and the winner is a run that ``dongil train`` takes."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

optuna = pytest.importorskip("optuna", reason="tuning needs dongil[train]")
pytest.importorskip("torch", reason="training needs dongil[train]")

from api.cli import app  # noqa: E402
from embedder.bundle import load_bundle  # noqa: E402
from embedder.errors import InputError  # noqa: E402
from training.config import TrainConfig, default_config  # noqa: E402
from training.recipe import Recipe  # noqa: E402
from training.settings import read_settings  # noqa: E402
from training.study import Limits  # noqa: E402
from training.train import Trainer  # noqa: E402
from training.tune import Search, Tuned, importance_plot, short_run, space, tune, whole_run  # noqa: E402

TUNED = {
    "products_per_batch", "dimension", "pooling", "temperature", "scale", "margin_end", "learning_rate",
    "arcface_learning_rate", "centre_learning_rate",
}  # fmt: skip
TINY = {
    "hidden": "16", "layers": "1", "heads": "2", "intermediate": "32", "vocabulary": "300", "contrast_steps": "24",
    "arcface_steps": "8", "max_length": "24", "decoys_per_batch": "4",
}  # fmt: skip


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    brands, things = "농심 오뚜기 삼양 동원 풀무원".split(), "라면 참기름 만두 참치 두부 우동 김치".split()
    lines = ["title,cluster_id"]
    for product in range(160):
        brand, thing, size = rng.choice(brands), rng.choice(things), rng.choice([100, 120, 210, 500])
        lines += [f"{brand} {thing} {product}호 {size}g,{product}", f"{brand}){thing}{product}호{size}G 무료,{product}"]
    path = tmp_path_factory.mktemp("labels") / "toy.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def searching(folder: Path, trials: int = 3, **fixed: str) -> Search:
    given = TINY | {"products_per_batch": "16"} | fixed
    return Search(folder / "s.journal", "small", given, steps=0.5, limits=Limits(trials))


@pytest.mark.parametrize("base", ["small", "klue/bert-base"])
def test_everything_that_matters_is_tuned_around_the_start(base: str) -> None:
    start = default_config(base)
    choices = space(start)
    assert set(choices) == TUNED
    for name, choice in choices.items():
        assert choice._contains(choice.to_internal_repr(getattr(start, name))), name


def test_what_is_fixed_or_unused_is_not_tuned() -> None:
    assert set(space(TrainConfig(), {"pooling": "cls", "scale": "30"})) == TUNED - {"pooling", "scale"}
    assert set(space(replace(TrainConfig(), arcface_steps=0))) == TUNED - {
        "arcface_learning_rate", "centre_learning_rate", "margin_end", "scale",
    }  # fmt: skip
    odd = replace(TrainConfig(), dimension=100, temperature=0.5, scale=1.0, margin_end=60.0)
    assert all(c._contains(c.to_internal_repr(getattr(odd, n))) for n, c in space(odd).items())


def test_trials_read_as_many_titles_whatever_their_batch() -> None:
    start = TrainConfig()
    assert whole_run(start, {}, {}) == start
    half = whole_run(start, {"products_per_batch": 80, "learning_rate": 0.000123456}, {})
    assert (half.contrast_steps, half.arcface_steps) == (2 * start.contrast_steps, 2 * start.arcface_steps)
    assert half.learning_rate == 0.000123
    assert whole_run(start, {"products_per_batch": 80}, {"contrast_steps": "3000"}).contrast_steps == 3000
    short = short_run(half, 0.1)
    assert (short.contrast_steps, short.arcface_steps, short.validate_every) == (600, 480, 100)
    assert short_run(replace(start, arcface_steps=0), 0.1).arcface_steps == 0


def told(tuned: Tuned) -> list[tuple[float, dict[str, object]]]:
    return [(one.score, one.settings) for one in tuned.trials]


def test_a_search_goes_on_where_it_was_stopped(tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe([str(labelled)])
    (tmp_path / "whole").mkdir()
    whole = tune(recipe, searching(tmp_path / "whole"))
    assert len(whole.trials) + whole.pruned == 3
    assert whole.best.score >= whole.best.plain - 1e-6
    run, runs = Trainer.run, 0

    def interrupted(self: Trainer) -> object:
        nonlocal runs
        runs += 1
        if runs == 2:
            raise KeyboardInterrupt
        return run(self)

    monkeypatch.setattr(Trainer, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(recipe, searching(tmp_path))
    monkeypatch.undo()
    assert told(tune(recipe, searching(tmp_path))) == told(whole)
    with pytest.raises(InputError, match="a study of something else"):
        tune(recipe, replace(searching(tmp_path), seed=1))
    with pytest.raises(InputError, match=r"a study of something else \(fixed was .*'products_per_batch'"):
        tune(recipe, searching(tmp_path, temperature="0.05"))


def test_validation_reports_stop_a_trial(tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("training.study.FREE_TRIALS", 1)
    monkeypatch.setattr("training.tune.mean_f1", lambda *_: 0.9 - len(asked) / 100)

    def should_prune(self: optuna.trial.Trial) -> bool:
        asked.append(self.number)
        return prune(self)

    prune = optuna.trial.Trial.should_prune
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", should_prune)
    tuned = tune(Recipe([str(labelled)]), searching(tmp_path))
    assert (len(tuned.trials), tuned.pruned) == (1, 2)
    assert asked.count(0) >= 6
    assert asked.count(1) == asked.count(2) == 2


def test_settings_that_make_training_fail_lose(tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Trainer.run

    def failing(self: Trainer) -> object:
        if self.config.learning_rate != 6e-4:
            raise InputError("the gradient of contrast step 1 is not finite; expected a lower learning rate")
        return run(self)

    monkeypatch.setattr(Trainer, "run", failing)
    heard: list[str] = []
    tuned = tune(Recipe([str(labelled)]), searching(tmp_path), say=heard.append)
    assert ([one.number for one in tuned.trials], tuned.pruned) == ([0], 2)
    assert any("is not finite" in line for line in heard)


def test_mistakes_are_told_before_any_training(tmp_path: Path, labelled: Path) -> None:
    recipe = Recipe([str(labelled)])
    with pytest.raises(InputError, match=r"steps is 1\.5; expected a share"):
        replace(searching(tmp_path), steps=1.5)
    with pytest.raises(InputError, match="no setting 'depth'"):
        tune(recipe, searching(tmp_path, depth="3"))
    with pytest.raises(InputError, match="every setting is fixed"):
        tune(recipe, searching(tmp_path, **{name: str(getattr(TrainConfig(), name)) for name in TUNED}))
    with pytest.raises(InputError, match="is no folder and no name on the model hub"):
        tune(recipe, Search(tmp_path / "s.journal", "no/such/base"))
    assert not (tmp_path / "s.journal").exists()


def test_the_plot_is_a_png() -> None:
    assert importance_plot({"scale": 0.75, "margin_end": 0.25}).startswith(b"\x89PNG")


def dongil(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_winner_is_a_configuration_that_train_takes(tmp_path: Path, labelled: Path) -> None:
    out = tmp_path / "best.json"
    fixed = [part for name, value in TINY.items() for part in ("--fixed", f"{name}={value}")]
    answer = dongil(
        "tune", labelled, "-o", out, "--base", "small", "--trials", 3, "--steps", 0.5, *fixed,
        "--fixed", "products_per_batch=16",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert "row-F1" in answer.output
    assert {"best.json", "best.journal"} <= {path.name for path in tmp_path.iterdir()} <= {
        "best.json", "best.journal", "best.png",
    }  # fmt: skip
    config, blend = read_settings(str(out))
    assert (config.base, config.contrast_steps, config.products_per_batch) == ("small", 24, 16)
    assert json.loads(out.read_text(encoding="utf-8"))["about"].startswith("Trial ")
    trained = dongil("train", labelled, "-o", tmp_path / "model", "--config", out)
    assert trained.exit_code == 0, trained.output
    bundle = load_bundle(tmp_path / "model")
    told = bundle.read_json("metrics.json")["config"]
    assert (told["learning_rate"], told["pooling"]) == (config.learning_rate, config.pooling)
    assert bundle.read_json("decision.json")["blend"] == vars(blend)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-o", "best.txt"], 2, "expected a name that ends with .json"),
        (["-o", "no/best.json"], 1, "expected a name in a folder that is there"),
        (["-o", "best.json", "--fixed", "scale"], 2, "expected NAME=VALUE"),
        (["-o", "best.json", "--steps", "0"], 1, "steps is 0; expected a share"),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, labelled: Path, options: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = dongil("tune", labelled, *options)
    assert answer.exit_code == code, answer.output
    assert message in " ".join(answer.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []
