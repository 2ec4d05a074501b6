"""Full shape: what ``dongil train --base`` costs at the size of a real base, from the first step to serving.

A base without weights, such as a config and a tokenizer alone, gets random ones: they cost what trained ones cost, and
say nothing of quality. The run is the user's own command on made titles, with few steps. Written as ``base.json`` and
``base.md``. It does not know how good the model is.
"""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import machine, machine_line, markdown_table, report_folder, write_figures
from benchmarks.job import Job
from benchmarks.rounds import Runs, take_turns
from benchmarks.titles import made_titles
from benchmarks.worker import Contender
from embedder.errors import InputError
from embedder.text import clean

_PRODUCTS = 300
_ENCODED = 512  # titles
_SETTINGS = "contrast_steps={0},arcface_steps={0},products_per_batch=32,validate_every=1000"
_RATE = re.compile(r"^(contrast|arcface) [\d,]+/[\d,]+: loss \S+ titles/s (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Trained:
    """What the command cost: seconds in all, peak memory in MiB, and titles a second of each stage."""

    seconds: float
    peak_mb: float
    titles_per_s: dict[str, float]


def prove_base(base: Path, report: Path, *, steps: int = 4, say: Callable[[str], None] | None = None) -> Path:
    """Train, export and serve at the full shape of a base, and write what it cost.

    Args:
        base: folder of a config and a tokenizer, and perhaps weights.
        report: folder to write into.
        steps: of each stage.
        say: called with a line of progress.

    Raises:
        InputError: the base cannot be used, the command failed, or the exported graph is not the model.
    """
    tell = say or (lambda _: None)
    folder = report_folder(report)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="dongil-base-") as name:
        work = Path(name)
        whole, drawn = _with_weights(base, work / base.resolve().name)
        tell(f"{'random' if drawn else 'its own'} weights")
        command = _command(whole, work, steps)
        trained = _run(command)
        tell(f"trained and packed in {trained.seconds:.0f} s")
        runs = _measured(whole, work, command[-1], tell)
    values = {
        "machine": about, "base": base.resolve().name, "random_weights": drawn, "steps": steps,
        "trained": asdict(trained), "runs": [asdict(run) for run in runs.values()],
    }  # fmt: skip
    write_figures(folder, "base", values=values, markdown=_told(values, trained, runs))
    return folder


def _with_weights(base: Path, folder: Path) -> tuple[Path, bool]:
    """The base, or a copy of it with random weights where it has none; and whether they are random."""
    if any(base.glob("*.safetensors")) or any(base.glob("*.bin")):
        return base, False
    transformers: Any = import_module("transformers")
    import_module("torch").manual_seed(0)
    try:
        model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(base))
    except (OSError, ValueError) as error:
        raise InputError(f"no config that transformers knows: {error}", file=str(base)) from error
    model.save_pretrained(folder)
    for path in base.iterdir():
        if path.is_file() and path.name != "config.json":
            shutil.copy(path, folder / path.name)
    return folder, True


def _command(base: Path, work: Path, steps: int) -> list[str]:
    """The user's command, on titles in two spellings each, written beside."""
    draw, rewrite = random.Random(0), import_module("training.augment").augment
    labelled = work / "labelled.csv"
    with labelled.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("title", "cluster_id"))
        for product, title in enumerate(made_titles(_PRODUCTS)):
            rows.writerows([(title, product), (rewrite(clean(title) or title, draw), product)])
    return [
        sys.executable, "-m", "api.cli", "train", str(labelled), "--base", str(base),
        "--work", str(work / "run"), "--config", _SETTINGS.format(steps), "-o", str(work / "model"),
    ]  # fmt: skip


def _run(command: list[str]) -> Trained:
    """Run a command in this environment and measure its process."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        started = time.monotonic()
        actions = [(os.POSIX_SPAWN_DUP2, told.fileno(), stream) for stream in (1, 2)]
        process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, used = os.wait4(process, 0)
        seconds = time.monotonic() - started
        told.seek(0)
        text = told.read()
    if status:
        raise InputError(f"dongil train failed: {text.strip().splitlines()[-1] if text.strip() else status}")
    peak = used.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    return Trained(seconds, peak, {stage: float(rate.replace(",", "")) for stage, rate in _RATE.findall(text)})


def _measured(base: Path, work: Path, model: str, tell: Callable[[str], None]) -> dict[str, Runs]:
    """Export once, then both precisions served in turns."""
    options = {"base": str(base), "work": str(work), "model": model}
    exported = take_turns(
        [Contender("export", "benchmarks.full_shape:export_again", options)], rounds=1, least_rounds=1, say=tell
    )
    if not exported["export"].ok:
        raise InputError(f"the export failed: {exported['export'].status}")
    job = Job(None, None, (_ENCODED,), work, tell)
    _, titles = job.write_titles(_ENCODED)
    served = [
        Contender(
            f"serve, {precision}", "benchmarks.timed:encode",
            {"model": str(work / precision), "titles": titles, "sample": str(work / f"{precision}.npy")},
        )
        for precision in ("float32", "int8")
    ]  # fmt: skip
    return exported | take_turns(served, rounds=2, say=tell)


def export_again(options: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Contender: the trained model's graphs, each as a bundle, and how close they come to it."""
    torch, export = import_module("torch"), import_module("training.export")
    train, recipe = import_module("training.train"), import_module("training.recipe")
    bundles, work = import_module("embedder.bundle"), Path(options["work"])
    config = import_module("training.settings").parse_config("", options["base"])

    def run() -> dict[str, Any]:
        model = train.new_model(config, 0)
        model.load_state_dict(torch.load(work / "run" / "best.pt", weights_only=True))
        made = bundles.load_bundle(options["model"])
        tokenizer = recipe.vocabulary_at(work / "none", [], config)
        titles = [clean(title) or title for title in made_titles(_ENCODED)]
        started, found = time.perf_counter(), {}
        graphs = dict(export.export(model, recipe.sample_batches(tokenizer, titles)))
        seconds = time.perf_counter() - started
        expected = import_module("training.model").encode(model, tokenizer, titles[:128])
        for precision, data in graphs.items():
            about = replace(made.config, precision=precision)
            bundle = bundles.write_bundle(
                work / precision, about, model=data, tokenizer=tokenizer.to_str(), decision={}, metrics={}, card=""
            )
            encoder = import_module("embedder.encoder").Encoder(bundle, device="cpu")
            cosines = (np.asarray(encoder.encode(titles[:128])) * expected).sum(axis=1)
            found[precision] = {"mb": len(data) / 2**20, "least_cosine": float(cosines.min())}
        return {"seconds": seconds, "graphs": found, "parameters": sum(p.numel() for p in model.parameters())}

    return run


def _told(values: dict[str, Any], trained: Trained, runs: dict[str, Runs]) -> str:
    exported = runs["export"].result
    rows = [
        ["dongil train, whole command", f"{trained.seconds:.0f} s", f"{trained.peak_mb:,.0f}"],
        *([f"training, {stage}", f"{rate:.1f} titles/s", ""] for stage, rate in trained.titles_per_s.items()),
        ["export, both precisions", f"{exported['seconds']:.0f} s", f"{runs['export'].peak_mb:,.0f}"],
    ]
    for precision, graph in exported["graphs"].items():
        run = runs[f"serve, {precision}"]
        rate = f"{_ENCODED / min(run.seconds):.1f} titles/s" if run.ok else run.status
        told = f"serving {precision}: {graph['mb']:,.0f} MiB, cosine {graph['least_cosine']:.5f} at least"
        rows.append([told, rate, f"{run.peak_mb:,.0f}"])
    weights = "random weights" if values["random_weights"] else "its own weights"
    about = (
        f"`{values['base']}`, {exported['parameters'] / 1e6:.1f}M parameters, {weights}; {values['steps']} steps a "
        "stage, 64 titles a step; the cosine is that of the served vector with the model's.\n"
    )
    table = markdown_table(("part", "figure", "peak MiB"), rows)
    return f"# A base at full shape\n\n{machine_line(values['machine'])}\n\n{about}\n{table}"
