"""What people have done and said is what holds, the later before the earlier, held against a slow walk of sayings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import networkx as nx  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.catalog import Catalog
from index.ledger import Label
from index.listings import Item
from index.ties import Pair, Sayings, Ties, _Knot, _Saying, ties_of

ITEMS = "abcdefgh"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as opened:
        opened.put([Item(id, f"title of {id}") for id in ITEMS])
        clusters = {"a": "x", "b": "x", "c": "x", "d": "y", "e": "y", "f": "z", "g": "z"}
        opened.clusters.move(dict(clusters), "rebuild", "dongil")
        yield opened


def test_nobody_has_said_anything(catalog: Catalog) -> None:
    catalog.clusters.merge("x", ["y"], "dongil")
    catalog.clusters.move({"h": "x"}, "join", "dongil")
    assert ties_of(catalog) == Ties()


def test_a_merge_ties_all_that_stood_in_either(catalog: Catalog) -> None:
    catalog.clusters.move({"h": "y"}, "join", "dongil")
    catalog.clusters.merge("x", ["y"], "kim", by_hand=True)
    catalog.clusters.move({"f": "x"}, "join", "dongil")
    assert ties_of(catalog) == Ties((tuple("abcdeh"),))
    catalog.delete(["b", "a"])
    assert ties_of(catalog) == Ties((tuple("cdeh"),))


def test_a_merge_holds_when_its_cluster_has_come_to_another_id(catalog: Catalog) -> None:
    catalog.clusters.merge("y", ["z"], "kim", by_hand=True)
    catalog.clusters.merge("x", ["y"], "dongil")
    assert ties_of(catalog) == Ties((tuple("defg"),))


def test_a_split_keeps_apart(catalog: Catalog) -> None:
    catalog.clusters.split(["a"], "kim", by_hand=True)
    assert ties_of(catalog) == Ties((), (("a", "b"), ("a", "c")))


def test_to_undo_says_the_opposite(catalog: Catalog) -> None:
    merged = catalog.clusters.merge("x", ["y"], "dongil")
    undone = catalog.clusters.undo(merged.id, "kim")
    across = tuple((one, other) for one in "abc" for other in "de")
    assert ties_of(catalog) == Ties((), across)
    catalog.clusters.undo(undone.id, "kim")
    assert ties_of(catalog) == Ties((tuple("abcde"),))


def test_a_move_belongs_where_it_came_and_not_where_it_left(catalog: Catalog) -> None:
    catalog.clusters.move({"c": "y"}, "move", "kim", by_hand=True)
    assert ties_of(catalog) == Ties((tuple("cde"),), (("a", "c"), ("b", "c")))
    catalog.clusters.move({"c": None}, "move", "kim", by_hand=True)
    assert ties_of(catalog) == Ties((tuple("de"),), (("a", "c"), ("b", "c"), ("c", "d")))


def test_labels_of_items_tie_them(catalog: Catalog) -> None:
    catalog.labels.put([
        Label("a", "f", "same", "kim"), Label("b", "a", "different", "kim"), Label("c", "d", "skip", "kim"),
        Label("title of g", "title of h", "same", "kim", "titles"),
    ])  # fmt: skip
    assert ties_of(catalog) == Ties((("a", "f"),), (("a", "b"),))


def test_who_asks_often_is_told_the_same(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    sayings = Sayings(catalog)
    steps: list[Callable[[], object]] = [
        lambda: catalog.labels.put([Label("a", "f", "same", "kim"), Label("b", "d", "different", "kim")]),
        lambda: catalog.clusters.merge("x", ["y"], "kim", by_hand=True),
        lambda: catalog.clusters.move({"h": "x"}, "join", "dongil"),
        lambda: catalog.clusters.split(["d"], "kim", by_hand=True),
        lambda: catalog.labels.delete("a", "f"),
        lambda: catalog.delete(["e"]),
        lambda: catalog.labels.put([Label("a", "d", "same", "kim")]),
        lambda: catalog.put([Item("e", "e again")]),
        lambda: catalog.clusters.undo(catalog.clusters.events(kind="split")[0].id, "kim"),
    ]
    for step in steps:
        step()
        assert sayings() == ties_of(catalog)
    monkeypatch.setattr("index.ties._of_event", lambda *_: pytest.fail("what an event said never changes"))
    monkeypatch.setattr("index.ties._of_labels", lambda *_: pytest.fail("no label has changed"))
    assert sayings() == sayings() != Ties()


def test_the_later_saying_holds(catalog: Catalog) -> None:
    catalog.labels.put([Label("a", "d", "different", "kim")])
    catalog.clusters.merge("x", ["y"], "kim", by_hand=True)
    assert ties_of(catalog) == Ties((tuple("abcde"),))
    catalog.labels.put([Label("a", "d", "different", "kim")])
    # Whom the others follow was not said: they stay with the first.
    assert ties_of(catalog) == Ties((tuple("abce"),), (("a", "d"),))


groups = st.lists(st.sampled_from(ITEMS), min_size=2, max_size=4, unique=True).map(lambda some: tuple(sorted(some)))
pairs = st.lists(st.sampled_from(ITEMS), min_size=2, max_size=2, unique=True).map(lambda two: (two[0], two[1]))
sayings = st.builds(
    _Saying, st.just(0), st.lists(groups, max_size=2).map(tuple), st.lists(pairs, max_size=2).map(tuple)
)


@given(st.lists(sayings, max_size=8), st.sets(st.sampled_from(ITEMS)))
def test_ties_contradict_neither_themselves_nor_later_sayings(said: list[_Saying], gone: set[str]) -> None:
    knot = _Knot()
    for saying in said:
        knot.take(saying)
    ties = knot.ties(set(knot.items()) - gone)
    graph = nx.Graph()
    graph.add_nodes_from(ITEMS)
    for group in ties.together:
        nx.add_path(graph, group)
    group_of = {item: place for place, some in enumerate(nx.connected_components(graph)) for item in some}
    assert sum(map(len, ties.together)) == len({item for group in ties.together for item in group})
    foes = {frozenset((group_of[a], group_of[b])) for a, b in ties.apart}
    assert all(len(foe) == 2 for foe in foes)
    # The latest is taken whole, but for a pair that it ties itself.
    if said:
        check(said[0], group_of, foes, gone)


def check(first: _Saying, group_of: dict[str, int], foes: set[frozenset[int]], gone: set[str]) -> None:
    tied = nx.Graph()
    tied.add_nodes_from(ITEMS)
    for group in first.together:
        nx.add_path(tied, group)
    for some in nx.connected_components(tied):
        assert len({group_of[item] for item in some if item not in gone}) <= 1

    def contradicts(pair: Pair) -> bool:
        return bool(nx.has_path(tied, *pair)) or bool(set(pair) & gone)

    for pair in first.apart:
        assert contradicts(pair) or frozenset(group_of[item] for item in pair) in foes
