"""Job: what a part of a speed benchmark is given, and what it gives back.

It knows titles, a model and a folder to work in. It does not know what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import empty_figure
from benchmarks.titles import titles_for


@dataclass(frozen=True)
class Job:
    """What all parts are given.

    Attributes:
        model: bundle; None for the one that ships with dongil.
        titles: a user's file, or None for made titles.
        sizes: of catalogues, rising; the largest bounds every part.
        work: a folder for what contenders read.
        say: told what is done.
    """

    model: Path | None
    titles: Path | None
    sizes: tuple[int, ...]
    work: Path
    say: Callable[[str], None]

    def upto(self, most: int) -> int:
        """Titles for a part that wants ``most``."""
        return min(most, self.sizes[-1])

    @property
    def model_name(self) -> str | None:
        """The bundle's folder, as contenders are told."""
        return str(self.model) if self.model else None

    def write_titles(self, count: int) -> tuple[list[str], str]:
        """Titles, and a file of them for contenders."""
        titles, path = titles_for(self.titles, count), self.work / f"titles-{count}.json"
        path.write_text(json.dumps(titles, ensure_ascii=False), encoding="utf-8")
        return titles, str(path)


@dataclass(frozen=True)
class Part:
    """What a part found: values for machines, Markdown without a heading, and a matplotlib figure."""

    values: dict[str, Any]
    markdown: str
    figure: Any


def bars(values: dict[str, float], unit: str) -> Any:
    """A matplotlib figure of one bar a name."""
    figure = empty_figure(7, 0.8 + 0.5 * len(values))
    axes = figure.add_subplot()
    bars = axes.barh(list(values)[::-1], list(values.values())[::-1])
    axes.bar_label(bars, fmt="{:,.4g}", padding=3)
    axes.margins(x=0.15)
    axes.set_xlabel(unit)
    return figure
