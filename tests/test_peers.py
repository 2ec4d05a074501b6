"""Peers: what tools found is judged alike, and a tool that is not there is a line in the table."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import peers
from benchmarks.contenders import from_pairs, lessons
from benchmarks.peers import (
    PEERS,
    Peer,
    Pool,
    Scores,
    judge_clusters,
    judge_neighbours,
    judge_shipped,
    make_pool,
    run_peers,
)
from embedder.errors import InputError
from index.clustering import connected_components, edges_of
from index.vectors import Neighbours
from training.evaluate import bcubed
from training.labels import Labelled, read_labelled

SAMPLE = Path(__file__).parents[1] / "api" / "sample" / "catalog.csv"


def ints(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


def pool_of(products: list[int], validation: list[int], test: list[int]) -> Pool:
    return Pool("p", [f"t{row}" for row in range(len(products))], ints(*products), ints(*validation), ints(*test))


def by_hand(pairs: dict[tuple[int, int], float], rows: int, k: int = 5) -> Neighbours:
    left, right = ints(*(a for a, _ in pairs)), ints(*(b for _, b in pairs))
    return Neighbours(*from_pairs(rows, k, left, right, np.array(list(pairs.values()), np.float32)))


# Neighbour lists from pairs


def test_pairs_in_one_or_both_directions_are_the_same_lists() -> None:
    one = from_pairs(3, 2, ints(0, 1), ints(2, 2), np.array([0.5, 0.9], np.float32))
    both = from_pairs(3, 2, ints(0, 2, 1, 2, 1), ints(2, 0, 2, 1, 1), np.array([0.5, 0.5, 0.9, 0.8, 1], np.float32))
    for ids, scores in (one, both):
        assert ids.tolist() == [[2, -1], [2, -1], [1, 0]]
        assert scores.tolist() == [[0.5, -np.inf], [np.float32(0.9), -np.inf], [np.float32(0.9), 0.5]]


def test_lists_hold_the_best_and_equal_scores_stand_by_number() -> None:
    ids, _ = from_pairs(4, 2, ints(0, 0, 0), ints(3, 1, 2), np.array([1, 1, 2], np.float32))
    assert ids[0].tolist() == [2, 1]


def test_no_pair_is_an_empty_list() -> None:
    ids, scores = from_pairs(2, 3, ints(), ints(), np.empty(0, np.float32))
    assert (ids == -1).all()
    assert (scores == -np.inf).all()


# Judging


def test_scores_by_hand() -> None:
    # Validation rows 0 1 2: the pair 0-1 is right at 0.8, 1-2 is wrong at 0.4; test rows 3 4 5: 3-4 right at 0.9,
    # 4-5 wrong at 0.7. The threshold from the validation rows is 0.8.
    pool = pool_of([0, 0, 1, 2, 2, 3], [0, 1, 2], [3, 4, 5])
    near = by_hand({(0, 1): 0.8, (1, 2): 0.4, (3, 4): 0.9, (4, 5): 0.7}, 6)
    scores = judge_neighbours(near, pool)
    assert scores.threshold == scores.cluster_threshold == np.float32(0.8)
    assert (scores.row_f1, scores.precision, scores.recall, scores.bcubed_f1) == pytest.approx((1, 1, 1, 1))
    # Given one another but for 3 and 5, rows 3, 4 and 5 have F1 1, 4/5 and 2/3; together they are one cluster.
    loose = judge_shipped(np.where(near.scores >= 0.7, near.ids, -1), ints(0, 0, 2, 3, 3, 3), pool)
    assert loose.row_f1 == pytest.approx((1 + 4 / 5 + 2 / 3) / 3)
    assert loose.precision == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert loose.recall == 1
    assert loose.bcubed_f1 == pytest.approx(2 * (5 / 9) / (1 + 5 / 9))
    assert loose.threshold is None and loose.cluster_threshold is None


def test_a_tool_that_is_only_wrong_is_best_left_alone() -> None:
    pool = pool_of([0, 1, 2, 3], [0, 1], [2, 3])
    scores = judge_neighbours(by_hand({(0, 1): 5.0, (2, 3): 9.0}, 4), pool)
    assert scores.row_f1 < 1  # no validation row spoke against 9
    assert judge_neighbours(by_hand({(0, 1): 9.0, (2, 3): 5.0}, 4), pool).row_f1 == 1


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_cluster_threshold_is_the_best_of_all_on_any_scale(data: st.DataObject) -> None:
    rows = data.draw(st.integers(4, 10))
    products = data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    pairs = data.draw(
        st.dictionaries(
            st.tuples(st.integers(0, rows - 1), st.integers(0, rows - 1)).filter(lambda pair: pair[0] < pair[1]),
            st.integers(-60, 60).map(float), min_size=1, max_size=12,
        )
    )  # fmt: skip
    pool, near = pool_of(products, [0, 1], list(range(2, rows))), by_hand(pairs, rows, k=rows)

    def f1(threshold: float) -> float:
        clusters = connected_components(rows, edges_of(near, threshold))
        return bcubed(clusters, pool.products, pool.validation).f1

    chosen = judge_neighbours(near, pool).cluster_threshold
    assert f1(chosen) == pytest.approx(max(f1(threshold) for threshold in [*pairs.values(), 100.0]))


def test_own_clusters_by_hand() -> None:
    pool = pool_of([0, 0, 1, 1, 2], [0, 1], [2, 3, 4])
    loose, strict = ints(0, 0, 2, 2, 2), ints(0, 1, 2, 3, 4)
    scores, at = judge_clusters(np.array([0.5, 0.9]), np.stack([loose, strict]), pool)
    assert at == 0
    assert scores.threshold == scores.cluster_threshold == 0.5
    assert scores.row_f1 == pytest.approx((4 / 5 + 4 / 5 + 1 / 2) / 3)
    assert scores.precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    assert scores.recall == 1


# Pools


def test_a_pool_holds_whole_products_judged_ones_first() -> None:
    labelled = read_labelled(SAMPLE)
    pool = make_pool(labelled, 100)
    assert len(pool.titles) == len(pool.products) <= 100
    assert 0.6 * 100 <= len(pool.validation) + len(pool.test) <= 80
    together: dict[int, set[str]] = {}
    product_of = dict(zip(labelled.titles, labelled.groups, strict=True))
    for title, product in zip(pool.titles, pool.products.tolist(), strict=True):
        together.setdefault(product, set()).add(product_of.get(title, ""))
    whole = {group: labelled.groups.count(group) for group in set(labelled.groups)}
    for product, groups in together.items():
        (group,) = groups - {""} or {""}
        assert not group or whole[group] == int((pool.products == product).sum())
    assert make_pool(labelled, 100).titles == pool.titles
    assert len(make_pool(labelled, 10_000).titles) == len(labelled.titles)


def test_tools_learn_from_training_products_alone() -> None:
    labels = pool_of([7, 7, 8, 9], [0, 1], [2]).training_labels()
    assert labels == [None, None, None, "9"]


def test_a_pool_without_test_products_is_refused() -> None:
    labelled = Labelled("few", ["a", "b"], ["f:1", "f:1"], ["validation", "validation"])
    with pytest.raises(InputError, match="none of its products is a test product"):
        make_pool(labelled)


def test_lessons_are_right_and_of_labelled_rows() -> None:
    labels = ["a", "a", None, "b", "b", "c", None]
    taught = lessons([f"title {row}" for row in range(7)], labels, most=10)
    assert set(taught["match"]) == {(0, 1), (3, 4)}
    assert taught["distinct"]
    assert all(labels[a] and labels[b] and labels[a] != labels[b] for a, b in taught["distinct"])
    assert lessons(["a"], [None]) == {"match": [], "distinct": []}


# The whole comparison


def test_tools_are_compared_on_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Peer("nobody", "nobody", "no_such_tool", "nobody", ())
    monkeypatch.setattr(peers, "PEERS", (*PEERS, nobody))
    told: list[str] = []
    folder = run_peers([str(SAMPLE)], tmp_path / "report", only=["dongil", "tfidf", "nobody"], say=told.append)
    one = json.loads((folder / "peers.json").read_text())["sets"]["catalog"]
    rows = {row["name"]: row for row in one["peers"]}
    assert list(rows) == ["dongil", "dongil, as shipped", "TF-IDF (scikit-learn)", "nobody"]
    assert rows["nobody"]["status"].startswith("failed to load: AttributeError")
    for name in ("dongil", "dongil, as shipped", "TF-IDF (scikit-learn)"):
        assert 0.4 < rows[name]["row_f1"] <= 1
        assert 0.4 < rows[name]["bcubed_f1"] <= 1
        assert 20 < rows[name]["peak_mb"] < 2000
    assert one["pool"] == 538
    assert len(told) == 3
    text = (folder / "peers.md").read_text()
    assert "## catalog" in text
    assert "| nobody | failed to load" in text
    assert (folder / "peers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "peer", [peer for peer in PEERS if peer.key in {"rapidfuzz", "string_grouper"}], ids=lambda p: p.key
)
def test_tools_that_are_installed_are_read_right(peer: Peer, tmp_path: Path) -> None:
    if not find_spec(peer.key):
        pytest.skip(f"{peer.key} is not installed: pip install {peer.pip}")
    run_peers([str(SAMPLE)], tmp_path, only=[peer.key])
    (row,) = json.loads((tmp_path / "peers.json").read_text())["sets"]["catalog"]["peers"]
    assert row["row_f1"] > 0.4


def test_a_tool_that_is_not_installed_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DONGIL_PEER_PYTHON", raising=False)
    if find_spec("dedupe"):
        pytest.skip("dedupe is installed")
    run_peers([str(SAMPLE)], tmp_path, only=["dedupe"])
    assert "| dedupe | not installed: pip install dedupe" in (tmp_path / "peers.md").read_text()


def test_bad_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no peer 'fuzzywuzzy'; expected dongil, tfidf"):
        run_peers([str(SAMPLE)], tmp_path, only=["fuzzywuzzy"])
    with pytest.raises(InputError, match="no labelled file"):
        run_peers([], tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        run_peers([str(tmp_path / "none.csv")], tmp_path / "report")
    assert not list((tmp_path / "report").iterdir())


def test_scores_are_plain_numbers() -> None:
    pool = pool_of([0, 0, 1, 1], [0, 1], [2, 3])
    scores = judge_neighbours(by_hand({(0, 1): 1.0}, 4), pool)
    assert all(type(value) is float for value in (getattr(scores, name) for name in Scores.__dataclass_fields__))
