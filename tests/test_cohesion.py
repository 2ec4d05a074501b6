"""Cohesive clusters are held against a brute-force average linkage, and a welded catalogue against its labels."""

from __future__ import annotations

from dataclasses import astuple
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedder.errors import InputError
from index.clustering import Edges, Ids, connected_components
from index.cohesion import Cluster, cohesion, cohesive_clusters, largest, loosest
from training.evaluate import bcubed

Pairs = dict[tuple[int, int], float]


def graph(pairs: Pairs) -> Edges:
    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    return Edges(ends[:, 0], ends[:, 1], np.array(list(pairs.values()), np.float32))


def both(pairs: list[tuple[int, int]]) -> tuple[Ids, Ids]:
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def shuffled(edges: Edges, seed: int) -> Edges:
    """The same edges in another order, some the other way round."""
    draw = np.random.default_rng(seed)
    order, turned = draw.permutation(len(edges)), draw.random(len(edges)) < 0.5
    left, right = edges.left[order], edges.right[order]
    return Edges(np.where(turned, right, left), np.where(turned, left, right), edges.scores[order])


def oracle(nodes: int, pairs: Pairs, threshold: float, apart: set[tuple[int, int]], absent: float = 0.0) -> list[int]:
    """Average linkage by trying all twos of clusters before each join, in exact fractions."""
    known = {pair: Fraction(score) for pair, score in pairs.items()}
    clusters = [[node] for node in range(nodes)]
    while True:
        best: tuple[Fraction, int, int] | None = None
        for a, b in combinations(sorted(clusters), 2):
            between = [(min(x, y), max(x, y)) for x in a for y in b]
            average = sum((known.get(pair, Fraction(absent)) for pair in between), Fraction(0)) / len(between)
            if average < threshold or apart.intersection(between):
                continue
            if best is None or (-average, a[0], b[0]) < best:
                best = (-average, a[0], b[0])
        if best is None:
            break
        a, b = (next(one for one in clusters if one[0] == first) for first in best[1:])
        clusters = [one for one in clusters if one not in (a, b)] + [sorted(a + b)]
    return [next(one[0] for one in clusters if node in one) for node in range(nodes)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Pairs, set[tuple[int, int]]]:
    nodes = draw(st.integers(1, 12))
    possible = list(combinations(range(nodes), 2))
    some = st.lists(st.sampled_from(possible), unique=True) if possible else st.just([])
    chosen = draw(some)
    eighths = draw(st.lists(st.integers(0, 8), min_size=len(chosen), max_size=len(chosen)))  # few values: many ties
    return nodes, {pair: n / 8 for pair, n in zip(chosen, eighths, strict=True)}, set(draw(some)[:4])


@given(graphs(), st.sampled_from([0.2, 0.375, 0.5, 0.75, 1.0]), st.sampled_from([0.0, 0.125]), st.integers(0, 99))
@example((3, {(0, 1): 0.75, (1, 2): 0.75}, set()), 0.375, 0.0, 0)
def test_clusters_are_those_of_brute_force(
    drawn: tuple[int, Pairs, set[tuple[int, int]]], threshold: float, absent: float, seed: int
) -> None:
    nodes, pairs, apart = drawn
    expected = oracle(nodes, pairs, threshold, apart, absent)
    foes = both(sorted(apart))
    found = cohesive_clusters(nodes, graph(pairs), threshold, apart=foes, absent=absent)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    assert not (found[foes[0]] == found[foes[1]]).any()
    again = cohesive_clusters(nodes, shuffled(graph(pairs), seed), threshold, apart=foes[::-1], absent=absent)
    assert again.tolist() == expected
    for one in cohesion(found, graph(pairs), absent=absent):
        assert one.probability >= threshold - 1e-9


@given(graphs(), st.integers(0, 99))
def test_with_keys_the_numbering_does_not_matter(drawn: tuple[int, Pairs, set[tuple[int, int]]], seed: int) -> None:
    nodes, pairs, apart = drawn
    keys = np.array([f"title {node:02}" for node in range(nodes)])
    before = cohesive_clusters(nodes, graph(pairs), 0.375, apart=both(sorted(apart)), keys=keys)
    place = np.random.default_rng(seed).permutation(nodes)  # of each node in another file
    edges, foes = graph(pairs), both(sorted(apart))
    moved = Edges(place[edges.left], place[edges.right], edges.scores)
    after = cohesive_clusters(nodes, moved, 0.375, apart=(place[foes[0]], place[foes[1]]), keys=keys[np.argsort(place)])
    assert ((before[:, None] == before) == (after[place][:, None] == after[place])).all()
    assert all(after[node] == np.flatnonzero(after == after[node])[0] for node in range(nodes))


def crowded_oracle(nodes: int, pairs: Pairs, threshold: float, reach: int) -> list[int]:
    """As ``oracle``, where a tenth of the pairs of two crowded nodes is expected; for scores without ties."""
    strong = [sum(node in pair for pair, score in pairs.items() if score >= threshold) for node in range(nodes)]
    weight = {(x, y): 0.1 if min(strong[x], strong[y]) >= reach else 1 for x, y in combinations(range(nodes), 2)}
    clusters = [[node] for node in range(nodes)]
    while True:
        best = (threshold, -1, -1)
        for i, j in combinations(range(len(clusters)), 2):
            between = [(min(x, y), max(x, y)) for x in clusters[i] for y in clusters[j]]
            held = [pairs[pair] for pair in between if pair in pairs]
            best = max(best, (sum(held) / max(len(held), sum(weight[pair] for pair in between)), i, j))
        if best[1] < 0:
            return [min(next(one for one in clusters if node in one)) for node in range(nodes)]
        clusters[best[1]] += clusters.pop(best[2])


@given(st.integers(4, 14), st.integers(0, 999), st.integers(1, 4), st.sampled_from([0.3, 0.5, 0.7]))
def test_crowded_clusters_are_those_of_brute_force(nodes: int, seed: int, reach: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    pairs = {pair: float(np.float32(draw.random())) for pair in combinations(range(nodes), 2) if draw.random() < share}
    expected = crowded_oracle(nodes, pairs, 0.5, reach)
    assert cohesive_clusters(nodes, graph(pairs), 0.5, reach=reach).tolist() == expected


def test_nothing() -> None:
    assert cohesive_clusters(0, graph({}), 0.5).tolist() == []
    assert cohesive_clusters(3, graph({}), 0.5).tolist() == [0, 1, 2]
    assert cohesion(np.arange(3), graph({})) == []
    assert cohesion(np.arange(0), graph({})) == []


def clique(*nodes: int, score: float = 0.9) -> Pairs:
    return dict.fromkeys(combinations(nodes, 2), score)


def test_one_false_edge_does_not_weld_two_cliques() -> None:
    pairs = clique(0, 1, 2) | clique(3, 4, 5) | {(2, 3): 0.99}
    assert not connected_components(6, graph(pairs)).any()
    # The false edge is the best of all, so its ends join first; 2-3 to {0, 1} then averages 0.45.
    assert cohesive_clusters(6, graph(pairs), 0.5).tolist() == [0, 0, 2, 2, 4, 4]
    assert cohesive_clusters(6, graph(pairs | {(2, 3): 0.9}), 0.5).tolist() == [0, 0, 0, 3, 3, 3]


def test_a_chain_falls_into_twos() -> None:
    chain = graph({(0, 1): 0.9, (1, 2): 0.9, (2, 3): 0.9})
    # After 0-1, node 2 averages (0.9 + 0) / 2 to both; so 2-3; and the twos average 0.9 / 4.
    assert cohesive_clusters(4, chain, 0.5).tolist() == [0, 0, 2, 2]
    assert cohesive_clusters(4, chain, 0.45).tolist() == [0, 0, 2, 2]
    assert cohesive_clusters(4, chain, 0.225).tolist() == [0, 0, 0, 0]
    assert cohesive_clusters(4, chain, 0.5, absent=0.4).tolist() == [0, 0, 0, 0]  # (0.9 + 3 * 0.4) / 4


def test_a_pair_apart_splits_even_a_perfect_cluster() -> None:
    pairs = graph(clique(0, 1, 2, 3, score=1.0))
    assert cohesive_clusters(4, pairs, 0.5).tolist() == [0, 0, 0, 0]
    assert cohesive_clusters(4, pairs, 0.5, apart=both([(1, 0), (0, 1)])).tolist() == [0, 1, 0, 0]
    through = graph({(0, 1): 1.0, (1, 2): 1.0})  # 0 and 2 are no candidates, and would meet in 1
    assert cohesive_clusters(3, through, 0.1, apart=both([(0, 2)])).tolist() == [0, 0, 2]


def test_the_threshold_itself_joins() -> None:
    assert cohesive_clusters(2, graph({(0, 1): 0.9}), 0.9).tolist() == [0, 0]
    assert cohesive_clusters(5, graph(clique(0, 1, 2, 3) | {(3, 4): 0.2}), 0.9).tolist() == [0, 0, 0, 0, 4]


def nearest(sizes: list[int], k: int, score: float, seed: int) -> tuple[Ids, Edges]:
    """Labels, and edges of lists of k - 1 random others of the same label."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    pairs: Pairs = {}
    for node, label in enumerate(labels):
        others = np.flatnonzero(labels == label)
        for other in draw.choice(others[others != node], min(k, len(others)) - 1, replace=False).tolist():
            pairs[min(node, other), max(node, other)] = score
    return labels, graph(pairs)


def test_a_product_larger_than_the_lists_is_one_cluster() -> None:
    labels, edges = nearest([300, 200, 30], 50, 0.9, 0)
    false = {(a, 300 + b): 0.9 for a, b in np.random.default_rng(1).integers(0, 200, (40, 2)).tolist()}
    false_edges = graph(false)
    welded = Edges(*(np.concatenate([getattr(e, part) for e in (edges, false_edges)])
                     for part in ("left", "right", "scores")))  # fmt: skip
    assert len(set(connected_components(530, welded).tolist())) == 2
    found = cohesive_clusters(530, welded, 0.5)
    assert bcubed(found, labels).f1 > 0.97
    assert bcubed(cohesive_clusters(530, welded, 0.5, reach=1000), labels).recall < 0.2
    sizes = [one.size for one in largest(cohesion(found, welded), 2)]
    assert sizes[0] > 280 and sizes[1] > 180


def catalogue(products: int, seed: int) -> tuple[Ids, Edges]:
    """Labels of groups of 1 to 10, and edges: of true pairs nine in ten, of false ones a hundredth as many."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(products), draw.integers(1, 11, products))
    start = np.flatnonzero(np.r_[True, np.diff(labels) > 0])
    true = [pair for a, n in zip(start, np.bincount(labels), strict=True) for pair in combinations(range(a, a + n), 2)]
    kept = np.array(true, np.int64)[draw.random(len(true)) < 0.9]
    false = draw.integers(0, len(labels), (len(kept) // 100, 2))
    ends = np.unique(np.sort(np.concatenate([kept, false[labels[false[:, 0]] != labels[false[:, 1]]]]), axis=1), axis=0)
    scores = draw.beta(8, 2, len(ends)).astype(np.float32)  # false edges score as true ones do
    return labels, shuffled(Edges(ends[:, 0], ends[:, 1], scores), seed)


def test_false_edges_do_not_weld_a_catalogue() -> None:
    labels, edges = catalogue(5_000, 0)
    welded = connected_components(len(labels), edges)
    found = cohesive_clusters(len(labels), edges, 0.4)
    scores, before = bcubed(found, labels), bcubed(welded, labels)
    assert np.bincount(welded).max() > 50
    assert np.bincount(found).max() <= 20
    assert scores.f1 > 0.97
    assert before.f1 < scores.f1 - 0.05
    np.testing.assert_array_equal(cohesive_clusters(len(labels), shuffled(edges, 7), 0.4), found)


def test_cohesion_by_hand() -> None:
    pairs = graph({(0, 1): 0.5, (0, 2): 1.0, (1, 2): 0.25, (3, 4): 0.75, (4, 5): 0.125, (2, 3): 1.0})
    tight, loose = cohesion(np.array([0, 0, 0, 3, 3, 3, 6]), pairs)
    assert astuple(tight) == pytest.approx((0, 3, 1.75 / 3, 1, 0.375))
    assert astuple(loose) == pytest.approx((3, 3, 0.875 / 3, 5, 0.0625))
    assert cohesion(np.array([0, 0, 0, 3, 3, 3, 6]), pairs, absent=0.5)[1].probability == pytest.approx(1.375 / 3)
    big = Cluster(9, 5, tight.probability, 9, 0.1)
    assert largest([loose, tight, big], 2) == [big, loose]
    assert loosest([tight, big, loose], 2) == [loose, big]


def test_cohesion_does_not_blame_full_lists() -> None:
    labels, edges = nearest([200], 50, 0.9, 0)
    assert cohesion(labels, edges)[0].probability == pytest.approx(0.9)
    assert cohesion(labels, edges, reach=200)[0].probability < 0.5


@pytest.mark.parametrize("score", [-0.1, 1.5, float("nan")])
def test_a_score_that_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=r"edge 1 has score .*; expected a probability"):
        cohesive_clusters(3, graph({(0, 1): 0.5, (1, 2): score}), 0.5)


def test_bad_input_is_refused() -> None:
    fine = graph({(0, 1): 0.5})
    for threshold, absent in ((0.0, 0.0), (1.1, 0.0), (float("nan"), 0.0), (0.5, 0.5), (0.5, -0.1)):
        with pytest.raises(InputError, match="absent < threshold"):
            cohesive_clusters(2, fine, threshold, absent=absent)
    with pytest.raises(InputError, match="reach is 0"):
        cohesive_clusters(2, fine, 0.5, reach=0)
    with pytest.raises(InputError, match="1 keys for 2 nodes"):
        cohesive_clusters(2, fine, 0.5, keys=np.array(["a"]))
    with pytest.raises(InputError, match="edge 0 is between 1 and 2; expected two different nodes from 0 to 1"):
        cohesive_clusters(2, graph({(1, 2): 0.5}), 0.5)
    with pytest.raises(InputError, match="pair to keep apart 0 is between 1 and 1"):
        cohesive_clusters(2, fine, 0.5, apart=both([(1, 1)]))
    with pytest.raises(InputError, match="2 nodes on the left, 1 on the right"):
        cohesive_clusters(2, fine, 0.5, apart=(np.array([0, 1]), np.array([1])))
    with pytest.raises(InputError, match="between 0 and 1 stands twice"):
        cohesive_clusters(2, graph({(0, 1): 0.5, (1, 0): 0.7}), 0.5)
