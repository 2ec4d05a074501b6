"""A decision travels through JSON unchanged, and numbers that decide nothing are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.bundle import Bundle
from embedder.errors import InputError
from index.blending import BlendConfig
from index.decision import Decision

DECISION = Decision(0.7, 0.8, slope=10.0, intercept=-7.0, blend=BlendConfig(stages=2, min2_threshold=0.4))
cosines = st.floats(-1, 1)
numbers = st.floats(-1e6, 1e6)


@given(
    st.builds(
        Decision, threshold=cosines, cluster_threshold=cosines, slope=numbers, intercept=numbers,
        blend=st.builds(
            BlendConfig, stages=st.integers(0, 5), k=st.integers(1, 99), threshold=cosines,
            min2_threshold=st.none() | cosines, power=st.floats(0, 9), weight=st.floats(0, 9),
        ),
    )
)  # fmt: skip
def test_round_trip(decision: Decision) -> None:
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_keys_it_does_not_know_are_left_alone() -> None:
    assert Decision.from_json(DECISION.to_json() | {"chosen_on": {"shopee": {"row_f1": 0.8}}}) == DECISION


def test_the_bundle_that_ships_carries_one(bundle: Bundle) -> None:
    decision = Decision.of(bundle)
    low, high = decision.probability(np.array([0.5, 1.0]))
    assert 0 < low < high < 1


def test_another_threshold_is_for_matches_and_clusters() -> None:
    other = DECISION.with_threshold(0.5)
    assert (other.threshold, other.cluster_threshold) == (0.5, 0.5)
    assert (other.slope, other.blend) == (DECISION.slope, DECISION.blend)
    assert DECISION.with_threshold(None) is DECISION
    assert DECISION.with_threshold(0).threshold == 0


@pytest.mark.parametrize("threshold", [1.01, -1.01, math.nan, math.inf])
def test_a_threshold_that_is_no_cosine(threshold: float) -> None:
    with pytest.raises(InputError, match=f"threshold is {threshold}; expected a cosine between -1 and 1"):
        DECISION.with_threshold(threshold)


def test_probabilities() -> None:
    scores = np.array([[0.7, 0.8, 0.99], [-0.5, -np.inf, 0.6]], np.float32)
    found = DECISION.probability(scores)
    assert found.dtype == np.float64
    for score, probability in zip(scores.flat, found.flat, strict=True):
        logit = DECISION.slope * math.atanh(max(float(score), -0.9999)) + DECISION.intercept
        assert probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    steep = Decision(0.7, 0.8, slope=1e9, intercept=-7e8, blend=BlendConfig())
    assert steep.probability(np.array([0.0, 1.0])) == pytest.approx([0, 1])
    assert np.isfinite(steep.probability(np.array([-1.0, 1.0, 1.1]))).all()


def changed(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update({key: value})


def blend_changed(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["blend"].update({key: value})


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no threshold": (lambda content: content.pop("threshold"), "not a decision: KeyError('threshold')"),
    "no blend": (lambda content: content.pop("blend"), "not a decision: KeyError('blend')"),
    "threshold in words": (changed("threshold", "high"), "not a decision: "),
    "threshold out of range": (changed("threshold", 2), "threshold is 2.0; expected a cosine between -1 and 1"),
    "cluster threshold out of range": (changed("cluster_threshold", -2), "cluster_threshold is -2.0; expected"),
    "no number": (changed("slope", None), "not a decision: "),
    "not finite": (changed("slope", math.nan), "calibration is nan, -7.0; expected finite numbers"),
    "too large": (changed("slope", 10**400), "not a decision: "),
    "blend is a list": (changed("blend", [1]), "not a decision: "),
    "blend has another key": (blend_changed("colour", 1), "not a decision: "),
    "blend in words": (blend_changed("threshold", "high"), "not a decision: "),
    "blend out of range": (blend_changed("k", 0), "blending k is 0; expected a whole number of at least 1"),
    "half a stage": (blend_changed("stages", 0.5), "blending stages is 0.5; expected a whole number of at least 0"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_no_decision_is_refused(tmp_path: Path, name: str) -> None:
    spoil, said = SPOILED[name]
    content = DECISION.to_json()
    spoil(content)
    with pytest.raises(InputError) as caught:
        Decision.from_json(content, file="decision.json")
    assert caught.value.file == "decision.json"
    assert said in caught.value.message
