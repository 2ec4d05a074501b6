"""What pairs of titles share is held against sets of Python words, and against the rooms that it ties together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.text import clean
from index import quantities, traits
from index.lexical import Lexicon, background, similarities
from index.wording import WORDING, Wording

TITLES = [
    "농심 신라면 120g x 5개입", "[무료배송] 농심 신라면 120g 5봉", "농심 신라면 120g 20개입", "Nintendo Switch OLED",
    "닌텐도 스위치 OLED 화이트", "나이키 에어포스 1 07 270", "Galaxy Buds2 SM-R510", "😀", "1 2 3", "가", "1.5L 1 5",
]  # fmt: skip
titles = st.lists(
    st.sampled_from(TITLES) | st.text(st.sampled_from("가나 ab1279.L-"), max_size=12), min_size=1, max_size=8
)


def every_pair(count: int) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.divmod(np.arange(count * count), count)
    return left.astype(np.int64), right.astype(np.int64)


def told(title: str) -> tuple[list[str], list[str], int, float]:
    """Words, numbers, characters without spaces and the share of Hangul, the slow way."""
    text = clean(title)
    said = list(dict.fromkeys(re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", text.casefold())))
    letters = text.replace(" ", "")
    share = sum("가" <= char <= "힣" for char in letters) / max(1, len(letters))
    numbers = [word for word in said if word[0].isdigit()]
    return [word for word in said if word not in numbers], numbers, len(letters), share


def slow(one: str, other: str) -> dict[str, float]:
    """The columns that are not another room's."""
    (words, numbers, length, hangul), (its_words, its_numbers, its_length, its_hangul) = told(one), told(other)
    alone = [len(set(a) - set(b)) for a, b in ((words, its_words), (its_words, words))]
    numbers_alone = [len(set(a) - set(b)) for a, b in ((numbers, its_numbers), (its_numbers, numbers))]
    pairs = {
        "length": (length, its_length), "hangul": (hangul, its_hangul), "words_alone": alone,
        "numbers_alone": numbers_alone,
    }  # fmt: skip
    found = {f"{name}_least": min(both) for name, both in pairs.items()}
    found |= {f"{name}_most": max(both) for name, both in pairs.items()}
    return found | {"numbers_shared": len(set(numbers) & set(its_numbers))}


@given(titles)
def test_words_and_numbers_against_sets(some: list[str]) -> None:
    wording = Wording.of(some)
    left, right = every_pair(len(some))
    found = wording.compare(left, right, wording)
    assert found.dtype == np.float32 and found.shape == (len(left), len(WORDING))
    for pair, row in enumerate(found):
        for name, value in slow(some[left[pair]], some[right[pair]]).items():
            assert row[WORDING.index(name)] == pytest.approx(value), name


@given(titles)
def test_quantities_traits_and_letters_are_those_of_their_rooms(some: list[str]) -> None:
    wording = Wording.of(some)
    left, right = every_pair(len(some))
    found = wording.compare(left, right, wording)
    texts = [clean(title) for title in some]
    for prefix, room, names in (("quantity", quantities, quantities.KINDS), ("trait", traits, traits.TRAITS)):
        columns = [WORDING.index(f"{prefix}_{name}") for name in names]
        for pair, row in enumerate(found):
            one, other = (room.parse(texts[side[pair]]) for side in (left, right))  # type: ignore[attr-defined]
            assert row[columns].tolist() == list(room.verdicts(one, other))  # type: ignore[attr-defined]
    for unit in ("char", "word"):
        rows = Lexicon.from_titles(some, unit).rows  # type: ignore[arg-type]
        expected = similarities(rows, left, rows, right)
        assert found[:, WORDING.index(f"{unit}_cosine")].tolist() == expected.cosine.tolist()
        assert found[:, WORDING.index(f"{unit}_containment")].tolist() == expected.containment.tolist()


@given(titles)
def test_no_title_of_a_pair_is_the_first(some: list[str]) -> None:
    wording = Wording.of(some)
    left, right = every_pair(len(some))
    np.testing.assert_allclose(
        wording.compare(left, right, wording), wording.compare(right, left, wording), rtol=1e-5, atol=1e-6
    )  # fmt: skip


def compared(one: Wording, count: int, other: Wording) -> np.ndarray:
    left, right = every_pair(count)
    return one.compare(left, right, other)


@pytest.mark.parametrize("common", [False, True])
def test_a_new_title_is_weighed_as_the_catalogues(common: bool) -> None:
    grams = np.stack([background(TITLES * 3, "char"), background(TITLES * 3, "word")]) if common else None
    catalogue = Wording.of(TITLES, grams)
    queries = catalogue.queries(TITLES)
    within = compared(catalogue, len(TITLES), catalogue)
    assert np.array_equal(compared(queries, len(TITLES), catalogue), within)
    assert np.array_equal(compared(queries, len(TITLES), queries), within)


def test_how_common_a_gram_is_elsewhere_counts() -> None:
    """In a catalogue of two, only the background knows that a free gift is said everywhere."""
    said = ["사은품 증정 루미노바", "사은품 증정 케틀벨"]
    at_large = [f"사은품 증정 물건{number}" for number in range(500)]
    plain, known = Wording.of(said), Wording.of(said, np.stack([background(at_large), background(at_large, "word")]))
    pair = np.array([0]), np.array([1])
    column = WORDING.index("word_cosine")
    assert known.compare(*pair, known)[0, column] < 0.5 * plain.compare(*pair, plain)[0, column]


def test_titles_of_very_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [" ".join(f"말{chr(0xAC00 + n)} {n}" for n in range(200)), "말 1"]
    monkeypatch.setattr("index.wording._BLOCK", 1)
    found = compared(Wording.of(long), 2, Wording.of(long))
    assert np.isfinite(found).all()


def sides(some: Sequence[str]) -> Wording:
    return Wording.of(list(some))


def test_no_pairs() -> None:
    none = np.empty(0, np.int64)
    assert sides(TITLES).compare(none, none, sides(TITLES)).shape == (0, len(WORDING))
