"""The decision: how probable it is that a pair is one product, and from where on it counts as one.

A bundle's ``decision.json`` sets it, with the probability model beside it. It does not know titles, how evidence is
gathered, nor how the numbers were chosen and proven (training does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import PROBABILITY, Bundle
from embedder.errors import InputError
from index.blending import BlendConfig
from index.choice import accepted_by_expected_f1
from index.correction import Correction
from index.evidence import EVIDENCE, contradictions
from index.probability import ProbabilityModel
from index.wording import Numbers

_BLENDED = EVIDENCE.index("blended_cosine")
_LIKELY = 0.5  # what contradicts itself must be one product rather than two


def stretched(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The artanh of cosines, kept finite at both ends; same shape."""
    return np.arctanh(np.clip(scores.astype(np.float64), -0.9999, 0.9999))


def doubted(probabilities: npt.NDArray[np.float64], contradicting: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The probabilities, halved where titles contradict each other and are more likely two products; same shape.

    Five packs against forty, at .41, is right often enough for a mean F1 and wrong too often for a shop. On held-out
    products this gains and loses nothing worth a decimal.
    """
    return np.asarray(np.where(contradicting & (probabilities < _LIKELY), probabilities / 2, probabilities))


def shifted(probabilities: npt.NDArray[np.float64], by: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities whose logits are moved by ``by``; 0 and 1 stay; same shape."""
    odds = np.exp(by) * probabilities
    return np.asarray(odds / (odds + 1 - probabilities))


@dataclass(frozen=True)
class Promise:
    """A precision that held-out products have proven.

    Attributes:
        precision: of the accepted pairs, at least.
        threshold: the probability from which pairs are accepted then.
        recall: of the held-out pairs at it.
        words: what was counted, in a sentence.
    """

    precision: float
    threshold: float
    recall: float
    words: str


@dataclass(frozen=True)
class Decision:
    """When two titles are the same product.

    Attributes:
        blend: how vectors are blended before they are compared.
        threshold: the probability from which a pair is accepted where one threshold is to hold for all rows; by default
            each row's own choice holds, see ``accepted``.
        cluster_threshold: the least mean probability between two clusters that makes them one, in a catalogue of the
            usual prior; see ``clusters_from``.
        slope, intercept: probability = sigmoid(slope * artanh(blended cosine) + intercept) for a bundle without a
            probability model: Platt scaling (1999) of a score that is first stretched towards its ends, because
            blending crowds the cosines of one product near 1.
        promises: precisions that are proven, least first.
        model: turns evidence into a probability; None leaves it to ``slope`` and ``intercept``.
        correction: what labels from use have taught since; None where they have not.
    """

    blend: BlendConfig
    threshold: float
    cluster_threshold: float
    slope: float
    intercept: float
    promises: tuple[Promise, ...] = ()
    model: ProbabilityModel | None = field(default=None, compare=False, repr=False)
    correction: Correction | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "cluster_threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; expected a probability between 0 and 1")
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)):
            raise InputError(f"calibration is {self.slope}, {self.intercept}; expected finite numbers")

    def probability(self, evidence: Numbers) -> npt.NDArray[np.float64]:
        """The probability that each pair is one product: float64, shape (pairs,), from ``index.evidence.gather``."""
        plain = self.model.predict(evidence) if self.model is not None else self.of_cosine(evidence[:, _BLENDED])
        plain = doubted(plain, contradictions(evidence))
        return plain if self.correction is None else self.correction.apply(evidence, plain)

    def contradictions(self, evidence: Numbers) -> npt.NDArray[np.bool_]:
        """The pairs that are two products whatever else they share: bool, shape (pairs,)."""
        return contradictions(evidence, () if self.correction is None else self.correction.lifted)

    def of_cosine(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The probability of a pair of which only the blended cosine is known, uncorrected; same shape."""
        logits = self.slope * stretched(scores) + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))

    def accepted(
        self,
        probabilities: npt.NDArray[np.float64],
        threshold: float | None = None,
        shift: float | npt.NDArray[np.float64] = 0.0,
    ) -> npt.NDArray[np.int64]:
        """How many of each row's candidates are the same product, best first; int64, shape (rows,).

        Args:
            probabilities: shape (rows, candidates), descending, 0 where there are no more.
            threshold: the probability from which they are; None for the set of the best expected F1 of each row.
            shift: logits by which that choice takes pairs to be more probable, of all rows or of each; see
                ``index.prior``.

        Raises:
            InputError: the threshold is no probability.
        """
        if threshold is None:
            return accepted_by_expected_f1(shifted(probabilities, np.reshape(shift, (-1, 1))))
        check_threshold(threshold)
        return np.asarray(((probabilities >= threshold) & (probabilities > 0)).sum(axis=1), np.int64)

    def clusters_from(self, shift: float) -> float:
        """The least mean probability between clusters of a catalogue that makes them one; ``shift`` as in ``accepted``.

        The evidence of a pair that the shift takes to be more probable may be weaker.
        """
        return float(shifted(np.array([self.cluster_threshold]), -shift)[0]) if shift else self.cluster_threshold

    def promised(self, precision: float) -> Promise:
        """The loosest threshold whose proven precision is at least the one asked for.

        Raises:
            InputError: no precision, or one that the bundle's labels could not prove.
        """
        if not 0 < precision < 1:
            raise InputError(f"min precision is {precision}; expected a number between 0 and 1")
        for promise in self.promises:
            if promise.precision >= precision:
                return promise
        most = f"up to {self.promises[-1].precision:g}" if self.promises else "no precision at all"
        raise InputError(
            f"min precision is {precision:g}, but this model's held-out labels prove {most}; "
            "expected less, or a proof by your own labels: dongil threshold LABELLED"
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``decision.json``; the probability model stands beside it."""
        value = asdict(replace(self, model=None, correction=None))
        value["promises"] = [asdict(promise) for promise in self.promises]
        del value["model"], value["correction"]
        return value if self.correction is None else value | {"correction": self.correction.to_json()}

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], *, model: ProbabilityModel | None = None, file: str | None = None
    ) -> Decision:
        """Read what ``to_json`` wrote; keys it does not know (such as what it was chosen on) are left alone.

        Raises:
            InputError: a part is missing or not a number in range.
        """
        try:
            numbers = {name: float(value[name]) for name in _NUMBERS}
            promises = tuple(
                Promise(float(p["precision"]), float(p["threshold"]), float(p["recall"]), str(p["words"]))
                for p in value["promises"]
            )
            promises = tuple(sorted(promises, key=lambda promise: promise.precision))
            told = value.get("correction")
            correction = None if told is None else Correction.from_json(told)
            blend = BlendConfig(**value["blend"])
            return cls(blend=blend, promises=promises, model=model, correction=correction, **numbers)
        except InputError as error:
            raise InputError(error.message, file=file) from error
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(f"not a decision: {error!r}", file=file) from error

    @classmethod
    def of(cls, bundle: Bundle, *, threads: int = 1) -> Decision:
        """The decision that a bundle carries; ``threads`` as in ``ProbabilityModel``."""
        path = bundle.folder / PROBABILITY
        model = ProbabilityModel.read(path, threads=threads) if path.exists() else None
        file = str(bundle.folder / "decision.json")
        return cls.from_json(bundle.read_json("decision.json"), model=model, file=file)


_NUMBERS = ("threshold", "cluster_threshold", "slope", "intercept")


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is no probability.

    Raises:
        InputError: it is below 0, above 1 or not a number.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; expected a probability between 0 and 1")
