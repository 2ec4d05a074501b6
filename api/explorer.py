"""The explorer: what a threshold is worth, from the labels in the catalogue and a draw of its pairs.

Labelled pairs are judged by the active model, whether it has learnt from them or not. People label uncertain pairs more
than others, so each counts as often as the catalogue has pairs like it, where that is known (``training.lessons``).
Recall is of the pairs that search finds. Beside it stands what the model's own held-out products said when it was made.

It knows probabilities and counts. It does not know pages; the curve it draws is a path in a square of 1 by 1.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from api.cluster_look import Pair, pair_of
from api.service import Service
from embedder.encoder import Encoder
from index.living import LivingMatcher
from index.review import NODES, draw
from index.snapshot import Encode
from index.vectors import Vectors

GRID = np.round(np.arange(0.01, 1.0, 0.01), 2)
"""Thresholds that the curves know."""
FEWEST = 20  # labels, below which no curve is drawn
_KEPT = 60.0  # seconds that a look at the catalogue is good for
_EXAMPLES = 4  # pairs above a threshold, and as many below
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Precision, recall and F1 for each threshold of ``GRID``; float64, one length. Precision of nothing is NaN."""

    precision: Values
    recall: Values
    f1: Values


@dataclass(frozen=True)
class Labelled:
    """Labelled pairs, judged.

    Attributes:
        probabilities: float64, shape (pairs,).
        same: what people said, bool.
        curve: weighed as the catalogue is; None with too few labels, or labels of one kind.
        weighed: whether it is known how many pairs of the catalogue each stands for.
        covered: share of the catalogue's pairs that any labelled one is like; None where not known.
    """

    probabilities: Values
    same: npt.NDArray[np.bool_]
    curve: Curve | None
    weighed: bool
    covered: float | None


@dataclass(frozen=True)
class Explored:
    """A look at the catalogue.

    Attributes:
        labelled: its labels.
        own: what the model's metrics say of its held-out pairs, at thresholds of tenths; None where they do not.
        drawn: probabilities of pairs of the catalogue, sorted, float64.
        nodes: numbers of the two titles of each, int64, shape (pairs, 2).
        scale: pairs of the catalogue that each stands for.
        living: the model that judged.
    """

    labelled: Labelled
    own: Sequence[tuple[float, float, float]]
    drawn: Values
    nodes: npt.NDArray[np.int64]
    scale: float
    living: LivingMatcher = field(repr=False)


@dataclass(frozen=True)
class Point:
    """What one threshold is worth.

    Attributes:
        threshold: the probability.
        precision, recall, f1: of labelled pairs, weighed; None where no curve can be drawn.
        own: precision and recall of the model's own held-out pairs; None where they are not known.
        accepted, wrong, missed: labelled pairs that it accepts, of these such that are two products, and pairs of one
            product that it refuses.
        pairs: of the catalogue that it accepts, about.
        above, below: pairs of the catalogue that it just accepts, and just refuses, nearest first.
    """

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    own: tuple[float, float] | None
    accepted: int
    wrong: int
    missed: int
    pairs: float
    above: list[Pair]
    below: list[Pair]


class Explorer:
    """Looks at a service's catalogue, and not more often than need be. Safe to use from several threads."""

    def __init__(self, service: Service) -> None:
        self._service, self._turn = service, threading.Lock()
        self._last: tuple[float, int, Explored] | None = None
        self._encode: _Remembered | None = None

    def look(self) -> Explored:
        """The catalogue as it is, or as it was a minute ago."""
        living, labels = self._service.living, sum(self._service.catalog.labels.tally().values())
        with self._turn:
            now = time.monotonic()
            last = self._last
            if last is None or last[2].living is not living or last[1] != labels or now - last[0] > _KEPT:
                if self._encode is None or self._encode.encoder is not living.encoder:
                    self._encode = _Remembered(living.encoder)
                last = self._last = now, labels, explore(self._service, living, self._encode)
            return last[2]

    def at(self, threshold: float) -> Point:
        """What a threshold is worth."""
        return point(self._service, self.look(), threshold)


class _Remembered:
    """An encoder that has the titles of the last look at hand: the labels of the next one are mostly the same."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._rows: dict[str, Vectors] = {}

    def __call__(self, titles: Sequence[str]) -> Vectors:
        new = [title for title in dict.fromkeys(titles) if title not in self._rows]
        rows = self._rows | dict(zip(new, self.encoder.encode(new), strict=True))
        self._rows = {title: rows[title] for title in titles}
        return np.array([rows[title] for title in titles], np.float32).reshape(len(titles), self.encoder.dimension)


def explore(service: Service, living: LivingMatcher, encode: Encode) -> Explored:
    """Look at the catalogue: its labels, whose titles are encoded, and a draw of its pairs."""
    snapshot = living.snapshot
    drawn = draw(snapshot, NODES)
    order = np.argsort(drawn.probabilities, kind="stable")
    # A pair is drawn when either of its titles is.
    share = min(1.0, NODES / max(1, len(snapshot.nodes)))
    nodes = np.stack([drawn.left, drawn.right], axis=1)[order]
    own = own_curve(living.encoder.bundle.read_json("metrics.json"))
    return Explored(
        _labelled(service, living, encode), own, drawn.probabilities[order], nodes, 1 / (2 * share - share**2), living
    )


def _labelled(service: Service, living: LivingMatcher, encode: Encode) -> Labelled:
    from training.lessons import lessons_of

    empty = Labelled(np.empty(0), np.empty(0, bool), None, False, None)
    tally = service.catalog.labels.tally()
    if not tally.get("same", 0) + tally.get("different", 0):
        return empty
    lessons = lessons_of(service.catalog, living.snapshot, encode)
    if not len(lessons):
        return empty
    probabilities = living.decision.probability(lessons.evidence)
    drawable = len(lessons) >= FEWEST and 0 < lessons.same.sum() < len(lessons)
    curve = curve_of(probabilities, lessons.same, lessons.weights) if drawable else None
    return Labelled(probabilities, lessons.same, curve, lessons.weights is not None, lessons.covered)


def curve_of(probabilities: Values, same: npt.NDArray[np.bool_], weights: Values | None = None) -> Curve:
    """Precision, recall and F1 of pairs at every threshold of ``GRID``.

    Args:
        probabilities: shape (pairs,).
        same: whether each is one product, bool.
        weights: how many pairs each stands for; 1 by default.
    """
    w = np.ones(len(same)) if weights is None else weights
    accepted = probabilities >= GRID[:, None]
    right, taken, all_right = accepted @ (w * same), accepted @ w, float((w * same).sum())
    precision = np.where(taken > 0, right / np.maximum(taken, 1e-12), np.nan)
    recall = right / max(all_right, 1e-12)
    return Curve(precision, recall, 2 * right / np.maximum(taken + all_right, 1e-12))


def own_curve(metrics: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Threshold, precision and recall from a model's calibration on held-out pairs, all of its sets together.

    Its bins of a tenth tell how many pairs were given about such a probability, and which share was right; recall is
    of the pairs that search found.
    """
    pairs, right = np.zeros(10), np.zeros(10)
    sets = metrics.get("calibration")
    for told in sets.values() if isinstance(sets, Mapping) else ():
        for one in told.get("bins", ()):
            place = min(9, int(10 * float(one["promised"])))
            pairs[place] += float(one["pairs"])
            right[place] += float(one["pairs"]) * float(one["right"])
    if not right.sum():
        return []
    taken, found = np.cumsum(pairs[::-1])[::-1], np.cumsum(right[::-1])[::-1]
    some = zip(range(10), (found / np.maximum(taken, 1)).tolist(), (found / right.sum()).tolist(), strict=True)
    return [(place / 10, precision, recall) for place, precision, recall in some if place]


def point(service: Service, explored: Explored, threshold: float) -> Point:
    """What a threshold is worth."""
    labelled = explored.labelled
    at = int(np.argmin(np.abs(GRID - threshold)))
    lines = vars(labelled.curve).values() if labelled.curve else ()
    figures = [None if np.isnan(line[at]) else float(line[at]) for line in lines] or [None] * 3
    taken = labelled.probabilities >= threshold
    first = int(np.searchsorted(explored.drawn, threshold, "left"))
    return Point(
        threshold, figures[0], figures[1], figures[2], _own_at(explored.own, threshold),
        int(taken.sum()), int((taken & ~labelled.same).sum()), int((~taken & labelled.same).sum()),
        explored.scale * (len(explored.drawn) - first),
        _examples(service, explored, range(first, len(explored.drawn))),
        _examples(service, explored, range(first - 1, -1, -1)),
    )  # fmt: skip


def _own_at(own: Sequence[tuple[float, float, float]], threshold: float) -> tuple[float, float] | None:
    if not own:
        return None
    at, precision, recall = zip(*own, strict=True)
    return float(np.interp(threshold, at, precision)), float(np.interp(threshold, at, recall))


def _examples(service: Service, explored: Explored, places: range) -> list[Pair]:
    """The first few pairs of these places that are there still, no title twice."""
    snapshot, found, seen = explored.living.snapshot, list[Pair](), set[int]()
    for place in places[: 10 * _EXAMPLES]:
        ends = explored.nodes[place].tolist()
        items = [service.catalog.get(id) for node in ends for id in snapshot.items(node)[:1]]
        if len(items) == 2 and items[0] and items[1] and not seen & set(ends):
            seen.update(ends)
            found.append(pair_of(items[0], items[1], float(explored.drawn[place])))
        if len(found) == _EXAMPLES:
            break
    return found


def path_of(values: Sequence[float] | Values, at: Sequence[float] | Values = GRID) -> str:
    """A line through values against thresholds, but for NaN, as the path of an SVG with a view of 100 by 100."""
    there = ((float(x), float(y)) for x, y in zip(at, values, strict=True) if not np.isnan(y))
    points = [f"{100 * x:.2f} {100 - 100 * y:.2f}" for x, y in there]
    return "M" + "L".join(points) if points else ""
