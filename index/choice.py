"""Which of a row's candidates to accept, given how probably each is the same product.

A single threshold is too strict for a row with one good candidate and too loose for one with twenty doubtful ones.
With calibrated probabilities the set that maximises the row's expected F1 is found directly (Jansche 2007; Ye, Chai,
Lee and Chieu 2012): it is always the first m candidates for some m. It knows probabilities; it does not know titles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
_LEAST = 0.01  # candidates less probable than this change no choice
_BLOCK = 256


def accepted_by_expected_f1(probabilities: Probabilities) -> npt.NDArray[np.int64]:
    """How many of each row's candidates to accept, for the best expected F1; int64, shape (rows,).

    F1 is the contest's: the row itself is counted among both the accepted and the true ones. Candidates are taken to
    be right or wrong independently of each other.

    Args:
        probabilities: shape (rows, candidates), descending in each row, 0 where there are no more.
    """
    counts = np.empty(len(probabilities), np.int64)
    widths = (probabilities >= _LEAST).sum(axis=1)
    order = np.argsort(widths, kind="stable")  # rows of as many candidates together: few rows have many
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        block = probabilities[rows, : int(widths[rows].max())]
        counts[rows] = _best(np.where(block >= _LEAST, block, 0))
    return counts


def _best(block: Probabilities) -> npt.NDArray[np.int64]:
    rows, width = block.shape
    after = _numbers_true(block)
    before = np.zeros((rows, width + 1))
    before[:, 0] = 1
    best, expected = np.zeros(rows, np.int64), np.full(rows, -1.0)
    true = np.arange(width + 1)
    for m in range(width + 1):
        if m:
            before = _one_more(before, block[:, m - 1])
        f1 = 2 * (1 + true[: m + 1, None]) / (2 + m + true[: m + 1, None] + true[None, : width + 1 - m])
        value = (before[:, : m + 1] @ f1 * after[m][:, : width + 1 - m]).sum(axis=1)
        better = value > expected + 1e-9
        best[better], expected[better] = m, value[better]
    return best


def _numbers_true(block: Probabilities) -> list[Probabilities]:
    """For each m the distribution of how many of the candidates from the m-th on are true; (rows, width + 1) each."""
    rows, width = block.shape
    last = np.zeros((rows, width + 1))
    last[:, 0] = 1
    found = [last]
    for at in range(width - 1, -1, -1):
        found.append(_one_more(found[-1], block[:, at]))
    return found[::-1]


def _one_more(distribution: Probabilities, probability: Probabilities) -> Probabilities:
    """The distribution of a count with one more coin in it."""
    more = distribution * (1 - probability[:, None])
    more[:, 1:] += distribution[:, :-1] * probability[:, None]
    return more
