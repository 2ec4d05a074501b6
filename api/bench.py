"""``dongil bench recall | ablate | decision | peers | speed | base | frontier | losses | all``: thin commands.

They need dongil[bench]. It knows options; it does not measure, and imports the benchmarks only where one runs.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.console import plain_failures, stderr

if TYPE_CHECKING:
    from benchmarks.labelled import LabelledSet
    from benchmarks.recall import Settings

bench = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Measure recall against threshold, parts, peers and speed."
)

Labelled = Annotated[
    str,
    typer.Argument(help="File of titles with a product id, folder of tables and labelled pairs, or name with --data."),
]
Report = Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")]
Model = Annotated[Path | None, typer.Option(help="Folder of a model; the one that ships with dongil by default.")]
Models = Annotated[list[Path] | None, typer.Option("--model", help="Folder of a model; several are put side by side.")]
Data = Annotated[Path | None, typer.Option(help="Folder that holds the known data sets; LABELLED is then a name.")]
Queries = Annotated[Path | None, typer.Option(help="Query file; LABELLED is then the database that holds its ids.")]
Name = Annotated[str | None, typer.Option(help="What training called the set: the split hangs on it.")]
Where = Annotated[str | None, typer.Option(help="COLUMN=VALUE: rows of a published part.")]
Unseen = Annotated[
    bool, typer.Option("--unseen", help="No model was trained on this set: half of it chooses, half is reported.")
]
Published = Annotated[bool, typer.Option("--published-pairs", help="Keep the published split of labelled pairs.")]
Pool = Annotated[Literal["all", "own"], typer.Option(help="Judge a row among all rows or those of its own part.")]
Seed = Annotated[int, typer.Option(min=0, help="Of every draw.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of vectors; .dongil-cache beside the report by default.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processors to encode with; all by default.")]
Column = Annotated[str | None, typer.Option(help="Column, when it has no name that dongil knows.")]


@bench.command()
def recall(
    labelled: Labelled,
    output: Report,
    model: Models = None,
    data: Data = None,
    queries: Queries = None,
    name: Name = None,
    test_where: Where = None,
    validation_where: Where = None,
    unseen: Unseen = False,
    published_pairs: Published = False,
    pool: Pool = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Leave out other pool sizes and regimes.")] = False,
    seed: Seed = 0,
    cache: Cache = None,
    threads: Threads = None,
    id_column: Column = None,
    title_column: Column = None,
    label_column: Column = None,
) -> None:
    """Recall, precision and F1 against the threshold: JSON, CSV, plots and one page to open in a browser."""
    with plain_failures():
        _need_extra()
        from benchmarks.figures import report_folder
        from benchmarks.recall import measure_recall
        from benchmarks.report import write_recall

        report_folder(output)
        columns = {"id_column": id_column, "title_column": title_column, "label_column": label_column}
        where = {"test": test_where, "validation": validation_where}
        found = _open(labelled, data, queries, published_pairs, where, name=name, unseen=unseen, **columns)
        settings = _settings(output, pool, seed, cache, threads, variations=not quick)
        report = measure_recall(found, model or [None], settings, _say())
        stderr().print(f"wrote {write_recall(report, output, _command()) / 'index.html'}")


@bench.command()
def ablate(
    labelled: Labelled,
    output: Report,
    model: Model = None,
    data: Data = None,
    queries: Queries = None,
    name: Name = None,
    test_where: Where = None,
    validation_where: Where = None,
    unseen: Unseen = False,
    pool: Pool = "all",
    seed: Seed = 0,
    cache: Cache = None,
    threads: Threads = None,
    id_column: Column = None,
    title_column: Column = None,
    label_column: Column = None,
) -> None:
    """The ladder: turn parts on one at a time, on the same rows, from character TF-IDF upwards."""
    with plain_failures():
        _need_extra()
        from benchmarks.figures import report_folder
        from benchmarks.ladder import climb
        from benchmarks.report import write_ladder

        report_folder(output)
        columns = {"id_column": id_column, "title_column": title_column, "label_column": label_column}
        where = {"test": test_where, "validation": validation_where}
        found = _open(labelled, data, queries, False, where, name=name, unseen=unseen, **columns)
        ladder = climb(found, model, _settings(output, pool, seed, cache, threads), _say())
        stderr().print(f"wrote {write_ladder(ladder, output, _command()) / 'index.html'}")


@bench.command()
def decision(
    data: Annotated[Path, typer.Option(help="Folder that holds the known data sets.")],
    output: Report,
    model: Model = None,
    only: Annotated[
        list[str] | None, typer.Option("--set", help="A set to measure on, perhaps among several; all by default.")
    ] = None,
    part: Annotated[list[str] | None, typer.Option(help="parts, certainty or hard; all by default.")] = None,
    cache: Cache = None,
    threads: Threads = None,
) -> None:
    """What each part of the evidence adds, whether promises hold, and hard pairs. Needs dongil[train] too."""
    with plain_failures():
        _need_extra()
        from benchmarks.figures import report_folder
        from benchmarks.proof import PARTS, WEIGHTS, prove_decision
        from benchmarks.proof_tables import to_markdown, write_proof

        report_folder(output)
        cache = cache or output.resolve().parent / ".dongil-cache"
        proof = prove_decision(
            data, model, sets=only or tuple(WEIGHTS), parts=part or PARTS, cache=cache, threads=threads, say=_say()
        )
        typer.echo(to_markdown(proof))
        stderr().print(f"wrote {write_proof(proof, output, _command()) / 'index.html'}")


@bench.command()
def peers(
    labelled: Annotated[list[str], typer.Argument(help="Files of titles with a product id.")],
    output: Report,
    model: Model = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A tool to run, perhaps among several; all by default.")
    ] = None,
) -> None:
    """What people use today, on the same rows in the same run: quality, seconds, peak memory."""
    with plain_failures():
        _need_extra()
        from benchmarks.peers import run_peers

        stderr().print(f"wrote {run_peers(labelled, output, model=model, only=only or [], say=_say())}")


@bench.command()
def speed(
    output: Report,
    model: Model = None,
    part: Annotated[list[str] | None, typer.Option(help="encode, cluster, scale or service; all by default.")] = None,
    titles: Annotated[Path | None, typer.Option(help="File of titles; made ones by default.")] = None,
    size: Annotated[list[int] | None, typer.Option(min=1, help="Rows of a catalogue, perhaps of several.")] = None,
) -> None:
    """Titles a second, clustering and the service under load, beside bare loops and peers, and as a catalogue grows."""
    with plain_failures():
        _need_extra()
        from benchmarks.speed import run_speed

        folder = run_speed(output, model=model, parts=part or [], titles=titles, sizes=size or [], say=_say())
        stderr().print(f"wrote {folder}")


@bench.command()
def soak(
    output: Report,
    model: Model = None,
    part: Annotated[list[str] | None, typer.Option(help="mixed or kills; both by default.")] = None,
    titles: Annotated[Path | None, typer.Option(help="File of titles; made ones by default.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Items of the catalogue.")] = 100_000,
    seconds: Annotated[float, typer.Option(min=1, help="Of mixed load.")] = 600,
    kills: Annotated[int, typer.Option(min=1, help="How often the service is killed while it is written to.")] = 200,
) -> None:
    """The service for minutes at full load, and killed again and again: errors, memory, torn answers, losses."""
    with plain_failures():
        _need_extra()
        from benchmarks.soak import run_soak

        how: dict[str, Any] = {"titles": titles, "size": size, "seconds": seconds, "kills": kills}
        stderr().print(f"wrote {run_soak(output, model=model, parts=part or [], say=_say(), **how)}")


@bench.command()
def base(
    folder: Annotated[Path, typer.Argument(help="Folder of a base: config and tokenizer, and perhaps weights.")],
    output: Report,
    steps: Annotated[int, typer.Option(min=2, help="Training steps of each stage.")] = 4,
) -> None:
    """What dongil train --base costs at the size of a base: steps, export, serving, memory. Needs dongil[train]."""
    with plain_failures():
        _need_extra()
        from benchmarks.full_shape import prove_base

        stderr().print(f"wrote {prove_base(folder, output, steps=steps, say=_say())}")


@bench.command()
def frontier(
    data: Annotated[Path, typer.Argument(help="Folder that holds the known data sets.")],
    output: Report,
    model: Annotated[list[Path], typer.Option("--model", help="Folder of a model; give two or more.")],
    only: Annotated[
        list[str] | None, typer.Option("--set", help="A set to judge by, perhaps among several; four by default.")
    ] = None,
    cache: Cache = None,
) -> None:
    """Models of several sizes: how well each tells products apart against how fast it encodes."""
    with plain_failures():
        _need_extra()
        from benchmarks.frontier import SETS, measure_frontier

        folder = measure_frontier(data, model, output, sets=only or SETS, cache=cache, say=_say())
        stderr().print(f"wrote {folder / 'frontier.png'}")


@bench.command()
def losses(
    data: Annotated[Path, typer.Argument(help="Folder that holds the known data sets.")],
    output: Report,
    loss: Annotated[
        list[str] | None, typer.Option(help="A loss to compare, perhaps among several; all eleven by default.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--set", help="A set to train on and judge by, perhaps among several.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of a model, perhaps of several; 0 and 1.")] = None,
    contrast_steps: Annotated[int, typer.Option(min=1, help="Of the pass before, which all losses share.")] = 500,
    steps: Annotated[int, typer.Option(min=1, help="Of the pass with each loss.")] = 500,
    config: Annotated[str, typer.Option(help="NAME=VALUE,...: other settings of the small model, alike for all.")] = "",
) -> None:
    """Training losses from the same model for the same steps, on validation products. Needs dongil[train] too."""
    with plain_failures("interrupted; the same command goes on behind the losses that are done"):
        _need_extra("torch", "transformers", "pytorch_metric_learning")
        from benchmarks.losses import SEEDS, SETS, VARIANTS, measure_losses

        folder = measure_losses(
            data, output, sets=only or SETS, losses=loss or tuple(VARIANTS), seeds=seed or SEEDS,
            contrast_steps=contrast_steps, steps=steps, settings=config, say=_say(),
        )  # fmt: skip
        stderr().print(f"wrote {folder / 'losses.md'}")


@bench.command("all")
def every(
    data: Annotated[Path, typer.Option(help="Folder that holds the known data sets.")],
    output: Report,
    model: Model = None,
    part: Annotated[
        list[str] | None, typer.Option(help="recall, ladder, decision, peers, speed or soak; all by default.")
    ] = None,
    readme: Annotated[Path | None, typer.Option(help="File whose tables to put between their markers.")] = None,
    seed: Seed = 0,
    cache: Cache = None,
    threads: Threads = None,
) -> None:
    """Every table of benchmarks/README.md."""
    with plain_failures("interrupted; the parts that were done are written"):
        _need_extra()
        from benchmarks.figures import report_folder
        from benchmarks.readme import PARTS, make_tables

        report_folder(output)
        settings = _settings(output, "all", seed, cache, threads)
        make_tables(data, output, model=model, parts=part or PARTS, readme=readme, settings=settings, say=_say())


def _need_extra(*training: str) -> None:
    """Refuse to measure without dongil[bench], and without the modules of dongil[train] that are named."""
    from importlib.util import find_spec

    from embedder.errors import InputError

    for extra, names in (("bench", ("sklearn", "scipy", "matplotlib", "jinja2")), ("train", training)):
        if missing := [name for name in names if find_spec(name) is None]:
            raise InputError(f"{', '.join(missing)} not installed; this benchmark needs pip install 'dongil[{extra}]'")


def _open(
    labelled: str,
    data: Path | None,
    queries: Path | None,
    published: bool,
    where: dict[str, str | None],
    **reading: Any,
) -> LabelledSet:
    from benchmarks.datasets import open_set
    from benchmarks.labelled import Reading
    from embedder.errors import InputError

    parts: dict[str, tuple[str, str]] = {}
    for side, text in where.items():
        column, equals, value = (text or "").partition("=")
        if text and not (column and equals and value):
            raise InputError(f"{text!r} for the {side} part; expected COLUMN=VALUE")
        if text:
            parts[side] = column, value
    return open_set(labelled, Reading(where=parts, **reading), data=data, queries=queries, published=published)


def _settings(output: Path, pool: str, seed: int, cache: Path | None, threads: int | None, **more: Any) -> Settings:
    from benchmarks.recall import Settings

    cache = cache or output.resolve().parent / ".dongil-cache"
    return Settings(pool=pool, seed=seed, cache=cache, threads=threads, **more)


def _say() -> Callable[[str], None]:
    console = stderr()
    return lambda text: console.print(text, markup=False)


def _command() -> str:
    return shlex.join(["dongil", *sys.argv[1:]])
