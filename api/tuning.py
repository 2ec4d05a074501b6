"""``dongil tune | ensemble``: thin commands over training, which need dongil[train].

It knows options and what to print; it does not search, and imports training only in the command that does.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from api.console import plain_failures, stderr, tell_step
from api.options import (
    Conflicts,
    DeviceOption,
    LabelColumn,
    TestWhere,
    Threads,
    TitleAColumn,
    TitleBColumn,
    TitleColumn,
    Weight,
    named_value,
)

if TYPE_CHECKING:
    from training.labels import Columns
    from training.recipe import Recipe
    from training.tune import Tuned

_LISTED = 4  # trials of the table


def tune(
    labelled: Annotated[
        list[str], typer.Argument(help="Files of titles with a product id, or of pairs: title_a, title_b, label.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file for dongil train --config.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier runs counted.")] = 30,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which no new trial begins; the one in progress ends.")
    ] = None,
    storage: Annotated[
        Path | None, typer.Option(help="Journal of the study, gone on with when it is there; beside the output.")
    ] = None,
    base: Annotated[
        str,
        typer.Option(help="Encoder to start from: name on the model hub, folder, or small: ours, from nothing."),
    ] = "klue/bert-base",
    fixed: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE: a setting that is not tuned; may be given several times.")
    ] = None,
    steps: Annotated[float, typer.Option(help="Share of a whole run's steps that a trial takes.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of the choices and of every trial.")] = 0,
    unlabelled: Annotated[
        list[str] | None, typer.Option(help="File of titles alone; may be given several times.")
    ] = None,
    test_where: TestWhere = None,
    weight: Weight = None,
    title_column: TitleColumn = None,
    label_column: LabelColumn = None,
    title_a_column: TitleAColumn = None,
    title_b_column: TitleBColumn = None,
    conflicts: Conflicts = "stop",
) -> None:
    """Search for the settings that suit these labels, by many short runs, and write the best for dongil train.

    Batch size, dimension, pooling, learning rates, margin, scale, temperature and blending are tuned. Beside the output
    stands a plot of which settings matter. A search that was stopped goes on by the same command.
    """
    if output.suffix.lower() != ".json":
        raise typer.BadParameter(f"{output}; expected a name that ends with .json", param_hint="--output")
    kept = storage or output.with_suffix(".journal")
    with plain_failures(f"interrupted; {kept} keeps the study, and the same command goes on with it"):
        from training.labels import Columns
        from training.settings import write_settings, write_whole
        from training.study import Limits
        from training.tune import Search, about, importance_plot
        from training.tune import tune as run

        _check_folder(output)
        recipe = _recipe(
            labelled, unlabelled or (), test_where, weight, conflicts,
            Columns(title_column, label_column, title_a_column, title_b_column),
        )  # fmt: skip
        search = Search(
            kept, base, dict(map(named_value, fixed or ())), steps, seed, Limits(trials, timeout)
        )  # fmt: skip
        console = stderr()

        tuned = run(recipe, search, tell_step, lambda told: console.print(told, markup=False))
        write_settings(output, tuned.config, tuned.best.blend, about(tuned, search))
        if tuned.importance:
            write_whole(output.with_suffix(".png"), importance_plot(tuned.importance))
        console.print(_trials(tuned))
        console.print(f"wrote {output}: dongil train --config {output}", markup=False, soft_wrap=True)


def ensemble(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL MODEL...", help="Folders of two models or more.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the ensemble.")],
    labelled: Annotated[
        list[str] | None,
        typer.Option(
            help="File of titles with a product id, or of pairs, to choose weights and decision by; may be given "
            "several times. The files that the models were trained on, or products that none of them has seen."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="NUMBER,NUMBER,...: one for each model, instead of a search for them.")
    ] = None,
    test_where: TestWhere = None,
    weight: Weight = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown for the model card: data, licences.")] = None,
    title_column: TitleColumn = None,
    label_column: LabelColumn = None,
    title_a_column: TitleAColumn = None,
    title_b_column: TitleBColumn = None,
    conflicts: Conflicts = "stop",
    threads: Threads = None,
    device: DeviceOption = "auto",
) -> None:
    """Join models into one that every command takes as --model, weighted and decided for by your labels.

    Without labels the models weigh the same, the first one's decision holds, and no precision is promised.
    """
    with plain_failures():
        from training.labels import Columns
        from training.weights import make_ensemble

        recipe = _recipe(
            labelled or (), (), test_where, weight, conflicts,
            Columns(title_column, label_column, title_a_column, title_b_column),
            notes.read_text(encoding="utf-8") if notes else "",
        )  # fmt: skip
        console = stderr()
        bundle = make_ensemble(
            recipe, models, output, _numbers(weights), threads=threads, device=device,
            say=lambda told: console.print(told, markup=False, soft_wrap=True),
        )  # fmt: skip
        console.print(f"wrote {bundle.folder} ({bundle.fingerprint})", markup=False)


def _recipe(
    labelled: list[str] | tuple[()],
    unlabelled: list[str] | tuple[()],
    test_where: str | None,
    weight: list[str] | None,
    conflicts: Conflicts,
    columns: Columns,
    notes: str = "",
) -> Recipe:
    from training.recipe import Recipe

    return Recipe(
        labelled, unlabelled, named_value(test_where) if test_where else None,
        {name: float(value) for name, value in map(named_value, weight or ())},
        command=shlex.join(["dongil", *sys.argv[1:]]), notes=notes, columns=columns, conflicts=conflicts,
    )  # fmt: skip


def _numbers(text: str | None) -> list[float] | None:
    """The weights that were asked for."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r}; expected numbers joined by commas", param_hint="--weights") from None


def _check_folder(output: Path) -> None:
    """Refuse a place that no file could be written to, before hours are spent."""
    from embedder.errors import InputError

    if output.is_dir() or not output.parent.is_dir():
        raise InputError("no file can stand here; expected a name in a folder that is there", file=str(output))


def _trials(tuned: Tuned) -> Table:
    """The best trials, a column each, and how much each setting matters."""
    shown = tuned.trials[:_LISTED]
    sheet = Table(title=f"Best of {len(tuned.trials)} trials; {tuned.pruned} more were stopped early")
    sheet.add_column("", no_wrap=True)
    for name in (*(f"trial {one.number}" for one in shown), "matters"):
        sheet.add_column(name, justify="right")
    sheet.add_row("row-F1", *(f"{one.score:.4f}" for one in shown), "")
    sheet.add_row("not blended", *(f"{one.plain:.4f}" for one in shown), "")
    sheet.add_row("blends", *(str(one.blend.stages) for one in shown), "")
    sheet.add_row("seconds", *(f"{one.seconds:,.0f}" for one in shown), "", end_section=True)
    for name in sorted(tuned.best.settings, key=lambda name: -tuned.importance.get(name, 0)):
        weight = f"{tuned.importance[name]:.2f}" if name in tuned.importance else ""
        sheet.add_row(name, *(_shown(one.settings[name]) for one in shown), weight)
    return sheet


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
