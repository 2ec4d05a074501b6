"""The tables of ``benchmarks/README.md``, made anew by one command and put between their markers.

It knows which set is measured for which table; it does not measure anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.datasets import load_set
from benchmarks.figures import markdown_table, write_file
from benchmarks.ladder import climb
from benchmarks.recall import RecallReport, Settings, measure_recall
from benchmarks.report import (
    LADDER_HEADER,
    PAIRS_HEADER,
    PROMISES_HEADER,
    RECALL_HEADER,
    ladder_rows,
    pair_rows,
    promise_rows,
    recall_rows,
    short,
    spread,
    write_ladder,
    write_recall,
)
from embedder.errors import InputError

PARTS = ("recall", "ladder", "decision", "peers", "speed", "soak")
MEASURED = ("korea_cvs", "naver_model_code", "danawa", "shopee", "abt-buy", "amazon-google", "walmart-amazon")
COMPARED = ("korea_cvs", "naver_model_code", "shopee", "abt-buy")
SPEED_PARTS = ("encode", "cluster", "scale", "service")
SOAK_PARTS = ("mixed", "kills")
POOLS_HEADER = (
    "set", "pool", "row-F1 as shipped [95 %]", "row-F1, threshold chosen there", "shipped less that [95 %]",
    "best in hindsight", "first pool's threshold",
)  # fmt: skip

Say = Callable[[str], None]


def make_tables(
    data: Path,
    report: Path,
    *,
    model: Path | None = None,
    parts: Sequence[str] = PARTS,
    readme: Path | None = None,
    settings: Settings | None = None,
    say: Say = lambda _: None,
) -> dict[str, str]:
    """Run every benchmark that a table stands on, and put the tables into a README as each part is done.

    Args:
        data: the folder that holds the sets of ``DATA_SETS``.
        report: folder for the reports, one folder each.
        model: bundle; the one that ships with dongil by default.
        parts: of ``PARTS``.
        readme: file with a ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` for every table; None leaves all as it is.
        settings: how recall and ladder are measured.
        say: is told what is being done.

    Returns:
        Name of a table -> Markdown.

    Raises:
        InputError: a part is unknown, a set or a marker is missing, or a folder cannot be written.
    """
    if unknown := set(parts) - set(PARTS):
        raise InputError(f"no part {min(unknown)!r}; expected {', '.join(PARTS)}")
    settings = settings or Settings()
    tables: dict[str, str] = {}
    for part in parts:
        made = {
            "recall": lambda: _recall(data, report, model, settings, say),
            "ladder": lambda: _ladders(data, report, model, settings, say),
            "decision": lambda: _decision(data, report, model, settings, say),
            "peers": lambda: _peers(data, report, model, say),
            "speed": lambda: _speed(report, model, say),
            "soak": lambda: _soak(report, model, say),
        }[part]()
        if readme:
            put_tables(readme, made)
        tables |= made
    return tables


def put_tables(readme: Path, tables: Mapping[str, str]) -> None:
    """Put each table between its markers.

    Raises:
        InputError: the file cannot be read, or lacks a marker; it is not changed then.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(readme)) from error
    for name, table in tables.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise InputError(f"no {begin.strip()} before {end}; expected both around the table", file=str(readme))
        text = f"{before}{begin}{table.rstrip()}\n{end}{after}"
    write_file(readme, text.encode())


def _recall(data: Path, report: Path, model: Path | None, settings: Settings, say: Say) -> dict[str, str]:
    rows: list[list[str]] = []
    pools: list[list[str]] = []
    promised: list[list[str]] = []
    pairs: list[list[str]] = []
    for name in MEASURED:
        say(f"recall on {name}")
        measured = measure_recall(load_set(name, data), (model,), settings, say)
        write_recall(measured, report / "recall" / name, f"dongil bench recall {name} --data DATA -o REPORT")
        rows += recall_rows(measured)
        pools += _pool_rows(measured)
        promised += promise_rows(measured)
        pairs += pair_rows(measured)
    return {
        "recall": markdown_table(RECALL_HEADER, rows), "promises": markdown_table(PROMISES_HEADER, promised),
        "pairs": markdown_table(PAIRS_HEADER, pairs), "pools": markdown_table(POOLS_HEADER, pools),
    }  # fmt: skip


def _pool_rows(report: RecallReport) -> list[list[str]]:
    return [
        [
            report.data.name, v.name, spread(v.own_f1), short(v.row_f1), spread(v.lag, sign="+"), f"{v.best_f1:.3f}",
            f"{v.carried_f1:.3f}",
        ]
        for model in report.models for v in [*model.pool_sizes, *model.regimes]
    ]  # fmt: skip


def _ladders(data: Path, report: Path, model: Path | None, settings: Settings, say: Say) -> dict[str, str]:
    tables = {}
    for name in COMPARED:
        say(f"ladder on {name}")
        ladder = climb(load_set(name, data), model, settings, say)
        write_ladder(ladder, report / "ladder" / name, f"dongil bench ablate {name} --data DATA -o REPORT")
        head = f"{ladder.rows:,} test listings among {ladder.pool_rows:,}.\n\n"
        tables[f"ladder {name}"] = head + markdown_table(LADDER_HEADER, ladder_rows(ladder))
    return tables


def _decision(data: Path, report: Path, model: Path | None, settings: Settings, say: Say) -> dict[str, str]:
    from benchmarks.proof import prove_decision  # here: learning what each part adds needs dongil[train]
    from benchmarks.proof_tables import to_markdown, write_proof

    proof = prove_decision(data, model, cache=settings.cache, threads=settings.threads, say=say)
    write_proof(proof, report / "decision", "dongil bench decision --data DATA -o REPORT")
    return {"decision": to_markdown(proof)}


def _peers(data: Path, report: Path, model: Path | None, say: Say) -> dict[str, str]:
    from benchmarks.peers import run_peers  # here: a peer's trouble is no trouble of the other parts

    folder = run_peers([str(data / name / "titles.csv") for name in COMPARED], report / "peers", model=model, say=say)
    return {"peers": _read(folder / "peers.md")}


def _speed(report: Path, model: Path | None, say: Say) -> dict[str, str]:
    from benchmarks.speed import run_speed

    folder = run_speed(report / "speed", model=model, say=say)
    return {f"speed {part}": _read(folder / f"speed-{part}.md") for part in SPEED_PARTS}


def _soak(report: Path, model: Path | None, say: Say) -> dict[str, str]:
    from benchmarks.soak import run_soak

    folder = run_soak(report / "soak", model=model, say=say)
    return {f"soak {part}": _read(folder / f"soak-{part}.md") for part in SOAK_PARTS}


def _read(path: Path) -> str:
    """A report's Markdown as a part of the README: without its title, and its headings two levels down."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(path)) from error
    return "\n".join(
        f"##{line}" if line.startswith("##") else line for line in lines if not line.startswith("# ")
    ).strip()
