"""Relearning: from labels that use has given to a better decision, in seconds, with encoder and trees as they are.

A correction of the probability is learnt (``index.correction``): logistic regression on the model's logit and on what
the titles contradict each other on, with a normal prior around "no correction at all" (MAP; Gelman et al. 2008 say why
a prior of this kind). A few labels hardly move it, many do. The threshold moves only where that mends clearly more
labels than it breaks; a veto is lifted where the pairs it keeps apart are mostly one product; the threshold of clusters
stays, because probabilities are what changes their meaning, and these are put right. Precisions are proven anew.

All that is told of the result is cross-fitted: products are dealt into folds, and each pair is judged by a correction
that was learnt without every pair of its two products' folds. Labels come mostly from uncertain pairs. That does not
bend the regression as long as pairs were chosen by what it looks at, the probability and the titles; scores are told
as the labelled pairs give them and weighed for the catalogue where there is one (``training.lessons``).

It needs numpy alone; only proofs need dongil[train], and are left out without it. The encoder is not taught:
``training.told`` writes what is known for ``dongil train``, which does that.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import Bundle, copy_bundle
from embedder.errors import InputError
from index.correction import COLUMNS, Correction, column_of, logits_of, sigmoid
from index.decision import Decision, Promise
from index.evidence import EVIDENCE, VETOES
from index.verdict import Verdict as Said
from index.wording import Numbers
from training.compared import Comparison, Held, Verdict, compare, verdict_of
from training.lessons import STRATA, Lessons

if TYPE_CHECKING:
    from training.prove import Proof

Values = npt.NDArray[np.float64]
FEWEST = 10
"""Labels of either kind, below which nothing is learnt."""
FOLDS = 10
TARGETS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
GRID = np.round(np.arange(0.3, 0.96, 0.05), 2)
"""What is proven, and at which thresholds: as ``training.decide`` has it, which takes long to import."""
_SLOPE, _INTERCEPT, _COLUMN = 0.25, 0.75, 0.4  # standard deviations of the prior: of the slope around 1, else around 0
_FLATTEST = 0.1  # slope: so that it stays over 0
_THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)
_STEPS = 50
_SMALL = 1e-4  # weights below this are not written down
_VETOED, _SURE = 10, 1.645  # labels, and standard deviations, by which a veto is lifted
_PROVABLE = 0.3  # probability from which strata set how many pairs of the others are taken
_HEADING = "## Relearnt from labels"


@dataclass(frozen=True)
class Relearnt:
    """What labels have taught.

    Attributes:
        decision: the model's, corrected.
        same, different: labels of either kind that taught.
        held: the labelled pairs, judged before and after by what had not seen their products.
        labelled: the comparison on these as they are.
        catalogue: the same, each pair counted as often as the catalogue has pairs like it; None without one.
        covered: share of the catalogue's candidate pairs that any labelled one is like.
        weights: that this comparison gives the pairs.
        verdict: whether the corrected decision is better.
        words: why.
        proofs: of precisions; none without dongil[train].
        left_out: sentences on the labels that taught nothing.
    """

    decision: Decision
    same: int
    different: int
    held: Held
    labelled: Comparison
    catalogue: Comparison | None
    covered: float | None
    weights: Values | None
    verdict: Verdict
    words: str
    proofs: tuple[Proof, ...]
    left_out: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """All figures, as JSON can say them."""
        compared = {"labelled": self.labelled, "catalogue": self.catalogue}
        return {
            "verdict": self.verdict, "words": self.words, "same": self.same, "different": self.different,
            "covered": self.covered, "left_out": list(self.left_out),
            **{name: asdict(one) for name, one in compared.items() if one is not None},
        }  # fmt: skip


@dataclass(frozen=True)
class _Learnt:
    correction: Correction
    threshold: float


def relearn(lessons: Lessons, decision: Decision, *, seed: int = 0) -> Relearnt:
    """Learn a correction and judge it on products that it was not learnt from.

    Args:
        lessons: what people said.
        decision: of the model. A correction that it has already was learnt from some of these labels: all are learnt
            from anew, and "before" is the model without one.
        seed: of the bootstrap.

    Raises:
        InputError: fewer than ``FEWEST`` labels of either kind.
    """
    _check(lessons)
    plain = replace(decision, correction=None)
    before = plain.probability(lessons.evidence)
    learnt = _learn(lessons.evidence, before, lessons.same, plain.threshold)
    after, now = _out_of_fold(lessons, before, plain.threshold)
    held = Held(lessons.same, before, after, before >= plain.threshold, now, lessons.products.min(axis=1))
    labelled = compare(held, seed=seed)
    catalogue = compare(held, lessons.weights, seed=seed) if lessons.weights is not None else None
    verdict, words = verdict_of(labelled, catalogue)
    correction = replace(learnt.correction, lifted=_lifted(lessons), labels=len(lessons))
    proofs = _proofs(held, lessons) if find_spec("scipy") else ()
    decision = replace(
        plain, threshold=learnt.threshold, correction=correction, promises=_promises(proofs, lessons.weights)
    )
    return Relearnt(
        decision, int(lessons.same.sum()), int((~lessons.same).sum()), held, labelled, catalogue, lessons.covered,
        lessons.weights, verdict, words, proofs, lessons.left_out,
    )  # fmt: skip


def _check(lessons: Lessons) -> None:
    same, different = int(lessons.same.sum()), int((~lessons.same).sum())
    missing = {"same": FEWEST - same, "different": FEWEST - different}
    if short := [f"{count} more called {kind}" for kind, count in missing.items() if count > 0]:
        told = "".join(f"\n  left out: {words}" for words in lessons.left_out)
        raise InputError(
            f"{same} pairs called the same and {different} called different; expected at least {FEWEST} of both to "
            f"learn from: {' and '.join(short)}{told}"
        )


def _learn(evidence: Numbers, before: Values, same: npt.NDArray[np.bool_], threshold: float) -> _Learnt:
    """The correction that these labels call for, and the threshold."""
    logits = logits_of(before)
    design = np.stack([logits, np.ones(len(logits)), *(column_of(name, evidence) for name in COLUMNS)], axis=1)
    spread = np.array([_SLOPE, _INTERCEPT, *(_COLUMN for _ in COLUMNS)])
    weights = _map(design, logits, same.astype(np.float64), 1 / spread**2)
    columns = {name: round(float(w), 6) for name, w in zip(COLUMNS, weights[2:], strict=True) if abs(w) >= _SMALL}
    correction = Correction(max(_FLATTEST, 1 + float(weights[0])), float(weights[1]), columns)
    return _Learnt(correction, _threshold(correction.apply(evidence, before), same, threshold))


def _map(design: Values, offset: Values, y: Values, precision: Values) -> Values:
    """Logistic regression from an offset with a normal prior around 0: Newton's method, steps halved where need be."""

    def cost(weights: Values) -> float:
        logits = offset + design @ weights
        return float((np.logaddexp(0, logits) - y * logits).sum() + (precision * weights**2).sum() / 2)

    weights = np.zeros(design.shape[1])
    now = cost(weights)
    for _ in range(_STEPS):
        p = sigmoid(offset + design @ weights)
        slope = design.T @ (p - y) + precision * weights
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + np.diag(precision), slope)
        size = 1.0
        while (then := cost(weights - size * step)) > now and size > 1e-6:
            size /= 2
        weights, gained, now = weights - size * step, now - then, then
        if gained < 1e-9:
            break
    return weights


def _threshold(probabilities: Values, same: npt.NDArray[np.bool_], threshold: float) -> float:
    """The threshold that mends clearly more labels than it breaks, the most of all; else the one that is there."""
    best, most = threshold, 0.0
    accepted = probabilities >= threshold
    for other in _THRESHOLDS.tolist():
        changed = (probabilities >= other) != accepted
        gain = float(changed.sum()) - 2 * float((changed & (accepted == same)).sum())
        # Three standard errors of a sum of coins: many thresholds are tried, on labels that the correction has seen.
        if gain > 3 * math.sqrt(changed.sum()) and gain > most:
            best, most = other, gain
    return float(best)


def _out_of_fold(lessons: Lessons, before: Values, threshold: float) -> tuple[Values, npt.NDArray[np.bool_]]:
    """The corrected probability of each pair, and whether it is accepted, by what was learnt from other folds."""
    fold_of = np.array([_fold(name) for name in lessons.names], np.int64)
    folds = np.sort(fold_of[lessons.products], axis=1)
    after, accepted = before.copy(), np.zeros(len(before), bool)
    for one, other in combinations_with_replacement(range(FOLDS), 2):
        rows = (folds[:, 0] == one) & (folds[:, 1] == other)
        if rows.any():
            others = ~np.isin(folds, (one, other)).any(axis=1)
            learnt = _learn(lessons.evidence[others], before[others], lessons.same[others], threshold)
            after[rows] = learnt.correction.apply(lessons.evidence[rows], before[rows])
            accepted[rows] = after[rows] >= learnt.threshold
    return after, accepted


def _fold(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") % FOLDS


def _lifted(lessons: Lessons) -> tuple[str, ...]:
    """The vetoes that labels speak against: the pairs they keep apart are mostly one product, and that is sure."""
    lifted = []
    for name in VETOES:
        kept = lessons.same[lessons.evidence[:, EVIDENCE.index(name)] == Said.DIFFERENT]
        if len(kept) >= _VETOED and kept.mean() - _SURE * math.sqrt(0.25 / len(kept)) > 0.5:
            lifted.append(name)
    return tuple(lifted)


def _proofs(held: Held, lessons: Lessons) -> tuple[Proof, ...]:
    """What precisions the labels prove, of pairs as the catalogue has them.

    A proof counts every pair alike. So of each stratum as many are taken as its share of the catalogue allows, the
    first ones by lot, and the rest proves nothing.
    """
    from training.prove import prove

    weights = np.ones(len(lessons)) if lessons.weights is None else lessons.weights
    right = weights * held.same
    recall = np.array([right[held.after >= t].sum() for t in GRID]) / max(float(right.sum()), 1e-12)
    taken = _fair(lessons.strata, weights)
    values = held.after[taken], held.same[taken], held.owners[taken]
    return tuple(prove(*values, target, grid=GRID, recall_at=recall) for target in TARGETS)


def _fair(strata: npt.NDArray[np.int64], weights: Values) -> npt.NDArray[np.bool_]:
    """Labelled pairs that are mixed as the catalogue's are, those that may be accepted where precision is proven."""
    lot = np.random.default_rng(0).random(len(strata))
    counted = strata >= np.searchsorted(STRATA, _PROVABLE, "right")
    most = weights[counted].max(initial=1e-12)
    taken = np.zeros(len(strata), bool)
    for stratum in np.unique(strata).tolist():
        rows = np.flatnonzero(strata == stratum)
        share = min(1.0, float(weights[rows[0]] / most))
        taken[rows[np.argsort(lot[rows])[: int(share * len(rows))]]] = True
    return taken


def _promises(proofs: tuple[Proof, ...], weights: Values | None) -> tuple[Promise, ...]:
    whose = "the labelled ones were" if weights is None else "the catalogue's are"
    return tuple(
        Promise(proof.target, proof.threshold, proof.recall, f"{proof.words}; of pairs drawn as {whose}")
        for proof in proofs
        if proof.threshold is not None
    )


def write_relearnt(bundle: Bundle, output: str | Path, relearnt: Relearnt, *, force: bool = False) -> Bundle:
    """Write a copy of a bundle that decides as it was taught: whole or not at all.

    Args:
        bundle: the one that was taught.
        output: a new folder, or a model's.
        relearnt: what it was taught.
        force: write one that is worse, too.

    Raises:
        InputError: it is worse; the output is something else than a bundle, or cannot be written.
    """
    if relearnt.verdict == "worse" and not force:
        raise InputError(f"not written, because it is worse: {relearnt.words}", file=str(output))
    decision = bundle.read_json("decision.json") | relearnt.decision.to_json()
    decision |= {"proofs": [asdict(proof) for proof in relearnt.proofs]}
    return copy_bundle(
        bundle, output, decision=decision, metrics=bundle.read_json("metrics.json") | {"relearn": relearnt.told()},
        card=_card((bundle.folder / "README.md").read_text(encoding="utf-8"), relearnt),
    )  # fmt: skip


def _card(card: str, relearnt: Relearnt) -> str:
    """The model's card with a section on what it was taught, in place of an earlier one."""
    lines = [
        _HEADING, "",
        f"By {relearnt.same:,} pairs called the same and {relearnt.different:,} called different: "
        f"**{relearnt.verdict}**. {relearnt.words[:1].upper()}{relearnt.words[1:]}. Encoder and trees are as they "
        f"were; matches from a probability of {relearnt.decision.threshold:.2f} where one threshold holds for all. "
        "Promises above hold no more.", "",
        "| held-out pairs | F1 | precision | recall | log loss | calibration error |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    views: Mapping[str, Comparison | None] = {"labelled": relearnt.labelled, "catalogue": relearnt.catalogue}
    for name, view in views.items():
        for when, scores in (("before", view.before), ("after", view.after)) if view else ():
            figures = (scores.f1, scores.precision, scores.recall, scores.log_loss, scores.calibration_error)
            told = " | ".join(f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in figures)
            lines.append(f"| {name}, {when} | {told} |")
    lines += ["", *(f"- {promise.words}" for promise in relearnt.decision.promises), ""]
    rest = re.sub(rf"^{_HEADING}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    return rest.rstrip() + "\n\n" + "\n".join(lines)
