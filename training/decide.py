"""Choosing a decision on held-out products: how to blend, from which cosine to accept, how sure a cosine is.

Each validation row is judged in a pool with the training rows of its set around it, because a threshold chosen in a
small pool is too low for a large one (8th place of Kaggle Shopee had to add 0.15). It knows vectors and labels; it
does not know titles, models or bundles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from index.blending import BlendConfig, blend_catalogue
from index.clustering import connected_components, edges_of
from index.decision import Decision, stretched
from index.vectors import Neighbours, VectorIndex, Vectors
from training.evaluate import bcubed, bcubed_curve, row_curve


@dataclass(frozen=True)
class Pool:
    """A labelled catalogue of which some rows are judged.

    Attributes:
        name: of the set.
        vectors: float32 unit rows, shape (n, d).
        labels: product of each row, length n.
        rows: the held-out rows, int64.
        weight: of this set in the mean over sets.
    """

    name: str
    vectors: Vectors
    labels: Sequence[str]
    rows: npt.NDArray[np.int64]
    weight: float = 1.0


_WORTH = 0.002  # F1 that a later blend must add, of rows and clusters on average; what stands first is simpler
THRESHOLDS = np.round(np.arange(0.40, 1.00, 0.01), 2)
BLENDS = (
    BlendConfig(stages=0),
    *(
        BlendConfig(stages=1, threshold=threshold, power=power)
        for threshold in (0.6, 0.7, 0.8)
        for power in (1.0, 4.0, 8.0)
    ),
    *(BlendConfig(stages=2, threshold=threshold, power=8.0) for threshold in (0.7, 0.8)),
)


@dataclass(frozen=True)
class Choice:
    """A decision and what it scored on the validation rows.

    Attributes:
        f1: weighted mean row-F1 over the sets at ``decision.threshold``.
        by_set: of each set: row-F1 at the common threshold, and B-cubed F1 at the common cluster threshold.
        tried: mean row-F1 and B-cubed F1 of every blend that was tried, at its own best thresholds.
    """

    decision: Decision
    f1: float
    by_set: dict[str, dict[str, float]]
    tried: list[dict[str, float]]


def choose_decision(pools: Sequence[Pool], blends: Sequence[BlendConfig] = BLENDS) -> Choice:
    """The blend and thresholds with the best weighted mean over the pools, and the calibration at that blend.

    Matches and clusters count alike: row-F1 and B-cubed F1, each at its own threshold. A blend is chosen over those
    before it only when it adds ``_WORTH``: blending that does not pay is left out.
    """
    found = [VectorIndex.from_vectors(pool.vectors, exact=True).search(pool.vectors, blends[0].k) for pool in pools]
    tried = []
    best = None
    for blend in blends:
        near = [blend_catalogue(pool.vectors, n, blend).neighbours for pool, n in zip(pools, found, strict=True)]
        rows = [_f1_at_thresholds(p, n) for p, n in zip(pools, near, strict=True)]
        clusters = [_bcubed_at_thresholds(p, n) for p, n in zip(pools, near, strict=True)]
        row_f1, bcubed_f1 = float(_weighted(rows, pools).max()), float(_weighted(clusters, pools).max())
        tried.append(
            {"stages": blend.stages, "threshold": blend.threshold, "power": blend.power}
            | {"row_f1": row_f1, "bcubed_f1": bcubed_f1}
        )
        if best is None or row_f1 + bcubed_f1 > best[0] + 2 * _WORTH:
            best = (row_f1 + bcubed_f1, blend, near, rows, clusters)
    if best is None:
        raise ValueError("no blend to choose from")
    _, blend, neighbours, rows, clusters = best
    at, cluster_at = int(_weighted(rows, pools).argmax()), int(_weighted(clusters, pools).argmax())
    f1 = float(_weighted(rows, pools)[at])
    slope, intercept = _calibrate(pools, neighbours)
    decision = Decision(float(THRESHOLDS[at]), float(THRESHOLDS[cluster_at]), slope, intercept, blend)
    by_set = {
        pool.name: {"row_f1": float(row[at]), "bcubed_f1": float(cluster[cluster_at])}
        for pool, row, cluster in zip(pools, rows, clusters, strict=True)
    }
    return Choice(decision, f1, by_set, tried)


def _weighted(values: list[npt.NDArray[np.float64]], pools: Sequence[Pool]) -> npt.NDArray[np.float64]:
    return np.asarray(np.average(values, axis=0, weights=[pool.weight for pool in pools]))


def _judged(pool: Pool, neighbours: Neighbours) -> Neighbours:
    return Neighbours(neighbours.ids[pool.rows], neighbours.scores[pool.rows])


def _f1_at_thresholds(pool: Pool, neighbours: Neighbours) -> npt.NDArray[np.float64]:
    curve = row_curve(_judged(pool, neighbours), pool.labels, pool.rows)
    return np.array([curve.f1[curve.at(threshold)] for threshold in THRESHOLDS])


def _bcubed_at_thresholds(pool: Pool, neighbours: Neighbours) -> npt.NDArray[np.float64]:
    curve = bcubed_curve(edges_of(neighbours, float(THRESHOLDS[0])), pool.labels, pool.rows)
    return np.array([curve.f1[curve.at(threshold)] for threshold in THRESHOLDS])


def _calibrate(pools: Sequence[Pool], neighbours: Sequence[Neighbours]) -> tuple[float, float]:
    """Slope and intercept of Platt scaling over the candidate pairs of the judged rows; a set counts by its weight."""
    scores, hits, weights = [], [], []
    for pool, near in zip(pools, neighbours, strict=True):
        judged = _judged(pool, near)
        labels = np.unique(np.asarray(pool.labels), return_inverse=True)[1]
        real = (judged.ids >= 0) & (judged.ids != pool.rows[:, None]) & (judged.scores > 0)
        scores.append(stretched(judged.scores[real]))
        hits.append((labels[np.maximum(judged.ids, 0)] == labels[pool.rows][:, None])[real])
        weights.append(np.full(real.sum(), pool.weight / max(1, len(pool.rows))))
    fit = LogisticRegression(C=1e6)
    fit.fit(np.concatenate(scores)[:, None], np.concatenate(hits), sample_weight=_mean_one(np.concatenate(weights)))
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


def _mean_one(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(weights / weights.mean())


def scores_at(decision: Decision, pool: Pool) -> dict[str, float]:
    """Row-F1, row precision and recall, and B-cubed scores of a pool's judged rows at a decision."""
    found = VectorIndex.from_vectors(pool.vectors, exact=True).search(pool.vectors, decision.blend.k)
    neighbours = blend_catalogue(pool.vectors, found, decision.blend).neighbours
    curve = row_curve(_judged(pool, neighbours), pool.labels, pool.rows)
    at = curve.at(decision.threshold)
    edges = edges_of(neighbours, decision.cluster_threshold)
    clusters = bcubed(connected_components(len(pool.vectors), edges), pool.labels, pool.rows)
    return {
        "rows": len(pool.rows), "pool": len(pool.vectors), "row_f1": float(curve.f1[at]),
        "row_precision": float(curve.precision[at]), "row_recall": float(curve.recall[at]),
        "bcubed_f1": clusters.f1, "bcubed_precision": clusters.precision, "bcubed_recall": clusters.recall,
    }  # fmt: skip
