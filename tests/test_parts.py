"""Parts of the evidence: every column belongs to one, what is not seen is not used, gains are of the same rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product as every
from zlib import crc32

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="learning what each part adds needs dongil[train]")

from benchmarks.parts import PARTS, PLAIN, SHIPPED, Glimpse, Material, gather_material, measure_parts
from index.blending import BlendConfig
from index.decision import Decision
from index.evidence import EVIDENCE
from index.vectors import Vectors
from training.examples import Pool
from training.labels import Labelled
from training.pools import pool_of
from training.trees import TreeConfig

SYLLABLES = "가나다라마바사아자차카타"


def encode(titles: list[str]) -> Vectors:
    """Vectors that know the words of a title and not its weight: two packs of one thing stand together."""
    rows = []
    for title in titles:
        word = next(part for part in title.split() if part.endswith("면"))
        centre = np.random.default_rng(crc32(word.encode())).normal(size=32)
        rows.append(centre + 0.5 * np.random.default_rng(crc32(title.encode())).normal(size=32))
    vectors = np.array(rows).reshape(-1, 32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def two_packs(things: int = 120, name: str = "set") -> Labelled:
    """Products in packs of 120 g and 240 g, three listings each; 40 % to validate, 40 % to test."""
    titles, groups, splits = [], [], []
    for number, (a, b) in zip(range(things), every(SYLLABLES, SYLLABLES), strict=False):
        for grams in (120, 240):
            thing = f"{a}{b}면"
            titles += [f"{thing} {grams}g", f"농심 {thing} {grams} g", f"맛있는 {thing} 봉지 {grams}g"]
            groups += [f"{name}:{number}-{grams}"] * 3
            splits += [("validation", "test", "validation", "test", "train")[number % 5]] * 3
    return Labelled(name, titles, groups, splits)


@pytest.fixture(scope="module")
def material() -> Material:
    return gather_material([two_packs()], {}, encode, BlendConfig(k=10))


def test_every_column_is_of_one_part() -> None:
    assert [column for columns in PARTS.values() for column in columns] == list(EVIDENCE)


def test_what_is_not_seen_is_zero_and_holds_nothing_apart() -> None:
    pool = pool_of(two_packs(30), "test", encode, BlendConfig(k=10))
    whole = Glimpse.at(pool.scene)
    decision = Decision(BlendConfig(), 0.5, 0.5, 2.0, -1.0)
    real, seen = pool.scene.judge(decision), whole.judge(decision)
    assert np.array_equal(real.edges.left, seen.edges.left) and np.array_equal(real.edges.scores, seen.edges.scores)
    assert len(seen.apart[0]) == len(real.apart[0]) > 0
    blind = whole.seeing(PARTS["cosines"])
    assert len(blind.judge(decision).apart[0]) == 0
    columns = [EVIDENCE.index(name) for name in PARTS["cosines"]]
    for (block, some), (same, none) in zip(
        whole.evidence(whole.candidates()), blind.evidence(blind.candidates()), strict=True
    ):
        assert block == same
        assert np.array_equal(some[:, columns], none[:, columns])
        assert not np.delete(none, columns, axis=1).any() and np.delete(some, columns, axis=1).any()
    copy = pool.scene.candidates()
    with pytest.raises(ValueError, match="other pairs than the candidates"):
        next(iter(whole.evidence(type(copy)(copy.left, copy.right, copy.scores.copy()))))


def test_steps_add_up_and_quantities_pay_where_packs_differ(material: Material) -> None:
    said: list[str] = []
    parts = measure_parts(material, TreeConfig(trees=20, fewest_pairs=5), said.append)
    names = [rung.name for rung in parts.steps]
    assert names[0] == PLAIN and names[-1] == "+ prior of each catalogue" and len(names) == len(PARTS) + 3
    assert [rung.against for rung in parts.steps] == ["", *names[:-1]]
    assert [rung.name for rung in parts.left_out] == list(PARTS)
    assert "+ quantities" in said and "all but crowd" in said
    f1 = [rung.row_f1["set"].value for rung in parts.steps if rung.row_f1["set"]]
    gains = [rung.gain["set"].value for rung in parts.steps[1:] if rung.gain["set"]]
    assert np.diff(f1) == pytest.approx(gains)
    assert parts.whole.gain["set"] is not None and parts.whole.gain["set"].value == pytest.approx(f1[-1] - f1[0])
    assert parts.whole.gain["set"].low > 0.1  # no cosine parts 120 g from 240 g
    assert f1[-1] > 0.99


def test_what_ships_stands_last_where_it_learnt_from_other_rows_too(material: Material) -> None:
    nothing = Decision(BlendConfig(), 1.0, 1.0, 0.0, -20.0)
    parts = measure_parts(material, TreeConfig(trees=2, fewest_pairs=5), shipped=nothing)
    assert parts.steps[-1].name == SHIPPED
    alone = material.test[0].rows.tolist()
    labels = material.test[0].labels
    expected = float(np.mean([2 / (1 + labels.count(labels[row])) for row in alone]))
    found = parts.steps[-1].row_f1["set"]
    assert found is not None and found.value == pytest.approx(expected)
    gain = parts.whole.gain["set"]
    plain = parts.steps[0].row_f1["set"]
    assert gain is not None and plain is not None and gain.value == pytest.approx(expected - plain.value)


def test_the_tuned_cosine_is_that_of_an_own_loop(material: Material) -> None:
    def f1(pool: Pool, vectors: Vectors, threshold: float) -> float:
        cosines, values = vectors @ vectors.T, []
        for row in pool.rows.tolist():
            found = {row, *np.flatnonzero(cosines[row] >= threshold).tolist()}
            true = {other for other, label in enumerate(pool.labels) if label == pool.labels[row]}
            values.append(2 * len(found & true) / (len(found) + len(true)))
        return float(np.mean(values))

    validation, test = (pool_of(two_packs(), side, encode, BlendConfig(k=10)) for side in ("validation", "test"))
    rows = {id(p): encode([p.scene.nodes.texts[node] for node in p.scene.nodes.node_of]) for p in (validation, test)}
    grid = np.linspace(0.5, 1.0, 501)
    threshold = max(grid, key=lambda t: f1(validation, rows[id(validation)], t))
    ours = measure_parts(material, TreeConfig(trees=2, fewest_pairs=5)).steps[0].row_f1["set"]
    assert ours is not None and ours.value == pytest.approx(f1(test, rows[id(test)], threshold), abs=0.01)


def test_a_scene_that_was_not_looked_at_is_refused(material: Material) -> None:
    raw = pool_of(two_packs(30), "validation", encode, BlendConfig(k=10)).scene
    with pytest.raises(TypeError, match="was not looked at"):
        measure_parts(replace(material, validation=[replace(material.validation[0], scene=raw)]))
