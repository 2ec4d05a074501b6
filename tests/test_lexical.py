"""Similarities are held against an oracle that spells every gram and its hash in Python, and against scikit-learn."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from embedder.errors import InputError
from embedder.text import clean
from index import lexical
from index.lexical import BACKGROUND, PRIOR, Lexicon, Rows, Similarities, Unit, background, similarities

UNITS: tuple[Unit, ...] = ("char", "word")
WORD = r"\d+(?:\.\d+)*|[^\W\d_]+"
TITLES = (
    """
농심 백산수 2L x 6병|백산수 생수 2L, 낱개|제주 삼다수 2L x 6병|제주 삼다수 500ml x 20병|삼다수 0.5L 20개
코카콜라 제로 355ml 24캔|코카콜라 제로 라임 355ml 24캔|펩시 제로슈거 라임 355ml 24캔|펩시콜라 1.5L
햇반 210g 24개|햇반 현미 210g 24개|오뚜기밥 210g|신라면 120g 40개입 (5개입*8봉)|신라면 블랙 134g
나이키 에어포스 1 화이트 CW2288-111|NIKE Air Force 1 '07 White|[무료배송] 신라면 120g 5개|쌀|쌀 10kg|100% 정품
""".strip()
    .replace("\n", "|")
    .split("|")
)
ANYTHING = st.text(st.one_of(st.sampled_from("가나 1.2ab"), st.characters()), max_size=30)  # surrogates too


def hashed(unit: Unit, gram: str) -> int:
    """A gram's bucket, in whole numbers."""
    odd, wide = 0x9E3779B97F4A7C15, 2**64

    def mix(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % wide
        value = (value ^ value >> 27) * 0x94D049BB133111EB % wide
        return value ^ value >> 31

    if unit == "word":
        return sum(mix((ord(char) * odd + place) % wide) for place, char in enumerate(gram)) % wide >> 44
    value = 0
    for char in gram:
        value = (value * odd + ord(char)) % wide
    return mix(value) >> 44


def bag(unit: Unit, text: str) -> Counter[int]:
    grams = re.findall(WORD, text)
    if unit == "char":
        grams = [text[i : i + n] for n in (2, 3, 4) for i in range(len(text) - n + 1)]
    return Counter(hashed(unit, gram) for gram in grams)


def slow(unit: Unit, texts: list[str], left: str, right: str) -> tuple[float, float]:
    """Cosine and containment of two texts by the idf of ``texts``, in loops."""
    said = Counter(itertools.chain.from_iterable(bag(unit, text) for text in texts))
    mine, theirs = (
        {gram: count * (math.log((1 + len(texts)) / (1 + said[gram])) + 1) for gram, count in bag(unit, text).items()}
        for text in (left, right)
    )
    if not mine or not theirs:
        return 0, 0
    shared = mine.keys() & theirs.keys()
    cosine = (
        sum(mine[gram] * theirs[gram] for gram in shared) / math.hypot(*mine.values()) / math.hypot(*theirs.values())
    )
    return cosine, sum(min(mine[gram], theirs[gram]) for gram in shared) / min(sum(mine.values()), sum(theirs.values()))


def every_pair(lefts: Rows, rights: Rows) -> Similarities:
    left, right = np.divmod(np.arange(len(lefts) * len(rights)), max(1, len(rights)))
    return similarities(lefts, left, rights, right)


def check_pairs(unit: Unit, texts: list[str], others: list[str]) -> None:
    lexicon = Lexicon.from_texts(texts, unit)
    found = every_pair(lexicon.queries_of_texts(others), lexicon.rows)
    expected = [slow(unit, texts, left, right) for left in others for right in texts]
    np.testing.assert_allclose(np.stack([found.cosine, found.containment], 1), np.reshape(expected, (-1, 2)), atol=2e-5)
    assert found.cosine.dtype == found.containment.dtype == np.float32


def korean() -> list[str]:
    """Cleaned, casefolded Korean titles, each once."""
    path: Path = ROOT.parent / "shared" / "data" / "korea_cvs" / "titles.csv"
    if not path.exists():
        pytest.skip("the shared data is not here")
    with path.open(encoding="utf-8", newline="") as file:
        titles = {clean(row["title"]).casefold() for row in csv.DictReader(file)}
    return sorted(titles - {""})[:3000]


def sklearn_cosines(unit: Unit, texts: list[str]) -> npt.NDArray[np.float64]:
    options = {"analyzer": "char", "ngram_range": (2, 4)} if unit == "char" else {"token_pattern": WORD}
    weights = TfidfVectorizer(lowercase=False, **options).fit_transform(texts)
    return np.asarray((weights @ weights.T).toarray())


@pytest.mark.parametrize("unit", UNITS)
def test_titles_against_the_oracle(unit: Unit) -> None:
    texts = [clean(title).casefold() for title in TITLES]
    check_pairs(unit, texts, texts)
    check_pairs(unit, texts[:7], texts[5:])


@pytest.mark.parametrize("unit", UNITS)
@given(texts=st.lists(ANYTHING, max_size=6), others=st.lists(ANYTHING, max_size=3))
def test_any_text_against_the_oracle(unit: Unit, texts: list[str], others: list[str]) -> None:
    check_pairs(unit, texts, others)


@pytest.mark.parametrize("unit", UNITS)
def test_cosines_are_those_of_scikit_learn(unit: Unit) -> None:
    texts = [clean(title).casefold() for title in TITLES]
    lexicon = Lexicon.from_titles(TITLES, unit)
    assert np.isclose(lexicon.idf, lexicon.idf.max()).mean() > 0.99  # hardly a bucket is taken, and none twice:
    assert list(np.diff(lexicon.rows.starts)) == [len(bag(unit, text)) for text in texts]
    np.testing.assert_allclose(
        every_pair(lexicon.rows, lexicon.rows).cosine, sklearn_cosines(unit, texts).ravel(), atol=1e-6
    )


@pytest.mark.parametrize("unit", UNITS)
def test_shared_buckets_hardly_move_a_cosine(unit: Unit) -> None:
    texts = korean()
    lexicon = Lexicon.from_texts(texts, unit)
    expected = sklearn_cosines(unit, texts)
    right = np.argsort(-expected[:300], axis=1)[:, 1:21]
    found = similarities(lexicon.rows, np.repeat(np.arange(300), 20), lexicon.rows, right.ravel()).cosine
    wanted = np.take_along_axis(expected[:300], right, 1).ravel()
    assert np.corrcoef(found, wanted)[0, 1] > 0.999
    assert np.abs(found - wanted).mean() < 0.005


@pytest.mark.parametrize("unit", UNITS)
@given(titles=st.lists(ANYTHING, min_size=2, max_size=6), data=st.data())
def test_the_order_of_titles_changes_no_similarity(unit: Unit, titles: list[str], data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(titles)))))
    plain, turned = (Lexicon.from_titles(some, unit).rows for some in (titles, [titles[row] for row in order]))
    left, right = np.divmod(np.arange(len(titles) ** 2), len(titles))
    found, expected = similarities(turned, left, turned, right), similarities(plain, order[left], plain, order[right])
    np.testing.assert_allclose(found.cosine, expected.cosine, atol=1e-6)
    np.testing.assert_allclose(found.containment, expected.containment, atol=1e-6)


@pytest.mark.parametrize("unit", UNITS)
@given(titles=st.lists(ANYTHING, max_size=6))
def test_a_query_is_the_row_of_the_same_title(unit: Unit, titles: list[str]) -> None:
    lexicon = Lexicon.from_titles(titles, unit, background(TITLES, unit))
    rows = lexicon.queries(titles)
    for name in ("starts", "grams", "weights", "lengths", "masses"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(lexicon.rows, name))
        assert getattr(rows, name).dtype == getattr(lexicon.rows, name).dtype
    assert len(rows) == len(titles)


@pytest.mark.parametrize("unit", UNITS)
def test_blocks_and_the_order_of_pairs_change_nothing(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = [*TITLES, "", "쌀"]
    rows = Lexicon.from_titles(titles, unit).rows
    expected = every_pair(rows, rows)
    monkeypatch.setattr(lexical, "_BLOCK", 3)
    monkeypatch.setattr(lexical, "_ENTRIES", 50)
    again = Lexicon.from_titles(titles, unit).rows
    np.testing.assert_array_equal(again.grams, rows.grams)
    np.testing.assert_array_equal(again.starts, rows.starts)
    order = np.random.default_rng(0).permutation(len(titles) ** 2)
    left, right = np.divmod(order, len(titles))
    found = similarities(again, left, again, right)
    np.testing.assert_allclose(found.cosine, expected.cosine[order], atol=1e-6)
    np.testing.assert_allclose(found.containment, expected.containment[order], atol=1e-6)


def test_a_title_in_a_longer_one_is_contained() -> None:
    titles = ["신라면 120g", "[농심] 신라면 (120g) 5개", "진라면 120g", "햇반", ""]
    found = every_pair(rows := Lexicon.from_titles(titles, "word").rows, rows)
    contained, cosine = found.containment.reshape(5, 5), found.cosine.reshape(5, 5)
    assert contained[0, 1] == pytest.approx(1)
    assert cosine[0, 1] < 0.9
    assert 0 < contained[0, 2] < 1
    assert contained[0, 3] == cosine[0, 3] == contained[0, 4] == contained[4, 4] == 0
    np.testing.assert_allclose(contained, contained.T, atol=1e-6)
    np.testing.assert_allclose(cosine.diagonal(), [1, 1, 1, 1, 0], atol=1e-6)


def test_a_point_at_a_titles_end_is_no_part_of_a_number() -> None:
    first, second, third = (Lexicon.from_texts(texts, "word").rows for texts in (["2.", "5"], ["2", ".5"], ["2", "5"]))
    np.testing.assert_array_equal(first.grams, third.grams)
    np.testing.assert_array_equal(second.grams, third.grams)
    assert len(Lexicon.from_texts(["2.5"], "word").rows.grams) == 1


@pytest.mark.parametrize("unit", UNITS)
def test_with_a_background_a_small_catalogue_scores_as_a_large_one(unit: Unit) -> None:
    draw = np.random.default_rng(0)
    parts = [[f"{''.join(draw.choice(list('가나다라마바사아자차카타파하'), 3))}" for _ in range(60)] for _ in range(3)]
    chosen = [np.minimum(draw.geometric(0.08, 4000) - 1, 59) for _ in parts]  # some words are common, most are rare
    texts = sorted({" ".join(part[i] for part, i in zip(parts, row, strict=True)) for row in zip(*chosen, strict=True)})
    left, right = draw.integers(len(texts), size=(2, 3000))
    whole = Lexicon.from_texts(texts, unit)
    expected = similarities(whole.rows, left, whole.rows, right).cosine
    errors = []
    for table in (None, background(texts, unit)):
        small = Lexicon.from_texts(texts[:3], unit, table)
        rows = small.queries_of_texts(texts)
        errors.append(np.abs(similarities(rows, left, rows, right).cosine - expected).mean())
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3


def test_a_background_holds_the_share_of_titles_that_say_a_gram() -> None:
    table = background(["가 나", "가 다", "가", "라"], "word")
    assert table.dtype == np.uint8
    assert table.shape == (BACKGROUND,)
    assert sorted(table[table < 255].tolist()) == [round(16 * math.log(4 / 3))] + 3 * [round(16 * math.log(4))]
    lexicon = Lexicon.from_titles([], "word", table)
    weight = lexicon.queries(["가"]).masses[0]
    assert weight == pytest.approx(math.log((1 + PRIOR) / (1 + PRIOR * 3 / 4)) + 1, abs=1 / 32)
    assert lexicon.queries(["하"]).masses[0] == pytest.approx(math.log(1 + PRIOR) + 1)
    np.testing.assert_array_equal(background([]), np.full(BACKGROUND, 255, np.uint8))


def test_bad_input_is_told() -> None:
    rows = Lexicon.from_titles(["가나", "다라"]).rows
    none, one = np.zeros(0, np.int64), np.zeros(1, np.int64)
    with pytest.raises(InputError, match="1 left ids for 0 right ids"):
        similarities(rows, one, rows, none)
    with pytest.raises(InputError, match="left id -1 of pair 0; expected one of 2 rows"):
        similarities(rows, one - 1, rows, one)
    with pytest.raises(InputError, match="right id 2 of pair 0"):
        similarities(rows, one, rows, one + 2)
    with pytest.raises(InputError, match=r"float64 and shape \(3,\); expected uint8 and \(65536,\)"):
        Lexicon.from_titles([], "char", np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unit 'words'; expected one of char, word"):
        Lexicon.from_titles([], "words")  # type: ignore[arg-type]
    assert len(similarities(rows, none, rows, none).cosine) == 0
