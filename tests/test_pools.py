"""Pools: lists of rows from lists of nodes, the edges that users' clusters come from, and vectors that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.labelled import LabelledSet
from benchmarks.pools import CachedEncoder, accepted, make_pool, probable
from embedder.bundle import Bundle
from embedder.encoder import Encoder
from index.clustering import connected_components
from index.decision import Decision
from index.matcher import Matcher
from index.nodes import Nodes, row_edges, row_neighbours
from index.vectors import Neighbours, VectorIndex

# Five rows of three nodes: rows 0 and 3 are node 0, rows 1 and 4 node 1, row 2 node 2.
NODES = Nodes(["a", "b", "c"], np.array([0, 1, 2, 0, 1]), np.array([True, True, True]))
NEAR = Neighbours(
    np.array([[0, 1, 2], [1, 0, 2], [2, 1, -1]]),
    np.array([[1, 0.9, 0.5], [1, 0.9, 0.4], [1, 0.4, -np.inf]], np.float32),
)


def pairs(near: Neighbours, at: int) -> list[tuple[int, float]]:
    return [
        (int(row), round(float(score), 3)) for row, score in zip(near.ids[at], near.scores[at], strict=True) if row >= 0
    ]


def test_lists_of_rows_by_hand() -> None:
    lists = row_neighbours(NODES, NEAR, np.array([0, 2]))
    assert pairs(lists, 0) == [(0, 1), (3, 1), (1, 0.9), (4, 0.9), (2, 0.5)]
    assert pairs(lists, 1) == [(2, 1), (1, 0.4), (4, 0.4)]
    assert row_neighbours(NODES, NEAR, np.array([0]), width=3).ids.tolist() == [[0, 3, 1]]
    assert row_neighbours(NODES, NEAR, np.array([], np.int64)).ids.shape == (0, 1)


def test_an_unreadable_node_is_nobodys() -> None:
    dark = replace(NODES, readable=np.array([True, False, True]))
    lists = row_neighbours(dark, NEAR, np.arange(3))
    assert pairs(lists, 0) == [(0, 1), (3, 1), (2, 0.5)]
    assert pairs(lists, 1) == [(1, 1), (4, 1)]
    edges = row_edges(dark, NEAR)
    assert set(zip(edges.left.tolist(), edges.right.tolist(), strict=True)) == {(0, 3), (1, 4), (0, 2)}


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_edges_of_rows_connect_what_edges_of_nodes_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit_rows(12, 4, seed)
    near = VectorIndex.from_vectors(vectors, exact=True).search(vectors, 5)
    node_of = np.concatenate([np.arange(12), rng.integers(0, 12, 10)])
    rng.shuffle(node_of)
    _, first = np.unique(node_of, return_index=True)
    nodes = Nodes([""] * 12, node_of, np.ones(12, bool))
    for threshold in (0.2, 0.6, 0.9):
        theirs = connected_components(12, row_edges(Nodes([""] * 12, np.arange(12), nodes.readable), near, threshold))
        ours = connected_components(22, row_edges(nodes, near, threshold))
        assert (ours[:, None] == ours).tolist() == (theirs[node_of][:, None] == theirs[node_of]).tolist()
    assert len(first) == 12


def test_a_pool_gives_what_users_get(encoder: Encoder, sample: list[tuple[str, str]]) -> None:
    titles = [title for _, title in sample[:80]] * 2
    data = LabelledSet(
        "s", "groups", titles, [f"s:{row % 80}" for row in range(160)], np.array(["test"] * 160), np.ones(160, bool)
    )
    decision = Decision.of(encoder.bundle)
    pool = make_pool(data, np.arange(160), ["test"], encoder, decision)
    ids = [str(row) for row in range(160)]
    matcher = Matcher.from_items(ids, titles, encoder, decision)
    blended = pool.blend(decision.blend).neighbours
    assert np.array_equal(blended.ids, matcher.blended.neighbours.ids)
    for threshold in (None, 0.6):
        clusters, names = pool.clusters(threshold), matcher.cluster(threshold)
        assert (clusters[:, None] == clusters).tolist() == [[a == b for a in names] for b in names]
    assert pool.clusters(1.000001).tolist() == pool.clusters(1).tolist()
    again = make_pool(data, np.arange(160), ["test"], encoder, decision, pool)
    assert again.matcher is pool.matcher
    assert make_pool(data, np.arange(50), ["test"], encoder, decision, pool).matcher is not pool.matcher


def test_lists_by_probability_are_those_the_decision_was_chosen_on(
    encoder: Encoder, sample: list[tuple[str, str]]
) -> None:
    decide = pytest.importorskip("training.decide", reason="choosing a decision needs dongil[train]")
    titles = [title for _, title in sample] + [sample[0][1], "!!"]
    matcher = Matcher.from_items([str(row) for row in range(len(titles))], titles, encoder)
    rows = np.arange(0, len(titles), 3)
    lists = probable(matcher, rows)
    expected = decide.row_lists(decide.Pool("s", matcher.scene, titles, rows), matcher.pairs)
    assert np.array_equal(lists.ids, expected.ids) and np.array_equal(lists.scores, expected.scores)
    given = decide.accept(matcher.decision, expected, shift=matcher.shift)
    assert np.array_equal(accepted(matcher, lists).ids, given.ids)
    assert not (lists.ids == rows[:, None]).any()


def test_any_two_rows_have_the_probability_of_the_lists(encoder: Encoder, sample: list[tuple[str, str]]) -> None:
    titles = [title for _, title in sample[:60]] + [sample[0][1], "!!", "!!"]
    n = len(titles)
    data = LabelledSet(
        "s", "groups", titles, [f"s:{row}" for row in range(n)], np.array(["test"] * n), np.ones(n, bool)
    )
    pool = make_pool(data, np.arange(n), ["test"], encoder, Decision.of(encoder.bundle))
    lists = pool.decide("test").neighbours
    at, column = np.nonzero(lists.ids >= 0)
    assert pool.probability(at, lists.ids[at, column]) == pytest.approx(lists.scores[at, column], abs=1e-6)
    assert (0, 60) in set(zip(at.tolist(), lists.ids[at, column].tolist(), strict=True))
    assert pool.probability(np.array([61, 61]), np.array([62, 0])).tolist() == [0, 0]


def test_vectors_are_kept_by_model_and_titles(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = ["햇반 210g", "햇반 210g x 3", "햇반 210g", "!!"]
    plain = Encoder(bundle, threads=1).encode(titles)
    first = CachedEncoder(bundle, tmp_path / "cache", threads=1)
    assert first.warm(titles) is False
    assert np.array_equal(first.encode(titles), plain)
    assert np.array_equal(first.encode(["never seen", titles[1]])[1], plain[1])
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.name.startswith(bundle.fingerprint)
    second = CachedEncoder(bundle, tmp_path / "cache", threads=1)
    monkeypatch.setattr(Encoder, "encode", None)  # nothing is encoded a second time
    assert second.warm(titles) is True
    assert np.array_equal(second.encode(titles), plain)


@pytest.mark.parametrize("broken", [b"", b"not numpy", None])
def test_a_broken_cache_is_made_anew(tmp_path: Path, bundle: Bundle, broken: bytes | None) -> None:
    CachedEncoder(bundle, tmp_path, threads=1).warm(["햇반"])
    (kept,) = tmp_path.iterdir()
    if broken is None:
        np.save(kept, np.zeros((2, 2), np.float32))
    else:
        kept.write_bytes(broken)
    encoder = CachedEncoder(bundle, tmp_path, threads=1)
    assert encoder.warm(["햇반"]) is False
    assert encoder.warm(["햇반"]) is True
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


def test_without_a_folder_nothing_is_kept(bundle: Bundle) -> None:
    encoder = CachedEncoder(bundle, None, threads=1)
    assert encoder.warm(["햇반"]) is False
    assert encoder.encode([]).shape == (0, encoder.dimension)
