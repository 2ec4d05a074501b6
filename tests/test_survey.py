"""The survey counts what stands in the labels, and names what would stop a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from training.labels import Labelled, read_labelled
from training.recipe import FOLD_STEPS, Recipe, make_bundle
from training.survey import survey, survey_set
from training.train import TrainConfig

TINY = TrainConfig(
    hidden=32, layers=1, heads=2, intermediate=64, vocabulary=300, max_length=8, contrast_steps=100, arcface_steps=50,
    products_per_batch=8, decoys_per_batch=4, validate_every=40,
)  # fmt: skip


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rows = "".join(f"{way} 상품 {n}호 500ml 12개,g{n}\n" for n in range(300) for way in ("생수", "물", "샘물"))
    return write(tmp_path / "toy.csv", "title,cluster_id\n" + rows)


def test_a_set_is_counted_by_hand() -> None:
    titles = ["가", "[무료배송] 가", "나", "다", "라", "가", "마", *(f"바 {n}" for n in range(12))]
    groups = ["s:1", "s:1", "s:1", "s:2", "s:2", "s:3", "s:4", *["s:5"] * 12]
    splits = ["train"] * 5 + ["validation", "test"] + ["train"] * 12
    found = survey_set(Labelled("s", titles, groups, splits, [(0, 3)], 2, ("x", "y"), unknown=1))
    assert (found.rows, found.unknown, found.products) == (19, 1, 5)
    assert found.sizes == {"1": 2, "2": 2, "3-5": 0, "6-10": 0, "11+": 1}
    assert found.repeats == 1
    assert (found.shared, found.examples) == (1, (("가", ("1", "3")),))
    assert (found.negatives, found.conflicts, found.told) == (1, 2, ("x", "y"))
    assert found.splits == {"train": (17, 3), "validation": (1, 1), "test": (1, 1)}


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "title,cluster_id\na,1\nb,1\nc,\nd, \n")
    assert read_labelled(path).unknown == 2


def test_a_run_that_would_go_through(tmp_path: Path, labelled: Path) -> None:
    extra = write(tmp_path / "more.csv", "title\n다른 상품 1\n생수 상품 3호 500ml 12개\n")
    before = sorted(tmp_path.iterdir())
    found = survey(Recipe([str(labelled)], [str(extra)]), TINY, tmp_path / "model", None)
    assert found.stops == ()
    assert sorted(tmp_path.iterdir()) == before
    assert found.unlabelled == 1
    assert found.sets[0].sizes["3-5"] == 300
    assert found.tokens and found.tokens.cut > 0.5
    assert found.cost and found.cost.steps == {"contrast": 100, "arcface": 50}
    assert found.cost.classes == len(set(read_labelled(labelled).part("train")[1]))
    assert set(found.times) == {"training", "judging checkpoints", "choosing the decision"}
    assert all(seconds > 0 for seconds in found.times.values())


def test_folds_take_their_time(labelled: Path) -> None:
    from training import survey as module

    found = survey(Recipe([str(labelled)]), TINY, None, None)
    assert found.cost
    judged = [read_labelled(labelled)]
    products = module.gather_products(judged)
    once, thrice, more = (
        module._times(Recipe([str(labelled)], **folds), TINY, found.cost, judged, products)
        for folds in ({}, {"folds": 2}, {"decision_folds": 2})
    )
    assert thrice["training"] == pytest.approx(3 * once["training"])
    assert 1 + 2 * FOLD_STEPS <= more["training"] / once["training"] < 3
    assert all(more[part] > once[part] for part in once)


def test_conflicts_stop_unless_they_are_left_out(tmp_path: Path) -> None:
    rows = "".join(f"생수 {n}호 500ml,물 {n}호 500ml,1\n" for n in range(300)) + "물 7호 500ml,생수 7호 500ml,0\n"
    recipe = Recipe([str(write(tmp_path / "p.csv", "title_a,title_b,label\n" + rows))])
    found = survey(recipe, TINY, None, None)
    (stop,) = found.stops
    assert "1 pairs called different contradict" in stop
    assert found.sets[0].told[0].startswith("line 302 calls")
    assert found.cost
    assert survey(replace(recipe, conflicts="drop"), TINY, None, None).stops == ()


def test_everything_that_would_stop_is_named(tmp_path: Path, labelled: Path) -> None:
    bad = write(tmp_path / "bad.csv", "title_a,title_b,label\n가,나,maybe\n")
    few = write(tmp_path / "few.csv", "title,cluster_id\n가,1\n나,1\n다,2\n")
    (tmp_path / "model").mkdir()
    write(tmp_path / "model" / "mine.txt", "keep")
    recipe = Recipe([str(labelled), str(bad)], [str(tmp_path / "none.csv")])
    found = survey(recipe, TINY, tmp_path / "model", None)
    for stop, part in zip(found.stops, ("stands here", "label 'maybe'", "none.csv"), strict=True):
        assert part in stop
    assert [one.name for one in found.sets] == ["toy"]
    assert any("expected more labelled rows" in stop for stop in survey(Recipe([str(few)]), TINY, None, None).stops)


def test_checkpoints_that_could_not_be_taken_up_are_named(tmp_path: Path, labelled: Path) -> None:
    small = replace(TINY, contrast_steps=2, arcface_steps=0, validate_every=2)
    recipe, work = Recipe([str(labelled)]), tmp_path / "work"
    make_bundle(recipe, tmp_path / "model", small, work, lambda *_: None)
    kept = {path: path.read_bytes() for path in work.iterdir()}
    assert survey(recipe, small, tmp_path / "model", work).stops == ()
    assert "another configuration" in survey(recipe, replace(small, seed=1), None, work).stops[0]
    with labelled.open("a", encoding="utf-8") as file:
        file.writelines(f"새 상품 {n}호,새 {n}\n새상품{n}호,새 {n}\n" for n in range(9))
    assert "a run on other labels" in survey(recipe, small, None, work).stops[0]
    assert {path: path.read_bytes() for path in work.iterdir()} == kept
