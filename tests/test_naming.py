"""Ids stay with what they named, whatever the numbers of the new clusters, and no piece leaves a cluster in halves."""

from __future__ import annotations

from collections import Counter

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.naming import kept_names, pieces


def fresh(count: int) -> list[str]:
    return [f"new{place}" for place in range(count)]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("xxyyz", [7, 7, 3, 3, 1], ["x", "x", "y", "y", "z"]),
        ("xxx", [0, 1, 1], ["new0", "x", "x"]),
        ("xxyyy", [4, 4, 4, 4, 4], ["y"] * 5),
        ("xxyy", [0, 1, 1, 1], ["x", "y", "y", "y"]),
        ("yyxx", [5, 5, 5, 5], ["x"] * 4),
        ("xx", [1, 0], ["x", "new0"]),
        ("..x.", [0, 1, 2, 2], ["new0", "new1", "x", "x"]),
        ("", [], []),
    ],
)
def test_names(old: str, new: list[int], named: list[str]) -> None:
    before = [None if id == "." else id for id in old]
    assert kept_names(before, np.array(new, np.int64), fresh) == named


partitions = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.integers(0, 4)), max_size=14)


@given(partitions, st.permutations(range(5)))
def test_each_cluster_has_one_id_of_its_own(items: list[tuple[str | None, int]], numbers: list[int]) -> None:
    old, new = [id for id, _ in items], [cluster for _, cluster in items]
    names = kept_names(old, np.array(new, np.int64), fresh)
    assert len(set(zip(new, names, strict=True))) == len(set(new)) == len(set(names))
    assert names == kept_names(old, np.array([numbers[cluster] for cluster in new], np.int64), fresh)
    shared = Counter(zip(old, new, strict=True))
    for id in {id for id in old if id is not None}:
        here = {cluster for before, cluster in shared if before == id}
        if len(here) == 1 and shared[id, min(here)] == Counter(new)[min(here)]:
            assert {name for before, name in zip(old, names, strict=True) if before == id} == {id}, "untouched"
    # An id that nobody has now went to nobody who could have had it: whom it was shared with has a better one.
    for (before, cluster), count in shared.items():
        name = names[new.index(cluster)]
        if before is not None and name != before and before not in names:
            assert shared[name, cluster] >= count


@given(partitions, st.integers(1, 6))
def test_pieces_are_whole_and_bring_everything(items: list[tuple[str | None, int]], most: int) -> None:
    old = {str(item): id for item, (id, _) in enumerate(items)}
    names = kept_names(list(old.values()), np.array([cluster for _, cluster in items], np.int64), fresh)
    new = dict(zip(old, names, strict=True))
    told = list(pieces(old, new, most))
    moved: dict[str, str] = {item: name for piece in told for item, name in piece.items()}
    assert moved == {item: name for item, name in new.items() if old[item] != name}
    assert sum(map(len, told)) == len(moved)
    graph = nx.Graph((old[item] or item, name) for item, name in moved.items())
    graph.add_nodes_from(moved.values())
    for part in nx.connected_components(graph):
        assert sum(bool(part & set(piece.values())) for piece in told) == 1
    for piece in told:
        assert len(piece) <= most or nx.number_connected_components(graph.subgraph(
            {*piece.values(), *(old[item] or item for item in piece)})) == 1  # fmt: skip
