"""Certainty: what is told of sizes, promises, clusters and false edges, against small cases and plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lightgbm", reason="training.decide needs dongil[train]")

from test_parts import encode, two_packs

from benchmarks.certainty import (
    PURE,
    JudgedPool,
    _attainable,
    _with_false_edges,
    calibration,
    catalogue,
    follow_size,
    inject,
    keep_promises,
    largest_mixed,
    measure_purity,
)
from index.blending import BlendConfig
from index.decision import Decision, Promise
from index.prior import prior_shift
from training.decide import TARGETS
from training.labels import Labelled

PROMISE = Promise(0.8, 0.62, 0.1, "")
DECISION = Decision(BlendConfig(k=10), 0.5, 0.5, 2.0, -1.0, promises=(PROMISE,))


def one_pack(things: int = 120) -> Labelled:
    """Products that a cosine parts well."""
    data = two_packs(things)
    kept = [row for row, group in enumerate(data.groups) if group.endswith("-120")]
    return Labelled(
        "one", [data.titles[r] for r in kept], [data.groups[r] for r in kept], [data.splits[r] for r in kept]
    )


@pytest.fixture(scope="module")
def judged() -> JudgedPool:
    data = one_pack()
    asked = np.flatnonzero(np.array(data.splits) == "test")
    return JudgedPool.of(catalogue(data, np.arange(len(data.titles)), asked, encode, DECISION), DECISION)


def test_the_same_rows_are_judged_in_every_size() -> None:
    data = two_packs()
    sizes = follow_size(data, encode, DECISION, sizes=(10, 200, 400), judged=90)
    assert [size.rows for size in sizes] == [200, 400, len(data.titles)]
    assert {size.judged for size in sizes} == {90}
    for size in sizes:
        assert size.shipped and size.best and size.below
        assert size.below.value == pytest.approx(size.best.value - size.shipped.value)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20), st.sampled_from([0.5, 0.8, 1.0]))
def test_attainable_recall_is_that_of_a_loop(pairs: list[tuple[int, bool]], target: float) -> None:
    scores, hits = np.array([s for s, _ in pairs], np.float32), np.array([h for _, h in pairs], bool)
    possible = max(1, int(hits.sum()) + 1)
    reached = [
        (scores >= t).sum() for t in np.unique(scores) if hits[scores >= t].sum() >= target * (scores >= t).sum()
    ]
    most = max(reached, default=None)
    expected = None if most is None else hits[np.argsort(-scores, kind="stable")][:most].sum() / possible
    assert _attainable(scores, hits, possible, target) == pytest.approx(expected)


def test_promises_are_counted_on_distinct_pairs(judged: JudgedPool) -> None:
    kept = keep_promises([judged], DECISION, draws=20)
    assert [one.target for one in kept] == list(TARGETS)
    labels, probability = judged.pool.labels, {}
    for row, (ids, scores) in zip(
        judged.pool.rows.tolist(), zip(judged.lists.ids, judged.lists.scores, strict=True), strict=True
    ):
        for other, score in zip(ids.tolist(), scores.tolist(), strict=True):
            if other >= 0:
                probability[min(row, other), max(row, other)] = score
    accepted = [pair for pair, score in probability.items() if score >= np.float32(PROMISE.threshold)]
    right = sum(labels[a] == labels[b] for a, b in accepted)
    first = next(one for one in kept if one.target == PROMISE.precision)
    assert first.threshold == PROMISE.threshold and 0 < right < len(probability)
    assert first.everywhere == first.together
    assert first.together.precision and first.together.recall
    assert first.together.precision.value == pytest.approx(right / len(accepted))
    assert first.together.recall.value == pytest.approx(right / len(judged.pool.rows))  # three pairs, three rows
    assert first.by_set["one"].held == first.together.held is not None
    assert all(one.threshold is None and one.everywhere.precision is None for one in kept if one is not first)
    assert all(0 <= one.kept <= 1 for one in kept)


def test_a_promise_is_held_against_the_sets_that_it_was_proven_on(judged: JudgedPool) -> None:
    other = replace(judged.pool, name="other", labels=[f"other {label}" for label in judged.pool.labels])
    wrong = replace(judged, pool=other, rows=replace(judged.rows, hits=np.zeros_like(judged.rows.hits)))
    alone = keep_promises([judged], DECISION, draws=20)
    both = keep_promises([judged, wrong], DECISION, ["one"], draws=20)
    assert [one.together for one in both] == [one.together for one in alone]
    assert [one.proven for one in both] == [one.proven for one in alone]
    told = [one.everywhere.precision for one in both if one.threshold is not None]
    assert all(one is not None and one.value < 1 for one in told) and told


def test_purity_is_chosen_from_its_curve(judged: JudgedPool) -> None:
    own = DECISION.clusters_from(prior_shift(judged.pool.scene.nodes, judged.pairs))
    purity = measure_purity(judged, DECISION, (0.3, own, 0.9))
    assert [one.threshold for one in purity.curve] == [0.3, own, 0.9]
    assert purity.shipped == purity.curve[1]
    assert purity.best.f1 == max(one.f1 for one in purity.curve)
    assert purity.pure is None or (purity.pure.precision >= PURE and purity.pure.f1 <= purity.best.f1)
    assert purity.components.f1 > 0.5


def test_false_edges_join_what_shares_no_product(judged: JudgedPool) -> None:
    dirty = _with_false_edges(judged, 0.3, 0.5, seed=1)
    before = set(zip(judged.pairs.edges.left.tolist(), judged.pairs.edges.right.tolist(), strict=True))
    after = list(zip(dirty.edges.left.tolist(), dirty.edges.right.tolist(), strict=True))
    assert after == sorted(set(after)) and before < set(after)
    assert len(after) - len(before) == round(0.5 * len(judged.pairs.edges.over(0.3)))
    labels = [{judged.pool.labels[item] for item in items} for items in judged.pool.scene.nodes.items()]
    assert all(a < b and not labels[a] & labels[b] for a, b in set(after) - before)
    assert set(dirty.edges.scores.tolist()) <= set(judged.pairs.edges.scores.tolist())


def test_false_edges_weld_components_and_not_what_ships(judged: JudgedPool) -> None:
    shipped, components = inject(judged, DECISION, 0.5, share=0.3, draws=2)
    assert shipped.edges == components.edges > 0
    assert shipped.largest_product == 3
    assert components.largest_after > shipped.largest_after
    assert components.before - components.after > shipped.before - shipped.after
    none, _ = inject(judged, DECISION, 0.5, share=0.0, draws=1)
    assert (none.edges, none.after) == (0, none.before)


@pytest.mark.parametrize(
    ("clusters", "labels", "size"),
    [([0, 0, 1, 1], "aabb", 0), ([0, 0, 0, 3], "aabb", 3), ([7, 7, 7, 7], "aaaa", 0), ([5, 4, 5, 4], "abab", 0)],
)
def test_the_largest_cluster_of_two_products(clusters: list[int], labels: str, size: int) -> None:
    assert largest_mixed(np.array(clusters), list(labels)) == size


def test_calibration_is_over_all_distinct_pairs(judged: JudgedPool) -> None:
    told = calibration(judged)
    assert sum(one["pairs"] for one in told["bins"]) == len(judged.rows.scores)
    assert 0 <= told["error"] <= 1
