"""Reasons: why two titles stand together, and what speaks against it, in words that a shop's staff understand.

It knows what titles say: quantities, traits, words. It does not know vectors, scores or thresholds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from embedder.text import clean
from index import quantities, traits

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_SHOWN = 4
_AGAINST = "다름"


def words(title: str) -> list[str]:
    """Runs of letters and numbers of a cleaned title, lower case, each once, in their order."""
    return _words(clean(title))


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(_WORD.findall(text.casefold())))


@dataclass(frozen=True)
class Said:
    """What a title says, taken apart once for all that it is held against; make it with ``said``."""

    words: list[str]
    quantities: quantities.Quantities
    traits: traits.Traits


def said(title: str) -> Said:
    """Take a raw title apart."""
    text = clean(title)
    return Said(_words(text), quantities.parse(text), traits.parse(text))


def reason(query: str, item: str) -> str:
    """Why two raw titles stand together, and what speaks against it; see ``reason_between``."""
    return reason_between(said(query), said(item))


def reason_between(one: Said, other: Said) -> str:
    """Why two titles stand together, and what speaks against it.

    What they contradict each other on comes first (수량 다름 2L×6 ≠ 2L×12), then what they agree on (같은 모델명
    SM-R510), then shared words, and numbers that only one has where nothing else tells of them. A word counts as
    shared when it stands anywhere in the other title, spaces aside: sellers space as they like.
    """
    told = quantities.explain(one.quantities, other.quantities) + traits.explain(one.traits, other.traits)
    told = sorted(told, key=lambda line: _AGAINST not in line)[:_SHOWN]
    text = "".join(told).casefold().replace("×", "x")
    known = set(_words(text))
    shared = dict.fromkeys(_shared(one.words, other.words) + _shared(other.words, one.words))
    letters = [word for word in shared if len(word) > 1 and not word[0].isdigit() and word not in text]
    parts = [*told, *([f"공통: {_listed(letters)}"] if letters else [])]
    numbers = [
        [word for word in own.words if word[0].isdigit() and word not in shared and word not in known]
        for own in (one, other)
    ]
    if any(numbers) and not any(_AGAINST in line for line in told):
        parts.append("숫자 차이: " + " ↔ ".join(_listed(side) or "없음" for side in numbers))
    return " · ".join(parts) or "글자는 다르지만 뜻이 가까움"


def _shared(own: list[str], other: list[str]) -> list[str]:
    whole, text = set(other), "".join(other)
    return [word for word in own if word in whole or (len(word) > 1 and not word[0].isdigit() and word in text)]


def _listed(some: Iterable[str]) -> str:
    return ", ".join(islice(some, _SHOWN))
