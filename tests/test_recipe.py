"""From a labelled file to a bundle that serves, by the command a user types."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs dongil[train]")

from bases import tiny_base

from api.cli import app
from embedder.bundle import PROBABILITY, load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.decision import Decision
from index.matcher import Matcher
from training.settings import parse_config

SETTINGS = (
    "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=500,contrast_steps=30,arcface_steps=10,"
    "products_per_batch=32,validate_every=20"
)
SMALL = ("--base", "small", "--config", SETTINGS)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rng = random.Random(0)
    brands, things = "농심 오뚜기 삼양 동원 풀무원".split(), "라면 참기름 만두 참치 두부 우동 김치".split()
    rows = []
    for product in range(300):
        brand, thing, size = rng.choice(brands), rng.choice(things), rng.choice([100, 120, 210, 500])
        rows += [
            (f"{brand} {thing} {product}호 {size}g", product),
            (f"{brand}){thing}{product}호{size}G 무료배송", product),
        ]
    path = tmp_path / "toy.csv"
    path.write_text("title,cluster_id\n" + "".join(f"{title},{product}\n" for title, product in rows), encoding="utf-8")
    return path


def test_train_writes_a_bundle_that_matches(tmp_path: Path, labelled: Path) -> None:
    model = tmp_path / "model"
    command = ["train", str(labelled), "-o", str(model), *SMALL, "--test-where", "nothing=1"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    bundle = load_bundle(model)
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "## Test products" in card
    assert "| toy | 600 | 300 |" in card
    assert set(bundle.read_json("metrics.json")["test"]) == {"toy"}
    encoder = Encoder(bundle)
    titles = ["농심 라면 7호 120g", "삼양 두부 9호 500g"]
    found = Matcher.from_items(["a", "b"], titles, encoder, Decision.of(bundle)).match(titles, threshold=0.9)
    assert [matches[0].id for matches in found] == ["a", "b"]
    # The same command again takes up the finished run and makes the same model.
    assert CliRunner().invoke(app, command).exit_code == 0
    assert load_bundle(model).fingerprint == bundle.fingerprint


@pytest.fixture
def pairs(tmp_path: Path, labelled: Path) -> Path:
    """The toy as pairs: each product's two titles, and each product against the next; one contradiction."""
    rows = [line.split(",") for line in labelled.read_text(encoding="utf-8").splitlines()[1:]]
    titles = [title for title, _ in rows]
    lines = [f"{titles[i]},{titles[i + 1]},1" for i in range(0, len(titles), 2)]
    lines += [f"{titles[i]},{titles[i + 2]},0" for i in range(0, len(titles) - 2, 2)]
    lines += [f"{titles[1]},{titles[0]},0"]
    path = tmp_path / "toy-pairs.csv"
    path.write_text("title_a,title_b,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_train_learns_from_pairs_and_tells_out_of_fold_scores(tmp_path: Path, pairs: Path) -> None:
    model = tmp_path / "model"
    command = ["train", str(pairs), "-o", str(model), *SMALL]
    stopped = CliRunner().invoke(app, command)
    assert stopped.exit_code == 1
    assert "line 601 calls" in stopped.output
    assert not model.exists()
    command += ["--conflicts", "drop", "--folds", "2"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "1 pairs called different left out" in first.output
    assert "fold 2 of 2, arcface" in first.output
    told = load_bundle(model).read_json("metrics.json")["folds"]
    assert told["number"] == 2
    scores = told["by_set"]["toy-pairs"]
    assert sum(scores["rows"]["folds"]) == 600
    for measure in ("row_f1", "bcubed_f1"):
        assert scores[measure]["mean"] == pytest.approx(sum(scores[measure]["folds"]) / 2)
        assert scores[measure]["sd"] is not None
    # The same command takes up every fold where it ended.
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert "contrast 30/30" not in again.output
    assert load_bundle(model).read_json("metrics.json")["folds"] == told


def test_encoders_without_a_fold_teach_the_decision(tmp_path: Path, labelled: Path) -> None:
    command = ["train", str(labelled), *SMALL, "--work", str(tmp_path / "w")]
    alone = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "alone")])
    assert alone.exit_code == 0, alone.output
    taught = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "taught"), "--decision-folds", "2"])
    assert taught.exit_code == 0, taught.output
    assert "decision fold 2 of 2, arcface" in taught.output
    assert "contrast 30/30" not in taught.output.replace("decision fold", "")  # the bundle's own encoder is taken up
    encoders = [(tmp_path / name / "model.onnx").read_bytes() for name in ("alone", "taught")]
    assert encoders[0] == encoders[1]
    assert load_bundle(tmp_path / "taught").read_json("metrics.json")["decision_folds"] == 2
    # Validation products alone were too few for trees.
    assert [(tmp_path / name / PROBABILITY).exists() for name in ("alone", "taught")] == [False, True]


def test_a_run_is_not_taken_up_with_other_labels(tmp_path: Path, labelled: Path) -> None:
    command = ["train", str(labelled), "-o", str(tmp_path / "model"), *SMALL, "--work", str(tmp_path / "w")]
    assert CliRunner().invoke(app, command).exit_code == 0
    with labelled.open("a", encoding="utf-8") as file:
        file.writelines(f"새 상품 {n}호,새 {n}\n새상품{n}호,새 {n}\n" for n in range(9))
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 1
    assert "a run on other labels; expected the same ones, or another folder" in " ".join(answer.output.split())


def test_an_output_in_the_way_is_refused_before_any_training(tmp_path: Path, labelled: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("keep", encoding="utf-8")
    answer = CliRunner().invoke(app, ["train", str(labelled), "-o", str(tmp_path / "model"), *SMALL])
    assert answer.exit_code == 1
    assert "something else stands here" in answer.output
    assert not (tmp_path / "model.work").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected a folder, or --dry-run"),
        (["-o", "m", "--folds", "1"], "expected 2 or more, or 0 for none"),
        (["-o", "m", "--decision-folds", "1"], "expected 2 or more, or 0 for none"),
    ],
)
def test_wrong_usage_is_told(labelled: Path, options: list[str], message: str) -> None:
    answer = CliRunner().invoke(app, ["train", str(labelled), *options])
    assert answer.exit_code == 2
    assert message in " ".join(answer.output.replace("│", " ").split())


def test_too_few_labels_are_refused_before_any_training(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("title,cluster_id\na,1\nb,1\nc,2\n", encoding="utf-8")
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "model")])
    assert answer.exit_code == 1
    assert "expected more labelled rows" in answer.output
    assert not (tmp_path / "model").exists()


def test_train_takes_any_base(tmp_path: Path, labelled: Path) -> None:
    base, model = tiny_base(tmp_path / "base", "roberta"), tmp_path / "model"
    settings = "contrast_steps=6,arcface_steps=3,products_per_batch=32,pooling=cls,dimension=16,batch_norm=1"
    answer = CliRunner().invoke(
        app, ["train", str(labelled), "-o", str(model), "--base", str(base), "--config", settings]
    )
    assert answer.exit_code == 0, answer.output
    bundle = load_bundle(model)
    assert (bundle.config.dimensions, bundle.config.pooling) == (16, "cls")
    assert bundle.config.architecture == "RobertaModel of base, 2 layers, hidden 32"
    assert bundle.read_json("metrics.json")["config"]["base"] == str(base)
    assert "learnt from titles" not in (model / "README.md").read_text(encoding="utf-8")
    assert Encoder(bundle).encode(["농심 라면 7호 120g"]).shape == (1, 16)


def test_a_base_that_is_no_encoder_is_refused_before_any_training(tmp_path: Path, labelled: Path) -> None:
    base = tiny_base(tmp_path / "base", is_decoder=True)
    answer = CliRunner().invoke(app, ["train", str(labelled), "-o", str(tmp_path / "model"), "--base", str(base)])
    assert answer.exit_code == 1
    assert "which is no text encoder" in " ".join(answer.output.split())
    assert not (tmp_path / "model").exists()


def test_settings_hang_on_the_base() -> None:
    assert parse_config("batch_norm=1,pooling=cls", "a/b").batch_norm is True
    assert parse_config("batch_norm=false", "a/b") == parse_config("", "a/b")
    with pytest.raises(InputError, match="setting layers is of --base small; a/b brings its own"):
        parse_config("layers=2", "a/b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=3", "no setting 'depth'"),
        ("layers=three", "layers is 'three'; expected int"),
        ("batch_norm=2", "batch_norm is '2'; expected bool"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(text)
