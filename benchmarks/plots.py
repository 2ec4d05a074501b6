"""Plots of a recall report, of a ladder and of losses, as PNG. Only Latin text: fonts with Hangul are not everywhere.

It knows reports; it does not know files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.figures import empty_figure
from benchmarks.ladder import Ladder
from benchmarks.recall import ModelReport, RecallReport

_COLOURS = ("#1f5fbf", "#d1495b", "#2e8b57", "#8a4fbf", "#c77d0a", "#3aa6a6")
_PARTS = (("precision", 1, "#1f5fbf"), ("recall", 2, "#d1495b"), ("F1", 3, "#222222"))


def recall_plots(report: RecallReport) -> dict[str, bytes]:
    """File stem -> PNG; a plot that has nothing to show is left out."""
    plots = {
        "curves": _curves(report), "precision_recall": _precision_recall(report), "clusters": _clusters(report),
        "reliability": _reliability(report), "search": _search(report),
    }  # fmt: skip
    if any(model.pool_sizes for model in report.models):
        plots["pool_sizes"] = _pool_sizes(report)
    return plots


def ladder_plot(ladder: Ladder) -> bytes:
    """Row-F1 of each rung with its interval."""
    figure = empty_figure(8, 0.45 * len(ladder.rungs) + 1)
    axes = figure.subplots()
    told = [(rung.name, rung.row_f1) for rung in reversed(ladder.rungs) if rung.row_f1]
    for at, (_, f1) in enumerate(told):
        errors = [[f1.value - f1.low], [f1.high - f1.value]]
        axes.errorbar(f1.value, at, xerr=errors, fmt="o", color=_COLOURS[0], capsize=4)
        axes.annotate(f"{f1.value:.3f}", (f1.value, at), (0, 7), textcoords="offset points", ha="center", fontsize=9)
    axes.set_yticks(range(len(told)), [name for name, _ in told])
    axes.set_ylim(-0.5, len(told) - 0.3)
    axes.grid(alpha=0.25)
    axes.set_xlabel("row-F1 of the test rows, 95 % interval")
    return _png(figure)


def losses_plot(gains: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> bytes:
    """Gains of each loss, one line a loss and a colour for each set: a dot a seed, and a bar at their mean.

    Args:
        gains: loss -> set -> the gains of its seeds; the first loss is drawn on top.
        label: of the axis.
    """
    names, sets = list(gains)[::-1], list(next(iter(gains.values())))
    figure = empty_figure(8, 0.5 * len(gains) + 1.2)
    axes = figure.subplots()
    for at, one in enumerate(sets):
        colour, shift = _COLOURS[at % len(_COLOURS)], 0.3 - 0.6 * at / max(1, len(sets) - 1)
        for place, name in enumerate(names):
            values, height = list(gains[name][one]), place + shift
            axes.plot(values, [height] * len(values), "o", color=colour, markersize=4, alpha=0.5)
            axes.plot(mean(values), height, "|", color=colour, markersize=11, label=None if place else one)
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(gains) - 0.4)
    axes.set_xlabel(label)
    axes.grid(alpha=0.25, axis="x")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return _png(figure)


def _names(models: Sequence[ModelReport]) -> list[str]:
    return [model.name if model.name.isascii() else f"model {at}" for at, model in enumerate(models, start=1)]


def _png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


def _curves(report: RecallReport) -> bytes:
    """Precision, recall and F1 against the threshold: by row on the left, by pair on the right."""
    figure = empty_figure(10, 3.4 * len(report.models))
    grid = figure.subplots(len(report.models), 2, squeeze=False, sharey=True)
    for row, (model, name) in enumerate(zip(report.models, _names(report.models), strict=True)):
        for column, (measure, words) in enumerate((("row", "by listing"), ("pair", "by pair"))):
            axes = grid[row][column]
            curve = model.curves["test"][measure]
            for label, at, colour in _PARTS:
                axes.plot([point[0] for point in curve], [point[at] for point in curve], label=label, color=colour)
            own = model.point("own").scores
            f1 = own and (own.row_f1 if measure == "row" else own.pair_f1)
            if f1:
                axes.axhline(f1.value, color="#888888", linestyle="--", label="F1 as shipped, no threshold")
            axes.set_title(f"{name}: {words}", fontsize=10)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.02)
            axes.set_xlabel("threshold: probability from which a pair is joined")
            axes.grid(alpha=0.25)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9)
    return _png(figure)


def _precision_recall(report: RecallReport) -> bytes:
    """Pairs: precision against recall, one line a model, a dot where the model stands as it ships."""
    figure = empty_figure(6.2, 4.4)
    axes = figure.subplots()
    for at, (model, name) in enumerate(zip(report.models, _names(report.models), strict=True)):
        colour = _COLOURS[at % len(_COLOURS)]
        curve = [point for point in model.curves["test"]["pair"] if point[2] > 0]
        axes.plot([point[2] for point in curve], [point[1] for point in curve], color=colour, label=name)
        scores = model.point("own").scores
        if scores and scores.pair_recall and scores.pair_precision:
            axes.plot(scores.pair_recall.value, scores.pair_precision.value, "o", color=colour)
    axes.set_xlabel("recall: share of the true pairs that are joined")
    axes.set_ylabel("precision: share of the joined pairs that are true")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return _png(figure)


def _clusters(report: RecallReport) -> bytes:
    """B-cubed F1 and precision against the threshold: the clusters that are made, beside connected components."""
    figure = empty_figure(10, 3.6)
    axes = figure.subplots(1, 2, sharey=True)
    for at, (model, name) in enumerate(zip(report.models, _names(report.models), strict=True)):
        colour, curves = _COLOURS[at % len(_COLOURS)], model.curves["test"]
        for one, (column, words) in zip(axes, ((3, "B-cubed F1"), (1, "B-cubed precision")), strict=True):
            for measure, line, label in (("bcubed", "o-", name), ("components", "--", f"{name}: connected components")):
                x, y = [point[0] for point in curves[measure]], [point[column] for point in curves[measure]]
                one.plot(x, y, line, color=colour, markersize=3, label=label, alpha=1 if measure == "bcubed" else 0.6)
            one.axvline(model.decision.cluster_threshold, color=colour, linestyle=":")
            one.set_title(f"{words} (dotted: the model's own threshold, before the prior)", fontsize=10)
            one.set_xlabel("threshold: mean probability between two clusters")
            one.set_ylim(0, 1.02)
            one.grid(alpha=0.25)
    axes[0].legend(fontsize=8, loc="lower right")
    return _png(figure)


def _reliability(report: RecallReport) -> bytes:
    """The share of pairs that are right against the probability they were promised."""
    figure = empty_figure(5.4, 4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", label="what is promised")
    for at, (model, name) in enumerate(zip(report.models, _names(report.models), strict=True)):
        told = [(one.promised, one.right) for one in model.reliability.bins if one.right]
        errors = [[i.value - i.low for _, i in told], [i.high - i.value for _, i in told]]
        x, y = [promised for promised, _ in told], [right.value for _, right in told]
        axes.errorbar(x, y, yerr=errors, fmt="o-", color=_COLOURS[at % len(_COLOURS)], capsize=3, label=name)
    axes.set_xlabel("probability that the pairs were given")
    axes.set_ylabel("share of them that are one product")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left")
    return _png(figure)


def _search(report: RecallReport) -> bytes:
    """Recall of search against the number of candidates."""
    figure = empty_figure(6.2, 3.6)
    axes = figure.subplots()
    for at, (model, name) in enumerate(zip(report.models, _names(report.models), strict=True)):
        found = {k: interval for k, interval in model.search.recall_at.items() if interval}
        colour = _COLOURS[at % len(_COLOURS)]
        axes.plot(list(found), [interval.value for interval in found.values()], "o-", color=colour, label=name)
        low, high = [i.low for i in found.values()], [i.high for i in found.values()]
        axes.fill_between(list(found), low, high, color=colour, alpha=0.15)
    axes.set_xscale("log")
    ks = list(report.models[0].search.recall_at)
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("candidates looked at (k)")
    axes.set_ylabel("share of partners among them")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right")
    return _png(figure)


def _pool_sizes(report: RecallReport) -> bytes:
    """Row-F1 of the same rows as the pool grows: as shipped, retuned in each pool, and tuned in the smallest only."""
    figure = empty_figure(6.2, 3.8)
    axes = figure.subplots()
    sizes: list[int] = []
    lowest = 1.0
    for at, (model, name) in enumerate(zip(report.models, _names(report.models), strict=True)):
        told = [v for v in model.pool_sizes if v.row_f1 and v.own_f1]
        sizes = [v.rows for v in told] or sizes
        colour = _COLOURS[at % len(_COLOURS)]
        values = [v.row_f1.value for v in told if v.row_f1]
        own, carried = [v.own_f1.value for v in told if v.own_f1], [v.carried_f1 for v in told]
        lowest = min([lowest, *values, *own, *carried])
        for line, y, words in (
            ("o-", own, "as shipped"), ("^:", values, "one threshold, chosen in each pool"),
            ("s--", carried, "one threshold, chosen in the smallest"),
        ):  # fmt: skip
            alpha = 1 if y is own else 0.6
            axes.plot([v.rows for v in told], y, line, color=colour, alpha=alpha, label=f"{name}: {words}")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("listings in the pool")
    axes.set_ylabel("row-F1 of the same listings")
    axes.set_ylim(max(0.0, lowest - 0.1), 1.02)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower left")
    return _png(figure)
