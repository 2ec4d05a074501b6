"""Hard pairs: found by hiding numbers and options, counted as a loop over all pairs would."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lightgbm", reason="training.decide needs dongil[train]")

from test_parts import encode, two_packs

from benchmarks.certainty import JudgedPool, catalogue
from benchmarks.hard_pairs import CLUSTERS, PLAIN, SHIPPED, Masks, _within, measure_hard_pairs
from index.blending import BlendConfig
from index.decision import Decision, Promise

NUMBER, OPTION, NEITHER = 0, 1, -1


@pytest.mark.parametrize(
    ("title", "other", "kind"),
    [
        ("농심 백산수 2L x 6", "농심 백산수 2L x 12", NUMBER),
        ("우유 1.5L", "우유1L", NUMBER),
        ("DDR4-3200 16GB", "DDR4-2666 8GB", NUMBER),
        ("바나나맛우유 240ml", "딸기맛우유 240ml", OPTION),
        ("바나나맛우유 240ml", "딸기맛우유 1000ml", OPTION),
        ("Case Red XL", "case blue M", OPTION),
        ("덴탈 마스크 백색 50매", "덴탈 마스크 블랙 50매", OPTION),
        ("백산수 2L", "백산수  2 l", NEITHER),
        ("백산수 2L", "삼다수 2L", NEITHER),
        ("백산수 2L 6입", "백산수 2L", NEITHER),
    ],
)
def test_what_differs(title: str, other: str, kind: int) -> None:
    masks = Masks([title, other])
    assert masks.kind(np.array([0]), np.array([1])).tolist() == [kind]
    assert masks.kind(np.array([1]), np.array([0])).tolist() == [kind]


TITLES = st.lists(
    st.tuples(
        st.sampled_from(["면 1g", "면 2g", "면 3g", "딸기면 1g", "초코면 1g", "초코면 2g", "떡 1g", "면1g"]),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=2,
    max_size=14,
)


@given(TITLES)
def test_counts_are_those_of_a_loop(rows: list[tuple[str, int, bool]]) -> None:
    texts, labels, judged = zip(*rows, strict=True)
    masks = Masks(texts)
    kinds = [
        int(masks.kind(np.array([a]), np.array([b]))[0])
        for a, b in combinations(range(len(rows)), 2)
        if labels[a] != labels[b] and (judged[a] or judged[b])
    ]
    assert masks.count(np.array(labels), np.array(judged)) == (kinds.count(NUMBER), kinds.count(OPTION))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=20))
def test_pairs_within_clusters_are_those_of_a_loop(rows: list[tuple[int, bool]]) -> None:
    clusters, asked = np.array([c for c, _ in rows], np.int64), np.array([a for _, a in rows])
    left, right = _within(clusters, asked)
    expected = {
        (a, b) for a, b in combinations(range(len(rows)), 2) if clusters[a] == clusters[b] and (asked[a] or asked[b])
    }
    assert len(left) == len(expected)
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected


def test_packs_that_a_cosine_merges_are_told_with_the_worst_first() -> None:
    data = two_packs(30)
    splits = np.array(data.splits)
    decision = Decision(BlendConfig(k=10), 0.5, 0.5, 2.0, -1.0, promises=(Promise(0.9, 0.99, 0.1, ""),))
    rows = np.arange(len(splits))
    pool = catalogue(data, rows, np.flatnonzero(splits == "test"), encode, decision)
    hard = measure_hard_pairs(JudgedPool.of(pool, decision), np.flatnonzero(splits == "validation"), decision)
    assert (hard.rows, hard.judged, hard.number, hard.option) == (180, 72, 12 * 3, 0)
    accepted = {one.way: one for one in hard.accepted}
    assert list(accepted) == [PLAIN, SHIPPED, "precision of 0.9 promised", CLUSTERS]
    assert accepted[SHIPPED].number > 0 and accepted[SHIPPED].option == 0
    assert accepted[SHIPPED].share == accepted[SHIPPED].number / accepted[SHIPPED].pairs
    assert all(one.right + one.number <= one.pairs for one in hard.accepted)
    assert accepted[CLUSTERS].number == 0  # another weight holds clusters apart, whatever a cosine says
    told = [one.probability for one in hard.worst]
    assert told == sorted(told, reverse=True) and len(hard.worst) <= 12
    assert {one.kind for one in hard.worst} == {"number"}
    assert all("중량 다름" in one.reason for one in hard.worst)
