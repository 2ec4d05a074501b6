"""Edges are held against brute force and components against networkx, in whatever order the edges come."""

from __future__ import annotations

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from conftest import unit_rows
from hypothesis import given
from hypothesis import strategies as st

from index.clustering import Edges, assign_best, connected_components, edges_of
from index.vectors import Neighbours, VectorIndex


def edges(*pairs: tuple[int, int], scores: list[float] | None = None) -> Edges:
    both = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Edges(both[:, 0], both[:, 1], np.array(scores or [1.0] * len(both), np.float32))


def test_nothing() -> None:
    assert connected_components(0, edges()).tolist() == []
    assert connected_components(3, edges()).tolist() == [0, 1, 2]
    assert len(edges().over(0)) == 0
    none = edges_of(Neighbours(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.float32)))
    assert len(none) == 0
    assert [part.dtype.name for part in (none.left, none.right, none.scores)] == ["int64", "int64", "float32"]


@given(nodes=st.integers(1, 60), data=st.data())
def test_components_are_those_of_networkx(nodes: int, data: st.DataObject) -> None:
    node = st.integers(0, nodes - 1)
    pairs = data.draw(st.lists(st.tuples(node, node), max_size=2 * nodes))
    graph = nx.Graph(pairs)
    graph.add_nodes_from(range(nodes))
    expected = np.empty(nodes, np.int64)
    for component in nx.connected_components(graph):
        expected[list(component)] = min(component)
    found = connected_components(nodes, edges(*pairs))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    shuffled = data.draw(st.permutations([(b, a) for a, b in pairs]))
    left, right = np.array(shuffled, np.int64).reshape(-1, 2).T
    other = Edges(left, right, np.ones(len(left), np.float32))
    np.testing.assert_array_equal(connected_components(nodes, other), expected)


@pytest.mark.parametrize("order", ["forwards", "backwards", "zigzag", "random"])
def test_a_long_chain_is_one_cluster(order: str) -> None:
    nodes = 100_001
    chain = np.arange(nodes)
    if order == "backwards":
        chain = chain[::-1]
    elif order == "zigzag":  # 0, n, 1, n-1, ...: every second node is the smallest of its surroundings
        chain = np.stack([chain, chain[::-1]], 1).ravel()[:nodes]
    elif order == "random":
        chain = np.random.default_rng(0).permutation(nodes)
    links = Edges(chain[:-1], chain[1:], np.ones(nodes - 1, np.float32))
    assert not connected_components(nodes, links).any()


@given(rows=st.integers(1, 40), k=st.integers(1, 12), seed=st.integers(0, 99), floor=st.sampled_from([-1, 0.31, 0.87]))
def test_edges_are_those_of_brute_force(rows: int, k: int, seed: int, floor: float) -> None:
    vectors = unit_rows(rows, 5, seed, spread=0.3)
    neighbours = VectorIndex.from_vectors(vectors, device="cpu").search(vectors, k)
    expected: dict[tuple[int, int], float] = {}
    for row, (ids, scores) in enumerate(zip(neighbours.ids.tolist(), neighbours.scores.tolist(), strict=True)):
        for id, score in zip(ids, scores, strict=True):
            pair = (min(row, id), max(row, id))
            if id not in (-1, row) and score >= floor:
                expected[pair] = max(score, expected.get(pair, -2))
    found = edges_of(neighbours, floor)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == sorted(expected)
    assert found.scores.tolist() == [expected[pair] for pair in sorted(expected)]


def test_a_pair_in_both_lists_keeps_its_higher_score() -> None:
    ids = np.array([[0, 1, -1], [0, 2, 1], [1, -1, -1]])
    scores = np.array([[1, 0.5, -np.inf], [0.75, 0.25, 0.9], [0.125, -np.inf, -np.inf]], np.float32)
    found = edges_of(Neighbours(ids, scores))
    assert (found.left.tolist(), found.right.tolist(), found.scores.tolist()) == ([0, 1], [1, 2], [0.75, 0.25])


def test_over_keeps_the_threshold_itself() -> None:
    found = edges((0, 1), (1, 2), (2, 3), scores=[0.25, 0.5, 0.75]).over(0.5)
    assert (found.left.tolist(), found.right.tolist(), found.scores.tolist()) == ([1, 2], [2, 3], [0.5, 0.75])


@given(rows=st.integers(0, 20), k=st.integers(1, 6), seed=st.integers(0, 99), threshold=st.sampled_from([0, 0.5, 0.75]))
def test_each_row_goes_to_its_single_best_item(rows: int, k: int, seed: int, threshold: float) -> None:
    draw = np.random.default_rng(seed)
    ids = np.argsort(draw.random((rows, 8)), axis=1)[:, :k] - 1  # -1 stands for none
    scores = (draw.integers(0, 5, (rows, k)) / 4).astype(np.float32)
    expected = []
    for row in range(rows):
        held = [(-score, id) for id, score in zip(ids[row], scores[row], strict=True) if id >= 0 and score >= threshold]
        expected.append(min(held)[1] if held else -1)
    found = assign_best(Neighbours(ids, scores), threshold)
    assert found.dtype == np.int64
    assert found.tolist() == expected
