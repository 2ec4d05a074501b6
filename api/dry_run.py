"""What ``dongil train --dry-run`` prints: the survey of the labels as people read it.

It knows how to lay figures out; it does not compute any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from training.rehearsal import Cost
    from training.survey import SetSurvey, Survey


def show(survey: Survey, console: Console) -> None:
    """Print a survey: the labels, then what the run takes, then what would stop it."""
    if survey.sets:
        console.print(_labels(survey.sets))
        console.print(_sides(survey.sets))
        console.print(_sizes(survey.sets))
    for one in survey.sets:
        _doubts(one, console)
    if survey.unlabelled:
        console.print(f"{survey.unlabelled:,} titles of unknown product to learn from")
    if survey.left_out:
        console.print(f"{survey.left_out:,} titles of training products left out: held-out products have them too")
    if survey.tokens:
        console.print(
            f"{survey.tokens.mean:.1f} tokens a title, 95 % have at most {survey.tokens.most}; "
            f"{survey.tokens.cut:.1%} are cut short"
        )
    if survey.cost:
        console.print(_time(survey))
        console.print(_memory(survey.cost))
    for stop in survey.stops:
        console.print(f"[bold red]would stop:[/] {escape(stop)}", soft_wrap=True)
    if not survey.stops:
        console.print("nothing would stop this run")


def _sheet(title: str, *columns: str) -> Table:
    sheet = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        sheet.add_column(column, justify="right" if place else "left")
    return sheet


def _labels(sets: tuple[SetSurvey, ...]) -> Table:
    sheet = _sheet("Labels", "set", "rows", "no label", "products", "same title again", "under two products",
                   "negatives", "conflicts")  # fmt: skip
    for s in sets:
        counts = (s.rows, s.unknown, s.products, s.repeats, s.shared, s.negatives, s.conflicts)
        sheet.add_row(escape(s.name), *(f"{count:,}" for count in counts))
    return sheet


def _sides(sets: tuple[SetSurvey, ...]) -> Table:
    sheet = _sheet("Rows (products) of each side", "set", *sets[0].splits)
    for s in sets:
        sheet.add_row(escape(s.name), *(f"{rows:,} ({products:,})" for rows, products in s.splits.values()))
    return sheet


def _sizes(sets: tuple[SetSurvey, ...]) -> Table:
    sheet = _sheet("Products by their number of different titles", "set", *sets[0].sizes)
    for s in sets:
        sheet.add_row(escape(s.name), *(f"{count:,}" for count in s.sizes.values()))
    return sheet


def _doubts(one: SetSurvey, console: Console) -> None:
    """Labels of a set that cannot all be right."""
    if one.shared:
        console.print(f"{escape(one.name)}: {one.shared:,} titles stand under two products or more, such as")
        for title, products in one.examples:
            names = ", ".join(products[:4]) + (", ..." if len(products) > 4 else "")
            console.print(f"  {escape(title[:80])}: {escape(names)}", soft_wrap=True)
    if one.conflicts:
        console.print(f"{escape(one.name)}: {one.conflicts:,} pairs called different contradict pairs called the same")
        for sentence in one.told:
            console.print(f"  {escape(sentence)}", soft_wrap=True)
        if one.conflicts > len(one.told):
            console.print(f"  and {one.conflicts - len(one.told):,} more")


def _time(survey: Survey) -> Table:
    sheet = _sheet("Time, as this machine is now", "part", "")
    if survey.cost:
        for stage, seconds in survey.cost.step_time.items():
            sheet.add_row(f"{stage}: {survey.cost.steps[stage]:,} steps, each of", f"{seconds:.2f} s")
    for part, seconds in survey.times.items():
        sheet.add_row(part, f"about {_duration(seconds)}")
    sheet.add_row("together", f"about {_duration(sum(survey.times.values()))}", style="bold")
    return sheet


def _memory(cost: Cost) -> Table:
    sheet = _sheet("Memory", "part", "")
    sheet.add_row(f"model, {cost.parameters:,} parameters", _size(cost.weights))
    sheet.add_row("its gradients and optimizer", _size(cost.optimizer))
    sheet.add_row(f"centres of {cost.classes:,} classes, with theirs", _size(cost.centres))
    if cost.peak is not None:
        rest = cost.peak - (0 if cost.gpu_peak else cost.weights + cost.optimizer + cost.centres)
        sheet.add_row("activations, titles and libraries", _size(max(0, rest)))
        sheet.add_row("most held, measured", _size(cost.peak), style="bold")
    if cost.gpu_peak is not None:
        sheet.add_row("most held on the GPU, measured", _size(cost.gpu_peak), style="bold")
    return sheet


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"
