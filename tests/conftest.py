"""What tests share: the bundle that ships, an encoder on it, the sample catalogue, and vectors drawn by a seed."""

from __future__ import annotations

import csv
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import settings

from embedder.bundle import Bundle, load_bundle
from embedder.encoder import Encoder
from index.vectors import Vectors

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every run; and no deadline, because a busy machine is no bug.
settings.register_profile("dongil", derandomize=True, deadline=None)
settings.load_profile("dongil")
# Threads that wait for one another over twenty rows only wait.
faiss.omp_set_num_threads(1)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The bundle that ships with dongil."""
    return load_bundle()


@pytest.fixture(scope="session")
def encoder(bundle: Bundle) -> Encoder:
    return Encoder(bundle, threads=1, device="cpu")


@pytest.fixture(scope="session")
def sample() -> list[tuple[str, str]]:
    """Ids and titles of the sample catalogue."""
    with (ROOT / "api" / "sample" / "catalog.csv").open(encoding="utf-8", newline="") as file:
        return [(row["id"], row["title"]) for row in csv.DictReader(file)]


def unit_rows(rows: int, dimension: int = 16, seed: int = 0, *, spread: float | None = None) -> Vectors:
    """Random float32 unit rows; with ``spread``, around one centre for every four rows, as listings of products are."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(rows, dimension))
    if spread is not None:
        centres = draw.normal(size=(max(1, rows // 4), dimension))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        vectors = centres[draw.integers(len(centres), size=rows)] + spread * vectors
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
