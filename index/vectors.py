"""Search: the nearest vectors of a catalogue, exact while that is affordable and with measured recall beyond.

A thin hold on FAISS. It knows unit rows and cosines; it does not know titles, ids other than row numbers, decisions
or files other than its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from embedder.errors import InputError

Vectors = npt.NDArray[np.float32]
Device = Literal["auto", "cpu", "gpu"]
Way = Literal["exact", "sketch, re-scored exactly", "inverted file"]
"""How a few queries are searched."""

EXACT_UP_TO = 150_000  # rows; beyond, an exact self-search costs minutes and an inverted file seconds
_WORTH = 1 / 8  # share of its lists that an inverted file may probe; exact search takes about 7 times less a row
_SAMPLE = 512  # queries on which an inverted file's recall is measured
_BLOCK = 8_192  # queries a FAISS call: bounds memory and lets progress be shown

_SKETCHED = 20_000  # rows from which a sketch is worth its making: it tells a row in a sixteenth of its bytes
FEW = 256
"""Queries at once up to which the sketch is asked: what searches a catalogue by itself misses nothing."""
_WANTED, _WIDER = 50, 10.0  # rows that the sketch is asked for at least, and how many it names for each of them
_ASKED = 64  # queries on which a sketch's recall is measured
_LESSON, _STEPS = 8_192, 8  # rows that a sketch is learnt from, and how often it is bettered: more changes nothing


@dataclass(frozen=True)
class Neighbours:
    """Nearest rows of each query, best first.

    Attributes:
        ids: row numbers, int64, shape (queries, k); -1 where fewer than k rows were found.
        scores: cosines, float32, same shape; -inf beside an id of -1.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sketch:
    """What a sketch was learnt to be, from which it is made anew in no time.

    Attributes:
        centroids: float32, shape (dimensions / 2, 16, 2).
        codes: of the rows, four bits of each two dimensions, uint8, shape (n, ceil(dimensions / 4)).
        recall: share of the 50 nearest rows that searches of a sample of them found; None where not measured.
    """

    centroids: Vectors
    codes: npt.NDArray[np.uint8]
    recall: float | None = None


def check_vectors(vectors: Vectors, dimension: int | None = None) -> Vectors:
    """Vectors as FAISS wants them: float32, C order, finite, rows of length 1 or 0.

    A row of zeros stands for a title that the encoder cannot read; it scores 0 with everything.

    Raises:
        InputError: another shape or dimension, NaN or infinity, or a row of another length (both numbers are told).
    """
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise InputError(f"vectors of shape {vectors.shape}; expected (rows, dimensions)")
    if dimension is not None and vectors.shape[1] != dimension:
        raise InputError(f"vectors of {vectors.shape[1]} dimensions; the index holds {dimension}")
    vectors = np.ascontiguousarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = np.flatnonzero(~((np.abs(lengths - 1) < 1e-3) | (lengths == 0)))
    if len(wrong):
        raise InputError(f"vector {wrong[0]} has length {lengths[wrong[0]]}; expected 1, or 0 for an unreadable title")
    return vectors


def _by_score_then_id(ids: npt.NDArray[np.int64], scores: Vectors) -> Neighbours:
    """Equal scores in the order of their ids: FAISS leaves them as its heap fell."""
    scores[ids < 0] = -np.inf
    tied = np.flatnonzero(((scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] >= 0)).any(axis=1))
    order = np.lexsort((ids[tied], -scores[tied]), axis=1)
    ids[tied], scores[tied] = np.take_along_axis(ids[tied], order, 1), np.take_along_axis(scores[tied], order, 1)
    return Neighbours(ids, scores)


class VectorIndex:
    """Rows of unit vectors that can be searched by cosine.

    Make one with ``from_vectors`` or ``load``. ``recall`` is 1.0 for an exact index; otherwise the share of true
    nearest neighbours that a sample of searches found, measured against exact search when the index was made.
    """

    def __init__(self, index: Any, *, recall: float, on_gpu: bool = False) -> None:
        self._index = index
        self.recall = recall
        self.on_gpu = on_gpu
        self._sketch: Any = None
        self._sketched: Sketch | None = None
        # Searches of one index may run side by side on a CPU; on a GPU they share its scratch memory.
        self._turn: AbstractContextManager[object] = Lock() if on_gpu else nullcontext()

    @classmethod
    def from_vectors(
        cls,
        vectors: Vectors,
        *,
        exact: bool | None = None,
        min_recall: float = 0.99,
        k: int = 50,
        floor: float = -1.0,
        device: Device = "auto",
    ) -> VectorIndex:
        """Index the rows of ``vectors``.

        Args:
            vectors: float32 unit rows, shape (n, dimensions).
            exact: exact search or an inverted file; None chooses by size (``EXACT_UP_TO``), and exact search too where
                an inverted file would have to probe so many lists that it were the slower one.
            min_recall: an inverted file probes as many of its lists as this recall takes.
            k: the number of neighbours for which recall is measured, the row itself not counted.
            floor: cosine below which a neighbour is of no use, and missing it no loss. The far ones are by far the
                hardest to find: half of all lists for the 50 nearest, where those over 0.6 take a twentieth.
            device: "auto" takes a GPU when this build of FAISS sees one.

        Raises:
            InputError: the vectors are not unit rows, or "gpu" is asked for and FAISS sees none.
        """
        vectors = check_vectors(vectors)
        n, dimension = vectors.shape
        flat = faiss.IndexFlatIP(dimension)
        flat.add(vectors)
        index, recall = flat, 1.0
        if n and not (exact if exact is not None else n <= EXACT_UP_TO):
            inverted = _inverted_file(vectors)
            reached = _probe_until(inverted, flat, vectors, min(k + 1, n), min_recall, floor)
            if exact is False or inverted.nprobe <= _WORTH * inverted.nlist:
                index, recall = inverted, reached
        on_gpu = wants_gpu(device)
        return cls(_to_gpu(index) if on_gpu else index, recall=recall, on_gpu=on_gpu)

    @property
    def dimension(self) -> int:
        """Length of a row."""
        return int(self._index.d)

    @property
    def exact(self) -> bool:
        """Whether all vectors are read for a query; but for a few queries, where there is a sketch."""
        return not hasattr(self._index, "nprobe")

    @property
    def way(self) -> Way:
        """How a few queries are searched."""
        if self._sketched is not None:
            return "sketch, re-scored exactly"
        return "exact" if self.exact else "inverted file"

    @property
    def recall_of_few(self) -> float:
        """The share of true nearest rows that a sample of searches of a few queries found; 1.0 where all are read."""
        told = self._sketched
        return self.recall if told is None or told.recall is None else told.recall

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: Vectors, k: int, *, progress: Callable[[int], None] | None = None, at_once: int | None = None
    ) -> Neighbours:
        """The k nearest rows of each query, best first; equal scores in row order.

        Args:
            queries: float32 unit rows, shape (m, dimensions).
            k: at least 1; more than there are rows pads with -1.
            progress: called with the number of queries done since the last call.
            at_once: how many are searched together; ``FEW`` has the sketch asked for many, too.

        Raises:
            InputError: k below 1, or queries of another shape.
        """
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1")
        queries = check_vectors(queries, self.dimension)
        ids = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        found, at_once = min(k, len(self)), at_once or _BLOCK
        for start in range(0, len(queries) if found else 0, at_once):
            block = slice(start, start + at_once)
            with self._turn:
                scores[block, :found], ids[block, :found] = self._search(queries[block], found)
            if progress:
                progress(len(ids[block]))
        return _by_score_then_id(ids, scores)

    def sketch(self, kept: Sketch | None = None) -> Sketch | None:
        """Make searches of a few queries ten times faster, where the index is exact, large and on no GPU.

        Product quantisation (Jegou, Douze and Schmid 2011) of two dimensions to four bits, as FAISS scans it by SIMD
        (Andre, Kermarrec and Le Scouarnec 2015), names the nearest ones, which are then scored exactly: reading all
        vectors for one query takes longer than all else that it needs. The scores are those of an exact search to the
        bit. Of 12,800 true neighbours among 100,000 titles one was missed, a fiftieth one. Takes 10 microseconds a row.

        Args:
            kept: what this told of the same rows earlier, which saves that time.

        Returns:
            None where there is none.

        Raises:
            ValueError: ``kept`` is of other rows.
        """
        rows, half = len(self), self.dimension // 2
        if self._sketch is not None or not self.exact or self.on_gpu or rows < _SKETCHED or self.dimension % 2:
            return self._sketched
        plain = faiss.IndexPQ(self.dimension, half, 4, faiss.METRIC_INNER_PRODUCT)
        if kept is None:
            _learn(plain, faiss.rev_swig_ptr(self._index.get_xb(), rows * self.dimension).reshape(rows, -1))
            codes = faiss.vector_to_array(plain.codes).reshape(rows, -1)
            kept = Sketch(faiss.vector_to_array(plain.pq.centroids).reshape(half, 16, 2), codes)
        else:
            if kept.centroids.shape != (half, 16, 2) or kept.codes.shape != (rows, plain.code_size):
                raise ValueError(f"a sketch of shape {kept.codes.shape}; expected {(rows, plain.code_size)}")
            faiss.copy_array_to_vector(np.ascontiguousarray(kept.centroids, np.float32).ravel(), plain.pq.centroids)
            plain.is_trained = True
            plain.add_sa_codes(kept.codes)
        scan: Any = faiss.IndexPQFastScan
        sketch = faiss.IndexRefine(scan(plain), self._index)
        sketch.k_factor = _WIDER
        self._sketch = sketch
        self._sketched = kept if kept.recall is not None else replace(kept, recall=self._sketch_recall())
        return self._sketched

    def _sketch_recall(self) -> float:
        rows = np.sort(np.random.default_rng(0).choice(len(self), min(_ASKED, len(self)), replace=False))
        queries = np.stack([self._index.reconstruct(row) for row in rows.tolist()])
        true, found = (search(queries, min(_WANTED, len(self)))[0] for search in (self._index.search, self._search))
        return _share_found(true, found)

    def _search(self, queries: Vectors, k: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        wanted = max(k, _WANTED)
        if self._sketch is None or len(queries) > FEW or _WIDER * wanted > len(self):
            scores, ids = self._index.search(queries, k)
            return scores, ids
        with _one_thread():
            scores, ids = self._sketch.search(queries, wanted)
        return scores[:, :k], ids[:, :k]

    def save(self, folder: Path) -> None:
        """Write ``index.faiss`` and ``index.json`` into a folder that exists.

        Raises:
            OSError: they cannot be written.
        """
        index = faiss.index_gpu_to_cpu(self._index) if self.on_gpu else self._index
        with (folder / "index.faiss").open("wb") as file:
            # Given a name, FAISS itself writes, and says nothing when the disk is full for the last bytes.
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
        about = {"recall": self.recall, "rows": len(self), "nprobe": getattr(index, "nprobe", None)}
        (folder / "index.json").write_text(json.dumps(about))

    @classmethod
    def load(cls, folder: Path, *, device: Device = "auto") -> VectorIndex:
        """Read what ``save`` wrote.

        Raises:
            InputError: a file is missing, cut short or not an index.
        """
        try:
            about = json.loads((folder / "index.json").read_text())
            index: Any = faiss.read_index(str(folder / "index.faiss"))
            if index.ntotal != about["rows"]:
                raise ValueError(f"{index.ntotal} rows where index.json says {about['rows']}")
            if about["nprobe"]:
                index.nprobe = about["nprobe"]
            recall = float(about["recall"])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a whole index: {error}", file=os.fspath(folder)) from error
        on_gpu = wants_gpu(device)
        return cls(_to_gpu(index) if on_gpu else index, recall=recall, on_gpu=on_gpu)


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS on the calling thread alone: over small pieces of work, threads mostly wait for one another."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _learn(plain: Any, vectors: Vectors) -> None:
    """Learn a product quantiser from some rows, and tell all rows by it."""
    plain.pq.cp.seed, plain.pq.cp.niter, plain.pq.cp.max_points_per_centroid = 0, _STEPS, _LESSON
    with _one_thread():
        plain.train(vectors[np.random.default_rng(0).choice(len(vectors), _LESSON, replace=False)])
        plain.add(vectors)


def gpus_seen() -> int:
    """GPUs that this build of FAISS can use."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def wants_gpu(device: Device) -> bool:
    """Whether to search on a GPU.

    Raises:
        InputError: "gpu" where FAISS sees none.
    """
    seen = gpus_seen()
    if device == "gpu" and not seen:
        raise InputError("device is gpu, but this build of faiss sees no GPU; expected cpu or auto")
    return device != "cpu" and seen > 0


def _to_gpu(index: Any) -> Any:
    # One GPU, float32: the same scores as on the CPU. Temporary memory is FAISS's default.
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


def _inverted_file(vectors: Vectors) -> Any:
    n, dimension = vectors.shape
    lists = min(n, int(4 * np.sqrt(n)))
    inverted = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    inverted.cp.seed = 0
    inverted.cp.niter = 8
    inverted.cp.max_points_per_centroid = 64
    inverted.cp.min_points_per_centroid = 1
    inverted.train(vectors)
    inverted.add(vectors)
    return inverted


def _probe_until(inverted: Any, flat: Any, vectors: Vectors, k: int, min_recall: float, floor: float) -> float:
    """Raise ``nprobe`` until a fixed sample of rows finds ``min_recall`` of its neighbours; return what it finds."""
    sample = np.random.default_rng(0).choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False)
    queries = vectors[np.sort(sample)]
    true_scores, _ = flat.search(queries, k)
    inverted.nprobe = 8
    while True:
        recall = _share_found(true_scores, inverted.search(queries, k)[0], floor)
        if recall >= min_recall or inverted.nprobe >= inverted.nlist:
            return recall
        inverted.nprobe = min(inverted.nlist, int(inverted.nprobe * 1.5))


def _share_found(true: Vectors, found: Vectors, floor: float = -1.0) -> float:
    """How much of what exact search finds at or above a floor was found, by the scores of rows that search others."""
    # By score, not by id: a tie at rank k is no miss. The best of each is the row itself.
    needed = np.maximum(true[:, -1:] - 1e-6, floor)
    expected = int((true[:, 1:] >= needed).sum())
    return min(1.0, int((found[:, 1:] >= needed).sum()) / expected) if expected else 1.0
