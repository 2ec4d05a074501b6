"""Errors in Korean: what the core says of bad input in English, with every value and place that it names.

The core makes each message of a sentence with places for values, and jobs keep messages in the catalogue, so that a
message is told by its words. ``pages/korean_errors.json`` holds the Korean of each sentence, by the same places.

It knows sentences. It does not know where they come from; the tests read that off the modules that raise them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

_PLACE = re.compile(r"\{(\w+)\}")
_NAMED = ("field", "name", "what", "words", "state", "states", "phase", "scope", "proof")
# What a place may hold, where any text would take a sentence for another one.
_NUMBERS = ("line", "row", "count", "size", "least", "most", "seen", "recall")
_HELD = MappingProxyType({"field": r"[\w. ]+?", **dict.fromkeys(_NUMBERS, r"[-\d.,]+")})
_LONGEST = 2_000  # characters of a message that is looked at
_DEEPEST = 6  # messages in one another: of a file, of a line, of a value, of what was expected of it


@dataclass(frozen=True)
class KoreanErrors:
    """The Korean of errors.

    Attributes:
        names: of fields, states and the like, for the places that hold them.
        sentences: of messages; a place called ``message`` holds another one, and ``words`` perhaps one.
    """

    names: Mapping[str, str] = field(repr=False)
    sentences: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> KoreanErrors:
        """Read the table."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def __call__(self, message: str) -> str | None:
        """A message in Korean; None where there is none for the whole of it."""
        return self._told(message, _DEEPEST) if len(message) <= _LONGEST else None

    def _told(self, message: str, deepest: int) -> str | None:
        for pattern, korean in self._patterns if deepest else ():
            if found := pattern.fullmatch(message):
                values = {place: self._value(place, value, deepest) for place, value in found.groupdict().items()}
                if None not in values.values():
                    return korean.format(**values)
        return None

    def _value(self, place: str, value: str, deepest: int) -> str | None:
        if place == "message":
            return self._told(value, deepest - 1)
        told = self._told(value, deepest - 1) if place == "words" else None
        return told or (self.names.get(value, value) if place in _NAMED else value)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Each sentence as an expression, those of the most words of their own first."""
        ordered = sorted(self.sentences, key=lambda one: (-len(_PLACE.sub("", one)), one))
        return [(re.compile(_expression(english), re.DOTALL), self.sentences[english]) for english in ordered]


def _expression(english: str) -> str:
    parts = _PLACE.split(english)
    return "".join(
        f"(?P<{part}>{_HELD.get(part, '.+?')})" if number % 2 else re.escape(part) for number, part in enumerate(parts)
    )
