"""The crowd around each row: how near its nearest others stand, best first.

A cosine of .8 is much where the next row stands at .5 and little where thirty rows stand at .8: what it is worth
depends on how thickly titles stand, and so on how large the catalogue is. It knows cosines; it does not know titles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.clustering import Ids
from index.vectors import Neighbours

Numbers = npt.NDArray[np.float32]
DEPTH = 20
"""Others that are kept of each row; a rank beyond is told as this."""


@dataclass(frozen=True)
class Crowd:
    """The nearest others of n rows.

    Attributes:
        nearest: the nearest other row, int64, shape (n,); -1 for a row that is alone.
        scores: cosines of the nearest others, best first, float32, shape (n, DEPTH); -1 where there are fewer.
    """

    nearest: Ids
    scores: Numbers

    @classmethod
    def of(cls, neighbours: Neighbours, own: Ids | None = None) -> Crowd:
        """The crowd that neighbour lists tell of.

        Args:
            neighbours: of each row, best first.
            own: what number each row has in the lists, int64; None for rows that stand in none.
        """
        other = neighbours.ids >= 0
        if own is not None:
            other &= neighbours.ids != own[:, None]
        order = np.argsort(~other, axis=1, kind="stable")[:, :DEPTH]  # others first, in their order
        real = np.take_along_axis(other, order, 1)
        scores = np.full((len(neighbours.ids), DEPTH), -1, np.float32)
        scores[:, : order.shape[1]] = np.where(real, np.take_along_axis(neighbours.scores, order, 1), -1)
        first = np.take_along_axis(neighbours.ids, order[:, :1], 1)[:, 0]
        return cls(np.where(real[:, 0], first, -1), scores)

    def ranks(self, rows: Ids, cosines: Numbers) -> Numbers:
        """How many others stand nearer to each row than the given cosine; float32, DEPTH at most."""
        # Searches of one title and of many differ by 3e-7.
        return np.asarray((self.scores[rows] > cosines[:, None] + 1e-6).sum(axis=1), np.float32)

    def gaps(self, rows: Ids, cosines: Numbers, others: Ids | None = None) -> Numbers:
        """By how much each cosine is above that of the best other row.

        ``others`` are the rows that the cosines lead to; None where they stand in no list.
        """
        best = self.scores[rows, 0]
        if others is not None:
            best = np.where(self.nearest[rows] == others, self.scores[rows, 1], best)
        return np.asarray(cosines - best, np.float32)
