"""Items come back as they were put, whatever they are made of, and what cannot be kept is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder.errors import InputError
from index import listings
from index.catalog import Catalog
from index.listings import Item

NOODLES = [
    Item("n1", "농심 신라면 120g x 5봉"),
    Item("n2", "[무료배송] 농심 신라면 120g x 5봉"),
    Item("n3", "농심 너구리"),
]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path) as opened:
        yield opened


def test_text_of_any_kind_comes_back(catalog: Catalog) -> None:
    titles = [
        "",
        " ",
        "!!!",
        "a\0b",
        "\0",
        "ｆｕｌｌ㎖",
        "👩‍👩‍👧",
        "‮right to left",
        "'; DROP TABLE items; --",
        "x" * 100_000,
    ]
    items = [Item(f"{n}\0{title[:9]}", title, seller=title, extra={title[:9]: title}) for n, title in enumerate(titles)]
    catalog.put(items)
    for item in items:
        found = catalog.get(item.id)
        assert found is not None
        assert (found.title, found.seller, found.extra) == (item.title, item.seller, item.extra)
    assert catalog.put(items).unchanged == len(items)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Item("a", "half \ud83d"), "'a' holds half a character"),
        (Item("\udc00", "title"), "holds half a character"),
        (Item("a", "title", extra={"b": "\ud83d"}), "'a' holds half a character"),
        (Item("a", "title", extra={"b": float("nan")}), "'a': .*expected"),
        (Item("a", "title", extra={"b": {1}}), "'a': .*expected"),
        (Item("a", None), "'a': .*expected str"),  # type: ignore[arg-type]
        (Item("n1", "again"), "id 'n1' stands twice"),
    ],
)
def test_an_item_that_cannot_be_kept(catalog: Catalog, item: Item, said: str) -> None:
    with pytest.raises(InputError, match=said):
        catalog.put([*NOODLES, item])
    assert catalog.count() == 0


def test_another_cleaning_makes_other_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.put([*NOODLES, Item("one", "너구리"), *[Item(f"x{n}", f"농심 너구리 {n}") for n in range(20)]])
        nodes = [one.node for one in catalog.missing_vectors("model")]
        catalog.put_vectors("model", nodes, np.eye(len(nodes), dtype=np.float32))
    monkeypatch.setattr(listings, "CLEANING_VERSION", 2)
    monkeypatch.setattr(listings, "_CHUNK", 5)
    monkeypatch.setattr("index.nodes.clean", lambda title: title.split()[0])
    with Catalog.open(tmp_path) as catalog:
        titles = [one.title for one in catalog.missing_vectors("model")]
        assert titles == ["농심 너구리", "[무료배송] 농심 신라면 120g x 5봉"]
        assert catalog.vectors_of("model").ids == ["one"], "its text is the same as before"
