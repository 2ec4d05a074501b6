"""Choosing a decision: the threshold that parts products, a calibration that is honest, sets weighed as asked."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="choosing a decision needs dongil[train]")

from index.blending import BlendConfig
from training.decide import Pool, choose_decision, scores_at


def pool(noise: float, weight: float = 1.0, seed: int = 0, rows: int = 200) -> Pool:
    """Products of two rows, ``noise`` apart, in a random space."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(rows, 32)), 2, axis=0)
    vectors = centres + noise * rng.normal(size=centres.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [f"p{i // 2}" for i in range(2 * rows)]
    return Pool(f"noise {noise}", vectors.astype(np.float32), labels, np.arange(100), weight)


def test_well_parted_products_are_decided_without_error() -> None:
    choice = choose_decision([pool(0.1)])
    assert choice.f1 == pytest.approx(1)
    assert choice.decision.blend.stages == 0  # of equals the simplest
    assert choice.by_set["noise 0.1"] == pytest.approx({"row_f1": 1.0, "bcubed_f1": 1.0})
    assert scores_at(choice.decision, pool(0.1))["row_f1"] == pytest.approx(1)


def test_the_weighted_mean_decides_between_sets() -> None:
    tight, loose = pool(0.15), pool(0.9, seed=1)
    plain = (BlendConfig(stages=0),)
    assert (
        choose_decision([tight, pool(0.9, weight=50, seed=1)], plain).decision.threshold
        <= choose_decision([pool(0.15, weight=50), loose], plain).decision.threshold
    )


def test_probabilities_are_calibrated() -> None:
    loose = pool(0.8, rows=400)
    decision = choose_decision([loose], (BlendConfig(stages=0),)).decision
    cosines = loose.vectors @ loose.vectors.T
    pairs = [(i, j) for i in range(100) for j in np.argsort(-cosines[i])[1:50]]
    scores = np.array([cosines[i, j] for i, j in pairs], np.float32)
    same = np.array([i // 2 == j // 2 for i, j in pairs])
    said = decision.probability(scores)
    assert said.mean() == pytest.approx(same.mean(), abs=0.02)
    sure = said > 0.5
    assert said[sure].mean() == pytest.approx(same[sure].mean(), abs=0.15)
    assert np.all(np.diff(decision.probability(np.linspace(-1, 1, 50, dtype=np.float32))) >= 0)
