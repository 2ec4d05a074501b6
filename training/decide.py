"""Choosing a decision on held-out products: a probability for every pair, and from where on it is one product.

Each held-out row is judged in a pool with training rows of its set around it, in pools of several sizes and with
products cut to one listing too, because what a similarity is worth hangs on how full the catalogue is (8th place of
Kaggle Shopee had to raise its threshold by 0.15). Thresholds and proofs come from probabilities that were learnt on
other products. It knows scenes and labels; it does not know models or bundles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from index.blending import BlendConfig
from index.clustering import Ids, lists_of
from index.cohesion import cohesive_clusters
from index.decision import Decision, Promise, doubted, stretched
from index.evidence import EVIDENCE, contradictions
from index.nodes import row_neighbours
from index.prior import prior_shift
from index.probability import ProbabilityModel
from index.scene import JudgedPairs, judged_pairs
from index.vectors import Neighbours
from training.evaluate import bcubed, row_curve, row_scores
from training.examples import FOLDS, Examples, Pool, Values, counts_of, examples_of, unfolded
from training.prove import prove
from training.trees import TreeConfig, grow, to_onnx

FEWEST_PAIRS = 200  # held-out pairs of one product, below which trees would learn the accidents of a few
THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)
CLUSTER_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)
TARGETS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
GRID = np.round(np.arange(0.3, 0.96, 0.05), 2)
"""Thresholds that can be proven, fixed before a label is seen; the strictest is tested first, so none too strict."""
_PLAIN = Decision(BlendConfig(), 0.5, 0.5, 1.0, 0.0)  # for what hangs on no threshold
_BLENDED = EVIDENCE.index("blended_cosine")
_BINS = 10
_APART = 10_000_000  # no set has so many products
COUNTS = (20, 40, 60, 80, 120, 200)  # of trees, that are tried besides the most


@dataclass(frozen=True)
class Choice:
    """A decision, and what it does on the validation rows by probabilities learnt on other products.

    Attributes:
        decision: with its probability model.
        trees: that model as ONNX; None where the labels were too few for one.
        f1: weighted mean row-F1 over the sets.
        by_set: of each set: row-F1 of the rows' own choices, row-F1 at the common threshold, B-cubed F1.
        calibration: of each set, see ``reliability``.
        proven_on: the sets whose pairs the promises were proven on, all together.
    """

    decision: Decision
    trees: bytes | None
    f1: float
    by_set: dict[str, dict[str, float]]
    calibration: dict[str, Any]
    proven_on: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The decision as a bundle carries it, with what it was chosen and proven on."""
        return self.decision.to_json() | {"chosen_on": self.by_set, "proven_on": list(self.proven_on)}


def choose_decision(
    pools: Sequence[Pool],
    variants: Sequence[Pool] = (),
    blend: BlendConfig | None = None,
    trees: TreeConfig | None = None,
    others: Iterable[Sequence[Pool]] = (),
) -> Choice:
    """Learn the probability and choose the thresholds.

    Args:
        pools: of each set one; thresholds are chosen and proven on them.
        variants: of the same sets' rows, smaller or with products cut to one listing; learnt from besides.
        blend: how the scenes were blended.
        trees: how trees are grown.
        others: learnt from besides: of a set a pool and its variants, of other products, as an encoder sees them that
            did not learn from those. Taken one at a time, so that no more than their pairs need be kept.
    """
    own = [examples_of(pool) for pool in pools]
    groups = [[one, *(examples_of(v) for v in variants if v.name == one.name)] for one in own]
    groups += [[unfolded(examples_of(pool)) for pool in some] for some in others]
    nested = counts_of(groups)
    tables, weights = [one for some in groups for one in some], [count for some in nested for count in some]
    slope, intercept = _platt(own, [some[0] for some in nested[: len(own)]])
    draft = Decision(blend or BlendConfig(), 0.5, 0.5, slope, intercept)
    grown = None
    if sum(float((full.same * (full.concerns > 0)).sum()) for full, *_ in groups) >= FEWEST_PAIRS:
        config, probabilities = _out_of_fold(pools, own, tables, weights, trees or TreeConfig())
        grown = to_onnx(_grow(tables, weights, config))
    else:
        plain = [draft.of_cosine(t.evidence[:, _BLENDED]) for t in own]
        probabilities = [doubted(p, contradictions(t.evidence)) for p, t in zip(plain, own, strict=True)]
    judged = [(pool, _judged(pool, t, p)) for pool, t, p in zip(pools, own, probabilities, strict=True)]
    proving = [one for one in judged if one[0].weight >= 1] or judged
    decision = replace(
        draft,
        threshold=_threshold(judged),
        cluster_threshold=_cluster_threshold(judged),
        promises=promises(*pair_lists(proving)),
        model=ProbabilityModel(grown) if grown else None,
    )
    by_set = {pool.name: _told(decision, pool, pairs) for pool, pairs in judged}
    f1 = float(np.average([by_set[pool.name]["row_f1"] for pool in pools], weights=[pool.weight for pool in pools]))
    calibration = {
        pool.name: reliability(t.same[t.concerns > 0], p[t.concerns > 0])
        for pool, t, p in zip(pools, own, probabilities, strict=True)
    }
    return Choice(decision, grown, f1, by_set, calibration, tuple(pool.name for pool, _ in proving))


def _grow(tables: Sequence[Examples], weights: Sequence[Values], config: TreeConfig, without: int | None = None) -> Any:
    """Trees of every judged pair, but those of products of one fold."""
    used = [
        (w > 0) & ((t.folds != without).all(axis=1) if without is not None else True)
        for t, w in zip(tables, weights, strict=True)
    ]
    return grow(
        np.concatenate([t.evidence[u] for t, u in zip(tables, used, strict=True)]),
        np.concatenate([t.same[u] >= 0.5 for t, u in zip(tables, used, strict=True)]),
        np.concatenate([w[u] for w, u in zip(weights, used, strict=True)]).astype(np.float32),
        config,
    )


def _judged(pool: Pool, table: Examples, probabilities: Values) -> JudgedPairs:
    """The pairs of a pool as they are judged when it is served."""
    return judged_pairs(len(pool.scene.nodes.texts), table.pairs, probabilities, contradictions(table.evidence))


def _row_f1(pool: Pool, pairs: JudgedPairs) -> float:
    """Mean row-F1 of a pool's judged rows, each with the set of the best expected F1."""
    return float(row_scores(own_rows(_PLAIN, pool, pairs), pool.labels, pool.rows, 0.5).f1.mean())


def _out_of_fold(
    pools: Sequence[Pool],
    own: Sequence[Examples],
    tables: Sequence[Examples],
    weights: Sequence[Values],
    config: TreeConfig,
) -> tuple[TreeConfig, list[Values]]:
    """How many trees are best, learnt from all tables, and then the probabilities of the pools' own pairs.

    Each pair is judged by trees that never saw its judged product: boosting goes on being surer of few labels than
    it is right, and only other products tell from where on. What tells is what ships, the row-F1 of the rows' own
    choices: the loss hardly differs between counts that differ by .08 of row-F1 on a set of singletons.
    """
    counts = [count for count in COUNTS if count < config.trees] + [config.trees]
    logits = [np.empty((len(t.pairs), len(counts))) for t in own]
    for fold in range(FOLDS):
        trees = _grow(tables, weights, config, without=fold)
        for found, table in zip(logits, own, strict=True):
            first = np.where(table.folds[:, 0] >= 0, table.folds[:, 0], table.folds[:, 1])
            rows = (first == fold) | ((first < 0) & (fold == 0))
            for place, count in enumerate(counts if rows.any() else ()):
                found[rows, place] = trees.predict(table.evidence[rows], raw_score=True, num_iteration=count)
    told = [
        [doubted(_sigmoid(found[:, place]), contradictions(t.evidence)) for found, t in zip(logits, own, strict=True)]
        for place in range(len(counts))
    ]
    f1 = [[_row_f1(pool, _judged(pool, t, p)) for pool, t, p in zip(pools, own, some, strict=True)] for some in told]
    best = int(np.average(f1, axis=1, weights=[pool.weight for pool in pools]).argmax())
    return replace(config, trees=counts[best]), told[best]


def _sigmoid(logits: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def _platt(tables: Sequence[Examples], weights: Sequence[Values]) -> tuple[float, float]:
    """Slope and intercept of Platt scaling by the blended cosine alone."""
    return _logistic([stretched(t.evidence[:, _BLENDED]) for t in tables], tables, weights)


def _logistic(scores: Sequence[Values], tables: Sequence[Examples], weights: Sequence[Values]) -> tuple[float, float]:
    """Slope and intercept of logistic regression over the judged pairs."""
    judged = [t.concerns > 0 for t in tables]
    flat = np.concatenate([some[j] for some, j in zip(scores, judged, strict=True)])
    same = np.concatenate([t.same[j] >= 0.5 for t, j in zip(tables, judged, strict=True)])
    if not same.any() or same.all():
        return 0.0, 20.0 if same.any() else -20.0
    fit = LogisticRegression(C=1e6)
    fit.fit(flat[:, None], same, sample_weight=np.concatenate([w[j] for w, j in zip(weights, judged, strict=False)]))
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


_Judged = Sequence[tuple[Pool, JudgedPairs]]


def row_lists(pool: Pool, pairs: JudgedPairs) -> Neighbours:
    """The judged rows' candidates with their probabilities, best first, rows of an equal title among them."""
    near = lists_of(len(pool.scene.nodes.texts), pairs.edges, 100)
    lists = row_neighbours(pool.scene.nodes, near, pool.rows, twins=pairs.twins)
    scores = np.where((lists.ids >= 0) & (lists.ids != pool.rows[:, None]), lists.scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, 1).astype(np.float32)
    ids = np.where(np.isfinite(scores), np.take_along_axis(lists.ids, order, 1), -1)
    return Neighbours(ids, scores)


def accept(decision: Decision, lists: Neighbours, threshold: float | None = None, *, shift: float = 0.0) -> Neighbours:
    """The lists with what is not accepted left out, scored 1; arguments as of ``Decision.accepted``."""
    probabilities = np.where(lists.ids >= 0, lists.scores, 0).astype(np.float64)
    taken = np.arange(lists.ids.shape[1])[None] < decision.accepted(probabilities, threshold, shift)[:, None]
    return Neighbours(np.where(taken, lists.ids, -1), np.where(taken, 1, -np.inf).astype(np.float32))


def own_rows(decision: Decision, pool: Pool, pairs: JudgedPairs) -> Neighbours:
    """The judged rows' candidates that the rows choose themselves, scored 1: what ships."""
    return accept(decision, row_lists(pool, pairs), shift=prior_shift(pool.scene.nodes, pairs))


def _threshold(judged: _Judged) -> float:
    """The threshold of the best weighted mean row-F1."""
    curves = [row_curve(row_lists(pool, pairs), pool.labels, pool.rows) for pool, pairs in judged]
    f1 = [[curve.f1[curve.at(t)] for t in THRESHOLDS] for curve in curves]
    means = np.average(f1, axis=0, weights=[pool.weight for pool, _ in judged])
    return float(THRESHOLDS[int(means.argmax())])


def clusters_of(pool: Pool, pairs: JudgedPairs, threshold: float) -> Ids:
    """The cluster of each row of a pool."""
    nodes = pool.scene.nodes
    found = cohesive_clusters(
        len(nodes.texts), pairs.edges, threshold, apart=pairs.apart, keys=np.array(nodes.texts, object)
    )  # fmt: skip
    return np.asarray(found[nodes.node_of])


def own_clusters(decision: Decision, pool: Pool, pairs: JudgedPairs) -> Ids:
    """The cluster of each row of a pool as the decision makes them where no threshold is named."""
    return clusters_of(pool, pairs, decision.clusters_from(prior_shift(pool.scene.nodes, pairs)))


def _cluster_threshold(judged: _Judged) -> float:
    """The threshold of the best weighted mean B-cubed F1, before each catalogue's prior shifts it."""
    decisions = [replace(_PLAIN, cluster_threshold=t) for t in CLUSTER_THRESHOLDS]
    shifts = [prior_shift(pool.scene.nodes, pairs) for pool, pairs in judged]
    scores = [
        [bcubed(clusters_of(pool, pairs, one.clusters_from(shift)), pool.labels, pool.rows).f1 for one in decisions]
        for (pool, pairs), shift in zip(judged, shifts, strict=True)
    ]
    means = np.average(scores, axis=0, weights=[pool.weight for pool, _ in judged])
    return CLUSTER_THRESHOLDS[int(means.argmax())]


def _told(decision: Decision, pool: Pool, pairs: JudgedPairs) -> dict[str, float]:
    lists = row_lists(pool, pairs)
    curve = row_curve(lists, pool.labels, pool.rows)
    return {
        "row_f1": float(row_scores(own_rows(decision, pool, pairs), pool.labels, pool.rows, 0.5).f1.mean()),
        "row_f1_at_threshold": float(curve.f1[curve.at(decision.threshold)]),
        "row_f1_at_own_threshold": float(curve.f1[curve.best]),
        "bcubed_f1": bcubed(own_clusters(decision, pool, pairs), pool.labels, pool.rows).f1,
    }


def pair_lists(judged: _Judged) -> tuple[Values, npt.NDArray[np.bool_], npt.NDArray[np.int64], int]:
    """The judged rows' pairs, each once: probability, whether it is right, product of the row; and pairs to find."""
    scores, right, products, possible = [], [], [], 0
    for number, (pool, pairs) in enumerate(judged):
        lists = row_lists(pool, pairs)
        codes = np.unique(np.asarray(pool.labels), return_inverse=True)[1]
        place = np.full(len(codes), -1)
        place[pool.rows] = np.arange(len(pool.rows))
        row, column = np.nonzero(lists.ids >= 0)
        other = lists.ids[row, column]
        once = (place[other] < 0) | (place[other] > row)
        row, column, other = row[once], column[once], other[once]
        scores.append(lists.scores[row, column].astype(np.float64))
        right.append(codes[other] == codes[pool.rows[row]])
        products.append(codes[pool.rows[row]] + number * _APART)
        within, every = np.bincount(codes[pool.rows], minlength=codes.max() + 1), np.bincount(codes)
        possible += int((within * (within - 1) // 2 + within * (every - within)).sum())
    return np.concatenate(scores), np.concatenate(right), np.concatenate(products), possible


def promises(
    scores: Values, right: npt.NDArray[np.bool_], products: npt.NDArray[np.int64], possible: int
) -> tuple[Promise, ...]:
    """What precision these pairs prove with 95 % confidence, of ``TARGETS``; see ``training.prove``."""
    found = np.array([float(right[scores >= t].sum()) for t in GRID])
    recall = found / max(1, possible)
    made = []
    for target in TARGETS:
        proof = prove(scores, right, products, target, grid=GRID, recall_at=recall)
        if proof.threshold is not None:
            made.append(Promise(target, float(proof.threshold), float(proof.recall), proof.words))
    return tuple(made)


def reliability(same: Values, probabilities: Values) -> dict[str, Any]:
    """Promised against true shares of pairs.

    Returns:
        "bins" of equal width (mean "promised", share "right", "pairs"), and as "error" their mean distance weighted
        by pairs: the expected calibration error (Naeini, Cooper and Hauskrecht 2015).
    """
    place = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    bins, error = [], 0.0
    for number in range(_BINS):
        inside = place == number
        if inside.any():
            mean, share = float(probabilities[inside].mean()), float(same[inside].mean())
            bins.append({"promised": mean, "right": share, "pairs": int(inside.sum())})
            error += abs(mean - share) * float(inside.mean())
    return {"bins": bins, "error": error}


def scores_at(decision: Decision, pool: Pool) -> dict[str, float]:
    """Row-F1, row precision and recall, and B-cubed scores of a pool's judged rows at a decision."""
    pairs = pool.scene.judge(decision)
    rows = row_scores(own_rows(decision, pool, pairs), pool.labels, pool.rows, 0.5)
    clusters = bcubed(own_clusters(decision, pool, pairs), pool.labels, pool.rows)
    return {
        "rows": len(pool.rows), "pool": len(pool.scene.nodes.node_of), "row_f1": float(rows.f1.mean()),
        "row_precision": float(rows.precision.mean()), "row_recall": float(rows.recall.mean()),
        "bcubed_f1": clusters.f1, "bcubed_precision": clusters.precision, "bcubed_recall": clusters.recall,
    }  # fmt: skip
