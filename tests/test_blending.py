"""Blending is held against a reference that is written row by row, as the competition's winners describe it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.errors import InputError
from index.blending import BlendConfig, blend_catalogue, blend_once, blend_queries, rescore
from index.vectors import Neighbours, VectorIndex, Vectors

Rows = npt.NDArray[np.float64]
List = list[tuple[float, int]]  # (score, id), best first


def slow_stage(queries: Rows, vectors: Rows, lists: list[List], config: BlendConfig, *, own: bool) -> Rows:
    """One stage of INB with min2, in loops."""
    blended = []
    for row, query in enumerate(queries):
        others = [(score, id) for score, id in lists[row] if not (own and id == row)]
        accepted = [(score, id) for score, id in others if score >= config.threshold]
        if not accepted and others and config.min2_threshold is not None and others[0][0] >= config.min2_threshold:
            accepted = others[:1]
        total = query.copy()
        for score, id in accepted:
            total += config.weight * max(score, 0) ** config.power * vectors[id]
        length = math.sqrt(sum(total * total))
        blended.append(total / length if length else total)
    return np.array(blended).reshape(queries.shape)


def slow_rescore(queries: Rows, vectors: Rows, lists: list[List]) -> list[List]:
    return [
        sorted(((float(query @ vectors[id]), id) for _, id in near), key=lambda pair: (-pair[0], pair[1]))
        for query, near in zip(queries, lists, strict=True)
    ]


def as_lists(neighbours: Neighbours) -> list[List]:
    return [
        [(score, id) for score, id in zip(scores, ids, strict=True) if id >= 0]
        for scores, ids in zip(neighbours.scores.tolist(), neighbours.ids.tolist(), strict=True)
    ]


def check_same(neighbours: Neighbours, lists: list[List]) -> None:
    for (scores, ids), near in zip(zip(neighbours.scores, neighbours.ids.tolist(), strict=True), lists, strict=True):
        real = len(near)
        np.testing.assert_allclose(scores[:real], [score for score, _ in near], atol=1e-5)
        assert {id for id in ids if id >= 0} == {id for _, id in near}
        expected = {id: score for score, id in near}
        np.testing.assert_allclose(scores[:real], [expected[id] for id in ids[:real]], atol=1e-5)
        assert (scores[real:] == -np.inf).all()
        assert ids[real:] == [-1] * (len(ids) - real)


def search(queries: Vectors, vectors: Vectors, k: int) -> Neighbours:
    return VectorIndex.from_vectors(vectors, device="cpu").search(queries, k)


# Thresholds that no cosine of these rows hits by chance, as 0 and 1 would be hit.
configs = st.builds(
    BlendConfig, stages=st.integers(0, 3), k=st.integers(1, 14), threshold=st.sampled_from([-0.17, 0.43, 0.71, 0.93]),
    min2_threshold=st.sampled_from([None, -0.37, 0.31, 0.63]), power=st.sampled_from([0.5, 1.0, 2.0]),
    weight=st.sampled_from([0.0, 0.5, 1.0, 1.5]),
)  # fmt: skip


few = st.integers(0, 3)


@given(config=configs, rows=st.integers(0, 30), seed=st.integers(0, 99), zeros=few, copies=few)
@settings(max_examples=60)
def test_a_catalogue_against_the_reference(config: BlendConfig, rows: int, seed: int, zeros: int, copies: int) -> None:
    vectors = unit_rows(rows, 6, seed, spread=0.2)
    if rows:
        draw = np.random.default_rng(seed)
        vectors[draw.integers(rows, size=copies)] = vectors[0]
        vectors[draw.integers(rows, size=zeros)] = 0
    found = search(vectors, vectors, config.k)
    blended = blend_catalogue(vectors, found, config)
    assert len(blended.stages) == config.stages + 1
    np.testing.assert_array_equal(blended.stages[0], vectors)
    stage, lists = vectors.astype(np.float64), as_lists(found)
    for got in blended.stages[1:]:
        stage = slow_stage(stage, stage, lists, config, own=True)
        lists = slow_rescore(stage, stage, lists)
        np.testing.assert_allclose(got, stage, atol=1e-5)
        assert got.dtype == np.float32
        lengths = np.linalg.norm(got, axis=1)
        np.testing.assert_allclose(lengths, vectors.any(axis=1), atol=1e-5)
    check_same(blended.neighbours, lists)


@given(config=configs, rows=st.integers(1, 30), seed=st.integers(0, 99), wider=st.integers(0, 20))
@settings(max_examples=60)
def test_new_titles_against_the_reference(config: BlendConfig, rows: int, seed: int, wider: int) -> None:
    vectors = unit_rows(rows, 6, seed, spread=0.2)
    queries = np.concatenate([unit_rows(4, 6, seed + 1), vectors[:3], np.zeros((1, 6), np.float32)])
    stages = blend_catalogue(vectors, search(vectors, vectors, config.k), config).stages
    found = search(queries, vectors, config.k + wider)
    stage, whole = queries.astype(np.float64), as_lists(found)
    near = [candidates[: config.k] for candidates in whole]
    for before, after in pairwise(stages):
        stage = slow_stage(stage, before.astype(np.float64), near, config, own=False)
        near = slow_rescore(stage, after.astype(np.float64), near)
    check_same(blend_queries(queries, stages, found, config), slow_rescore(stage, stages[-1].astype(np.float64), whole))


def test_asking_for_more_changes_no_score() -> None:
    vectors, queries = unit_rows(200, 8, spread=0.2), unit_rows(200, 8, spread=0.2)[::5]
    config = BlendConfig(stages=2, k=10, threshold=0.5)
    stages = blend_catalogue(vectors, search(vectors, vectors, 10), config).stages
    few = blend_queries(queries, stages, search(queries, vectors, 10), config)
    many = blend_queries(queries, stages, search(queries, vectors, 40), config)
    for row in range(len(queries)):
        scores = dict(zip(many.ids[row].tolist(), many.scores[row].tolist(), strict=True))
        assert [scores[id] for id in few.ids[row].tolist()] == pytest.approx(few.scores[row].tolist(), abs=1e-6)


def test_a_title_of_the_catalogue_finds_itself() -> None:
    vectors = unit_rows(120, 16, spread=0.1)
    config = BlendConfig(stages=2, k=20, threshold=0.6)
    stages = blend_catalogue(vectors, search(vectors, vectors, 20), config).stages
    found = blend_queries(vectors, stages, search(vectors, vectors, 20), config)
    own = found.scores[found.ids == np.arange(120)[:, None]]
    assert len(own) == 120
    assert own.min() > 0.95


@pytest.mark.parametrize("min2_threshold", [None, 0.3])
def test_the_order_of_rows_does_not_matter(min2_threshold: float | None) -> None:
    vectors, order = unit_rows(200, 8, spread=0.2), np.random.default_rng(5).permutation(200)
    config = BlendConfig(stages=3, k=12, threshold=0.7, min2_threshold=min2_threshold)
    first = blend_catalogue(vectors, search(vectors, vectors, 12), config)
    second = blend_catalogue(vectors[order], search(vectors[order], vectors[order], 12), config)
    np.testing.assert_allclose(second.stages[-1], first.stages[-1][order], atol=1e-5)
    np.testing.assert_allclose(second.neighbours.scores, first.neighbours.scores[order], atol=1e-5)


def test_blending_twice_is_the_same() -> None:
    vectors = unit_rows(100, 8, spread=0.2)
    first, second = (blend_catalogue(vectors, search(vectors, vectors, 9), BlendConfig(stages=2)) for _ in range(2))
    np.testing.assert_array_equal(first.stages[-1], second.stages[-1])
    np.testing.assert_array_equal(first.neighbours.ids, second.neighbours.ids)


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, config = unit_rows(100, 8, spread=0.2), BlendConfig(stages=2, threshold=0.4)
    whole = blend_catalogue(vectors, search(vectors, vectors, 9), config)
    monkeypatch.setattr("index.blending._BLOCK", 7)
    parts = blend_catalogue(vectors, search(vectors, vectors, 9), config)
    np.testing.assert_allclose(parts.stages[-1], whole.stages[-1], atol=1e-6)


def test_a_row_that_stands_alone_stays() -> None:
    vectors = np.eye(4, dtype=np.float32)
    for k in (1, 4):
        blended = blend_catalogue(vectors, search(vectors, vectors, k), BlendConfig(stages=3, k=k))
        np.testing.assert_array_equal(blended.stages[-1], vectors)


def test_by_hand() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    one = np.array([0, 1], np.int64)
    near = search(vectors, vectors, 3)
    over = blend_once(vectors, vectors, near, BlendConfig(threshold=0.7), np.arange(3))
    expected = np.array([1 + 0.8 * 0.8, 0.8 * 0.6]) / np.hypot(1 + 0.8 * 0.8, 0.8 * 0.6)
    np.testing.assert_allclose(over[0], expected, atol=1e-6)
    np.testing.assert_array_equal(over[2], one)
    min2 = blend_once(vectors, vectors, near, BlendConfig(threshold=0.7, min2_threshold=0.5), np.arange(3))
    expected = np.array([0.6 * 0.8, 1 + 0.6 * 0.6]) / np.hypot(0.6 * 0.8, 1 + 0.6 * 0.6)
    np.testing.assert_allclose(min2[2], expected, atol=1e-6)


def test_rescore_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    candidates = Neighbours(np.array([[1, 2, 0, -1]]), np.array([[0.9, 0.8, 0.7, -np.inf]], np.float32))
    again = rescore(vectors[:1], vectors, candidates)
    assert again.ids.tolist() == [[0, 2, 1, -1]]
    assert again.scores.tolist() == [[1, 1, 0, -math.inf]]
    assert candidates.ids.tolist() == [[1, 2, 0, -1]]


def test_progress_counts_every_row_once_a_stage() -> None:
    vectors, steps = unit_rows(30), list[int]()
    blend_catalogue(vectors, search(vectors, vectors, 5), BlendConfig(stages=3), progress=steps.append)
    assert steps == [30, 30, 30]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("stages", -1, "blending stages is -1; expected a whole number of at least 0"),
        ("stages", 1.5, "blending stages is 1.5; expected a whole number of at least 0"),
        ("k", 0, "blending k is 0; expected a whole number of at least 1"),
        ("k", "many", "blending k is 'many'; expected a whole number"),
        ("threshold", 1.1, "blending threshold is 1.1; expected a cosine between -1 and 1"),
        ("threshold", math.nan, "blending threshold is nan"),
        ("min2_threshold", -2, "blending min2_threshold is -2; expected a cosine between -1 and 1"),
        ("power", -1, "blending power is -1; expected a number of at least 0"),
        ("weight", math.inf, "blending weight is inf; expected a number of at least 0"),
        ("weight", math.nan, "blending weight is nan"),
    ],
)
def test_a_config_out_of_range(name: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        BlendConfig(**{name: value})
    assert said in str(caught.value)
