"""The threshold certificate: bounds counted by hand, promises that hold on labels drawn again, labels that lack."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="proving a threshold needs dongil[train]")

from scipy.stats import binom

from embedder.errors import InputError
from training.prove import Proof, prove, resample_check

GRID = np.round(np.arange(0.30, 1.00, 0.05), 2)
Pairs = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]


def alone(right: int, wrong: int, score: float = 0.9) -> Pairs:
    """As many pairs of one score, each of a product of its own."""
    count = right + wrong
    return np.full(count, score), np.arange(count) < right, np.arange(count)


def joined(*parts: Pairs) -> Pairs:
    scores, correct = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    return scores, correct, np.arange(len(scores))


def shop(draw: np.random.Generator, products: int = 250) -> Pairs:
    """Pairs of products, one in five of which is hard: all its pairs under .7 are wrong, in some those over .95 too.

    Scores are even between 0 and 1, and sizes do not depend on hardness, so the true precision is that of ``truth``.
    """
    owner = np.repeat(np.arange(products), draw.geometric(0.15, products))
    scores = draw.random(len(owner))
    hard, torn = (draw.random(products) < 0.2)[owner], (draw.random(products) < 0.25)[owner]
    return scores, ~(hard & ((scores < 0.7) | (torn & (scores > 0.95)))), owner


def truth(threshold: float) -> float:
    """The true precision in ``shop``; it rises and then falls as the threshold does."""
    wrong = 0.2 * (max(0.0, 0.7 - threshold) + 0.25 * (1 - max(threshold, 0.95)))
    return float(1 - wrong / (1 - threshold))


def kept(target: float, *, naive: bool, draws: int = 1000) -> tuple[float, float]:
    """In which share of draws of labels a promise is made, and in which none is broken."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        scores, correct, products = shop(draw)
        proof = prove(scores, correct, np.arange(len(scores)) if naive else products, target, grid=GRID)
        found.append(proof.threshold)
    made = np.array([one is not None for one in found])
    held = np.array([one is None or truth(one) >= target for one in found])
    return float(made.mean()), float(held.mean())


# 1,000 draws of an event of 95 % miss it by more than two standard errors once in forty.
SLACK = 2 * np.sqrt(0.95 * 0.05 / 1000)


# Just over the true precision at .35 and at .45, and so hard to tell from it.
@pytest.mark.parametrize("target", [0.889, 0.905])
def test_the_promise_holds_in_95_of_100_draws_and_a_naive_one_does_not(target: float) -> None:
    made, held = kept(target, naive=False)
    assert made > 0.9
    assert held >= 0.95 - SLACK
    assert kept(target, naive=True, draws=300)[1] < 0.95 - 2 * SLACK


@pytest.mark.parametrize(
    ("right", "wrong", "bound"),
    [
        (59, 0, 0.95050),  # .05 ** (1 / 59)
        (58, 0, 0.94966),
        (29, 1, 0.85140),  # from here on as printed in tables of the exact binomial
        (95, 5, 0.89775),
        (9, 1, 0.60584),
    ],
)
def test_the_bound_of_pairs_that_stand_alone_is_that_of_clopper_and_pearson(
    right: int, wrong: int, bound: float
) -> None:
    proof = prove(*alone(right, wrong), 0.5, grid=np.array([0.5]))
    assert proof.lower == pytest.approx(bound, abs=1e-5)
    assert (proof.precision, proof.accepted, proof.products) == (right / (right + wrong), right + wrong, right + wrong)


@given(st.integers(1, 300), st.integers(0, 30), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_bound_is_where_so_many_right_are_just_unlikely(right: int, wrong: int, confidence: float) -> None:
    lower = prove(*alone(right, wrong), 0.5, confidence=confidence, grid=np.array([0.5])).lower
    assert binom.sf(right - 1, right + wrong, lower) == pytest.approx(1 - confidence, rel=1e-6)


def test_fifty_nine_right_pairs_prove_95_percent_and_fifty_eight_lack_one() -> None:
    proof = prove(*alone(59, 0), 0.95, grid=np.array([0.5, 0.99]))
    assert (proof.threshold, proof.more_needed, proof.recall) == (0.5, 0, 1.0)
    assert proof.words == (
        "precision of at least 0.95 is proven with 95 % confidence: 59 of 59 accepted pairs are right (bound 0.9505); "
        "recall 1.00"
    )
    lacking = prove(*alone(58, 0), 0.95, grid=np.array([0.5, 0.99]))
    assert (lacking.threshold, lacking.more_needed) == (None, 1)
    assert "about 1 more accepted pairs at the observed precision of 1.0000" in lacking.words


def test_pairs_of_one_product_count_once_if_they_err_together() -> None:
    """A hundred products of five pairs, five of them wrong throughout, prove what a hundred pairs would."""
    products = np.repeat(np.arange(100), 5)
    together = prove(np.full(500, 0.9), products >= 5, products, 0.5, grid=np.array([0.5]))
    assert together.lower == pytest.approx(prove(*alone(95, 5), 0.5, grid=np.array([0.5])).lower, abs=0.004)
    one = prove(np.full(500, 0.9), np.ones(500, np.bool_), np.zeros(500, np.int64), 0.5, grid=np.array([0.5]))
    assert one.threshold is None  # whatever it owns, one product is one product
    spread = prove(np.full(500, 0.9), np.arange(500) % 20 > 0, products, 0.5, grid=np.array([0.5]))
    assert together.lower < spread.lower <= prove(*alone(475, 25), 0.5, grid=np.array([0.5])).lower


def walked(pairs: Pairs, target: float) -> float | None:
    """``prove`` for products of one pair each, with the counts in plain loops."""
    scores, correct, _ = pairs
    chosen, started = None, False
    seen = [(t, int((scores >= t).sum()), int(correct[scores >= t].sum())) for t in sorted(GRID, reverse=True)]

    def passes(right: float, count: int) -> bool:
        from scipy.special import betainc  # the binomial tail, for a count that need not be whole

        return bool(right > 0 and betainc(right, count - right + 1, target) <= 0.05)

    enough = any(passes((1 + target) / 2 * count, count) for _, count, _ in seen)
    for threshold, count, right in seen:
        started = started or passes((1 + target) / 2 * count if enough else count, count)
        if started and not passes(right, count):
            return chosen
        chosen = float(threshold) if started else None
    return chosen


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 600), st.floats(0, 2), st.sampled_from([0.6, 0.8, 0.9]))
def test_the_walk_is_the_plain_one(seed: int, count: int, ease: float, target: float) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.random(count)
    pairs = (scores, draw.random(count) < scores + ease, draw.permutation(count))
    proof = prove(*pairs, target, grid=draw.permutation(GRID))
    assert proof.threshold == walked(pairs, target)
    if proof.threshold is not None:
        accepted = scores >= proof.threshold
        assert proof.lower >= target - 1e-9
        assert (proof.accepted, proof.recall) == (accepted.sum(), pairs[1][accepted].sum() / pairs[1].sum())


def test_what_stands_behind_a_failure_is_not_looked_at() -> None:
    """Wrong pairs at the middle threshold end the walk, though the loosest has a bound over the target again."""
    pairs = joined(alone(400, 0, 0.9), alone(0, 30, 0.7), alone(3000, 0, 0.5))
    assert prove(*pairs, 0.95, grid=np.array([0.4, 0.6, 0.8])).threshold == 0.8
    assert prove(*pairs, 0.95, grid=np.array([0.4])).threshold == 0.4


def test_strict_thresholds_with_a_few_pairs_do_not_end_the_walk() -> None:
    pairs = joined(alone(4, 1, 0.99), alone(50, 0, 0.9), alone(1000, 5, 0.7))
    proof = prove(*pairs, 0.95, grid=np.array([0.95, 0.8, 0.6]))
    assert (proof.threshold, proof.accepted) == (0.6, 1060)


def test_labels_that_lack_prove_it_once_there_are_so_many_more() -> None:
    scores, correct, products = shop(np.random.default_rng(1), 60)
    proof = prove(scores, correct, products, 0.95, grid=GRID)
    assert proof.threshold is None and proof.more_needed is not None
    times = int(np.ceil(1 + proof.more_needed / proof.accepted))
    owners = np.tile(products, times) + np.repeat(np.arange(times) * 1000, len(products))
    many = prove(np.tile(scores, times), np.tile(correct, times), owners, 0.95, grid=GRID)
    assert many.threshold is not None
    assert f"about {proof.more_needed:,} more accepted pairs" in proof.words


def test_labels_that_are_too_often_wrong_never_prove_it() -> None:
    proof = prove(*alone(900, 100), 0.95, grid=GRID)
    assert (proof.threshold, proof.more_needed, proof.precision) == (None, None, 0.9)
    assert proof.words == (
        "precision of at least 0.95 cannot be proven: the best observed at any threshold is 0.9000; no number of such "
        "labels will do"
    )
    stopped = prove(*joined(alone(450, 50, 0.9), alone(9950, 0, 0.5)), 0.95, grid=np.array([0.8, 0.4]))
    assert (stopped.threshold, stopped.more_needed) == (None, None)
    assert "0.9952 is observed, but not at the strictest thresholds" in stopped.words


@pytest.mark.parametrize("pairs", [alone(0, 0), alone(0, 50), alone(50, 0, score=0.1)], ids=["none", "wrong", "below"])
def test_nothing_right_is_accepted(pairs: Pairs) -> None:
    proof = prove(*pairs, 0.95, grid=GRID)
    assert (proof.threshold, proof.precision, proof.lower, proof.recall, proof.more_needed) == (None, 0, 0, 0, None)
    assert "no right pair is accepted at any threshold" in proof.words


def test_recall_that_the_caller_counts_follows_the_order_of_the_grid() -> None:
    pairs = alone(100, 0, 0.7)
    for grid in (np.array([0.6, 0.8]), np.array([0.8, 0.6])):
        assert prove(*pairs, 0.95, grid=grid, recall_at=grid - 0.5).recall == pytest.approx(0.1)


def bad(**changed: object) -> Proof:
    given = {"scores": np.full(3, 0.5), "correct": np.ones(3, np.bool_), "products": np.arange(3), "target": 0.9}
    return prove(**({**given, "grid": GRID} | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"target": 0.0}, "target is 0.0; expected a number between 0 and 1"),
        ({"target": 1.0}, "target is 1.0"),
        ({"target": float("nan")}, "target is nan"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"confidence": 0.5}, "confidence is 0.5; expected a number between 0.5 and 1, both excluded"),
        ({"scores": np.array([0.5, np.nan, 0.1])}, "score 1 is nan; expected a finite number"),
        ({"grid": np.array([0.5, np.inf])}, "threshold 1 is inf"),
        ({"grid": np.array([0.5, 0.5])}, "2 thresholds, 1 of them distinct"),
        ({"grid": np.empty(0)}, "0 thresholds"),
        ({"correct": np.ones(2, np.bool_)}, r"shapes \(3,\), \(2,\) and \(3,\)"),
        ({"correct": np.ones(3)}, "correct holds float64"),
        ({"recall_at": np.ones(2)}, r"recall_at has shape \(2,\)"),
    ],
)
def test_what_cannot_be_proven_from_is_told(changed: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        bad(**changed)


def test_resamples_keep_the_promise_and_draw_products_whole() -> None:
    scores, correct, products = shop(np.random.default_rng(4), 1000)
    assert prove(scores, correct, products, 0.905, grid=GRID).threshold is not None
    held = resample_check(scores, correct, products, 0.905, GRID)
    assert held >= 0.95
    assert held == resample_check(scores, correct, products, 0.905, GRID)
    assert held != resample_check(scores, correct, products, 0.905, GRID, seed=1)
    assert resample_check(scores, correct, products, 0.905, GRID, confidence=0.6) < held


def test_resamples_are_those_of_plain_draws() -> None:
    """A draw with its products copied out and proven one by one, as many as are quick."""
    scores, correct, products = shop(np.random.default_rng(5), 80)
    target, draws = 0.88, 40
    draw = np.random.default_rng(7)
    held = []
    for _ in range(draws):
        times = np.bincount(draw.integers(80, size=80), minlength=80)
        rows = [(i, copy) for i, product in enumerate(products.tolist()) for copy in range(times[product])]
        at = np.array([i for i, _ in rows])
        owner = np.array([products[i] + 1000 * copy for i, copy in rows])
        threshold = prove(scores[at], correct[at], owner, target, confidence=0.6, grid=GRID).threshold
        held.append(threshold is None or correct[scores >= threshold].mean() >= target)
    assert 0 < np.mean(held) < 1
    found = resample_check(scores, correct, products, target, GRID, confidence=0.6, draws=draws, seed=7)
    assert found == np.mean(held)


def test_resamples_of_nothing_are_told() -> None:
    with pytest.raises(InputError, match="1000 draws of 0 pairs"):
        resample_check(*alone(0, 0), 0.9, GRID)
    with pytest.raises(InputError, match="0 draws of 5 pairs"):
        resample_check(*alone(5, 0), 0.9, GRID, draws=0)


def test_a_thousand_resamples_of_fifty_thousand_pairs_are_quick() -> None:
    scores, correct, products = shop(np.random.default_rng(6), 7500)
    started = time.process_time()
    resample_check(scores, correct, products, 0.9, np.linspace(0.3, 0.99, 70))
    assert time.process_time() - started < 20
