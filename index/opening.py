"""Opening: what a living catalogue stands on at first, the base that was kept or a new one.

It knows the store, the encoder and kept bases. It does not know what becomes of a snapshot afterwards.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np

from embedder.encoder import Encoder
from index.catalog import Catalog, Loaded
from index.decision import Decision
from index.kept import file_of, keep, read_kept
from index.matcher import common_grams
from index.scene import Progress
from index.shelf import digest_of
from index.snapshot import Base, Snapshot
from index.vectors import Device


def first_snapshot(
    catalog: Catalog,
    encoder: Encoder,
    decision: Decision,
    *,
    device: Device,
    progress: Progress | None,
    beside: Snapshot | None,
) -> Snapshot:
    """The catalogue on the base that was kept, with what came since; or else as it is on another one, or on a new one.

    Args:
        catalog, encoder, decision, device, progress: as in ``LivingMatcher.open``.
        beside: by another decision on the same vectors, blended alike. A new base is kept, and this one's is not.
    """
    file = file_of(catalog.folder, encoder.fingerprint, digest_of(encoder.bundle))
    if beside is not None and not file.exists():
        return beside.retold(replace(beside.base, pairs=None), encoder.encode, decision)
    background = common_grams(encoder.bundle)
    with _uncollected():
        kept = read_kept(file, lambda: loaded_by(catalog, encoder), decision.blend, background, device=device)
        if kept is not None:
            base, rest = kept
            return Snapshot.first(base, encoder.encode, decision).after(rest, (), rest.revision)
    loaded = loaded_by(catalog, encoder)
    base = Base.of(loaded, decision.blend, background, device=device, progress=progress)
    with suppress(OSError):  # it only makes the next start faster
        keep(base, file, decision.blend, background)
    return Snapshot.first(base, encoder.encode, decision)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage in cycles: it would go through all that is made here again and again, and find none."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def loaded_by(catalog: Catalog, encoder: Encoder) -> Loaded:
    """All that the store has vectors of; one that has none does not know how long they are."""
    loaded = catalog.vectors_of(encoder.fingerprint)
    return loaded if len(loaded.matrix) else replace(loaded, matrix=np.empty((0, encoder.dimension), np.float32))
