"""Losses compared: one small model after one contrastive pass, then each loss for as many steps from that same model.

What is judged is the encoder alone: the best row-F1 of validation products over all thresholds, by plain cosine. Every
loss sees the same start, the same steps and the same seeds, so that what differs is the loss. Finished runs are kept in
``results.json`` as they end, and an interrupted comparison goes on behind them. It does not know which settings suit a
loss best, nor how losses compare in a larger model or a longer run; test products are never looked at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer

from benchmarks.datasets import load_set
from benchmarks.figures import machine, machine_line, markdown_table, report_folder, write_figures, write_file
from benchmarks.labelled import LabelledSet
from benchmarks.plots import losses_plot
from embedder.errors import InputError
from training.config import TrainConfig
from training.judging import judged_sets, validation_f1
from training.labels import Labelled, Products, gather_products
from training.model import TitleModel
from training.recipe import Fitted, vocabulary_at
from training.settings import parse_config
from training.train import Trainer, branch_off

SETS = ("korea_cvs", "naver_model_code", "shopee")
SEEDS = (0, 1)
SETTINGS = (
    "hidden=128,layers=2,heads=4,intermediate=512,vocabulary=12000,products_per_batch=96,validate_every=500,"
    "unlabelled_share=0"
)
"""Of a model that learns in minutes on a processor; as ``dongil train --config`` takes them."""

REFERENCE = "supcon"  # the contrast goes on: what another loss must better to be worth its while
START = "start"  # the model that every loss begins with
SCORE = "score"  # mean over the sets
VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    REFERENCE: {"loss": "supcon"},
    "arcface alone": {"loss": "arcface", "contrast_weight": 0.0},
    "arcface + contrast": {"loss": "arcface"},
    "subcenter + contrast": {"loss": "subcenter"},
    "cosface + contrast": {"loss": "cosface"},
    "adaptive + contrast": {"loss": "adaptive"},
    "multisimilarity": {"loss": "multisimilarity"},
    "cached-ranking": {"loss": "cached-ranking"},
    "arcface + multisimilarity": {"loss": "arcface+multisimilarity"},
    "arcface + contrast, mined": {"loss": "arcface", "mine_every": 250},
    "supcon, mined": {"loss": "supcon", "mine_every": 250},
})  # fmt: skip
"""What is compared: the settings in which the second stage of each differs from ``SETTINGS``."""

_OWN = MappingProxyType({
    "loss": "--loss", "seed": "--seed", "contrast_steps": "--contrast-steps", "arcface_steps": "--steps",
})  # fmt: skip

Results = dict[int, dict[str, dict[str, float]]]
"""Seed -> ``START`` or a name of ``VARIANTS`` -> set, or ``SCORE`` for the mean of the sets -> row-F1."""


@dataclass(frozen=True)
class Over:
    """Figures of several seeds, in the order of the seeds, with their mean, the least and the most."""

    values: tuple[float, ...]
    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Over:
        """Of at least one figure."""
        return cls(tuple(round(value, 6) for value in values), mean(values), min(values), max(values))

    def told(self, sign: str = "") -> str:
        """Such as "0.802 (0.798 to 0.806)"; of one seed the figure alone."""
        spread = f" ({self.least:{sign}.3f} to {self.most:{sign}.3f})" if len(self.values) > 1 else ""
        return f"{self.mean:{sign}.3f}{spread}"


@dataclass(frozen=True)
class Compared:
    """One loss.

    Attributes:
        name: one of ``VARIANTS``, or ``START``.
        seeds: of its runs.
        scores: row-F1 of each set and ``SCORE``.
        gains: the same less those of ``REFERENCE``, each with the same seed; empty where no seed has both.
    """

    name: str
    seeds: tuple[int, ...]
    scores: dict[str, Over]
    gains: dict[str, Over]


def measure_losses(
    data: Path,
    report: Path,
    *,
    sets: Sequence[str] = SETS,
    losses: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = SEEDS,
    contrast_steps: int = 500,
    steps: int = 500,
    settings: str = "",
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train and judge each loss, and write ``losses.json``, ``losses.md`` and ``losses.png``.

    Runs that ``results.json`` in the folder already holds are not run again, and stand in the report whatever is asked
    for. A run that cannot be finished is told of, there too, and the others go on.

    Args:
        data: folder of the known sets.
        report: folder to write into; ``work`` in it keeps checkpoints.
        sets: to train on and judge by.
        losses: names of ``VARIANTS``; ``REFERENCE`` is always run.
        seeds: of models; at least one.
        contrast_steps: of the contrastive pass that all losses begin behind.
        steps: of the pass that is compared.
        settings: that differ from ``SETTINGS``, written alike.
        say: called with a line of progress.

    Raises:
        InputError: no such loss, set or setting, no seed, no step, a set that cannot be used, no run that came to its
            end, or a folder that holds results of something else.
    """
    tell = say or (lambda _: None)
    names, config = _variants(losses), _config(settings, contrast_steps, steps)
    if not seeds or not sets:
        raise InputError(f"{len(seeds)} seeds and {len(sets)} sets; expected at least one of each")
    known = [load_set(name, data) for name in dict.fromkeys(sets)]
    labelled = [_labelled(one) for one in known]
    judged, products, of = judged_sets(labelled), gather_products(labelled), _about(known, config)
    folder, about = report_folder(report), machine()
    results = read_results(folder / "results.json", of, [one.name for one in judged])
    write_results(folder / "results.json", of, results)
    tokenizer = vocabulary_at(folder / "work" / "tokenizer.json", products.titles, config)
    course = _Course(judged, products, tokenizer, config, folder / "work", tell)
    failed = course.run(seeds, names, results, lambda: write_results(folder / "results.json", of, results))
    if not (found := compared(results)):
        raise InputError(f"no run came to its end; the last was stopped by: {failed[-1]}", file=str(folder))
    values = {
        "machine": about, "of": of, "variants": {name: dict(changes) for name, changes in VARIANTS.items()},
        "losses": [asdict(one) for one in found], "failed": failed,
    }  # fmt: skip
    write_figures(folder, "losses", values=values, markdown=_told(found, config, about, failed))
    if plot := _drawn(found):
        write_file(folder / "losses.png", plot)
    return folder


def compared(results: Results) -> list[Compared]:
    """Each loss over its seeds: the one that gains most first, those that no gain is known of last."""
    found = []
    for name in dict.fromkeys(name for of in results.values() for name in of):
        runs = {seed: of[name] for seed, of in sorted(results.items()) if name in of}
        pairs = [(own, results[seed][REFERENCE]) for seed, own in runs.items() if REFERENCE in results[seed]]
        sets = list(next(iter(runs.values())))
        scores = {one: Over.of([own[one] for own in runs.values()]) for one in sets}
        gains = {one: Over.of([own[one] - other[one] for own, other in pairs]) for one in sets if pairs}
        found.append(Compared(name, tuple(runs), scores, gains))
    return sorted(found, key=lambda one: -one.gains[SCORE].mean if one.gains else float("inf"))


def read_results(path: Path, of: Mapping[str, Any], sets: Sequence[str]) -> Results:
    """The runs that a comparison has finished; none where there is no file.

    Args:
        path: as ``write_results`` wrote it.
        of: what the runs must have been made of.
        sets: that every run must have been judged by.

    Raises:
        InputError: no such file's content, runs of other sets or settings, or a run without one of the sets.
    """
    if not path.exists():
        return {}
    usual = {name: value for name, value in asdict(TrainConfig()).items() if name in of}  # of settings that came later
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        was, kept = usual | value["of"], value["results"]
        results = {
            int(seed): {name: {one: float(f1) for one, f1 in run.items()} for name, run in runs.items()}
            for seed, runs in kept.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"no results of compared losses ({error}); expected another folder", file=str(path)) from error
    if other := sorted(name for name in {*was, *of} if was.get(name) != of.get(name)):
        told = "; ".join(f"{name} was {was.get(name)!r}, is {of.get(name)!r}" for name in other)
        raise InputError(f"results of something else ({told}); expected the same, or another folder", file=str(path))
    for seed, runs in results.items():
        for name, run in runs.items():
            if set(run) != {*sets, SCORE}:
                message = f"seed {seed}, {name} is judged by {', '.join(run)}; expected {', '.join(sets)} and {SCORE}"
                raise InputError(message, file=str(path))
    return results


def write_results(path: Path, of: Mapping[str, Any], results: Results) -> None:
    """Write finished runs, whole or not at all: ``{"of": ..., "results": {seed: {loss: {set: row-F1}}}}``."""
    value = {"of": of, "results": {str(seed): runs for seed, runs in results.items()}}
    write_file(path, (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode())


def _variants(names: Sequence[str]) -> list[str]:
    """What to run, in the order of ``VARIANTS``."""
    if unknown := next((name for name in names if name not in VARIANTS), None):
        raise InputError(f"no loss {unknown!r} to compare; expected one of: {'; '.join(VARIANTS)}")
    return [name for name in VARIANTS if name in names or name == REFERENCE]


def _config(text: str, contrast_steps: int, steps: int) -> TrainConfig:
    """The settings of the contrastive pass, which every loss changes in its own way."""
    if own := next((name for part in text.split(",") if (name := part.partition("=")[0]) in _OWN), None):
        raise InputError(f"setting {own} is what is compared, or alike for all; expected {_OWN[own]} instead")
    for what, number in (("contrastive", contrast_steps), ("compared", steps)):
        if number < 1:
            raise InputError(f"{number} steps of the {what} pass; expected at least 1")
    return replace(parse_config(f"{SETTINGS},{text}"), contrast_steps=contrast_steps, arcface_steps=steps)


def _labelled(known: LabelledSet) -> Labelled:
    """A known set as training has it, with the same products held out."""
    return Labelled(known.name, known.titles, known.groups, known.sides.tolist())


def _about(known: Sequence[LabelledSet], config: TrainConfig) -> dict[str, Any]:
    """What results hang on, as JSON gives it back: the sets in their order, and the settings that all runs share."""
    shared = {name: value for name, value in asdict(config).items() if name not in ("loss", "seed")}
    return {"sets": [[one.name, one.digest()] for one in known]} | shared


@dataclass(frozen=True)
class _Course:
    """What all runs share; a run that stopped is taken up from its last checkpoint in ``work``."""

    judged: list[Labelled]
    products: Products
    tokenizer: Tokenizer
    config: TrainConfig
    work: Path
    tell: Callable[[str], None]

    def run(self, seeds: Sequence[int], names: Sequence[str], results: Results, keep: Callable[[], None]) -> list[str]:
        """Add the runs that ``results`` lacks, and ``keep`` them after each; returns which failed, and why."""
        failed: list[str] = []
        for seed in dict.fromkeys(seeds):
            kept = results.setdefault(seed, {})
            for name in [one for one in (START, *names) if one not in kept]:
                try:
                    kept[name] = self.start(seed) if name == START else self.branch(seed, name)
                except InputError as error:
                    failed.append(f"seed {seed}, {name}: {error}")
                    self.tell(failed[-1])
                    if name == START:
                        break  # there is nothing to go on from
                else:
                    keep()
                    self.tell(f"seed {seed}, {name}: " + ", ".join(f"{one} {f1:.4f}" for one, f1 in kept[name].items()))
                    self.forget(seed, name)
        return failed

    def start(self, seed: int) -> dict[str, float]:
        """The contrastive pass of a seed; row-F1 of its best model, which every loss begins with."""
        return max(self._first(seed), key=lambda one: one[SCORE])

    def branch(self, seed: int, name: str) -> dict[str, float]:
        """A loss from the start of its seed; row-F1 after its last step."""
        folder, config = self._folder(seed, name), replace(self.config, seed=seed, **VARIANTS[name])
        if not (folder / "checkpoint.pt").exists():
            first = self._folder(seed, START)
            if not (first / "checkpoint.pt").exists():
                self._first(seed)
            branch_off(first, folder, config)
        return self._run(f"seed {seed}, {name}", config, folder)[-1]

    def forget(self, seed: int, name: str) -> None:
        """Delete the checkpoints of a run whose result is kept; the start's stay for other losses."""
        if name != START:
            shutil.rmtree(self._folder(seed, name), ignore_errors=True)

    def _folder(self, seed: int, name: str) -> Path:
        return self.work / f"{name.replace(' ', '_')}-{seed}"

    def _first(self, seed: int) -> list[dict[str, float]]:
        config = replace(self.config, seed=seed, arcface_steps=0)
        return self._run(f"seed {seed}, {START}", config, self._folder(seed, START))

    def _run(self, name: str, config: TrainConfig, folder: Path) -> list[dict[str, float]]:
        """Train; returns what each validation said."""

        def validate(model: TitleModel, tokenizer: Tokenizer) -> dict[str, float]:
            now = Fitted(model, tokenizer, [], self.judged, self.products.titles)
            scores = {one.name: validation_f1(one, now.encode) for one in self.judged}
            return scores | {SCORE: mean(scores.values())}

        def report(_: str, step: int, steps: int, values: dict[str, float]) -> None:
            if SCORE not in values:
                told = ", ".join(f"{what} {value:.4g}" for what, value in values.items())
                self.tell(f"{name}, {step:,}/{steps:,}: {told}")

        history = Trainer(config, self.products, self.tokenizer, folder, validate, report).run()[1]
        sets = [*(one.name for one in self.judged), SCORE]
        return [{one: values[one] for one in sets} for values in history]


def _columns(found: Sequence[Compared]) -> dict[str, str]:
    """What is scored, the mean of the sets first, and what it is called."""
    return {SCORE: "mean of sets"} | {name: name for name in found[0].scores if name != SCORE}


def _told(found: Sequence[Compared], config: TrainConfig, about: dict[str, Any], failed: Sequence[str]) -> str:
    columns = _columns(found)
    header = ("loss", "seeds", *columns.values())
    scores, gains = list[list[str]](), list[list[str]]()
    for one in found:
        head = [one.name, ", ".join(map(str, one.seeds))]
        scores.append([*head, *(one.scores[name].told() for name in columns)])
        if one.gains and one.name != REFERENCE:
            gains.append([*head, *(one.gains[name].told("+") for name in columns)])
    words = (
        f"A model of {config.layers} layers, hidden {config.hidden}, learnt by the contrast for "
        f"{config.contrast_steps:,} steps ({START}), and then from there by each loss for {config.arcface_steps:,}. "
        "Best row-F1 of validation products over all thresholds, by plain cosine: mean over the seeds, and the least "
        "to the most.\n"
    )
    parts = [f"# Losses\n\n{machine_line(about)}\n\n{words}\n{markdown_table(header, scores)}"]
    if gains:
        parts.append(f"Gain over {REFERENCE} of the same seed:\n\n{markdown_table(header, gains)}")
    if failed:
        parts.append("Not finished:\n\n" + "".join(f"- {line}\n" for line in failed))
    return "\n".join(parts)


def _drawn(found: Sequence[Compared]) -> bytes | None:
    """The gains of all but the reference and the start, as PNG; None where there are none."""
    gains = {
        one.name: {name: one.gains[score].values for score, name in _columns(found).items()}
        for one in found
        if one.gains and one.name not in (START, REFERENCE)
    }
    return losses_plot(gains, f"gain in row-F1 over {REFERENCE} of the same seed") if gains else None
