"""A model takes over whole, beside one that works, and comes back after any stop as the record says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from living import PRODUCTS, SELLERS, TITLES
from models import other_decision, other_vectors

from embedder.bundle import Bundle, load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index import switching as module
from index.catalog import Catalog
from index.ledger import Label
from index.listings import Item
from index.living import LivingMatcher, Pace
from index.shelf import Entry, Shelf
from index.store import ConflictError, StorageError
from index.switching import Prepared, encode_missing, prepare, tidy

ITEMS = [Item(f"i{place:03d}", title) for place, title in enumerate(TITLES)]
NEVER = Pace(least=10**6)


@pytest.fixture(scope="module")
def bundles(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return {"decided": other_decision(bundle, folder / "decided"), "vectors": other_vectors(bundle, folder / "vectors")}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "data") as opened:
        opened.put(ITEMS)
        yield opened


@pytest.fixture
def shelf(catalog: Catalog, bundle: Bundle, bundles: dict[str, Bundle]) -> Shelf:
    shelf = Shelf(catalog, bundle)
    for name, one in bundles.items():
        shelf.put(name, one.folder)
    return shelf


@pytest.fixture
def old(catalog: Catalog, shelf: Shelf, encoder: Encoder) -> Iterator[LivingMatcher]:
    assert shelf.start("dongil").name == "default"
    with LivingMatcher.open(catalog, encoder, device="cpu", pace=NEVER) as living:
        assert living.settle()
        living.rebuild()
        yield living


def ready(catalog: Catalog, entry: Entry, old: LivingMatcher) -> Prepared:
    return prepare(catalog, entry, old, threads=1, device="cpu", pace=NEVER)


def places(catalog: Catalog) -> dict[str, str | None]:
    return {item.id: item.cluster for item in catalog.page(limit=1_000).items}


def groups(names: dict[str, str | None]) -> set[frozenset[str]]:
    return {frozenset(id for id in names if names[id] == name) for name in set(names.values())}


def active(catalog: Catalog) -> str:
    entry = catalog.activations.active()
    return "" if entry is None else entry.model.name


def clustered(catalog: Catalog) -> bool:
    entry = catalog.activations.active()
    return entry is not None and entry.clustered


@pytest.mark.parametrize("name", ["decided", "vectors"])
def test_a_model_takes_over_and_goes_back(
    catalog: Catalog, shelf: Shelf, old: LivingMatcher, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = places(catalog)
    entry = shelf.get(name)
    prepared = ready(catalog, entry, old)
    assert places(catalog) == before, "it leaves clusters alone"
    assert prepared.checks.readable == prepared.checks.found == 1
    now = prepared.take_over(old, "kim")
    assert active(catalog) == name
    assert now.settle()
    assert clustered(catalog)
    assert now.rebuild() == 0, "it was clustered by the new model"
    after = places(catalog)
    for same in groups(before) & groups(after):
        assert {before[id] for id in same} == {after[id] for id in same}
    assert tidy(catalog) == []
    monkeypatch.setattr(Encoder, "encode", lambda *_, **__: pytest.fail("all that is needed stands in the store"))
    monkeypatch.setattr(module, "check", lambda *_: None)
    monkeypatch.setattr("index.scene.Scene.judge", lambda *_: pytest.fail("the pairs were kept"))
    monkeypatch.setattr("index.living.Base.of", lambda *_, **__: pytest.fail("the base was kept"))
    back = shelf.before()
    assert back is not None
    again = ready(catalog, back, now).take_over(now, "kim", back=True)
    assert active(catalog) == "default"
    assert again.settle()
    assert groups(places(catalog)) == groups(before)
    assert shelf.before() is None
    again.close()


def test_the_one_before_still_answers_and_hands_on(catalog: Catalog, shelf: Shelf, old: LivingMatcher) -> None:
    now = ready(catalog, shelf.get("vectors"), old).take_over(old, "kim")
    catalog.put([Item("x", f"{TITLES[0]} 무료배송")])
    catalog.delete(["i001"])
    assert old.follow() == now.snapshot.revision
    assert old.settle()
    assert places(catalog)["x"] == places(catalog)["i000"]
    for living in (old, now):
        (answer,) = living.answer([TITLES[0]], k=100).answers
        assert "i000" in {match.id for match in answer.matches}
        assert "i001" not in {match.id for match in answer.matches}
    assert old.rebuild() == 0
    assert [thread.name for thread in threading.enumerate()].count("living-writer") == 1
    late = ready(catalog, shelf.get("decided"), now)
    with pytest.raises(ConflictError, match="took over meanwhile"):
        late.take_over(old, "kim")
    late.close()
    now.close()


def test_writes_go_on_meanwhile_and_no_answer_is_torn(catalog: Catalog, shelf: Shelf, old: LivingMatcher) -> None:
    """Twins come and go while models change places; each answer has all of one side or all of the other."""
    product = PRODUCTS[0]
    sides = {side: [Item(f"{side}{n}", SELLERS[n % 3].format(product)) for n in range(6)] for side in "ab"}
    catalog.delete([item.id for item in ITEMS[:8]])
    catalog.put(sides["a"])
    serving = [old]
    stop = threading.Event()
    wrong: list[str] = []
    seen = [0, 0]

    def write() -> None:
        here, there = "a", "b"
        while not stop.is_set():
            with catalog.transaction():
                catalog.put(sides[there])
                catalog.delete([item.id for item in sides[here]])
            serving[0].follow()
            here, there = there, here
            seen[0] += 1
            time.sleep(0.02)

    def ask() -> None:
        while not stop.is_set():
            (answer,) = serving[0].answer([product], k=100, threshold=0.01).answers
            found = sorted(match.id for match in answer.matches if match.id[0] in "ab")
            if found not in ([item.id for item in side] for side in sides.values()):
                wrong.append(f"{found}")
            seen[1] += 1

    threads = [threading.Thread(target=run) for run in (write, ask)]
    assert old.settle()
    for thread in threads:
        thread.start()
    for name in ("vectors", "decided"):
        before = serving[0]
        serving[0] = ready(catalog, shelf.get(name), before).take_over(before, "kim")
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(seen) > 5
    assert serving[0].settle()
    assert None not in places(catalog).values()
    serving[0].close()


def test_what_was_stopped_goes_on_where_it_was(catalog: Catalog, shelf: Shelf, old: LivingMatcher) -> None:
    entry = shelf.get("vectors")
    before, half = places(catalog), len(TITLES) // 2

    class Enough(Exception):  # noqa: N818
        """The one who waits has had enough."""

    def impatient(phase: str, done: int, total: int) -> None:
        raise Enough

    encoder = Encoder(entry.bundle, threads=1, device="cpu")
    some = catalog.missing_vectors(encoder.fingerprint, half)
    catalog.put_vectors(encoder.fingerprint, [one.node for one in some], encoder.encode([one.title for one in some]))
    with pytest.raises(Enough):
        prepare(catalog, entry, old, threads=1, device="cpu", progress=impatient)
    assert [thread.name for thread in threading.enumerate()].count("living-writer") == 1
    assert (places(catalog), active(catalog)) == (before, "default")
    phases: list[tuple[str, int]] = []
    prepared = prepare(
        catalog, entry, old, threads=1, device="cpu", progress=lambda phase, done, _: phases.append((phase, done))
    )
    told = list(dict.fromkeys(phase for phase, _ in phases))
    assert told == ["search", "blend", "judge", "check"], "the vectors stood"
    prepared.close()
    assert tidy(catalog) == [entry.model.fingerprint], "nobody needs them any more"
    assert encode_missing(catalog, encoder) > half


def test_what_cannot_be_written_down_did_not_happen(
    catalog: Catalog, shelf: Shelf, old: LivingMatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(catalog, shelf.get("decided"), old)

    def full(*_: object) -> None:
        raise StorageError("no space is left for it")

    with monkeypatch.context() as patched:
        patched.setattr(catalog.activations, "add", full)
        with pytest.raises(StorageError):
            prepared.take_over(old, "kim")
    assert active(catalog) == "default"
    catalog.put([Item("x", f"{TITLES[0]} 무료배송")])
    assert old.settle(), "it goes on"
    assert places(catalog)["x"] == places(catalog)["i000"]
    now = prepared.take_over(old, "kim")
    assert active(catalog) == "decided"
    now.close()


def test_going_back_leads_to_the_one_before_alone(catalog: Catalog, shelf: Shelf, old: LivingMatcher) -> None:
    prepared = ready(catalog, shelf.get("decided"), old)
    with pytest.raises(ConflictError, match="not the one before"):
        prepared.take_over(old, "kim", back=True)
    prepared.close()
    assert active(catalog) == "default"


def test_vectors_that_are_not_what_they_should_be(
    catalog: Catalog, shelf: Shelf, old: LivingMatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = shelf.get("vectors")
    encode = Encoder.encode

    def shifted(encoder: Encoder, titles: list[str], *more: object) -> np.ndarray:
        return encode(encoder, titles)[::-1].copy()

    def blind(encoder: Encoder, titles: list[str], *more: object) -> np.ndarray:
        return np.zeros_like(encode(encoder, titles))

    for wrong, said in ((shifted, "encoded anew"), (blind, "readable titles")):
        with monkeypatch.context() as patched:
            patched.setattr(Encoder, "encode", wrong)
            encode_missing(catalog, Encoder(entry.bundle, threads=1, device="cpu"))
        with pytest.raises(InputError, match=said):
            ready(catalog, entry, old)
        catalog.drop_vectors(entry.model.fingerprint)
        for file in catalog.folder.glob(f"base-{entry.model.fingerprint}*"):
            file.unlink()
    assert active(catalog) == "default"


def test_an_empty_catalogue_switches_too(
    tmp_path: Path, bundle: Bundle, encoder: Encoder, bundles: dict[str, Bundle]
) -> None:
    with Catalog.open(tmp_path) as catalog:
        shelf = Shelf(catalog, bundle)
        shelf.start("dongil")
        entry = shelf.put("vectors", bundles["vectors"].folder)
        with LivingMatcher.open(catalog, encoder, device="cpu") as old, ready(catalog, entry, old).living as now:
            now.take_over(old, lambda: catalog.activations.add(entry.model, "kim"))
            catalog.put(ITEMS[:4])
            assert now.settle()
            assert None not in places(catalog).values()
            assert clustered(catalog)


def test_old_vectors_go_with_a_further_activation(
    catalog: Catalog, shelf: Shelf, old: LivingMatcher, bundle: Bundle
) -> None:
    first = ready(catalog, shelf.get("vectors"), old).take_over(old, "kim")
    assert tidy(catalog) == []
    second = ready(catalog, shelf.get("decided"), first).take_over(first, "kim")
    assert tidy(catalog) == [], "the one before may come back"
    third = ready(catalog, shelf.get("default"), second).take_over(second, "kim")
    assert tidy(catalog) == [shelf.get("vectors").model.fingerprint]
    assert catalog.fingerprints() == [bundle.fingerprint]
    third.close()


def test_a_restart_clusters_what_a_switch_left(
    catalog: Catalog, shelf: Shelf, old: LivingMatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(LivingMatcher, "_build", lambda _: None)
        now = ready(catalog, shelf.get("decided"), old).take_over(old, "kim")
        now.close()
    assert not clustered(catalog)
    entry = shelf.start("dongil")
    assert entry.name == "decided"
    again = Encoder(entry.bundle, threads=1, device="cpu")
    with LivingMatcher.open(catalog, again, device="cpu", pace=NEVER) as living:
        assert living.settle()
        assert clustered(catalog)
        assert living.rebuild() == 0


def test_deletions_that_nobody_needs_are_forgotten(catalog: Catalog, shelf: Shelf, old: LivingMatcher) -> None:
    prepared = ready(catalog, shelf.get("vectors"), old)
    catalog.delete(["i000"])
    gone = old.follow()
    old.rebuild()
    prepared.living.settle()
    prepared.close()
    catalog.delete(["i001"])
    last = old.follow()
    old.rebuild()
    with pytest.raises(InputError, match="load anew"):
        catalog.changes_since(gone - 1)
    assert catalog.changes_since(last).deleted == []


CHILD = """
import sys
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from index import switching
from index.catalog import Catalog
from index.living import LivingMatcher
from index.shelf import Shelf

switching._BATCH = 8
with Catalog.open(sys.argv[1]) as catalog:
    shelf = Shelf(catalog, load_bundle())
    entry = shelf.start("child")
    with LivingMatcher.open(catalog, Encoder(entry.bundle, threads=1, device="cpu"), device="cpu") as living:
        living.settle()
        while True:
            name = "vectors" if shelf.start("child").name != "vectors" else "default"
            print(name, flush=True)
            ready = switching.prepare(catalog, shelf.get(name), living, threads=1, device="cpu")
            living = ready.take_over(living, "child")
            print("took over", name, flush=True)
            switching.tidy(catalog)
"""


def heard(folder: Path, seconds: float) -> list[str]:
    """What a child says until it is killed, some time after it said the first thing."""
    command = [sys.executable, "-c", CHILD, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        threading.Timer(seconds, child.send_signal, [signal.SIGKILL]).start()
        return [line.strip() for line in (first, *child.stdout) if line.endswith("\n")]  # the last may be cut off


def test_the_recorded_model_serves_after_a_kill(
    tmp_path: Path, bundle: Bundle, encoder: Encoder, bundles: dict[str, Bundle]
) -> None:
    """A child switches back and forth until it is killed; whoever comes after serves with what was written down."""
    folder = tmp_path / "data"
    with Catalog.open(folder) as catalog:
        catalog.put(ITEMS)
        Shelf(catalog, bundle).put("vectors", bundles["vectors"].folder)
    for kill in range(int(os.environ.get("DONGIL_TEST_KILLS", "4"))):
        said = heard(folder, 0.3 + 0.4 * kill)
        with Catalog.open(folder) as catalog:
            shelf = Shelf(catalog, bundle)
            recorded = active(catalog)
            told = [line.removeprefix("took over ") for line in said if line.startswith("took over")]
            assert not told or recorded in (told[-1], said[-1]), "what was acknowledged stands"
            entry = shelf.start("dongil")
            assert entry.name == (recorded or "default")
            with LivingMatcher.open(
                catalog, Encoder(load_bundle(entry.bundle.folder), threads=1, device="cpu"), device="cpu"
            ) as living:
                assert living.settle()
                assert len(living.snapshot) == len(ITEMS)
                assert clustered(catalog)
                assert None not in places(catalog).values()
                assert living.rebuild() == 0


def test_a_comparison_tells_what_would_change(catalog: Catalog, shelf: Shelf, old: LivingMatcher) -> None:
    before = places(catalog)
    same = next(iter(sorted(sorted(some) for some in groups(before) if len(some) > 1)))
    catalog.labels.put([Label(same[0], same[1], "same", "kim"), Label("i000", "i095", "different", "kim")])
    catalog.labels.put([Label("i000", "i050", "skip", "kim"), Label("한 제목", "두 제목", "same", "kim", of="titles")])
    old.follow()
    prepared = ready(catalog, shelf.get("decided"), old)
    told = prepared.compared(old)
    assert (told.labels, told.items) == (2, len(ITEMS))
    assert told.old_clusters == len(groups(before))
    now = prepared.take_over(old, "kim")
    assert now.settle()
    after = places(catalog)
    pairs = [{(a, b) for some in groups(names) for a in some for b in some if a < b} for names in (before, after)]
    assert (told.new_clusters, told.old_pairs, told.new_pairs) == (len(groups(after)), len(pairs[0]), len(pairs[1]))
    assert told.both_pairs == len(pairs[0] & pairs[1])
    assert told.kept_share == len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])
    for change in told.changed:
        here = {id for id in before if before[id] == change.cluster}
        there = {id for id in after if after[id] == change.cluster}
        assert (set(change.stay), set(change.leave), set(change.come)) == (here & there, here - there, there - here)
    assert {change.cluster for change in told.changed} == {before[id] for id in before if before[id] != after[id]}
    now.close()
