"""Reliability: shares and calibration error by hand and by brute force, and promises that are kept or broken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bootstrap import Interval
from benchmarks.measures import Side
from benchmarks.pools import Judged
from benchmarks.reliability import Kept, kept, reliability
from index.decision import Promise
from index.vectors import Neighbours


def side(scores: list[float]) -> Side:
    """Row 0 judged against others, of which those of an even number are its product."""
    others = np.arange(1, len(scores) + 1)
    near = Neighbours(others[None], np.array([scores], np.float32))
    return Side(Judged(near, np.array([0, *(others % 2)]), np.array([0])))


def test_by_hand() -> None:
    told = reliability(side([0.85, 0.81, 0.05]))  # the second is right
    assert told.pairs == 3
    assert [(one.low, one.high, one.pairs) for one in told.bins] == [(0.0, 0.1, 1), (0.8, 0.9, 2)]
    assert [one.promised for one in told.bins] == pytest.approx([0.05, 0.83])
    assert [one.right and one.right.value for one in told.bins] == [0, 0.5]
    assert told.error is not None
    assert told.error.value == pytest.approx((0.05 + 2 * 0.33) / 3)


def test_nothing_to_look_at() -> None:
    told = reliability(
        Side(Judged(Neighbours(np.array([[-1]]), np.array([[-np.inf]], np.float32)), np.arange(2), np.array([0])))
    )
    assert (told.pairs, told.error, told.bins) == (0, None, [])


@settings(max_examples=50)
@given(st.lists(st.integers(1, 64).map(lambda part: part / 64), min_size=1, max_size=30))
def test_the_error_against_every_pair(scores: list[float]) -> None:
    told = reliability(side(scores))
    gaps = dict.fromkeys(range(10), 0.0)
    for other, score in enumerate(scores, start=1):
        gaps[min(int(score * 10), 9)] += score - (other % 2 == 0)
    assert told.error is not None
    assert told.error.value == pytest.approx(sum(map(abs, gaps.values())) / len(scores), abs=1e-6)
    assert sum(one.pairs for one in told.bins) == told.pairs == len(scores)
    assert all(one.low <= one.promised <= one.high + 1e-6 for one in told.bins)


def test_promises_are_counted_at_their_threshold() -> None:
    promise = Promise(0.9, 0.8, 0.5, "9 of 10")
    (one,) = kept(side([0.85, 0.81, 0.9, 0.5, 0.05]), [promise])
    assert one.promise is promise
    assert one.precision is not None and one.precision.value == pytest.approx(1 / 3)
    assert one.recall is not None and one.recall.value == pytest.approx(1 / 2)
    assert one.accepted == 3
    (strict,) = kept(side([0.5]), [promise])
    assert (strict.precision, strict.accepted, strict.broken) == (None, 0, False)


@pytest.mark.parametrize(("high", "broken"), [(0.89, True), (0.9, False)])
def test_a_promise_is_broken_when_the_whole_interval_is_below(high: float, broken: bool) -> None:
    assert Kept(Promise(0.9, 0.8, 0.5, ""), Interval(0.85, 0.8, high), None, 3).broken is broken
