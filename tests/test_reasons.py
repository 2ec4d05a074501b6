"""A reason says what two titles contradict each other on, what they agree on, and what else they share."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.reasons import reason, reason_between, said, words


def test_words_are_runs_of_letters_and_numbers_each_once() -> None:
    assert words("[무료배송] 농심 백산수 2L × 6, 2L (NS473) 1.5ℓ") == "농심 백산수 2 l x 6 ns 473 1.5".split()
    assert words("😀") == []


@pytest.mark.parametrize(
    ("query", "item", "told"),
    [
        # What contradicts comes first.
        ("삼다수 2L×6", "삼다수 2L×12", "수량 다름 2L×6 ≠ 2L×12 · 용량 같음 2L · 공통: 삼다수"),
        ("농심 백산수 2L", "백산수 500ml", "용량 다름 2L ≠ 500ml · 한쪽만 농심 · 공통: 백산수"),
        ("버즈 SM-R510", "버즈 SM-R530", "모델명 다름 SM-R510 ≠ SM-R530 · 공통: 버즈"),
        ("아이폰 128GB", "아이폰 256GB", "저장용량 다름 128GB ≠ 256GB · 같은 브랜드 애플 · 공통: 아이폰"),
        ("1 2 3 4 5 6", "7", "숫자 다름 1/2/3 ≠ 7"),
        # Then what they agree on, and words that nothing else has told.
        ("농심 백산수 2L", "농심 백산수 2L", "용량 같음 2L · 같은 브랜드 농심 · 공통: 백산수"),
        ("2L", "2 리터", "용량 같음 2L = 2리터"),
        ("[무료배송] 1,000ml", "1000㎖", "용량 같음 1000ml"),
        ("NIKE 에어포스", "나이키 에어포스 1", "한쪽만 숫자 1 · 같은 브랜드 나이키 · 공통: 에어포스"),
        ("갤럭시 버즈2 SM-R510", "Samsung Buds2 SM-R510", "같은 모델명 SM-R510 · 같은 숫자 2 · 같은 브랜드 삼성"),
        # A number that one title says alone is told where nothing else tells of it.
        ("신라면 120g 5개입", "신라면 5봉", "수량 같음 5개입 = 5봉 · 공통: 신라면 · 숫자 차이: 120 ↔ 없음"),
        ("가", "가나", "글자는 다르지만 뜻이 가까움"),
        ("사이다", "Sprite", "글자는 다르지만 뜻이 가까움"),
        ("", "😀", "글자는 다르지만 뜻이 가까움"),
    ],
)
def test_reasons(query: str, item: str, told: str) -> None:
    assert reason(query, item) == told
    assert reason_between(said(query), said(item)) == told


@given(st.text(), st.text())
def test_every_pair_has_a_reason_from_either_side(query: str, item: str) -> None:
    told, turned = reason(query, item), reason(item, query)
    assert told
    assert ("다름" in told) == ("다름" in turned)
    assert ("공통" in told) == ("공통" in turned)
    assert ("숫자 차이" in told) == ("숫자 차이" in turned)


def test_long_titles_take_no_longer_than_they_must() -> None:
    query = " ".join(f"가{number:x}나{number}" for number in range(700))  # about 10,000 bytes
    item = " ".join(f"다{number:x}라{number + 9}" for number in range(700))
    started = time.process_time()
    assert reason(query, item)
    assert time.process_time() - started < 1
