"""Trees: what LightGBM learnt is what onnxruntime says, similarities only ever help, hidden columns are not used."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="growing trees needs dongil[train]")

from index.evidence import EVIDENCE
from index.probability import ProbabilityModel
from training.trees import TreeConfig, grow, to_onnx

CONFIG = TreeConfig(trees=40, leaves=8)


def made(pairs: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    evidence = rng.uniform(size=(pairs, len(EVIDENCE))).astype(np.float32)
    same = evidence[:, 0] + evidence[:, EVIDENCE.index("char_cosine")] + 0.3 * rng.normal(size=pairs) > 1.2
    return evidence, same, np.ones(pairs, np.float32)


def test_onnx_says_what_lightgbm_says() -> None:
    evidence, same, weights = made()
    trees = grow(evidence, same, weights, CONFIG)
    evidence[:50] = np.nextafter(evidence[50:100], np.float32(1))  # also right beside values that trees split at
    assert ProbabilityModel(to_onnx(trees)).predict(evidence) == pytest.approx(trees.predict(evidence), abs=2e-6)


def test_a_slope_and_an_intercept_turn_the_sum() -> None:
    evidence, same, weights = made(500)
    trees = grow(evidence, same, weights, CONFIG)
    turned = ProbabilityModel(to_onnx(trees, 0.5, -1.0)).predict(evidence)
    assert turned == pytest.approx(1 / (1 + np.exp(1 - 0.5 * trees.predict(evidence, raw_score=True))), abs=2e-6)


def test_a_higher_similarity_never_lowers_the_probability() -> None:
    evidence, same, weights = made()
    model = ProbabilityModel(to_onnx(grow(evidence, same, weights, CONFIG)))
    for name in ("cosine", "blended_cosine", "char_cosine", "word_cosine"):
        raised = evidence.copy()
        raised[:, EVIDENCE.index(name)] += 0.2
        assert (model.predict(raised) >= model.predict(evidence) - 1e-6).all()


def test_hidden_columns_are_not_used() -> None:
    evidence, same, weights = made()
    trees = grow(evidence, same, weights, TreeConfig(trees=40, leaves=8, columns=("cosine",)))
    used = np.flatnonzero(trees.feature_importance())
    assert used.tolist() == [0]
    other = evidence.copy()
    other[:, 1:] = 9
    assert np.array_equal(trees.predict(other), trees.predict(evidence))
