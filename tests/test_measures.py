"""Thresholds as they are told: rounded, and still deciding as the curve's position does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measures import Side, chosen
from benchmarks.pools import Judged
from index.clustering import Edges
from index.vectors import Neighbours


def side(scores: list[float]) -> Side:
    """Three rows; the first two are one product, and only they have lists."""
    ids = np.array([[1, 2], [0, 2]])
    near = Neighbours(ids, np.array([scores[:2], scores[2:]], np.float32))
    return Side(Judged(near, np.array([0, 0, 1]), np.arange(2)), no_edges)


def no_edges() -> Edges:
    return Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4))
def test_a_threshold_that_is_told_decides_as_it_was_chosen(scores: list[int]) -> None:
    one = side([score / 1000 for score in scores])
    curve = one.row_curve
    for at in range(len(curve.f1)):
        told = chosen(curve, at)
        assert curve.at(told) == at
        assert f"{told:.6f}" == f"{round(told, 6):.6f}"
    assert chosen(curve) == chosen(curve, curve.best)


def test_every_score_at_a_threshold() -> None:
    scores = side([0.9, 0.5, 0.9, 0.7]).scores(0.6)
    # Row 0 joins 1; row 1 joins 0 and 2. Pairs: 0-1 right, 1-2 wrong.
    assert (scores.right, scores.wrong, scores.unscored, scores.unfound) == (1, 1, 0, 0)
    assert scores.row_f1 is not None and scores.pair_precision is not None and scores.exact is not None
    assert scores.row_f1.value == (1 + 2 * 2 / 5) / 2
    assert scores.exact.value == 0.5
    assert scores.pair_precision.value == 0.5
    assert scores.largest_cluster == 1


def test_rows_without_partners_or_candidates() -> None:
    empty = Neighbours(np.full((2, 1), -1), np.full((2, 1), -np.inf, np.float32))
    alone = Side(Judged(empty, np.array([0, 1]), np.arange(2)), no_edges)
    scores = alone.scores(0.5)
    assert not alone.has_pairs
    assert alone.average_precision() is None
    assert scores.pair_precision is None and scores.pair_recall is None and scores.pair_f1 is None
    assert scores.row_f1 is not None and scores.row_f1.value == 1
    assert set(alone.search(alone.judged).recall_at.values()) == {None}
    nobody = Side(Judged(Neighbours(empty.ids[:0], empty.scores[:0]), np.array([0, 1]), np.arange(0)), no_edges)
    assert not nobody.has_pairs


def test_average_precision_is_the_pairs_own_with_an_interval_around_it() -> None:
    one = side([0.9, 0.5, 0.9, 0.7])
    interval = one.average_precision()
    assert interval is not None
    assert interval.value == one.pairs.average_precision()
    assert interval.low <= interval.value <= interval.high
