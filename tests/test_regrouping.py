"""Everything is clustered anew as people want it, under the ids there were, and nothing they do meanwhile is undone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import regrouping
from index.catalog import Catalog
from index.clustering import Edges
from index.cohesion import cohesive_clusters
from index.ledger import Label
from index.listings import Item
from index.naming import kept_names
from index.nodes import Nodes
from index.regrouping import Stand, parts_of, regroup
from index.scene import JudgedPairs
from index.snapshot import Base
from index.ties import Ties

Wanted = Mapping[str, float]  # "ab" and the probability of the pair of nodes a and b; negative where they are apart


def base_of(ids: Sequence[str]) -> Base:
    """Items named "a", "a2", "a3" stand on node a."""
    texts = sorted({id[0] for id in ids})
    nodes = Nodes(texts, np.array([texts.index(id[0]) for id in ids], np.int64), np.ones(len(texts), bool))
    none = np.empty(0, np.int64)
    scene = cast(Any, SimpleNamespace(nodes=nodes))
    return Base(list(ids), [id[0] for id in ids], scene, none, {}, 0, np.zeros(len(texts), bool))


def pairs_of(base: Base, wanted: Wanted) -> JudgedPairs:
    texts = base.scene.nodes.texts
    two = sorted((texts.index(one[0]), texts.index(one[1]), p) for one, p in wanted.items())
    left, right = (np.array([one[end] for one in two], np.int64) for end in (0, 1))
    p = np.array([one[2] for one in two], np.float32)
    return JudgedPairs(Edges(left, right, np.abs(p)), np.ones(len(texts)), (left[p < 0], right[p < 0]))


def clusters_of(base: Base, wanted: Wanted, ties: Ties, threshold: float = 0.5) -> dict[str, int]:
    parts = parts_of(Stand.of(base), pairs_of(base, wanted), ties)
    found = cohesive_clusters(len(parts.node), parts.edges, threshold, apart=parts.apart)
    return dict(zip(base.ids, found[parts.of_item].tolist(), strict=True))


def groups(names: Mapping[str, Any]) -> set[frozenset[str]]:
    return {frozenset(id for id in names if names[id] == name) for name in set(names.values())}


def test_without_ties_the_parts_are_the_nodes() -> None:
    base = base_of(["a", "b", "a2"])
    pairs = pairs_of(base, {"ab": 0.25})
    parts = parts_of(Stand.of(base), pairs, Ties())
    assert (parts.of_item.tolist(), parts.node.tolist()) == ([0, 1, 0], [0, 1])
    assert parts.edges.scores.tolist() == [0.25]


def test_ties_go_before_probabilities_and_contradictions() -> None:
    base = base_of("abcde")
    wanted = {"ab": -0.05, "bc": 1.0, "ac": 0.2, "de": 1.0}
    assert groups(clusters_of(base, wanted, Ties())) == {frozenset("a"), frozenset("bc"), frozenset("de")}
    found = clusters_of(base, wanted, Ties((("a", "b"),), (("d", "e"),)))
    assert groups(found) == {frozenset("abc"), frozenset("d"), frozenset("e")}


def test_twins_that_people_kept_apart_fall_apart() -> None:
    base = base_of(["a", "a2", "a3", "a4", "b"])
    found = clusters_of(base, {"ab": 0.9}, Ties((("a2", "b"),), (("a2", "a3"),)))
    assert found["a2"] == found["b"] != found["a3"]
    assert found["a"] == found["a4"]


ITEMS = ["a", "a2", "b", "c", "c2", "d", "e"]
ties_drawn = st.lists(st.tuples(st.sampled_from(ITEMS), st.sampled_from(ITEMS)).filter(lambda two: two[0] != two[1]))
edges_drawn = st.dictionaries(
    st.sampled_from([a + b for a, b in combinations("abcde", 2)]), st.floats(-1, 1).map(lambda p: round(p, 2) or 0.1)
)


@given(edges_drawn, ties_drawn, st.data())
def test_ties_always_hold(wanted: dict[str, float], two: list[tuple[str, str]], data: st.DataObject) -> None:
    graph = nx.Graph()
    graph.add_nodes_from(ITEMS)
    cut = data.draw(st.integers(0, len(two)))
    graph.add_edges_from(two[:cut])
    together = tuple(tuple(sorted(some)) for some in nx.connected_components(graph) if len(some) > 1)
    apart = tuple(sorted({(min(a, b), max(a, b)) for a, b in two[cut:] if not nx.has_path(graph, a, b)}))
    base = base_of(ITEMS)
    found = clusters_of(base, wanted, Ties(together, apart))
    for group in together:
        assert len({found[item] for item in group}) == 1
    for a, b in apart:
        assert found[a] != found[b]
    if not two:
        assert found["a"] == found["a2"]
        assert found["c"] == found["c2"]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as opened:
        yield opened


def stand(catalog: Catalog, ids: Sequence[str], clusters: Mapping[str, str]) -> Base:
    catalog.put([Item(id, id[0]) for id in ids])
    catalog.clusters.move(dict(clusters), "rebuild", "dongil")
    return base_of(ids)


def places(catalog: Catalog) -> dict[str, str | None]:
    return {item.id: item.cluster for item in catalog.page(limit=100).items}


def test_ids_stay_with_what_they_named(catalog: Catalog) -> None:
    base = stand(catalog, "abcdefg", {"a": "x", "b": "x", "c": "y", "d": "y", "e": "y", "f": "y"})
    moved = regroup(catalog, base, pairs_of(base, {"ab": 0.9, "cd": 0.9, "ce": 0.9, "de": 0.9}), 0.5)
    assert moved == 2
    assert places(catalog) == {"a": "x", "b": "x", "c": "y", "d": "y", "e": "y", "f": "c1", "g": "c2"}
    assert {event.kind for event in catalog.clusters.events()} == {"rebuild"}
    rated = {cluster.id: cluster.cohesion for cluster in catalog.clusters.page()[0]}
    assert rated["x"] == pytest.approx(0.9)
    assert rated["y"] == pytest.approx(0.9)
    assert regroup(catalog, base, pairs_of(base, {"ab": 0.9, "cd": 0.9, "ce": 0.9, "de": 0.9}), 0.5) == 0


def test_what_people_did_and_said_is_kept(catalog: Catalog) -> None:
    base = stand(catalog, "abcdef", {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "f": "w"})
    wanted = {"ab": 0.9, "cd": 0.9, "ef": 0.9}
    split = catalog.clusters.split(["a"], "kim", by_hand=True)
    catalog.clusters.merge("y", ["z"], "kim", by_hand=True)
    catalog.labels.put([Label("e", "f", "different", "kim")])
    before = places(catalog)
    assert regroup(catalog, base, pairs_of(base, wanted), 0.5) == 0
    assert places(catalog) == before
    catalog.clusters.undo(split.id, "kim")
    assert regroup(catalog, base, pairs_of(base, {"cd": 0.9, "ef": 0.9}), 0.5) == 0
    assert places(catalog) == {**before, "a": "x"}


def test_what_went_or_came_since_the_base_is_left_alone(catalog: Catalog) -> None:
    base = stand(catalog, "abcd", {"a": "x", "b": "y", "c": "z", "d": "w"})
    catalog.delete(["a"])
    catalog.put([Item("c", "another title"), Item("n", "n")])
    catalog.clusters.move({"n": "w"}, "join", "dongil")
    regroup(catalog, base, pairs_of(base, {"ab": 0.9, "bc": 0.9, "cd": 0.9}), 0.5)
    assert places(catalog)["c"] == "z"


def test_items_follow_a_cluster_that_gives_up_its_id(catalog: Catalog) -> None:
    base = stand(catalog, "abc", {"a": "x", "b": "y", "c": "y"})
    catalog.put([Item("n", "n")])
    catalog.clusters.move({"n": "x"}, "join", "dongil")
    assert regroup(catalog, base, pairs_of(base, {"ab": 0.9, "ac": 0.9, "bc": 0.9}), 0.5) == 2
    assert set(places(catalog).values()) == {"y"}


def test_what_people_touch_meanwhile_is_left_to_them(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    base = stand(catalog, "abcdef", {"a": "x", "b": "y", "c": "z", "d": "w", "e": "u", "f": "v"})
    named = kept_names

    def late(*given: Any) -> list[str]:
        catalog.clusters.move({"c": "y"}, "move", "kim", by_hand=True)
        catalog.clusters.move({"e": None}, "move", "dongil")
        return named(*given)

    monkeypatch.setattr(regrouping, "kept_names", late)
    assert regroup(catalog, base, pairs_of(base, {"ab": 0.9, "cd": 0.9, "ef": 0.9}), 0.5) <= 1
    assert {id: places(catalog)[id] for id in "abcd"} == {"a": "x", "b": "y", "c": "y", "d": "w"}


graphs = st.lists(st.tuples(edges_drawn, st.sets(st.sampled_from("abcdefgh"), max_size=2)), min_size=1, max_size=4)


@given(graphs)
@settings(max_examples=30)
def test_untouched_clusters_keep_their_ids(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[str, float], set[str]]]
) -> None:
    with Catalog.open(tmp_path_factory.mktemp("regrouping")) as catalog:
        catalog.put([Item(id, id) for id in "abcdefgh"])
        for wanted, gone in steps:
            catalog.delete(sorted(gone))
            before = {id: cluster for id, cluster in places(catalog).items() if cluster is not None}
            base = base_of(sorted(places(catalog)))
            there = {two: p for two, p in wanted.items() if set(two) <= set(base.ids)}
            regroup(catalog, base, pairs_of(base, there), 0.5)
            after = places(catalog)
            assert None not in after.values()
            assert groups(after) == groups(clusters_of(base, there, Ties()))
            for group in groups(before) & groups(after):
                assert {before[id] for id in group} == {after[id] for id in group}
