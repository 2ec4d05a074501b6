"""Recall against threshold: what a model finds in a labelled set, what it gets wrong, and which threshold to take.

For each model: encode (kept by fingerprint), search and judge as the model's own decision says, choose every threshold
on validation products, and report on test products, all judged in one pool. A threshold is a probability; the report
leads with what users get who name none. It does not know how a report looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bootstrap import Interval, Values
from benchmarks.breakdown import Bucket, break_down
from benchmarks.labelled import LabelledSet
from benchmarks.measures import CLUSTER_GRID, KS, PRECISIONS, Scores, Search, Side, chosen, sides_of
from benchmarks.mistakes import Mistake, equal_titles, joined_wrongly, parted_wrongly
from benchmarks.pair_table import PairTable, measure_pairs
from benchmarks.pools import CachedEncoder, Pool, make_pool
from benchmarks.reliability import Kept, Reliability, kept, reliability
from benchmarks.variations import Variation, by_pool_size, by_regime
from embedder.bundle import load_bundle
from embedder.errors import InputError
from index.decision import Decision
from training.evaluate import Curve

GRID = np.arange(0, 1001, 5) / 1000
"""Probabilities at which curves are told."""
SIDES = ("validation", "test")


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        pool: "all": a row is judged among all rows of the set; "own": among those of its own side, as in competitions.
        seed: of every draw.
        cache: where vectors are kept; None keeps none.
        threads: processors to encode with; all by default.
        variations: whether to measure other pool sizes and regimes too, which takes most of the time.
    """

    pool: str = "all"
    seed: int = 0
    cache: Path | None = None
    threads: int | None = None
    variations: bool = True

    def __post_init__(self) -> None:
        if self.pool not in ("all", "own"):
            raise InputError(f"pool is {self.pool!r}; expected all or own")


@dataclass(frozen=True)
class Point:
    """An operating point: a threshold that the validation part chose, and the test part at it.

    Attributes:
        name: what it was chosen for; see ``POINTS``.
        validation: what it reached there: the measure it was chosen for; None for what the model does by itself.
        scores: of the test part; None where no threshold reaches the wish.
    """

    name: str
    validation: float | None
    scores: Scores | None


POINTS = ("own", "row_f1", "pair_f1", "bcubed_f1", *(f"precision_{round(p * 100)}" for p in PRECISIONS))


@dataclass(frozen=True)
class ModelReport:
    """Everything about one model on one set.

    Attributes:
        name, fingerprint, architecture, precision, dimensions: of the model.
        decision: its own, as it serves.
        points: every point of ``POINTS``; "own" is what the model does where no threshold is named: each row's set of
            the best expected F1, and clusters at the decision's own threshold.
        search: of the test part.
        average_precision: of the test pairs.
        curves: side -> measure ("row", "pair", "bcubed", "components") -> rows of (threshold, precision, recall, f1):
            on ``GRID``, but clusters ("bcubed") on ``CLUSTER_GRID``; "components" are B-cubed scores of connected ones.
        reliability: of the test pairs' probabilities.
        promises: the bundle's, and what came of them on the test pairs.
        buckets, joined, parted: of "own".
        equal_titles: pairs of two products that no threshold can part, for their titles are equal.
        pool_sizes, regimes: empty where they were not asked for or nothing can be chosen.
        pairs: for the form "pairs", in the pool of all rows.
        against_first: difference in row-F1 to the first model as both ship, on the same rows; None for the first.
    """

    name: str
    fingerprint: str
    architecture: str
    precision: str
    dimensions: int
    decision: Decision
    points: list[Point]
    search: Search
    average_precision: Interval | None
    curves: dict[str, dict[str, list[tuple[float, float, float, float]]]]
    reliability: Reliability
    promises: list[Kept]
    buckets: list[Bucket]
    joined: list[Mistake]
    parted: list[Mistake]
    equal_titles: int
    pool_sizes: list[Variation]
    regimes: list[Variation]
    pairs: PairTable | None
    against_first: Interval | None

    def point(self, name: str) -> Point:
        """One of ``points`` by name."""
        return next(point for point in self.points if point.name == name)


@dataclass(frozen=True)
class RecallReport:
    """A set and what each model makes of it.

    Attributes:
        data: the set.
        settings: how it was measured.
        pool_rows: side -> rows of the pool it was judged in.
        models: in the order they were named.
    """

    data: LabelledSet
    settings: Settings
    pool_rows: dict[str, int]
    models: list[ModelReport]


def measure_recall(
    data: LabelledSet,
    models: Sequence[Path | None] = (None,),
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RecallReport:
    """Measure models on a set.

    Args:
        data: the set.
        models: bundles; None is the one that ships with dongil.
        settings: how.
        say: is told what is being done.

    Raises:
        InputError: a bundle cannot be used.
    """
    settings = settings or Settings()
    reports: list[ModelReport] = []
    first: Values | None = None
    pool_rows: dict[str, int] = {}
    for name, folder in zip(model_names(models), models, strict=True):
        encoder = CachedEncoder(load_bundle(folder), settings.cache, threads=settings.threads)
        say(f"{name}: encoding {len(data):,} titles")
        if encoder.warm(data.titles):
            say(f"{name}: vectors read from the cache")
        report, f1, pool_rows = _measure(name, data, encoder, settings, first, say)
        first = f1 if first is None else first
        reports.append(report)
    return RecallReport(data, settings, pool_rows, reports)


def model_names(models: Sequence[Path | None]) -> list[str]:
    """A short name for each model that no other has: its folder's, with a number where two have the same."""
    plain = ["default" if folder is None else folder.resolve().name for folder in models]
    counts = [plain[: at + 1].count(name) for at, name in enumerate(plain)]
    return [f"{name} ({at})" if plain.count(name) > 1 else name for name, at in zip(plain, counts, strict=True)]


def ks_of(decision: Decision) -> list[int]:
    """The numbers of candidates at which recall is told: those of ``KS`` that search brings."""
    return [k for k in KS if k < decision.blend.k] + [decision.blend.k]


def scenes(data: LabelledSet, encoder: CachedEncoder, decision: Decision, pool: str) -> dict[str, Pool]:
    """The pool in which each side is judged by a decision: one for both, or one each."""
    if pool == "all":
        whole = make_pool(data, np.arange(len(data)), SIDES, encoder, decision)
        return dict.fromkeys(SIDES, whole)
    return {
        side: make_pool(data, np.flatnonzero(data.sides == side), [side], encoder, decision)
        for side in SIDES
        if len(data.rows(side))
    }


def _measure(
    name: str,
    data: LabelledSet,
    encoder: CachedEncoder,
    settings: Settings,
    first: Values | None,
    say: Callable[[str], None],
) -> tuple[ModelReport, Values, dict[str, int]]:
    decision = Decision.of(encoder.bundle, threads=encoder.threads)
    say(f"{name}: searching")
    pools = scenes(data, encoder, decision, settings.pool)
    say(f"{name}: judging")
    sides = {side: sides_of(pool, seed=settings.seed)[side] for side, pool in pools.items()}
    test, pool = sides["test"], pools["test"]
    say(f"{name}: measuring")
    whole = pool if settings.pool == "all" else None
    f1, more, config = test.rows(None).f1, settings.variations, encoder.bundle.config
    report = ModelReport(
        name, encoder.fingerprint, config.architecture, config.precision, config.dimensions, decision,
        points=_points(sides.get("validation"), test),
        search=test.search(ks_of(decision)),
        average_precision=test.average_precision(),
        curves={side: _curves(measured) for side, measured in sides.items() if len(measured)},
        reliability=reliability(test),
        promises=kept(test, decision.promises),
        buckets=break_down(data, pool, test, None, seed=settings.seed),
        joined=joined_wrongly(data, pool, test),
        parted=parted_wrongly(data, pool, test),
        equal_titles=equal_titles(pool, test),
        pool_sizes=by_pool_size(data, encoder, decision, whole, seed=settings.seed, say=say) if more else [],
        regimes=by_regime(data, encoder, decision, whole, seed=settings.seed, say=say) if more else [],
        pairs=measure_pairs(data.name, data.pairs, whole, settings.seed) if data.pairs and whole else None,
        against_first=None if first is None else test.gain(None, first),
    )  # fmt: skip
    return report, f1, {side: len(pool.rows) for side, pool in pools.items()}


def _points(validation: Side | None, test: Side) -> list[Point]:
    """Thresholds from the validation part, scores from the test part; empty points where nothing can be chosen."""
    wishes: dict[str, tuple[float | None, float | None]] = {"own": (None, None)}
    if validation and validation.has_pairs:
        for name, curve in (("row_f1", validation.row_curve), ("pair_f1", validation.pair_curve)):
            wishes[name] = chosen(curve), float(curve.f1[curve.best])
        wishes["bcubed_f1"] = validation.best_clusters
        for wanted in PRECISIONS:
            curve = validation.pair_curve
            at = curve.at_precision(wanted)
            if at is not None:
                wishes[f"precision_{round(wanted * 100)}"] = chosen(curve, at), float(curve.precision[at])
    points = []
    for name in POINTS:
        wish = wishes.get(name)
        points.append(Point(name, wish[1], test.scores(wish[0])) if wish else Point(name, None, None))
    return points


def _curves(side: Side) -> dict[str, list[tuple[float, float, float, float]]]:
    return {
        "row": _on_grid(side.row_curve, GRID), "pair": _on_grid(side.pair_curve, GRID),
        "bcubed": _on_grid(side.bcubed_curve, CLUSTER_GRID), "components": _on_grid(side.components_curve, GRID),
    }  # fmt: skip


def _on_grid(curve: Curve, grid: Iterable[float]) -> list[tuple[float, float, float, float]]:
    rows = []
    for threshold in grid:
        at = curve.at(threshold)
        rows.append((float(threshold), float(curve.precision[at]), float(curve.recall[at]), float(curve.f1[at])))
    return rows
