"""Groups: each seller once in a cluster, whatever the order of rows, and plain linkage where nobody forbids a thing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.errors import InputError
from index.clustering import Edges
from index.cohesion import cohesive_clusters
from index.grouping import Grouping, group_items
from index.nodes import Nodes
from index.scene import JudgedPairs


def judged(seed: int, nodes: int) -> JudgedPairs:
    draw = np.random.default_rng(seed)
    left, right = np.triu_indices(nodes, 1)
    kept = draw.random(len(left)) < 0.5
    scores = draw.choice([0.1, 0.4, 0.6, 0.8, 0.95], len(left)).astype(np.float32)
    apart = draw.random(len(left)) < 0.1
    return JudgedPairs(Edges(left[kept], right[kept], scores[kept]), np.ones(nodes), (left[apart], right[apart]))


def catalogue(seed: int, nodes: int, items: int) -> tuple[Nodes, list[str], list[str]]:
    """Nodes, ids and sellers; some sellers are not known."""
    draw = np.random.default_rng(seed)
    node_of = np.concatenate([np.arange(nodes), draw.integers(nodes, size=items)])
    texts = [f"title {chr(97 + node % 26)}{node}" for node in range(nodes)]
    sellers = draw.choice(["", " ", "A", "B", "C", "D"], len(node_of)).tolist()
    ids = [f"i{number}" for number in draw.permutation(len(node_of))]
    return Nodes(texts, node_of, np.ones(nodes, bool)), ids, sellers


drawn = given(
    seed=st.integers(0, 2000), nodes=st.integers(1, 9), items=st.integers(0, 12), t=st.sampled_from([0.3, 0.7])
)


@drawn
def test_without_a_seller_nodes_stand_together(seed: int, nodes: int, items: int, t: float) -> None:
    some, ids, _ = catalogue(seed, nodes, items)
    pairs = judged(seed, nodes)
    found = group_items(some, pairs, ids, t)
    keys = np.array(some.texts, object)
    clusters = cohesive_clusters(nodes, pairs.edges, t, apart=pairs.apart, keys=keys)[some.node_of].tolist()
    for item, cluster in enumerate(clusters):
        assert found.names[item] == min(id for id, other in zip(ids, clusters, strict=True) if other == cluster)
    assert group_items(some, pairs, ids, t, [""] * len(ids)).names == found.names


@drawn
def test_a_seller_stands_once_in_a_cluster(seed: int, nodes: int, items: int, t: float) -> None:
    some, ids, sellers = catalogue(seed, nodes, items)
    found = group_items(some, judged(seed, nodes), ids, t, sellers)
    told = [(name, seller) for name, seller in zip(found.names, sellers, strict=True) if seller.strip()]
    assert len(set(told)) == len(told)
    free = group_items(some, judged(seed, nodes), ids, t)
    if len({s for s in sellers if s.strip()}) == sum(bool(s.strip()) for s in sellers):
        assert found.names == free.names


@drawn
@settings(max_examples=60)
def test_the_order_of_rows_and_nodes_does_not_matter(seed: int, nodes: int, items: int, t: float) -> None:
    some, ids, sellers = catalogue(seed, nodes, items)
    pairs = judged(seed, nodes)
    found = dict(zip(ids, group_items(some, pairs, ids, t, sellers).names, strict=True))
    draw = np.random.default_rng(seed + 1)
    rows, place = draw.permutation(len(ids)), draw.permutation(nodes)
    turned = Nodes([some.texts[node] for node in np.argsort(place)], place[some.node_of][rows], some.readable)
    ends = np.sort(np.stack([place[pairs.edges.left], place[pairs.edges.right]]), axis=0)
    apart = np.sort(np.stack([place[side] for side in pairs.apart]), axis=0)
    other = JudgedPairs(Edges(ends[0], ends[1], pairs.edges.scores), pairs.twins, (apart[0], apart[1]))
    again = group_items(turned, other, [ids[row] for row in rows], t, [sellers[row] for row in rows])
    assert dict(zip([ids[row] for row in rows], again.names, strict=True)) == found


def group(titles: list[int], sellers: list[str], pairs: dict[tuple[int, int], float], t: float = 0.5) -> list[str]:
    """Items named a, b, c, ... of numbered titles."""
    nodes = Nodes([f"t{n}" for n in range(max(titles) + 1)], np.array(titles), np.ones(max(titles) + 1, bool))
    left, right = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    scores = np.array([pairs[pair] for pair in sorted(pairs)], np.float32)
    none = np.empty(0, np.int64), np.empty(0, np.int64)
    known = JudgedPairs(Edges(left, right, scores), np.ones(len(nodes.texts)), none)
    return group_items(nodes, known, [chr(97 + n) for n in range(len(titles))], t, sellers).names


@pytest.mark.parametrize(
    ("titles", "sellers", "pairs", "names"),
    [
        ([0, 0], "AA", {}, "ab"),  # equal titles of one seller are two products
        ([0, 0], "AB", {}, "aa"),
        ([0, 0, 0], ["A", "A", ""], {}, "aba"),
        ([0, 0, 0, 0], "AABB", {}, "abab"),  # first with first, second with second
        ([0, 1], "AA", {(0, 1): 0.9}, "ab"),
        ([0, 1], "AB", {(0, 1): 0.9}, "aa"),
        ([0, 1, 2], "ABA", {(0, 1): 0.9, (1, 2): 0.8}, "aac"),  # not through another seller either
        ([0, 0, 1, 1], "AABB", {(0, 1): 0.9}, "abab"),
        ([0, 1, 2], "AAA", {(0, 1): 0.9, (1, 2): 0.9, (0, 2): 0.9}, "abc"),
        ([0, 1, 2, 3], "ABCA", {(0, 1): 0.9, (1, 2): 0.9, (0, 2): 0.9, (2, 3): 0.9, (1, 3): 0.9}, "aaad"),
    ],
)
def test_by_hand(titles: list[int], sellers: list[str] | str, pairs: dict[tuple[int, int], float], names: str) -> None:
    assert group(titles, list(sellers), pairs) == list(names)


def test_another_number_of_values_is_refused() -> None:
    some, ids, sellers = catalogue(1, 3, 3)
    with pytest.raises(InputError, match="5 values for 6 items; expected as many"):
        group_items(some, judged(1, 3), ids, 0.5, sellers[:5])


def test_largest_and_loosest_are_told_by_their_items() -> None:
    nodes = Nodes(list("vwxyz"), np.array([0, 1, 2, 3, 4, 0]), np.ones(5, bool))
    scores = {(0, 1): 0.9, (0, 2): 0.8, (1, 2): 0.7, (3, 4): 0.6}
    left, right = np.array(sorted(scores), np.int64).T
    none = np.empty(0, np.int64), np.empty(0, np.int64)
    edges = Edges(left, right, np.array([scores[pair] for pair in sorted(scores)], np.float32))
    found: Grouping = group_items(nodes, JudgedPairs(edges, np.ones(5), none), list("fbcdea"), 0.5)
    assert found.names == ["a", "a", "a", "d", "d", "a"]
    (large,) = found.largest(1)
    assert (large.name, large.titles, large.probability) == ("a", 3, pytest.approx(0.8))
    assert (large.weakest, large.support) == (2, pytest.approx(0.75))
    loose = found.loosest(2)
    assert [one.name for one in loose] == ["d", "a"]
    assert (loose[0].weakest, loose[0].support) == (3, pytest.approx(0.6))


def test_one_seller_of_very_many_listings_costs_little() -> None:
    count = 20_000
    nodes = Nodes([f"{n:06}" for n in range(count)], np.arange(count), np.ones(count, bool))
    left = np.arange(count - 1)
    edges = Edges(left, left + 1, np.full(count - 1, 0.9, np.float32))
    none = np.empty(0, np.int64), np.empty(0, np.int64)
    found = group_items(nodes, JudgedPairs(edges, np.ones(count), none), nodes.texts, 0.5, ["A"] * count)
    assert len(set(found.names)) == count


def test_all_pairs_of_one_seller_are_apart_in_a_chain_of_others() -> None:
    """A, x, A, x, A in a row: linkage may join neighbours, never two of A."""
    titles, sellers = list(range(9)), ["A" if n % 2 == 0 else "" for n in range(9)]
    names = group(titles, sellers, {(n, n + 1): 0.9 for n in range(8)}, 0.2)
    for one, other in combinations(range(0, 9, 2), 2):
        assert names[one] != names[other]
    assert len(set(names)) == 5
