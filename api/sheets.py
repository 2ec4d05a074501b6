"""Sheets: what commands found, as people read it. It lays figures out and works out none."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from index.grouping import Group, Grouping
    from training.threshold import Proven

_LISTED = 5  # clusters of a sheet
_TITLES, _WIDTH = 3, 70  # titles of a cluster, and characters of one


def show_clusters(
    titles: list[str], grouping: Grouping, labels: list[str] | None, seconds: float, console: Console
) -> None:
    """Print counts, the largest and the loosest clusters, and agreement with labels if the file has them."""
    clusters = grouping.names
    sizes = Counter(clusters)
    several = [size for size in sizes.values() if size > 1]
    console.print(
        f"{len(titles):,} items in {seconds:.1f} s: {len(sizes):,} products, "
        f"{len(several):,} with several listings ({sum(several):,} items), {len(sizes) - len(several):,} alone"
    )
    sheets = {"Largest clusters": grouping.largest(_LISTED), "Loosest clusters": grouping.loosest(_LISTED)}
    named = {group.name for groups in sheets.values() for group in groups}
    examples: dict[str, dict[str, None]] = {}
    for title, name in zip(titles, clusters, strict=True):
        if name in named and len(examples.setdefault(name, {})) < _TITLES:
            examples[name][title[:_WIDTH]] = None
    for heading, groups in sheets.items():
        if groups:
            console.print(_clusters(heading, groups, sizes, examples, titles))
    if labels and len(set(labels)) > 1:
        _agreement(clusters, labels, console)


def _clusters(
    heading: str, groups: list[Group], sizes: Counter[str], examples: dict[str, dict[str, None]], titles: list[str]
) -> Table:
    """A row a cluster; the title that fits least is told last, for it is where to look first."""
    sheet = Table(title=heading, title_justify="left")
    for name in ("listings", "titles", "probability"):
        sheet.add_column(name, justify="right")
    sheet.add_column("such as; fits least", overflow="fold")
    for group in groups:
        weakest = titles[group.weakest][:_WIDTH]
        told = [escape(title) for title in examples[group.name] if title != weakest]
        told.append(f"{escape(weakest)} [dim]({group.support:.2f})[/]")
        sheet.add_row(
            f"{sizes[group.name]:,}", f"{group.titles:,}", f"{group.probability:.2f}", "\n".join(told)
        )  # fmt: skip
    return sheet


def _agreement(clusters: list[str], labels: list[str], console: Console) -> None:
    from training.evaluate import bcubed

    known = [row for row, label in enumerate(labels) if label]
    scores = bcubed([clusters[row] for row in known], [labels[row] for row in known])
    console.print(
        f"Against the file's own labels ({len(known):,} rows): B-cubed precision {scores.precision:.3f}, "
        f"recall {scores.recall:.3f}, F1 {scores.f1:.3f}"
    )


def show_proven(proven: Proven, console: Console) -> None:
    """Print what labels prove of each precision, and the thresholds that they choose."""
    scores, decision = proven.scores, proven.decision
    sheet = Table(title="Precision of accepted pairs, proven with 95 % confidence", title_justify="left")
    for name in ("target", "threshold", "bound", "recall", "accepted pairs"):
        sheet.add_column(name, justify="right")
    sheet.add_column("")
    for proof in proven.proofs:
        if proof.threshold is not None:
            what = "proven"
        elif proof.more_needed is not None:
            what = f"about {proof.more_needed:,} more pairs"
        else:
            what = "no number of such labels will do"
        start = "-" if proof.threshold is None else f"{proof.threshold:.3f}"
        sheet.add_row(
            f"{proof.target:g}", start, f"{proof.lower:.4f}", f"{proof.recall:.2f}", f"{proof.accepted:,}", what
        )
    console.print(sheet)
    console.print(
        f"{scores['rows']:,.0f} rows judged among {scores['pool']:,.0f}: row-F1 {scores['row_f1']:.3f} by each row's "
        f"own choice, {scores['row_f1_at_threshold']:.3f} from {decision.threshold:.2f} on; B-cubed F1 "
        f"{scores['bcubed_f1']:.3f} with clusters from {decision.cluster_threshold:.2f}"
    )
