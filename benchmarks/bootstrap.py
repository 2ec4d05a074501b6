"""Bootstrap: how far a measured value might be off, had other products been drawn.

It knows sums over rows and the product of each row; it does not know what a sum means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value and the 95 % bootstrap interval around it."""

    value: float
    low: float
    high: float


class Resamples:
    """Draws of whole products: rows of one product stand or fall together, so rows drawn singly would promise too much.

    Args:
        groups: product of each row, length n, at least 1.
        draws: how often the products are drawn anew, as many as there are, with replacement.
        seed: of the draws.
    """

    def __init__(self, groups: Sequence[str] | npt.NDArray[np.int64], *, draws: int = 1000, seed: int = 0) -> None:
        self._code = np.unique(np.asarray(groups), return_inverse=True)[1]
        self._products = products = int(self._code.max()) + 1
        rng = np.random.default_rng(seed)
        drawn = [np.bincount(rng.integers(products, size=products), minlength=products) for _ in range(draws)]
        self._weights = np.array(drawn, np.float32)

    def interval(self, statistic: Callable[..., Values], *columns: Values) -> Interval | None:
        """A statistic of sums over rows, with its percentile interval.

        Args:
            statistic: of one array per column, elementwise; where it is not finite (0 / 0) a draw is left out.
            columns: one number per row, length n.

        Returns:
            None where the statistic of all rows is not finite.
        """
        sums = np.stack([np.bincount(self._code, column, self._products) for column in columns])
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(*sums.sum(1)))
            drawn = statistic(*(self._weights @ sums.T.astype(np.float32)).T)
        drawn = drawn[np.isfinite(drawn)]
        if not np.isfinite(value) or not len(drawn):
            return None
        # The draws are summed in single precision: where all agree they may miss the value by its last digit.
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Interval(value, min(float(low), value), max(float(high), value))

    def row_weights(self, draws: int) -> Iterator[Values]:
        """How often each row stands in each of the first draws: for statistics that are no function of sums."""
        for weights in self._weights[:draws]:
            yield weights[self._code].astype(np.float64)
