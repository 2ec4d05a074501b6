"""Plots of the proof, as PNG. Only Latin text: fonts with Hangul are not everywhere.

It knows what was measured; it does not know files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.certainty import Purity
from benchmarks.figures import empty_figure
from benchmarks.parts import Parts

_COLOURS = ("#1f5fbf", "#d1495b", "#2e8b57", "#8a4fbf", "#c77d0a", "#3aa6a6", "#5c6b7a")


def parts_plot(parts: Parts) -> bytes:
    """Gain in row-F1 of each step and of each part that is added last, with its interval, a colour for each set."""
    figure = empty_figure(10, 5.2)
    turns = [("one after the other", parts.steps[1:]), ("added to all the others", parts.left_out)]
    for axes, (title, rungs) in zip(figure.subplots(1, 2), turns, strict=True):
        for at, name in enumerate(rungs[0].gain):
            for place, rung in enumerate(reversed(rungs)):
                gain = rung.gain[name]
                if gain:
                    spread = [[gain.value - gain.low], [gain.high - gain.value]]
                    height = place + 0.35 - 0.1 * at
                    label = name if place == 0 else None
                    colour = _COLOURS[at % len(_COLOURS)]
                    axes.errorbar(gain.value, height, xerr=spread, fmt="o", ms=4, color=colour, label=label)
        axes.axvline(0, color="#888888", linewidth=1)
        axes.set_yticks(range(len(rungs)), [rung.name for rung in reversed(rungs)])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("gain in row-F1, 95 % interval")
        axes.grid(alpha=0.25)
    names = axes.get_legend_handles_labels()
    figure.legend(*names, fontsize=8, loc="outside lower center", ncols=len(parts.whole.gain))  # over no point
    return _png(figure)


def reliability_plot(calibration: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Share of right pairs against the probability that was promised, a line for each set."""
    figure = empty_figure(5.6, 5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1)
    for at, (name, of) in enumerate(calibration.items()):
        told = [one for one in of["bins"] if one["pairs"] >= 20]
        label, colour = f"{name} (error {of['error']:.3f})", _COLOURS[at % len(_COLOURS)]
        axes.plot([b["promised"] for b in told], [b["right"] for b in told], "o-", ms=4, color=colour, label=label)
    axes.set_xlabel("probability that was promised")
    axes.set_ylabel("share of such pairs that are right")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left")
    return _png(figure)


def purity_plot(purities: Sequence[Purity]) -> bytes:
    """B-cubed precision against recall as the cluster threshold rises, a line for each set; the dot is what ships."""
    figure = empty_figure(5.6, 5)
    axes = figure.subplots()
    for at, one in enumerate(purities):
        colour = _COLOURS[at % len(_COLOURS)]
        axes.plot([p.recall for p in one.curve], [p.precision for p in one.curve], color=colour, label=one.name)
        axes.plot(one.shipped.recall, one.shipped.precision, "o", color=colour)
    axes.set_xlabel("B-cubed recall")
    axes.set_ylabel("B-cubed precision")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower left")
    return _png(figure)


def _png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()
