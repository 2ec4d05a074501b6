"""Tuning: which settings of a run are best for these labels, found by many short runs.

Every trial trains the way ``dongil train`` does, on a share of its steps; trials read equally many titles, so that a
large batch means fewer steps. For each trained model the blends are tried besides, which is cheap. The winner is a
configuration of the whole run. It knows settings and scores; it does not know how trials are chosen or kept, nor how
a decision is learnt.
"""

from __future__ import annotations

import io
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial
from tokenizers import Tokenizer

from embedder.errors import InputError
from index.blending import BlendConfig
from index.vectors import Vectors
from training.backbone import SMALL
from training.blends import Catalogue, best_blend
from training.config import TrainConfig
from training.judging import judged_sets, mean_f1, quick_pool
from training.labels import Labelled, Products, gather_products
from training.model import TitleModel
from training.recipe import Fitted, Recipe, check_labels, read_sets, read_unlabelled, vocabulary_at
from training.settings import parse_config
from training.study import Limits, Studied, search
from training.train import Trainer, new_model

REPORTS = 6  # of the contrastive stage of a trial: what pruning goes by
_STEPS = ("mlm_steps", "contrast_steps", "arcface_steps")
_RATES = ("learning_rate", "arcface_learning_rate", "centre_learning_rate")
_OF_ARCFACE = ("arcface_learning_rate", "centre_learning_rate", "margin_end", "scale")
_Report = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Search:
    """What to look for, and how long.

    Attributes:
        storage: journal of the study; it is gone on with when it is there.
        base: as of ``dongil train``.
        fixed: settings that are not to be tuned, with their values as text.
        steps: share of a whole run's steps that a trial takes.
        seed: of the choices, and of every trial's run unless that is fixed.
        limits: when to end.
    """

    storage: Path
    base: str = SMALL
    fixed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    steps: float = 0.1
    seed: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 < self.steps <= 1:
            raise InputError(f"steps is {self.steps:g}; expected a share over 0, 1 at most")

    def start(self) -> TrainConfig:
        """The configuration of the first trial, as a whole run would have it."""
        given = {"seed": str(self.seed), **self.fixed}
        return parse_config(",".join(f"{name}={value}" for name, value in given.items()), self.base)


@dataclass(frozen=True)
class Tried:
    """A trial that came to its end.

    Attributes:
        number: of the trial.
        score: weighted mean row-F1 on validation rows, blended, at ``threshold``.
        plain: the same without blending.
        threshold: the cosine from which pairs are accepted.
        settings: those that were tuned.
        blend: the best one.
        seconds: that it took.
    """

    number: int
    score: float
    plain: float
    threshold: float
    settings: dict[str, Any]
    blend: BlendConfig
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """What a search has found.

    Attributes:
        config: of the whole run, with the settings of the best trial.
        trials: those that came to their end, best first.
        pruned: how many did not.
        importance: see ``Studied``.
    """

    config: TrainConfig
    trials: tuple[Tried, ...]
    pruned: int
    importance: dict[str, float]

    @property
    def best(self) -> Tried:
        """The winner."""
        return self.trials[0]


def tune(
    recipe: Recipe, search_for: Search, report: _Report = lambda *_: None, say: Callable[[str], None] = lambda _: None
) -> Tuned:
    """Search for the best settings of a run on a recipe's labels. The same call goes on with an interrupted search.

    Args:
        recipe: its files, columns and weights are read.
        search_for: what and how long.
        report: is told how the trials' runs go, as by ``Trainer``.
        say: is told of each trial in a sentence.

    Raises:
        InputError: a file or the base cannot be used, the storage is another study's, or no trial came to its end.
    """
    start, sets = search_for.start(), read_sets(recipe)
    judged, products = judged_sets(sets), gather_products(sets, read_unlabelled(recipe))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        new_model(start, vocabulary_at(work / "tokenizer.json", products.titles, start).get_vocab_size())
        choices = space(start, search_for.fixed)
        if not choices:
            raise InputError("every setting is fixed; expected one at least to tune")
        of = {
            "labels": check_labels(work, products)[:16], "start": asdict(start), "fixed": sorted(search_for.fixed),
            "steps": search_for.steps, "seed": search_for.seed, "weights": dict(recipe.weights),
        }  # fmt: skip
        bench = _Bench(recipe, judged, products, search_for, work, report)
        found = search(
            search_for.storage, of, choices, {name: getattr(start, name) for name in choices}, bench.attempt,
            search_for.limits, seed=search_for.seed, say=say,
        )  # fmt: skip
    return _tuned(found, search_for)


def space(start: TrainConfig, fixed: Mapping[str, str] = MappingProxyType({})) -> dict[str, BaseDistribution]:
    """What each setting that is not fixed may be; the start is within it."""
    batch = start.products_per_batch
    shorter = (start.hidden // 4, start.hidden // 2) if start.base == SMALL else (128, 256, 512)
    choices: dict[str, BaseDistribution] = {
        "products_per_batch": IntDistribution(max(2, batch // 4), max(2, batch * 2), log=True),
        "dimension": CategoricalDistribution(sorted({0, start.dimension, *shorter})),
        "pooling": CategoricalDistribution(("mean", "cls")),
        "temperature": FloatDistribution(min(0.02, start.temperature), max(0.2, start.temperature), log=True),
        "scale": FloatDistribution(min(10.0, start.scale), max(64.0, start.scale), log=True),
        "margin_end": FloatDistribution(min(12.0, start.margin_end), max(52.0, start.margin_end)),
    }
    for name in _RATES:
        rate = getattr(start, name)
        choices[name] = FloatDistribution(rate / 5, rate * 5, log=True)
    unused = set(fixed) | (set() if start.arcface_steps else set(_OF_ARCFACE))
    return {name: choice for name, choice in choices.items() if name not in unused}


def whole_run(start: TrainConfig, params: Mapping[str, Any], fixed: Mapping[str, str]) -> TrainConfig:
    """A whole run with a trial's settings: as many titles as at the start, numbers as short as people write them."""
    tidy: dict[str, Any] = {
        name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in params.items()
    }
    config = replace(start, **tidy)
    stretch = start.products_per_batch / config.products_per_batch
    return replace(config, **{n: math.ceil(getattr(start, n) * stretch) for n in _STEPS if n not in fixed})


def short_run(config: TrainConfig, share: float) -> TrainConfig:
    """A share of a run's steps, judged ``REPORTS`` times in its first stage."""
    steps: dict[str, Any] = {name: math.ceil(getattr(config, name) * share) for name in _STEPS}
    return replace(config, **steps, validate_every=max(1, math.ceil(steps["contrast_steps"] / REPORTS)))


@dataclass
class _Bench:
    """What every trial of a search is made with."""

    recipe: Recipe
    judged: Sequence[Labelled]
    products: Products
    search: Search
    work: Path
    report: _Report

    def attempt(self, trial: Trial) -> float:
        """Train by a trial's settings, and score the best model of the run."""
        begun = time.monotonic()
        whole = whole_run(self.search.start(), trial.params, self.search.fixed)
        config, reported = short_run(whole, self.search.steps), 0

        def validate(model: TitleModel, tokenizer: Tokenizer) -> dict[str, float]:
            nonlocal reported
            score, reported = mean_f1(self.recipe, self.judged, self._encoder(model, tokenizer)), reported + 1
            trial.report(score, reported)
            if trial.should_prune():
                raise optuna.TrialPruned
            return {"score": score}

        def within(stage: str, step: int, steps: int, values: dict[str, float]) -> None:
            self.report(f"trial {trial.number}, {stage}", step, steps, values)

        tokenizer = vocabulary_at(self.work / "tokenizer.json", self.products.titles, config)
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            try:
                model, _ = Trainer(config, self.products, tokenizer, Path(folder), validate, within).run()
            except torch.OutOfMemoryError as error:
                raise InputError(f"{config.products_per_batch} products a batch do not fit in memory") from error
        found = best_blend([self._catalogue(s, self._encoder(model, tokenizer)) for s in self.judged])
        told = {
            "settings": {name: getattr(whole, name) for name in trial.params}, "blend": asdict(found.blend),
            "threshold": found.threshold, "plain": found.plain, "seconds": time.monotonic() - begun,
        }  # fmt: skip
        for name, value in told.items():
            trial.set_user_attr(name, value)
        return found.f1

    def _encoder(self, model: TitleModel, tokenizer: Tokenizer) -> Callable[[list[str]], Vectors]:
        return Fitted(model, tokenizer, [], list(self.judged), []).encode

    def _catalogue(self, labelled: Labelled, encode: Callable[[list[str]], Vectors]) -> Catalogue:
        titles, labels, rows = quick_pool(labelled)
        return Catalogue(encode(titles), labels, rows, self.recipe.weights.get(labelled.name, 1.0))


def _tuned(found: Studied, search_for: Search) -> Tuned:
    config = whole_run(search_for.start(), found.best[0].params, search_for.fixed)
    return Tuned(config, tuple(_tried(trial) for trial in found.best), found.pruned, found.importance)


def _tried(trial: FrozenTrial) -> Tried:
    told = trial.user_attrs
    return Tried(
        trial.number, trial.value or 0.0, told["plain"], told["threshold"], dict(told["settings"]),
        BlendConfig(**told["blend"]), told["seconds"],
    )  # fmt: skip


def about(tuned: Tuned, search_for: Search) -> str:
    """Where a winner comes from, in a sentence for its file."""
    best, number = tuned.best, len(tuned.trials)
    return (
        f"Trial {best.number} of {number + tuned.pruned} ({tuned.pruned} of them stopped early), each "
        f"{search_for.steps:g} of a whole run, seed {search_for.seed}: validation row-F1 {best.score:.4f} "
        f"({best.plain:.4f} without blending) from a cosine of {best.threshold:.2f} on"
    )


def importance_plot(importance: Mapping[str, float]) -> bytes:
    """Importance of each setting as PNG, greatest above."""
    from matplotlib.figure import Figure

    names = list(importance)[::-1]
    figure = Figure(figsize=(7, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(np.arange(len(names)), [importance[name] for name in names], color="#1f5fbf")
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_xlim(0, max(importance.values()) * 1.12)
    axes.set_xlabel("share in the differences of validation row-F1 (fANOVA)")
    axes.grid(alpha=0.25, axis="x")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()
