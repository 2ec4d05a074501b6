"""The explorer: curves as a count of each pair gives them, and figures that follow the labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import SAMPLE

from api.explorer import GRID, Explorer, curve_of, own_curve, path_of
from api.service import Service, load_service
from api.settings import Settings
from index.ledger import Label

Pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(1, 5)), min_size=1, max_size=30)


@given(Pairs)
def test_a_curve_is_what_counting_gives(pairs: list[tuple[float, bool, int]]) -> None:
    p, same, weights = (np.array(column) for column in zip(*pairs, strict=True))
    curve = curve_of(p.astype(float), same.astype(bool), weights.astype(float))
    for at, threshold in enumerate(GRID.tolist()):
        accepted = [(is_same, weight) for value, is_same, weight in pairs if value >= threshold]
        taken, right = sum(w for _, w in accepted), sum(w for is_same, w in accepted if is_same)
        possible = sum(w for _, is_same, w in pairs if is_same)
        assert np.isnan(curve.precision[at]) if not taken else curve.precision[at] == pytest.approx(right / taken)
        assert curve.recall[at] == pytest.approx(right / possible if possible else 0)
        assert curve.f1[at] == pytest.approx(2 * right / (taken + possible) if taken + possible else 0)


def test_a_models_own_curve_comes_from_its_bins() -> None:
    bins = [{"promised": 0.05, "right": 0.1, "pairs": 10}, {"promised": 0.85, "right": 0.75, "pairs": 4}]
    curve = own_curve({"calibration": {"a": {"bins": bins}, "b": {"bins": bins[1:]}}})
    assert [at for at, _, _ in curve] == pytest.approx([n / 10 for n in range(1, 10)])
    assert curve[0][1:] == pytest.approx((6 / 8, 6 / 7))
    assert curve[-1][1:] == pytest.approx((0.0, 0.0))
    assert own_curve({}) == own_curve({"calibration": None}) == []


def test_a_path_leaves_out_what_is_none() -> None:
    assert path_of([0.0, float("nan"), 1.0], [0.1, 0.5, 0.9]) == "M10.00 100.00L90.00 0.00"
    assert path_of([], []) == ""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE, threads=1))
    assert loaded.living.settle()
    yield loaded
    loaded.close()


def test_figures_follow_the_labels(service: Service) -> None:
    explorer = Explorer(service)
    bare = explorer.at(0.4)
    assert (bare.precision, bare.accepted, bare.missed) == (None, 0, 0) and bare.own is not None
    assert bare.pairs > explorer.at(0.9).pairs > 0
    pairs = [service.catalog.page(None, 500).items[start : start + 2] for start in range(0, 60, 2)]
    verdicts = product(("same", "different"), range(15))
    labels = [Label(one.id, other.id, said, "me") for (one, other), (said, _) in zip(pairs, verdicts, strict=True)]
    service.catalog.labels.put(labels)
    point, explored = explorer.at(0.4), explorer.look()
    assert explored is explorer.look(), "it looks no more often than need be"
    told = len(explored.labelled.same)
    assert 0 < told <= len(labels)
    accepted = explored.labelled.probabilities >= 0.4
    assert point.accepted == accepted.sum()
    assert point.wrong == (accepted & ~explored.labelled.same).sum()
    assert point.missed == (~accepted & explored.labelled.same).sum()
    assert [pair.probability for pair in point.above] == sorted(pair.probability for pair in point.above)
    assert all(pair.probability >= 0.4 for pair in point.above)
    assert all(pair.probability < 0.4 for pair in point.below)
    encoder = service.encoder
    before = encoder.encoded
    service.catalog.labels.put([Label("농심 신라면", "오뚜기 진라면 순한맛", "different", "me", of="titles")])
    again = explorer.look().labelled
    assert len(again.same) == told + 1 and encoder.encoded - before <= 2, "what the last look knew is not encoded again"
    fresh = Explorer(service).look().labelled
    assert again.probabilities == pytest.approx(fresh.probabilities, abs=1e-3)
    assert again.same.tolist() == fresh.same.tolist()
