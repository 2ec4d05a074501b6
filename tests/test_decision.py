"""Decisions: read back as they were written, refused by name when they are spoilt, and accepting what they say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.bundle import Bundle
from embedder.errors import InputError
from index.blending import BlendConfig
from index.choice import accepted_by_expected_f1
from index.correction import COLUMNS, Correction
from index.decision import Decision, Promise, check_threshold
from index.evidence import EVIDENCE, VETOES
from index.verdict import Verdict

PROMISES = (Promise(0.9, 0.61, 0.8, "ninety"), Promise(0.95, 0.74, 0.7, "ninety-five"), Promise(0.98, 0.9, 0.5, "more"))
DECISION = Decision(
    BlendConfig(stages=2, min2_threshold=0.4), 0.7, 0.8, slope=10.0, intercept=-7.0, promises=PROMISES
)  # fmt: skip
shares = st.floats(0, 1)
numbers = st.floats(-1e6, 1e6)
corrections = st.builds(
    Correction, slope=st.floats(1e-3, 10), intercept=numbers, labels=st.integers(0, 10**6),
    columns=st.dictionaries(st.sampled_from(COLUMNS), numbers, max_size=4),
    lifted=st.lists(st.sampled_from(VETOES), unique=True).map(tuple),
)  # fmt: skip
promises = st.lists(st.builds(Promise, shares, shares, shares, st.text()), max_size=4)


@given(
    st.builds(
        Decision, threshold=shares, cluster_threshold=shares, slope=numbers, intercept=numbers,
        correction=st.none() | corrections,
        promises=promises.map(lambda some: tuple(sorted(some, key=lambda promise: promise.precision))),
        blend=st.builds(
            BlendConfig, stages=st.integers(0, 5), k=st.integers(1, 99), threshold=shares,
            min2_threshold=st.none() | shares, power=st.floats(0, 9), weight=st.floats(0, 9),
        ),
    )
)  # fmt: skip
def test_round_trip(decision: Decision) -> None:
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_keys_it_does_not_know_are_left_alone() -> None:
    assert Decision.from_json(DECISION.to_json() | {"chosen_on": {"shopee": {"row_f1": 0.8}}}) == DECISION


def test_the_bundle_that_ships_carries_one(bundle: Bundle) -> None:
    decision = Decision.of(bundle)
    assert decision.model is not None
    assert 0 < decision.threshold < 1 and 0 < decision.cluster_threshold < 1
    for promise in decision.promises:
        assert decision.promised(promise.precision) == promise
        assert f"{promise.precision:g}" in promise.words
    assert [p.threshold for p in decision.promises] == sorted(p.threshold for p in decision.promises)


# Probabilities


def evidence(blended: list[float]) -> np.ndarray:
    some = np.zeros((len(blended), len(EVIDENCE)), np.float32)
    some[:, EVIDENCE.index("blended_cosine")] = blended
    return some


def test_without_a_model_the_blended_cosine_decides() -> None:
    scores = [0.7, 0.8, 0.99, -0.5, 0.6, -1, 1.0001]
    found = DECISION.probability(evidence(scores))
    assert found.dtype == np.float64
    assert found.tolist() == DECISION.of_cosine(np.array(scores, np.float32)).tolist()
    for score, probability in zip(scores, found, strict=True):
        logit = DECISION.slope * math.atanh(min(max(score, -0.9999), 0.9999)) + DECISION.intercept
        assert probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)
    steep = replace(DECISION, slope=1e9, intercept=-7e8)
    assert steep.of_cosine(np.array([0.0, 1.0], np.float32)) == pytest.approx([0, 1])


class Trees:
    """A model that says what it is asked."""

    def predict(self, evidence: np.ndarray) -> np.ndarray:
        return evidence[:, 0].astype(np.float64)


def test_a_model_decides_where_there_is_one() -> None:
    decision = replace(DECISION, model=Trees())  # type: ignore[arg-type]
    some = evidence([0.1, 0.2])
    some[:, 0] = [0.3, 0.9]
    assert decision.probability(some) == pytest.approx([0.3, 0.9])
    assert decision == DECISION, "a model stands in a file of its own"
    assert decision.to_json() == DECISION.to_json()


def test_a_correction_has_the_last_word() -> None:
    taught = replace(DECISION, correction=Correction(0.5, -1.0, lifted=("quantity_count",)))
    some = evidence([0.7, 0.8])
    plain = DECISION.probability(some)
    logits = np.log(plain / (1 - plain))
    assert taught.probability(some) == pytest.approx(1 / (1 + np.exp(1 - 0.5 * logits)))
    assert taught.of_cosine(np.array([0.7, 0.8], np.float32)) == pytest.approx(plain)
    for name in VETOES:
        some[:, :] = 0
        some[0, EVIDENCE.index(name)] = Verdict.DIFFERENT
        assert DECISION.contradictions(some).tolist() == [True, False]
        assert taught.contradictions(some).tolist() == [name != "quantity_count", False]


# What is accepted


@given(
    st.lists(st.lists(shares, min_size=4, max_size=4).map(lambda some: sorted(some, reverse=True)), min_size=1),
    st.none() | shares,
)
def test_rows_choose_for_themselves_unless_one_threshold_is_to_hold(
    rows: list[list[float]], threshold: float | None
) -> None:
    table = np.array(rows)
    found = DECISION.accepted(table, threshold)
    if threshold is None:
        assert found.tolist() == accepted_by_expected_f1(table).tolist()
    else:
        assert found.tolist() == [sum(p >= threshold and p > 0 for p in row) for row in rows]


@pytest.mark.parametrize("threshold", [1.01, -0.01, math.nan, math.inf])
def test_a_threshold_that_is_no_probability(threshold: float) -> None:
    for ask in (check_threshold, lambda threshold: DECISION.accepted(np.ones((1, 1)), threshold)):
        with pytest.raises(InputError, match=f"threshold is {threshold}; expected a probability between 0 and 1"):
            ask(threshold)


@pytest.mark.parametrize(("asked", "given"), [(0.5, 0.9), (0.9, 0.9), (0.901, 0.95), (0.95, 0.95), (0.98, 0.98)])
def test_the_loosest_promise_that_is_enough(asked: float, given: float) -> None:
    assert DECISION.promised(asked).precision == given


def test_what_is_not_proven_is_not_promised() -> None:
    with pytest.raises(
        InputError, match=r"min precision is 0\.99, but .* labels prove up to 0\.98; .*dongil threshold"
    ):
        DECISION.promised(0.99)
    with pytest.raises(InputError, match="prove no precision at all"):
        replace(DECISION, promises=()).promised(0.5)
    for precision in (0, 1, -1, math.nan):
        with pytest.raises(InputError, match=f"min precision is {precision}; expected a number between 0 and 1"):
            DECISION.promised(precision)


# What is spoilt

CORRECTION = Correction(0.9, 0.1, {"trait_colour differs": -1.0}, ("quantity_mass",), 77).to_json()


def changed(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update({key: value})


def blend_changed(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["blend"].update({key: value})


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no threshold": (lambda content: content.pop("threshold"), "not a decision: KeyError('threshold')"),
    "no blend": (lambda content: content.pop("blend"), "not a decision: KeyError('blend')"),
    "no promises": (lambda content: content.pop("promises"), "not a decision: KeyError('promises')"),
    "half a promise": (changed("promises", [{"precision": 0.9}]), "not a decision: KeyError('threshold')"),
    "threshold in words": (changed("threshold", "high"), "not a decision: "),
    "threshold out of range": (changed("threshold", 2), "threshold is 2.0; expected a probability between 0 and 1"),
    "cluster threshold below 0": (changed("cluster_threshold", -0.2), "cluster_threshold is -0.2; expected"),
    "no number": (changed("slope", None), "not a decision: "),
    "not finite": (changed("slope", math.nan), "calibration is nan, -7.0; expected finite numbers"),
    "too large": (changed("slope", 10**400), "not a decision: "),
    "blend is a list": (changed("blend", [1]), "not a decision: "),
    "blend has another key": (blend_changed("colour", 1), "not a decision: "),
    "blend in words": (blend_changed("threshold", "high"), "not a decision: "),
    "blend out of range": (blend_changed("k", 0), "blending k is 0; expected a whole number of at least 1"),
    "a correction in words": (changed("correction", "more"), "not a decision: "),
    "half a correction": (changed("correction", {"slope": 1}), "not a decision: KeyError('columns')"),
    "columns in a list": (changed("correction", CORRECTION | {"columns": [1]}), "not a decision: "),
    "a column of another dongil": (
        changed("correction", CORRECTION | {"columns": {"price differs": 1}}),
        "the correction names 'price differs'",
    ),
    "a veto of another dongil": (
        changed("correction", CORRECTION | {"lifted": ["price"]}),
        "the correction names 'price'",
    ),
    "a slope upside down": (changed("correction", CORRECTION | {"slope": -1}), "slope is -1.0; expected a number over"),
    "a correction without end": (
        changed("correction", CORRECTION | {"intercept": math.inf}),
        "intercept is inf; expected a finite number",
    ),
    "half a stage": (blend_changed("stages", 0.5), "blending stages is 0.5; expected a whole number of at least 0"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_no_decision_is_refused(name: str) -> None:
    spoil, said = SPOILED[name]
    content = json.loads(json.dumps(DECISION.to_json()))
    spoil(content)
    with pytest.raises(InputError) as caught:
        Decision.from_json(content, file="decision.json")
    assert caught.value.file == "decision.json"
    assert said in caught.value.message
