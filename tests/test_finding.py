"""Finding: the items that a look at each title finds, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from living import TITLES

from embedder.errors import InputError
from index.catalog import Catalog
from index.listings import Item

MORE = ["100% 순면", "a_b", "back\\slash", "Nintendo Switch OLED", "nintendo switch", "!x"]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog.open(tmp_path_factory.mktemp("catalog")) as catalog:
        catalog.put([Item(f"i{number:03}", title) for number, title in enumerate(TITLES + MORE)])
        yield catalog


def found(catalog: Catalog, text: str) -> list[str]:
    return [item.title for item in catalog.finder.items(text, limit=1_000)[0]]


@given(
    st.lists(
        st.sampled_from(["농심", "신라면", "120g", "%", "_", "\\", "SWITCH", "nin", "x", "", "!", "i003", "?", "'"]),
        max_size=4,
    )
)
def test_it_finds_what_a_look_at_each_title_finds(catalog: Catalog, words: list[str]) -> None:
    text = " ".join(words)
    wanted = [word.lower() for word in text.split()]
    expected = [
        title
        for number, title in enumerate(TITLES + MORE)
        if wanted and (f"i{number:03}" == text.strip() or all(word in title.lower() for word in wanted))
    ]
    assert found(catalog, text) == expected


def test_pages_follow_one_another(catalog: Catalog) -> None:
    seen, cursor = [], None
    while True:
        some, cursor = catalog.finder.items("농심", cursor, 3)
        seen += [item.title for item in some]
        if cursor is None:
            break
    assert seen == found(catalog, "농심")
    with pytest.raises(InputError):
        catalog.finder.items("농심", "nonsense")


def test_a_folder_of_odd_text_is_no_trouble(catalog: Catalog, tmp_path: Path) -> None:
    assert found(catalog, "\0") == []
    assert found(catalog, "x" * 10_000) == []
