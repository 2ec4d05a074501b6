"""``dongil train | threshold``: thin commands over training, which need dongil[train].

It knows options and what to print; it does not train or prove, and imports training only in the command that does.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.console import PhaseBars, plain_failures, stderr, tell_step
from api.options import (
    Conflicts,
    DeviceOption,
    LabelColumn,
    Model,
    TestWhere,
    Threads,
    TitleAColumn,
    TitleBColumn,
    TitleColumn,
    Weight,
    named_value,
)

if TYPE_CHECKING:
    from training.recipe import Recipe
    from training.train import TrainConfig

Folds = Annotated[
    int, typer.Option(min=0, max=20, help="Train so many models more, each judged on the products it never saw.")
]
DecisionFolds = Annotated[
    int,
    typer.Option(
        min=0, max=20,
        help="Train so many encoders more, each for a third of the steps and without a fold of the train part, so that "
        "the decision learns from those products too and not from validation ones alone.",
    ),
]  # fmt: skip
Teacher = Annotated[
    Path | None, typer.Option(help="Model whose clusters of unlabelled titles train too; with --pseudo.")
]
Pseudo = Annotated[
    int, typer.Option(min=0, help="Have the teacher cluster so many unlabelled titles, drawn by the seed.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what is in the labels and what the run would take.")]


def train(
    labelled: Annotated[
        list[str], typer.Argument(help="Files of titles with a product id, or of pairs: title_a, title_b, label.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the new model.")] = None,
    unlabelled: Annotated[
        list[str] | None, typer.Option(help="File of titles alone; may be given several times.")
    ] = None,
    test_where: TestWhere = None,
    weight: Weight = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Encoder to start from: name on the model hub, folder, or small: ours, from nothing. By default the "
            "one that the file of --config names, or else klue/bert-base."
        ),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            help="NAME=VALUE,...: settings of the run that differ from the defaults; or a .json file of them, such as "
            "dongil tune writes."
        ),
    ] = "",
    work: Annotated[Path | None, typer.Option(help="Folder of checkpoints; beside the output by default.")] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown for the model card: data, licences.")] = None,
    title_column: TitleColumn = None,
    label_column: LabelColumn = None,
    title_a_column: TitleAColumn = None,
    title_b_column: TitleBColumn = None,
    conflicts: Conflicts = "stop",
    folds: Folds = 0,
    decision_folds: DecisionFolds = 0,
    teacher: Teacher = None,
    pseudo: Pseudo = 0,
    dry_run: DryRun = False,
) -> None:
    """Train a model on labelled titles and pack it for serving. A killed run goes on from its last checkpoint.

    Several GPUs: torchrun --nproc-per-node GPUS --no-python dongil train ..., or accelerate launch.
    """
    if output is None and not dry_run:
        raise typer.BadParameter("missing; expected a folder, or --dry-run", param_hint="--output")
    check_folds("--folds", folds)
    check_folds("--decision-folds", decision_folds)
    if len({teacher is not None, pseudo > 0}) > 1 or (teacher and not unlabelled):
        raise typer.BadParameter("expected --teacher, --pseudo and --unlabelled together", param_hint="--teacher")
    with plain_failures("interrupted; the same command goes on from the last checkpoint"):
        from training.labels import Columns
        from training.recipe import Recipe
        from training.settings import read_settings

        settings, blend = read_settings(config, base)

        recipe = Recipe(
            labelled, unlabelled or (), named_value(test_where) if test_where else None,
            {n: float(v) for n, v in map(named_value, weight or ())},
            command=shlex.join(["dongil", *sys.argv[1:]]),
            notes=notes.read_text(encoding="utf-8") if notes else "",
            columns=Columns(title_column, label_column, title_a_column, title_b_column),
            conflicts=conflicts, folds=folds, decision_folds=decision_folds,
            pseudo=(str(teacher), pseudo) if teacher else None, blend=blend,
        )  # fmt: skip
        if output is None or dry_run:
            _dry_run(recipe, settings, output, work or (Path(f"{output}.work") if output else None))
            return
        make(recipe, output, settings, work)


def check_folds(name: str, number: int) -> None:
    """Refuse a single fold: nothing would be left to learn from."""
    if number == 1:
        raise typer.BadParameter("1; expected 2 or more, or 0 for none", param_hint=name)


def make(recipe: Recipe, output: Path, settings: TrainConfig, work: Path | None) -> None:
    """Train and pack, as one of the processes that a launcher started if there was one, and tell of it."""
    from training.recipe import make_bundle
    from training.team import Team

    console, team = stderr(), Team.of_environment()
    tell, say = (tell_step, console.print) if team.leads else (_keep_quiet, _keep_quiet)
    try:
        bundle = make_bundle(recipe, output, settings, work or Path(f"{output}.work"), tell, say, team)
    finally:
        team.leave()
    if bundle is not None:
        console.print(f"wrote {bundle.folder} ({bundle.fingerprint})")


def _keep_quiet(*_: object) -> None:
    """Where another process tells."""


def _dry_run(recipe: Recipe, config: TrainConfig, output: Path | None, work: Path | None) -> None:
    from api.dry_run import show
    from training.survey import survey

    found = survey(recipe, config, output, work)
    show(found, stderr())
    if found.stops:
        raise typer.Exit(1)


def threshold(
    labelled: Annotated[
        str, typer.Argument(help="File of titles with a product id, or of pairs: title_a, title_b, label.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model with the new thresholds.")],
    model: Model = None,
    min_precision: Annotated[
        list[float] | None, typer.Option(help="Precision to prove besides the usual ones; may be given several times.")
    ] = None,
    part: Annotated[
        Literal["validation", "test"] | None,
        typer.Option(help="Only this part of the products, as training split them by the set's name; all by default."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What training called the set: the split hangs on it.")] = None,
    test_where: TestWhere = None,
    plot: Annotated[Path | None, typer.Option(help="PNG to write: precision against recall, and the promises.")] = None,
    title_column: TitleColumn = None,
    label_column: LabelColumn = None,
    title_a_column: TitleAColumn = None,
    title_b_column: TitleBColumn = None,
    conflicts: Conflicts = "stop",
    threads: Threads = None,
    device: DeviceOption = "auto",
) -> None:
    """Prove precisions by your own labels, choose thresholds by them, and write a model that decides so.

    The products must be ones that the model has not seen: on those it was trained on it is right more often than it
    will be. Of a file that it was trained on, --part test are such. Nothing is learnt; only decision.json, the metrics
    and the card differ from the model's.
    """
    if wrong := [one for one in min_precision or () if not 0 < one < 1]:
        raise typer.BadParameter(f"{wrong[0]:g}; expected a number between 0 and 1", param_hint="--min-precision")
    with plain_failures():
        from api.sheets import show_proven
        from embedder.bundle import load_bundle
        from embedder.encoder import Encoder
        from index.decision import Decision
        from training.decide import TARGETS
        from training.labels import Columns, read_labelled
        from training.threshold import check_output, check_plot, plot_file, pool_of_labels, prove_on, write_proven

        check_output(output)
        check_plot(plot)
        sets = read_labelled(
            labelled, name=name, test_where=named_value(test_where) if test_where else None, conflicts=conflicts,
            columns=Columns(title_column, label_column, title_a_column, title_b_column),
        )  # fmt: skip
        bundle = load_bundle(model)
        encoder = Encoder(bundle, threads=threads, device=device)
        decision = Decision.of(bundle, threads=encoder.threads)
        with PhaseBars() as bars:
            pool = pool_of_labels(sets, encoder, decision, part, device=device, progress=bars)
            proven = prove_on(pool, decision, {*TARGETS, *(min_precision or ())}, bars)
        written = write_proven(bundle, output, proven)
        plot_file(plot, proven)
        show_proven(proven, stderr())
        stderr().print(f"wrote {written.folder} ({written.fingerprint})", markup=False)
