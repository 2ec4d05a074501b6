"""The settings of a run: what ``--config`` may change, and what a checkpoint must agree with.

It knows names, ranges and how losses are written. It does not know what a loss computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedder.errors import InputError
from training.backbone import SMALL

CLASS_LOSSES = ("arcface", "subcenter", "cosface", "adaptive")  # one centre, or a few, for each product
PAIR_LOSSES = ("supcon", "multisimilarity", "cached-ranking")  # titles of a batch against each other
_SHARES = ("unlabelled_share", "pseudo_share", "pseudo_sure", "mined_share", "mlm_share")
_AT_LEAST_0 = ("mlm_steps", "mine_every", "distil_cosine", "distil_relations")


@dataclass(frozen=True)
class Term:
    """One part of a loss: the name of its kind, and how much it counts."""

    name: str
    weight: float


@dataclass(frozen=True)
class TrainConfig:
    """One run. Angles in degrees, rates per step, sizes in titles or tokens.

    ``hidden`` to ``vocabulary`` describe our own small model; any other ``base`` brings its own shape and tokenizer.
    ``pooling``, ``dimension`` and ``batch_norm`` are those of ``TitleModel``; ``precision`` is that of multiplications
    in training: "float32", "bfloat16", or "auto" for what is faster here.

    ``loss`` is that of the second stage, see ``parse_loss``. ``contrast_weight`` is that of the supervised
    contrastive term beside a loss that compares no titles by itself. ``centre_share`` below 1 compares a title with
    its own centre and that share of the others, drawn anew each step; the centres then stay in main memory, and
    ``max_classes`` may be a million. ``cosine_margin`` is where CosFace's margin ends, a cosine.

    ``mine_every`` looks up the nearest other products every so many steps; 0 never does. ``mlm_steps`` of guessing
    hidden words come before everything else. ``pseudo_share`` is that of a teacher's clusters among the titles of
    unknown product, ``pseudo_sure`` the least mean probability between the titles of such a cluster. The ``distil``
    settings count only where there are teachers to learn from.
    """

    hidden: int = 256
    layers: int = 3
    heads: int = 8
    intermediate: int = 1024
    vocabulary: int = 32_000
    max_length: int = 64
    contrast_steps: int = 3_000
    arcface_steps: int = 2_400
    products_per_batch: int = 160
    unlabelled_share: float = 0.4
    neighbours_per_draw: int = 8
    learning_rate: float = 6e-4
    arcface_learning_rate: float = 2e-4
    centre_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    temperature: float = 0.05
    scale: float = 30.0
    margin_start: float = 11.5
    margin_end: float = 34.4
    contrast_weight: float = 1.0
    decoys_per_batch: int = 64
    max_classes: int = 30_000
    validate_every: int = 400
    seed: int = 0
    base: str = SMALL
    pooling: str = "mean"
    dimension: int = 0
    batch_norm: bool = False
    precision: str = "auto"
    loss: str = "arcface"
    sub_centres: int = 3
    cosine_margin: float = 0.35
    centre_share: float = 1.0
    mine_every: int = 0
    mined_share: float = 0.5
    mlm_steps: int = 0
    mlm_share: float = 0.15
    mlm_whole_words: bool = False
    pseudo_share: float = 0.5
    pseudo_sure: float = 0.9
    distil_cosine: float = 1.0
    distil_relations: float = 1.0
    distil_temperature: float = 0.05

    def __post_init__(self) -> None:
        for name, choices in (("pooling", ("mean", "cls")), ("precision", ("auto", "float32", "bfloat16"))):
            if (value := getattr(self, name)) not in choices:
                raise InputError(f"setting {name} is {value!r}; expected {', '.join(choices)}")
        if self.dimension < 0:
            raise InputError(f"setting dimension is {self.dimension}; expected 0 for none, or the length of a vector")
        for name in _AT_LEAST_0:
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise InputError(f"setting {name} is {value}; expected 0 or more")
        for name in _SHARES:
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"setting {name} is {value}; expected a share between 0 and 1")
        if not 0 < self.centre_share <= 1:
            raise InputError(f"setting centre_share is {self.centre_share}; expected more than 0, and 1 at most")
        if self.sub_centres < 1:
            raise InputError(f"setting sub_centres is {self.sub_centres}; expected at least 1")
        if not 0 < self.distil_temperature < math.inf:
            raise InputError(f"setting distil_temperature is {self.distil_temperature}; expected more than 0")
        parse_loss(self.loss)


def default_config(base: str) -> TrainConfig:
    """The settings that a run starts from: gentler and shorter ones where there are pretrained weights to keep."""
    if base == SMALL:
        return TrainConfig()
    return TrainConfig(
        base=base, contrast_steps=1_000, arcface_steps=400, learning_rate=5e-5, arcface_learning_rate=2e-5,
        validate_every=200,
    )  # fmt: skip


def parse_loss(text: str) -> tuple[Term, ...]:
    """The terms of a loss such as ``"arcface+supcon:0.5"``: names joined by ``+``, each perhaps with its weight.

    Raises:
        InputError: an unknown name, one that stands twice, two losses that both want the centres, or a weight that is
            no number above 0.
    """
    terms: list[Term] = []
    for part in text.split("+"):
        name, colon, weight = part.strip().partition(":")
        if name not in (*CLASS_LOSSES, *PAIR_LOSSES):
            raise InputError(f"loss {name!r}; expected one of {', '.join((*CLASS_LOSSES, *PAIR_LOSSES))}, joined by +")
        try:
            value = float(weight) if colon else 1.0
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise InputError(f"loss {name} has weight {weight!r}; expected a number above 0")
        terms.append(Term(name, value))
    names = [term.name for term in terms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"loss {twice} stands twice in {text!r}; expected it once")
    if len(both := [name for name in names if name in CLASS_LOSSES]) > 1:
        raise InputError(f"losses {' and '.join(both)} each want the centres; expected one of them")
    return tuple(terms)
