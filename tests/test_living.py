"""A catalogue that is asked while it changes tells the truth of one revision, and comes back after a stop."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from living import DECISION, PRODUCTS, QUERIES, SELLERS, TITLES

from embedder.encoder import Encoder
from embedder.errors import InputError
from index import living as module
from index import snapshot as snapshot_module
from index.catalog import Catalog
from index.kept import file_of
from index.listings import Item
from index.living import LivingMatcher, Pace
from index.matcher import Matcher, common_grams
from index.nodes import key_of
from index.scene import Scene
from index.shelf import digest_of
from index.store import StorageError

IDS = [f"i{place:03d}" for place in range(len(TITLES))]
ITEMS = [Item(id, title) for id, title in zip(IDS, TITLES, strict=True)]
NEVER = Pace(least=10**6)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "data") as opened:
        yield opened


def alive(catalog: Catalog, encoder: Encoder, pace: Pace = NEVER) -> LivingMatcher:
    return LivingMatcher.open(catalog, encoder, DECISION, device="cpu", pace=pace)


def whole(encoder: Encoder, items: list[Item]) -> Matcher:
    titles = [item.title for item in items]
    grams = common_grams(encoder.bundle)
    scene = Scene.of(titles, lambda some, _: encoder.encode(some), DECISION.blend, background=grams, device="cpu")
    return Matcher(encoder, DECISION, [item.id for item in items], titles, scene)


def places(catalog: Catalog) -> dict[str, str | None]:
    return {item.id: item.cluster for item in catalog.page(limit=1_000).items}


def groups(names: dict[str, str | None]) -> set[frozenset[str]]:
    return {frozenset(id for id in names if names[id] == name) for name in set(names.values())}


def found(living: LivingMatcher, title: str) -> set[str]:
    (answer,) = living.answer([title], k=100, threshold=0.5).answers
    return {match.id for match in answer.matches}


def test_after_a_rebuild_it_answers_and_clusters_as_a_matcher(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS[:60])
    with alive(catalog, encoder) as living:
        assert living.settle()
        catalog.put(ITEMS[60:])
        catalog.delete(IDS[:5])
        catalog.put([Item(IDS[7], PRODUCTS[-1])])
        assert living.settle()
        living.rebuild()
        now = [item for item in ITEMS[5:] if item.id != IDS[7]]
        matcher = whole(encoder, [*now[:2], Item(IDS[7], PRODUCTS[-1]), *now[2:]])
        reply = living.answer(QUERIES, k=50, near_misses=3)
        assert reply.revision == living.snapshot.revision
        for ours, theirs in zip(reply.answers, matcher.answer(QUERIES, k=50, near_misses=3), strict=True):
            for mine, other in ((ours.matches, theirs.matches), (ours.near_misses, theirs.near_misses)):
                assert sorted(match.id for match in mine) == sorted(match.id for match in other)
                for a, b in zip(sorted(mine, key=lambda m: m.id), sorted(other, key=lambda m: m.id), strict=True):
                    assert (a.title, a.reason) == (b.title, b.reason)
                    assert (a.score, a.probability) == pytest.approx((b.score, b.probability), abs=1e-3)
        names: dict[str, str | None] = dict(zip(matcher.ids, matcher.cluster(), strict=True))
        assert groups(places(catalog)) == groups(names)
        assert living.rebuild() == 0, "nothing has changed"


def test_new_items_find_a_cluster_at_once(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS)
    with alive(catalog, encoder) as living:
        assert living.settle()
        living.rebuild()
        before = places(catalog)
        battery = "듀라셀 건전지 AA 20개입"
        catalog.put([Item("x", f"{TITLES[0]} 무료배송"), Item("y", battery), Item("z", f"{battery}!")])
        assert living.settle()
        after = places(catalog)
        assert after == {**before, "x": before["i000"], "y": after["y"], "z": after["y"]}
        assert after["y"] not in before.values()
        assert [event.kind for event in catalog.clusters.events(limit=3)] == ["join", "found", "join"]
        catalog.put([Item("x", battery)])
        assert living.settle()
        assert places(catalog)["x"] == after["y"], "another title, another product"


@pytest.mark.parametrize("spell", [60.0, 0.0])
def test_what_waits_is_found_first_and_stands_in_clusters_afterwards(
    catalog: Catalog, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, spell: float
) -> None:
    """But however many titles wait, now and then a batch finds its clusters."""
    monkeypatch.setattr(module, "_BATCH", 8)
    monkeypatch.setattr(module, "_SPELL", spell)
    seen: list[tuple[int, int]] = []
    with alive(catalog, encoder) as living:
        assert living.settle()
        join = living._upkeep.join

        def told(snapshot: snapshot_module.Snapshot, ids: Sequence[str], again: Sequence[str]) -> None:
            join(snapshot, ids, again)
            seen.append((catalog.missing_count(encoder.fingerprint), len(catalog.clusters.unassigned(1_000))))

        monkeypatch.setattr(living._upkeep, "join", told)
        catalog.put(ITEMS)
        assert living.settle()
    nodes = len({key_of(title) for title in TITLES})
    assert seen[0] == (0 if spell else nodes - 8, len(ITEMS) - 8)
    assert seen[-1] == (0, 0)


def test_clusters_are_as_a_rebuild_would_have_them(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS[::2])
    with alive(catalog, encoder) as living:
        assert living.settle()
        living.rebuild()
        for start in range(1, 24, 8):
            catalog.put(ITEMS[start : start + 8 : 2])
            assert living.settle()
        catalog.delete(IDS[30:34])
        assert living.settle()
        before = places(catalog)
        living.rebuild()
        assert groups(places(catalog)) == groups(before)


def test_deletions_are_forgotten_when_nobody_needs_them(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS)
    with alive(catalog, encoder) as living:
        assert living.settle()
        catalog.delete(["i000"])
        gone = living.follow()
        with catalog.followers.holding():
            living.rebuild()
        assert catalog.changes_since(gone - 1).deleted == ["i000"]
        living.rebuild()
        with pytest.raises(InputError, match="load anew"):
            catalog.changes_since(gone - 1)
        assert "i000" not in found(living, TITLES[0])


def test_what_is_deleted_is_gone_when_the_call_returns(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS)
    with alive(catalog, encoder) as living:
        assert living.settle()
        assert {"i000", "i001"} <= found(living, TITLES[0])
        catalog.delete(["i000"])
        revision = living.follow()
        assert not {"i000"} & found(living, TITLES[0])
        assert living.answer([""]).revision >= revision
        catalog.put([Item("i001", "듀라셀 건전지")])
        living.follow()
        assert "i001" not in found(living, TITLES[0]), "its new title is not encoded yet, its old one holds no more"


def test_it_comes_back_without_encoding_anything(
    catalog: Catalog, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put(ITEMS)
    with alive(catalog, encoder) as living:
        assert living.settle()
        living.rebuild()
        catalog.put([Item("x", "듀라셀 건전지 AA 20개입")])
        catalog.delete(["i003"])
        assert living.settle()
        before, asked = places(catalog), living.answer(QUERIES).answers
    catalog.delete(["i004"])
    monkeypatch.setattr(snapshot_module.Base, "of", lambda *_, **__: pytest.fail("the base was kept"))
    with alive(catalog, encoder) as again:
        assert (len(again.snapshot), again.snapshot.strayed) == (len(ITEMS) - 1, 1)
        assert not {"i003", "i004"} & found(again, TITLES[3])
        assert "x" in found(again, "듀라셀 건전지 AA 20개입")
        assert again.settle()
        del before["i004"]
        assert places(catalog) == before
        for ours, theirs in zip(again.answer(QUERIES).answers, asked, strict=True):
            assert {m.id for m in ours.matches} == {m.id for m in theirs.matches} - {"i004"}


def test_a_base_that_is_due_is_made_in_the_background(catalog: Catalog, encoder: Encoder) -> None:
    with alive(catalog, encoder, Pace(least=10)) as living:
        for start in range(0, len(ITEMS), 24):
            catalog.put(ITEMS[start : start + 24])
            living.follow()
        assert living.settle()
        assert living.snapshot.strayed <= 10
        assert len(living.snapshot) == len(ITEMS)
        assert None not in places(catalog).values()
        assert file_of(catalog.folder, encoder.fingerprint, digest_of(encoder.bundle)).exists()


def test_no_answer_is_of_two_revisions(catalog: Catalog, encoder: Encoder) -> None:
    """Every revision holds one of two sets of twins, never both and never none."""
    product = PRODUCTS[0]
    twins = {side: [Item(f"{side}{n}", SELLERS[n % 3].format(product)) for n in range(6)] for side in "ab"}
    catalog.put([*ITEMS[24:], *twins["a"]])
    with alive(catalog, encoder, Pace(least=20)) as living:
        assert living.settle()
        history = {living.snapshot.revision: "a"}
        stop = threading.Event()
        told: list[tuple[int, str]] = []
        wrong: list[str] = []

        def ask() -> None:
            seen = 0
            while not stop.is_set():
                reply = living.answer([product], k=100, threshold=0.1)
                sides = {match.id[0] for match in reply.answers[0].matches if match.id[0] in "ab"}
                counts = {side: sum(match.id[0] == side for match in reply.answers[0].matches) for side in sides}
                if len(sides) != 1 or [*counts.values()] != [6] or reply.revision < seen:
                    wrong.append(f"{reply.revision}: {counts} after {seen}")
                seen = reply.revision
                told.append((seen, "".join(sides)))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 2
        here, there = "a", "b"
        while time.monotonic() < until and not wrong:
            with catalog.transaction() as revision:
                catalog.put(twins[there])  # first: a title that nobody has any more is forgotten with its vector
                catalog.delete([item.id for item in twins[here]])
            history[revision] = there
            living.follow()
            here, there = there, here
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert min(len(told), len(history)) > 5
        for revision, side in told:
            assert side == history[max(made for made in history if made <= revision)]
        assert living.settle()


def test_what_people_decide_outlives_a_rebuild(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS)
    with alive(catalog, encoder) as living:
        assert living.settle()
        living.rebuild()
        before = places(catalog)
        groups_of = sorted(groups(before), key=lambda some: (-len(some), min(some)))
        large, other = groups_of[0], groups_of[1]
        into, gone = before[min(large)], before[min(other)]
        assert into is not None
        assert gone is not None
        merged = catalog.clusters.merge(into, [gone], "kim", by_hand=True)
        one = max(groups_of[2])
        if len(groups_of[2]) > 1:
            catalog.clusters.split([one], "kim", by_hand=True)
        decided = places(catalog)
        living.rebuild()
        assert places(catalog) == decided
        catalog.clusters.undo(merged.id, "kim")
        living.rebuild()
        after = places(catalog)
        assert {id: after[id] for id in (*large, *other)} == {id: before[id] for id in (*large, *other)}


def test_an_item_that_was_taken_out_by_hand_does_not_come_back(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS[:16])
    with alive(catalog, encoder) as living:
        assert living.settle()
        living.rebuild()
        catalog.put([Item("x", f"{TITLES[0]} 무료배송")])
        assert living.settle()
        (joined,) = catalog.clusters.events(kind="join", item="x")
        left = [id for id, cluster in places(catalog).items() if cluster == places(catalog)["x"] and id != "x"]
        assert "i000" in left
        catalog.clusters.undo(joined.id, "kim")
        assert living.settle()
        now = places(catalog)
        assert now["x"] not in {None, *(now[id] for id in left)}
        living.rebuild()
        now = places(catalog)
        assert now["x"] not in {None, *(now[id] for id in left)}


def test_trouble_is_told_and_passes(catalog: Catalog, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.put(ITEMS[:8])
    with alive(catalog, encoder) as living:
        assert living.settle()
        with monkeypatch.context() as patched:

            def full(*_: object) -> int:
                raise StorageError("no space is left for it")

            patched.setattr(catalog, "put_vectors", full)
            catalog.put(ITEMS[8:])
            assert not living.settle(5)
            assert str(living.trouble) == "no space is left for it"
            assert found(living, TITLES[0]), "what there is goes on"
        deadline = time.monotonic() + 20
        while living.trouble is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert living.settle()
        assert (living.trouble, len(living.snapshot)) == (None, len(ITEMS))


def test_it_stops_while_a_base_is_made(catalog: Catalog, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.put(ITEMS)
    under_way = threading.Event()
    made = snapshot_module.Base.of

    def slow(*given: object, **options: object) -> snapshot_module.Base:
        under_way.set()
        time.sleep(0.3)
        return made(*given, **options)  # type: ignore[arg-type]

    living = alive(catalog, encoder, Pace(least=10))
    monkeypatch.setattr(snapshot_module.Base, "of", slow)
    living.follow()
    assert under_way.wait(20)
    started = time.monotonic()
    living.close()
    assert time.monotonic() - started < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("living")]
    with pytest.raises(InputError):
        living.answer(["콜라"], k=0)


def test_another_models_vectors_are_made_beside(catalog: Catalog, encoder: Encoder) -> None:
    catalog.put(ITEMS[:16])
    other = Encoder(replace(encoder.bundle, fingerprint="0123456789abcdef"), threads=1, device="cpu")
    with alive(catalog, encoder) as living, alive(catalog, other) as beside:
        assert living.settle()
        assert beside.settle()
        assert found(living, TITLES[0]) == found(beside, TITLES[0]) != set()
        assert catalog.missing_count(other.fingerprint) == 0


def test_settle_gives_up(catalog: Catalog, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy() -> bool:
        time.sleep(0.02)
        return True

    with alive(catalog, encoder) as living:
        monkeypatch.setattr(living, "_step", busy)
        assert not living.settle(0.2)


ids = st.sampled_from("abcdefgh")
changes = st.lists(
    st.tuples(st.dictionaries(ids, st.sampled_from(TITLES[:40:3])), st.sets(ids)), min_size=1, max_size=4
)


@given(changes)
@settings(max_examples=12)
def test_stable_ids_through_any_changes(encoder: Encoder, steps: list[tuple[dict[str, str], set[str]]]) -> None:
    folder = tempfile.TemporaryDirectory()
    with folder as name, Catalog.open(name) as catalog, alive(catalog, encoder) as living:
        for put, gone in steps:
            before = places(catalog)
            catalog.put([Item(id, title) for id, title in put.items()])
            catalog.delete(sorted(gone))
            assert living.settle()
            held = places(catalog)
            assert None not in held.values()
            untouched = {id for id in before if id in held and id not in put}
            assert {id: held[id] for id in untouched} == {id: before[id] for id in untouched}
        before = places(catalog)
        living.rebuild()
        after = places(catalog)
        for same in groups(before) & groups(after):
            assert {before[id] for id in same} == {after[id] for id in same}
        items = sorted(catalog.page().items, key=lambda item: item.created)
        if items:
            names: dict[str, str | None] = dict(
                zip([item.id for item in items], whole(encoder, items).cluster(), strict=True)
            )
            assert groups(after) == groups(names)
