"""The command line: ``dongil match | cluster | train | bench | serve | doctor``.

Thin: it reads files, calls the matcher, the recipe or the service, writes files and tells what happened. Exit codes:
0 done, 1 failed (one line says why), 2 wrong usage. Heavy rooms are imported by the command that needs them.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.bench import bench
from api.console import PhaseBars, plain_failures, stderr

if TYPE_CHECKING:
    from index.tables import Table

app = typer.Typer(
    name="dongil", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Find the listings of the same product by their titles.",
)  # fmt: skip

app.add_typer(bench, name="bench")

Model = Annotated[Path | None, typer.Option(help="Folder of a model; the one that ships with dongil by default.")]
Out = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="File to write (CSV, TSV, JSON Lines or Parquet by suffix); - is standard output."
    ),
]
IdColumn = Annotated[str | None, typer.Option(help="Column of ids, when it has no name that dongil knows.")]
TitleColumn = Annotated[str | None, typer.Option(help="Column of titles, when it has no name that dongil knows.")]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of known products, when it has no name that dongil knows.")
]
Threshold = Annotated[
    float | None,
    typer.Option(min=-1, max=1, help="Score from which two titles are one product; the model's own by default."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Processors to use; all by default.")]
DeviceName = Literal["auto", "cpu", "gpu"]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where to compute.")]


@app.command()
def match(
    queries: Annotated[str, typer.Argument(help="File of titles to look up; - is standard input.")],
    catalog: Annotated[str, typer.Option(help="File of the catalogue's items.")],
    output: Out,
    k: Annotated[int, typer.Option(min=1, help="Matches a title at most.")] = 10,
    threshold: Threshold = None,
    model: Model = None,
    id_column: IdColumn = None,
    title_column: TitleColumn = None,
    threads: Threads = None,
    device: DeviceOption = "auto",
) -> None:
    """Write the catalogue's items that are the same product as each title: accepted ones only, best first."""
    with plain_failures():
        from embedder.bundle import load_bundle
        from embedder.encoder import Encoder
        from index.items import read_items
        from index.matcher import Matcher
        from index.tables import Table, check_writable, write_table

        check_writable(output)
        _refuse_same(output, queries, catalog)
        asked = read_items(queries, id_column=id_column, title_column=title_column)
        items = read_items(catalog, id_column=id_column, title_column=title_column)
        encoder = Encoder(load_bundle(model), threads=threads, device=device)
        rows: list[tuple[str, str, float, float, str]] = []
        matched = 0
        with PhaseBars() as bars:
            matcher = Matcher.from_items(items.ids, items.titles, encoder, device=device, progress=bars)
            for start in range(0, len(asked), 1024):
                results = matcher.match(asked.titles[start : start + 1024], k=k, threshold=threshold)
                for query_id, found in zip(asked.ids[start : start + 1024], results, strict=True):
                    matched += bool(found)
                    rows += [(query_id, m.id, round(m.score, 6), round(m.probability, 6), m.reason) for m in found]
                bars("match", min(start + 1024, len(asked)), len(asked))
        names = ("query_id", "item_id", "score", "probability", "reason")
        columns = {name: [row[position] for row in rows] for position, name in enumerate(names)}
        write_table(Table(output, columns), output)
        stderr().print(
            f"{matched:,} of {len(asked):,} titles matched, {len(rows):,} matches among {len(items):,} items"
        )


@app.command()
def cluster(
    items: Annotated[str, typer.Argument(metavar="IN", help="File of items; - is standard input.")],
    output: Out,
    threshold: Threshold = None,
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
    with plain_failures("interrupted; nothing was written, and the same command goes on from here"):
        from embedder.bundle import load_bundle
        from embedder.resume import ResumingEncoder
        from index.items import read_items
        from index.matcher import Matcher
        from index.tables import check_writable, write_table

        check_writable(output)
        _refuse_same(output, items)
        started = time.monotonic()
        rows = read_items(items, id_column=id_column, title_column=title_column, label_column=label_column)
        kept = None if output == "-" else Path(f"{output}.resume")
        encoder = ResumingEncoder(load_bundle(model), kept, threads=threads, device=device)
        with PhaseBars() as bars:
            matcher = Matcher.from_items(rows.ids, rows.titles, encoder, device=device, progress=bars)
            clusters = matcher.cluster(threshold)
        write_table(_with_clusters(rows.table, clusters), output)
        encoder.forget()
        _summary(rows.titles, clusters, rows.labels, time.monotonic() - started)


@app.command()
def serve(
    catalog: Annotated[str | None, typer.Option(help="File of items to match against.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default, others need an API key.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 8000 by default.")] = None,
    model: Model = None,
    id_column: IdColumn = None,
    title_column: TitleColumn = None,
    threads: Threads = None,
    device: Annotated[DeviceName | None, typer.Option(help="Where to compute; auto by default.")] = None,
) -> None:
    """Serve match and cluster over HTTP. Flags win over DONGIL_ environment variables."""
    with plain_failures():
        from api.app import serve as run
        from api.settings import read_settings

        given = {
            "catalog": catalog, "host": host, "port": port, "model": model, "id_column": id_column,
            "title_column": title_column, "threads": threads, "device": device,
        }  # fmt: skip
        try:
            run(read_settings(**{name: value for name, value in given.items() if value is not None}))
        except KeyboardInterrupt:
            stderr().print("stopped")  # Ctrl-C is how a server is meant to end


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


@app.command()
def train(
    labelled: Annotated[list[str], typer.Argument(help="Files of titles with a product id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    unlabelled: Annotated[
        list[str] | None, typer.Option(help="File of titles alone; may be given several times.")
    ] = None,
    test_where: Annotated[str | None, typer.Option(help="COLUMN=VALUE: rows of a published test part.")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="SET=NUMBER: how much a set counts in choosing; 1 by default.")
    ] = None,
    config: Annotated[
        str, typer.Option(help="NAME=VALUE,...: settings of the run that differ from the defaults.")
    ] = "",
    work: Annotated[Path | None, typer.Option(help="Folder of checkpoints; beside the output by default.")] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown for the model card: data, licences.")] = None,
) -> None:
    """Train a model on labelled titles and pack it for serving. A killed run goes on from its last checkpoint."""
    with plain_failures("interrupted; the same command goes on from the last checkpoint"):
        from training.recipe import Recipe, make_bundle, parse_config

        console = stderr()

        def report(stage: str, step: int, steps: int, values: dict[str, float]) -> None:
            told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            console.print(f"{stage} {step:,}/{steps:,}: {told}")

        recipe = Recipe(
            labelled, unlabelled or (), _pair(test_where), {n: float(v) for n, v in map(_need_pair, weight or ())},
            command=shlex.join(["dongil", *sys.argv[1:]]),
            notes=notes.read_text(encoding="utf-8") if notes else "",
        )  # fmt: skip
        bundle = make_bundle(recipe, output, parse_config(config), work or Path(f"{output}.work"), report)
        console.print(f"wrote {bundle.folder} ({bundle.fingerprint})")


def _need_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"{text!r}; expected NAME=VALUE")
    return name, value


def _pair(text: str | None) -> tuple[str, str] | None:
    return _need_pair(text) if text else None


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


def _with_clusters(table: Table, clusters: list[str]) -> Table:
    """The table with the new column; a column of that name is kept under another one."""
    if "cluster_id" in table.columns:
        name = "cluster_id_in"
        while name in table.columns:
            name += "_"
        table = table.with_column(name, table.columns["cluster_id"])
    return table.with_column("cluster_id", clusters)


def _summary(titles: list[str], clusters: list[str], labels: list[str] | None, seconds: float) -> None:
    """What was found, for a person: counts, the largest clusters, and agreement with labels if the file has them."""
    from collections import Counter

    from rich.table import Table as Sheet

    console = stderr()
    sizes = Counter(clusters)
    several = [size for size in sizes.values() if size > 1]
    console.print(
        f"{len(titles):,} items in {seconds:.1f} s: {len(sizes):,} products, "
        f"{len(several):,} with several listings ({sum(several):,} items), {len(sizes) - len(several):,} alone"
    )
    sheet = Sheet("listings", "titles", title="Largest clusters", title_justify="left")
    shown = {name: [] for name, size in sizes.most_common(5) if size > 1}  # type: dict[str, list[str]]
    for title, name in zip(titles, clusters, strict=True):
        if name in shown and len(shown[name]) < 3:
            shown[name].append(title[:70])
    for name, examples in shown.items():
        sheet.add_row(str(sizes[name]), "\n".join(e.replace("[", r"\[") for e in examples))
    if shown:
        console.print(sheet)
    if labels and len(set(labels)) > 1:
        from training.evaluate import bcubed

        known = [row for row, label in enumerate(labels) if label]
        scores = bcubed([clusters[row] for row in known], [labels[row] for row in known])
        console.print(
            f"Against the file's own labels ({len(known):,} rows): B-cubed precision {scores.precision:.3f}, "
            f"recall {scores.recall:.3f}, F1 {scores.f1:.3f}"
        )


def main() -> None:
    """The ``dongil`` command."""
    app()


if __name__ == "__main__":
    main()
