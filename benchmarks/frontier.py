"""The frontier: models of several sizes, how well each tells products apart against how fast it encodes.

Quality is row-F1 on the test products of known sets: by the plain cosine at the threshold that the set's validation
products choose, which judges the encoder alone, and as the model ships. Speed is of all models in turns. A model is on
the frontier when no other is both better and faster. It does not know how the models were made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.datasets import load_set
from benchmarks.figures import empty_figure, machine, machine_line, markdown_table, report_folder, write_figures
from benchmarks.job import Job
from benchmarks.measures import Side, chosen, sides_of
from benchmarks.pools import CachedEncoder
from benchmarks.recall import scenes
from benchmarks.rounds import Runs, Spread, take_turns
from benchmarks.worker import Contender
from embedder.bundle import Bundle, load_bundle
from embedder.errors import InputError
from index.decision import Decision

SETS = ("korea_cvs", "naver_model_code", "shopee", "abt-buy")
_TITLES = 6_000  # encoded in each turn


@dataclass(frozen=True)
class Model:
    """One model's place.

    Attributes:
        name: of its folder.
        architecture: in words.
        megabytes: of all its files, in 10^6 bytes.
        titles_per_s: encoded, median over the turns.
        cosine: test row-F1 of each set by the plain cosine, at the threshold that validation products choose.
        shipped: the same as the model decides.
        leads: whether no other model is faster and, by the mean of ``cosine``, better.
    """

    name: str
    architecture: str
    megabytes: float
    titles_per_s: Spread
    cosine: dict[str, float]
    shipped: dict[str, float]
    leads: bool = True


def measure_frontier(
    data: Path,
    models: Sequence[Path],
    report: Path,
    *,
    sets: Sequence[str] = SETS,
    cache: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Measure models, and write ``frontier.json``, ``frontier.md`` and ``frontier.png``.

    Args:
        data: folder of the known sets.
        models: bundles, at least two, in folders of different names.
        report: folder to write into.
        sets: to judge by; the models must have been trained with the same held-out products.
        cache: folder of vectors; None keeps none.
        say: called with a line of progress.

    Raises:
        InputError: fewer than two models, two of one name, a bundle or a set that cannot be used.
    """
    tell = say or (lambda _: None)
    bundles = {model.resolve().name: load_bundle(model) for model in models}
    if len(bundles) < max(2, len(models)):
        raise InputError(f"{len(models)} models in {len(bundles)} folders of other names; expected two models or more")
    folder, about = report_folder(report), machine()
    runs = _encoded(bundles, tell)
    scores = {name: _judged(name, bundle, data, sets, cache, tell) for name, bundle in bundles.items()}
    found = placed([_model(name, bundle, runs[name], *scores[name]) for name, bundle in bundles.items()])
    values: dict[str, Any] = {"machine": about, "models": [asdict(model) for model in found]}
    write_figures(folder, "frontier", values=values, markdown=_told(found, about), figure=_drawn(found))
    return folder


def placed(models: Sequence[Model]) -> list[Model]:
    """The models, fastest first, each told whether it leads."""
    ordered, best, told = sorted(models, key=lambda one: -one.titles_per_s.median), -1.0, []
    for model in ordered:
        score = mean(model.cosine.values())
        told.append(Model(**(vars(model) | {"leads": score > best})))
        best = max(best, score)
    return told


def _encoded(bundles: dict[str, Bundle], tell: Callable[[str], None]) -> dict[str, Runs]:
    """All models in turns on the same titles."""
    with tempfile.TemporaryDirectory(prefix="dongil-frontier-") as work:
        job = Job(None, None, (_TITLES,), Path(work), tell)
        _, titles = job.write_titles(_TITLES)
        contenders = [
            Contender(
                name, "benchmarks.timed:encode",
                {"model": str(bundle.folder), "titles": titles, "sample": str(job.work / f"{place}.npy")},
                ("onnxruntime",),
            )
            for place, (name, bundle) in enumerate(bundles.items())
        ]  # fmt: skip
        runs = take_turns(contenders, budget_s=60.0 * len(contenders), say=tell)
    if failed := next((run for run in runs.values() if not run.ok), None):
        raise InputError(f"{failed.name} could not encode: {failed.status}")
    return runs


def _judged(
    name: str, bundle: Bundle, data: Path, sets: Sequence[str], cache: Path | None, tell: Callable[[str], None]
) -> tuple[dict[str, float], dict[str, float]]:
    """Test row-F1 of each set by cosine and as shipped."""
    encoder, cosine, shipped = CachedEncoder(bundle, cache), dict[str, float](), dict[str, float]()
    decision = Decision.of(bundle, threads=encoder.threads)
    for one in sets:
        tell(f"{name}: {one}")
        known = load_set(one, data)
        encoder.warm(known.titles)
        pool = scenes(known, encoder, decision, "all")["test"]
        plain = {side: Side(pool.judge(side, pool.searched)) for side in pool.judged}
        threshold = chosen(plain["validation"].row_curve)
        cosine[one] = float(plain["test"].rows(threshold).f1.mean())
        shipped[one] = float(sides_of(pool)["test"].rows(None).f1.mean())
    return cosine, shipped


def _model(name: str, bundle: Bundle, runs: Runs, cosine: dict[str, float], shipped: dict[str, float]) -> Model:
    size = sum(path.stat().st_size for path in bundle.folder.iterdir() if path.is_file()) / 1e6
    rates = Spread.of([_TITLES / seconds for seconds in runs.seconds])
    return Model(name, bundle.config.architecture, size, rates, cosine, shipped)


def _told(models: Sequence[Model], about: dict[str, Any]) -> str:
    sets = list(models[0].cosine)
    header = ("model", "MB", "titles/s", "mean by cosine", "mean as shipped", *sets)
    rows = [
        [
            f"{model.name}{'' if model.leads else ' (behind)'}", f"{model.megabytes:.1f}",
            model.titles_per_s.told(",.0f"), f"{mean(model.cosine.values()):.3f}",
            f"{mean(model.shipped.values()):.3f}",
            *(f"{model.cosine[one]:.3f} / {model.shipped[one]:.3f}" for one in sets),
        ]
        for model in models
    ]  # fmt: skip
    words = (
        "Row-F1 of test products, by plain cosine / as shipped; titles a second are of all models in turns. A model "
        "that is behind is neither faster nor, by cosine, better than another.\n"
    )
    architectures = "".join(f"- {model.name}: {model.architecture}\n" for model in models)
    return f"# Frontier\n\n{machine_line(about)}\n\n{words}\n{markdown_table(header, rows)}\n{architectures}"


def _drawn(models: Sequence[Model]) -> Any:
    figure = empty_figure(7, 4.5)
    axes = figure.add_subplot()
    for label, scores, marker in (("by cosine", "cosine", "o"), ("as shipped", "shipped", "s")):
        x, y = [one.titles_per_s.median for one in models], [mean(getattr(one, scores).values()) for one in models]
        axes.plot(x, y, marker, label=label, markersize=7)
        for model, at, height in zip(models, x, y, strict=True):
            axes.annotate(model.name, (at, height), textcoords="offset points", xytext=(6, 5), fontsize=8)
    lead = [one for one in models if one.leads]
    axes.plot(
        [one.titles_per_s.median for one in lead], [mean(one.cosine.values()) for one in lead], "-", alpha=0.4, zorder=0
    )
    axes.set_xscale("log")
    axes.set_xlabel("titles encoded a second")
    axes.set_ylabel("row-F1 of test products, mean of sets")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
