"""The sample catalogue holds what a newcomer needs to see: true duplicates written in many ways, and near misses.

It checks the file's form, its size and that the hard families are there. It does not know whether a label is
right: two titles under one cluster_id are the same product because whoever wrote them says so.
"""

import csv
import re
import unicodedata
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

CATALOG = Path(__file__).resolve().parent.parent / "api" / "sample" / "catalog.csv"
HEADER = ["id", "title", "cluster_id", "category"]
CATEGORIES = {
    "food", "drink", "beauty", "living", "baby", "pet",
    "digital", "appliance", "fashion", "sports", "book-office", "health",
}  # fmt: skip
HANGUL = re.compile("[가-힣]")
USED = re.compile("리퍼|refurbished|renewed", re.IGNORECASE)


class Listing(NamedTuple):
    id: str
    title: str
    cluster_id: str
    category: str


@pytest.fixture(scope="module")
def listings() -> list[Listing]:
    with CATALOG.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        assert next(rows) == HEADER
        return [Listing(*row) for row in rows]


@pytest.fixture(scope="module")
def products(listings: list[Listing]) -> dict[str, list[str]]:
    """cluster_id -> its titles."""
    titles: dict[str, list[str]] = defaultdict(list)
    for listing in listings:
        titles[listing.cluster_id].append(listing.title)
    return dict(titles)


def plain(title: str) -> str:
    """The title as NFKC, lower case, without spaces: what is left when only the spelling of blanks differs."""
    return "".join(unicodedata.normalize("NFKC", title).casefold().split())


def pairs_apart_by_digits(products: dict[str, list[str]]) -> set[tuple[str, str]]:
    """Pairs of different products with a title each that are equal but for the digits."""
    holders: dict[str, set[str]] = defaultdict(set)
    for cluster_id, titles in products.items():
        for title in titles:
            holders[re.sub(r"\d+", "#", plain(title))].add(cluster_id)
    return {pair for ids in holders.values() for pair in combinations(sorted(ids), 2)}


def pairs_apart_by_one_word(products: dict[str, list[str]], *, swapped: bool) -> set[tuple[str, str]]:
    """Pairs of different products with a title each where one word is swapped, or else one word is added.

    A word with a digit in it does not count as swapped: `pairs_apart_by_digits` counts those.
    """
    words = [(key, set(title.casefold().split())) for key, titles in products.items() for title in titles]
    apart = [1, 1] if swapped else [0, 1]
    found = set()
    for (key_a, a), (key_b, b) in combinations(words, 2):
        no_digits = not any(character.isdigit() for word in a ^ b for character in word)
        if key_a != key_b and sorted([len(a - b), len(b - a)]) == apart and (no_digits or not swapped):
            found.add((key_a, key_b))
    return found


def test_bytes_are_utf8_nfc_with_unix_line_ends() -> None:
    raw = CATALOG.read_bytes()
    text = raw.decode("utf-8")
    assert not text.startswith("\ufeff")
    assert b"\r" not in raw and raw.endswith(b"\n")
    assert unicodedata.is_normalized("NFC", text)
    assert not any(unicodedata.category(character) in {"Cc", "Cf"} for character in text if character != "\n")


def test_ids_and_titles_are_unique_and_nothing_is_blank(listings: list[Listing]) -> None:
    assert all(field == field.strip() != "" for listing in listings for field in listing)
    assert [listing.id for listing in listings] == [f"s{i:04}" for i in range(1, len(listings) + 1)]
    assert len({plain(listing.title) for listing in listings}) == len(listings)
    assert all(re.fullmatch(r"p\d{3}", listing.cluster_id) for listing in listings)


def test_size_and_group_sizes(listings: list[Listing], products: dict[str, list[str]]) -> None:
    sizes = [len(titles) for titles in products.values()]
    assert 480 <= len(listings) <= 560
    assert 190 <= len(sizes) <= 230
    assert max(sizes) <= 6
    assert 0.30 <= sizes.count(1) / len(sizes) <= 0.37


def test_languages(listings: list[Listing]) -> None:
    english = sum(HANGUL.search(listing.title) is None for listing in listings)
    assert 0.12 <= english / len(listings) <= 0.18


def test_every_category_is_there_and_a_product_has_one(listings: list[Listing]) -> None:
    assert {listing.category for listing in listings} == CATEGORIES
    assert len({(listing.cluster_id, listing.category) for listing in listings}) == len(
        {listing.cluster_id for listing in listings}
    )


def test_products_that_differ_only_in_digits(products: dict[str, list[str]]) -> None:
    assert len(pairs_apart_by_digits(products)) >= 40


def test_products_that_differ_in_one_option_word(products: dict[str, list[str]]) -> None:
    assert len(pairs_apart_by_one_word(products, swapped=True)) >= 20


def test_products_whose_title_is_anothers_and_one_word(products: dict[str, list[str]]) -> None:
    assert len(pairs_apart_by_one_word(products, swapped=False)) >= 6


@pytest.mark.parametrize(
    ("title", "near_miss"),
    [
        ("제주삼다수 2L 6입 생수", "제주삼다수 2L 12입 생수"),
        ("라운드랩 독도 토너 200ml 본품", "라운드랩 독도 토너 500ml 본품"),
        ("라네즈 네오 쿠션 매트 21N 15g", "라네즈 네오 쿠션 매트 23N 15g"),
        ("나이키 에어포스 1 07 화이트 270", "나이키 에어포스 1 07 화이트 260"),
        ("애플 아이폰 15 자급제 128GB 블랙", "애플 아이폰 15 자급제 256GB 블랙"),
        ("Samsung Galaxy Buds2 Pro SM-R510 White", "Samsung Galaxy Buds3 SM-R530 White"),
        (
            "Apple AirPods Pro (2nd generation) USB-C",
            "Apple AirPods Pro (2nd generation) USB-C - Refurbished",
        ),
        ("애플 에어팟 프로 2세대 USB-C", "엘라고 에어팟 프로 2세대 케이스 실리콘 투명"),
        ("엘라고 에어팟 프로 2세대 케이스 실리콘 투명", "엘라고 에어팟 프로 1세대 케이스 실리콘 투명"),
        ("조선미녀 맑은쌀 선크림 50ml SPF50+ PA++++", "조선미녀 맑은쌀 선크림 50ml 1+1"),
        ("오뚜기 진라면 매운맛 120g 5개입", "오뚜기 진라면 순한맛 120g 5개입"),
    ],
)
def test_near_misses_are_different_products(listings: list[Listing], title: str, near_miss: str) -> None:
    cluster_of = {listing.title: listing.cluster_id for listing in listings}
    assert cluster_of[title] != cluster_of[near_miss]


@pytest.mark.parametrize(
    ("title", "same"),
    [
        ("코카콜라 1.5L 12개", "[코카콜라음료] 코카콜라 1,500㎖*12입 1박스"),
        ("베베숲 시그니처 블루 휴대용 물티슈 30매 3팩", "베베숲 시그니처블루 휴대 30매 x 3개 총 90매"),
        ("쿠쿠 전기압력밥솥 10인용 CRP-P1009S", "쿠쿠 열판압력밥솥 CRPP1009S (10인용)"),
        ("농심 너구리 얼큰한맛 120g 5개입", "농심)얼큰한너구리120G*5"),
        ("나이키 에어포스 1 07 화이트 270", "Nike Air Force 1 '07 White 270mm CW2288-111"),
        ("닌텐도 스위치 OLED 모델 화이트", "Nintendo Switch OLED Model White"),
    ],
)
def test_one_product_in_two_spellings(listings: list[Listing], title: str, same: str) -> None:
    cluster_of = {listing.title: listing.cluster_id for listing in listings}
    assert cluster_of[title] == cluster_of[same]


def test_products_written_in_two_scripts(products: dict[str, list[str]]) -> None:
    scripts = [{HANGUL.search(title) is None for title in titles} for titles in products.values()]
    assert sum(len(seen) == 2 for seen in scripts) >= 60


def test_a_condition_is_never_shared_with_the_new_product(products: dict[str, list[str]]) -> None:
    used = [[USED.search(title) is not None for title in titles] for titles in products.values()]
    assert all(all(flags) or not any(flags) for flags in used)
    assert sum(map(all, used)) >= 3


@pytest.mark.parametrize(
    "form", [r"^\w+\)", r"㎖|㎏|ℓ", r"\[무료배송\]|무배|무료배송", r"1\+1", r"총 ?\d", r"\d,\d{3}"]
)
def test_the_forms_sellers_use_are_there(listings: list[Listing], form: str) -> None:
    assert sum(re.search(form, listing.title) is not None for listing in listings) >= 3
