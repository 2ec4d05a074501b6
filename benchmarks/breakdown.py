"""Breakdown: how well the judged rows of each kind fare at one threshold, or by the decision as it ships.

Kinds are group size, category, title length, and whether another product's title is the same except for a number. It
knows titles and per-row scores; it does not know models.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.bootstrap import Interval, Resamples
from benchmarks.labelled import LabelledSet
from benchmarks.measures import Side, mean
from benchmarks.pools import Pool
from embedder.text import clean
from training.evaluate import found_at

CATEGORIES = 15  # shown by name; what is rarer is told together
_SIZES = ((1, "1 (singleton)"), (2, "2"), (4, "3-4"), (9, "5-9"), (None, "10 and more"))
_LENGTHS = ((15, "up to 15"), (30, "16-30"), (50, "31-50"), (80, "51-80"), (None, "81 and more"))
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OTHER = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Bucket:
    """Judged rows of one kind.

    Attributes:
        by: what the kinds are of, such as "group size".
        name: of the kind.
        rows, products: judged.
        row_f1, precision, recall: mean over the rows.
        found: mean share of a row's partners that search found; None where no row has one.
    """

    by: str
    name: str
    rows: int
    products: int
    row_f1: Interval | None
    precision: Interval | None
    recall: Interval | None
    found: Interval | None


def break_down(data: LabelledSet, pool: Pool, side: Side, threshold: float | None, *, seed: int = 0) -> list[Bucket]:
    """Scores of each kind of row that occurs, in the order of the kinds; a threshold as in ``Side.rows``."""
    judged, near = side.judged, side.searched.neighbours
    rows = judged.rows
    titles = [data.titles[row] for row in pool.rows]
    sizes = np.bincount(judged.labels)[judged.labels[rows]]
    lengths = np.array([len(clean(titles[row])) for row in rows.tolist()], np.int64)
    kinds = [
        ("group size", *_ranges(sizes, _SIZES)),
        ("title length", *_ranges(lengths, _LENGTHS)),
        ("look-alikes", *_looks(number_twins(titles, judged.labels)[rows])),
    ]
    if data.categories:
        kinds.insert(1, ("category", *_categories([data.categories[pool.rows[row]] for row in rows])))
    scores = side.rows(threshold)
    found, partners = found_at(near, judged.labels, rows, [near.ids.shape[1]])
    share, some = found[:, 0] / np.maximum(partners, 1), (partners > 0).astype(np.float64)
    buckets = []
    for by, names, kind in kinds:
        for number, name in enumerate(names):
            inside = np.flatnonzero(kind == number)
            if not len(inside):
                continue
            products = judged.labels[rows[inside]]
            interval, ones = Resamples(products, seed=seed).interval, np.ones(len(inside))
            buckets.append(
                Bucket(
                    by, name, len(inside), len(np.unique(products)),
                    row_f1=interval(mean, scores.f1[inside], ones),
                    precision=interval(mean, scores.precision[inside], ones),
                    recall=interval(mean, scores.recall[inside], ones),
                    found=interval(mean, share[inside], some[inside]),
                )
            )  # fmt: skip
    return buckets


def number_twins(titles: Sequence[str], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Rows with a title that another product's is equal to except for its numbers, spaces and marks aside.

    "Cola 500 ml" and "cola 250ml" are such; equal titles under two labels are not: there the labels err, or the title
    does not tell.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    numbers: list[tuple[str, ...]] = []
    for row, title in enumerate(titles):
        text = clean(title).casefold()
        numbers.append(tuple(_NUMBER.findall(text)))
        alike[_OTHER.sub("", _NUMBER.sub("#", text))].append(row)
    twins = np.zeros(len(titles), bool)
    for rows in alike.values():
        if len(rows) > 1 and len({int(labels[row]) for row in rows}) > 1:
            told = {(int(labels[row]), numbers[row]) for row in rows}
            same_product, same_numbers = Counter(label for label, _ in told), Counter(own for _, own in told)
            for row in rows:
                # Is anything left without those of this product and those of these numbers (the row itself is in both)?
                twins[row] = len(told) > same_product[int(labels[row])] + same_numbers[numbers[row]] - 1
    return twins


def _ranges(
    values: npt.NDArray[np.int64], ranges: Sequence[tuple[int | None, str]]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    return [name for _, name in ranges], np.searchsorted([last for last, _ in ranges if last], values, side="left")


def _looks(twin: npt.NDArray[np.bool_]) -> tuple[list[str], npt.NDArray[np.int64]]:
    return ["no such look-alike", "same except a number as another product"], twin.astype(np.int64)


def _categories(categories: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    # Most rows first; of equals the one that sorts first, so that the order of rows does not matter.
    ordered = sorted(Counter(categories).items(), key=lambda pair: (-pair[1], pair[0]))
    names = [name for name, _ in ordered[:CATEGORIES]]
    rest = ["(all others)"] if len(ordered) > CATEGORIES else []
    place = {name: number for number, name in enumerate(names)}
    return [name or "(none)" for name in names] + rest, np.array([place.get(c, len(names)) for c in categories])
