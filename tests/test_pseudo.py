"""A teacher's sure clusters become products that train, and no labelled product changes by it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs dongil[train]")

import training.pseudo
from api.cli import app
from embedder.bundle import DEFAULT
from training.config import TrainConfig
from training.labels import Labelled, Products, gather_products
from training.pseudo import join_pseudo
from training.sampling import Sampler
from training.train import Trainer
from training.vocabulary import learn_vocabulary


@pytest.fixture
def products() -> Products:
    rows = [(f"라면 {n}호 {way}", f"a{n}") for n in range(6) for way in ("순한맛", "매운맛")]
    labelled = Labelled("p", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows), [(0, 4)])
    return gather_products([labelled], [f"{brand} 두부 {n}모" for n in range(4) for brand in ("풀무원", "종가")])


def by_brand(titles: list[str], *_: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([0 if title.startswith("풀무원") else 1 + row for row, title in enumerate(titles)], np.int64)


def test_sure_clusters_become_products_behind_all_others(products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.pseudo, "_clusters", by_brand)
    joined = join_pseudo(products, DEFAULT, 99)
    assert sorted(joined.titles) == sorted(products.titles)
    assert len(joined) == 6 + 4 + 1
    for product in range(6):
        assert joined.of(product) == products.of(product)
    assert sorted(joined.of(10)) == [f"풀무원 두부 {n}모" for n in range(4)]
    assert joined.sources.tolist() == [0] * 6 + [-1] * 5
    assert joined.negatives.tolist() == products.negatives.tolist()
    monkeypatch.setattr(training.pseudo, "_MOST", 3)
    assert len(join_pseudo(products, DEFAULT, 99)) == len(products), "a family is no product"


def test_no_more_titles_are_clustered_than_asked_for(products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def clusters(titles: list[str], *_: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        asked.append(titles)
        return np.arange(len(titles))

    monkeypatch.setattr(training.pseudo, "_clusters", clusters)
    for number in (3, 3, 0):
        join_pseudo(products, DEFAULT, number)
    assert [len(titles) for titles in asked] == [3, 3]
    assert asked[0] == asked[1]


def test_titles_alike_are_drawn_together() -> None:
    labelled = Labelled("p", ["a 1", "a 2", "b"], ["a", "a", "b"], ["train"] * 3)
    texts = [f"{way} {n:04d}" for n in range(500) for way in ("두부", "우동")]
    products = gather_products([labelled], texts)
    drawn = training.pseudo._draw(products, range(2, len(products)), 100, 0)
    assert len(drawn) == 100
    assert drawn == sorted(set(drawn))
    ordered = sorted(texts)
    places = sorted(ordered.index(products.of(product)[0]) for product in drawn)
    assert sum(b - a == 1 for a, b in pairwise(places)) >= 97
    assert drawn != training.pseudo._draw(products, range(2, len(products)), 100, 1)
    assert training.pseudo._draw(products, range(2, len(products)), 10**6, 0) == list(range(2, len(products)))


def test_joined_titles_are_drawn_and_rewritten_but_never_classes(
    tmp_path: Path, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.pseudo, "_clusters", by_brand)
    joined = join_pseudo(products, DEFAULT, 99)
    config = TrainConfig(products_per_batch=6, unlabelled_share=0.5, pseudo_share=0.4, hidden=16, heads=2)
    sampler = Sampler(joined, config)
    for _ in range(20):
        drawn = sampler.draw()
        assert 10 in drawn, "one cluster of the two that the share asks for"
        assert sum(product >= 6 for product in drawn) == 3
    texts = {text for _ in range(30) for text, _ in sampler.pair(10)}
    assert len(texts) > 10
    assert all(joined.titles[row] in joined.of(10) for _ in range(9) for _, row in sampler.pair(10))
    tokenizer = learn_vocabulary(joined.titles, 200)
    run = Trainer(config, joined, tokenizer, tmp_path, lambda *_: {}, lambda *_: None)
    assert max(run._classes()) < 6


def test_a_teacher_s_clusters_are_kept(tmp_path: Path, products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    class Sure:
        def __init__(self, titles: list[str]) -> None:
            self.titles = titles

        @classmethod
        def from_items(cls, ids: list[str], titles: list[str], *_: object, **__: object) -> Sure:
            assert len(set(ids)) == len(titles)
            return cls(titles)

        def cluster(self, threshold: float) -> list[str]:
            asked.append(threshold)
            return [title.split()[0] for title in self.titles]

    monkeypatch.setattr(training.pseudo, "Matcher", Sure)
    first, again = (join_pseudo(products, DEFAULT, 99, tmp_path, sure=0.8) for _ in range(2))
    assert asked == [0.8], "the second time they are read"
    assert len(first) == 6 + 2
    assert again.titles == first.titles
    assert again.offsets.tolist() == first.offsets.tolist()
    join_pseudo(products, DEFAULT, 99, tmp_path, sure=0.7)
    assert asked == [0.8, 0.7], "another question"


SETTINGS = (
    "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=400,contrast_steps=20,arcface_steps=6,"
    "products_per_batch=24,validate_every=20"
)


def test_train_joins_what_its_teacher_is_sure_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{way} {n}호 {n % 9 + 1}00g,g{n}" for n in range(200) for way in ("농심 라면", "농심)라면")]
    (tmp_path / "toy.csv").write_text("title,cluster_id\n" + "\n".join(lines), encoding="utf-8")
    loose = [f"{way} {n}호 500ml" for n in range(14) for way in ("풀무원 두부", "풀무원)두부")]
    (tmp_path / "loose.csv").write_text("title\n" + "\n".join(loose), encoding="utf-8")
    command = [
        "train", str(tmp_path / "toy.csv"), "-o", str(tmp_path / "model"), "--base", "small", "--config", SETTINGS,
        "--unlabelled", str(tmp_path / "loose.csv"), "--teacher", str(DEFAULT), "--pseudo", "28",
    ]  # fmt: skip

    def by_number(titles: list[str], *_: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([int(re.findall(r"(\d+)호", title)[0]) for title in titles])

    monkeypatch.setattr(training.pseudo, "_clusters", by_number)
    for _ in range(2):  # the second time the run is taken up at its end
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 0, told.output
        assert "pseudo 28/28: products 14" in told.output


@pytest.mark.parametrize("options", [["--teacher", "m"], ["--pseudo", "5"], ["--teacher", "m", "--pseudo", "5"]])
def test_options_that_belong_together_are_asked_for(options: list[str]) -> None:
    told = CliRunner().invoke(app, ["train", "a.csv", "-o", "m", *options])
    assert told.exit_code == 2
    assert "expected --teacher, --pseudo and --unlabelled together" in " ".join(told.output.replace("│", " ").split())
