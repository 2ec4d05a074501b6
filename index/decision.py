"""The decision: from a score to "the same product", as a bundle's ``decision.json`` sets it.

It knows scores, thresholds and the calibration that turns a score into a probability. It does not know how scores
are made, nor how the numbers were chosen (training does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import Bundle
from embedder.errors import InputError
from index.blending import BlendConfig


def stretched(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The artanh of cosines, kept finite at both ends; same shape."""
    return np.arctanh(np.clip(scores.astype(np.float64), -0.9999, 0.9999))


@dataclass(frozen=True)
class Decision:
    """When two titles are the same product.

    Attributes:
        threshold: the blended cosine from which they are.
        cluster_threshold: the one from which an edge joins two clusters; higher, because there one wrong edge welds
            two whole products together.
        slope, intercept: probability = sigmoid(slope * artanh(cosine) + intercept): Platt scaling (1999) of a score
            that is first stretched towards its ends, because blending crowds the cosines of one product near 1.
        blend: how vectors are blended before they are scored.
    """

    threshold: float
    cluster_threshold: float
    slope: float
    intercept: float
    blend: BlendConfig

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("cluster_threshold", self.cluster_threshold)):
            if not -1 <= value <= 1:
                raise InputError(f"{name} is {value}; expected a cosine between -1 and 1")
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)):
            raise InputError(f"calibration is {self.slope}, {self.intercept}; expected finite numbers")

    def with_threshold(self, threshold: float | None) -> Decision:
        """The same decision with one threshold for matches and clusters; itself when None."""
        return self if threshold is None else replace(self, threshold=threshold, cluster_threshold=threshold)

    def probability(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Calibrated probability that a pair of each score is one product; same shape."""
        logits = self.slope * stretched(scores) + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``decision.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, file: str | None = None) -> Decision:
        """Read what ``to_json`` wrote; keys it does not know (such as the proof) are left alone.

        Raises:
            InputError: a part is missing or not a number in range.
        """
        try:
            blend = BlendConfig(**value["blend"])
            numbers = {f.name: float(value[f.name]) for f in fields(cls) if f.name != "blend"}
            return cls(blend=blend, **numbers)
        except InputError as error:
            raise InputError(error.message, file=file) from error
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"not a decision: {error!r}", file=file) from error

    @classmethod
    def of(cls, bundle: Bundle) -> Decision:
        """The decision that a bundle carries."""
        return cls.from_json(bundle.read_json("decision.json"), file=str(bundle.folder / "decision.json"))
