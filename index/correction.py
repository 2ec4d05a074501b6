"""The correction: what labels from use have taught on top of a model's probability.

The logit of the model's probability is scaled and shifted, and shifted again by what a pair's titles contradict each
other on, or only one of them says: so a shop for which a pack of six and of twelve are one product, or a colour makes
two, is served by the model that is there. It knows evidence as columns; it does not know how the weights were learnt
(``training.relearn`` does), nor what the model looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from index.evidence import EVIDENCE, VETOES
from index.verdict import Verdict
from index.wording import Numbers

Values = npt.NDArray[np.float64]
_SURE = 1e-6  # probabilities nearer to 0 or 1 than this are taken as this far from it
_SAID: Mapping[str, Verdict] = MappingProxyType({"differs": Verdict.DIFFERENT, "one side": Verdict.ONE_SIDE})
_VERDICTS = tuple(name for name in EVIDENCE if name.startswith(("quantity_", "trait_")))
_COUNTS: Mapping[str, float] = MappingProxyType({"numbers_alone_most": 2.0, "words_alone_most": 6.0})
COLUMNS = (*(f"{name} {said}" for name in _VERDICTS for said in _SAID), *_COUNTS)
"""What a correction may weigh besides the model's logit; each is between 0 and 1."""


def logits_of(probabilities: Values) -> Values:
    """Logits, kept finite at both ends; same shape."""
    inside = np.clip(probabilities, _SURE, 1 - _SURE)
    return np.asarray(np.log(inside / (1 - inside)))


def sigmoid(logits: Values) -> Values:
    """Probabilities of logits; same shape."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def column_of(name: str, evidence: Numbers) -> Values:
    """One of ``COLUMNS`` for each pair: float64, shape (pairs,)."""
    if name in _COUNTS:
        return np.asarray(np.minimum(evidence[:, EVIDENCE.index(name)] / _COUNTS[name], 1), np.float64)
    what, _, said = name.partition(" ")
    return np.asarray(evidence[:, EVIDENCE.index(what)] == _SAID[said], np.float64)


@dataclass(frozen=True)
class Correction:
    """corrected logit = slope * logit + intercept + what ``columns`` weigh.

    Attributes:
        slope: over 0, so that of two pairs with the same columns the more probable stays the more probable.
        intercept: added to every logit.
        columns: weights by name, of ``COLUMNS``; what is not named weighs nothing.
        lifted: contradictions that no longer keep a pair apart, of ``index.evidence.VETOES``.
        labels: that it was learnt from.
    """

    slope: float = 1.0
    intercept: float = 0.0
    columns: Mapping[str, float] = field(default_factory=dict)
    lifted: tuple[str, ...] = ()
    labels: int = 0

    def __post_init__(self) -> None:
        for name, value in {"slope": self.slope, "intercept": self.intercept, **self.columns}.items():
            if not math.isfinite(value):
                raise InputError(f"the correction's {name} is {value}; expected a finite number")
        if self.slope <= 0:
            raise InputError(f"the correction's slope is {self.slope}; expected a number over 0")
        for names, known in ((self.columns, COLUMNS), (self.lifted, VETOES)):
            if strange := sorted(set(names) - set(known)):
                raise InputError(f"the correction names {strange[0]!r}, which this dongil does not gather")

    def apply(self, evidence: Numbers, probabilities: Values) -> Values:
        """Corrected probabilities: float64, shape (pairs,), from the model's and the evidence they stand on."""
        logits = self.slope * logits_of(probabilities) + self.intercept
        for name, weight in self.columns.items():
            logits += weight * column_of(name, evidence)
        return sigmoid(logits)

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``decision.json``."""
        return asdict(self) | {"columns": dict(self.columns), "lifted": list(self.lifted)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Correction:
        """Read what ``to_json`` wrote.

        Raises:
            InputError: a number that is none, or a column that this dongil does not gather.
            KeyError, TypeError, ValueError: a part is missing, or of another kind.
        """
        columns = {str(name): float(weight) for name, weight in value["columns"].items()}
        lifted = tuple(str(name) for name in value["lifted"])
        return cls(float(value["slope"]), float(value["intercept"]), columns, lifted, int(value["labels"]))
