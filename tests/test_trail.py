"""Clusters are where the trail says, sizes are counted, and what was done can be undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.errors import InputError
from index.catalog import Catalog
from index.listings import Item
from index.store import ConflictError, StorageError
from index.trail import Cluster, Clusters, Move


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, clock=lambda: 1_700_000_000.0) as opened:
        opened.put([Item(id, f"title of {id}") for id in "abcdefg"])
        yield opened


@pytest.fixture
def clusters(catalog: Catalog) -> Clusters:
    catalog.clusters.move({"a": "x", "b": "x", "c": "x", "d": "y", "e": "y", "f": "z"}, "rebuild", "dongil")
    return catalog.clusters


def places(catalog: Catalog) -> dict[str, str | None]:
    return {item.id: item.cluster for item in catalog.page(limit=1_000).items}


def all_of(clusters: Clusters, order: str, limit: int = 2) -> list[Cluster]:
    found, cursor = list[Cluster](), None
    while True:
        page, cursor = clusters.page(order, cursor, limit)  # type: ignore[arg-type]
        found += page
        if cursor is None:
            return found


def test_a_move_is_entered(catalog: Catalog, clusters: Clusters) -> None:
    event = clusters.move({"a": "y", "b": "x", "g": "new"}, "join", "kim", by_hand=True, detail={"왜": "같은 상품"})
    assert (event.kind, event.who, event.by_hand, event.at, event.moved) == ("join", "kim", True, 1_700_000_000.0, 2)
    assert event.detail == {"왜": "같은 상품"}
    assert clusters.moves(event.id) == [Move("a", "x", "y"), Move("g", None, "new")]
    assert places(catalog) == {"a": "y", "b": "x", "c": "x", "d": "y", "e": "y", "f": "z", "g": "new"}
    assert clusters.event(event.id) == event
    assert clusters.get("y") == Cluster("y", 3, None)
    assert clusters.get("nothing") is None


def test_places_of_many_items_at_once(catalog: Catalog, clusters: Clusters) -> None:
    odd = 'q"\0\u2028é'
    catalog.put([Item(odd, "odd"), *(Item(f"i{n}", f"title {n}") for n in range(1_200))])
    clusters.move({odd: "y", **{f"i{n}": "many" for n in range(1_200)}}, "join", "dongil")
    assert clusters.places(["a", "g", odd, "nobody"]) == {
        "a": ("title of a", "x"), "g": ("title of g", None), odd: ("odd", "y")
    }  # fmt: skip
    assert len(clusters.places([f"i{n}" for n in range(1_300)])) == 1_200
    assert {*clusters.members(["x", "y", "none"])} == {*"abcde", odd}
    assert len(clusters.members(["many"])) == 1_200
    assert clusters.places([]) == clusters.members([]) == {}


def test_a_retitled_item_keeps_its_cluster(catalog: Catalog, clusters: Clusters) -> None:
    catalog.put([Item("a", "another title")])
    assert places(catalog)["a"] == "x"
    catalog.delete(["a"])
    assert clusters.get("x") == Cluster("x", 2, None)
    catalog.put([Item("a", "another title")])
    assert clusters.unassigned() == ["a", "g"]
    assert clusters.unassigned(1) == ["a"]


def test_a_cluster_without_items_is_gone(catalog: Catalog, clusters: Clusters) -> None:
    clusters.move({"f": None}, "move", "kim")
    catalog.delete(["d", "e"])
    assert all_of(clusters, "id") == [Cluster("x", 3, None)]


def test_orders(clusters: Clusters) -> None:
    clusters.rate({"x": 0.5, "y": 0.25, "gone": 0.1})
    x, y, z = Cluster("x", 3, 0.5), Cluster("y", 2, 0.25), Cluster("z", 1, None)
    for limit in (1, 2, 3, 4):
        assert all_of(clusters, "id", limit) == [x, y, z]
        assert all_of(clusters, "largest", limit) == [x, y, z]
        assert all_of(clusters, "loosest", limit) == [y, x, z]
    clusters.move({"g": "y"}, "join", "dongil")
    assert all_of(clusters, "loosest") == [x, Cluster("y", 3, None), z], "what has changed is rated anew"
    _, cursor = clusters.page("largest", limit=1)
    with pytest.raises(InputError, match="expected one that a page gave"):
        clusters.page("loosest", cursor)


def test_merge_split_undo(catalog: Catalog, clusters: Clusters) -> None:
    before = places(catalog)
    merged = clusters.merge("x", ["y", "z"], "kim", by_hand=True)
    assert (merged.moved, clusters.get("x")) == (3, Cluster("x", 6, None))
    split = clusters.split(["a", "d"], "kim")
    assert places(catalog) == {**dict.fromkeys("bcef", "x"), "a": "c1", "d": "c1", "g": None}
    with pytest.raises(ConflictError, match=f"'d' was moved again since event {merged.id}; undo that first"):
        clusters.undo(merged.id, "lee")
    clusters.undo(split.id, "lee")
    undone = clusters.undo(merged.id, "lee")
    assert (undone.kind, undone.detail, undone.by_hand) == ("undo", {"event": merged.id}, True)
    assert places(catalog) == before
    clusters.undo(undone.id, "lee")
    assert clusters.get("x") == Cluster("x", 6, None), "to undo an undo is to do it again"


def test_undo_passes_over_what_is_gone(catalog: Catalog, clusters: Clusters) -> None:
    merged = clusters.merge("x", ["y"], "kim")
    catalog.delete(["d"])
    assert clusters.undo(merged.id, "kim").moved == 1
    assert places(catalog)["e"] == "y"


def test_what_cannot_be_done_changes_nothing(catalog: Catalog, clusters: Clusters) -> None:
    before, trail = places(catalog), clusters.events()
    proposed = clusters.move({}, "propose", "dongil", detail={"clusters": ["x", "y"]})
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("no item 'nobody'", lambda: clusters.move({"a": "y", "nobody": "y"}, "move", "kim")),
        ("no cluster 'w'", lambda: clusters.merge("x", ["y", "w"], "kim")),
        ("no cluster 'w'", lambda: clusters.merge("w", ["x"], "kim")),
        ("merged with itself", lambda: clusters.merge("x", ["y", "x"], "kim")),
        ("items of 2 clusters", lambda: clusters.split(["a", "d"], "kim")),
        ("items of 0 clusters", lambda: clusters.split(["g"], "kim")),
        ("items of 1 clusters", lambda: clusters.split(["a", "g"], "kim")),
        ("no item 'nobody'", lambda: clusters.split(["a", "nobody"], "kim")),
        ("expected that some stay", lambda: clusters.split(["a", "b", "c"], "kim")),
        ("event 99 moved nothing", lambda: clusters.undo(99, "kim")),
        (f"event {proposed.id} moved nothing", lambda: clusters.undo(proposed.id, "kim")),
        ("no event 99", lambda: clusters.event(99)),
        ("expected what JSON can say", lambda: clusters.move({"a": "y"}, "move", "kim", detail={"a": {1}})),
    ]
    for said, act in wrong:
        with pytest.raises(InputError, match=said):
            act()
    assert places(catalog) == before
    assert clusters.events() == [proposed, *trail]


def test_the_trail_is_read_backwards(clusters: Clusters) -> None:
    proposed = clusters.move({}, "propose", "dongil", detail={"clusters": ["x", "y"]})
    merged = clusters.merge("x", ["y"], "kim")
    joined = clusters.move({"g": "z"}, "join", "dongil")
    rebuilt = clusters.event(1)
    assert clusters.events() == [joined, merged, proposed, rebuilt]
    assert clusters.events(limit=1) == [joined]
    assert clusters.events(merged.id) == [proposed, rebuilt]
    assert clusters.events(kind="propose") == [proposed]
    assert clusters.events(item="d") == [merged, rebuilt]
    assert clusters.events(cluster="y") == [merged, rebuilt]
    assert clusters.events(cluster="z", kind="join") == [joined]
    assert clusters.events(cluster="w") == []


def test_fresh_ids_are_never_given_twice(catalog: Catalog, clusters: Clusters) -> None:
    clusters.move({"g": "c2"}, "found", "import")
    assert clusters.fresh(3) == ["c1", "c3", "c4"]
    with pytest.raises(StorageError), catalog.transaction():
        assert clusters.fresh() == ["c5"]
        with pytest.raises(InputError):
            clusters.move({"nobody": "c5"}, "found", "dongil")
    assert clusters.fresh() == ["c5"], "what was not kept was not given"


@given(
    st.lists(st.tuples(st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from(["x", "y", None])), st.booleans()))
)
@settings(max_examples=30)
def test_sizes_are_counted_and_all_can_be_undone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[str, str | None], bool]]
) -> None:
    with Catalog.open(tmp_path_factory.mktemp("catalog")) as catalog:
        catalog.put([Item(id, f"title of {id}") for id in "abcdefg"])
        model: dict[str, str | None] = dict.fromkeys("abcdefg")
        for to, rate in steps:
            catalog.clusters.move(to, "move", "test")
            model |= to
            if rate:
                catalog.clusters.rate({"x": 0.5})
            assert places(catalog) == model
            sizes = Counter(cluster for cluster in model.values() if cluster is not None)
            assert {cluster.id: cluster.size for cluster in all_of(catalog.clusters, "largest", 1)} == sizes
        for event in catalog.clusters.events():
            if event.moved:
                catalog.clusters.undo(event.id, "test")
        assert set(places(catalog).values()) == {None}
        assert all_of(catalog.clusters, "id") == []
