"""Evaluation: how good neighbours and clusters are against the labels, over every threshold at once.

Works on neighbour lists and cluster ids; it does not know titles, models or how the neighbours were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.vectors import Neighbours


@dataclass(frozen=True)
class Curve:
    """Mean row-F1, precision and recall at each distinct score, best first. All arrays have the same length.

    ``thresholds[i]`` accepts every neighbour whose score is at least it.
    """

    thresholds: npt.NDArray[np.float32]
    f1: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]

    @property
    def best(self) -> int:
        """Position of the highest F1; of equals the highest threshold."""
        return int(np.argmax(self.f1))

    def at(self, threshold: float) -> int:
        """Position whose decisions are those of ``threshold``: the last one that is not below it."""
        return max(0, int(np.searchsorted(-self.thresholds, -np.float32(threshold), side="right")) - 1)


def _codes(labels: Sequence[str] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)


def row_curve(
    neighbours: Neighbours,
    labels: Sequence[str] | npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64] | None = None,
) -> Curve:
    """Row-wise metrics of Kaggle Shopee and AI RUSH 2-5 over all thresholds, from one sorted pass.

    A row's prediction is itself and every neighbour accepted; its truth is itself and every row of its label; F1,
    precision and recall are of that row and then averaged, so a singleton that is left alone scores 1.

    Args:
        neighbours: ids and scores, shape (m, k), of rows of a catalogue among all of it; -1 pads; the row itself is
            skipped wherever it stands.
        labels: one per row of the catalogue, length n.
        rows: which rows were searched, length m; all of them by default.

    Raises:
        ValueError: the lengths differ.
    """
    code = _codes(labels)
    rows = np.arange(len(code)) if rows is None else rows
    n = len(rows)
    if neighbours.ids.shape[0] != n:
        raise ValueError(f"{neighbours.ids.shape[0]} rows of neighbours for {n} rows")
    own = code[rows]
    size = np.bincount(code)[own]
    order = np.argsort(-neighbours.scores, axis=1, kind="stable")
    ids = np.take_along_axis(neighbours.ids, order, 1)
    scores = np.take_along_axis(neighbours.scores, order, 1)
    real = (ids >= 0) & (ids != rows[:, None])
    hit = real & (code[np.maximum(ids, 0)] == own[:, None])
    true_positives = 1 + np.cumsum(hit, 1)
    predicted = 1 + np.cumsum(real, 1)
    steps = {}
    for name, value, start in (
        ("f1", 2 * true_positives / (predicted + size[:, None]), 2 / (1 + size)),
        ("precision", true_positives / predicted, np.ones(n)),
        ("recall", true_positives / size[:, None], 1 / size),
    ):
        steps[name] = (np.diff(value, axis=1, prepend=start[:, None])[real], float(start.mean()))
    flat = scores[real]
    falling = np.argsort(-flat, kind="stable")
    flat = flat[falling]
    last = np.append(np.flatnonzero(np.diff(flat)), len(flat) - 1) if len(flat) else np.empty(0, np.int64)
    curves = {
        name: np.concatenate([[start], start + np.cumsum(step[falling])[last] / n])
        for name, (step, start) in steps.items()
    }
    # Before the first score stands the decision to accept nothing: just above the best score there is.
    top = np.float32(np.nextafter(flat[0], np.float32(np.inf))) if len(flat) else np.float32(np.inf)
    return Curve(np.concatenate([[top], flat[last]]).astype(np.float32), **curves)


@dataclass(frozen=True)
class ClusterScores:
    """B-cubed precision, recall and F1 of a clustering, each between 0 and 1."""

    precision: float
    recall: float
    f1: float


def bcubed(
    clusters: Sequence[str] | npt.NDArray[np.int64],
    labels: Sequence[str] | npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64] | None = None,
) -> ClusterScores:
    """B-cubed scores (Bagga and Baldwin 1998): precision and recall of each row's cluster, averaged over rows.

    Args:
        clusters, labels: one per row.
        rows: the rows to average over; all of them by default.

    Raises:
        ValueError: the lengths differ, or there are no rows.
    """
    cluster, label = _codes(clusters), _codes(labels)
    if len(cluster) != len(label) or not len(label):
        raise ValueError(f"{len(cluster)} cluster ids for {len(label)} labels; both must name the same rows, at least one")
    cell = cluster * (label.max() + 1) + label
    _, inverse, counts = np.unique(cell, return_inverse=True, return_counts=True)
    both = counts[inverse]
    chosen = slice(None) if rows is None else rows
    precision = float(np.mean((both / np.bincount(cluster)[cluster])[chosen]))
    recall = float(np.mean((both / np.bincount(label)[label])[chosen]))
    return ClusterScores(precision, recall, 2 * precision * recall / (precision + recall))
