"""Before and after: what two ways of judging are worth on the same labelled pairs, and how sure that is.

Precision, recall and F1 of pairs, log loss, and calibration error; each with the interval that holds 95 % of what other
draws of as many products would have given (the bootstrap of Efron 1979 over products: the pairs of one are right or
wrong together). It knows probabilities, labels and weights, and numpy alone; it does not know titles or models.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError

Values = npt.NDArray[np.float64]
_DRAWS = 1000
_BINS = 10
_COUNTS = 4_000_000  # held at once while draws are counted
_LEAST = 1e-6  # probability: a pair that was thought impossible costs no more than this
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Held:
    """Labelled pairs, judged both ways by what had not seen their products; all arrays of one length.

    Attributes:
        same: the labels.
        before, after: probabilities.
        was, now: whether the pair is accepted.
        owners: a product of each pair, int64.
    """

    same: npt.NDArray[np.bool_]
    before: Values
    after: Values
    was: npt.NDArray[np.bool_]
    now: npt.NDArray[np.bool_]
    owners: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """A number, and between what it lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What judging is worth: of pairs accepted, of probabilities."""

    precision: Figure
    recall: Figure
    f1: Figure
    log_loss: Figure
    calibration_error: Figure


@dataclass(frozen=True)
class Comparison:
    """Scores on the same pairs, and what is gained: of F1, of log loss, and of log loss over guessing.

    Attributes:
        pairs: how many.
        worth: as many pairs of equal weight would tell as much (Kish 1965).
        before, after: see ``Scores``.
        f1_gain, log_loss_gain: over 0 where it is better afterwards.
        over_guessing: log loss that is saved by what a pair's titles say, against the same probability for all.
    """

    pairs: int
    worth: float
    before: Scores
    after: Scores
    f1_gain: Figure
    log_loss_gain: Figure
    over_guessing: Figure


def compare(held: Held, weights: Values | None = None, *, seed: int = 0) -> Comparison:
    """Score both ways of judging.

    Args:
        held: at least one pair.
        weights: how many pairs each stands for; 1 by default.
        seed: of the bootstrap.
    """
    w = np.ones(len(held.same)) if weights is None else weights
    y = held.same.astype(np.float64)
    columns = [w, w * _loss(np.full(len(y), np.average(y, weights=w)), y)]
    for probabilities, accepted in ((held.before, held.was), (held.after, held.now)):
        columns += [w * y * accepted, w * accepted, w * y, w * _loss(probabilities, y)]
        place = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
        columns += [w * (probabilities - y) * (place == number) for number in range(_BINS)]
    owners = np.unique(held.owners, return_inverse=True)[1]
    products = int(owners.max()) + 1
    sums = np.stack([np.bincount(owners, column, products) for column in columns], axis=1)
    rng = np.random.default_rng(seed)
    chances, block = np.full(products, 1 / products), max(1, _COUNTS // products)
    sizes = [min(block, _DRAWS - start) for start in range(0, _DRAWS, block)]
    drawn = [rng.multinomial(products, chances, size).astype(np.float64) @ sums for size in sizes]
    totals = np.concatenate([sums.sum(axis=0, keepdims=True), *drawn])
    size = 4 + _BINS
    before, after = (_scored(totals[:, 0], totals[:, start : start + size]) for start in (2, 2 + size))
    guessing = totals[:, 1] / np.maximum(totals[:, 0], 1e-12)
    return Comparison(
        pairs=len(y), worth=float(w.sum() ** 2 / (w**2).sum()),
        before=Scores(*map(_figure, before)), after=Scores(*map(_figure, after)),
        f1_gain=_figure(after[2] - before[2]), log_loss_gain=_figure(before[3] - after[3]),
        over_guessing=_figure(guessing - after[3]),
    )  # fmt: skip


def _loss(probabilities: Values, y: Values) -> Values:
    p = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def _scored(weight: Values, totals: Values) -> list[Values]:
    """Precision, recall, F1, log loss and calibration error of each draw."""
    right, accepted, possible, loss, *bins = totals.T
    weight = np.maximum(weight, 1e-12)
    return [
        right / np.maximum(accepted, 1e-12), right / np.maximum(possible, 1e-12),
        2 * right / np.maximum(accepted + possible, 1e-12), loss / weight, np.abs(np.stack(bins)).sum(axis=0) / weight,
    ]  # fmt: skip


def _figure(values: Values) -> Figure:
    """The first value is that of the pairs themselves, the others of draws."""
    low, high = np.percentile(values[1:], _INTERVAL)
    return Figure(float(values[0]), float(low), float(high))


Verdict = Literal["better", "no worse", "worse"]


def verdict_of(labelled: Comparison, catalogue: Comparison | None) -> tuple[Verdict, str]:
    """Whether a change is for the better, and why, in a sentence.

    Better: F1 or log loss surely gains, on the labelled pairs or weighed for the catalogue, and nothing surely loses.
    Worse: one of them surely loses; or nothing surely gains and F1 falls by the look of it; or the labels do not go
    with the titles, so that one probability for all pairs would do as well. "Surely" is with 95 % confidence.
    """
    if labelled.over_guessing.low <= 0:
        return "worse", (
            "the labels do not go with what the titles say: told them, one probability for all pairs would do as well. "
            "Labels given at random look like this, and so do a few of pairs that are all hard"
        )
    views = [(labelled, "on held-out labelled pairs")]
    views += [(catalogue, "weighed as the catalogue's pairs")] if catalogue else []
    gains = [
        (gain, f"{name} {_told(old)} before, {_told(new)} after, {where}")
        for view, where in views
        for gain, name, old, new in (
            (view.f1_gain, "F1", view.before.f1, view.after.f1),
            (view.log_loss_gain, "log loss", view.before.log_loss, view.after.log_loss),
        )
    ]
    lost = [words for gain, words in gains if gain.high < 0]
    won = [words for gain, words in gains if gain.low > 0]
    if lost or (not won and all(view.f1_gain.value < 0 for view, _ in views)):
        return "worse", "; ".join(lost or [words for _, words in gains])
    return ("better", "; ".join(won)) if won else ("no worse", "; ".join(words for _, words in gains))


def _told(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def check_plot(path: Path | None) -> None:
    """Refuse a plot that could not be drawn or written, before the work is done.

    Raises:
        InputError: another suffix than .png, a folder, one in a folder that is not there, or nothing to draw with.
    """
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise InputError("unknown suffix; expected .png", file=str(path))
    if path.is_dir() or not path.parent.is_dir():
        raise InputError("no file can stand here; expected a name in a folder that is there", file=str(path))
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise InputError("plots need matplotlib; expected dongil[train]", file=str(path)) from error


def plot(held: Held, weights: Values | None = None) -> bytes:
    """Reliability, and precision against recall, before and after: PNG."""
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=(10, 4.5), layout="constrained")
    left, right = sheet.subplots(1, 2)
    w = np.ones(len(held.same)) if weights is None else weights
    left.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for probabilities, name, colour in ((held.before, "before", "#d1495b"), (held.after, "after", "#1f5fbf")):
        place = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
        mass = np.bincount(place, w, _BINS)
        some = mass > 0
        promised, seen = (np.bincount(place, w * v, _BINS)[some] / mass[some] for v in (probabilities, held.same))
        left.plot(promised, seen, "o-", color=colour, label=name)
        order = np.argsort(-probabilities, kind="stable")
        hits, accepted = np.cumsum((w * held.same)[order]), np.cumsum(w[order])
        last = np.flatnonzero(np.diff(probabilities[order], append=-1.0))
        right.plot(hits[last] / max(hits[-1], 1e-12), hits[last] / np.maximum(accepted[last], 1e-12),
                   color=colour, label=name)  # fmt: skip
    left.set(xlabel="probability that was told", ylabel="share that is the same product")
    right.set(xlabel="recall of pairs", ylabel="precision of pairs")
    for axes in (left, right):
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right" if axes is left else "lower left")
    data = io.BytesIO()
    sheet.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


def plot_file(path: Path | None, held: Held, weights: Values | None = None) -> None:
    """Write the plot, where one is wanted: beside its place, then renamed into it.

    Raises:
        OSError: it cannot be written.
    """
    if path is not None:
        beside = path.with_name(f".{path.name}.new")
        try:
            beside.write_bytes(plot(held, weights))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
