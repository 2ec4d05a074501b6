"""Switching: another model takes over a catalogue that is being asked and written all the while.

The other model is made ready beside the one that works: titles are encoded, a base is made and judged, and both are
checked. Vectors stay in the store as they come, so that what was stopped goes on where it was. Then one entry in the
record of activations decides which of them works; a process that is killed comes back with that one. The catalogue is
clustered anew by it afterwards, under the ids that clusters have.

It knows the order of these steps and what must hold between them. It does not know HTTP or jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedder.encoder import Device, Encoder
from embedder.errors import InputError
from index.catalog import Catalog
from index.comparing import Comparison, compare
from index.decision import Decision
from index.kept import file_of, forget_bases
from index.living import LivingMatcher, Pace
from index.matcher import common_grams
from index.scene import JudgedPairs, Progress, readable
from index.shelf import Entry
from index.snapshot import Base
from index.store import ConflictError

_BATCH = 512  # titles encoded at once: what is lost when the process ends
_SAMPLE = 256  # nodes that must find themselves
_ANEW = 32  # titles that are encoded once more
_SAME = 0.99  # cosine of a title's vector and the same encoded anew: batches differ in the last digits only
_FOUND = 0.99  # share of nodes that must find themselves: large catalogues are not searched exhaustively
_READABLE = 0.9  # share of the titles that the old model reads which the new one must read


@dataclass(frozen=True)
class Checks:
    """What was seen of a model before it may take over.

    Attributes:
        nodes: distinct titles.
        readable: share of them that it has a vector of.
        found: share of a sample that is found by its own vector.
        repeated: least cosine of a vector in the store and of the same title encoded anew.
    """

    nodes: int
    readable: float
    found: float
    repeated: float


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to take over. Make one with ``prepare``; close it unless it took over.

    Attributes:
        entry: the model.
        living: follows the catalogue, and leaves its clusters alone.
        base, pairs: the base that it was checked on, and its judged pairs.
        checks: what was seen.
    """

    entry: Entry
    living: LivingMatcher
    base: Base
    pairs: JudgedPairs
    checks: Checks

    def compared(self, old: LivingMatcher) -> Comparison:
        """What would change if it took over from the model that works."""
        return compare(self.living.catalog, old.snapshot, self.living.snapshot, self.pairs)

    def take_over(self, old: LivingMatcher, who: str, *, back: bool = False) -> LivingMatcher:
        """Work from now on: write that down, and cluster the catalogue anew in the background.

        Until this returns, ``old`` answers; it does so afterwards for those that hold it, and hands on what they ask of
        its background.

        Args:
            old: the one that works until now.
            who: wants it.
            back: whether the model before the active one comes back by it.

        Returns:
            The one that works now.

        Raises:
            ConflictError: ``old`` does not work any more; or going back leads to another model by now, or to none.
            StorageError: it could not be written down; then ``old`` goes on.
        """
        activations = self.living.catalog.activations

        def enter() -> None:
            active, before = activations.active(), activations.before()
            if active is not None and (active.model.fingerprint, active.model.digest) != (
                old.encoder.fingerprint, old.digest,
            ):  # fmt: skip
                raise ConflictError(f"model {active.model.name!r} took over meanwhile; expected to be asked again")
            if not back:
                activations.add(self.entry.model, who)
            elif before is None or before.model != self.entry.model:
                raise ConflictError(f"model {self.entry.name!r} is not the one before; expected to be asked again")
            else:
                activations.back(who)

        if not self.living.settle() and self.living.trouble is not None:
            raise self.living.trouble
        self.living.take_over(old, enter, (self.base, self.pairs))
        return self.living

    def close(self) -> None:
        """Give it up; its vectors stay, so that the next time is short."""
        self.living.close()


def prepare(
    catalog: Catalog,
    entry: Entry,
    old: LivingMatcher,
    *,
    threads: int | None = None,
    device: Device = "auto",
    pace: Pace | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Make a model ready to take over, beside the one that works.

    Args:
        catalog: the store.
        entry: the model.
        old: the one that works.
        threads, device: for the encoder, and for the search.
        pace: see ``LivingMatcher``.
        progress: told of "encode", "search", "blend", "judge" and "check"; what it raises stops it all, and leaves the
            vectors that were made.

    Raises:
        InputError: the model cannot decide, or what was made of it is not what it should be.
        StorageError: the disk is full; what was encoded before stands.
    """
    encoder = Encoder(entry.bundle, threads=threads, device=device)
    decision = Decision.of(entry.bundle, threads=encoder.threads)
    encode_missing(catalog, encoder, progress)
    beside = old if _alike(old, encoder, decision) else None
    living = LivingMatcher.open(
        catalog, encoder, decision, device=device, pace=pace, progress=progress, beside=beside, clustering=False
    )
    try:
        base, pairs = living.judge(progress)
        if progress:
            progress("check", 0, 1)
        checks = check(living, old)
        if progress:
            progress("check", 1, 1)
    except BaseException:
        living.close()
        raise
    return Prepared(entry, living, base, pairs, checks)


def encode_missing(catalog: Catalog, encoder: Encoder, progress: Progress | None = None) -> int:
    """Encode all titles that a model has no vector of; how many there were. What is done stays when it is stopped."""
    missing, done, last = catalog.missing_count(encoder.fingerprint), 0, 0
    while some := catalog.missing_vectors(encoder.fingerprint, _BATCH, after=last):
        vectors = encoder.encode([one.title for one in some])
        catalog.put_vectors(encoder.fingerprint, [one.node for one in some], vectors)
        done, last = done + len(some), some[-1].node
        if progress:
            progress("encode", done, max(done, missing))
    return done


def check(new: LivingMatcher, old: LivingMatcher) -> Checks:
    """See that a model's vectors are what they should be.

    Raises:
        InputError: too few titles can be read, do not find themselves, or have another vector than when they are
            encoded anew.
    """
    scene = new.snapshot.base.scene
    vectors, nodes = scene.side.vectors, len(scene.nodes.texts)
    there = np.flatnonzero(readable(vectors))
    least = _READABLE * float(readable(old.snapshot.base.scene.side.vectors).mean()) if len(old.snapshot) else 0.0
    some = there[np.linspace(0, max(len(there) - 1, 0), min(_SAMPLE, len(there))).astype(np.int64)]
    near = scene.index.search(vectors[some], new.decision.blend.k).ids
    anew = new.encoder.encode([scene.nodes.texts[node] for node in some[:: max(1, len(some) // _ANEW)].tolist()])
    cosines = (anew * vectors[some[:: max(1, len(some) // _ANEW)]]).sum(axis=1)
    checks = Checks(
        nodes, len(there) / max(nodes, 1), float((near == some[:, None]).any(axis=1).mean()) if len(some) else 1.0,
        float(cosines.min(initial=1.0)),
    )  # fmt: skip
    seen_and_wanted = {
        "readable titles": (checks.readable, least if nodes else 0.0),
        "titles that find themselves": (checks.found, _FOUND),
        "least cosine of titles encoded anew": (checks.repeated, _SAME),
    }
    for name, (seen, wanted) in seen_and_wanted.items():
        if seen < wanted:
            raise InputError(f"{name}: {seen:.4f}; expected at least {wanted:.4f}", file=str(new.encoder.bundle.folder))
    return checks


def tidy(catalog: Catalog) -> list[str]:
    """Drop what neither the active model nor the one before it needs, vectors and bases; whose vectors went.

    Call it after an activation, when no other model is being made ready.
    """
    wanted = [one.model for one in (catalog.activations.active(), catalog.activations.before()) if one is not None]
    if not wanted:
        return []
    fingerprints = {model.fingerprint for model in wanted}
    gone = [one for one in catalog.fingerprints() if one not in fingerprints]
    for fingerprint in gone:
        catalog.drop_vectors(fingerprint)
    forget_bases(catalog.folder, [file_of(catalog.folder, one.fingerprint, one.digest) for one in wanted])
    return gone


def _alike(old: LivingMatcher, encoder: Encoder, decision: Decision) -> bool:
    """Whether another model makes the same vectors, blends them alike, and knows the same common grams."""
    if old.encoder.fingerprint != encoder.fingerprint or old.decision.blend != decision.blend:
        return False
    one, other = common_grams(old.encoder.bundle), common_grams(encoder.bundle)
    return np.array_equal(one, other) if one is not None and other is not None else one is other
