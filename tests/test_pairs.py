"""Labelled pairs: who is joined, who contradicts whom by which rows, and which files and labels are refused."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import InputError
from index.tables import Table, read_table
from training.pairs import ANSWERS, Pair, TitlePairs, chains, join, pair_columns, read_pairs

COLUMNS = ("title_a", "title_b", "label")


def table(*rows: tuple[object, object, object]) -> Table:
    values = list(zip(*rows, strict=True))
    columns = {name: list(column) for name, column in zip(COLUMNS, values, strict=True)}
    return Table("p.csv", columns, lines=[row + 2 for row in range(len(rows))])


def pairs_of(*rows: tuple[object, object, object]) -> TitlePairs:
    return read_pairs(table(*rows), COLUMNS)


@st.composite
def judged(draw: st.DrawFn) -> tuple[int, list[Pair], list[Pair]]:
    """Titles, pairs called the same and pairs called different: sparse enough to leave several products."""
    titles = draw(st.integers(1, 12))
    number = st.integers(0, titles - 1)
    drawn = draw(st.lists(st.tuples(number, number, st.booleans()), max_size=20))
    pairs = [(Pair(left, right, row), same) for row, (left, right, same) in enumerate(drawn)]
    return titles, [p for p, same in pairs if same], [p for p, same in pairs if not same]


@given(judged())
def test_products_and_conflicts_are_those_of_the_graph(drawn: tuple[int, list[Pair], list[Pair]]) -> None:
    titles, same, different = drawn
    graph = nx.Graph()
    graph.add_nodes_from(range(titles))
    graph.add_edges_from((p.left, p.right) for p in same)
    product = join(titles, same).tolist()
    assert product == [min(nx.node_connected_component(graph, title)) for title in range(titles)]
    names = [f"상품 {n}" for n in range(titles)]
    pairs = TitlePairs(table(*[("가", "나", 1)] * 20), names, names, same, different)
    conflicts = pairs.conflicts()
    assert conflicts == [p for p in different if nx.has_path(graph, p.left, p.right)]
    for pair, chain in zip(conflicts, chains(same, conflicts), strict=True):
        assert len(chain) == nx.shortest_path_length(graph, pair.left, pair.right)
        here = pair.left
        for link in chain:  # each link goes on where the last one ended
            assert link in same and here in (link.left, link.right)
            here = link.left + link.right - here
        assert here == pair.right
    assert len(pairs.told(conflicts)) == len(conflicts)


def test_a_conflict_is_told_with_every_row_that_has_a_part_in_it() -> None:
    pairs = pairs_of(("물 2L", "생수 2L", 1), ("생수 2L", "샘물 2L", 1), ("우유", "두유", 0), ("물 2L", "샘물 2L", 0))
    assert pairs.told(pairs.conflicts()) == [
        "line 5 calls '물 2L' and '샘물 2L' different; called the same: "
        "'물 2L' and '생수 2L' (line 2), '생수 2L' and '샘물 2L' (line 3)"
    ]


def test_one_pair_with_both_labels_is_a_conflict() -> None:
    pairs = pairs_of(("물", "생수", 1), ("생수", "물", 0))
    assert pairs.told(pairs.conflicts()) == [
        "line 3 calls '생수' and '물' different; called the same: '물' and '생수' (line 2)"
    ]


def test_spellings_of_one_cleaned_text_are_one_title() -> None:
    pairs = pairs_of(("[무료배송] 물 2L", "생수", 1), ("물 2L", "★", 0), ("물 2L", "물  2L", 0))
    assert pairs.titles == ["[무료배송] 물 2L", "생수", "★"]
    assert pairs.texts == ["물 2L", "생수", "★"]
    assert pairs.told(pairs.conflicts()) == ["line 4 calls '[무료배송] 물 2L' different from itself"]


def test_a_chain_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no chain joins titles 0 and 1"):
        chains([], [Pair(0, 1, 0)])


@pytest.mark.parametrize("label", [*ANSWERS, "SAME", " Match ", True, False, 1, 0, 1.0, 0.0])
def test_labels_are_read_in_all_their_spellings(label: object) -> None:
    pairs = pairs_of(("가", "나", label))
    expected = str(label).strip().casefold() in {"1", "1.0", "true", "same", "match", "같음"}
    assert (len(pairs.same), len(pairs.different)) == (expected, not expected)


@pytest.mark.parametrize("label", ["", " ", None, float("nan"), "2", 2, "yes", 0.5, "nan"])
def test_other_labels_are_refused_where_they_stand(label: object) -> None:
    with pytest.raises(InputError, match=r"p\.csv, line 3, column label: label .*; expected 1 or 0, true or false"):
        pairs_of(("가", "나", 1), ("가", "다", label))


@pytest.mark.parametrize("title", ["", "  ", None, float("nan"), 7, "a\0b", "x" * 10_001])
def test_titles_that_are_none_are_refused_where_they_stand(title: object) -> None:
    with pytest.raises(InputError, match=r"p\.csv, line 3, column title_b: title "):
        pairs_of(("가", "나", 1), ("가", title, 1))


def test_columns_are_known_in_any_case_or_named() -> None:
    plain = Table("a.csv", {"title": ["x"], "label": ["1"]})
    assert pair_columns(plain) is None
    assert pair_columns(Table("a.csv", {" Title_A": [1], "TITLE_B": [1], "Label": [1]})) == (
        " Title_A", "TITLE_B", "Label",
    )  # fmt: skip
    other = Table("a.csv", {"left": [1], "title_b": [1], "match": [1]})
    assert pair_columns(other) is None
    assert pair_columns(other, title_a="left", label="match") == ("left", "title_b", "match")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no column 'label' among 'title_a', 'title_b', 'same'; name it with --label-column"),
        ({"title_a": "x"}, "no column 'x' among .*; name it with --title-a-column"),
        ({"label": "y"}, "no column 'y' among"),
    ],
)
def test_a_missing_column_is_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair_columns(Table("a.csv", {"title_a": [1], "title_b": [1], "same": [1]}), **given)


def test_parquet_keeps_its_booleans(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"title_a": ["가", "가"], "title_b": ["나", "다"], "label": [True, False]}), path)
    pairs = read_pairs(read_table(path), COLUMNS)
    assert (pairs.same, pairs.different) == ([Pair(0, 1, 0)], [Pair(0, 2, 1)])
