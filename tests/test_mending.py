"""What hangs together with the news is clustered as all would be, on graphs that brute force can cluster whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import mending
from index.catalog import Catalog
from index.clustering import Edges, Ids
from index.cohesion import cohesive_clusters
from index.ledger import Label
from index.listings import Item
from index.mending import mend
from index.snapshot import Snapshot
from index.ties import ties_of
from index.web import Web

Wanted = Mapping[str, float]  # "ab" and the probability of the pair of nodes a and b; negative where they are apart
NODES = "abcdefgh"


@dataclass
class Graph:
    """What ``mend`` asks of a snapshot and of a web: items named "a", "a2" stand on node a, which is number 0."""

    ids: Sequence[str]
    edges: Wanted
    gone: str = ""

    @property
    def cluster_threshold(self) -> float:
        return 0.5

    @property
    def dead(self) -> np.ndarray:
        return np.array([not self.items(node) for node in range(len(NODES))])

    def title(self, id: str) -> str | None:
        return id[0] if id in self.ids else None

    def node(self, id: str) -> int:
        return NODES.index(id[0]) if id in self.ids else -1

    def text(self, node: int) -> str:
        return NODES[node]

    def items(self, node: int) -> list[str]:
        return [id for id in self.ids if id[0] == NODES[node]]

    def around(self, nodes: Ids) -> tuple[Any, ...]:
        found = [
            (at, NODES.index(two[1 - two.index(NODES[node])]), abs(p), p < 0)
            for at, node in enumerate(nodes.tolist()) for two, p in self.edges.items() if NODES[node] in two
        ]  # fmt: skip
        at, near, p, apart = zip(*found, strict=True) if found else ((), (), (), ())
        return np.array(at, np.int64), np.array(near, np.int64), np.array(p, np.float32), np.array(apart, bool)


def mended(catalog: Catalog, edges: Wanted, nodes: str) -> int:
    graph = Graph([item.id for item in catalog.page(limit=100).items], edges)
    return mend(
        catalog,
        cast(Snapshot, graph),
        cast(Web, graph),
        [NODES.index(node) for node in nodes],
        lambda: ties_of(catalog),
    )


def places(catalog: Catalog) -> dict[str, str | None]:
    return {item.id: item.cluster for item in catalog.page(limit=100).items}


def stand(catalog: Catalog, clusters: Mapping[str, str]) -> None:
    catalog.put([Item(id, id[0]) for id in clusters])
    catalog.clusters.move(dict(clusters), "rebuild", "dongil")


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    with Catalog.open(tmp_path) as opened:
        yield opened


def test_a_new_node_welds_two_clusters(catalog: Catalog) -> None:
    stand(catalog, {"a": "x", "b": "x", "c": "y", "d": "d"})
    edges = {"ab": 0.9, "ac": 0.8, "bc": 0.8}
    assert mended(catalog, edges, "c") == 1
    assert places(catalog) == {"a": "x", "b": "x", "c": "x", "d": "d"}
    (event, _) = catalog.clusters.events()
    assert (event.kind, event.who, event.by_hand, event.moved) == ("rebuild", "dongil", False, 1)
    cluster = catalog.clusters.get("x")
    assert cluster is not None
    assert cluster.cohesion == pytest.approx(0.8333, abs=1e-3)
    assert mended(catalog, edges, "abcd") == 0
    assert len(catalog.clusters.events()) == 2, "what does not change is not told"


def test_a_cluster_that_holds_together_no_longer_is_torn(catalog: Catalog) -> None:
    stand(catalog, {"a": "x", "b": "x", "c": "x", "d": "y"})
    assert mended(catalog, {"ab": 0.9, "ac": 0.2, "bc": 0.2, "cd": 0.9}, "c") == 1
    assert places(catalog) == {"a": "x", "b": "x", "c": "y", "d": "y"}


def test_an_item_without_a_cluster_is_left_to_joining(catalog: Catalog) -> None:
    stand(catalog, {"a": "x"})
    catalog.put([Item("b", "b")])
    assert mended(catalog, {"ab": 0.9}, "ab") == 0
    assert places(catalog) == {"a": "x", "b": None}


def test_an_item_of_another_title_stays_where_it_is(catalog: Catalog) -> None:
    stand(catalog, {"a": "x", "b": "y"})
    catalog.put([Item("b", "another title")])
    assert mended(catalog, {"ab": 0.9}, "ab") == 0


def test_what_people_want_holds(catalog: Catalog) -> None:
    stand(catalog, {"a": "x", "a2": "x", "b": "y", "c": "z", "d": "w"})
    catalog.labels.put([Label("a", "b", "different", "kim"), Label("c", "d", "same", "kim")])
    assert mended(catalog, {"ab": 0.99, "bc": 0.9, "bd": 0.8}, "b") == 2
    now = places(catalog)
    assert now["b"] == now["c"] == now["d"] != now["a"] == now["a2"] == "x"


def test_too_much_waits_for_the_next_base(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(catalog, {"a": "x", "b": "y", "c": "z"})
    monkeypatch.setattr(mending, "MOST", 1)
    assert mended(catalog, {"ab": 0.9, "bc": 0.9}, "a") == 0
    assert mended(catalog, {}, "") == 0
    assert places(catalog) == {"a": "x", "b": "y", "c": "z"}


@pytest.mark.parametrize("times", [1, 5])
def test_what_moves_meanwhile_is_looked_at_again(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    stand(catalog, {"a": "x", "b": "y", "c": "z"})
    seen, regroup = [0], mending._Region.regroup

    def late(region: Any) -> bool:
        found = regroup(region)
        if seen[0] < times and not catalog._store._writer.in_transaction:
            catalog.put([Item(f"a{seen[0] + 2}", "a")])
            catalog.clusters.move({f"a{seen[0] + 2}": "x"}, "join", "dongil")
        seen[0] += 1
        return found

    monkeypatch.setattr(mending._Region, "regroup", late)
    assert mended(catalog, {"ab": 0.9}, "b") == 1
    assert len({cluster for id, cluster in places(catalog).items() if id != "c"}) == 1
    assert seen[0] == min(times + 1, 3)


pairs = st.sampled_from([a + b for a, b in combinations(NODES, 2)])


@given(
    st.fixed_dictionaries({node: st.sampled_from("wxyz") for node in NODES}),
    st.dictionaries(pairs, st.floats(-1, 1).map(lambda p: round(p, 2) or 0.1), max_size=16),
    st.sets(st.sampled_from(NODES), min_size=1, max_size=3),
)
@settings(max_examples=60)
def test_against_a_clustering_of_everything(
    tmp_path_factory: pytest.TempPathFactory, clusters: dict[str, str], edges: dict[str, float], news: set[str]
) -> None:
    graph = nx.Graph()
    graph.add_nodes_from(NODES)
    graph.add_edges_from(two for two, p in edges.items() if abs(p) >= 0.5)
    graph.add_edges_from((a, b) for a, b in combinations(NODES, 2) if clusters[a] == clusters[b])
    reached = set().union(*(nx.node_connected_component(graph, node) for node in news))
    two = sorted((NODES.index(one[0]), NODES.index(one[1]), p) for one, p in edges.items())
    left, right = (np.array([one[end] for one in two], np.int64) for end in (0, 1))
    p = np.array([one[2] for one in two], np.float32)
    every = cohesive_clusters(len(NODES), Edges(left, right, np.abs(p)), 0.5, apart=(left[p < 0], right[p < 0]))
    with Catalog.open(tmp_path_factory.mktemp("mending")) as catalog:
        stand(catalog, clusters)
        mended(catalog, edges, "".join(sorted(news)))
        now = places(catalog)
        for a, b in combinations(NODES, 2):
            if a in reached or b in reached:
                assert (now[a] == now[b]) == (every[NODES.index(a)] == every[NODES.index(b)])
            else:
                assert (now[a], now[b]) == (clusters[a], clusters[b])
        for name in set(clusters.values()):
            same = {node for node in NODES if clusters[node] == name}
            if len({every[NODES.index(node)] for node in same}) == 1 and sum(
                every == every[NODES.index(min(same))]
            ) == len(same):
                assert {now[node] for node in same} == {name}, "a cluster of the same items keeps its id"
