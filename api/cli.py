"""The command line: ``dongil match | cluster | train | distill | tune | ensemble | threshold | bench | serve | ...``.

Thin: it reads files, calls the matcher or the service, writes files and tells what happened. Exit codes: 0 done,
1 failed (one line says why), 2 wrong usage. Heavy rooms are imported by the command that needs them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.bench import bench
from api.console import PhaseBars, plain_failures, stderr
from api.distill import distill
from api.learn import threshold as threshold_command
from api.learn import train
from api.options import (
    DeviceOption,
    IdColumn,
    LabelColumn,
    Model,
    Out,
    Threads,
    TitleColumn,
)
from api.relearn import relearn
from api.serve import ServeCommand, key, serve
from api.tuning import ensemble, tune

if TYPE_CHECKING:
    from index.decision import Decision

app = typer.Typer(
    name="dongil", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Find the listings of the same product by their titles.",
)  # fmt: skip

app.add_typer(bench, name="bench")
app.command("train")(train)
app.command("distill")(distill)
app.command("tune")(tune)
app.command("ensemble")(ensemble)
app.command("threshold")(threshold_command)
app.command("serve", cls=ServeCommand)(serve)
app.command("key")(key)
app.command("relearn")(relearn)

_BATCH = 1024  # titles looked up at a time


@app.command()
def match(
    queries: Annotated[str, typer.Argument(help="File of titles to look up; - is standard input.")],
    catalog: Annotated[str, typer.Option(help="File of the catalogue's items.")],
    output: Out,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Matches a title at most.")] = 10,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Probability from which a pair is accepted; by default each title gets the set of best expected F1.",
        ),
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(help="Accept pairs from the probability that is proven to have this precision, such as 0.95."),
    ] = None,
    near_misses: Annotated[
        int, typer.Option(min=0, help="Also write so many of the best refused items a title, with accepted = false.")
    ] = 0,
    assign: Annotated[
        bool, typer.Option("--assign", help="Give each item to its single most probable title alone.")
    ] = False,
    model: Model = None,
    id_column: IdColumn = None,
    title_column: TitleColumn = None,
    threads: Threads = None,
    device: DeviceOption = "auto",
) -> None:
    """Write the catalogue's items that are the same product as each title: accepted ones only, best first."""
    _refuse_both(threshold, min_precision)
    with plain_failures():
        from api.rows import match_row, matches_table
        from embedder.bundle import load_bundle
        from embedder.encoder import Encoder
        from index.answers import Answer, assigned
        from index.decision import Decision
        from index.items import read_items
        from index.matcher import Matcher
        from index.tables import check_writable, write_table

        check_writable(output)
        _refuse_same(output, queries, catalog)
        asked = read_items(queries, id_column=id_column, title_column=title_column)
        items = read_items(catalog, id_column=id_column, title_column=title_column)
        encoder = Encoder(load_bundle(model), threads=threads, device=device)
        decision = Decision.of(encoder.bundle, threads=encoder.threads)
        threshold = _threshold(decision, threshold, min_precision)
        answers: list[Answer] = []
        with PhaseBars() as bars:
            matcher = Matcher.from_items(items.ids, items.titles, encoder, decision, device=device, progress=bars)
            most = len(items) if assign else k  # what goes to another title leaves room for the next
            for start in range(0, len(asked), _BATCH):
                titles = asked.titles[start : start + _BATCH]
                answers += matcher.answer(titles, k=most, threshold=threshold, near_misses=near_misses)
                bars("match", len(answers), len(asked))
        found = [one.matches for one in answers]
        found = [own[:k] for own in assigned(found)] if assign else found
        told = [
            match_row(query_id, match, accepted)
            for query_id, own, answer in zip(asked.ids, found, answers, strict=True)
            for match, accepted in [*((m, True) for m in own), *((m, False) for m in answer.near_misses)]
        ]
        write_table(matches_table(output, told, near_misses > 0), output)
        stderr().print(
            f"{sum(map(bool, found)):,} of {len(asked):,} titles matched, {sum(map(len, found)):,} matches among "
            f"{len(items):,} items"
        )


@app.command()
def cluster(
    items: Annotated[str, typer.Argument(metavar="IN", help="File of items; - is standard input.")],
    output: Out,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Mean probability from which two clusters are one, over 0; the model's own by default."
        ),
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(
            help="Join from the probability that is proven to have this precision. The proof is of pairs: it holds "
            "for two listings; a larger cluster needs the mean over its pairs to reach that probability."
        ),
    ] = None,
    one_per: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="One listing per product of each value in this column, such as the seller: two rows of one value "
            "never share a cluster, not even with equal titles. Blank values say nothing.",
        ),
    ] = None,
    model: Model = None,
    id_column: IdColumn = None,
    title_column: TitleColumn = None,
    label_column: LabelColumn = None,
    threads: Threads = None,
    device: DeviceOption = "auto",
) -> None:
    """Write IN's rows and columns with a cluster_id: rows of one cluster are one product.

    A cluster_id column that IN has already is kept as cluster_id_in. An interrupted run goes on where it stood when
    the same command is given again.
    """
    _refuse_both(threshold, min_precision)
    with plain_failures("interrupted; nothing was written, and the same command goes on from here"):
        from api.rows import column_values, with_clusters
        from api.sheets import show_clusters
        from embedder.bundle import load_bundle
        from embedder.resume import ResumingEncoder
        from index.decision import Decision
        from index.items import read_items
        from index.matcher import Matcher
        from index.tables import check_writable, write_table

        check_writable(output)
        _refuse_same(output, items)
        started = time.monotonic()
        rows = read_items(items, id_column=id_column, title_column=title_column, label_column=label_column)
        values = column_values(rows, one_per) if one_per is not None else None
        kept = None if output == "-" else Path(f"{output}.resume")
        encoder = ResumingEncoder(load_bundle(model), kept, threads=threads, device=device)
        decision = Decision.of(encoder.bundle, threads=encoder.threads)
        threshold = _threshold(decision, threshold, min_precision)
        with PhaseBars() as bars:
            matcher = Matcher.from_items(rows.ids, rows.titles, encoder, decision, device=device, progress=bars)
            grouping = matcher.group(threshold, one_per=values)
        write_table(with_clusters(rows.table, grouping.names), output)
        encoder.forget()
        show_clusters(rows.titles, grouping, rows.labels, time.monotonic() - started, stderr())


@app.command()
def doctor(model: Model = None) -> None:
    """Tell what is installed, which devices there are and what would be used."""
    with plain_failures():
        from api.doctor import examine

        healthy, lines = examine(model)
        for line in lines:
            typer.echo(line)
        if not healthy:
            raise typer.Exit(1)


def _refuse_both(threshold: float | None, min_precision: float | None) -> None:
    if threshold is not None and min_precision is not None:
        raise typer.BadParameter("given with --min-precision; expected one of the two", param_hint="--threshold")


def _threshold(decision: Decision, threshold: float | None, min_precision: float | None) -> float | None:
    """The threshold asked for; that of a proven precision is told with its proof."""
    if min_precision is None:
        return threshold
    promise = decision.promised(min_precision)
    stderr().print(f"from a probability of {promise.threshold:.3f}: {promise.words}", soft_wrap=True)
    return promise.threshold


def _refuse_same(output: str, *inputs: str) -> None:
    from embedder.errors import InputError

    for name in inputs:
        if (
            "-" not in (name, output)
            and Path(output).exists()
            and Path(name).exists()
            and os.path.samefile(output, name)
        ):
            raise InputError("is also the input, which is never written over; expected another file", file=output)


def main() -> None:
    """The ``dongil`` command."""
    app()


if __name__ == "__main__":
    main()
