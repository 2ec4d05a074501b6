"""The living catalogue: a durable one that is searched while it grows and shrinks, and clustered as it does.

Whoever asks is answered by a snapshot, whole and of one revision. One writer at a time makes the next one from what
the store says has changed; nothing that is searched is ever changed. One thread encodes titles that have no vector yet
and finds new items a cluster. When much has changed, another one makes a new base beside, lets the next snapshots stand
on it, and clusters everything anew.

It knows the order of these steps. How each is done stands in ``index.snapshot``, ``index.joining`` and
``index.regrouping``. It does not know HTTP, jobs or how a model is learnt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from embedder.encoder import Encoder
from index.answers import Answer
from index.catalog import Catalog, Loaded
from index.decision import Decision
from index.joining import place
from index.kept import file_of, keep, read_kept
from index.matcher import common_grams
from index.regrouping import regroup
from index.scene import Progress
from index.snapshot import Base, Snapshot
from index.ties import ties_of
from index.vectors import Device

_POLL = 0.5  # seconds after which the store is looked at although nobody said that it has changed
_BATCH = 64  # titles encoded, and items that find a cluster, at once


@dataclass(frozen=True)
class Pace:
    """When a new base is due: when more has changed than either of these.

    Attributes:
        share: of the base's items.
        least: items, so that a small catalogue is not made anew all the time.
        backlog: times as much may change while titles wait to be encoded.
    """

    share: float = 0.02
    least: int = 200
    backlog: int = 10

    def limit(self, items: int) -> int:
        """How many items may have changed."""
        return max(self.least, int(self.share * items))


@dataclass(frozen=True)
class Reply:
    """What the catalogue said to each title, and the revision at which it did."""

    revision: int
    answers: list[Answer]


class LivingMatcher:
    """A catalogue that lives. Make one with ``open``; safe to use from several threads."""

    def __init__(
        self, catalog: Catalog, encoder: Encoder, decision: Decision, base: Base, *, device: Device, pace: Pace
    ) -> None:
        self.catalog, self.encoder, self.decision = catalog, encoder, decision
        self._failed: dict[str, Exception] = {}
        self._device, self._pace = device, pace
        self._background = common_grams(encoder.bundle)
        self._turn = threading.RLock()  # whoever makes the next snapshot
        self._snapshot = Snapshot.first(base, encoder.encode, decision)
        self._again: set[str] = set()
        self._encoded_to = 0
        self._due = False  # a new base
        self._rest_until = 0.0
        self._news = threading.Condition()
        self._asked = self._done = 0
        self._stopping = False
        self._writer = threading.Thread(target=self._write, name="living-writer", daemon=True)
        self._builder: threading.Thread | None = None

    @classmethod
    def open(
        cls,
        catalog: Catalog,
        encoder: Encoder,
        decision: Decision | None = None,
        *,
        device: Device = "auto",
        pace: Pace | None = None,
        progress: Progress | None = None,
    ) -> LivingMatcher:
        """Stand on what the store holds, and follow it from now on. Close it before the store.

        Args:
            catalog: the store.
            encoder: makes the vectors; what the store holds of its model is not encoded again.
            decision: the bundle's own by default.
            device: where to search.
            pace: when to make a new base.
            progress: told of the base, where none was kept and one must be made first.
        """
        decision = decision or Decision.of(encoder.bundle, threads=encoder.threads)
        background = common_grams(encoder.bundle)
        loaded = _loaded(catalog, encoder)
        file = file_of(catalog.folder, encoder.fingerprint)
        kept = read_kept(file, loaded, decision.blend, background, device=device)
        if kept is None:
            base = Base.of(loaded, decision.blend, background, device=device, progress=progress)
            living = cls(catalog, encoder, decision, base, device=device, pace=pace or Pace())
            with suppress(OSError):  # it only makes the next start faster
                keep(base, file, decision.blend, background)
        else:
            living = cls(catalog, encoder, decision, kept[0], device=device, pace=pace or Pace())
            living._snapshot = living._snapshot.after(kept[1], (), loaded.revision)
        living._writer.start()
        return living

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following, after the step that is under way; a base that is being made is given up."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        self._writer.join()
        if self._builder is not None:
            self._builder.join()

    @property
    def trouble(self) -> Exception | None:
        """Why the background could not do its last step, which it tries again; None while all is well."""
        return next(iter(self._failed.values()), None)

    @property
    def snapshot(self) -> Snapshot:
        """The catalogue as it is now; it stays so for whoever holds it."""
        return self._snapshot

    def answer(
        self, titles: Sequence[str], *, k: int = 10, threshold: float | None = None, near_misses: int = 0
    ) -> Reply:
        """What the catalogue has to say to each title; see ``Answerer.answer``."""
        snapshot = self._snapshot
        answers = snapshot.answer(titles, k=k, threshold=threshold, near_misses=near_misses)
        return Reply(snapshot.revision, answers)

    def follow(self) -> int:
        """Take up what has changed in the store, and wake the background for the rest.

        Call it after a write: when it returns, items that went are found no more, those of known titles are found, and
        those of new titles will be as soon as these are encoded.

        Returns:
            The revision of the snapshot.
        """
        self._follow()
        with self._news:
            self._asked += 1
            self._news.notify_all()
        return self._snapshot.revision

    def settle(self, timeout: float = 60.0) -> bool:
        """Wait until everything is encoded, stands in a cluster, and no base is due.

        Returns:
            Whether that came true in time, and without trouble.
        """
        self.follow()
        with self._news:
            asked = self._asked
            self._news.wait_for(lambda: self._done >= asked or self._stopping or self.trouble is not None, timeout)
            return self._done >= asked

    def rebuild(self, progress: Progress | None = None) -> int:
        """Make a new base, stand on it, and cluster everything anew; how many items moved between clusters."""
        loaded = _loaded(self.catalog, self.encoder)
        blend, device = self.decision.blend, self._device
        base = Base.of(loaded, blend, self._background, device=device, progress=progress)
        pairs = base.scene.judge(self.decision, progress)
        base = base.with_crowds(pairs, self.decision.cluster_threshold)
        self._stand_on(base)
        moved = regroup(self.catalog, base, pairs, self.decision.cluster_threshold)
        keep(base, file_of(self.catalog.folder, self.encoder.fingerprint), blend, self._background)
        return moved

    def _follow(self) -> None:
        with self._turn:
            self._snapshot = self._next(self._snapshot)

    def _stand_on(self, base: Base) -> None:
        """Let the next snapshots stand on another base, at once."""
        snapshot = self._next(Snapshot.first(base, self.encoder.encode, self.decision))
        with self._turn:  # most has been taken up before: nobody waits long
            self._snapshot = self._next(snapshot)

    def _next(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot of what the store holds now."""
        catalog, fingerprint = self.catalog, self.encoder.fingerprint
        with catalog.snapshot() as revision:
            if revision == snapshot.revision:
                return snapshot
            changes = catalog.changes_since(snapshot.revision, fingerprint)
            loaded = catalog.vectors_for(fingerprint, changes.changed)
            blank = set(changes.changed) - set(loaded.ids)
            items = [item for id in sorted(blank) if (item := catalog.get(id)) is not None]
        changed = dict(zip(loaded.ids, loaded.titles, strict=True)) | {item.id: item.title for item in items}
        other = {id for id, title in changed.items() if snapshot.title(id) not in (None, title)}
        with self._turn:
            self._again |= other
        return snapshot.after(loaded, [*changes.deleted, *(other & blank)], revision)

    def _write(self) -> None:
        while not self._stopping:
            with self._news:
                asked = self._asked
            busy = False
            try:
                busy = self._step()
                self._failed.pop("step", None)
            except Exception as error:  # noqa: BLE001 - a full disk, a bug: the service lives on what it has, and tells
                self._failed["step"] = error
            with self._news:
                if not busy and not self._due and self.trouble is None and not self._building():
                    self._done = asked
                self._news.notify_all()
                if not busy and not self._stopping and self._asked == asked:
                    self._news.wait(_POLL)

    def _step(self) -> bool:
        """Do a little of whatever waits; whether there was any."""
        encoded = self._encode_some()
        self._follow()
        limit = self._pace.limit(len(self._snapshot.base.ids))
        waiting = self.catalog.clusters.unassigned(limit + 1)
        strayed = self._snapshot.strayed
        crowd = sum(self._snapshot.node(id) >= 0 for id in waiting) > limit
        self._due = crowd or strayed > limit * (self._pace.backlog if encoded else 1)
        if self._due and not self._building() and time.monotonic() >= self._rest_until:
            self._builder = threading.Thread(target=self._build, name="living-builder", daemon=True)
            self._builder.start()
        return (not crowd and self._place_some(waiting)) or encoded

    def _encode_some(self) -> bool:
        catalog, fingerprint = self.catalog, self.encoder.fingerprint
        missing = catalog.missing_vectors(fingerprint, _BATCH, after=self._encoded_to)
        if missing:
            vectors = self.encoder.encode([one.title for one in missing])
            catalog.put_vectors(fingerprint, [one.node for one in missing], vectors)
            self._encoded_to = missing[-1].node
        return bool(missing)

    def _place_some(self, waiting: Sequence[str]) -> bool:
        """Find a cluster for items that have none, or have other titles than before."""
        snapshot = self._snapshot
        ids = [id for id in waiting if snapshot.node(id) >= 0][:_BATCH]
        with self._turn:
            again = {id for id in self._again if snapshot.node(id) >= 0 or snapshot.title(id) is None}
            self._again -= again
        if ids or again:
            place(self.catalog, snapshot, ids, ties_of(self.catalog), again=sorted(again))
        return bool(ids)

    def _building(self) -> bool:
        return self._builder is not None and self._builder.is_alive()

    def _build(self) -> None:
        started = time.monotonic()
        try:
            self.rebuild(self._unless_stopped())
            self._failed.pop("build", None)
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - as in the writer
            self._failed["build"] = error
        # It takes at most half of the time, however fast items come.
        self._rest_until = 2 * time.monotonic() - started
        with self._news:
            self._news.notify_all()

    def _unless_stopped(self) -> Progress:
        def check(phase: str, done: int, total: int) -> None:  # noqa: ARG001
            if self._stopping:
                raise _Stopped

        return check


def _loaded(catalog: Catalog, encoder: Encoder) -> Loaded:
    """All that the store has vectors of; one that has none does not know how long they are."""
    loaded = catalog.vectors_of(encoder.fingerprint)
    return loaded if len(loaded.matrix) else replace(loaded, matrix=np.empty((0, encoder.dimension), np.float32))


class _Stopped(Exception):  # noqa: N818 - it is no error
    """The background was asked to stop."""
