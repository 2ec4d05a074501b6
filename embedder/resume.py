"""Encoding that survives interruption: vectors are kept in a folder, window by window, and taken up again.

A window's file is named by the model's fingerprint and the window's titles, so that a file can only ever be used for
the very work it holds. It knows windows and files; it does not know what the vectors are for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.bundle import Bundle
from embedder.encoder import TOKENS_PER_BATCH, Device, Encoder

_WINDOW = 16_384  # titles; what an interruption costs at most


class ResumingEncoder(Encoder):
    """An encoder that keeps what it has encoded in ``folder`` until ``forget`` is called.

    Args:
        bundle, threads, device: as for ``Encoder``.
        folder: made at the first window; must not hold anything else. None keeps nothing.
    """

    def __init__(
        self, bundle: Bundle, folder: Path | None, *, threads: int | None = None, device: Device = "auto"
    ) -> None:
        super().__init__(bundle, threads=threads, device=device)
        self.folder = folder

    def encode(
        self,
        titles: Sequence[str],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: Callable[[int], None] | None = None,
    ) -> npt.NDArray[np.float32]:
        """As ``Encoder.encode``; windows that stand in the folder are read instead."""
        if self.folder is None:
            return super().encode(titles, tokens_per_batch=tokens_per_batch, progress=progress)
        vectors = np.empty((len(titles), self.dimension), np.float32)
        for start in range(0, len(titles), _WINDOW):
            window = titles[start : start + _WINDOW]
            path = self.folder / f"{self._name(window)}.npy"
            kept = self._read(path, len(window))
            if kept is None:
                kept = super().encode(window, tokens_per_batch=tokens_per_batch, progress=progress)
                _write(path, kept)
            elif progress:
                progress(len(window))
            vectors[start : start + len(window)] = kept
        return vectors

    def forget(self) -> None:
        """Remove the folder: the work it was kept for is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _name(self, window: Sequence[str]) -> str:
        digest = hashlib.sha256(self.fingerprint.encode())
        for title in window:
            raw = title.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return digest.hexdigest()[:32]

    def _read(self, path: Path, rows: int) -> npt.NDArray[np.float32] | None:
        try:
            kept = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None  # not there, or cut short by a crash: encode again
        whole = kept.shape == (rows, self.dimension) and kept.dtype == np.float32
        return kept if whole else None


def _write(path: Path, vectors: npt.NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    os.replace(beside, path)
