"""A reason says what two titles share and which numbers only one of them has."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.evidence import reason, words


def test_words_are_runs_of_letters_and_numbers_each_once() -> None:
    assert words("[무료배송] 농심 백산수 2L × 6, 2L (NS473) 1.5ℓ") == "농심 백산수 2 l x 6 ns 473 1.5".split()
    assert words("😀") == []


@pytest.mark.parametrize(
    ("query", "item", "said"),
    [
        ("농심 백산수 2L", "농심 백산수 2L", "공통: 농심, 백산수, 2, l"),
        ("농심 백산수 2L", "백산수 500ml", "공통: 백산수 · 숫자 차이: 2 ↔ 500"),
        ("햇반 스팸", "햇반스팸 200g", "공통: 햇반, 스팸, 햇반스팸 · 숫자 차이: 없음 ↔ 200"),
        ("NIKE 에어포스", "나이키 에어포스 1", "공통: 에어포스 · 숫자 차이: 없음 ↔ 1"),
        ("1 2 3 4 5 6", "7", "숫자 차이: 1, 2, 3, 4 ↔ 7"),
        ("12", "123", "숫자 차이: 12 ↔ 123"),
        ("2L", "2 리터", "공통: 2"),
        ("가", "가나", "글자는 다르지만 뜻이 가까움"),
        ("사이다", "Sprite", "글자는 다르지만 뜻이 가까움"),
        ("", "😀", "글자는 다르지만 뜻이 가까움"),
        ("[무료배송] 1,000ml", "1000㎖", "공통: 1000, ml"),
    ],
)
def test_reasons(query: str, item: str, said: str) -> None:
    assert reason(query, item) == said


@given(st.text(), st.text())
def test_numbers_are_told_of_both_sides(query: str, item: str) -> None:
    said, turned = reason(query, item), reason(item, query)
    assert said
    assert ("공통" in said) == ("공통" in turned)
    assert ("숫자 차이" in said) == ("숫자 차이" in turned)


def test_long_titles_take_no_longer_than_they_must() -> None:
    query = " ".join(f"가{number:x}나{number}" for number in range(700))  # about 10,000 bytes
    item = " ".join(f"다{number:x}라{number + 9}" for number in range(700))
    started = time.process_time()
    assert reason(query, item).startswith("공통: ")
    assert time.process_time() - started < 1
