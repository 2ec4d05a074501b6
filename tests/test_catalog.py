"""The catalogue is held against a dictionary, through any sequence of writes, and against readers beside a writer."""

from __future__ import annotations

import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embedder.errors import InputError
from embedder.text import clean
from index.catalog import Catalog, Changes, Page, PutResult
from index.listings import Item
from index.store import ConflictError
from index.vectors import Vectors

NOODLES = [
    Item("n1", "농심 신라면 120g x 5봉"),
    Item("n2", "[무료배송] 농심 신라면 120g x 5봉"),
    Item("n3", "농심 너구리"),
]
MODEL = "0123456789abcdef"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "data") as opened:
        yield opened


def key(item: Item) -> str:
    return clean(item.title).casefold() or f"\0{item.id}"


def vectors_for(titles: list[str]) -> Vectors:
    """A vector that tells its cleaned title."""
    rows = [np.random.default_rng(zlib.crc32(clean(title).casefold().encode())).normal(size=8) for title in titles]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(len(titles), 8)


def embed(catalog: Catalog, fingerprint: str = MODEL, limit: int = 100) -> int:
    missing = catalog.missing_vectors(fingerprint, limit)
    if missing:
        catalog.put_vectors(fingerprint, [one.node for one in missing], vectors_for([one.title for one in missing]))
    return len(missing)


def ids_of(page: Page) -> list[str]:
    return [item.id for item in page.items]


def test_put_get_delete(catalog: Catalog) -> None:
    first = catalog.put(NOODLES)
    assert (first.created, first.updated, first.unchanged) == (3, 0, 0)
    changed = replace(NOODLES[0], seller="마트", category="면", extra={"가격": 4_180, "tags": ["a", None]})
    second = catalog.put([changed, NOODLES[1]])
    assert second == PutResult(0, 1, 1, first.revision + 1)
    assert catalog.get("n1") == replace(changed, created=first.revision, updated=second.revision)
    assert catalog.delete(["n1", "nobody", "n1"]) == second.revision + 1
    assert catalog.get("n1") is None
    assert catalog.count() == 2


def test_questions_that_cannot_be_asked(catalog: Catalog) -> None:
    for ask in (
        lambda: catalog.get("\ud83d"),
        lambda: catalog.delete(["\ud83d"]),
        lambda: catalog.page(seller="\ud83d"),
    ):
        with pytest.raises(InputError, match="half a character"):
            ask()
    with pytest.raises(InputError, match="limit is 0"):
        catalog.page(limit=0)
    with pytest.raises(InputError, match="64 bits"):
        catalog.page(limit=2**64)
    with pytest.raises(InputError, match="expected one that a page gave"):
        catalog.page("page 2")


def test_the_same_key_gets_the_same_answer(catalog: Catalog) -> None:
    answer = catalog.put(NOODLES, idempotency_key="k")
    catalog.delete(["n1"])
    assert catalog.put(NOODLES, idempotency_key="k") == answer
    assert catalog.get("n1") is None, "it did nothing the second time"
    with pytest.raises(ConflictError, match="another request"):
        catalog.put(NOODLES[:2], idempotency_key="k")
    with pytest.raises(InputError):
        catalog.put([Item("a", "\ud83d")], idempotency_key="failed")
    assert catalog.put(NOODLES[:1], idempotency_key="failed").created == 1, "a failure is not remembered"


def test_filters(catalog: Catalog) -> None:
    draw = np.random.default_rng(0)
    items = [Item(f"{n:03d}", f"t{n}", *draw.choice(["a", "b", None], 2)) for n in range(120)]  # type: ignore[arg-type]
    catalog.put(items)
    catalog.clusters.move({item.id: f"k{n % 4}" for n, item in enumerate(items)}, "rebuild", "test")
    for seller in ("a", "b", "c", None):
        for category in ("a", None):
            for cluster in ("k1", None):
                expected = [
                    item.id
                    for n, item in enumerate(items)
                    if seller in (None, item.seller) and category in (None, item.category)
                    and (cluster is None or n % 4 == 1)
                ]  # fmt: skip
                found, cursor = list[str](), None
                while True:
                    page = catalog.page(cursor, 7, seller=seller, category=category, cluster=cluster)
                    found += ids_of(page)
                    if (cursor := page.next_cursor) is None:
                        break
                assert found == expected


def test_equal_titles_share_a_vector(catalog: Catalog) -> None:
    catalog.put([*NOODLES, Item("e1", "!!!"), Item("e2", "!!!")])
    missing = catalog.missing_vectors(MODEL)
    assert [one.title for one in missing] == ["[무료배송] 농심 신라면 120g x 5봉", "농심 너구리", "!!!", "!!!"]
    assert catalog.missing_count(MODEL) == 4
    assert catalog.missing_vectors(MODEL, 2) == missing[:2]
    assert catalog.missing_vectors(MODEL, 2, after=missing[1].node) == missing[2:]
    assert embed(catalog, limit=2) == 2
    assert (catalog.missing_vectors(MODEL), catalog.missing_count(MODEL)) == (missing[2:], 2)
    loaded = catalog.vectors_of(MODEL)
    assert (loaded.ids, loaded.row_of.tolist()) == (["n1", "n2", "n3"], [0, 0, 1])
    np.testing.assert_array_equal(loaded.matrix, vectors_for([NOODLES[0].title, NOODLES[2].title]))
    assert loaded.matrix.dtype == np.float32
    few = catalog.vectors_for(MODEL, ["n3", "nobody", "e1", "n1"])
    assert (few.ids, few.row_of.tolist(), few.titles) == (["n3", "n1"], [1, 0], ["농심 너구리", NOODLES[0].title])
    np.testing.assert_array_equal(few.matrix[few.row_of], loaded.matrix[[1, 0]])


def test_vectors_of_a_model_that_nobody_knows(catalog: Catalog) -> None:
    catalog.put(NOODLES)
    for loaded in (catalog.vectors_of(MODEL), catalog.vectors_for(MODEL, ["n1"])):
        assert (loaded.ids, loaded.matrix.shape, len(loaded.row_of)) == ([], (0, 0), 0)
    assert catalog.drop_vectors(MODEL) > 0


def test_a_model_beside_another(catalog: Catalog) -> None:
    catalog.put(NOODLES)
    embed(catalog, "old")
    catalog.put_vectors("new", [1, 2, 99], np.eye(3, 5, dtype=np.float32))
    assert catalog.vectors_of("old").matrix.shape == (2, 8)
    assert catalog.vectors_of("new").matrix.tolist() == np.eye(2, 5).tolist(), "node 99 went meanwhile"
    catalog.drop_vectors("old")
    assert catalog.missing_count("old") == 2
    assert catalog.missing_count("new") == 0
    catalog.put_vectors("new", [2], np.zeros((1, 5), np.float32))
    assert catalog.vectors_of("new").matrix[1].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("nodes", "vectors", "said"),
    [
        ([1, 2], np.eye(1, 8), "1 vectors for 2 nodes"),
        ([1], np.eye(1, 9), "9 dimensions; the index holds 8"),
        ([1], np.full((1, 8), np.nan), "length nan"),
        ([1], np.ones((1, 8)), "expected 1"),
    ],
)
def test_vectors_that_cannot_be_kept(catalog: Catalog, nodes: list[int], vectors: Vectors, said: str) -> None:
    catalog.put(NOODLES)
    embed(catalog)
    before = catalog.vectors_of(MODEL)
    with pytest.raises(InputError, match=said):
        catalog.put_vectors(MODEL, nodes, vectors.astype(np.float32))
    np.testing.assert_array_equal(catalog.vectors_of(MODEL).matrix, before.matrix)


def test_a_follower_sees_vectors_come(catalog: Catalog) -> None:
    put = catalog.put(NOODLES).revision
    assert catalog.changes_since(put - 1) == Changes(["n1", "n2", "n3"], [], put)
    embed(catalog, limit=1)
    assert catalog.changes_since(put, MODEL) == Changes(["n1", "n2"], [], put + 1)
    assert catalog.changes_since(put, "other") == Changes([], [], put + 1)
    catalog.delete(["n1"])
    assert catalog.changes_since(put + 1, MODEL) == Changes([], ["n1"], put + 2)
    catalog.put(NOODLES)
    assert catalog.changes_since(put + 1, MODEL) == Changes(["n1"], [], put + 3), "it came again: no longer deleted"


def test_deletions_can_be_forgotten(catalog: Catalog) -> None:
    start = catalog.put(NOODLES).revision
    first, second = catalog.delete(["n1"]), catalog.delete(["n2"])
    now = catalog.forget_deleted(first)
    assert catalog.changes_since(first) == Changes([], ["n2"], now)
    for revision in (start, now + 1):
        with pytest.raises(InputError, match=f"changes are known from {first} to {now}: load anew"):
            catalog.changes_since(revision)
    catalog.forget_deleted(second + 1_000)
    assert catalog.changes_since(now + 1) == Changes([], [], now + 1), "the future is not forgotten"


def test_readers_see_whole_revisions(catalog: Catalog) -> None:
    """A hundred coins move between twenty items; every reader counts a hundred, and the round that goes with them."""
    rounds: dict[int, int] = {}
    ended = threading.Event()
    seen: list[tuple[int, int, int, int]] = []

    def write() -> None:
        draw = np.random.default_rng(0)
        for number in range(40):
            coins = np.bincount(draw.integers(20, size=100), minlength=20).tolist()
            items = [Item(f"{n:02d}", "coins", extra={"coins": have, "round": number}) for n, have in enumerate(coins)]
            with catalog.transaction() as revision:  # in two parts, which nobody may see apart
                catalog.put(items[:10])
                catalog.put(items[10:])
            rounds[revision] = number
        ended.set()

    def read() -> None:
        while not ended.is_set():
            with catalog.snapshot() as revision:
                cursor, extras = None, list[dict[str, int]]()
                while True:
                    page = catalog.page(cursor, 6)
                    extras += [dict(item.extra) for item in page.items]
                    if (cursor := page.next_cursor) is None:
                        break
                numbers = {extra["round"] for extra in extras}
                assert len(numbers) <= 1
                seen.append(
                    (revision, catalog.count(), sum(extra["coins"] for extra in extras), max(numbers, default=-1))
                )

    threads = [threading.Thread(target=read) for _ in range(4)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    whole = [
        (count, coins, rounds[revision] == number) for revision, count, coins, number in seen if revision in rounds
    ]
    assert len(whole) > 40
    assert set(whole) == {(20, 100, True)}
    assert all(count == 0 for revision, count, *_ in seen if revision not in rounds)


TITLES = st.sampled_from(
    [*(item.title for item in NOODLES), "Nintendo Switch", "nintendo  SWITCH", "!!!", "", "①", "1"]
)
ITEMS = st.builds(
    Item,
    st.sampled_from([*"abcdefghij", "가", "나"]),
    TITLES,
    st.sampled_from([None, "s", "t"]),
    st.sampled_from([None, "c"]),
    st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=1),
)


class CatalogMachine(RuleBasedStateMachine):
    """Any sequence of writes, beside a dictionary that is told the same; a walk through the pages goes on meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.catalog = Catalog.open(self.folder)
        self.model: dict[str, Item] = {}
        self.touched: dict[str, int] = {}  # the last revision in which an id was written or deleted
        self.revision = 0
        self.embedded: set[str] = set()

    @initialize()
    def begin_walk(self) -> None:
        self.cursor: str | None = None
        self.walked: list[str] = []
        self.staying = set(self.model)

    @rule(items=st.lists(ITEMS, max_size=5, unique_by=lambda item: item.id))
    def put(self, items: list[Item]) -> None:
        result = self.catalog.put(items)
        counts = {"created": 0, "updated": 0, "unchanged": 0}
        for item in items:
            old = self.model.get(item.id)
            new = replace(item, created=old.created if old else result.revision, updated=result.revision)
            if old is None or replace(old, updated=new.updated) != new:
                counts["updated" if old else "created"] += 1
                self.model[item.id], self.touched[item.id] = new, result.revision
            else:
                counts["unchanged"] += 1
        assert result == PutResult(**counts, revision=result.revision)
        self.advance_to(result.revision)

    @rule(ids=st.lists(st.sampled_from([*"abcdefghij", "가"]), max_size=4))
    def delete(self, ids: list[str]) -> None:
        revision = self.catalog.delete(ids)
        for id in ids:
            if self.model.pop(id, None):
                self.touched[id] = revision
        self.staying -= set(ids)
        self.advance_to(revision)

    @rule(limit=st.integers(1, 4))
    def embed(self, limit: int) -> None:
        missing = self.catalog.missing_vectors(MODEL, limit)
        embed(self.catalog, limit=limit)
        cleaned = {key(item): item for item in self.model.values()}
        titles = {min(item.title for item in self.model.values() if key(item) == known): known for known in cleaned}
        self.embedded |= {titles[one.title] for one in missing if clean(one.title)}

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = Catalog.open(self.folder)

    @rule(limit=st.integers(1, 4))
    def walk(self, limit: int) -> None:
        page = self.catalog.page(self.cursor, limit)
        self.walked += ids_of(page)
        self.cursor = page.next_cursor
        if self.cursor is None:
            assert self.walked == sorted(set(self.walked))
            assert self.staying <= set(self.walked)
            self.begin_walk()

    @precondition(lambda self: self.model)
    @rule(since=st.integers(0, 40))
    def follow(self, since: int) -> None:
        since = max(0, self.revision - since)
        changes = self.catalog.changes_since(since)
        later = {id for id, revision in self.touched.items() if revision > since}
        assert changes.changed == sorted(later & set(self.model))
        assert changes.deleted == sorted(later - set(self.model))

    @invariant()
    def stands(self) -> None:
        with self.catalog.snapshot():
            page = self.catalog.page(limit=100)
            assert {item.id: item for item in page.items} == self.model
            assert self.catalog.count() == len(self.model)
            kept = {key(item) for item in self.model.values()}
            self.embedded &= kept
            loaded = self.catalog.vectors_of(MODEL)
            readable = {id for id, item in self.model.items() if key(item) in self.embedded}
            assert readable == {id for id, title in zip(loaded.ids, loaded.titles, strict=True) if clean(title)}
            if loaded.ids:
                np.testing.assert_array_equal(loaded.matrix[loaded.row_of], vectors_for(loaded.titles))
            assert self.catalog.missing_count(MODEL) == len(kept) - len(loaded.nodes)

    def advance_to(self, revision: int) -> None:
        assert revision > self.revision
        self.revision = revision

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)


CatalogMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
TestCatalogMachine = CatalogMachine.TestCase
