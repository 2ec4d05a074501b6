"""The best blend is the one that trying each by itself finds, and no blending where nothing is to be gained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import unit_rows

from index.blending import BlendConfig, blend_catalogue
from index.vectors import Neighbours, VectorIndex
from training.blends import BLEND_THRESHOLDS, POWERS, STAGES, THRESHOLDS, Catalogue, best_blend


def catalogue(seed: int, spread: float, weight: float = 1.0) -> Catalogue:
    draw = np.random.default_rng(seed)
    labels = draw.integers(15, size=60)
    centres = unit_rows(15, 16, seed)
    vectors = centres[labels] + spread * draw.normal(size=(60, 16)).astype(np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Catalogue(vectors, [f"p{label}" for label in labels], np.arange(40), weight)


def f1_by_hand(one: Catalogue, blend: BlendConfig) -> list[float]:
    """Row-F1 at each threshold, row by row."""
    found = VectorIndex.from_vectors(one.vectors, exact=True).search(one.vectors, blend.k)
    near: Neighbours = blend_catalogue(one.vectors, found, blend).neighbours if blend.stages else found
    scores = []
    for threshold in THRESHOLDS:
        rows = []
        for row in one.rows:
            truth = {other for other, label in enumerate(one.labels) if label == one.labels[row]}
            told = {int(i) for i, s in zip(near.ids[row], near.scores[row], strict=True) if i >= 0 and s >= threshold}
            told |= {int(row)}
            rows.append(2 * len(told & truth) / (len(told) + len(truth)))
        scores.append(float(np.mean(rows)))
    return scores


def test_the_best_blend_is_that_of_trying_each() -> None:
    parts = [catalogue(0, 0.18, 2.0), catalogue(1, 0.22)]
    every = [BlendConfig(stages=0)] + [
        BlendConfig(stages=stages, threshold=threshold, power=power)
        for stages in range(1, STAGES + 1)
        for threshold in BLEND_THRESHOLDS
        for power in POWERS
    ]
    means = {blend: np.average([f1_by_hand(one, blend) for one in parts], axis=0, weights=[2, 1]) for blend in every}
    found = best_blend(parts)
    assert found.f1 == pytest.approx(max(mean.max() for mean in means.values()), abs=1e-6)
    assert means[found.blend].max() == pytest.approx(found.f1, abs=1e-6)
    assert found.plain == pytest.approx(means[every[0]].max(), abs=1e-6)
    assert found.threshold == THRESHOLDS[means[found.blend].argmax()]
    assert found.f1 > found.plain


def test_what_blending_cannot_better_is_not_blended() -> None:
    start = BlendConfig(k=20, weight=0.5)
    found = best_blend([catalogue(0, 0.001)], start)
    assert found.blend == replace(start, stages=0)
    assert found.f1 == found.plain == pytest.approx(1)


def test_accepting_nothing_is_a_choice() -> None:
    vectors = np.tile(unit_rows(1, 4), (10, 1))
    found = best_blend([Catalogue(vectors, [str(n) for n in range(10)], np.arange(10))])
    assert found.f1 == pytest.approx(1)
    assert found.threshold > 1
