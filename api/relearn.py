"""``dongil relearn``: a better decision from labelled pairs, in seconds. It reads, calls training, writes and tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import PhaseBars, plain_failures, stderr
from api.options import DeviceOption, Model, Threads, TitleAColumn, TitleBColumn, TitleColumn

if TYPE_CHECKING:
    from rich.console import Console

    from training.compared import Comparison, Figure
    from training.relearn import Relearnt


def relearn(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help="File of pairs: title_a, title_b, label.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model that was taught.")],
    model: Model = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            help="File of items among which the pairs are met: their titles tell more then, and figures are weighed "
            "as its pairs are. Without it, pairs are judged among the labelled titles alone."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write the model even if it is worse.")] = False,
    plot: Annotated[Path | None, typer.Option(help="PNG to write: before and after on held-out products.")] = None,
    title_column: TitleColumn = None,
    label_column: Annotated[str | None, typer.Option(help="Column of a pair's label; label.")] = None,
    title_a_column: TitleAColumn = None,
    title_b_column: TitleBColumn = None,
    threads: Threads = None,
    device: DeviceOption = "auto",
) -> None:
    """Teach a model by pairs that people called the same or different, and write it unless it is worse.

    Encoder and trees stay; what their probabilities mean, and from where on a pair is accepted, is learnt anew. Pairs
    called different that pairs called the same contradict are left out and told. To teach the encoder: dongil train.
    """
    with plain_failures():
        from embedder.bundle import load_bundle
        from embedder.encoder import Encoder
        from embedder.errors import InputError
        from embedder.folders import check_folder
        from index.decision import Decision
        from index.items import read_items
        from index.tables import read_table
        from training.compared import check_plot, plot_file
        from training.lessons import catalogue_of, weigh
        from training.pairs import pair_columns, read_pairs
        from training.relearn import relearn as learn
        from training.relearn import write_relearnt

        check_folder(output, "config.json")
        check_plot(plot)
        table = read_table(labels)
        columns = pair_columns(table, title_a_column, title_b_column, label_column)
        if columns is None:
            raise InputError("no pairs; expected the columns title_a, title_b and label", file=table.name)
        pairs = read_pairs(table, columns)
        titles = read_items(catalog, title_column=title_column).titles if catalog is not None else pairs.titles
        bundle = load_bundle(model)
        encoder = Encoder(bundle, threads=threads, device=device)
        decision = Decision.of(bundle, threads=encoder.threads)
        with PhaseBars() as bars:
            snapshot = catalogue_of(titles, encoder, decision, device=device, progress=bars)
        lessons = weigh(pairs, snapshot, encoder.encode, sample=catalog is not None)
        relearnt = learn(lessons, decision)
        plot_file(plot, relearnt.held, relearnt.weights)
        show(relearnt, stderr())
        written = write_relearnt(bundle, output, relearnt, force=force)
        stderr().print(f"wrote {written.folder} ({written.fingerprint})", markup=False)


def show(relearnt: Relearnt, console: Console) -> None:
    """Print the verdict and the figures before and after."""
    from rich.table import Table

    for words in relearnt.left_out:
        console.print(f"left out: {words}", markup=False)
    sheet = Table(title="Held-out pairs, with 95 % intervals", title_justify="left")
    for name in ("", "", "F1", "precision", "recall", "log loss", "calibration error"):
        sheet.add_column(name)
    for name, view in (("labelled", relearnt.labelled), ("as in the catalogue", relearnt.catalogue)):
        for row in _rows(name, view) if view is not None else ():
            sheet.add_row(*row)
    console.print(sheet)
    decision = relearnt.decision
    console.print(
        f"{relearnt.verdict}: {relearnt.words}. {relearnt.same:,} pairs the same, {relearnt.different:,} different; "
        f"accepted from {decision.threshold:.2f} where one threshold is to hold for all",
        markup=False,
    )
    if decision.correction is not None and decision.correction.lifted:
        console.print(f"keeps no pair apart any more: {', '.join(decision.correction.lifted)}", markup=False)
    for promise in decision.promises:
        console.print(promise.words, markup=False)


def _rows(name: str, view: Comparison) -> list[list[str]]:
    rows = []
    for when, scores in (("before", view.before), ("after", view.after)):
        figures = (scores.f1, scores.precision, scores.recall, scores.log_loss, scores.calibration_error)
        rows.append([name, when, *map(_told, figures)])
    return rows


def _told(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"
