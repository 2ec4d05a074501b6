"""Intervals: of whole products, the same by the same seed, and none where there is nothing to divide by."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bootstrap import Resamples
from benchmarks.measures import harmonic, mean, pair_f1


def test_a_value_that_all_rows_share_has_no_width() -> None:
    interval = Resamples([0, 0, 1, 2]).interval(mean, np.full(4, 0.25), np.ones(4))
    assert interval is not None
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.25, 0.25, 0.25))


def test_products_are_drawn_whole() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(20), 50)  # rows of one product are all alike
    whole = Resamples(np.repeat(np.arange(20), 50)).interval(mean, values, np.ones(1000))
    singly = Resamples(np.arange(1000)).interval(mean, values, np.ones(1000))
    assert whole is not None and singly is not None
    assert whole.value == singly.value
    assert whole.high - whole.low > 4 * (singly.high - singly.low)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 40, 200)
    values = rng.random(200)
    interval = Resamples(groups, draws=2000).interval(mean, values, np.ones(200))
    members = [values[groups == group] for group in np.unique(groups)]
    drawn = [
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]).mean() for _ in range(2000)
    ]
    assert interval is not None
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(2).random(30)
    one, two, other = (Resamples(np.arange(30), seed=seed).interval(mean, values, np.ones(30)) for seed in (5, 5, 6))
    assert one == two
    assert one != other


def test_nothing_to_divide_by_is_none() -> None:
    resamples = Resamples([0, 1])
    zeros, ones = np.zeros(2), np.ones(2)
    assert resamples.interval(mean, zeros, zeros) is None
    assert resamples.interval(pair_f1, zeros, zeros, zeros) is None
    assert resamples.interval(harmonic, zeros, zeros, ones) is None
    # One product alone has a denominator: draws without it are left out, and the value stands.
    partly = resamples.interval(mean, np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    assert partly is not None
    assert (partly.low, partly.value, partly.high) == (0.5, 0.5, 0.5)


def test_row_weights_are_the_draws() -> None:
    weights = np.stack(list(Resamples([0, 0, 1]).row_weights(50)))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert set((weights[:, 1] + weights[:, 2]).tolist()) == {2.0}
