"""The store: one SQLite file in a folder of one process, which keeps what it acknowledged.

It hands out transactions: one writer at a time, and readers that each see one whole revision however long they look.
What a write transaction did stands on the disk when it ends (WAL, synchronous FULL), or did not happen at all. Every
write transaction raises the revision by one.

It knows the folder's lock, the schema and its migrations, revisions, cursors, idempotency keys and what a full disk
looks like. It does not know what items, clusters, labels or jobs mean.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from embedder.errors import InputError
from index.migrations import MIGRATIONS

FILE = "catalog.sqlite3"
LOCK = "catalog.lock"
KEPT = 24 * 3_600  # seconds that an idempotency key is remembered
_APPLICATION = 0x646F6E67  # "dong", in the file's header: tells our files from other people's
_READERS = 8
_BUSY = 10.0  # seconds to wait for whoever else has the file open, such as a backup
_PRAGMAS = ("synchronous = FULL", "fullfsync = ON", "foreign_keys = ON", "trusted_schema = OFF", "temp_store = MEMORY")
# Ids and digests fall anywhere: pages are kept until many rows have met on them, in memory and in the log.
_WRITING = ("cache_size = -65536", "wal_autocheckpoint = 4000", "journal_size_limit = 67108864")
_FULL = "no space is left for it; nothing of this write was kept"

Held = tuple[sqlite3.Connection, int]
"""A connection inside a transaction, and the revision that the transaction reads or makes."""
Clock = Callable[[], float]
"""Seconds since 1970, such as ``time.time``."""


class StorageError(Exception):
    """The store could not do what it should, through no fault of the input: a full disk, a failing one, a closed store.

    The transaction did not happen; unless the file is damaged, the next one may succeed.

    Attributes:
        full: whether the disk is.
    """

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class ConflictError(InputError):
    """Input that would do elsewhere, but not beside what already stands in the store."""


class _Local(threading.local):
    held: Held | None = None


class Store:
    """The durable file. Make one with ``open``. Safe to use from several threads.

    Attributes:
        folder: where the file stands.
        clock: tells the time.
    """

    def __init__(self, folder: Path, lock: int, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self._path = folder / FILE
        self._lock = lock
        self._turn = threading.RLock()  # the writer's
        self._places = threading.Semaphore(_READERS)
        self._closing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._local = _Local()
        self._spoiled = False
        self._closed = False
        self._writer = self._connect(*_WRITING)

    @classmethod
    def open(cls, folder: str | Path, *, clock: Clock = time.time) -> Store:
        """Open the store in a folder; both are made where there are none, and an older file is brought up to date.

        Raises:
            InputError: another process has it, the file is damaged, foreign or of a newer dongil, or no folder can be
                there.
            StorageError: the disk is full, or fails.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sync(folder.parent)
            lock = _lock(folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise StorageError(f"{folder}: {error.strerror}") from error
            raise InputError(f"cannot be a data folder: {error.strerror or error}", file=str(folder)) from error
        store = None
        try:
            store = cls(folder, lock, clock)
            store._prepare()
        except BaseException as error:
            if store is not None:
                store._writer.close()
            os.close(lock)
            if isinstance(error, sqlite3.Error):
                raise _failed_opening(error, folder / FILE) from error
            raise
        return store

    def close(self) -> None:
        """Wait for the transactions that are under way, then close. A closed store can do nothing more."""
        if self._local.held is not None:
            raise StorageError(f"{self._path}: cannot be closed inside a transaction")
        with self._closing:
            if self._closed:
                return
            for _ in range(_READERS):  # before the writer's turn: a reader may be waiting for that
                self._places.acquire()
            with self._turn:
                self._closed = True
                for connection in self._idle:
                    connection.close()
                self._writer.close()  # last of all: it moves what the log still holds into the file
                os.close(self._lock)
            self._places.release(_READERS)  # whoever waits here learns that the store is closed

    @contextmanager
    def read(self) -> Iterator[Held]:
        """A transaction that reads one revision. Inside another one of the same thread it is that one.

        It belongs to its thread: a coroutine must not wait inside it.

        Raises:
            StorageError: the file cannot be read, or the store is closed.
        """
        if self._local.held is not None:
            yield self._local.held
            return
        with self._places, self._failing():
            self._check_open()
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                (revision,) = connection.execute("SELECT revision FROM state").fetchone()  # from here on it stands
                self._local.held = (connection, revision)
                yield self._local.held
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            finally:
                self._local.held = None
            self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[Held]:
        """A transaction that makes one revision; it stands on the disk when the block has ended.

        Inside another write of the same thread it is a part of that one: when a part fails, the whole does, even
        where somebody catches the part's error.

        Raises:
            StorageError: the disk is full, or the file cannot be written; nothing was.
        """
        with self._turn:
            around = self._local.held
            if around is not None and around[0] is self._writer:
                with self._part():
                    yield around
                return
            self._check_open()
            with self._failing():
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                    (made,) = self._writer.execute("UPDATE state SET revision = revision + 1 RETURNING revision")
                    self._local.held = (self._writer, made[0])
                    yield self._local.held
                    self._check_whole()
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:  # a full disk may have rolled it back already
                        self._writer.execute("ROLLBACK")
                    raise
                finally:
                    self._local.held = around
                    self._spoiled = False

    def recall(self, key: str | None, request: Sequence[Any]) -> dict[str, Any] | None:
        """The answer that an idempotency key was given earlier; None for no key, or one that is new or forgotten.

        Args:
            key: as the caller chose it.
            request: what is asked now, of what JSON can say.

        Raises:
            ConflictError: the key was used for another request.
        """
        if key is None:
            return None
        with self.read() as (connection, _):
            query = "SELECT request, answer FROM idempotency WHERE key = ? AND expires > ?"
            found = connection.execute(query, (key, self.clock())).fetchone()
        if found is None:
            return None
        if found[0] != _digest(request):
            raise ConflictError(f"idempotency key {key!r} was used for another request; expected a new key")
        answer: dict[str, Any] = json.loads(found[1])
        return answer

    def remember(self, key: str | None, request: Sequence[Any], answer: Mapping[str, Any]) -> None:
        """Keep the answer to an idempotency key for ``KEPT`` seconds, in the transaction that made it."""
        if key is None:
            return
        with self.write() as (connection, _):
            now = self.clock()
            connection.execute("DELETE FROM idempotency WHERE expires <= ?", (now,))
            query = "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)"
            connection.execute(query, (key, _digest(request), json.dumps(answer), now + KEPT))

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        # Transactions are begun and ended here, not by the module; and each connection is one thread's at a time.
        connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (*_PRAGMAS, *pragmas):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect("query_only = ON")

    def _prepare(self) -> None:
        """Check that the file is ours before anything is changed in it, then migrate it."""
        (application,) = self._writer.execute("PRAGMA application_id").fetchone()
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION and (application or tables):
            raise InputError("a database of something else; expected a catalogue of dongil", file=str(self._path))
        (mode,) = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise InputError(
                "this file system cannot hold a write-ahead log; expected a local disk", file=str(self._path)
            )
        with closing(self._writer.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                self._migrate(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("SELECT revision FROM state").fetchone()

    def _migrate(self, cursor: sqlite3.Cursor) -> None:
        cursor.execute(f"PRAGMA application_id = {_APPLICATION}")
        cursor.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied REAL NOT NULL)")
        (version,) = cursor.execute("SELECT ifnull(max(version), 0) FROM schema_version").fetchone()
        if version > len(MIGRATIONS):
            message = f"schema {version}; this dongil reads up to {len(MIGRATIONS)}: a newer one made it"
            raise InputError(message, file=str(self._path))
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("INSERT INTO schema_version VALUES (?, ?)", (number, self.clock()))

    @contextmanager
    def _part(self) -> Iterator[None]:
        self._check_whole()
        try:
            yield
        except BaseException:
            self._spoiled = True
            raise

    def _check_whole(self) -> None:
        if self._spoiled or not self._writer.in_transaction:
            raise StorageError(f"{self._path}: a part of this write failed, so that nothing of it was kept")

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self._path}: the catalogue is closed")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            full = _name(error) == "SQLITE_FULL"
            raise StorageError(f"{self._path}: {_FULL if full else error}", full=full) from error
        except UnicodeEncodeError as error:
            raise InputError(f"{str(error.object)[:80]!r} holds half a character; expected Unicode text") from error
        except OverflowError as error:
            raise InputError(f"{error}; expected whole numbers of 64 bits") from error


def _name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _failed_opening(error: sqlite3.Error, path: Path) -> Exception:
    """A disk that fails is nobody's input; everything else says that the file is not what it should be."""
    if _name(error).startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY")):
        return StorageError(f"{path}: cannot be opened: {error}")
    return InputError(f"not a whole catalogue: {error}", file=str(path))


def _sync(folder: Path) -> None:
    """Make what was made in a folder stand there after the power failed; SQLite does so for its own files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(folder: Path) -> int:
    """Take the folder for this process: an open file, whose lock ends with the process however that ends."""
    # Never removed: whoever waits for it would hold a lock on a file that nobody else can see.
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        pid = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        message = f"in use by another catalogue (process {pid}); expected one process for a data folder"
        raise InputError(message, file=str(folder)) from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _digest(request: Sequence[Any]) -> bytes:
    return hashlib.sha256(json.dumps(request).encode()).digest()


def to_json(value: Mapping[str, Any]) -> str:
    """A row's free part as text; equal values give equal text.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return json.dumps(dict(value), ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{error}; expected what JSON can say") from error


def to_cursor(*place: str | float) -> str:
    """An opaque text for a place in an order of rows: where a page ends and the next one begins."""
    return base64.urlsafe_b64encode(json.dumps(place, ensure_ascii=False).encode()).decode()


def from_cursor(cursor: str, *kinds: type) -> list[Any]:
    """The place that ``to_cursor`` wrote, of values of these types.

    Raises:
        InputError: it is none.
    """
    try:
        place = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        if isinstance(place, list) and [type(value) for value in place] == list(kinds):
            return place
    except (ValueError, RecursionError):
        pass
    raise InputError(f"cursor {cursor[:80]!r}; expected one that a page gave, or none")
