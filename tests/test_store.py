"""The store keeps what it acknowledged, refuses what is not its own, and survives a full disk."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from embedder.errors import InputError
from index import store as module
from index.catalog import Catalog
from index.listings import Item
from index.migrations import MIGRATIONS
from index.store import FILE, KEPT, LOCK, ConflictError, StorageError, Store, from_cursor, to_cursor

OTHER_PROCESS = "import sys; from index.store import Store; Store.open(sys.argv[1])"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "data")
    yield opened
    opened.close()


def keys(store: Store) -> list[str]:
    with store.read() as (connection, _):
        return [key for (key,) in connection.execute("SELECT key FROM idempotency ORDER BY key")]


def test_what_is_promised_of_the_disk(store: Store) -> None:
    for held in (store.write, store.read):
        with held() as (connection, _):
            settings = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_every_write_makes_a_revision(store: Store) -> None:
    with store.read() as (_, before):
        pass
    for made in range(before + 1, before + 4):
        with store.write() as (_, revision):
            assert revision == made
        with store.read() as (_, revision):
            assert revision == made


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    with store.read() as (_, before), pytest.raises(KeyError), store.write():
        store.remember("a", [], {})
        raise KeyError
    assert keys(store) == []
    with store.write() as (_, revision):
        assert revision == before + 1


def test_parts_stand_or_fall_together(store: Store) -> None:
    with store.write() as (_, outer):
        store.remember("a", [], {})
        with store.write() as (_, inner):
            assert inner == outer
        assert keys(store) == ["a"], "a write reads what it has written"
    with pytest.raises(StorageError, match="a part of this write failed"), store.write():
        store.remember("b", [], {})
        with pytest.raises(KeyError), store.write():
            raise KeyError
        with pytest.raises(StorageError, match="a part of this write failed"):
            store.remember("c", [], {})
    assert keys(store) == ["a"]
    store.remember("d", [], {})
    assert keys(store) == ["a", "d"]


def test_a_reader_sees_one_revision(store: Store) -> None:
    with store.read() as (_, before):
        thread = threading.Thread(target=store.remember, args=("a", [], {}))
        thread.start()
        thread.join()
        assert keys(store) == [], "a read inside a read is the same one"
        with store.read() as (_, again):
            assert again == before
    assert keys(store) == ["a"]


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StorageError, match="readonly"), store.read() as (connection, _):
        connection.execute("DELETE FROM state")


def test_more_readers_than_places(store: Store) -> None:
    seen: list[int] = []

    def look() -> None:
        for _ in range(20):
            with store.read() as (_, revision), store.read():
                seen.append(revision)

    threads = [threading.Thread(target=look) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 480


def test_closing_waits_and_then_refuses(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    inside, leave, late = threading.Event(), threading.Event(), list[str]()

    def read_then_write() -> None:
        with store.read():
            inside.set()
            leave.wait(10)
            store.remember("a", [], {})

    def come_late() -> None:
        try:
            keys(store)
        except StorageError as error:
            late.append(str(error))

    reader, closer = threading.Thread(target=read_then_write), threading.Thread(target=store.close)
    reader.start()
    inside.wait(10)
    closer.start()
    visitors = [threading.Thread(target=come_late) for _ in range(12)]
    leave.set()
    closer.join(10)
    for visitor in visitors:
        visitor.start()
    for thread in (reader, *visitors):
        thread.join(10)
    assert len(late) == 12
    assert all("closed" in message for message in late)
    store.close()
    again = Store.open(tmp_path)
    assert keys(again) == ["a"]
    again.close()


def test_a_store_is_not_closed_inside_a_transaction(store: Store) -> None:
    with pytest.raises(StorageError, match="inside a transaction"), store.read():
        store.close()


def test_one_process_for_a_folder(store: Store) -> None:
    with pytest.raises(InputError, match=rf"process {os.getpid()}\)"):
        Store.open(store.folder)
    command = [sys.executable, "-c", OTHER_PROCESS, str(store.folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert f"{store.folder}: in use by another catalogue (process {os.getpid()})" in ran.stderr
    store.close()
    subprocess.run(command, cwd=ROOT, check=True)
    Store.open(store.folder).close()


def overwritten(path: Path) -> None:
    path.write_bytes(b"id,title\n" * 1_000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8_192])


def scribbled(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + bytes(8_000) + path.read_bytes()[8_100:])


def somebody_elses(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, 0)")
    connection.close()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (overwritten, "not a whole catalogue"),
        (cut, "not a whole catalogue"),
        (scribbled, "not a whole catalogue"),
        (somebody_elses, "a database of something else"),
        (newer, f"schema 99; this dongil reads up to {len(MIGRATIONS)}"),
    ],
)
def test_a_file_that_is_no_catalogue(tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.put([Item(f"{n}", f"title {n}") for n in range(500)])
    path = tmp_path / FILE
    harm(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=said) as caught:
        Store.open(tmp_path)
    assert caught.value.file == str(path)
    assert path.read_bytes() == before
    path.unlink()
    Store.open(tmp_path).close()


def test_an_empty_file_is_a_new_catalogue(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    Store.open(tmp_path).close()


def test_a_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be a data folder: File exists"):
        Store.open(tmp_path / "file")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("index.store.os.ftruncate", full)
        with pytest.raises(StorageError, match="No space left"):
            Store.open(tmp_path / "data")
    Store.open(tmp_path / "data").close()


def test_migrations_run_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MIGRATIONS
    with Catalog.open(tmp_path) as catalog:
        catalog.put([Item("a", "title")])
    broken = (*first, ("ALTER TABLE items ADD COLUMN more TEXT", "SELECT nonsense FROM nowhere"))
    monkeypatch.setattr(module, "MIGRATIONS", broken)
    with pytest.raises(InputError, match="nowhere"):
        Store.open(tmp_path)
    monkeypatch.setattr(module, "MIGRATIONS", (*first, ("ALTER TABLE items ADD COLUMN more TEXT DEFAULT 'm'",)))
    for _ in range(2):
        store = Store.open(tmp_path)
        with store.read() as (connection, _):
            assert connection.execute("SELECT id, more FROM items").fetchall() == [("a", "m")]
            assert connection.execute("SELECT version FROM schema_version").fetchall() == [
                (number,) for number in range(1, len(first) + 2)
            ]
        store.close()


def limited_pages(catalog: Catalog) -> Callable[[], object]:
    """A database that may not grow any further; returns what gives the space back."""
    connection = catalog._store._writer
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    return lambda: connection.execute("PRAGMA max_page_count = 4294967294")


def limited_files(catalog: Catalog) -> Callable[[], object]:
    """Files that may not grow any further: real writes fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(path.stat().st_size for path in catalog.folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8_192, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limited", [limited_pages, limited_files])
def test_a_full_disk_changes_nothing(tmp_path: Path, limited: Callable[[Catalog], Callable[[], object]]) -> None:
    items = [Item(f"{n}", f"title number {n} of many") for n in range(500)]
    with Catalog.open(tmp_path) as catalog:
        catalog.put(items[:100])
        before = catalog.page(limit=1_000)
        give_back = limited(catalog)
        try:
            for _ in range(3):
                with pytest.raises(StorageError, match=FILE) as caught:
                    catalog.put([Item("0", "another title"), *items[100:]], idempotency_key="k")
            assert catalog.page(limit=1_000) == before
        finally:
            give_back()
        if limited is limited_pages:
            assert "no space is left" in str(caught.value)
        assert catalog.put(items, idempotency_key="k").created == 400
    with Catalog.open(tmp_path) as catalog:
        assert catalog.page(limit=1_000).items[0].title == "title number 0 of many"
        assert catalog.count() == 500
        with catalog._store.read() as (connection, _):
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_idempotency_keys_are_kept_for_a_day(tmp_path: Path) -> None:
    now = 1_000.0
    store = Store.open(tmp_path, clock=lambda: now)
    assert store.recall("k", ["1"]) is None
    store.remember("k", ["1"], {"answer": "답"})
    assert store.recall("k", ["1"]) == {"answer": "답"}
    with pytest.raises(ConflictError, match="'k' was used for another request"):
        store.recall("k", ["2"])
    now += KEPT
    assert store.recall("k", ["2"]) is None
    store.remember("other", [], {})
    assert keys(store) == ["other"], "old ones do not pile up"
    store.close()


def test_a_copy_without_its_lock_opens(store: Store, tmp_path: Path) -> None:
    store.remember("a", [], {})
    copy = shutil.copytree(store.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(LOCK))
    copied = Store.open(copy)
    assert keys(copied) == ["a"]
    copied.close()


@pytest.mark.parametrize("place", [("a",), ("", "라면"), (3, "x"), (0.5, "x"), (-(2**63), "\0")])
def test_a_cursor_is_read_as_written(place: tuple[str | float, ...]) -> None:
    assert from_cursor(to_cursor(*place), *map(type, place)) == list(place)


@pytest.mark.parametrize("cursor", ["", "a", "é", "bm8=", to_cursor("a", "b"), to_cursor(1), to_cursor(True), "W10="])
def test_a_cursor_that_no_page_gave(cursor: str) -> None:
    with pytest.raises(InputError, match="expected one that a page gave"):
        from_cursor(cursor, str)
