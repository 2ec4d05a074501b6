"""The crowd around rows, against lists that are sorted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import unit_rows
from hypothesis import given
from hypothesis import strategies as st

from index.crowd import DEPTH, Crowd
from index.vectors import Neighbours


def lists(rows: int, seed: int, k: int) -> tuple[np.ndarray, Neighbours]:
    """Cosines of all rows, and each row's k best, itself among them at some place or not at all."""
    vectors = unit_rows(rows, 6, seed, spread=0.4)
    cosines = vectors @ vectors.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return cosines, Neighbours(order.astype(np.int64), np.take_along_axis(cosines, order, 1))


@given(rows=st.integers(1, 40), seed=st.integers(0, 50), k=st.integers(1, 30))
def test_against_brute_force(rows: int, seed: int, k: int) -> None:
    cosines, near = lists(rows, seed, min(k, rows))
    crowd = Crowd.of(near, np.arange(rows))
    assert crowd.scores.shape == (rows, DEPTH)
    for row in range(rows):
        kept = [id for id in near.ids[row].tolist() if id != row][:DEPTH]
        assert crowd.nearest[row] == (kept[0] if kept else -1)
        expected = [*cosines[row, kept].tolist(), *[-1.0] * (DEPTH - len(kept))]
        assert crowd.scores[row].tolist() == expected
        for other in range(rows):
            asked, cosine = np.array([row]), cosines[row, other][None]
            rank = sum(score > cosine[0] + 1e-6 for score in expected)
            assert crowd.ranks(asked, cosine) == rank
            rest = [cosines[row, id] for id in kept if id != other] or [-1.0]
            assert crowd.gaps(asked, cosine, np.array([other])) == pytest.approx(cosine[0] - rest[0])
            assert crowd.gaps(asked, cosine) == pytest.approx(cosine[0] - expected[0])


def test_new_titles_are_nobodys_own() -> None:
    near = Neighbours(np.array([[0, 1, -1], [-1, -1, -1]]), np.array([[0.9, 0.5, -np.inf]] * 2, np.float32))
    crowd = Crowd.of(near)
    assert crowd.nearest.tolist() == [0, -1]
    assert crowd.scores[:, :3].tolist() == [[np.float32(0.9), 0.5, -1], [-1, -1, -1]]


def test_a_rank_is_no_more_than_what_is_kept() -> None:
    near = Neighbours(np.arange(1, 31)[None], np.linspace(0.9, 0.5, 30, dtype=np.float32)[None])
    crowd = Crowd.of(near, np.array([0]))
    assert crowd.ranks(np.array([0, 0]), np.array([0.1, 0.9], np.float32)).tolist() == [DEPTH, 0]
