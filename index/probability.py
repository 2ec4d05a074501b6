"""The probability model: from the evidence on a pair to how probably its two titles are one product.

A gradient-boosted ensemble of small trees, learnt from labels and run by onnxruntime. It knows evidence as columns of
numbers; it does not know titles, how the trees were learnt, or what is done with a probability.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from embedder.errors import InputError
from index.evidence import EVIDENCE
from index.wording import Numbers

COLUMNS = "evidence"
"""The model's metadata key under which the names of its columns stand, as JSON."""
_BLOCK = 8192


class ProbabilityModel:
    """A model read from ONNX bytes: float32 evidence in, calibrated probabilities out."""

    def __init__(self, data: bytes, *, threads: int = 1, file: str | None = None) -> None:
        """Read a model.

        Args:
            data: what ``training.probability`` wrote.
            threads: blocks of pairs that are judged at the same time.
            file: where the data came from, for errors.

        Raises:
            InputError: not such a model, or one of other columns than this dongil gathers.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # so that sums do not hang on the batch
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            columns = json.loads(self._session.get_modelmeta().custom_metadata_map.get(COLUMNS, "null"))
        except Exception as error:  # onnxruntime raises its own kinds for each way a file can be wrong
            raise InputError(f"not a probability model: {str(error).splitlines()[0]}", file=file) from error
        if columns != list(EVIDENCE):
            raise InputError(
                "the probability model was learnt from other evidence than this dongil gathers; train it again",
                file=file,
            )
        self._threads = threads

    @classmethod
    def read(cls, path: Path, *, threads: int = 1) -> ProbabilityModel:
        """The model in a file; see the constructor."""
        try:
            return cls(path.read_bytes(), threads=threads, file=str(path))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from error

    def predict(self, evidence: Numbers) -> npt.NDArray[np.float64]:
        """The probability of each pair: float64, shape (pairs,), from evidence of shape (pairs, len(EVIDENCE))."""
        blocks = [evidence[start : start + _BLOCK] for start in range(0, len(evidence), _BLOCK)]
        if len(blocks) > 1 and self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                found = list(pool.map(self._run, blocks))
        else:
            found = [self._run(block) for block in blocks]
        return np.concatenate([np.empty(0), *found])

    def _run(self, block: Numbers) -> npt.NDArray[np.float64]:
        return np.asarray(self._session.run(None, {"evidence": block})[0], np.float64).reshape(-1)
