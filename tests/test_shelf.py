"""Bundles come to the shelf whole, names cannot leave the folder, and what works cannot be removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from models import other_decision, other_vectors

from embedder.bundle import Bundle, load_bundle
from embedder.errors import InputError
from index.catalog import Catalog
from index.shelf import MODELS, Shelf, digest_of
from index.store import ConflictError


@pytest.fixture(scope="module")
def decided(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return other_decision(bundle, tmp_path_factory.mktemp("models") / "decided")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def shelf(catalog: Catalog, bundle: Bundle) -> Shelf:
    return Shelf(catalog, bundle)


def test_the_one_from_outside_is_there(shelf: Shelf, bundle: Bundle) -> None:
    (entry,) = shelf.entries()
    assert (entry.name, entry.model.fingerprint, entry.model.outside) == ("default", bundle.fingerprint, True)
    assert entry == shelf.get("default") == shelf.outside
    assert entry.size > bundle.model_bytes
    assert entry.metrics
    assert shelf.faults() == {}


def test_a_bundle_is_copied_and_found_again(shelf: Shelf, decided: Bundle, catalog: Catalog, bundle: Bundle) -> None:
    entry = shelf.put("kim-2.1", decided.folder)
    assert entry.model.fingerprint == bundle.fingerprint
    assert entry.model.digest == digest_of(decided) != digest_of(bundle)
    assert entry.metrics == {"note": "another decision"}
    assert entry.parent == decided.config.parent
    assert [one.name for one in shelf.entries()] == ["default", "kim-2.1"]
    assert [one.model for one in Shelf(catalog, bundle).entries()] == [one.model for one in shelf.entries()]
    assert load_bundle(catalog.folder / MODELS / "kim-2.1").fingerprint == decided.fingerprint


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a" * 65, "a b", "모델", "a\0", "a\n", "-x"]
)
def test_a_name_stays_in_the_folder(shelf: Shelf, decided: Bundle, catalog: Catalog, name: str) -> None:
    with pytest.raises(InputError, match="expected up to 64"):
        shelf.put(name, decided.folder)
    with pytest.raises(InputError, match="no model"):
        shelf.get(name)
    with pytest.raises(InputError, match="no model"):
        shelf.remove(name)
    assert not (catalog.folder / MODELS).exists()


def test_a_name_is_given_once(shelf: Shelf, decided: Bundle) -> None:
    shelf.put("a", decided.folder)
    for name in ("a", "default"):
        with pytest.raises(ConflictError, match="is there already"):
            shelf.put(name, decided.folder)


def test_half_a_bundle_does_not_come(
    shelf: Shelf, decided: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    shutil.copytree(decided.folder, half)
    (half / "decision.json").write_text("{}")
    with pytest.raises(InputError, match="not a decision"):
        shelf.put("half", half)
    (half / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="not the one this bundle was written with"):
        shelf.put("half", half)

    def stopped(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("index.shelf.Bundle.copy_to", stopped)
    with pytest.raises(InputError, match="No space left"):
        shelf.put("half", decided.folder)
    assert [entry.name for entry in shelf.entries()] == ["default"]
    assert [*shelf.folder.iterdir()] == []


def test_what_a_killed_process_left_is_swept_away(catalog: Catalog, bundle: Bundle, decided: Bundle) -> None:
    folder = catalog.folder / MODELS
    for name in (".a.x81k", ".b.gone"):
        (folder / name).mkdir(parents=True)
        shutil.copyfile(decided.folder / "config.json", folder / name / "config.json")
    shelf = Shelf(catalog, bundle)
    assert [entry.name for entry in shelf.entries()] == ["default"]
    assert [*folder.iterdir()] == []


def test_one_that_is_broken_is_told_and_hides_no_other(shelf: Shelf, decided: Bundle, catalog: Catalog) -> None:
    shelf.put("a", decided.folder)
    shelf.put("b", decided.folder)
    (catalog.folder / MODELS / "a" / "tokenizer.json").unlink()
    fresh = Shelf(catalog, shelf.outside.bundle)
    assert [entry.name for entry in fresh.entries()] == ["default", "b"]
    assert [*fresh.faults()] == ["a"]
    assert "tokenizer.json missing" in fresh.faults()["a"]


def test_what_works_cannot_be_removed(shelf: Shelf, decided: Bundle, catalog: Catalog) -> None:
    shelf.start("dongil")
    entry = shelf.put("a", decided.folder)
    catalog.activations.add(entry.model, "kim")
    for name, said in (("a", "is active"), ("default", "stands outside")):
        with pytest.raises(ConflictError, match=said):
            shelf.remove(name)
    catalog.activations.back("kim")
    shelf.remove("a")
    with pytest.raises(InputError, match="no model 'a'; expected one of default"):
        shelf.get("a")
    assert [*shelf.folder.iterdir()] == []


def test_the_record_says_what_serves(shelf: Shelf, decided: Bundle, catalog: Catalog, bundle: Bundle) -> None:
    assert shelf.start("dongil") == shelf.outside
    first = catalog.activations.active()
    assert first is not None
    assert (first.model, first.clustered) == (shelf.outside.model, True)
    shelf.start("dongil")
    assert catalog.activations.active() == first, "nothing is new"
    entry = shelf.put("a", decided.folder)
    catalog.activations.add(entry.model, "kim")
    again = Shelf(catalog, bundle)
    assert again.start("dongil").model == entry.model
    before = again.before()
    assert before is not None
    assert before.model == shelf.outside.model


def test_another_one_from_outside_serves_unless_one_was_activated(
    shelf: Shelf, decided: Bundle, catalog: Catalog
) -> None:
    shelf.start("dongil")
    other = Shelf(catalog, decided)
    assert other.start("dongil").name == "decided"
    active = catalog.activations.active()
    assert active is not None
    assert not active.clustered
    with pytest.raises(InputError, match="no model 'default'"):
        other.before()
    entry = other.put("a", decided.folder)
    catalog.activations.add(entry.model, "kim")
    assert shelf.start("dongil").name == "a"


def test_an_active_model_that_is_gone_is_told(shelf: Shelf, decided: Bundle, catalog: Catalog) -> None:
    entry = shelf.put("a", decided.folder)
    catalog.activations.add(entry.model, "kim")
    shutil.rmtree(catalog.folder / MODELS / "a")
    with pytest.raises(InputError, match="no model 'a'"):
        shelf.start("dongil")


def test_another_bundle_of_the_name_is_not_the_one_before(
    shelf: Shelf, decided: Bundle, bundle: Bundle, catalog: Catalog, tmp_path: Path
) -> None:
    entry = shelf.put("a", decided.folder)
    catalog.activations.add(entry.model, "kim")
    catalog.activations.add(shelf.outside.model, "kim")
    shelf.remove("a")
    shelf.put("a", other_vectors(bundle, tmp_path / "others").folder)
    with pytest.raises(InputError, match="not the one that worked then"):
        shelf.before()


def test_a_model_of_the_folder_can_be_given_from_outside(shelf: Shelf, decided: Bundle, catalog: Catalog) -> None:
    shelf.put("a", decided.folder)
    given = Shelf(catalog, load_bundle(catalog.folder / MODELS / "a"))
    assert [(entry.name, entry.model.outside) for entry in given.entries()] == [("a", False)]
    taken = shutil.copytree(decided.folder, catalog.folder.parent / "a")
    assert Shelf(catalog, load_bundle(taken)).outside.name == f"given-{decided.fingerprint}"
