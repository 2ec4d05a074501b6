"""Speed: what encoding, clustering, growth and serving cost, each beside a bare loop or a peer in the same minutes.

Four parts, each written when it is done as ``speed-<part>.json``, ``.md`` and ``.png``: encode (titles and tokens a
second), cluster (from vectors to clusters against one raw search), scale (seconds and memory as a catalogue grows)
and service (latency and throughput on the loopback). It does not know how good the results are.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.figures import empty_figure, machine, machine_line, markdown_table, report_folder, write_figures
from benchmarks.job import Job, Part, bars
from benchmarks.rounds import Runs, Spread, ratio, take_turns
from benchmarks.serving import measure_service
from benchmarks.titles import checked_sizes, file_titles, made_titles
from benchmarks.worker import Contender, interpreters
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from embedder.text import clean
from index.decision import Decision

SIZES = (10_000, 30_000, 100_000, 300_000)
_ENCODED = 6_000  # titles, at most
# Vectors at most, what is compared on them, and the function of ``benchmarks.timed`` that does it.
_CLUSTERED = ((100_000, "FAISS search alone", "search_bare"), (10_000, "community_detection", "communities"))
_AGREE = 0.99  # cosine from which another tool's vector is the same model's
_TORCH, _ONNX = "sentence-transformers, torch", "sentence-transformers, ONNX"
_PHASES = ("encode", "search", "blend", "judge", "cluster")
_DECIDING = ("titles", "evidence", "probability", "cluster", "choice")  # what deciding adds to search and blending


def run_speed(
    report: Path,
    *,
    model: Path | None = None,
    parts: Sequence[str] = (),
    titles: Path | None = None,
    sizes: Sequence[int] = (),
    say: Callable[[str], None] | None = None,
) -> Path:
    """Measure, and write each part into the report folder as soon as it is done.

    Args:
        report: folder to write into.
        model: bundle; the one that ships with dongil by default.
        parts: of ``PARTS``; all of them by default.
        titles: file of titles; made ones by default.
        sizes: of the scale part; the largest also bounds the other parts, so that small sizes make a quick run.
        say: called with a line of progress.

    Returns:
        The report folder.

    Raises:
        InputError: a part, a size, the titles, the model or the folder cannot be used, or the service did not start.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise InputError(f"no part {min(unknown)!r}; expected {', '.join(PARTS)}")
    fitting = checked_sizes(list(sizes or SIZES), titles)
    folder = report_folder(report)
    load_bundle(model)
    interpreters()
    with tempfile.TemporaryDirectory(prefix="dongil-speed-") as work:
        for name, (title, measure) in PARTS.items():
            if not parts or name in parts:

                def tell(line: str, name: str = name) -> None:
                    if say:
                        say(f"{name}: {line}")

                about = machine()
                part = measure(Job(model, titles, tuple(fitting), Path(work), tell))
                markdown = f"# {title}\n\n{machine_line(about)}\n\n{part.markdown}"
                values = {"machine": about, **part.values}
                write_figures(folder, f"speed-{name}", values=values, markdown=markdown, figure=part.figure)
    return folder


def measure_encode(job: Job) -> Part:
    """Titles and tokens a second of the encoder, of a bare loop on its model, and of sentence-transformers."""
    titles, path = job.write_titles(job.upto(_ENCODED))
    tokens = sum(len(ids) for ids in Encoder(load_bundle(job.model), device="cpu").tokenize(titles))
    bare, peer = "benchmarks.timed:encode_bare", "benchmarks.timed:encode_sentence_transformers"
    model, pip = {"model": job.model_name, "titles": path}, "sentence-transformers onnx"
    contenders = [
        Contender("dongil", "benchmarks.timed:encode", model, ("onnxruntime",)),
        Contender("onnxruntime, default options", bare, model | {"optimisation": "all"}, ("onnxruntime",)),
        Contender("onnxruntime, our optimisation", bare, model | {"optimisation": "basic"}, ("onnxruntime",)),
        Contender(_TORCH, peer, model | {"backend": "torch"}, ("sentence-transformers", "torch"), pip),
        Contender(_ONNX, peer, model | {"backend": "onnx"}, ("sentence-transformers",), f"{pip} optimum-onnx"),
    ]
    samples = {one.name: job.work / f"sample-{place}.npy" for place, one in enumerate(contenders)}
    contenders = [replace(one, options={**one.options, "sample": str(samples[one.name])}) for one in contenders]
    runs = take_turns(contenders, budget_s=120, say=job.say)
    agreement = {name: _agreement(samples["dongil"], samples[name]) for name in (_TORCH, _ONNX)}
    return _encode_part(runs, agreement, len(titles), tokens)


def _agreement(ours: Path, theirs: Path) -> float | None:
    """The least cosine between the same titles' vectors, over those that both tools can read; None without vectors."""
    if not (ours.exists() and theirs.exists()):
        return None
    a, b = np.load(ours), np.load(theirs)
    readable = a.any(axis=1)
    return float((a[readable] * b[readable]).sum(axis=1).min())


def _encode_part(runs: dict[str, Runs], agreement: dict[str, float | None], titles: int, tokens: int) -> Part:
    ours = _need(runs, "dongil")
    rows, values = [], []
    for name, run in runs.items():
        alike = agreement.get(name)
        if run.ok and alike is not None and alike < _AGREE:
            run.status = f"other vectors: a cosine of {alike:.3f} with ours; expected {_AGREE}"
        entry: dict[str, Any] = asdict(run) | {"least_cosine": alike}
        if run.ok:
            faster, seconds = ratio(run, ours), Spread.of(run.seconds)
            entry |= {
                "titles_per_s": titles / seconds.median, "tokens_per_s": tokens / seconds.median,
                "dongil_times_as_fast": asdict(faster),
            }  # fmt: skip
            rates = [f"{entry['titles_per_s']:,.0f}", f"{entry['tokens_per_s']:,.0f}"]
            compared = "" if run is ours else faster.told()
            rows.append([name, *rates, seconds.told(), compared, f"{run.peak_mb:,.0f}"])
        else:
            rows.append([name, run.status, "", "", "", ""])
        values.append(entry)
    header = ("contender", "titles/s", "tokens/s", "seconds", "dongil is times as fast", "peak MiB")
    about = (
        f"{titles:,} titles, {tokens:,} tokens, alternating runs; medians (least-most). dongil's time holds cleaning "
        "and tokenising; the bare loops' only the model, on ready-made length-sorted batches. sentence-transformers "
        "runs the same weights in float32, `encode(batch_size=32)`.\n"
    )
    figure = bars({one["name"]: one["titles_per_s"] for one in values if "titles_per_s" in one}, "titles/s")
    numbers = {"titles": titles, "tokens": tokens, "contenders": values}
    return Part(numbers, f"{about}\n{markdown_table(header, rows)}", figure)


def _need(runs: dict[str, Runs], name: str) -> Runs:
    """A contender without which a part says nothing."""
    if not runs[name].ok:
        raise InputError(f"{name} gave no figure to compare with: {runs[name].status}")
    return runs[name]


def measure_cluster(job: Job) -> Part:
    """From vectors to clusters against one raw FAISS search, and against ``community_detection`` where that ends."""
    bundle, rows = load_bundle(job.model), job.upto(_CLUSTERED[0][0])
    decision = Decision.of(bundle)
    given = file_titles(job.titles) if job.titles else made_titles(rows)
    # As the matcher does: titles of one cleaned text are searched once.
    titles = list({clean(title).casefold(): title for title in given}.values())[:rows]
    job.say(f"encoding {len(titles):,} titles")
    vectors, written = Encoder(bundle).encode(titles), job.work / "titles-distinct.json"
    written.write_text(json.dumps(titles, ensure_ascii=False), encoding="utf-8")
    compared: list[tuple[int, dict[str, Runs]]] = []
    for most, other, function in _CLUSTERED:
        count, path = min(most, len(vectors)), job.work / f"vectors-{most}.npy"
        np.save(path, vectors[:count])
        options = {"vectors": str(path), "titles": str(written), "model": job.model_name, "k": decision.blend.k}
        contenders = [
            Contender(name, f"benchmarks.timed:{does}", options, (), "sentence-transformers")
            for name, does in (("dongil", "cluster"), (other, function))
        ]
        compared.append((count, take_turns(contenders, rounds=3, budget_s=200, say=job.say)))
    kind = "titles of a file" if job.titles else "made titles"
    return _cluster_part(compared, kind, asdict(decision.blend))


def _cluster_part(compared: list[tuple[int, dict[str, Runs]]], kind: str, blend: dict[str, Any]) -> Part:
    rows, values = [], []
    for count, runs in compared:
        ours = _need(runs, "dongil")
        for name, run in runs.items():
            if run.ok:
                costs, seconds = ratio(ours, run), Spread.of(run.seconds)
                shown = "" if run is ours else costs.told()
                found = str(run.result.get("clusters", ""))
                rows.append([name, f"{count:,}", seconds.told(), shown, found, f"{run.peak_mb:,.0f}"])
                values.append(asdict(run) | {"rows": count, "dongil_costs_times": asdict(costs)})
            else:
                rows.append([name, f"{count:,}", run.status, "", "", ""])
                values.append(asdict(run) | {"rows": count})
    header = ("contender", "titles", "seconds", "dongil costs times", "clusters", "peak MiB")
    result = compared[0][1]["dongil"].result
    phases = result["phases"]
    deciding = Spread.of([sum(one[phase] for phase in _DECIDING) / one["search"] for one in phases])
    about = (
        f"{kind.capitalize()}, distinct ones; k={blend['k']}, {blend['stages']} blending stages; alternating runs; "
        "medians (least-most). dongil searches, blends, judges and clusters, and chooses each title's own matches.\n"
    )
    spent = {phase: Spread.of([one[phase] for one in phases]).told() for phase in phases[0]}
    parts = (
        f"dongil's seconds on {compared[0][0]:,} titles, {result['pairs']:,} candidate pairs. Deciding "
        f"({', '.join(_DECIDING)}) takes {deciding.told()} times as long as search.\n\n"
        f"{markdown_table(('phase', 'seconds'), list(spent.items()))}"
    )
    medians = {f"{one['name']}, {one['rows']:,}": Spread.of(one["seconds"]).median for one in values if one["seconds"]}
    numbers = {"kind": kind, "blend": blend, "contenders": values, "deciding_by_search": asdict(deciding)}
    return Part(numbers, f"{about}\n{markdown_table(header, rows)}\n{parts}", bars(medians, "seconds"))


def measure_scale(job: Job) -> Part:
    """Seconds of each phase and peak memory as a catalogue grows, and the exponent that fits them."""
    found: list[dict[str, Any]] = []
    for size in job.sizes:
        _, path = job.write_titles(size)
        contender = Contender(f"{size:,}", "benchmarks.timed:catalogue", {"model": job.model_name, "titles": path})
        run = take_turns([contender], rounds=1, limit_s=1800)[contender.name]
        found.append({"titles": size, "status": run.status})
        if run.ok:
            found[-1] |= {"seconds": run.seconds[0], "peak_mb": run.peak_mb, **run.result}
        job.say(f"{size:,} titles: {f'{run.seconds[0]:.1f} s' if run.ok else run.status}")
    done = [one for one in found if one["status"] == "ok"]
    exponents = {
        phase: exponent([one["titles"] for one in done], [one["phases"].get(phase, one["seconds"]) for one in done])
        for phase in (*_PHASES, "all")
    }
    header = ("titles", *(f"{phase} s" for phase in _PHASES), "all s", "search recall", "clusters", "peak MiB")
    rows = [
        [
            f"{one['titles']:,}", *(f"{one['phases'][phase]:.2f}" for phase in _PHASES), f"{one['seconds']:.2f}",
            f"{one['recall']:.3f}", f"{one['clusters']:,}", f"{one['peak_mb']:,.0f}",
        ] if one["status"] == "ok" else [f"{one['titles']:,}", one["status"], *[""] * (len(header) - 2)]
        for one in found
    ]  # fmt: skip
    fitted = [f"{value:.2f}" if value is not None else "" for value in exponents.values()]
    rows.append(["exponent", *fitted, "", "", ""])
    about = (
        "What `dongil cluster` does between reading and writing, in a process of its own for each size, once. The "
        "exponent is the slope of log seconds over log titles. "
        f"{'Titles of a file' if job.titles else 'Made titles'}.\n"
    )
    values = {"catalogues": found, "exponents": exponents}
    return Part(values, f"{about}\n{markdown_table(header, rows)}", _lines(done) if done else None)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """The slope of log seconds over log size by least squares; None from fewer than two sizes."""
    if len(set(sizes)) < 2 or min(seconds) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _lines(done: list[dict[str, Any]]) -> Any:
    figure = empty_figure(6, 4)
    axes = figure.add_subplot()
    sizes = [one["titles"] for one in done]
    for phase in _PHASES:
        axes.plot(sizes, [one["phases"][phase] for one in done], marker="o", label=phase)
    axes.plot(sizes, [one["seconds"] for one in done], marker="o", color="black", label="all")
    axes.set(xlabel="titles", ylabel="seconds", xscale="log", yscale="log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.legend()
    return figure


PARTS: Mapping[str, tuple[str, Callable[[Job], Part]]] = MappingProxyType(
    {
        "encode": ("Encoding", measure_encode),
        "cluster": ("Search, judge and cluster", measure_cluster),
        "scale": ("As a catalogue grows", measure_scale),
        "service": ("The service under load", measure_service),
    }
)
