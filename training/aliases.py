"""Aliases from labels: a Hangul and a Latin word that stand for each other in titles of the same product.

Where one seller writes 나이키 and another Nike, the two words fall on opposite sides of pair after pair. Such words
are counted and ranked; somebody who knows the brands then chooses what goes into `index/aliases.csv`.

It does not know brands: a word and its translation (화이트, white) look the same to it as two spellings of a name.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from embedder.errors import InputError
from embedder.text import clean

_HANGUL = re.compile(r"[가-힣]{2,}")
_LATIN = re.compile(r"(?<![0-9a-z-])[a-z]{2,}(?![0-9a-z])")


@dataclass(frozen=True)
class Candidate:
    """Two words that may stand for each other.

    Attributes:
        hangul, latin: the words, lower case.
        together: pairs of titles in which one side has only the one and the other side only the other.
        share: ``together`` over the pairs in which the rarer of the two words stands on one side only.
        score: log-likelihood ratio of ``together`` against chance; higher is surer.
    """

    hangul: str
    latin: str
    together: int
    share: float
    score: float


def mine_aliases(pairs: Iterable[tuple[str, str]], *, min_count: int = 3, min_share: float = 0.3) -> list[Candidate]:
    """Words of two scripts that stand for each other, the surest first.

    Association is the log-likelihood ratio of Dunning (1993, "Accurate methods for the statistics of surprise and
    coincidence"), which does not overrate rare words as pointwise mutual information does.

    Args:
        pairs: titles of the same product, raw or cleaned.
        min_count: the fewest pairs that must show the two words, at least 1.
        min_share: the smallest ``Candidate.share``, between 0 and 1.

    Raises:
        InputError: an option is out of range.
    """
    if min_count < 1:
        raise InputError(f"min_count is {min_count}; expected at least 1")
    if not 0 <= min_share <= 1:
        raise InputError(f"min_share is {min_share}; expected a number between 0 and 1")
    hangul: Counter[str] = Counter()
    latin: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    total = 0
    for pair in pairs:
        total += 1
        first, second = (clean(title).casefold() for title in pair)
        mine, theirs = _only(_HANGUL, first, second), _only(_HANGUL, second, first)
        own, its = _only(_LATIN, first, second), _only(_LATIN, second, first)
        hangul.update(mine | theirs)
        latin.update(own | its)
        both.update({*product(mine, its), *product(theirs, own)})
    found = []
    for (a, b), count in both.items():
        share = count / min(hangul[a], latin[b])
        score = _log_likelihood(count, hangul[a], latin[b], total)
        if count >= min_count and share >= min_share and score > 0:
            found.append(Candidate(a, b, count, share, score))
    return sorted(found, key=lambda one: (-one.score, one.hangul, one.latin))


def _only(words: re.Pattern[str], title: str, other: str) -> set[str]:
    """Words of one title that stand nowhere in the other, spaces aside."""
    rest = other.replace(" ", "")
    return {word for word in words.findall(title) if word not in rest}


def _log_likelihood(both: int, first: int, second: int, total: int) -> float:
    """Twice the log ratio of the table's likelihoods with and without a tie; 0 where the two repel each other."""
    if both * total <= first * second:
        return 0.0
    cells = (both, first - both, second - both, total - first - second + both)
    chance = [
        row * column / total for row in (first, total - first) for column in (second, total - second)
    ]  # both, first only, second only, neither
    return 2 * sum(cell * math.log(cell / by) for cell, by in zip(cells, chance, strict=True) if cell)
