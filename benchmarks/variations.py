"""Variations: the same model judged in other pools, because a threshold that was tuned in one is wrong in another.

Two things vary: how many rows the pool has, with the same judged rows in each, and whether rows may be without a
partner. It does not know which threshold a user should take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.bootstrap import Interval
from benchmarks.labelled import LabelledSet, Rows
from benchmarks.measures import chosen, sides_of
from benchmarks.pools import Pool, make_pool
from embedder.encoder import Encoder
from index.decision import Decision
from training.evaluate import found_at

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
_JUDGED = {"validation": 300, "test": 600}  # rows of each side, about: the smallest pool must hold them
_SINGLETONS = 0.2  # share of rows without a partner from which a file is its own "singletons allowed"


@dataclass(frozen=True)
class Variation:
    """One pool.

    Attributes:
        name: such as "3,000 listings".
        rows: of the pool; singletons: those of them without a partner there.
        judged: test rows.
        own_f1: row-F1 of the test rows by the decision as it ships, retuned to nothing.
        threshold: probability that is best for the validation rows in this pool.
        row_f1, precision, recall: of the test rows at that threshold.
        lag: ``own_f1`` less ``row_f1``, on the same rows: what retuning by hand would have brought, if below 0.
        best_f1: row-F1 at the threshold that is best for the test rows themselves, which nobody can know.
        carried_threshold, carried_f1: row-F1 at the threshold that the first pool chose.
        found: share of partners that search brings.
    """

    name: str
    rows: int
    singletons: int
    judged: int
    own_f1: Interval | None
    threshold: float
    row_f1: Interval | None
    precision: float
    recall: float
    lag: Interval | None
    best_f1: float
    carried_threshold: float
    carried_f1: float
    found: float | None


def by_pool_size(
    data: LabelledSet,
    encoder: Encoder,
    decision: Decision,
    whole: Pool | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> list[Variation]:
    """The same judged rows in pools of growing size, each the one before and more; empty without a pair to find.

    Args:
        data: the set.
        encoder: makes vectors.
        decision: the one that is measured.
        whole: the pool of all rows, if there is one already.
        sizes: rows of the pools; all rows stand behind them.
        seed: draws the judged products and the other rows.
        say: is told of each pool.
    """
    rng = np.random.default_rng(seed)
    judged = np.concatenate([_draw_products(data, side, many, rng) for side, many in _JUDGED.items()])
    marked = np.zeros(len(data), bool)
    marked[judged] = True
    others = rng.permutation(np.flatnonzero(~marked))
    subset = _only(data, marked)
    pools = [size for size in sizes if len(judged) < size < len(data)] + [len(data)]
    variations: list[Variation] = []
    for size in pools:
        say(f"pool of {size:,} rows")
        rows = np.sort(np.concatenate([judged, others[: size - len(judged)]]))
        carried = variations[0].threshold if variations else None
        variation = _vary(f"{size:,} listings", subset, rows, encoder, decision, whole, carried, seed)
        if variation is None:
            return []
        variations.append(variation)
    return variations


def by_regime(
    data: LabelledSet,
    encoder: Encoder,
    decision: Decision,
    whole: Pool | None = None,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> list[Variation]:
    """Every row with a partner, and singletons allowed; empty without a pair to find.

    Where a file has few singletons of its own, every second product is left one row of. Arguments as in
    ``by_pool_size``.
    """
    codes = data.codes()
    sizes = np.bincount(codes)[codes]
    regimes = [("every listing has a partner", np.flatnonzero(sizes > 1))]
    if np.mean(sizes == 1) >= _SINGLETONS:
        regimes.append(("singletons allowed, as in the file", np.arange(len(data))))
    else:
        regimes.append(("singletons allowed, half of the products cut to one listing", _with_singletons(codes, seed)))
    variations: list[Variation] = []
    for name, rows in regimes:
        say(name)
        carried = variations[0].threshold if variations else None
        variation = _vary(name, data, rows, encoder, decision, whole, carried, seed)
        if variation is None:
            return []
        variations.append(variation)
    return variations


def _vary(
    name: str,
    data: LabelledSet,
    rows: Rows,
    encoder: Encoder,
    decision: Decision,
    whole: Pool | None,
    carried: float | None,
    seed: int,
) -> Variation | None:
    pool = make_pool(data, rows, ("validation", "test"), encoder, decision, whole)
    sides = sides_of(pool, seed=seed)
    validation, test = sides["validation"], sides["test"]
    if not (validation.has_pairs and test.has_pairs):
        return None
    threshold = chosen(validation.row_curve)
    carried = threshold if carried is None else carried
    curve, near = test.row_curve, test.searched
    at = curve.at(threshold)
    found, partners = found_at(near.neighbours, near.labels, near.rows, [decision.blend.k])
    some = partners > 0
    return Variation(
        name, len(rows), int((np.bincount(pool.labels)[pool.labels] == 1).sum()), len(test),
        own_f1=test.mean_row_f1(None),
        threshold=threshold,
        row_f1=test.mean_row_f1(threshold),
        precision=float(curve.precision[at]), recall=float(curve.recall[at]),
        lag=test.gain(None, test.rows(threshold).f1),
        best_f1=float(curve.f1[curve.best]),
        carried_threshold=carried, carried_f1=float(curve.f1[curve.at(carried)]),
        found=float(np.mean(found[some, 0] / partners[some])) if some.any() else None,
    )  # fmt: skip


def _draw_products(data: LabelledSet, side: str, many: int, rng: np.random.Generator) -> Rows:
    """All rows of as many of a side's products, drawn at random, as have about so many judged rows."""
    rows, codes = data.rows(side), data.codes()
    products = rng.permutation(np.unique(codes[rows]))
    judged = np.cumsum(np.bincount(codes[rows], minlength=codes.max() + 1)[products])
    return np.flatnonzero(np.isin(codes, products[: max(1, int(np.searchsorted(judged, many, side="right")))]))


def _only(data: LabelledSet, marked: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> LabelledSet:
    """The same set with no other row judged than those marked."""
    return LabelledSet(data.name, data.form, data.titles, data.groups, data.sides, data.judged & marked)


def _with_singletons(codes: Rows, seed: int) -> Rows:
    """All rows but those after the first of every second product, drawn at random."""
    cut = np.random.default_rng(seed).random(int(codes.max()) + 1) < 0.5
    _, first = np.unique(codes, return_index=True)
    keep = ~cut[codes]
    keep[first] = True
    return np.flatnonzero(keep)
