"""Items find the cluster that linkage would give them, on graphs small enough to work out by hand or by brute force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.catalog import Catalog
from index.clustering import Ids
from index.joining import Placed, place
from index.listings import Item
from index.snapshot import Snapshot
from index.ties import Ties

Edges = Mapping[str, float]  # "ab" and the probability of the pair of nodes a and b; negative where they are apart


@dataclass
class Graph:
    """What ``place`` asks of a snapshot: items named "a", "a2", "a3" stand on node a."""

    ids: Sequence[str]
    edges: Edges
    threshold: float = 0.5
    base: Any = field(default_factory=lambda: SimpleNamespace(crowded=np.zeros(0, bool)))

    @property
    def cluster_threshold(self) -> float:
        return self.threshold

    def title(self, id: str) -> str | None:
        return id[0] if id in self.ids else None

    def node(self, id: str) -> int:
        return ord(id[0]) if id in self.ids else -1

    def items(self, node: int) -> list[str]:
        return [id for id in self.ids if ord(id[0]) == node]

    def around(self, nodes: Ids) -> tuple[Any, ...]:
        found = [
            (at, ord(two[1 - two.index(chr(node))]), abs(p), p < 0)
            for at, node in enumerate(nodes.tolist()) for two, p in self.edges.items() if chr(node) in two
        ]  # fmt: skip
        at, near, p, apart = zip(*found, strict=True) if found else ((), (), (), ())
        return np.array(at, np.int64), np.array(near, np.int64), np.array(p, float), np.array(apart, bool)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as opened:
        yield opened


def stand(catalog: Catalog, ids: Sequence[str], clusters: Mapping[str, str] | None = None) -> None:
    catalog.put([Item(id, id[0]) for id in ids])
    catalog.clusters.move(dict(clusters or {}), "rebuild", "dongil")


def settled(catalog: Catalog, edges: Edges, ids: Sequence[str], *, ties: Ties | None = None, **more: Any) -> Placed:
    every = [item.id for item in catalog.page(limit=100).items]
    again = more.pop("again", ())
    return place(catalog, cast(Snapshot, Graph(every, edges, **more)), ids, ties or Ties(), again=again)


def places(catalog: Catalog) -> dict[str, str | None]:
    return {item.id: item.cluster for item in catalog.page(limit=100).items}


def test_an_item_joins_the_most_probable_cluster(catalog: Catalog) -> None:
    stand(catalog, "abcdn", {"a": "x", "b": "x", "c": "y", "d": "y"})
    assert settled(catalog, {"an": 0.9, "bn": 0.6, "cn": 0.95}, "n") == Placed(joined=1)
    assert places(catalog)["n"] == "x"
    (event,) = catalog.clusters.events(kind="join")
    assert (event.who, event.by_hand, event.detail) == ("dongil", False, {"probability": 0.75})


def test_an_item_founds_a_cluster_where_no_mean_is_high_enough(catalog: Catalog) -> None:
    stand(catalog, "abcn", {"a": "x", "b": "x", "c": "x"})
    assert settled(catalog, {"an": 0.99}, "n") == Placed(founded=1)
    assert places(catalog)["n"] == "c1"


def test_a_contradiction_keeps_out_of_the_whole_cluster(catalog: Catalog) -> None:
    stand(catalog, "abn", {"a": "x", "b": "x"})
    assert settled(catalog, {"an": 0.99, "bn": -0.98}, "n") == Placed(founded=1)


def test_the_next_item_sees_where_the_last_one_went(catalog: Catalog) -> None:
    stand(catalog, "abc")
    assert settled(catalog, {"ab": 0.9, "bc": 0.9, "ac": 0.2}, "abc") == Placed(joined=2, founded=1)
    assert set(places(catalog).values()) == {"c1"}
    assert settled(catalog, {}, "abc") == Placed(), "they stand already"


def test_an_item_between_two_clusters_proposes_a_merge_once(catalog: Catalog) -> None:
    stand(catalog, "abnm", {"a": "x", "b": "y"})
    edges = {"an": 0.9, "bn": 0.8, "am": 0.8, "bm": 0.9, "nm": 0.9}
    assert settled(catalog, edges, "nm") == Placed(joined=2, proposed=1)
    (event,) = catalog.clusters.events(kind="propose")
    assert event.detail == {"clusters": ["x", "y"], "item": "n", "probability": 0.8}
    assert event.moved == 0


def test_twins_stand_together(catalog: Catalog) -> None:
    stand(catalog, ["a", "a2", "a3", "b"], {"a": "x", "b": "y"})
    assert settled(catalog, {"ab": 0.99}, ["a2", "a3"]) == Placed(joined=2)
    assert places(catalog) == {"a": "x", "a2": "x", "a3": "x", "b": "y"}


def test_what_people_said_goes_first(catalog: Catalog) -> None:
    stand(catalog, ["a", "b", "a2", "c", "n"], {"a": "x", "b": "y", "c": "z"})
    ties = Ties((("c", "n"),), (("a", "a2"), ("b", "n")))
    assert settled(catalog, {"an": 0.9, "bn": 0.99, "cn": -0.01}, ["a2", "n"], ties=ties) == Placed(1, 1)
    assert places(catalog) == {"a": "x", "b": "y", "c": "z", "a2": "c1", "n": "z"}


def test_no_merge_is_proposed_that_people_spoke_against(catalog: Catalog) -> None:
    stand(catalog, "abn", {"a": "x", "b": "y"})
    assert settled(catalog, {"an": 0.9, "bn": 0.9}, "n", ties=Ties((), (("a", "b"),))) == Placed(joined=1)


def test_an_item_of_another_title_leaves_where_it_fits_no_longer(catalog: Catalog) -> None:
    stand(catalog, "abcd", {"a": "x", "b": "x", "c": "y", "d": "d"})
    edges = {"bc": 0.9, "ab": 0.1}
    assert settled(catalog, edges, "", again="b") == Placed(joined=1)
    assert places(catalog) == {"a": "x", "b": "y", "c": "y", "d": "d"}
    assert settled(catalog, edges, "", again="bd") == Placed(), "it fits, and one that stands alone stays so"
    assert settled(catalog, {}, "", again="b") == Placed(founded=1)
    assert places(catalog)["b"] == "c1"


def test_a_crowded_cluster_expects_few_of_its_pairs(catalog: Catalog) -> None:
    """A list of 50 says nothing of the other hundred members of a large product."""
    members = [chr(0x4E00 + place) for place in range(150)]
    edges = {f"{one}n": 0.9 for one in members[:50]}
    stand(catalog, [*members, "n", "m"], dict.fromkeys(members, "x"))
    crowded = np.zeros(0x4E00 + 150, bool)
    assert settled(catalog, edges, "n", base=SimpleNamespace(crowded=crowded)) == Placed(founded=1)
    crowded[0x4E00:] = True
    edges = {f"{one}m": 0.9 for one in members[:50]}
    assert settled(catalog, edges, "m", base=SimpleNamespace(crowded=crowded)) == Placed(joined=1)


nodes = "abcdef"
pairs = st.sampled_from([a + b for a in nodes for b in nodes if a < b])


@given(
    st.dictionaries(st.sampled_from(nodes), st.sampled_from("xyz"), max_size=5),
    st.dictionaries(pairs, st.floats(-1, 1).map(lambda p: round(p, 2) or 0.1), max_size=10),
)
@settings(max_examples=60)
def test_one_item_against_brute_force(
    tmp_path_factory: pytest.TempPathFactory, clusters: dict[str, str], edges: dict[str, float]
) -> None:
    with Catalog.open(tmp_path_factory.mktemp("joining")) as catalog:
        stand(catalog, nodes, clusters)
        new = next(node for node in nodes if node not in clusters)
        means: dict[str, float] = {}
        for cluster in set(clusters.values()):
            among = [edges.get(min(new, one) + max(new, one), 0.0) for one in clusters if clusters[one] == cluster]
            means[cluster] = -1.0 if min(among) < 0 else sum(among) / len(among)
        good = sorted((-mean, cluster) for cluster, mean in means.items() if mean >= 0.5)
        told = settled(catalog, edges, new)
        assert places(catalog) == {**dict.fromkeys(nodes), **clusters, new: good[0][1] if good else "c1"}
        assert told == Placed(bool(good), not good, max(0, len(good) - 1))
        kinds = Counter(event.kind for event in catalog.clusters.events())
        assert (kinds["join"], kinds["found"], kinds["propose"]) == (told.joined, told.founded, told.proposed)
