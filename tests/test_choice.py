"""The choice of a row's matches is held against all choices there are, each under all ways the truth may be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.choice import accepted_by_expected_f1

likely = st.just(0.0) | st.floats(0.02, 1)


def expected_f1(probabilities: list[float], chosen: tuple[bool, ...]) -> float:
    """Of a set of candidates, the row itself counted among both the chosen and the true ones."""
    total = 0.0
    for truth in product([False, True], repeat=len(probabilities)):
        chance = 1.0
        for p, true in zip(probabilities, truth, strict=True):
            chance *= p if true else 1 - p
        hits = 1 + sum(a and b for a, b in zip(chosen, truth, strict=True))
        total += chance * 2 * hits / (2 + sum(chosen) + sum(truth))
    return total


@given(st.lists(likely, max_size=6).map(lambda some: sorted(some, reverse=True)))
def test_no_set_of_candidates_is_better(probabilities: list[float]) -> None:
    (count,) = accepted_by_expected_f1(np.array([probabilities]).reshape(1, -1)).tolist()
    own = expected_f1(probabilities, tuple(place < count for place in range(len(probabilities))))
    every = [expected_f1(probabilities, chosen) for chosen in product([False, True], repeat=len(probabilities))]
    assert own == pytest.approx(max(every), abs=1e-8)
    fewer = [expected_f1(probabilities, tuple(p < m for p in range(len(probabilities)))) for m in range(count)]
    assert all(one < own - 1e-10 for one in fewer), "of equal choices the smallest"


@given(st.lists(st.lists(likely, max_size=9), min_size=1, max_size=4), st.integers(0, 5))
def test_rows_do_not_depend_on_one_another(rows: list[list[float]], padding: int) -> None:
    width = max(map(len, rows)) + padding
    table = np.array([sorted(row, reverse=True) + [0.0] * (width - len(row)) for row in rows]).reshape(len(rows), width)
    alone = [int(accepted_by_expected_f1(row[None])[0]) for row in table]
    assert accepted_by_expected_f1(np.tile(table, (300, 1))).tolist() == alone * 300


@pytest.mark.parametrize(
    ("probabilities", "count"),
    [
        ([], 0),
        ([0.0, 0.0], 0),
        ([1.0], 1),
        ([0.51], 1),  # one candidate is worth a try from a half on
        ([0.49], 0),
        ([1.0, 1.0, 0.005], 2),
        ([0.3] * 20, 20),  # a threshold of .5 would leave six partners out
        ([0.9, 0.02], 1),
    ],
)
def test_by_hand(probabilities: list[float], count: int) -> None:
    assert accepted_by_expected_f1(np.array([probabilities]).reshape(1, -1)).tolist() == [count]


def test_no_rows() -> None:
    assert accepted_by_expected_f1(np.zeros((0, 7))).tolist() == []
