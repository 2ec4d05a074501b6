"""Nodes: titles that clean alike stand together, and lists of nodes become lists of items without losing one."""

from __future__ import annotations

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.text import clean
from index.nodes import Nodes, group, key_of, row_edges, row_neighbours
from index.vectors import Neighbours

TITLES = [
    "제주 삼다수 500ml x 20개",
    "[무료배송] 제주 삼다수 500㎖ × 20개",
    "STRASSE 5L",
    "straße 5L",
    "😀",
    "😀",
    "콜라",
]


@given(st.lists(st.sampled_from(TITLES) | st.text(max_size=8), max_size=20))
def test_titles_that_clean_alike_are_one_node(titles: list[str]) -> None:
    texts, node_of = group(titles)
    assert node_of.dtype == np.int64 and sorted(set(node_of.tolist())) == list(range(len(texts)))
    for item, title in enumerate(titles):
        same = [other for other in range(len(titles)) if node_of[other] == node_of[item]]
        if clean(title):
            assert same == [o for o, one in enumerate(titles) if clean(one).casefold() == clean(title).casefold()]
        else:
            assert same == [item]
        assert texts[node_of[item]] == min(titles[other] for other in same)
    assert [members[0] for members in Nodes(texts, node_of, np.ones(len(texts), bool)).items()] == sorted(
        {node: item for item, node in reversed(list(enumerate(node_of.tolist())))}.values()
    )


def test_what_is_equal() -> None:
    assert len({key_of(title) for title in TITLES[:2]}) == len({key_of(title) for title in TITLES[2:4]}) == 1
    assert key_of("😀") == ""


def drawn(seed: int, nodes: int) -> tuple[Nodes, Neighbours]:
    draw = np.random.default_rng(seed)
    node_of = np.concatenate([np.arange(nodes), draw.integers(nodes, size=draw.integers(0, 2 * nodes + 1))])
    draw.shuffle(node_of)
    k = int(draw.integers(1, nodes + 1))
    ids = np.argsort(draw.random((nodes, nodes)), axis=1)[:, :k].astype(np.int64)
    ids[draw.random(ids.shape) < 0.2] = -1
    scores = -np.sort(-draw.random(ids.shape).astype(np.float32), axis=1)
    scores[ids < 0] = -np.inf
    return Nodes([f"t{n}" for n in range(nodes)], node_of, draw.random(nodes) < 0.9), Neighbours(ids, scores)


@given(seed=st.integers(0, 300), nodes=st.integers(1, 9), width=st.integers(1, 12), known=st.booleans())
def test_lists_of_items_against_loops(seed: int, nodes: int, width: int, known: bool) -> None:
    some, near = drawn(seed, nodes)
    rows = np.arange(len(some.node_of))[:: 1 + seed % 2]
    twins = np.random.default_rng(seed).random(nodes) if known else None
    found = row_neighbours(some, near, rows, width, twins)
    members = some.items()
    for place, row in enumerate(rows.tolist()):
        own = int(some.node_of[row])
        listed = [(item, 1.0 if twins is None else np.float32(twins[own])) for item in members[own]]
        for node, score in zip(near.ids[own].tolist(), near.scores[own].tolist(), strict=True):
            if node not in (-1, own) and some.readable[[node, own]].all():
                listed += [(item, score) for item in members[node]]
        told = zip(found.ids[place].tolist(), found.scores[place].tolist(), strict=True)
        assert [(id, score) for id, score in told if id >= 0] == [(i, pytest.approx(s)) for i, s in listed[:width]]


@given(seed=st.integers(0, 300), nodes=st.integers(1, 9), floor=st.sampled_from([-1.0, 0.5]))
def test_edges_of_items_connect_what_those_of_nodes_do(seed: int, nodes: int, floor: float) -> None:
    some, near = drawn(seed, nodes)
    graph = nx.Graph()
    graph.add_nodes_from(range(nodes))
    for node in range(nodes):
        for other, score in zip(near.ids[node].tolist(), near.scores[node].tolist(), strict=True):
            if other not in (-1, node) and score >= floor and some.readable[[node, other]].all():
                graph.add_edge(node, other)
    edges = row_edges(some, near, floor)
    items = nx.Graph(zip(edges.left.tolist(), edges.right.tolist(), strict=True))
    items.add_nodes_from(range(len(some.node_of)))
    members = some.items()
    expected = {frozenset(i for node in part for i in members[node]) for part in nx.connected_components(graph)}
    assert {frozenset(part) for part in nx.connected_components(items)} == expected
    assert (edges.left < edges.right).all()
