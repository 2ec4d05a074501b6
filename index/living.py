"""The living catalogue: a durable one that is searched while it grows and shrinks, and clustered as it does.

Whoever asks is answered by a snapshot, whole and of one revision. One writer at a time makes the next one from what
the store says has changed; nothing that is searched is ever changed. One thread encodes titles that have no vector yet,
finds new items a cluster, and clusters anew what they hang together with. When much has changed, another one makes a
new base beside, lets the next snapshots stand on it, and clusters everything anew. Several models may live in one
catalogue, but only one of them clusters it: another takes over whole (``take_over``), and whatever is still asked of
the background of the one before goes to its heir.

It knows the order of these steps. How each is done stands in ``index.snapshot``, ``index.upkeep`` and
``index.regrouping``. It does not know HTTP, jobs or how a model is learnt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from embedder.encoder import Encoder
from embedder.errors import InputError
from index.answers import Answer
from index.catalog import Catalog
from index.decision import Decision
from index.kept import file_of, keep
from index.matcher import common_grams
from index.opening import first_snapshot, loaded_by
from index.regrouping import regroup
from index.scene import JudgedPairs, Progress
from index.shelf import digest_of
from index.snapshot import Base, Snapshot
from index.store import ConflictError
from index.upkeep import Stopped, Upkeep, give_back, unless
from index.vectors import Device

_POLL = 0.5  # seconds after which the store is looked at although nobody said that it has changed
_BATCH = 64  # titles encoded, and items that find a cluster, at once
_SPELL = 5.0  # seconds of encoding, after which a batch finds its clusters however many titles wait


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
        self, catalog: Catalog, encoder: Encoder, decision: Decision, snapshot: Snapshot, *,
        device: Device, pace: Pace, clustering: bool,
    ) -> None:  # fmt: skip
        self.catalog, self.encoder, self.decision = catalog, encoder, decision
        self.digest = digest_of(encoder.bundle)
        self._failed: dict[str, Exception] = {}
        self._device, self._pace = device, pace
        self._background = common_grams(encoder.bundle)
        self._turn = threading.RLock()  # whoever makes the next snapshot
        self._making = threading.Lock()  # whoever makes a new base, or clusters everything
        self._snapshot = snapshot
        self._again: set[str] = set()
        self._upkeep = Upkeep(catalog)
        self._clustering = clustering
        self._owed: tuple[Base, JudgedPairs] | None = None  # judged already, and not clustered by yet
        self._due = False  # a new base
        self._rest_until = 0.0
        self._news = threading.Condition()
        self._asked = self._done = self._encoded_to = 0
        self._stopping = False
        self._heir: LivingMatcher | None = None
        self._writer = self._builder = threading.Thread()

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
        beside: LivingMatcher | None = None,
        clustering: bool = True,
    ) -> LivingMatcher:
        """Stand on what the store holds, and follow it from now on. Close it before the store.

        Args:
            catalog: the store.
            encoder: makes the vectors; what the store holds of its model is not encoded again.
            decision: the bundle's own by default.
            device: where to search.
            pace: when to make a new base.
            progress: told of the base, where none was kept and one must be made first.
            beside: one whose vectors and blending are the same, to stand where it does if no base was kept.
            clustering: whether it clusters. Of all that live in one catalogue, one does.
        """
        decision = decision or Decision.of(encoder.bundle, threads=encoder.threads)
        with catalog.followers.holding():
            there = None if beside is None else beside.snapshot
            snapshot = first_snapshot(catalog, encoder, decision, device=device, progress=progress, beside=there)
            living = cls(
                catalog, encoder, decision, snapshot, device=device, pace=pace or Pace(), clustering=clustering
            )
            living._follow()
        living._start()
        return living

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following, after the step that is under way; a base that is being made is given up."""
        self._stop()
        self.catalog.followers.note(self, None)

    def take_over(
        self, old: LivingMatcher, enter: Callable[[], object], judged: tuple[Base, JudgedPairs] | None = None
    ) -> None:
        """Cluster from now on instead of another one, which stops; it still answers those that hold it.

        Args:
            old: the one that clusters until now.
            enter: writes it down, when ``old`` has stopped; if that fails, ``old`` goes on.
            judged: a base of this model and its judged pairs, to cluster by at once; by default a new one is made.

        Raises:
            ConflictError: ``old`` does not cluster any more.
        """
        if old._heir is not None:
            raise ConflictError("another model took over meanwhile; expected to be asked again")
        old._stop()
        try:
            enter()
        except BaseException:
            if old._heir is None:
                old._start()
            raise
        with self._news:
            self._owed, self._clustering, old._heir = judged, True, self
            self._news.notify_all()

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
        """Take up what has changed in the store, and wake the background for the rest; the revision of the snapshot.

        Call it after a write: when it returns, items that went are found no more, those of known titles are found, and
        those of new titles will be as soon as these are encoded.
        """
        if self._heir is not None:
            with suppress(InputError):  # what it would have to be told may be forgotten by now
                self._follow()
            return self._heir.follow()
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
        if self._heir is not None:
            return self._heir.settle(timeout)
        self.follow()
        with self._news:
            asked = self._asked
            self._news.wait_for(lambda: self._done >= asked or self._stopping or self.trouble is not None, timeout)
            return self._done >= asked

    def rebuild(self, progress: Progress | None = None) -> int:
        """Make a new base, stand on it, and cluster everything anew; how many items moved between clusters.

        Raises:
            Stopped: this was closed meanwhile.
        """
        if self._heir is not None:
            return self._heir.rebuild(progress)
        with self._making:
            told = self._unless_stopped(progress)
            moved = self._cluster(*self.renew(told), told)
            give_back()
            return moved

    def renew(self, progress: Progress | None = None) -> tuple[Base, JudgedPairs]:
        """Make a new base and stand on it, whatever the clusters are; the base, and its pairs, judged."""
        told = self._unless_stopped(progress)
        with self.catalog.followers.holding():
            loaded = loaded_by(self.catalog, self.encoder)
            base = Base.of(loaded, self.decision.blend, self._background, device=self._device, progress=told)
            base, pairs = self._judged(base, told)
            snapshot = self._next(Snapshot.first(base, self.encoder.encode, self.decision))
            with self._turn:  # most has been taken up before: nobody waits long
                self._snapshot = self._next(snapshot)
        self._keep(base)
        return base, pairs

    def judge(self, progress: Progress | None = None) -> tuple[Base, JudgedPairs]:
        """The base that it stands on, which knows its pairs from then on, and those, judged."""
        with self._making:
            base = self._snapshot.base
            if base.pairs is not None:  # they were kept with it
                return base, base.pairs
            base, pairs = self._judged(base, self._unless_stopped(progress))
            with self._turn:
                self._snapshot = self._snapshot.retold(base, self.encoder.encode, self.decision)
            self._keep(base)
        return base, pairs

    def _judged(self, base: Base, progress: Progress) -> tuple[Base, JudgedPairs]:
        pairs = base.scene.judge(self.decision, progress)
        return base.judged(pairs, self.decision), pairs

    def _keep(self, base: Base) -> None:
        file = file_of(self.catalog.folder, self.encoder.fingerprint, self.digest)
        keep(base, file, self.decision.blend, self._background)

    def _cluster(self, base: Base, pairs: JudgedPairs, progress: Progress) -> int:
        """Cluster everything anew, and note that this was done."""
        catalog, fingerprint = self.catalog, self.encoder.fingerprint
        moved = regroup(catalog, base, pairs, self.decision.clusters_from(base.shift), progress)
        if self._unclustered():
            catalog.activations.clustered(fingerprint, self.digest)
        catalog.forget_deleted(catalog.followers.passed())
        return moved

    def _unclustered(self) -> bool:
        """Whether the clusters are another model's, of which this one has taken over."""
        active = self.catalog.activations.active()
        own = self.encoder.fingerprint, self.digest
        return active is not None and not active.clustered and (active.model.fingerprint, active.model.digest) == own

    def _start(self) -> None:
        self._stopping = False
        self._writer = threading.Thread(target=self._write, name="living-writer", daemon=True)
        self._writer.start()

    def _stop(self) -> None:
        """End the background, after the step that is under way; a base that is being made is given up."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._writer.ident is not None:
            self._writer.join()
        if self._builder.ident is not None:
            self._builder.join()
        with self._making:  # whoever clusters by hand gives up, too
            pass

    def _follow(self) -> None:
        with self._turn:
            self._snapshot = self._next(self._snapshot)
            self.catalog.followers.note(self, self._snapshot.revision)

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
                if not busy and not self._due and self.trouble is None and not self._builder.is_alive():
                    self._done = asked
                self._news.notify_all()
                if not busy and not self._stopping and self._asked == asked:
                    self._news.wait(_POLL)

    def _step(self) -> bool:
        """Do a little of whatever waits; whether there was any."""
        encoded = self._encode_some()
        self._follow()
        if not self._clustering:
            return encoded
        limit = self._pace.limit(len(self._snapshot.base.ids))
        waiting = self.catalog.clusters.unassigned(limit + 1)
        strayed = self._snapshot.strayed
        crowd = sum(self._snapshot.node(id) >= 0 for id in waiting) > limit
        much = crowd or strayed > limit * (self._pace.backlog if encoded else 1)
        self._due = much or (not encoded and self._unclustered())
        if self._due and not self._builder.is_alive() and time.monotonic() >= self._rest_until:
            self._builder = threading.Thread(target=self._build, name="living-builder", daemon=True)
            self._builder.start()
        placed = not crowd and self._place_some(waiting)
        # What is clustered anew by others, or soon, needs no mending.
        if not (crowd or encoded or self._making.locked()):
            self._upkeep.mend(self._snapshot)
        return placed or encoded

    def _encode_some(self) -> bool:
        """Encode what waits, for a while: to be found matters more than to stand in a cluster."""
        catalog, fingerprint, until, some = self.catalog, self.encoder.fingerprint, time.monotonic() + _SPELL, False
        while missing := catalog.missing_vectors(fingerprint, _BATCH, after=self._encoded_to):
            vectors = self.encoder.encode([one.title for one in missing])
            catalog.put_vectors(fingerprint, [one.node for one in missing], vectors)
            self._encoded_to, some = missing[-1].node, True
            self._follow()
            if self._stopping or time.monotonic() >= until:
                break
        return some

    def _place_some(self, waiting: Sequence[str]) -> bool:
        """Find a cluster for items that have none, or have other titles than before."""
        snapshot = self._snapshot
        ids = [id for id in waiting if snapshot.node(id) >= 0][:_BATCH]
        with self._turn:
            again = {id for id in self._again if snapshot.node(id) >= 0 or snapshot.title(id) is None}
            self._again -= again
        if ids or again:
            self._upkeep.join(snapshot, ids, sorted(again))
        return bool(ids)

    def _build(self) -> None:
        started = time.monotonic()
        try:
            with self._making:
                told = self._unless_stopped()
                judged, self._owed = self._owed, None
                self._cluster(*(judged or self.renew(told)), told)
            self._failed.pop("build", None)
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - as in the writer
            self._failed["build"] = error
        # It takes at most half of the time, however fast items come.
        self._rest_until = 2 * time.monotonic() - started
        with self._news:
            self._news.notify_all()

    def _unless_stopped(self, progress: Progress | None = None) -> Progress:
        return unless(lambda: self._stopping, progress)
