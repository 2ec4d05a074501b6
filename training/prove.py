"""The threshold certificate: from which score on accepted pairs are right as often as promised, and how sure that is.

A precision that was seen is no promise: it is of the pairs that happened to be labelled, and the best of many
thresholds looks better than it is. ``prove`` promises what the labels carry. It walks a grid that was fixed beforehand
from the strictest threshold to looser ones and keeps the last before the first that fails: fixed-sequence testing
(Learn then Test, Angelopoulos et al. 2021), which needs no precision that falls as the threshold does. A threshold is
tested by the exact binomial (Clopper and Pearson 1934), with as many pairs as the labels are worth: pairs of one
product are right or wrong together, so they count as fewer (Korn and Graubard 1998).

It knows scores, which pairs are right, and the product of each. It does not know how scores are made or whether the
labels are right. It takes for granted that the products were drawn as those to come will be, each for itself: a pair
that is given twice, once under each of the two products it mistakes for one, would count twice. Its confidence is
exact where each product owns one pair, and an approximation elsewhere, which promises too much where a few products
own most pairs and are wrong in all of them: ``resample_check`` tells how it does on labels at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError

Values = npt.NDArray[np.float64]
_BLOCK = 1024  # products that are counted at once: memory does not grow with their number
_GROWTH = 1.01 ** np.arange(1, 1001)  # times as many labels, up to 20,000: who needs more will not label them


@dataclass(frozen=True)
class Proof:
    """What the labels prove about a precision, or what they lack.

    Attributes:
        target: the precision that was asked for.
        confidence: with which it is proven.
        threshold: pairs of at least this score are accepted; None where nothing is proven, and then the five numbers
            that follow are of the threshold that more labels would prove first, or whose bound is highest.
        precision: observed; 0 where no pair is accepted.
        lower: bound that the precision there is not below, with ``confidence``. Where nothing is proven it may lie
            over the target all the same: a stricter threshold failed first.
        recall: see ``prove``.
        accepted: pairs.
        products: that own the accepted pairs.
        more_needed: how many more accepted pairs would do, about, if they are right as often and as much together as
            those seen; 0 where it is proven, None where no number of labels will do.
        words: all this in one sentence.
    """

    target: float
    confidence: float
    threshold: float | None
    precision: float
    lower: float
    recall: float
    accepted: int
    products: int
    more_needed: int | None
    words: str


def prove(
    scores: Values,
    correct: npt.NDArray[np.bool_],
    products: npt.NDArray[np.int64],
    target: float,
    *,
    confidence: float = 0.95,
    grid: Values,
    recall_at: Values | None = None,
) -> Proof:
    """The loosest threshold that is proven to have a precision, or how many labels it lacks.

    Args:
        scores: of distinct candidate pairs, shape (pairs,); higher is better.
        correct: whether the two are one product, shape (pairs,).
        products: number of the product whose row asked, shape (pairs,). Products are what was drawn; the pairs of
            one may depend on each other in any way.
        target: the precision to prove, between 0 and 1, both excluded.
        confidence: of all sets of labels that might have been drawn, at most 1 - ``confidence`` lead to a threshold
            whose precision is below the target; between 0.5 and 1, both excluded.
        grid: distinct thresholds in any order, chosen without a look at these labels. The strictest that accepts
            pairs enough is tested first and must pass, so a grid reaches no further up than is of use.
        recall_at: recall at each threshold of the grid, where the caller knows of right pairs that are no
            candidates; by default of the right pairs among those given.

    Raises:
        InputError: lengths differ, a score or a threshold is not a number, or a share is out of range.
    """
    _check(scores, correct, products, grid, target, confidence)
    if recall_at is not None and recall_at.shape != grid.shape:
        raise InputError(f"recall_at has shape {recall_at.shape}; expected that of the grid, {grid.shape}")
    falling = np.argsort(-grid)
    code = np.unique(products, return_inverse=True)[1]
    once = np.ones((1, int(code.max(initial=-1)) + 1), np.uint8)
    counts = _count(scores, correct, code, grid[falling], once)
    recall = counts.right[0] / max(1, int(correct.sum())) if recall_at is None else recall_at[falling]
    at, times = _place(counts, target, confidence)
    accepted = int(counts.pairs[0, at])
    proof = Proof(
        target=target,
        confidence=confidence,
        threshold=float(grid[falling[at]]) if times == 1 else None,
        precision=float(counts.precision[0, at]),
        lower=float(_lower(counts, confidence)[0, at]),
        recall=float(recall[at]),
        accepted=accepted,
        products=int(counts.products[0, at]),
        more_needed=int(np.ceil((times - 1) * accepted)) if np.isfinite(times) else None,
        words="",
    )
    return replace(proof, words=_words(proof, int(counts.right[0, at]), times, float(counts.precision.max())))


def resample_check(
    scores: Values,
    correct: npt.NDArray[np.bool_],
    products: npt.NDArray[np.int64],
    target: float,
    grid: Values,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> float:
    """How often the promise holds: the share of draws in which the threshold that ``prove`` picks has the precision.

    The labelled products stand for all there are, so that the truth is known: the precision of a threshold over all
    of them. A draw takes as many products as there are, with replacement and with all their pairs (the bootstrap of
    Efron 1979 over products); a product that is drawn twice counts as two. The threshold is chosen on the draw alone,
    as by ``prove``, and judged by the truth. A draw on which nothing can be proven promises nothing and counts as
    kept: read the share only where ``prove`` finds a threshold on all of the products.

    Args:
        scores: as in ``prove``, and so are the other arguments up to ``confidence``.
        correct: see there.
        products: see there.
        target: see there.
        grid: see there.
        confidence: see there; the share is to be at least this.
        draws: at least 1.
        seed: of the draws.

    Raises:
        InputError: as in ``prove``; there are no pairs; or draws is below 1.
    """
    _check(scores, correct, products, grid, target, confidence)
    if draws < 1 or not len(scores):
        raise InputError(f"{draws} draws of {len(scores)} pairs; expected at least one of both")
    falling = np.sort(grid)[::-1]
    code = np.unique(products, return_inverse=True)[1]
    many = int(code.max()) + 1
    truth = _count(scores, correct, code, falling, np.ones((1, many), np.uint8)).precision[0]
    rng = np.random.default_rng(seed)
    drawn = np.empty((draws, many), np.uint16)
    for row in drawn:
        row[:] = np.bincount(rng.integers(many, size=many), minlength=many)
    counts = _count(scores, correct, code, falling, drawn)
    kept = _walk(
        counts.precision, _worth(counts, confidence), _worth(counts.all_right(), confidence), target, confidence
    )
    return float(np.mean((kept < 0) | (truth[kept] >= target)))


@dataclass(frozen=True)
class _Counts:
    """Sums over products, shape (draws, grid), strictest threshold first.

    Attributes:
        pairs, right: accepted pairs, and the right ones among them.
        products: that own accepted pairs.
        pairs2, both, right2: of a product's pairs squared, its pairs times its right ones, its right ones squared.
    """

    pairs: Values
    right: Values
    products: Values
    pairs2: Values
    both: Values
    right2: Values

    @property
    def precision(self) -> Values:
        """Observed; 0 where nothing is accepted."""
        return np.asarray(self.right / np.maximum(self.pairs, 1))

    def all_right(self) -> _Counts:
        """The same pairs, had every one been right."""
        return replace(self, right=self.pairs, both=self.pairs2, right2=self.pairs2)


def _count(
    scores: Values,
    correct: npt.NDArray[np.bool_],
    code: npt.NDArray[np.intp],
    falling: Values,
    weights: npt.NDArray[np.unsignedinteger],
) -> _Counts:
    """Count over products from 0 on, each as often as ``weights``, shape (draws, products), says."""
    steps = len(falling) + 1  # the last is of pairs that no threshold accepts
    step = np.searchsorted(-falling, -scores, side="left")
    order = np.argsort(code, kind="stable")
    code, step, correct = code[order], step[order], correct[order]
    sums = np.zeros((6, len(weights), len(falling)))
    for start in range(0, weights.shape[1], _BLOCK):
        here = slice(*np.searchsorted(code, [start, start + _BLOCK]))
        block = weights[:, start : start + _BLOCK].astype(np.float64)
        cell = (code[here] - start) * steps + step[here]
        pairs, right = (
            np.bincount(cell, own, block.shape[1] * steps).reshape(-1, steps)[:, :-1].cumsum(axis=1)
            for own in (None, correct[here])
        )
        for total, own in zip(sums, (pairs, right, pairs > 0, pairs**2, pairs * right, right**2), strict=True):
            total += block @ own
    return _Counts(*sums)


def _worth(counts: _Counts, confidence: float) -> Values:
    """How many independent pairs the accepted pairs are worth: the effective sample size of Korn and Graubard (1998).

    Pairs by the design effect, the variance of the ratio right / pairs between products by that of as many
    independent pairs, taken as 1 where it is less; corrected for the few products it is estimated from. In the
    variance one product more is counted, wrong in all its pairs, as Fay and Feuer (1997) do for weighted rates:
    without it, labels that are all right would have none, and a few products would be worth all of their pairs. Its
    size is the root mean square of those seen (their largest would leave nothing to prove). Where each product owns
    one pair, a pair is worth exactly 1, and the test is the plain binomial one.
    """
    from scipy.special import stdtrit

    pairs, products = np.maximum(counts.pairs, 1), np.maximum(counts.products, 1)
    size = np.sqrt(np.maximum(counts.pairs2, 1) / products)
    share = np.maximum(counts.right, 0.5) / (pairs + size)
    squares = counts.right2 - 2 * share * counts.both + share**2 * counts.pairs2 + (share * size) ** 2
    effect = squares / ((pairs + size) * share * (1 - share))
    few = stdtrit(pairs, confidence) / stdtrit(products, confidence)
    return np.asarray(counts.pairs / np.maximum(effect, 1) * few**2)


def _lower(counts: _Counts, confidence: float) -> Values:
    """The lower bound of Clopper and Pearson on precision: the one whose ``_chance`` is 1 - confidence."""
    from scipy.special import betaincinv

    worth = _worth(counts, confidence)
    right = counts.precision * worth
    bound = betaincinv(np.where(right > 0, right, 1), worth - right + 1, 1 - confidence)
    return np.asarray(np.where(right > 0, bound, 0.0))


def _chance(precision: Values | float, worth: Values, target: float) -> Values:
    """How likely independent pairs are to be right at least so often if the true precision is the target."""
    from scipy.special import betainc

    right = precision * worth
    return np.asarray(np.where(right > 0, betainc(np.where(right > 0, right, 1), worth - right + 1, target), 1.0))


def _walk(precision: Values, worth: Values, at_best: Values, target: float, confidence: float) -> npt.NDArray[np.int64]:
    """Walk the grid from its strict end: position of the last threshold before the first that fails, -1 for none.

    A threshold that accepts a few pairs fails however right they are, and would end the walk. So it starts at the
    first with enough pairs to pass with half of the wrong ones that the target allows or, where none has so many,
    with no wrong one. This looks at ``at_best``, so at how many pairs each product owns over each threshold, and
    never at which are right: given these numbers the sequence is fixed. A threshold below the target is returned
    only if the first such one in the sequence passes, whatever stands before or after it, and one test does that
    with a chance of 1 - confidence at most.

    Args:
        precision: observed, shape (..., grid).
        worth: see ``_worth``; same shape, or one that broadcasts with it.
        at_best: the same if every pair were right.
        target: see ``prove``.
        confidence: see ``prove``.
    """
    alpha = 1 - confidence
    able = _chance((1 + target) / 2, at_best, target) <= alpha
    able = np.where(able.any(axis=-1, keepdims=True), able, _chance(1.0, at_best, target) <= alpha)
    started = np.logical_or.accumulate(able, axis=-1)
    alive = np.logical_and.accumulate((_chance(precision, worth, target) <= alpha) | ~started, axis=-1)
    steps = np.arange(precision.shape[-1])
    return np.asarray(np.where(alive & started, steps, -1).max(axis=-1))


def _place(counts: _Counts, target: float, confidence: float) -> tuple[int, float]:
    """Position in the grid of what ``prove`` tells of, and how many times the labels there must be for it.

    Times are 1 where it is proven, and infinite where no number of labels, right as often and as much together as
    these, would do: the walk on so many is the very same walk, each threshold worth so many times as much.
    """
    precision, worth, at_best = counts.precision, _worth(counts, confidence), _worth(counts.all_right(), confidence)
    at = int(_walk(precision, worth, at_best, target, confidence)[0])
    if at >= 0:
        return at, 1.0
    grown = _walk(precision, _GROWTH[:, None] * worth, _GROWTH[:, None] * at_best, target, confidence)
    if not (grown >= 0).any():
        return int(np.argmax(_lower(counts, confidence)[0])), np.inf
    first = int(np.argmax(grown >= 0))
    return int(grown[first]), float(_GROWTH[first])


def _words(proof: Proof, right: int, times: float, best: float) -> str:
    """The proof in a sentence; ``best`` is the best precision observed at any threshold."""
    if times == 1:
        return (
            f"precision of at least {proof.target:g} is proven with {100 * proof.confidence:g} % confidence: {right:,} "
            f"of {proof.accepted:,} accepted pairs are right (bound {proof.lower:.4f}); recall {proof.recall:.2f}"
        )
    if np.isfinite(times):
        return (
            f"precision of at least {proof.target:g} cannot be proven with these labels: about {proof.more_needed:,} "
            f"more accepted pairs at the observed precision of {proof.precision:.4f} are needed, which takes about "
            f"{times:.1f} times as many labelled listings"
        )
    if best > proof.target:
        why = f"{best:.4f} is observed, but not at the strictest thresholds that can be tested"
    elif best > 0:
        why = f"the best observed at any threshold is {best:.4f}"
    else:
        why = "no right pair is accepted at any threshold"
    return f"precision of at least {proof.target:g} cannot be proven: {why}; no number of such labels will do"


def _check(
    scores: Values,
    correct: npt.NDArray[np.bool_],
    products: npt.NDArray[np.int64],
    grid: Values,
    target: float,
    confidence: float,
) -> None:
    """Raise InputError for what cannot be counted or proven."""
    if scores.ndim != 1 or not scores.shape == correct.shape == products.shape:
        shapes = f"{scores.shape}, {correct.shape} and {products.shape}"
        raise InputError(f"scores, correct and products have shapes {shapes}; expected one of each for every pair")
    if correct.dtype != np.bool_:
        raise InputError(f"correct holds {correct.dtype}; expected true or false")
    for name, values in (("score", scores), ("threshold", grid)):
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            raise InputError(f"{name} {odd[0]} is {values[odd[0]]}; expected a finite number")
    if grid.ndim != 1 or not len(grid) or len(np.unique(grid)) != len(grid):
        raise InputError(
            f"the grid holds {len(grid)} thresholds, {len(np.unique(grid))} of them distinct; expected all"
        )
    for name, share, least in (("target", target, 0), ("confidence", confidence, 0.5)):
        if not least < share < 1:
            raise InputError(f"{name} is {share}; expected a number between {least} and 1, both excluded")
