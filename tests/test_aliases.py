"""Mined aliases: two words of two scripts that stand for each other, counted by hand."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import InputError
from training.aliases import Candidate, mine_aliases

PAIRS = [
    ("나이키 에어포스", "Nike 에어포스"),
    ("NIKE 조던 하이", "나이키 조던 하이"),
    ("나이키 양말", "양말 nike"),
    ("나이키 Nike 모자", "나이키 모자"),  # 나이키 stands on both sides
    ("오뚜기 진라면", "ottogi 진라면"),
    ("우유 200ml", "우유 200ml"),
    ("우유 1L", "우유 1L"),
]


def test_words_on_opposite_sides_are_counted() -> None:
    (found,) = mine_aliases(PAIRS)
    cells = ((3, 3 * 4 / 7), (1, 4 * 4 / 7), (3, 4 * 3 / 7))  # together; Latin alone; neither
    assert (found.hangul, found.latin, found.together, found.share) == ("나이키", "nike", 3, 1.0)
    assert found.score == pytest.approx(2 * sum(count * math.log(count / chance) for count, chance in cells))


def test_min_count_and_min_share_choose() -> None:
    assert [(one.hangul, one.latin) for one in mine_aliases(PAIRS, min_count=1)] == [
        ("오뚜기", "ottogi"), ("나이키", "nike"),  # never apart, if seldom
    ]  # fmt: skip
    spread = [("가나 하하", "aa"), ("가나", "bb"), ("가나", "aa"), ("다라", "aa"), ("마", "바"), ("사", "아")]
    assert mine_aliases(spread, min_count=2, min_share=0.9) == []
    assert [one.together for one in mine_aliases(spread, min_count=2, min_share=0.6)] == [2]


def test_words_with_digits_and_words_on_both_sides_are_none() -> None:
    assert mine_aliases([("가나 a52", "다 a52")] * 3 + [("마", "바")], min_count=1) == []
    assert mine_aliases([("나이키신발 x1", "나이키 신발 nike")] * 3 + [("마", "바")], min_count=1) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"min_count": 0}, "min_count is 0; expected at least 1"),
        ({"min_share": 1.5}, "min_share is 1.5; expected a number between 0 and 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], error: str) -> None:
    with pytest.raises(InputError, match=re.escape(error)):
        mine_aliases(PAIRS, **options)  # type: ignore[arg-type]


TITLES = st.lists(st.sampled_from("나이키 nike 오뚜기 ottogi 신발 라면 500ml".split()), max_size=5).map(" ".join)


@given(st.lists(st.tuples(TITLES, TITLES), max_size=12))
def test_sides_and_order_of_pairs_do_not_matter(pairs: list[tuple[str, str]]) -> None:
    found = mine_aliases(pairs, min_count=1, min_share=0)
    assert mine_aliases([(b, a) for a, b in reversed(pairs)], min_count=1, min_share=0) == found
    assert found == sorted(found, key=lambda one: -one.score)
    assert all(isinstance(one, Candidate) and 0 < one.share <= 1 and one.score > 0 for one in found)
