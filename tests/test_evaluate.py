"""The measures against examples counted by hand, and against other people's or slower code on random input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.clustering import Edges, connected_components
from index.vectors import Neighbours
from training.evaluate import (
    Curve,
    bcubed,
    bcubed_curve,
    bcubed_rows,
    found_at,
    pairs_of,
    row_curve,
    row_scores,
)

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=30)


def full_lists(similarity: np.ndarray, rows: np.ndarray) -> Neighbours:
    """Every row's list of all rows, best first."""
    order = np.argsort(-similarity[rows], axis=1, kind="stable")
    return Neighbours(order, np.take_along_axis(similarity[rows], order, 1))


def drawn(seed: int, *, ties: bool = False, cut: bool = False) -> tuple[Neighbours, np.ndarray, np.ndarray]:
    """Random lists, labels and judged rows; scores on a coarse grid where ties are wanted, and lists cut at random."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 14))
    labels = rng.integers(0, max(2, n // 2), n)
    similarity = rng.random((n, n)).astype(np.float32)
    similarity = (similarity + similarity.T) / 2
    if ties:
        similarity = np.round(similarity, 1)
    rows = np.sort(rng.choice(n, int(rng.integers(1, n + 1)), replace=False))
    lists = full_lists(similarity.astype(np.float32), rows)
    if cut:
        gone = rng.random(lists.ids.shape) < 0.4
        lists = Neighbours(np.where(gone, -1, lists.ids), np.where(gone, -np.inf, lists.scores).astype(np.float32))
    return lists, labels, rows


def accepted(lists: Neighbours, at: int, row: int, threshold: float) -> set[int]:
    return {
        int(other)
        for other, score in zip(lists.ids[at], lists.scores[at], strict=True)
        if other >= 0 and other != row and score >= np.float32(threshold)
    }


# A catalogue of five: 0, 1, 2 are one product, 3 and 4 another.
LABELS = np.array([0, 0, 0, 1, 1])
LISTS = Neighbours(
    np.array([[0, 1, 3], [1, 0, 2], [2, 4, -1], [3, 4, 0], [4, 3, 2]]),
    np.array([[1, 0.9, 0.6], [1, 0.9, 0.7], [1, 0.8, -np.inf], [1, 0.5, 0.4], [1, 0.5, 0.3]], np.float32),
)
EVERY = np.arange(5)


def test_row_curve_by_hand() -> None:
    curve = row_curve(LISTS, LABELS)
    nothing = (3 * (2 * 1 / (1 + 3)) + 2 * (2 * 1 / (1 + 2))) / 5
    assert curve.f1[0] == pytest.approx(nothing)
    assert curve.precision[0] == 1
    assert curve.recall[0] == pytest.approx((3 / 3 + 2 / 2) / 5)
    # At 0.7: row 0 has {0, 1}, row 1 {0, 1, 2}, row 2 {2, 4}, rows 3 and 4 themselves.
    at = curve.at(0.7)
    f1 = [2 * 2 / (2 + 3), 2 * 3 / (3 + 3), 2 * 1 / (2 + 3), 2 / 3, 2 / 3]
    assert curve.f1[at] == pytest.approx(np.mean(f1))
    assert curve.precision[at] == pytest.approx(np.mean([1, 1, 1 / 2, 1, 1]))
    assert curve.recall[at] == pytest.approx(np.mean([2 / 3, 1, 1 / 3, 1 / 2, 1 / 2]))


def test_a_singleton_that_is_left_alone_scores_one() -> None:
    alone = row_curve(Neighbours(np.array([[1], [0]]), np.array([[0.5], [0.5]], np.float32)), [0, 1])
    assert alone.f1[alone.at(0.6)] == 1
    assert alone.f1[alone.at(0.5)] == pytest.approx(2 / 3)
    assert alone.best == 0


def test_pairs_by_hand() -> None:
    pairs = pairs_of(LISTS, LABELS, EVERY)
    told = list(zip(pairs.left.tolist(), pairs.right.tolist(), pairs.hits.tolist(), strict=True))
    assert told[:4] == [(0, 1, True), (2, 4, False), (1, 2, True), (0, 3, False)]
    assert told[4:] == [(3, 4, True)]
    assert pairs.possible.sum() == 3 + 1
    curve = pairs.curve()
    assert curve.precision.tolist() == pytest.approx([1, 1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    assert curve.recall.tolist() == pytest.approx([0, 1 / 4, 1 / 4, 2 / 4, 2 / 4, 3 / 4])
    assert pairs.average_precision() == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3 + 1 / 4 * 3 / 5)
    assert curve.at_precision(0.6) == 5
    assert curve.at_precision(0.61) == 3
    assert curve.at_precision(0.99) == 1


def test_a_precision_that_only_accepting_nothing_reaches_is_none() -> None:
    wrong = pairs_of(Neighbours(np.array([[1], [0]]), np.array([[0.5], [0.5]], np.float32)), [0, 1], np.arange(2))
    assert wrong.curve().at_precision(0.5) is None
    assert wrong.average_precision() is None
    assert wrong.curve().f1.tolist() == [0, 0]


def test_found_at_by_hand() -> None:
    found, partners = found_at(LISTS, LABELS, EVERY, [1, 2])
    assert partners.tolist() == [2, 2, 2, 1, 1]
    assert found.tolist() == [[1, 1], [1, 2], [0, 0], [1, 1], [1, 1]]


def test_bcubed_by_hand() -> None:
    # Clusters {0, 1, 3}, {2}, {4}: precision of 0 and 1 is 2/3, of 3 1/3; recall 2/3, 2/3, 1/3 and 1/2, 1/2.
    precision, recall = bcubed_rows([0, 0, 2, 0, 4], LABELS)
    assert precision.tolist() == pytest.approx([2 / 3, 2 / 3, 1, 1 / 3, 1])
    assert recall.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 2, 1 / 2])
    scores = bcubed([0, 0, 2, 0, 4], LABELS)
    assert scores.precision == pytest.approx(np.mean(precision))
    assert scores.f1 == pytest.approx(2 * scores.precision * scores.recall / (scores.precision + scores.recall))


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cluster ids for 3 labels"):
        bcubed([0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="0 cluster ids"):
        bcubed([], [])
    with pytest.raises(ValueError, match="5 rows of neighbours for 3 rows"):
        row_curve(LISTS, [0, 1, 2])


def test_no_neighbours_at_all() -> None:
    empty = Neighbours(np.full((2, 1), -1), np.full((2, 1), -np.inf, np.float32))
    curve = row_curve(empty, [0, 0])
    assert curve.f1.tolist() == pytest.approx([2 / 3])
    assert curve.at(0.1) == curve.best == 0
    assert pairs_of(empty, [0, 0], np.arange(2)).average_precision() == 0


@few
@given(SEEDS, st.booleans(), st.booleans(), st.floats(-0.1, 1.1))
def test_rows_against_counting(seed: int, ties: bool, cut: bool, threshold: float) -> None:
    lists, labels, rows = drawn(seed, ties=ties, cut=cut)
    expected = []
    for at, row in enumerate(rows.tolist()):
        predicted = {row} | accepted(lists, at, row, threshold)
        truth = set(np.flatnonzero(labels == labels[row]).tolist())
        hits = len(predicted & truth)
        expected.append((2 * hits / (len(predicted) + len(truth)), hits / len(predicted), hits / len(truth)))
    scores = row_scores(lists, labels, rows, threshold)
    assert np.allclose(np.stack([scores.f1, scores.precision, scores.recall], 1), expected)
    curve = row_curve(lists, labels, rows)
    at = curve.at(threshold)
    assert np.allclose([curve.f1[at], curve.precision[at], curve.recall[at]], np.mean(expected, 0))
    assert (np.diff(curve.thresholds) < 0).all()


@few
@given(SEEDS, st.booleans(), st.booleans(), st.floats(-0.1, 1.1))
def test_pairs_against_counting(seed: int, ties: bool, cut: bool, threshold: float) -> None:
    lists, labels, rows = drawn(seed, ties=ties, cut=cut)
    best: dict[tuple[int, int], float] = {}
    for at, row in enumerate(rows.tolist()):
        for other, score in zip(lists.ids[at].tolist(), lists.scores[at].tolist(), strict=True):
            if other >= 0 and other != row:
                pair = (min(row, other), max(row, other))
                best[pair] = max(best.get(pair, -1.0), score)
    truth = {
        (a, b)
        for a in range(len(labels))
        for b in range(a + 1, len(labels))
        if labels[a] == labels[b] and (a in rows or b in rows)
    }
    over = {pair for pair, score in best.items() if score >= np.float32(threshold)}
    pairs = pairs_of(lists, labels, rows)
    assert {(a, b): s for a, b, s in zip(pairs.left, pairs.right, pairs.scores.tolist(), strict=True)} == best
    right, every, possible = (counts.sum() for counts in pairs.counts(threshold))
    assert (right, every, possible) == (len(over & truth), len(over), len(truth))
    curve = pairs.curve()
    at = curve.at(threshold)
    assert curve.precision[at] == pytest.approx(len(over & truth) / len(over) if over else 1)
    assert curve.recall[at] == pytest.approx(len(over & truth) / len(truth) if truth else 0)
    assert (rows[pairs.owner] == np.where(np.isin(pairs.left, rows), pairs.left, pairs.right)).all()


@few
@given(SEEDS, st.booleans())
def test_average_precision_against_scikit_learn(seed: int, ties: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 14))
    labels = rng.integers(0, max(2, n // 2), n)
    similarity = rng.random((n, n)).astype(np.float32)
    similarity = np.round((similarity + similarity.T) / 2, 1 if ties else 7).astype(np.float32)
    pairs = pairs_of(full_lists(similarity, np.arange(n)), labels, np.arange(n))
    if not pairs.possible.sum():
        assert pairs.average_precision() is None
        return
    # All pairs are candidates, so nothing is missed by search and the two must agree.
    assert pairs.average_precision() == pytest.approx(metrics.average_precision_score(pairs.hits, pairs.scores))
    precision, recall, thresholds = metrics.precision_recall_curve(pairs.hits, pairs.scores)
    curve = pairs.curve()
    for theirs in range(len(thresholds)):
        at = curve.at(float(thresholds[theirs]))
        assert curve.precision[at] == pytest.approx(precision[theirs])
        assert curve.recall[at] == pytest.approx(recall[theirs])


@pytest.mark.parametrize("seed", range(6))
def test_search_against_pytorch_metric_learning(seed: int) -> None:
    accuracy = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 30))
    labels = rng.integers(0, max(2, n // 3), n)
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found, partners = found_at(full_lists(vectors @ vectors.T, np.arange(n)), labels, np.arange(n), range(1, n))
    some = partners > 0
    calculator = accuracy.AccuracyCalculator(include=("precision_at_1", "r_precision"), k=int(partners.max()))
    theirs = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    assert np.mean(found[some, 0]) == pytest.approx(theirs["precision_at_1"])
    r_precision = found[np.arange(n), np.maximum(partners, 1) - 1][some] / partners[some]
    assert np.mean(r_precision) == pytest.approx(theirs["r_precision"])


@few
@given(SEEDS, st.booleans())
def test_bcubed_curve_against_clustering_anew(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 20))
    labels = rng.integers(0, max(2, n // 2), n)
    left, right = np.triu_indices(n, 1)
    keep = rng.random(len(left)) < 0.3
    scores = rng.random(len(left)).astype(np.float32)[keep]
    edges = Edges(left[keep], right[keep], np.round(scores, 1) if ties else scores)
    rows = np.sort(rng.choice(n, int(rng.integers(1, n + 1)), replace=False))
    curve = bcubed_curve(edges, labels, rows)
    for threshold in [*edges.scores.tolist(), -1.0, 0.55, 2.0]:
        expected = bcubed(connected_components(n, edges.over(threshold)), labels, rows)
        at = curve.at(threshold)
        assert (curve.precision[at], curve.recall[at], curve.f1[at]) == pytest.approx(
            (expected.precision, expected.recall, expected.f1)
        )


def test_bcubed_curve_without_edges() -> None:
    none = np.empty(0, np.int64)
    curve = bcubed_curve(Edges(none, none, np.empty(0, np.float32)), [0, 0, 1])
    assert curve.precision.tolist() == [1]
    assert curve.recall.tolist() == pytest.approx([(1 / 2 + 1 / 2 + 1) / 3])


@few
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8, unique=True), st.floats(-0.5, 1.5, width=32))
def test_a_curve_finds_the_decisions_of_any_threshold(scores: list[float], threshold: float) -> None:
    falling = np.array(sorted(scores, reverse=True), np.float32)
    top = np.nextafter(falling[0], np.float32(np.inf))
    curve = Curve(np.concatenate([[top], falling]).astype(np.float32), *np.zeros((3, len(falling) + 1)))
    assert curve.at(threshold) == int((falling >= np.float32(threshold)).sum())
