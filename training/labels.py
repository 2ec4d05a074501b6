"""Labels: which titles are the same product, and which products training may see.

Groups come from files of titles with a cluster id, or from pairs that somebody called the same or different.
Products are split into train, validation and test by a hash of their id, so that a product keeps its side in every
run and whichever other files are read. Two products that a pair calls different may stand on different sides: that
they differ gives nothing away. It does not know models or losses.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from embedder.text import clean
from index.items import Items, read_items
from index.tables import Table, read_table
from training.pairs import TitlePairs, pair_columns, read_pairs

SPLITS = ("train", "validation", "test")


LISTED = 20  # conflicts that are told in full; whoever mends so many reads the file again anyway
_NO_LABELS = frozenset({"nan", "none", "null", "n/a", "#n/a", "<na>"})  # what careless exports write for an empty cell


@dataclass(frozen=True)
class Columns:
    """Columns to read where the known names do not do; ``label`` is that of groups and of pairs.

    With ``title_a`` or ``title_b`` every file is read as pairs.
    """

    title: str | None = None
    label: str | None = None
    title_a: str | None = None
    title_b: str | None = None


@dataclass(frozen=True)
class Labelled:
    """Rows of one file: raw titles, the product of each, and the split that each product belongs to.

    ``groups`` are ids unique across files (``file:label``); a row without a label is a product of its own. Of a file
    of pairs each title is one row, and a product is named by the first of its titles in alphabetical order.

    ``negatives`` are pairs of rows whose titles were called different; a title that only they name is a product of
    its own as far as is known, and judged as one. ``conflicts`` counts those left out because pairs called the same
    join their titles, and ``told`` tells the first ``LISTED`` of them with their rows. ``unknown`` counts rows
    without a label.
    """

    name: str
    titles: list[str]
    groups: list[str]
    splits: list[str]
    negatives: list[tuple[int, int]] = field(default_factory=list)
    conflicts: int = 0
    told: tuple[str, ...] = ()
    unknown: int = 0

    def part(self, split: str) -> tuple[list[str], list[str]]:
        """Titles and groups of one of ``SPLITS``."""
        rows = [row for row, side in enumerate(self.splits) if side == split]
        return [self.titles[row] for row in rows], [self.groups[row] for row in rows]


def split_of(group: str, test: float = 0.2, validation: float = 0.1) -> str:
    """The side a product stands on, from a hash of its id: the same in every run."""
    digest = hashlib.blake2b(group.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return "test" if place < test else "validation" if place < test + validation else "train"


def read_labelled(
    path: str | Path,
    *,
    name: str | None = None,
    test_where: tuple[str, str] | None = None,
    columns: Columns | None = None,
    conflicts: Literal["stop", "drop"] = "stop",
) -> Labelled:
    """Read one labelled file: groups, or pairs where it has the columns ``title_a`` and ``title_b``.

    Args:
        path: CSV, TSV, JSON Lines or Parquet with a title and a label column, or two title columns and a label
            column; "-" for groups on standard input.
        name: what to call the set; the file's folder or stem when not given.
        test_where: (column, value): the rows that are the test part when the file has that column (a published
            split). A pair in it puts the products of both its titles there.
        columns: to read where the known names do not do.
        conflicts: whether a pair called different within a product stops, or is left out.

    Raises:
        InputError: the file cannot be read, has no labels or one that is no label, holds fewer than two products or
            no product with two titles, has conflicts that stop, or ``test_where`` splits a product over two sides.
    """
    path, columns = Path(path), columns or Columns()
    name = name or (path.parent.name if path.stem in {"titles", "train"} and path.parent.name else path.stem)
    table = None if str(path) == "-" else read_table(path)
    paired = pair_columns(table, columns.title_a, columns.title_b, columns.label) if table else None
    if table and paired:
        labelled, owners = _of_pairs(name, read_pairs(table, paired), stop=conflicts == "stop")
    else:
        items = read_items(path, title_column=columns.title, label_column=columns.label, need_labels=True)
        table, labelled = items.table, _of_groups(name, items)
        owners = [(group,) for group in labelled.groups]
    if test_where and test_where[0] in table.columns:
        labelled = _as_published(labelled, table, owners, test_where)
    if (products := len(set(labelled.groups))) < 2:
        raise InputError(
            f"all {len(labelled.groups)} rows are one product; training needs at least two", file=str(path)
        )
    if products == len(labelled.groups):
        raise InputError("no product has two listings; training needs pairs to learn from", file=str(path))
    return labelled


def _of_groups(name: str, items: Items) -> Labelled:
    labels = items.labels or []
    for row, label in enumerate(labels):
        if label.strip().casefold() in _NO_LABELS:
            fault = f"label {label!r}; expected a product, or nothing in the rows whose product is not known"
            raise items.table.error(row, fault, column=items.label_column)
    groups = [f"{name}:{label}" if label else f"{name}:row {row}" for row, label in enumerate(labels)]
    splits = [split_of(group) for group in groups]
    return Labelled(name, items.titles, groups, splits, unknown=labels.count(""))


def _of_pairs(name: str, pairs: TitlePairs, *, stop: bool) -> tuple[Labelled, list[tuple[str, ...]]]:
    """The set, and the products that each row of the file names: one where its titles are the same, else two."""
    product = pairs.products().tolist()
    first: dict[int, str] = {}
    for text, number in zip(pairs.texts, product, strict=True):
        first[number] = min(text, first.get(number, text))
    groups = [f"{name}:{first[number]}" for number in product]
    conflicts = pairs.conflicts()
    told = pairs.told(conflicts[:LISTED])
    if conflicts and stop:
        more = [f"and {len(conflicts) - LISTED:,} more"] if len(conflicts) > LISTED else []
        raise InputError(
            "\n  ".join([
                f"{len(conflicts):,} of {len(pairs.different):,} pairs called different contradict pairs called the "
                "same; expected labels that agree, or --conflicts drop to leave those out", *told, *more,
            ]),
            file=pairs.table.name,
        )  # fmt: skip
    wrong = {pair.row for pair in conflicts}
    negatives = [(pair.left, pair.right) for pair in pairs.different if pair.row not in wrong]
    owners: list[tuple[str, ...]] = [()] * len(pairs.table)
    for pair in pairs.same:
        owners[pair.row] = (groups[pair.left],)
    for pair in pairs.different:
        owners[pair.row] = groups[pair.left], groups[pair.right]
    splits = [split_of(group) for group in groups]
    return Labelled(name, pairs.titles, groups, splits, negatives, len(conflicts), tuple(told)), owners


def _as_published(
    labelled: Labelled, table: Table, owners: Sequence[tuple[str, ...]], test_where: tuple[str, str]
) -> Labelled:
    """The set with the published test part, which every product that it names stands in whole."""
    column = table.columns[test_where[0]]
    inside = [str(value) == test_where[1] for value in column]
    chosen = {group for named, here in zip(owners, inside, strict=True) if here for group in named}
    for row, (named, here) in enumerate(zip(owners, inside, strict=True)):
        if not here and len(named) == 1 and named[0] in chosen:
            raise table.error(
                row,
                f"product {named[0].removeprefix(labelled.name + ':')!r} stands on both sides of "
                f"{test_where[0]}={test_where[1]}; a split must keep a product's listings together",
                column=test_where[0],
            )
    splits = [
        "test" if group in chosen else "validation" if side == "validation" else "train"
        for group, side in zip(labelled.groups, labelled.splits, strict=True)
    ]
    return replace(labelled, splits=splits)


@dataclass(frozen=True)
class Products:
    """Products to train on: ``titles[offsets[i]:offsets[i + 1]]`` are the cleaned titles of product ``i``.

    ``sources[i]`` is the position of the product's set, or -1 for a title of unknown product, which is taken as a
    product of its own in contrastive batches and never becomes a class. Products of a set stand in the order of their
    titles, so that neighbours are alike: hard negatives for free.

    ``negatives`` are pairs of products that were called different, int64, shape (n, 2), each once, the smaller number
    first. ``unjoined`` are the products, int64, that pairs name but never call the same as anything: what else is
    theirs is not known, so they are told apart from others but never become a class.
    """

    titles: list[str]
    offsets: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int32]
    negatives: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    unjoined: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.sources)

    def of(self, product: int) -> list[str]:
        """The titles of one product."""
        return self.titles[self.offsets[product] : self.offsets[product + 1]]


def gather_products(sets: Sequence[Labelled], unlabelled: Iterable[str] = ()) -> Products:
    """The train part of several sets, and titles of unknown product behind them; held-out titles are left out."""
    titles: list[str] = []
    offsets, sources = [0], list[int]()
    held_out = {clean(t) for s in sets for t, side in zip(s.titles, s.splits, strict=True) if side != "train"}
    seen: set[str] = set(held_out)
    negatives: set[tuple[int, int]] = set()
    unjoined: list[int] = []
    for position, labelled in enumerate(sets):
        members: dict[str, dict[str, None]] = {}
        for title, group in zip(*labelled.part("train"), strict=True):
            if (text := clean(title)) and text not in held_out:
                members.setdefault(group, {})[text] = None
        number: dict[str, int] = {}
        for group in sorted(members, key=lambda g: min(members[g])):
            number[group] = len(sources)
            titles += members[group]
            seen.update(members[group])
            offsets.append(len(titles))
            sources.append(position)
        negatives |= _between(labelled, number)
        unjoined += sorted({number[g] for g in _alone(labelled) if g in number})
    for title in unlabelled:
        if (text := clean(title)) and text not in seen:
            seen.add(text)
            titles.append(text)
            offsets.append(len(titles))
            sources.append(-1)
    return Products(
        titles, np.array(offsets, np.int64), np.array(sources, np.int32),
        np.array(sorted(negatives), np.int64).reshape(-1, 2), np.array(unjoined, np.int64),
    )  # fmt: skip


def _between(labelled: Labelled, number: Mapping[str, int]) -> set[tuple[int, int]]:
    """The pairs of products that were called different, of those that have a number."""
    ends = ((labelled.groups[left], labelled.groups[right]) for left, right in labelled.negatives)
    numbers = ((number[a], number[b]) for a, b in ends if a in number and b in number)
    return {(min(pair), max(pair)) for pair in numbers}


def _alone(labelled: Labelled) -> set[str]:
    """Products of one row that only pairs called different name."""
    rows = Counter(labelled.groups)
    named = {labelled.groups[row] for pair in labelled.negatives for row in pair}
    return {group for group in named if rows[group] == 1}
