"""Breakdown: kinds of rows, and look-alikes that differ in a number alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.breakdown import CATEGORIES, _categories, _ranges, number_twins

WORDS = st.sampled_from(["cola 250 ml", "cola 500ml", "cola 500 ml", "cola", "cola 250 ml x 2", "cider 250ml"])


def test_the_same_except_a_number() -> None:
    titles = ["Cola 500 ml", "cola 250ml", "COLA 250 ML", "cola zero 250ml", "cider 1.5L"]
    assert number_twins(titles, np.array([0, 1, 1, 2, 3])).tolist() == [True, True, True, False, False]


def test_equal_titles_and_one_products_sizes_are_no_look_alikes() -> None:
    assert not number_twins(["cola 250ml", "cola 250ml"], np.array([0, 1])).any()
    assert not number_twins(["cola 250ml", "cola 500ml"], np.array([0, 0])).any()


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, st.integers(0, 3)), min_size=1, max_size=10))
def test_look_alikes_against_every_pair(rows: list[tuple[str, int]]) -> None:
    def numbers(title: str) -> list[str]:
        return re.findall(r"\d+", title)

    def letters(title: str) -> str:
        return re.sub(r"\s", "", re.sub(r"\d+", "#", title))

    expected = [
        any(letters(t) == letters(u) and numbers(t) != numbers(u) and mine != theirs for u, theirs in rows)
        for t, mine in rows
    ]
    assert number_twins([t for t, _ in rows], np.array([label for _, label in rows])).tolist() == expected


@pytest.mark.parametrize(("size", "name"), [(1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (9, "5-9"), (10, "10+")])
def test_ranges_hold_their_ends(size: int, name: str) -> None:
    names, kind = _ranges(np.array([size]), ((1, "1"), (2, "2"), (4, "3-4"), (9, "5-9"), (None, "10+")))
    assert names[kind[0]] == name


def test_rare_categories_are_told_together() -> None:
    categories = [f"c{i:02d}" for i in range(CATEGORIES + 3)] + ["often", "often", ""]
    names, kind = _categories(categories)
    assert names[0] == "often"
    assert names[1] == "(none)"
    assert names[-1] == "(all others)"
    assert [names[k] for k in kind[-3:]] == ["often", "often", "(none)"]
    assert len(names) == CATEGORIES + 1
