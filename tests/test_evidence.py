"""Evidence is the same whichever title comes first, and each of its numbers is what brute force finds."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import unit_rows
from hypothesis import given
from hypothesis import strategies as st

from index.blending import BlendConfig, blend_catalogue
from index.crowd import Crowd
from index.evidence import EVIDENCE, STANDING, Side, candidates, contradictions, gather, worth_a_look
from index.vectors import Neighbours, VectorIndex
from index.wording import WORDING, Wording

TITLES = [
    "농심 신라면 120g 5개입",
    "농심 신라면 120g 20개입",
    "SM-R510 버즈",
    "SM-R530 버즈",
    "제주 삼다수 2L 6개",
    "콜라",
]


def a_side(rows: int, seed: int, k: int = 12) -> tuple[Side, Neighbours]:
    vectors = unit_rows(rows, 8, seed, spread=0.35)
    found = VectorIndex.from_vectors(vectors, device="cpu", exact=True).search(vectors, k)
    blended = blend_catalogue(vectors, found, BlendConfig())
    titles = [TITLES[row % len(TITLES)] + f" {row // 7}" for row in range(rows)]
    return Side(vectors, blended.stages[-1], Crowd.of(found, np.arange(rows)), Wording.of(titles)), found


def every_pair(count: int) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.triu_indices(count, 1)
    return left.astype(np.int64), right.astype(np.int64)


def test_every_number_has_a_name() -> None:
    assert (*STANDING, *WORDING) == EVIDENCE
    assert len(set(EVIDENCE)) == len(EVIDENCE)


@given(rows=st.integers(2, 25), seed=st.integers(0, 60))
def test_no_title_of_a_pair_is_the_first(rows: int, seed: int) -> None:
    side, _ = a_side(rows, seed)
    left, right = every_pair(rows)
    np.testing.assert_allclose(gather(side, left, side, right), gather(side, right, side, left), rtol=1e-5, atol=1e-6)


@given(rows=st.integers(2, 25), seed=st.integers(0, 60))
def test_how_a_pair_stands_against_brute_force(rows: int, seed: int) -> None:
    side, near = a_side(rows, seed)
    left, right = every_pair(rows)
    found = gather(side, left, side, right)
    for pair, (a, b) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        cosine = float(side.vectors[a] @ side.vectors[b])
        expected = {"cosine": cosine, "blended_cosine": float(side.blended[a] @ side.blended[b])}
        per_end: dict[str, list[float]] = {"rank": [], "gap": [], "fifth": [], "twentieth": []}
        for row, other in ((a, b), (b, a)):
            told = zip(near.ids[row].tolist(), near.scores[row].tolist(), strict=True)
            others = [(id, score) for id, score in told if id not in (-1, row)]
            scores = [score for _, score in others] + [-1.0] * 20
            per_end["rank"].append(sum(score > cosine + 1e-6 for score in scores))
            per_end["gap"].append(cosine - max([score for id, score in others if id != other], default=-1.0))
            per_end["fifth"].append(scores[4])
            per_end["twentieth"].append(scores[19])
        for name, both in per_end.items():
            expected |= {f"{name}_least": min(both), f"{name}_most": max(both)}
        ranks = {"rank_least", "rank_most"}  # equal cosines may fall on either side of one another
        for name, value in expected.items():
            close = abs(found[pair, EVIDENCE.index(name)] - value)
            assert close < (1.5 if name in ranks and len(set(np.round(near.scores[a], 5))) < rows else 1e-5), name
    wording = [EVIDENCE.index(name) for name in WORDING]
    assert np.array_equal(found[:, wording], side.wording.compare(left, right, side.wording))


@given(rows=st.integers(2, 40), seed=st.integers(0, 60), k=st.integers(1, 40))
def test_candidates_against_brute_force(rows: int, seed: int, k: int) -> None:
    """A pair is looked at from .4 on where it is among the first ten of either, and from .6 on in any case."""
    vectors = unit_rows(rows, 6, seed, spread=0.6)
    near = VectorIndex.from_vectors(vectors, device="cpu", exact=True).search(vectors, k)
    expected = set()
    for row in range(rows):
        for place, (id, score) in enumerate(zip(near.ids[row].tolist(), near.scores[row].tolist(), strict=True)):
            if id not in (-1, row) and (score >= 0.6 or (score >= 0.4 and place <= 10)):
                expected.add((min(row, id), max(row, id)))
    found = candidates(near)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == sorted(expected)


def test_a_new_title_is_looked_at_where_it_would_be_among_the_first_of_a_row() -> None:
    """It stands twelfth in its own list, but would be the nearest of that row."""
    cosines = np.linspace(0.55, 0.44, 12, dtype=np.float32)
    asked = Neighbours(np.arange(12)[None], cosines[None])
    lonely = Crowd(np.full(12, -1), np.full((12, 20), -1, np.float32))
    crowded = Crowd(np.full(12, -1), np.full((12, 20), 0.9, np.float32))
    assert worth_a_look(asked).tolist() == [[True] * 11 + [False]]
    assert worth_a_look(asked, lonely).tolist() == [[True] * 12]
    assert worth_a_look(asked, crowded).tolist() == [[True] * 11 + [False]]
    none = Neighbours(np.full((1, 3), -1), np.full((1, 3), -np.inf, np.float32))
    assert not worth_a_look(none, lonely).any()


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("농심 신라면 120g 5개입", "농심 신라면 120g 20개입", True),
        ("제주 삼다수 500ml", "제주 삼다수 2L", True),
        ("고려은단 비타민C 100g", "고려은단 비타민C 200g", True),
        ("버즈 SM-R510", "버즈 SM-R530", True),
        ("농심 신라면 120g 5개입", "농심 신라면 5봉", False),
        ("나이키 에어포스 화이트", "나이키 에어포스 블랙", False),  # for the model to weigh
        ("버즈 SM-R510", "버즈", False),
    ],
)
def test_contradictions(one: str, other: str, apart: bool) -> None:
    vectors = unit_rows(2, 4)
    near = Neighbours(np.array([[0, 1], [1, 0]]), np.ones((2, 2), np.float32))
    side = Side(vectors, vectors, Crowd.of(near, np.arange(2)), Wording.of([one, other]))
    assert contradictions(gather(side, np.array([0]), side, np.array([1]))).tolist() == [apart]


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    side, _ = a_side(20, 3)
    left, right = every_pair(20)
    whole = gather(side, left, side, right)
    monkeypatch.setattr("index.evidence._BLOCK", 7)
    assert np.array_equal(gather(side, left, side, right), whole)
