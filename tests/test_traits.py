"""Traits: what titles say besides quantities, and what a pair of titles agrees and differs in."""

from __future__ import annotations

import csv
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import InputError
from embedder.text import clean
from index import codes
from index.traits import KEPT, SIZES, TRAITS, Traits, TraitTable, explain, parse, verdicts
from index.verdict import Verdict
from index.words import read_words, words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
UNSAID, ONE_SIDE, SAME, DIFFERENT = Verdict

# Titles that sellers might write: names, options, codes, numbers and quantities, and what joins them.
WORDS = st.sampled_from(
    """
    나이키 nike 오뚜기) 삼성 갤럭시 블랙 화이트 hitam 딸기 초코우유 프로 맥스 플러스 2세대 gen 2nd 남성 키즈 중고 리퍼
    케이스 전용 세트 단품 SM-R510 SM R510 SMR510 SM-R510NZWAKOO S21 S22 A52 WH-1000XM4 AB-12345678901234567 12 12 7 2021
    3.5 500ml 2L 24입 x 6 사이즈 95/100 XL S/M size M 270mm 운동화 21호 rose gold 1+1 100% 3-in-1 iphone12pro 택1
    """.split()
)
TITLES = st.one_of(st.lists(WORDS, max_size=9).map(" ".join), st.text(), st.lists(WORDS, max_size=5).map("".join))


def said(title: str) -> dict[str, tuple[str, ...]]:
    return {trait: values for trait, values in zip(TRAITS, parse(clean(title)).values, strict=True) if values}


def verdict(trait: str, a: str, b: str) -> Verdict:
    return verdicts(parse(clean(a)), parse(clean(b)))[TRAITS.index(trait)]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("", {}),
        ("농심)백산수 2L x 6", {"brand": "농심"}),
        ("KF-94 마스크 대형 50매 (500ml, 24입, 10T, 5kg, 30매) 1+1", {}),
        ("롯데 펩시콜라P600ml 펩시콜라600MLPET", {"brand": "롯데 펩시"}),
        ("닥터 앰플 12-pack 3-in-1 27-inch 100% 10x20cm 택1 문의 1544-1234", {}),
        ("갤럭시 S21 SM-G991N", {"model_code": "S21 SM-G991N", "brand": "삼성"}),
        ("노트북 블랙 (리퍼)", {"colour": "블랙", "condition": "리퍼"}),
        ("이어폰 WH 1000XM4", {"model_code": "WH-1000XM4 1000XM4"}),
        ("아이폰12프로맥스", {"number": "12", "brand": "애플", "generation": "프로 맥스"}),
        ("iPhone12Pro", {"number": "12", "brand": "애플", "generation": "프로"}),
        ("에어팟 프로 2세대", {"brand": "애플", "generation": "프로 2세대"}),
        ("스피커 gen 2 / 2nd generation", {"generation": "2세대"}),
        ("쿠션 21호 12 12 03.50", {"number": "21 12 12 3.5"}),
        ("오뚜기)초코딸기케익", {"brand": "오뚜기", "flavour": "초코 딸기"}),
        ("페퍼민트 티 / 얼그레이 티", {"flavour": "페퍼민트 얼그레이"}),
        ("반팔티 사이즈 95/100/105", {"size": "95 100 105"}),
        ("kaos pria ukuran M-XXL hitam", {"colour": "블랙", "size": "M 2XL", "gender": "남성"}),
        ("나이키 운동화 270mm", {"brand": "나이키", "size": "270"}),
        ("파이프 270mm", {}),
        ("celana anak size 1-12", {"gender": "아동"}),
        ("남녀공용 티셔츠", {"gender": "남성 여성"}),
        ("The North Face rose gold", {"brand": "노스페이스", "colour": "로즈골드"}),
        ("캘리포니아 골드 뉴트리션", {"brand": "캘리포니아골드뉴트리션"}),
        ("블랙야크 브라이트 프로바이오틱스 슬라임", {"brand": "블랙야크"}),
        ("샴푸 리필 기획 세트 / 단품", {"accessory": "리필", "edition": "세트 단품"}),
    ],
)  # fmt: skip
def test_titles(title: str, expected: dict[str, str]) -> None:
    assert said(title) == {trait: tuple(values.split()) for trait, values in expected.items()}


@pytest.mark.parametrize(
    ("trait", "a", "b", "expected"),
    [
        ("model_code", "SM-R510", "버즈 SM-R510NZWAKOO", SAME),
        ("model_code", "SM-R510", "sm r510", SAME),
        ("model_code", "SM-R510", "R510", SAME),
        ("model_code", "SM-R510", "SM-R177", DIFFERENT),
        ("model_code", "갤럭시 S21", "갤럭시 S22", DIFFERENT),
        ("model_code", "S21 SM-G991N", "S21 SM-G996N", DIFFERENT),  # the short code they share tells nothing more
        ("model_code", "S21 SM-G991N", "S21", SAME),
        ("model_code", "AB12", "AB123", DIFFERENT),  # too short to stand for the beginning of another
        ("model_code", "SM-R510", "갤럭시 버즈", ONE_SIDE),
        ("model_code", "버즈", "갤럭시 버즈", UNSAID),
        ("number", "아이폰 12", "아이폰12", SAME),
        ("number", "아이폰 12", "아이폰 13", DIFFERENT),
        ("number", "아이폰 12", "아이폰 12 2021", ONE_SIDE),
        ("number", "토너 12 12", "토너 12", ONE_SIDE),
        ("number", "토너 500ml", "토너 2", ONE_SIDE),
        ("brand", "나이키 에어포스", "NIKE 에어포스", SAME),
        ("brand", "해외나이키 에어포스", "아디다스 에어포스", DIFFERENT),
        ("colour", "티셔츠 블랙/화이트 택1", "T-shirt hitam", SAME),
        ("colour", "티셔츠 블랙/화이트 택1", "티셔츠 네이비", DIFFERENT),
        ("size", "사이즈 XL", "size 100", DIFFERENT),
        ("flavour", "매운맛 라면", "순한맛 라면", DIFFERENT),
        ("generation", "버즈 프로", "버즈 프로 맥스", ONE_SIDE),
        ("generation", "버즈 프로", "버즈 라이트", DIFFERENT),
        ("generation", "버즈 2세대", "버즈 3rd gen", DIFFERENT),
        ("condition", "그램 중고", "그램", ONE_SIDE),
        ("condition", "그램 중고", "그램 미개봉", DIFFERENT),
        ("accessory", "아이폰 케이스", "아이폰", DIFFERENT),
        ("accessory", "아이폰 케이스", "casing for iphone", SAME),
        ("edition", "선물세트", "기획", SAME),
        ("edition", "세트", "단품", DIFFERENT),
    ],
)
def test_verdicts(trait: str, a: str, b: str, expected: Verdict) -> None:
    assert verdict(trait, a, b) is expected
    assert verdict(trait, b, a) is expected


def test_explanations_say_differences_first() -> None:
    assert explain(parse("SM-R510 블랙 중고"), parse("SM-R510NZWAKOO 화이트 2")) == [
        "색상 다름 블랙 ≠ 화이트", "한쪽만 숫자 2", "한쪽만 중고", "같은 모델명 SM-R510",
    ]  # fmt: skip
    assert explain(parse("아이폰 12 프로"), parse("아이폰 12 프로 맥스 케이스")) == [
        "부속품 다름 없음 ≠ 케이스", "한쪽만 맥스", "같은 숫자 12", "같은 브랜드 애플",
    ]  # fmt: skip
    assert explain(parse("우유"), parse("빵")) == []


@given(TITLES, TITLES)
def test_any_two_titles_are_weighed_alike_both_ways(a: str, b: str) -> None:
    one, other = parse(a), parse(b)
    assert verdicts(one, other) == verdicts(other, one)
    assert len(verdicts(one, other)) == len(TRAITS) == len(one.values)
    assert all(len(one.of(trait)) <= most for trait, most in KEPT.items())
    assert len(explain(one, other)) == sum(found is not UNSAID for found in verdicts(one, other))
    assert DIFFERENT not in verdicts(one, one)


@given(st.lists(TITLES, min_size=1, max_size=6), st.lists(TITLES, min_size=1, max_size=6))
def test_the_table_says_what_verdicts_say(mine: list[str], theirs: list[str]) -> None:
    table, other = TraitTable.of(mine), TraitTable.of(theirs)
    left, right = (side.ravel() for side in np.mgrid[: len(mine), : len(theirs)].astype(np.int64))
    across = [verdicts(parse(mine[a]), parse(theirs[b])) for a, b in zip(left, right, strict=True)]
    assert np.array_equal(table.compare(left, right, other), np.array(across, np.int8))
    rows = np.arange(len(mine), dtype=np.int64)
    within = [verdicts(parse(title), parse(mine[-1 - row])) for row, title in enumerate(mine)]
    assert np.array_equal(table.compare(rows, rows[::-1]), np.array(within, np.int8))


def test_a_table_takes_no_rows_and_no_pairs_and_refuses_half_pairs() -> None:
    none = np.empty(0, np.int64)
    assert len(TraitTable.of([])) == 0
    assert TraitTable.of([]).compare(none, none).shape == (0, len(TRAITS))
    with pytest.raises(InputError, match="0 left rows and 2 right rows"):
        TraitTable.of(["a", "b"]).compare(none, np.arange(2))


LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=3)
DIGITS = st.text("0123456789", min_size=3, max_size=5)


@given(LETTERS, DIGITS, LETTERS)
def test_spelling_a_code_otherwise_changes_nothing(head: str, digits: str, tail: str) -> None:
    code = f"{head}-{digits}{tail}"
    plain = said(f"이어폰 {code} 신형").get("model_code")
    if plain is None:  # "pa-100g" and the like: a grade or a quantity
        return
    for spelled in (code.upper(), code.replace("-", ""), f"{head.title()}{digits}-{tail}"):
        assert [codes.letters(one) for one in said(f"이어폰 {spelled} 신형")["model_code"]] == [codes.letters(plain[0])]
    assert verdict("model_code", f"이어폰 {code} 신형", f"이어폰 {head}  {digits}{tail} 신형") in (SAME, ONE_SIDE)


@pytest.mark.parametrize(
    "title",
    ["1" * 10_000, "1x" * 5_000, "1m" * 5_000, "a1-" * 3_000, "사이즈 1/" * 2_000, "s/m/" * 2_500, "블랙" * 5_000,
     "가" * 10_000, "1.1." * 2_500, "gen " * 2_500, "rose " * 2_000, "x" * 10_000 + "l", "1" * 5_000 + "kg1" * 1_000],
)  # fmt: skip
def test_hostile_titles_take_no_longer_than_they_must(title: str) -> None:
    started = time.process_time()
    verdicts(parse(title), parse(title))
    TraitTable.of([title])
    assert time.process_time() - started < 1


def test_the_alias_table_fits_the_traits() -> None:
    table = words()
    assert set(table.values) == set(TRAITS) - {"model_code", "number", "size"}
    assert len(table.values["brand"]) >= 150
    assert len(SIZES) <= 64
    TraitTable.of(["블랙"])  # would refuse a trait of more values than bits
    for trait, values in table.values.items():
        assert len(values) == len(set(values)), trait


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a,b\n", "line 1: columns are"),
        ("trait,value,spellings\ncolour,블랙,\n", "line 2, column spellings: a blank cell"),
        ("trait,value,spellings\ncolour,블랙\n", "line 2, column spellings: a blank cell"),
        ("trait,value,spellings\ncolour,블랙,black||hitam\n", "line 2, column spellings: '' is no spelling"),
        ("trait,value,spellings\ncolour,블랙,bl*ack\n", "line 2, column spellings: 'bl*ack' is no spelling"),
        ("trait,value,spellings\ncolour,블랙,*흑\n", "expected one word of at least two letters"),
        ("trait,value,spellings\ncolour,블랙,*jet black\n", "expected one word of at least two letters"),
        ("trait,value,spellings\ncolour,블랙,black|Black\n", "line 2: 'black' stands twice"),
    ],
)
def test_a_bad_alias_table_is_refused(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "aliases.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(error)):
        read_words(path)


def test_stars_say_where_a_word_may_go_on(tmp_path: Path) -> None:
    path = tmp_path / "aliases.csv"
    path.write_text(
        "trait,value,spellings\nt,whole,가나\nt,begins,다라*\nt,ends,*마바\nt,within,*사아*\n", encoding="utf-8"
    )
    table = read_words(path)
    assert [value for _, value in table.within("다라마바")] == ["begins", "ends"]
    assert [value for _, value in table.within("하사아하")] == ["within"]
    assert list(table.within("가나하")) == list(table.within("하다라")) == list(table.within("마바하")) == []
    assert table.whole["가나"] == (("t", "whole"),)


def near_and_same(name: str) -> tuple[list[str], list[tuple[int, int]], list[tuple[int, int]]]:
    """Cleaned titles, pairs of one product, and the pairs of two products that share most of their rare words."""
    with (DATA / name / "titles.csv").open(encoding="utf-8", newline="") as file:
        rows = [(clean(row["title"]), row["cluster_id"]) for row in islice(csv.DictReader(file), 30_000)]
    titles = [title for title, _ in rows]
    groups: defaultdict[str, list[int]] = defaultdict(list)
    holding: defaultdict[str, list[int]] = defaultdict(list)
    spelled = [set(re.findall(r"[가-힣]{2}|[a-z]+|\d+", title.casefold())) for title in titles]
    for row, (_, group) in enumerate(rows):
        groups[group].append(row)
        for word in spelled[row]:
            holding[word].append(row)

    def nearest(row: int) -> Iterator[int]:
        shared = Counter(other for word in sorted(spelled[row]) if len(holding[word]) <= 300 for other in holding[word])
        return islice((other for other, _ in shared.most_common() if rows[other][1] != rows[row][1]), 2)

    same = [pair for members in groups.values() for pair in combinations(members[:8], 2)]
    return titles, same, [(row, other) for row in range(0, len(rows), 1 + len(rows) // 2500) for other in nearest(row)]


@pytest.mark.skipif(not DATA.exists(), reason="the labelled sets are not here")
@pytest.mark.parametrize("name", ["korea_cvs", "naver_model_code", "danawa", "shopee", "walmart-amazon", "abt-buy"])
def test_differences_are_rarer_within_a_product(name: str) -> None:
    titles, *pairs = near_and_same(name)
    table = TraitTable.of(titles)
    same, near = (table.compare(*np.array(some).T) == DIFFERENT for some in pairs)
    for at, trait in enumerate(TRAITS):
        within, across = same[:, at].mean(), near[:, at].mean()
        lift = across / within if within else np.inf
        counted = int(same[:, at].sum() + near[:, at].sum())
        print(f"{name:17}{trait:11} one product {within:.4f}, near ones {across:.4f}, lift {lift:.1f} ({counted})")
        if counted >= 30:  # fewer say nothing
            assert within < across, trait


@pytest.mark.skipif(not DATA.exists(), reason="the labelled sets are not here")
def test_reading_is_fast() -> None:
    with (DATA / "korean_unlabelled" / "titles.csv").open(encoding="utf-8", newline="") as file:
        titles = [clean(row["title"]) for row in islice(csv.DictReader(file), 20_000)]
    codes._parts.cache_clear()
    started = time.process_time()
    for title in titles:
        parse(title)
    took = (time.process_time() - started) / len(titles)
    print(f"{took * 1e6:.1f} microseconds a title")
    assert took < 120e-6  # 30 on an idle machine


def test_traits_are_read_by_name() -> None:
    assert Traits(tuple((trait,) for trait in TRAITS)).of("brand") == ("brand",)
