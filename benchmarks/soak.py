"""Soak: the service for minutes at full load, and killed again and again, on a catalogue of some size.

Two parts, each written when it is done as ``soak-<part>.json``, ``.md`` and ``.png``: mixed (readers and writers of
every kind at once: errors, memory, answers that mix two states) and kills (``kill -9`` while it is written to: what is
lost, what stands there twice, how long a start takes). It does not know how good the answers are.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.figures import empty_figure, machine, machine_line, markdown_table, report_folder, write_figures
from benchmarks.job import Job, Part
from benchmarks.kills import Killing, Lost
from benchmarks.server import Server, free_port, run_child, serve_command
from benchmarks.serving import ASKED, ROWS, hold_out, write_catalog
from benchmarks.titles import checked_sizes, titles_for
from embedder.bundle import load_bundle
from embedder.errors import InputError

CLIENTS, GROUPS = 32, 60
_WARM = 0.2  # of the time, after which memory must be flat
_LOOK = 1.0  # seconds between two looks at the memory
_PATIENCE = 3_600.0  # seconds that the first start, with everything to encode, may take


@dataclass(frozen=True)
class Soaking:
    """A run: how long, how many kills, and the folder that holds the catalogue."""

    job: Job
    data: Path
    asked: list[str]
    seconds: float
    kills: int


def run_soak(
    report: Path,
    *,
    model: Path | None = None,
    parts: Sequence[str] = (),
    titles: Path | None = None,
    size: int = ROWS,
    seconds: float = 600.0,
    kills: int = 200,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Measure, and write each part into the report folder as soon as it is done.

    Args:
        report: folder to write into.
        model: bundle; the one that ships with dongil by default.
        parts: of ``PARTS``; all of them by default.
        titles: file of titles; made ones by default.
        size: items of the catalogue.
        seconds: of mixed load.
        kills: how often the service is killed.
        say: called with a line of progress.

    Returns:
        The report folder.

    Raises:
        InputError: a part, the size, the titles, the model or the folder cannot be used, or the service did not start.
    """
    if unknown := set(parts) - set(PARTS):
        raise InputError(f"no part {min(unknown)!r}; expected {', '.join(PARTS)}")
    (size,) = checked_sizes([size], titles)
    folder = report_folder(report)
    load_bundle(model)
    tell = say or (lambda _: None)
    with tempfile.TemporaryDirectory(prefix="dongil-soak-") as work:
        job = Job(model, titles, (size,), Path(work), tell)
        data, asked = _catalogue(job)
        for name, (title, measure) in PARTS.items():
            if not parts or name in parts:
                about = machine()
                copied = Path(shutil.copytree(data, Path(work) / name))
                part = measure(Soaking(job, copied, asked, seconds, kills))
                shutil.rmtree(copied)
                markdown = f"# {title}\n\n{machine_line(about)}\n\n{part.markdown}"
                values = {"machine": about, "items": size, **part.values}
                write_figures(folder, f"soak-{name}", values=values, markdown=markdown, figure=part.figure)
    return folder


def _catalogue(job: Job) -> tuple[Path, list[str]]:
    """A data folder with everything encoded and clustered, and titles that are not in it."""
    rows = job.sizes[-1]
    every = titles_for(job.titles, rows + min(ASKED, rows))
    kept, asked = hold_out(every, min(ASKED, len(every) // 2))
    data, port = job.work / "data", free_port()
    catalog = write_catalog(kept[:rows], job.work / "catalog.csv")
    with Server(serve_command(port, catalog=catalog, data=data, model=job.model), port, limit_s=_PATIENCE) as server:
        job.say(f"{len(kept[:rows]):,} items after {server.start_seconds:.0f} s")
        server.rest(_PATIENCE)
    return data, asked


def measure_mixed(soaking: Soaking) -> Part:
    """Readers and writers of every kind at once, and the memory of the service meanwhile."""
    port, job = free_port(), soaking.job
    asked = {
        "port": port, "titles": soaking.asked, "clients": CLIENTS, "seconds": soaking.seconds, "groups": GROUPS,
    }  # fmt: skip
    memory: list[tuple[float, float]] = []
    command = serve_command(port, data=soaking.data, model=job.model)
    with Server(command, port, limit_s=_PATIENCE) as server, ThreadPoolExecutor(1) as thread:
        start, told = time.monotonic(), 0.0
        child = thread.submit(
            run_child, "benchmarks.mixing", json.dumps(asked, ensure_ascii=False), limit_s=soaking.seconds + 180
        )
        while not child.done():
            time.sleep(_LOOK)
            now = server.memory_mb()
            if now is not None:
                memory.append((time.monotonic() - start, now))
            if now is not None and time.monotonic() - start > told + 60:
                told += 60
                job.say(f"mixed: {told:.0f} s, {now:,.0f} MiB")
        found = json.loads(child.result())
        peak = server.peak_mb()
    return _mixed_part(found, memory, peak)


def flatness(memory: Sequence[tuple[float, float]], warm: float = _WARM) -> dict[str, float] | None:
    """Medians of the first and the last fifth of what was seen after warming up, and by how much memory grew.

    Args:
        memory: seconds and MiB, in order.
        warm: share of the time that is left out.

    Returns:
        None where there is too little to tell.
    """
    after = [mb for second, mb in memory if second >= warm * memory[-1][0]] if memory else []
    if len(after) < 5:
        return None
    fifth = len(after) // 5
    first, last = float(np.median(after[:fifth])), float(np.median(after[-fifth:]))
    return {"first_mb": first, "last_mb": last, "growth": last / first - 1}


def _mixed_part(found: dict[str, Any], memory: list[tuple[float, float]], peak: float | None) -> Part:
    times, refused = found.pop("times"), found["refused"]
    kinds, rows = {}, []
    for kind in sorted(times.keys() | refused.keys()):
        took = 1000 * np.array(times.get(kind, []))
        p50, p99, worst = np.percentile(took, [50, 99, 100]).tolist() if len(took) else (None, None, None)
        kinds[kind] = {
            "answered": len(took), "refused": refused.get(kind, 0), "p50_ms": p50, "p99_ms": p99, "worst_ms": worst,
        }  # fmt: skip
        shown = [f"{value:,.1f}" if value is not None else "" for value in (p50, p99, worst)]
        rows.append([kind, f"{len(took):,}", f"{len(took) / found['seconds']:,.1f}", str(refused.get(kind, 0)), *shown])
    flat = flatness(memory)
    grew = (
        f"Memory after warming up: {flat['first_mb']:,.0f} MiB at the beginning, {flat['last_mb']:,.0f} MiB at the end "
        f"({flat['growth']:+.1%}), {peak or 0:,.0f} MiB at most. " if flat else ""
    )  # fmt: skip
    about = (
        f"{found['clients']} clients for {found['seconds']:,.0f} s, each asking again as soon as it is answered; "
        f"refused are 429 and 503. Other errors: {found['wrong']['count']}. {grew}Of {found['readings']:,} looks at "
        f"groups of items that are written whole, {found['readings_that_saw']:,} saw one, {found['torn']['count']} saw "
        f"what no one revision held, and of {found['exact']:,} that followed an acknowledged write "
        f"{found['stale']['count']} did not show it.\n"
    )
    troubles = [one for kind in ("wrong", "torn", "stale") for one in found[kind]["first"]]
    listed = "".join(f"\n- {one}" for one in troubles)
    header = ("request", "answered", "a second", "refused", "p50 ms", "p99 ms", "worst ms")
    values = {**found, "kinds": kinds, "memory": flat, "peak_mb": peak, "memory_mb": memory}
    return Part(values, f"{about}\n{markdown_table(header, rows)}{listed}", _line(memory, "seconds", "MiB"))


def measure_kills(soaking: Soaking) -> Part:
    """The service killed again and again; what it lost, and how long it took to be back."""
    killing = Killing(soaking.data, soaking.job.model)
    try:
        killed, lost = killing.run(soaking.kills, lambda line: soaking.job.say(f"kills: {line}")), ""
    except Lost as error:
        killed, lost = killing.told(), str(error)
    starts = sorted(killed.start_seconds)
    writes = ", ".join(f"{count:,} of {kind}" for kind, count in sorted(killed.acknowledged.items()))
    rows = [
        ["kills", f"{killed.kills:,}"],
        ["of those while it started", f"{killed.early:,}"],
        ["acknowledged writes", writes],
        ["writes under way when it died", f"{killed.doubtful:,}"],
        ["lost, or there twice", lost or "none"],
        ["items at the end", f"{killed.items:,}"],
        ["jobs at the end", ", ".join(f"{count} {state}" for state, count in sorted(killed.jobs.items()))],
        ["ready again after, median s", f"{starts[len(starts) // 2]:.2f}" if starts else ""],
        ["ready again after, at most s", f"{starts[-1]:.2f}" if starts else ""],
    ]
    values = asdict(killed) | {"lost": lost}
    places = list(enumerate(killed.start_seconds))
    return Part(values, markdown_table(("what", "value"), rows), _line(places, "start", "seconds until ready"))


def _line(points: Sequence[tuple[float, float]], x: str, y: str) -> Any:
    figure = empty_figure(7, 3)
    axes = figure.add_subplot()
    axes.plot([one for one, _ in points], [one for _, one in points])
    axes.set(xlabel=x, ylabel=y, ylim=(0, None))
    return figure


PARTS: Mapping[str, tuple[str, Callable[[Soaking], Part]]] = MappingProxyType(
    {
        "mixed": ("Readers and writers at full load", measure_mixed),
        "kills": ("Killed while it is written to", measure_kills),
    }
)
