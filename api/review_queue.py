"""The queue that reviewers of one service share: no pair is shown to two of them at the same time.

Pairs are asked for some at a time, because to find the ones that teach most takes a look at the whole catalogue. What
was shown and not answered comes back later.

It knows pairs and when they were shown. It does not know what a label does, nor pages.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from index.ledger import Label
from index.review import Suggestion

AT_ONCE = 30  # pairs asked for
_AGAIN = 300.0  # seconds until a pair that was shown and not answered may come back
Suggest = Callable[[int, int], Sequence[Suggestion]]
Find = Callable[[str, str], Label | None]


class ReviewQueue:
    """Pairs to review. Safe to use from several threads.

    Args:
        suggest: the best pairs to ask, given how many and the seed of a draw.
        find: the label of a pair of items, if it has one.
        clock: seconds, of any beginning.
    """

    def __init__(self, suggest: Suggest, find: Find, clock: Callable[[], float] = time.monotonic) -> None:
        self._suggest, self._find, self._clock = suggest, find, clock
        self._turn = threading.Lock()
        self._waiting: deque[Suggestion] = deque()
        self._shown: dict[tuple[str, str], float] = {}
        self._draws = 0

    def next(self) -> Suggestion | None:
        """The pair to show next; None where there is nothing left to ask."""
        with self._turn:
            for _ in range(2):
                while self._waiting:
                    pair = self._waiting.popleft()
                    if not self._is_out(pair) and self._find(pair.left.id, pair.right.id) is None:
                        self._shown[_key(pair)] = self._clock()
                        return pair
                found = self._suggest(AT_ONCE, self._draws)
                self._draws += 1
                self._waiting.extend(found)
            return None

    def _is_out(self, pair: Suggestion) -> bool:
        """Whether somebody has the pair before them just now."""
        now = self._clock()
        self._shown = {key: at for key, at in self._shown.items() if now - at < _AGAIN}
        return _key(pair) in self._shown


def _key(pair: Suggestion) -> tuple[str, str]:
    return min(pair.left.id, pair.right.id), max(pair.left.id, pair.right.id)
