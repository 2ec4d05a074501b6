"""The last entry is the active model, and one can go back step by step, in whatever order models were put to work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import store as module
from index.activations import Activation, Called
from index.catalog import Catalog
from index.listings import Item
from index.migrations import MIGRATIONS
from index.store import FILE, ConflictError


def model(name: str) -> Called:
    return Called(name, f"{name}-vectors", f"{name}-decision", name == "default")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, clock=lambda: 12.5) as opened:
        yield opened


def test_what_is_entered_is_read(catalog: Catalog) -> None:
    activations = catalog.activations
    assert (activations.active(), activations.before(), activations.get(1)) == (None, None, None)
    first = activations.add(model("default"), "dongil", clustered=True)
    assert first == Activation(1, model("default"), "dongil", 12.5, None, True) == activations.active()
    assert activations.before() is None
    second = activations.add(model("a"), "kim")
    assert second == Activation(2, model("a"), "kim", 12.5, 1, False) == activations.active()
    assert activations.before() == first == activations.get(1)


def test_it_outlives_the_process(catalog: Catalog) -> None:
    entered = catalog.activations.add(model("a"), "kim")
    catalog.close()
    with Catalog.open(catalog.folder) as again:
        assert again.activations.active() == entered


def test_there_is_nothing_before_the_first(catalog: Catalog) -> None:
    for _ in range(2):
        with pytest.raises(ConflictError, match="no model worked before"):
            catalog.activations.back("kim")
        catalog.activations.add(model("default"), "dongil")
        break
    with pytest.raises(ConflictError, match="no model worked before"):
        catalog.activations.back("kim")


def test_going_back_twice_goes_two_steps(catalog: Catalog) -> None:
    activations = catalog.activations
    for name in ("default", "a", "b"):
        activations.add(model(name), "kim")
    assert [activations.back("kim").model.name for _ in range(2)] == ["a", "default"]
    assert activations.before() is None
    newest = activations.add(model("b"), "kim")
    assert activations.get(newest.previous or 0) == activations.before()
    assert activations.back("kim").model.name == "default"


def test_clustering_is_noted_for_the_active_model_alone(catalog: Catalog) -> None:
    activations = catalog.activations
    assert not activations.clustered("a-vectors", "a-decision")
    activations.add(model("a"), "kim")
    assert not activations.clustered("a-vectors", "b-decision")
    assert activations.clustered("a-vectors", "a-decision")
    active = activations.active()
    assert active is not None
    assert active.clustered
    activations.add(model("b"), "kim")
    assert not activations.clustered("a-vectors", "a-decision")


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12))
def test_it_is_a_stack_that_forgets_nothing(tmp_path_factory: pytest.TempPathFactory, steps: list[str | None]) -> None:
    stack: list[str] = []
    told: list[str] = []
    with Catalog.open(tmp_path_factory.mktemp("activations")) as catalog:
        for name in steps:
            if name is not None:
                catalog.activations.add(model(name), "kim")
                stack.append(name)
            elif len(stack) > 1:
                catalog.activations.back("kim")
                stack.pop()
            else:
                with pytest.raises(ConflictError):
                    catalog.activations.back("kim")
                continue
            told.append(stack[-1])
            active, before = catalog.activations.active(), catalog.activations.before()
            assert (active.model.name if active else None) == stack[-1]
            assert (before.model.name if before else None) == (stack[-2] if len(stack) > 1 else None)
        some: list[str] = []
        cursor: str | None = None
        while True:
            page, cursor = catalog.activations.page(cursor, 5)
            some += [entry.model.name for entry in page]
            if cursor is None:
                break
        assert some == told[::-1]


def test_an_older_folder_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "MIGRATIONS", MIGRATIONS[:1])
        store = module.Store.open(tmp_path)
        store.close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert "activations" not in tables
    connection.close()
    with Catalog.open(tmp_path) as catalog:
        catalog.put([Item("a", "title")])
        assert catalog.activations.active() is None
        catalog.activations.add(model("a"), "kim")
