"""The words of the alias table: which spellings, in which script, say one and the same thing.

`aliases.csv` stands beside this file and is made to be edited: a row names a trait, one of its values and the
spellings of that value, split by "|". A star says where a longer Hangul word may go on: "딸기" is only the whole
word, "오뚜기*" may begin one, "*블랙" may end one, "*초코*" may stand anywhere in one. A spelling of several words
matches them one after another.

It knows spellings; it does not know what a trait is good for, nor quantities, codes or numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from embedder.errors import InputError

COLUMNS = ("trait", "value", "spellings")
_FILE = Path(__file__).with_name("aliases.csv")

Hit = tuple[str, str]  # a trait and its value
_Stem = tuple[str, bool, bool, tuple[Hit, ...]]  # letters, whether more may stand before and after them, what they say
_Phrase = tuple[tuple[str, ...], tuple[Hit, ...]]  # the words after the first, what they all say
_Some = TypeVar("_Some", _Stem, _Phrase)


@dataclass(frozen=True)
class Words:
    """The alias table, ready to look words up in.

    Attributes:
        values: of each trait its values, in the order of the file.
        whole: what a whole word says.
        phrases: of the first word of a spelling of several words, the words that follow it, the longest first.
        stems: spellings with stars by their first two letters, the longest first.
    """

    values: dict[str, tuple[str, ...]]
    whole: dict[str, tuple[Hit, ...]]
    phrases: dict[str, tuple[_Phrase, ...]]
    stems: dict[str, tuple[_Stem, ...]]

    def within(self, run: str) -> Iterator[Hit]:
        """What the parts of a run of Hangul say, from left to right; letters once read are not read again."""
        at, end = 0, len(run)
        while at < end - 1:
            for stem, before, after, hits in self.stems.get(run[at : at + 2], ()):
                if run.startswith(stem, at) and (before or at == 0) and (after or at + len(stem) == end):
                    yield from hits
                    at += len(stem) - 1
                    break
            at += 1

    def phrase(self, words: Sequence[str], at: int) -> tuple[int, tuple[Hit, ...]]:
        """How many words from ``at`` on make a spelling, and what it says; (0, ()) where none begins."""
        for rest, hits in self.phrases.get(words[at], ()):
            if tuple(words[at + 1 : at + 1 + len(rest)]) == rest:
                return 1 + len(rest), hits
        return 0, ()


@lru_cache(maxsize=1)
def words() -> Words:
    """The table that ships, read once."""
    return read_words(_FILE)


def read_words(path: str | Path) -> Words:
    """Read an alias table.

    Args:
        path: CSV in UTF-8 with the columns of ``COLUMNS``.

    Raises:
        InputError: a column is missing, a cell is blank, a starred spelling is shorter than two letters or of several
            words, or a row gives a spelling twice.
    """
    path = Path(path)
    values: dict[str, dict[str, None]] = {}
    said: dict[str, list[Hit]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"columns are {reader.fieldnames}; expected {', '.join(COLUMNS)}", file=path.name, line=1)
        for row in reader:
            for column in COLUMNS:
                if not (row[column] or "").strip():
                    raise InputError("a blank cell", file=path.name, line=reader.line_num, column=column)
            hit = (row["trait"].strip(), row["value"].strip())
            values.setdefault(hit[0], {})[hit[1]] = None
            for spelling in _spellings(row["spellings"], file=path.name, line=reader.line_num):
                hits = said.setdefault(spelling, [])
                if hit in hits:
                    raise InputError(f"{spelling!r} stands twice", file=path.name, line=reader.line_num)
                hits.append(hit)
    return _arranged({trait: tuple(names) for trait, names in values.items()}, said)


def _spellings(cell: str, *, file: str, line: int) -> Iterator[str]:
    for spelling in cell.casefold().split("|"):
        parts = spelling.strip("* ").split()
        if not parts or "*" in " ".join(parts):
            raise InputError(f"{spelling!r} is no spelling", file=file, line=line, column="spellings")
        if "*" in spelling and (len(parts) > 1 or len(parts[0]) < 2):
            message = f"{spelling!r} has a star; expected one word of at least two letters"
            raise InputError(message, file=file, line=line, column="spellings")
        yield " ".join(spelling.split())


def _arranged(values: dict[str, tuple[str, ...]], said: dict[str, list[Hit]]) -> Words:
    whole: dict[str, list[Hit]] = {}
    phrases: dict[str, list[_Phrase]] = {}
    stems: dict[str, list[_Stem]] = {}
    for spelling, hits in said.items():
        first, *rest = spelling.strip("*").split()
        if rest:
            phrases.setdefault(first, []).append((tuple(rest), tuple(hits)))
            continue
        whole.setdefault(first, []).extend(hits)
        if "*" in spelling:
            stems.setdefault(first[:2], []).append(
                (first, spelling.startswith("*"), spelling.endswith("*"), tuple(hits))
            )
    return Words(
        values,
        {word: tuple(dict.fromkeys(hits)) for word, hits in whole.items()},
        {word: _longest_first(some) for word, some in phrases.items()},
        {head: _longest_first(some) for head, some in stems.items()},
    )


def _longest_first(some: Iterable[_Some]) -> tuple[_Some, ...]:
    return tuple(sorted(some, key=lambda one: -len(one[0])))
