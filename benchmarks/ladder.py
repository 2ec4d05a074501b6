"""The ladder: what each part adds, one at a time, on the same rows, so that a part that does not pay is seen and goes.

Every rung gives neighbour lists of the same judged rows in the same pool; its settings and its threshold are chosen on
validation rows and its scores told on test rows. The last two rungs are the bundle's own probability, first with one
threshold and then as it ships. A new part is a new rung: add it to ``rungs``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.bootstrap import Interval
from benchmarks.labelled import LabelledSet, Rows
from benchmarks.measures import Side, chosen, mean, pair_f1, sides_of
from benchmarks.pools import CachedEncoder, Judged, Pool
from benchmarks.recall import SIDES, Settings, scenes
from embedder.bundle import load_bundle
from embedder.errors import InputError
from embedder.text import clean
from index.blending import BlendConfig
from index.decision import Decision
from index.vectors import Neighbours
from training.evaluate import found_at

RAISES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)  # by how much min2 raises the nearest row's score
BLENDS = (
    *(BlendConfig(threshold=threshold, power=power) for threshold in (0.6, 0.7, 0.8) for power in (1.0, 8.0)),
    *(BlendConfig(stages=2, threshold=threshold, power=8.0) for threshold in (0.7, 0.8)),
)
_BLOCK = 512  # rows whose TF-IDF scores with the whole pool are held at once

Sides = Mapping[str, Side]
Attempts = Iterator[tuple[str, Sides]]
"""Settings in words, and the judged sides that they give."""


@dataclass(frozen=True)
class Part:
    """A rung before it is measured.

    Attributes:
        name: of what is turned on.
        against: the rung that it adds to; "" for the first.
        attempts: of which the validation rows choose one.
        one_threshold: whether a threshold is chosen too; else the decision accepts as it ships.
    """

    name: str
    against: str
    attempts: Attempts
    one_threshold: bool = True


@dataclass(frozen=True)
class Rung:
    """One rung.

    Attributes:
        name: of what is turned on.
        against: the rung that it adds to; "" for the first.
        chosen: settings that the validation rows chose, in words.
        threshold: chosen by row-F1 of the validation rows; None where each row's own choice holds.
        row_f1, row_precision, row_recall, pair_f1: of the test rows at it.
        average_precision: of the test pairs; None where they are not ranked.
        found: mean share of partners among the candidates.
        gain: row-F1 less that of ``against``, on the same rows, with the interval of the difference.
    """

    name: str
    against: str
    chosen: str
    threshold: float | None
    row_f1: Interval | None
    row_precision: Interval | None
    row_recall: Interval | None
    pair_f1: Interval | None
    average_precision: float | None
    found: Interval | None
    gain: Interval | None


@dataclass(frozen=True)
class Ladder:
    """The rungs of one model on one set; ``rows`` judged test rows in a pool of ``pool_rows``."""

    data: LabelledSet
    settings: Settings
    model: str
    fingerprint: str
    rows: int
    pool_rows: int
    rungs: list[Rung]


def climb(
    data: LabelledSet,
    model: Path | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Ladder:
    """Measure every rung.

    Raises:
        InputError: a bundle cannot be used, or the validation or the test part holds no pair to find.
    """
    settings = settings or Settings()
    encoder = CachedEncoder(load_bundle(model), settings.cache, threads=settings.threads)
    decision = Decision.of(encoder.bundle)
    say(f"encoding {len(data):,} titles")
    encoder.warm(data.titles)
    _check_pairs(data)
    pools = scenes(data, encoder, decision, settings.pool)
    measured: dict[str, tuple[Rung, Side]] = {}
    for part in rungs(pools, decision, settings.seed, say):
        say(part.name)
        settled, sides = _best(part.attempts)
        threshold = chosen(sides["validation"].row_curve) if part.one_threshold else None
        before = measured[part.against] if part.against else None
        measured[part.name] = _rung(part, settled, threshold, sides["test"], before), sides["test"]
    return Ladder(
        data, settings, model.resolve().name if model else "default", encoder.fingerprint,
        rows=len(pools["test"].judged["test"]), pool_rows=len(pools["test"].rows),
        rungs=[rung for rung, _ in measured.values()],
    )  # fmt: skip


def rungs(
    pools: Mapping[str, Pool], decision: Decision, seed: int = 0, say: Callable[[str], None] = lambda _: None
) -> Iterator[Part]:
    """Every rung, from the bottom."""

    def one(near: Mapping[str, Neighbours], words: str = "") -> tuple[str, Sides]:
        return words, {side: Side(pool.judge(side, near[side]), seed=seed) for side, pool in pools.items()}

    say("character TF-IDF of the pool")
    plain = {side: pool.searched for side, pool in pools.items()}
    lexical = {side: _tfidf(pool, side, plain[side], decision.blend.k) for side, pool in pools.items()}
    encoder = one(plain)
    yield Part("character TF-IDF", "", iter([one({side: near for side, (near, _) in lexical.items()}, "2-4 grams")]))
    yield Part("encoder", "character TF-IDF", iter([encoder]))
    yield Part("encoder + min2", "encoder", _with_min2([encoder], seed))
    blended = [one(near, words) for words, near in _blends(pools)]
    yield Part("encoder + INB", "encoder", iter(blended))
    yield Part("encoder + INB + min2", "encoder + INB", _with_min2(blended, seed))
    halves = one({side: _halves(pools[side], plain[side], *lexical[side]) for side in pools})
    yield Part("encoder and TF-IDF, half and half", "encoder", iter([halves]))
    yield Part("half and half + min2", "encoder and TF-IDF, half and half", _with_min2([halves], seed))
    decided = {side: sides_of(pool, seed=seed)[side] for side, pool in pools.items()}
    yield Part("evidence, one threshold", "encoder", iter([("the bundle's probability", decided)]))
    shipped = iter([("the best expected F1 of each row", decided)])
    yield Part("evidence, as shipped", "encoder", shipped, one_threshold=False)


def raise_nearest(judged: Judged, by: float) -> Judged:
    """min2 as a decision (1st place of Kaggle Shopee): a row's nearest other row is accepted from ``by`` lower."""
    ids, scores = judged.neighbours.ids, judged.neighbours.scores.copy()
    other = (ids >= 0) & (ids != judged.rows[:, None])
    nearest = np.where(other, scores, -np.inf).argmax(axis=1)
    rows = np.flatnonzero(other.any(axis=1))
    scores[rows, nearest[rows]] += np.float32(by)
    return replace(judged, neighbours=Neighbours(ids, scores))


def _check_pairs(data: LabelledSet) -> None:
    codes = data.codes()
    for side in SIDES:
        if not (np.bincount(codes)[codes[data.rows(side)]] > 1).any():
            raise InputError(f"the {side} part of {data.name} has no pair to find; expected more labels, or --unseen")


def _with_min2(attempts: Sequence[tuple[str, Sides]], seed: int) -> Attempts:
    for settled, sides in attempts:
        for by in RAISES:
            words = ", ".join(filter(None, [settled, f"nearest raised by {by:.2f}" if by else "nearest not raised"]))
            yield words, {name: Side(raise_nearest(side.judged, by), seed=seed) for name, side in sides.items()}


def _blends(pools: Mapping[str, Pool]) -> Iterator[tuple[str, dict[str, Neighbours]]]:
    """The nodes' lists by every blend that is tried."""
    for config in BLENDS:
        once = {id(pool): pool.blend(config).neighbours for pool in pools.values()}
        words = f"{config.stages} stage(s) from {config.threshold:.2f}, power {config.power:g}"
        yield words, {side: once[id(pool)] for side, pool in pools.items()}


def _best(attempts: Attempts) -> tuple[str, Sides]:
    """The attempt with the best row-F1 on validation rows; of equals the first."""
    best: tuple[float, str, Sides] | None = None
    for settled, sides in attempts:
        curve = sides["validation"].row_curve
        if best is None or curve.f1[curve.best] > best[0]:
            best = float(curve.f1[curve.best]), settled, sides
    if best is None:
        raise ValueError("a rung without an attempt")
    return best[1], best[2]


def _rung(part: Part, settled: str, threshold: float | None, test: Side, before: tuple[Rung, Side] | None) -> Rung:
    rows, ones, interval = test.rows(threshold), np.ones(len(test)), test.resamples.interval
    near = test.searched
    found, partners = found_at(near.neighbours, near.labels, near.rows, [near.neighbours.ids.shape[1]])
    return Rung(
        part.name, part.against, settled, threshold,
        row_f1=interval(mean, rows.f1, ones),
        row_precision=interval(mean, rows.precision, ones), row_recall=interval(mean, rows.recall, ones),
        pair_f1=interval(pair_f1, *test.pair_counts(threshold)),
        average_precision=test.pairs.average_precision() if part.one_threshold else None,
        found=interval(mean, found[:, 0] / np.maximum(partners, 1), (partners > 0).astype(np.float64)),
        gain=test.gain(threshold, before[1].rows(before[0].threshold).f1) if before else None,
    )  # fmt: skip


def _tfidf(pool: Pool, side: str, dense: Neighbours, k: int) -> tuple[Neighbours, npt.NDArray[np.float32]]:
    """The judged nodes' lists by TF-IDF over characters, and the TF-IDF cosines of their candidates in ``dense``.

    Rows of other nodes stay empty: they are not asked for.
    """
    texts = [clean(text).casefold() for text in pool.matcher.nodes.texts]
    grams = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), lowercase=False, dtype=np.float32)
    weights = grams.fit_transform(texts)
    asked = np.unique(pool.matcher.nodes.node_of[pool.judged[side]])
    k = min(k, len(texts))
    near = Neighbours(np.full((len(texts), k), -1, np.int64), np.full((len(texts), k), -np.inf, np.float32))
    of_dense = np.zeros(dense.ids.shape, np.float32)
    transposed = weights.T.tocsr()
    for start in range(0, len(asked), _BLOCK):
        rows = asked[start : start + _BLOCK]
        scores = (weights[rows] @ transposed).toarray()
        near.ids[rows], near.scores[rows] = _top(scores, k)
        of_dense[rows] = np.take_along_axis(scores, np.maximum(dense.ids[rows], 0), 1)
    return near, of_dense


def _top(scores: npt.NDArray[np.float32], k: int) -> tuple[Rows, npt.NDArray[np.float32]]:
    """The k best columns of each row, best first; equal scores in the order of columns."""
    ids = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    kept = np.take_along_axis(scores, ids, 1)
    order = np.argsort(-kept, axis=1, kind="stable")
    return np.take_along_axis(ids, order, 1), np.take_along_axis(kept, order, 1)


def _halves(pool: Pool, dense: Neighbours, lexical: Neighbours, of_dense: npt.NDArray[np.float32]) -> Neighbours:
    """Candidates of both, scored by the mean of the two cosines."""
    vectors = pool.matcher.blended.stages[0]
    asked = np.flatnonzero((lexical.ids >= 0).any(axis=1))
    width = dense.ids.shape[1] + lexical.ids.shape[1]
    out = Neighbours(np.full((len(vectors), width), -1, np.int64), np.full((len(vectors), width), -np.inf, np.float32))
    theirs = Neighbours(lexical.ids[asked], lexical.scores[asked])
    cosines = _cosines(vectors, asked, theirs.ids)
    ids = np.concatenate([dense.ids[asked], theirs.ids], axis=1)
    scores = np.concatenate([dense.scores[asked] + of_dense[asked], cosines + theirs.scores], axis=1) / 2
    order = np.lexsort((-scores, ids), axis=1)
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    twice = np.zeros(ids.shape, bool)
    twice[:, 1:] = ids[:, 1:] == ids[:, :-1]
    ids[twice | (ids < 0)] = -1
    scores[ids < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    out.ids[asked], out.scores[asked] = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    return out


def _cosines(vectors: Any, rows: Rows, others: Rows) -> npt.NDArray[np.float32]:
    """Cosines of each row with its candidates, in the candidates' order."""
    out = np.empty(others.shape, np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        near = vectors[np.maximum(others[block], 0)]
        out[block] = np.matmul(near, vectors[rows[block]][:, :, None])[:, :, 0]
    return out
