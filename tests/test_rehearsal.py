"""A rehearsal takes real steps, measures them, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from training.labels import Labelled, Products, gather_products
from training.rehearsal import STEPS, rehearse
from training.train import TrainConfig
from training.vocabulary import learn_vocabulary

TINY = TrainConfig(
    hidden=32, layers=1, heads=2, intermediate=64, vocabulary=300, max_length=24, contrast_steps=1000,
    arcface_steps=200, products_per_batch=8, decoys_per_batch=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def products() -> Products:
    rows = [(f"{way} 상품 {n}호", f"g{n}") for n in range(40) for way in ("생수", "물")]
    return gather_products([Labelled("s", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows))])


def test_the_whole_run_is_told_from_a_few_steps(
    tmp_path: Path, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cost = rehearse(TINY, products, learn_vocabulary(products.titles, TINY.vocabulary))
    assert not any(tmp_path.iterdir())
    assert STEPS == 3
    assert cost.steps == {"contrast": 1000, "arcface": 200}
    assert cost.training == pytest.approx(1000 * cost.step_time["contrast"] + 200 * cost.step_time["arcface"])
    assert 0 < cost.step_time["contrast"] < 10
    assert cost.classes == 40
    assert cost.centres == 4 * 4 * 40 * 32
    assert cost.optimizer == 3 * cost.weights == 12 * cost.parameters
    assert cost.peak is None or cost.peak > cost.weights + cost.optimizer + cost.centres
    assert cost.encoding(1000) == pytest.approx(1000 / cost.titles_per_second)


def test_a_run_of_one_stage_has_one(products: Products) -> None:
    cost = rehearse(replace(TINY, arcface_steps=0), products, learn_vocabulary(products.titles, TINY.vocabulary))
    assert cost.steps == {"contrast": 1000}
    assert (cost.classes, cost.centres) == (0, 0)
