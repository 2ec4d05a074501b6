"""Evidence: what two titles share and what only one of them says, in words.

It knows cleaned text; it does not know vectors, scores or thresholds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from embedder.text import clean

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_SHOWN = 4


def words(title: str) -> list[str]:
    """Runs of letters and numbers of a cleaned title, lower case, each once, in their order."""
    return list(dict.fromkeys(_WORD.findall(clean(title).casefold())))


def reason(query: str, item: str) -> str:
    """Why two titles stand together, and what speaks against it: shared words, then numbers that only one has.

    A word counts as shared when it stands anywhere in the other title, spaces aside: sellers space as they like.
    """
    mine, theirs = words(query), words(item)
    shared = dict.fromkeys(_shared(mine, theirs) + _shared(theirs, mine))
    numbers = [[word for word in own if word[0].isdigit() and word not in shared] for own in (mine, theirs)]
    parts = [f"공통: {_listed(shared)}"] if shared else []
    if any(numbers):
        parts.append("숫자 차이: " + " ↔ ".join(_listed(side) or "없음" for side in numbers))
    return " · ".join(parts) or "글자는 다르지만 뜻이 가까움"


def _shared(own: list[str], other: list[str]) -> list[str]:
    whole, text = set(other), "".join(other)
    return [word for word in own if word in whole or (len(word) > 1 and not word[0].isdigit() and word in text)]


def _listed(some: Iterable[str]) -> str:
    return ", ".join(islice(some, _SHOWN))
