"""Labelled pairs: titles that somebody called the same product, or two different ones.

Pairs called the same join titles into products. A pair called different whose titles are joined all the same is a
conflict: one of the labels in that circle is wrong. Two spellings with one cleaned text are one title here. It does
not know which label of a conflict is the wrong one, nor splits, batches or models; and it does not know of two titles
that no pair names together whether they are one product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from embedder.text import clean
from index.clustering import Edges, connected_components
from index.formats import cell_text, shown
from index.items import MAX_TITLE_BYTES
from index.tables import Table

ANSWERS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("1", "1.0", "true", "same", "match", "같음"), True)
    | dict.fromkeys(("0", "0.0", "false", "different", "non-match", "다름"), False)
)
PAIR_COLUMNS = ("title_a", "title_b", "label")


@dataclass(frozen=True)
class Pair:
    """Two titles by their numbers, and the row of the file, counted from 0, that names them."""

    left: int
    right: int
    row: int


@dataclass(frozen=True)
class TitlePairs:
    """The pairs of one file.

    Attributes:
        table: the file.
        titles: one for each cleaned text, as it stands where it is first met.
        texts: the cleaned texts, all different; of a title without a letter or digit the title itself.
        same, different: the pairs by their label, in the order of the file.
    """

    table: Table
    titles: list[str] = field(repr=False)
    texts: list[str] = field(repr=False)
    same: list[Pair] = field(repr=False)
    different: list[Pair] = field(repr=False)

    def products(self) -> npt.NDArray[np.int64]:
        """The product of each title, named by the title in it that was met first: int64, length of the titles."""
        return join(len(self.titles), self.same)

    def conflicts(self) -> list[Pair]:
        """The pairs called different whose titles are of one product, in the order of the file."""
        product = self.products()
        return [pair for pair in self.different if product[pair.left] == product[pair.right]]

    def told(self, conflicts: Sequence[Pair]) -> list[str]:
        """One sentence for each conflict, which names every row that has a part in it."""
        found = chains(self.same, conflicts)
        return [self._sentence(pair, chain) for pair, chain in zip(conflicts, found, strict=True)]

    def _sentence(self, pair: Pair, chain: Sequence[Pair]) -> str:
        left, right = (shown(self.titles[title]) for title in (pair.left, pair.right))
        place = self.table.place(pair.row)
        if pair.left == pair.right:
            return f"{place} calls {left} different from itself"
        links = ", ".join(
            f"{shown(self.titles[p.left])} and {shown(self.titles[p.right])} ({self.table.place(p.row)})" for p in chain
        )
        return f"{place} calls {left} and {right} different; called the same: {links}"


def join(titles: int, pairs: Sequence[Pair]) -> npt.NDArray[np.int64]:
    """The connected group of each title, named by its smallest number: int64, shape (titles,)."""
    ends = np.sort(np.array([(pair.left, pair.right) for pair in pairs], np.int64).reshape(-1, 2), axis=1)
    ends = np.unique(ends[ends[:, 0] < ends[:, 1]], axis=0)
    return connected_components(titles, Edges(ends[:, 0], ends[:, 1], np.ones(len(ends), np.float32)))


def chains(same: Sequence[Pair], conflicts: Sequence[Pair]) -> list[list[Pair]]:
    """For each conflict a shortest chain of pairs from its left title to its right one; empty where they are one.

    Breadth-first search, so that a person has the fewest labels to look at.

    Raises:
        ValueError: no chain joins the titles of a conflict.
    """
    beside: dict[int, list[tuple[int, Pair]]] = {}
    for pair in same:
        beside.setdefault(pair.left, []).append((pair.right, pair))
        beside.setdefault(pair.right, []).append((pair.left, pair))
    return [_chain(beside, pair.left, pair.right) for pair in conflicts]


def _chain(beside: Mapping[int, Sequence[tuple[int, Pair]]], start: int, end: int) -> list[Pair]:
    came: dict[int, tuple[int, Pair] | None] = {start: None}
    waiting = deque([start])
    while waiting and end not in came:
        here = waiting.popleft()
        for there, pair in beside.get(here, ()):
            if there not in came:
                came[there] = here, pair
                waiting.append(there)
    if end not in came:
        raise ValueError(f"no chain joins titles {start} and {end}")
    back: list[Pair] = []
    while step := came[end]:
        end, pair = step
        back.append(pair)
    return back[::-1]


def pair_columns(
    table: Table, title_a: str | None = None, title_b: str | None = None, label: str | None = None
) -> tuple[str, str, str] | None:
    """The columns of the two titles and the label, or None for a file that is not of pairs.

    A file is of pairs when it has ``title_a`` and ``title_b``, in any case, or when the caller names one of the two.

    Raises:
        InputError: it is of pairs, but lacks one of the three columns.
    """
    known = {column.strip().casefold(): column for column in reversed(table.columns)}
    if not (title_a or title_b or all(name in known for name in PAIR_COLUMNS[:2])):
        return None
    given = (title_a, title_b, label)
    first, second, third = (name or known.get(usual, usual) for name, usual in zip(given, PAIR_COLUMNS, strict=True))
    for name, option in ((first, "title-a"), (second, "title-b"), (third, "label")):
        if name not in table.columns:
            listed = ", ".join(repr(column) for column in table.columns)
            raise InputError(f"no column {name!r} among {listed}; name it with --{option}-column", file=table.name)
    return first, second, third


def read_pairs(table: Table, columns: tuple[str, str, str]) -> TitlePairs:
    """Read a table of labelled pairs.

    Args:
        table: one pair a row.
        columns: of the two titles and of the label, which is one of ``ANSWERS``, in any case.

    Raises:
        InputError: a title or a label is not fit for use.
    """
    number: dict[str, int] = {}
    titles: list[str] = []
    pairs: dict[bool, list[Pair]] = {True: [], False: []}

    def known(row: int, column: str) -> int:
        title = _title(table, row, column)
        text = clean(title) or title.strip()
        if text not in number:
            number[text] = len(titles)
            titles.append(title)
        return number[text]

    for row in range(len(table)):
        left, right = (known(row, column) for column in columns[:2])
        pairs[_answer(table, row, columns[2])].append(Pair(left, right, row))
    return TitlePairs(table, titles, list(number), pairs[True], pairs[False])


def _title(table: Table, row: int, column: str) -> str:
    title: Any = table.columns[column][row]
    if not isinstance(title, str) or not title.strip():
        raise table.error(row, f"title {shown(title)}; expected text", column=column)
    if "\0" in title or len(title.encode()) > MAX_TITLE_BYTES:
        fault = f"title {shown(title)}; expected at most {MAX_TITLE_BYTES} bytes of UTF-8 and no NUL character"
        raise table.error(row, fault, column=column)
    return title


def _answer(table: Table, row: int, column: str) -> bool:
    value = table.columns[column][row]
    answer = ANSWERS.get(cell_text(value).strip().casefold())
    if answer is None:
        fault = (
            f"label {shown(value)}; expected 1 or 0, true or false, same or different, match or non-match, 같음 or 다름"
        )
        raise table.error(row, fault, column=column)
    return answer
