"""Cleaning drops what says nothing, keeps what tells products apart, and never stumbles, whatever it is given."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedder.text import clean, normalize

UNCHANGED = """
농심 백산수 2L
백산수 생수 2L, 낱개
(24개이상 구입시 개당 20원씩 할인) 농심 백산수 2L
농심 백산수 2L x 1펫 / 생수 샘물 물 박스포장
24입 2박스 총48개
롯데 칠성사이다 355ml 1+1
에센스 50ml+50ml 기획
오뚜기)참기름김치볶음밥
삼성 갤럭시 S24 울트라 256GB SM-S928N 자급제
애플 에어팟 프로 2세대 (USB-C) MTJV3KH/A
LG 27" 모니터 27UP850N-W
나이키 에어포스1 (화이트/블랙) 265~280
나이키 에어포스 1 '07 270mm
사과 5kg (특대과 / 12~14과)
10-20kg 덤벨
-20°C 냉동고
3.5인치 SSD 1.92TB
1/2인치 3/8"
사이즈 090,095,100 바지
사이즈 90,95,100
원두 1kg, 2kg 중 택1 | 홀빈
5:5 믹스 (국산) #3
WIFI&LTE 태블릿
SKINNY&REGULER 27-38
<P 100> 프린터
C++ 프로그래밍
리퍼 중고 아이폰 13 128GB
삼성 정품토너 MLT-D111S
특가상품권 5만원
무료배송콜라 500ml
무료배송
[무료배송] [특가]
Dầu gội 650g
हिन्दी चाय 250g
""".strip().split("\n")

CLEANED = {
    # spellings
    "제주 삼다수 500㎖ × 20개": "제주 삼다수 500ml x 20개",
    "120g × 40개입 (5개입*8봉)": "120g x 40개입 (5개입x8봉)",
    "삼다수 2L*12펫": "삼다수 2Lx12펫",
    "30*40*50cm ✕ 2": "30x40x50cm x 2",
    "생수 2L✖️6": "생수 2Lx6",
    "Ⅱ세대 ㎏ ㎝ ℃ m²": "II세대 kg cm °C m2",
    "①번 옵션: 블랙 ②번 옵션: 화이트": "1번 옵션: 블랙 2번 옵션: 화이트",
    "㈜오리온 초코파이情 39g×12": "(주)오리온 초코파이情 39gx12",
    "ＡＢＣ　１２３ ﹣5도": "ABC 123 -5도",
    "LG 27″ 모니터 27UP850N‑W": 'LG 27" 모니터 27UP850N-W',
    "10–20kg, 1∼2인용, ‘07": "10-20kg, 1~2인용, '07",
    "L´Oréal 50ml": "L'Oréal 50ml",
    "½": "1/2",
    "김밥 ½인분": "김밥 1/2인분",
    "햇반 2½공기": "햇반 2 1/2공기",
    # thousands
    "비타민C 1,000mg × 600정": "비타민C 1000mg x 600정",
    "유산균 10,000,000,000 CFU 30포": "유산균 10000000000 CFU 30포",
    "A4용지 2,500매 (500매*5권), 12,34": "A4용지 2500매 (500매x5권), 12,34",
    # what exports leave behind
    "Salt &amp; Pepper&nbsp;250g": "Salt & Pepper 250g",
    "Filter Nano 10&amp;quot; 5&#181;m": 'Filter Nano 10" 5μm',
    "&lt;b&gt;삼다수&lt;/b&gt; 2L": "삼다수 2L",
    '<b>제주</b><br/><font color="red">삼다수</font> 2L': "제주 삼다수 2L",
    r"\xed\x95\x9c\xea\xb5\xad 김\xe2\x9a\x91 5g \xff": "한국 김 5g",
    "한국\u200b어 \ufeff김\u00ad치 5kg": "한국어 김치 5kg",
    "\u202e거꾸로\u202c 3개\x00\x07": "거꾸로 3개",
    "아메리카노\u3164 10T": "아메리카노 10T",
    "짝 잃은 \ud83d 5개": "짝 잃은 5개",
    # decoration
    "1️⃣+1️⃣ 꼬깔콘 67g": "1+1 꼬깔콘 67g",
    "👨‍👩‍👧 가족세트 ❤️ 3종": "가족세트 3종",
    "3M™ 스카치 브라이트®": "3M 스카치 브라이트",
    "중ㆍ대형 · 서울우유": "중 대형 서울우유",
    "  빈\t괄호 ( ) [ , ] {-} 10개\n": "빈 괄호 10개",
    "((( ))) 콜라 (500ml)": "콜라 (500ml)",
    "snake_case_12": "snake case 12",
    # promotion
    "[무료배송] 삼다수 2L": "삼다수 2L",
    "(당일발송)삼다수 2L": "삼다수 2L",
    "신라면 120g*5 [무료배송/당일발송]": "신라면 120gx5",
    "★★특가★★ 초특가! 나이키 270mm": "나이키 270mm",
    "** 핫딜 ** 다우니 8.5L ~~최저가~~": "다우니 8.5L",
    "[정품] HP 67XL 토너 100% 정품": "HP 67XL 토너",
    "Free Shipping! Logitech MX Master 3S": "Logitech MX Master 3S",
    "100% Original Casio F-91W BEST SELLER": "Casio F-91W",
    "READY STOCK Indomie 85g x 40 bisa COD": "Indomie 85g x 40",
    "free [특가] shipping 젤리 5g": "젤리 5g",
    "★무료배송★": "무료배송",
    # nothing to read
    "": "",
    " \u3000\u3164": "",
    "😀 ... ★!": "",
}


@pytest.mark.parametrize("title", UNCHANGED)
def test_what_tells_products_apart_stays(title: str) -> None:
    assert clean(title) == title


@pytest.mark.parametrize(("title", "cleaned"), CLEANED.items())
def test_what_says_nothing_goes(title: str, cleaned: str) -> None:
    assert clean(title) == cleaned


@pytest.mark.parametrize("title", [*UNCHANGED, *CLEANED])
def test_decomposed_titles_read_alike(title: str) -> None:
    assert clean(unicodedata.normalize("NFD", title)) == clean(title)


# Pieces that nest, join or decode into one another, where plain random text would never put them together.
NASTY = st.lists(
    st.sampled_from([
        *"&<>;#*~x×()[]{},.-_ 1290½²가ᄀᆨㆍㄱa\u200b\ufe0f\u20e3\u0301\u3164\ufeff\ud83d＆＜", "amp;", "lt;", "&amp;",
        "&#38;", "&#8203;", "&frac12;", "<b", "<br>", "</b>", r"\x", r"\x26", r"\xbd", "1,000", ",000", "100%", "정품",
        "특가", "free ", "shipping", "hot", "deal", "무료배송", "⁄", "™",
    ]),
    max_size=14,
).map("".join)  # fmt: skip


@given(st.text() | NASTY)
@settings(max_examples=600)
@example("&amp;amp;amp;amp;amp;amp;amp;amp;amp;lt;b>")
@example("<b<b<b<b<b<b<b<b<b>>>>>>>>>")
@example("a★*2")
@example("콜라 *특가 5")
@example("free " * 9 + "shipping " * 9)
@example("&#" + "9" * 5000 + ";")
def test_cleaning_twice_changes_nothing(title: str) -> None:
    cleaned = clean(title)
    assert clean(cleaned) == cleaned
    assert normalize(cleaned) == cleaned
    assert cleaned == "" or any(char.isalnum() for char in cleaned)
    assert cleaned.isprintable()
    cleaned.encode()


@given(st.text(st.characters(blacklist_characters="&<\\%") | st.sampled_from("1½,*x. 가㎖"), max_size=60))
@settings(max_examples=300)
def test_no_digit_is_lost(title: str) -> None:
    def digits(text: str) -> str:
        return "".join(char for char in unicodedata.normalize("NFKC", text) if char.isdecimal())

    assert digits(clean(title)) == digits(title)


PATHOLOGICAL = {
    "[": "[" * 50_000,
    "(( ))": "(( ))" * 20_000,
    "nested": "(" * 50_000 + ")" * 50_000,
    "noise": "무료배송 " * 20_000,
    "noise in brackets": "(" + "무료배송 " * 20_000 + "x",
    "nested noise": "free " * 8_000 + "shipping " * 8_000,
    "nested noise in brackets": "free [" * 8_000 + "] shipping" * 8_000,
    "thousands": "1,000," * 20_000,
    "one number": "1" + ",000" * 25_000 + ",",
    "entities": "&" + "amp;" * 20_000,
    "ampersands": "&" * 100_000,
    "broken entity": "&#" + "9" * 100_000 + ";",
    "markup": "<b" * 30_000 + ">" * 30_000,
    "open markup": "<b " * 33_000,
    "times": "a *" * 33_000,
    "stars": "* " * 50_000,
    "spaces": "a" + " " * 100_000 + "*",
    "escapes": r"\x41" * 25_000,
    "fractions": "2½" * 50_000,
    "accents": "e" + "\u0301" * 100_000,
    "long forms": "\ufdfa" * 30_000,
    "separators": "(-" * 25_000 + "(" + "- " * 25_000,
}


@pytest.mark.parametrize("title", PATHOLOGICAL.values(), ids=PATHOLOGICAL)
def test_long_titles_take_no_longer_than_their_length(title: str) -> None:
    started = time.process_time()
    cleaned = clean(title)
    assert time.process_time() - started < 4
    assert clean(cleaned) == cleaned


def test_nesting_deeper_than_sellers_do_keeps_the_title() -> None:
    title = "free " * 50 + "shipping " * 50 + "젤리"
    assert clean(title) == title
