"""The encoder: titles in, unit vectors out, by a bundle's ONNX graph, or by those of an ensemble side by side.

Titles are cleaned, tokenised, sorted by length and run in batches of a fixed number of tokens, several batches at
once on single-threaded kernels: padding and thread hand-over are what batching usually costs. A title's vector does
not depend on the titles beside it. It knows tokenizers and onnxruntime; it does not know neighbours or catalogues.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from embedder.bundle import Bundle
from embedder.ensemble import concatenated
from embedder.errors import InputError
from embedder.text import clean

Device = Literal["auto", "cpu", "gpu"]
Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Row numbers, shape (n,), and their vectors, shape (n, dimension)."""

TOKENS_PER_BATCH = 512  # what stays in the cache of one processor; four times as much is a tenth slower
_FEW, _TOKENS_OF_FEW = 32, 256  # titles, and tokens a batch of them: of few, none is quite as long as the next
_WINDOW = 2_048  # titles cleaned and tokenised while those before them are run: enough to sort by length
_GPU = "CUDAExecutionProvider"


def available_cpus() -> int:
    """Processors this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Encoder:
    """Encodes titles with one bundle. Safe to call from several threads.

    Args:
        bundle: the model, or the ensemble, whose members' vectors are concatenated.
        threads: processors to use; all that the process may use by default.
        device: "auto" takes a GPU when onnxruntime has its CUDA provider and the model is not int8 (whose kernels are
            for processors).

    Attributes:
        encoded: titles encoded so far.

    Raises:
        InputError: threads below 1, "gpu" without a CUDA provider, or a model file that onnxruntime cannot run.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, device: Device = "auto") -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; expected at least 1")
        self.bundle = bundle
        self.threads = threads or available_cpus()
        self._models = [_Model(member.bundle, self.threads, device) for member in bundle.models]
        self.on_gpu = any(model.on_gpu for model in self._models)
        self.encoded = 0
        self._counting = threading.Lock()

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.bundle.config.dimensions

    @property
    def fingerprint(self) -> str:
        """The bundle's: vectors of another fingerprint cannot be compared with these."""
        return self.bundle.fingerprint

    def encode(
        self,
        titles: Sequence[str],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: Callable[[int], None] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Vectors of titles, in their order.

        Args:
            titles: raw titles; they are cleaned here.
            tokens_per_batch: padded tokens a batch at most (one title may exceed it).
            progress: called with the number of titles done since the last call.

        Returns:
            float32, shape (len(titles), dimension). A row has length 1, or is all zeros when the model can read
            nothing of the title (no letter or digit, or a script it never saw): such a row scores 0 with every other.
        """
        with self._counting:
            self.encoded += len(titles)
        if len(self._models) == 1:
            return self._models[0].encode(titles, tokens_per_batch, progress)
        advance = _shared(progress, len(self._models))
        vectors = [model.encode(titles, tokens_per_batch, advance) for model in self._models]
        return concatenated(vectors, [member.weight for member in self.bundle.models])

    def tokenize(self, titles: Sequence[str]) -> list[list[int]]:
        """Token ids of each title after cleaning, of an ensemble its first model's; empty where it can read nothing."""
        return self._models[0].tokenize(titles)


class _Model:
    """One model: its tokenizer, and its ONNX session. Arguments and errors as of ``Encoder``."""

    def __init__(self, bundle: Bundle, threads: int, device: Device) -> None:
        self.bundle = bundle
        self._tokenizer = bundle.tokenizer()
        self._unknown, self._special = _unknown_id(self._tokenizer), self._tokenizer.num_special_tokens_to_add(False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Batches of every shape would each grow the arena; plain allocation stays in the cache, and is a tenth faster.
        options.enable_cpu_mem_arena = False
        # Extended optimisation would fuse residual and layer norm into a kernel that is 7 times slower on a CPU.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        providers = ["CPUExecutionProvider"]
        if _use_gpu(device, bundle.config.precision):
            providers.insert(0, _GPU)
        try:
            self._session = onnxruntime.InferenceSession(str(bundle.model_path), options, providers=providers)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise InputError(f"onnxruntime cannot run it: {error}", file=str(bundle.model_path)) from error
        self.on_gpu = _GPU in self._session.get_providers()  # without a driver that works, onnxruntime falls back
        if device == "gpu" and not self.on_gpu:
            raise InputError("device is gpu, but onnxruntime could not start CUDA; use cpu or auto")
        self._workers = 1 if self.on_gpu else threads

    def encode(
        self, titles: Sequence[str], tokens_per_batch: int, progress: Callable[[int], None] | None
    ) -> npt.NDArray[np.float32]:
        """As ``Encoder.encode``."""
        vectors = np.zeros((len(titles), self.bundle.config.dimensions), np.float32)

        def put(batch: Batch) -> None:
            rows, encoded = batch
            vectors[rows] = encoded
            if progress:
                progress(len(rows))

        if len(titles) <= _FEW:  # threads would take as long to start as few titles take
            tokens = self.tokenize(titles)
            for rows in _batches(tokens, min(tokens_per_batch, _TOKENS_OF_FEW)):
                put(self._run([tokens[row] for row in rows], np.array(rows)))
            if progress and (unread := sum(not ids for ids in tokens)):
                progress(unread)
            return vectors
        with ThreadPoolExecutor(self._workers) as pool:
            running: deque[Future[Batch]] = deque()
            for start in range(0, len(titles), _WINDOW):
                tokens = self.tokenize(titles[start : start + _WINDOW])
                if progress and (unread := sum(not ids for ids in tokens)):
                    progress(unread)
                before = len(running)
                for rows in _batches(tokens, tokens_per_batch):
                    running.append(pool.submit(self._run, [tokens[row] for row in rows], np.array(rows) + start))
                for _ in range(before):  # this window's batches run on while the next one is cleaned
                    put(running.popleft().result())
            for batch in running:
                put(batch.result())
        return vectors

    def tokenize(self, titles: Sequence[str]) -> list[list[int]]:
        """As ``Encoder.tokenize``."""
        encoded = self._tokenizer.encode_batch_fast([clean(title) for title in titles])
        tokens = [encoding.ids for encoding in encoded]
        return [ids if len(ids) - ids.count(self._unknown) > self._special else [] for ids in tokens]

    def _run(self, batch: list[list[int]], rows: npt.NDArray[np.int64]) -> Batch:
        lengths = np.array([len(ids) for ids in batch], np.int32)
        padded = np.zeros((len(batch), int(lengths.max())), np.int64)
        for row, ids in enumerate(batch):
            padded[row, : len(ids)] = ids
        (vectors,) = self._session.run(None, {"input_ids": padded, "lengths": lengths})
        if not np.isfinite(vectors).all():
            raise InputError("the model answered with a value that is not finite", file=str(self.bundle.model_path))
        return rows, np.asarray(vectors, np.float32)


def _shared(progress: Callable[[int], None] | None, models: int) -> Callable[[int], None] | None:
    """A counter of titles that each of some models does in its turn: a title is done when all have done it."""
    if progress is None:
        return None
    told, done = progress, 0

    def advance(more: int) -> None:
        nonlocal done
        before, done = done // models, done + more
        if done // models > before:
            told(done // models - before)

    return advance


def _batches(tokens: list[list[int]], budget: int) -> Iterator[list[int]]:
    """Row numbers of titles of like length, at most ``budget`` padded tokens a batch; empty titles are left out."""
    batch: list[int] = []
    for row in sorted((row for row, ids in enumerate(tokens) if ids), key=lambda row: len(tokens[row])):
        if batch and (len(batch) + 1) * len(tokens[row]) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _unknown_id(tokenizer: Tokenizer) -> int:
    """The id of what a tokenizer cannot read; -1 where there is none, as with bytes, which read everything."""
    name = getattr(tokenizer.model, "unk_token", None)
    known = (tokenizer.token_to_id(word) for word in (name, "[UNK]", "<unk>") if word)
    return next((id for id in known if id is not None), -1)


def _use_gpu(device: Device, precision: str) -> bool:
    has_gpu = _GPU in onnxruntime.get_available_providers()
    if device == "gpu" and not has_gpu:
        raise InputError("device is gpu, but onnxruntime has no CUDA provider; install dongil[gpu], or use cpu or auto")
    return device != "cpu" and has_gpu and (device == "gpu" or precision != "int8")
