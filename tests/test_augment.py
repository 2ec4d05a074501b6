"""Rewritings keep what tells products apart; decoys change exactly that."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.augment import augment, decoy

TITLES = (
    "CJ)햇반스팸김치덮밥 210G",
    "삼성전자 갤럭시 버즈2 프로 SM-R510 [화이트] 국내정발",
    "농심 백산수 500ml x 20, 1+1 무라벨 생수",
    "닥터지 레드 블레미쉬 크림 70ml (2개입*3박스)",
)


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


@pytest.mark.parametrize("title", TITLES)
def test_a_rewriting_keeps_every_model_code_and_count(title: str) -> None:
    rng = random.Random(0)
    for _ in range(200):
        text = augment(title, rng)
        assert text
        for kept in ("510", "20", "1+1", "2개입"):
            if kept in title:
                assert kept in text


@pytest.mark.parametrize(
    ("title", "same"), [("우유 1.5L", {"1.5", "1500"}), ("쌀 10kg", {"10", "10000"}), ("햇반 500g", {"500", "0.5"})]
)
def test_a_rewritten_quantity_is_the_same_amount(title: str, same: set[str]) -> None:
    rng = random.Random(1)
    seen = {re.search(r"\d+(?:\.\d+)?", augment(title, rng)).group() for _ in range(300)}  # type: ignore[union-attr]
    assert seen == same


def test_rewritings_differ_and_repeat_with_the_seed() -> None:
    once = [augment(TITLES[1], random.Random(seed)) for seed in range(50)]
    assert once == [augment(TITLES[1], random.Random(seed)) for seed in range(50)]
    assert len(set(once)) > 10


@given(st.text(min_size=1), st.integers())
def test_any_text_can_be_rewritten(text: str, seed: int) -> None:
    assert augment(text, random.Random(seed))


@pytest.mark.parametrize("title", TITLES)
def test_a_decoy_differs_in_one_number_or_option(title: str) -> None:
    rng = random.Random(0)
    for _ in range(100):
        other = decoy(title, rng)
        assert other is not None
        assert other != title
        changed = [(a, b) for a, b in zip(numbers(title), numbers(other), strict=True) if a != b]
        assert len(set(numbers(title)) - set(numbers(other))) <= 1
        assert changed or re.sub(r"\d+", "", other) != re.sub(r"\d+", "", title)


def test_a_title_without_number_or_option_has_no_decoy() -> None:
    assert decoy("나이키 운동화", random.Random(0)) is None


@given(st.text(), st.integers())
def test_any_text_may_be_asked_for_a_decoy(text: str, seed: int) -> None:
    other = decoy(text, random.Random(seed))
    assert other is None or other != text
