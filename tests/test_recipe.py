"""From a labelled file to a bundle that serves, by the command a user types."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs dongil[train]")

from api.cli import app
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.decision import Decision
from index.matcher import Matcher
from training.recipe import parse_config

SETTINGS = (
    "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=500,contrast_steps=30,arcface_steps=10,"
    "products_per_batch=32,validate_every=20"
)


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
    command = ["train", str(labelled), "-o", str(model), "--config", SETTINGS, "--test-where", "nothing=1"]
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


def test_too_few_labels_are_refused_before_any_training(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("title,cluster_id\na,1\nb,1\nc,2\n", encoding="utf-8")
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "model")])
    assert answer.exit_code == 1
    assert "expected more labelled rows" in answer.output
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("text", "message"), [("depth=3", "no setting 'depth'"), ("layers=three", "layers is 'three'; expected int")]
)
def test_wrong_settings_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(text)
