"""A rehearsal: a few real steps of a run, from which its time and memory are told before hours are spent.

The steps are those of the configured model on the real titles and the real number of classes. Nothing is kept: no
checkpoint, no judged model. It does not know how fast the machine will be tomorrow, nor what else runs on it then.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from training.labels import Products
from training.model import TitleModel, encode
from training.train import TrainConfig, Trainer

STEPS = 3  # timed steps of a stage, after one that warms up
_ENCODED = 256  # titles by which encoding is timed


@dataclass(frozen=True)
class Cost:
    """What a run takes. Times in seconds, sizes in bytes; a stage that the run does not have takes 0.

    Attributes:
        parameters, classes: how many numbers the model has, and how many products get a centre.
        steps: stage -> how many.
        step_time: stage -> the median of ``STEPS`` steps.
        titles_per_second: encoded without gradients.
        weights, optimizer, centres: the model; its gradients and two moments; the same four for the class centres.
        peak: most memory that this process has held, after the steps; None where the system does not tell.
        gpu_peak: most memory on the GPU; None without one.
    """

    parameters: int
    classes: int
    steps: Mapping[str, int]
    step_time: Mapping[str, float]
    titles_per_second: float
    weights: int
    optimizer: int
    centres: int
    peak: int | None
    gpu_peak: int | None

    @property
    def training(self) -> float:
        """Seconds of all steps."""
        return sum(self.steps[stage] * seconds for stage, seconds in self.step_time.items())

    def encoding(self, titles: int) -> float:
        """Seconds to encode so many titles."""
        return titles / self.titles_per_second


class _Rehearsal(Trainer):
    """The first steps of a run, timed, in a folder that is thrown away."""

    def run(self) -> tuple[TitleModel, list[dict[str, Any]]]:
        self.spans: dict[str, list[float]] = {}
        self.classes = 0
        self.since = time.monotonic()
        return super().run()

    def _checkpoint(self, stage: str, step: int, *_: Any) -> None:
        self.spans.setdefault(stage, []).append(time.monotonic() - self.since)
        if stage == "contrast" and step == self.config.contrast_steps:
            torch.save(self.model.state_dict(), self.folder / "best.pt")  # the next stage starts from it
        self.since = time.monotonic()

    def _centres(self, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Drawn, not the means of all titles: those would take longer than the steps and cost the same to learn."""
        self.classes = len(classes)
        drawn = np.random.default_rng(0).standard_normal((len(classes), self.model.dimension), np.float32)
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def rehearse(config: TrainConfig, products: Products, tokenizer: Tokenizer) -> Cost:
    """Take ``STEPS`` steps of each stage and measure them.

    Raises:
        InputError: the steps show already that the run cannot be, as a real run would.
    """
    few = replace(
        config, contrast_steps=1 + STEPS, arcface_steps=1 + STEPS if config.arcface_steps else 0, validate_every=1,
        mlm_steps=1 + STEPS if config.mlm_steps else 0, mine_every=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = _Rehearsal(few, products, tokenizer, Path(folder), lambda *_: {"score": 0.0}, lambda *_: None)
        model, _ = run.run()
    parameters = sum(p.numel() for p in model.parameters())
    centres = run.classes * model.dimension
    planned = {"mlm": config.mlm_steps, "contrast": config.contrast_steps, "arcface": config.arcface_steps}
    return Cost(
        parameters, run.classes,
        steps={stage: planned[stage] for stage in run.spans},
        step_time={stage: median(spans[1:]) for stage, spans in run.spans.items()},
        titles_per_second=_encoding_rate(model, tokenizer, products.titles),
        weights=4 * parameters, optimizer=12 * parameters, centres=16 * centres,
        peak=_peak(), gpu_peak=int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None,
    )  # fmt: skip


def check_work(work: Path, config: TrainConfig, products: Products, tokenizer: Tokenizer) -> None:
    """Refuse a folder whose checkpoint the run could not take up.

    Raises:
        InputError: it holds a run with another configuration.
    """
    _Rehearsal(config, products, tokenizer, work, lambda *_: {}, lambda *_: None)._load()


def _encoding_rate(model: TitleModel, tokenizer: Tokenizer, titles: Sequence[str]) -> float:
    """Titles a second, from a sample."""
    drawn = np.random.default_rng(0).integers(0, len(titles), _ENCODED)
    sample = [titles[i] for i in drawn]
    encode(model, tokenizer, sample[:32])  # the first call warms up
    started = time.monotonic()
    encode(model, tokenizer, sample)
    return len(sample) / (time.monotonic() - started)


def _peak() -> int | None:
    """Most memory that this process has held, in bytes."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
