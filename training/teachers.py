"""What teachers say of titles: vectors worked out once, kept on disk in half precision, and taken up where they stood.

A teacher is a bundle, run as it is served. A file is named by the teacher's fingerprint and the titles it is of, and
grows row by row, so that a killed run loses a window at most. It knows bundles and files; it does not know students.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError

_WINDOW = 8_192  # titles; what an interruption costs at most
Half = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Teachers:
    """Vectors of titles by one teacher or more.

    Attributes:
        names: fingerprints.
        vectors: of each teacher, float16, shape (titles, its dimension): unit rows, or zeros for a title that it
            cannot read. Mapped from disk: a batch reads its own rows.
    """

    names: tuple[str, ...]
    vectors: tuple[Half, ...]

    @property
    def dimension(self) -> int:
        """Of all teachers side by side."""
        return sum(one.shape[1] for one in self.vectors)

    def of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Vectors of titles by row number, side by side: float32, shape (rows, dimension).

        A row has length 1, and the cosine of two is the mean of the teachers' cosines; it is zero where any teacher
        cannot read the title.
        """
        parts = [one[rows].astype(np.float32) for one in self.vectors]
        parts = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6) for part in parts]
        readable = np.all([part.any(axis=1) for part in parts], axis=0)
        side_by_side = np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))
        return np.asarray(side_by_side * readable[:, None], np.float32)


def ask_teachers(
    folders: Sequence[str | Path], titles: Sequence[str], kept: Path, report: Callable[[str, int, int], None]
) -> Teachers:
    """Have every teacher encode all titles; what stands in ``kept`` already is read.

    Args:
        folders: bundles.
        titles: cleaned.
        kept: a folder for the vectors; made where it is missing.
        report: is told a teacher's fingerprint, and how many of how many titles are done.

    Raises:
        InputError: a bundle cannot be used, or two are the same.
    """
    encoders = [Encoder(load_bundle(folder)) for folder in folders]
    names = tuple(encoder.fingerprint for encoder in encoders)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"teacher {twice} is given twice; expected different bundles")
    kept.mkdir(parents=True, exist_ok=True)
    return Teachers(names, tuple(_vectors(encoder, titles, kept, report) for encoder in encoders))


def _vectors(encoder: Encoder, titles: Sequence[str], kept: Path, report: Callable[[str, int, int], None]) -> Half:
    path = kept / f"{encoder.fingerprint}-{_digest(titles)}.npy"
    if not path.exists():
        beside = path.with_suffix(".part")
        with beside.open("ab+") as file:
            done = _begin(file, len(titles), encoder.dimension)
            for start in range(done, len(titles), _WINDOW):
                window = encoder.encode(titles[start : start + _WINDOW])
                # A plain write, not a mapped one: a full disk is an error that can be told, not the end of the process.
                file.write(window.astype(np.float16).tobytes())
                file.flush()
                os.fsync(file.fileno())
                report(encoder.fingerprint, min(start + _WINDOW, len(titles)), len(titles))
        os.replace(beside, path)
    vectors: Half = np.load(path, mmap_mode="r", allow_pickle=False)
    return vectors


def _begin(file: BinaryIO, rows: int, dimension: int) -> int:
    """Write the head of a file of so many rows, or cut off a half-written row; returns the rows that stand."""
    file.seek(0)
    head = {"descr": "<f2", "fortran_order": False, "shape": (rows, dimension)}
    try:
        np.lib.format.read_magic(file)
        whole = np.lib.format.read_array_header_1_0(file) == (head["shape"], False, np.dtype("<f2"))
    except ValueError:
        whole = False
    if not whole:
        file.truncate(0)
        np.lib.format.write_array_header_1_0(file, head)
        return 0
    start = file.tell()
    done = (file.seek(0, os.SEEK_END) - start) // (2 * dimension)
    done -= done % _WINDOW if done < rows else done - rows
    file.truncate(start + 2 * dimension * done)
    return done


def _digest(titles: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for title in titles:
        raw = title.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:16]
