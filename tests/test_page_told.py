"""How pages tell things: titles in pieces that are the title, reasons in parts that are the reason."""

from __future__ import annotations

import time

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from living import TITLES

from api.page_told import Chip, ago, chips, count, lasted, pieces, share, size, stamp
from api.phrases import Phrases, read_korean
from index.reasons import reason

KOREAN = read_korean(ROOT / "api" / "pages" / "korean.json")
EN, KO = Phrases("en", KOREAN), Phrases("ko", KOREAN)


@given(st.text(max_size=60) | st.sampled_from(TITLES), st.text(max_size=60) | st.sampled_from(TITLES))
def test_the_pieces_of_a_title_are_the_title(title: str, other: str) -> None:
    assert "".join(piece.text for piece in pieces(title, other)) == title


def test_words_are_marked_by_who_has_them() -> None:
    found = pieces("[무료배송] 농심 신라면 120g x 5봉", "농심신라면 120g 20개")
    kinds = {piece.text: piece.kind for piece in found if piece.kind != "between"}
    assert kinds == {
        "무료배송": "noise", "농심": "both", "신라면": "both", "120": "both", "g": "both",
        "x": "only", "5": "only", "봉": "only",
    }  # fmt: skip
    assert not [piece for piece in pieces("같은 제목 2L", "같은 제목 2L") if piece.kind == "only"]


def test_a_thousand_is_the_same_however_it_is_written() -> None:
    assert [piece.kind for piece in pieces("비타민 1,080mg", "비타민 1080mg") if piece.text == "1,080"] == ["both"]


@pytest.mark.parametrize(
    ("part", "chip"),
    [
        ("수량 다름 5개입 ≠ 20개입", Chip("different", "count", "5개입 ≠ 20개입")),
        ("수량 같음 5개입 = 5봉", Chip("same", "count", "5개입 = 5봉")),
        ("같은 모델명 SM-R510", Chip("same", "model", "SM-R510")),
        ("한쪽만 순한맛", Chip("aside", "only one says", "순한맛")),
        ("공통: 신라면, 농심", Chip("shared", "shared words", "신라면, 농심")),
        ("숫자 차이: 5 ↔ 없음", Chip("aside", "numbers", "5 ↔ none")),
        ("글자는 다르지만 뜻이 가까움", Chip("plain", "", "other letters, but close in meaning")),
        ("something new", Chip("plain", "", "something new")),
    ],
)
def test_a_reason_is_told_in_parts(part: str, chip: Chip) -> None:
    assert chips(part, EN) == [chip]


def test_every_reason_between_titles_is_understood() -> None:
    for one in TITLES[::7]:
        for other in TITLES[::5]:
            found = chips(reason(one, other), EN)
            assert found
            assert not [
                chip for chip in found if chip.kind == "plain" and chip.text != "other letters, but close in meaning"
            ]
            assert [chip.text for chip in chips(reason(one, other), KO)]


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "–"), (0, "0 %"), (1, "100 %"), (0.5, "50.0 %"), (0.99999, "99.9 %"), (1e-9, "0.1 %"), (0.1234, "12.3 %")],
)
def test_a_share_never_says_all_or_nothing_for_less(value: float | None, told: str) -> None:
    assert share(value) == told


def test_numbers_and_times_are_told_short() -> None:
    assert (count(1234567), size(950), size(1_500), size(12_000_000)) == ("1,234,567", "950 B", "1.5 kB", "12 MB")
    now = time.time()
    told = [ago(now - seconds, EN) for seconds in (3, 130, 7_300, 200_000)]
    assert told == ["just now", "2 min ago", "2 h ago", "2 d ago"]
    assert (ago(None, EN), ago(now + 99, EN)) == ("–", "just now")
    assert (lasted(0.2, EN), lasted(75, EN), lasted(7_200, EN)) == ("1 s", "1 min", "2 h")
    assert stamp(0) == "1970-01-01T00:00:00Z"
