"""Scores by hand, and thresholds as they are told: rounded, and still deciding as the curve's position does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measures import Side, chosen
from benchmarks.pools import Judged
from index.vectors import Neighbours


def side(scores: list[float]) -> Side:
    """Three rows; the first two are one product, and only they have lists."""
    ids = np.array([[1, 2], [0, 2]])
    near = Neighbours(ids, np.array([scores[:2], scores[2:]], np.float32))
    first = Neighbours(np.array([[1], [2]]), np.ones((2, 1), np.float32))
    labels, rows = np.array([0, 0, 1]), np.arange(2)
    return Side(Judged(near, labels, rows), accepted=Judged(first, labels, rows), clusters=alone)


def alone(threshold: float | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Rows 0 and 1 together up to .5, and by default; else all stand alone."""
    return np.array([0, 0, 2]) if threshold is None or threshold <= 0.5 else np.arange(3)


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
    assert scores.threshold == 0.6


def test_what_is_accepted_without_a_threshold() -> None:
    one = side([0.9, 0.5, 0.9, 0.7])
    scores = one.scores(None)
    # Row 0 takes 1, row 1 takes 2: a pair counts when either takes the other.
    assert scores.threshold is None
    assert (scores.right, scores.wrong, scores.largest_cluster) == (1, 1, 2)
    assert one.rows(None).f1.tolist() == [1, 0.5]
    assert scores.bcubed_f1 is not None and scores.bcubed_f1.value == 1
    gain = one.gain(None, np.array([0.5, 0.5]))
    assert gain is not None and gain.value == 0.25


def test_the_best_clusters_are_of_the_highest_threshold() -> None:
    one = side([0.9, 0.5, 0.9, 0.7])
    assert one.best_clusters == (0.5, 1)
    assert one.bcubed_curve.thresholds.tolist() == sorted(one.bcubed_curve.thresholds.tolist(), reverse=True)
    assert float(one.bcubed_curve.f1[one.bcubed_curve.at(0.5)]) == 1


def test_true_pairs_that_only_search_brought_are_unscored() -> None:
    labels, rows = np.array([0, 0, 0]), np.arange(1)
    brought = Judged(Neighbours(np.array([[1, 2]]), np.array([[0.9, 0.8]], np.float32)), labels, rows)
    judged = Judged(Neighbours(np.array([[1]]), np.array([[0.7]], np.float32)), labels, rows)
    scores = Side(judged, searched=brought, clusters=alone).scores(0.5)
    assert (scores.right, scores.unscored, scores.unfound) == (1, 1, 0)
    scores = Side(judged, clusters=alone).scores(0.8)
    assert (scores.right, scores.unscored, scores.unfound) == (0, 1, 1)


def test_a_side_of_lists_alone_has_no_decision() -> None:
    lists = side([0.9, 0.5, 0.9, 0.7]).judged
    with pytest.raises(ValueError, match="a side without decision"):
        Side(lists).rows(None)
    with pytest.raises(ValueError, match="a side without clusters"):
        Side(lists).scores(0.5)


def test_rows_without_partners_or_candidates() -> None:
    empty = Neighbours(np.full((2, 1), -1), np.full((2, 1), -np.inf, np.float32))
    lonely = Side(Judged(empty, np.array([0, 1]), np.arange(2)), clusters=lambda _: np.arange(2))
    scores = lonely.scores(0.5)
    assert not lonely.has_pairs
    assert lonely.average_precision() is None
    assert scores.pair_precision is None and scores.pair_recall is None and scores.pair_f1 is None
    assert scores.row_f1 is not None and scores.row_f1.value == 1
    assert set(lonely.search().recall_at.values()) == {None}
    nobody = Side(Judged(Neighbours(empty.ids[:0], empty.scores[:0]), np.array([0, 1]), np.arange(0)))
    assert not nobody.has_pairs


def test_average_precision_is_the_pairs_own_with_an_interval_around_it() -> None:
    one = side([0.9, 0.5, 0.9, 0.7])
    interval = one.average_precision()
    assert interval is not None
    assert interval.value == one.pairs.average_precision()
    assert interval.low <= interval.value <= interval.high
