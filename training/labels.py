"""Labels: which titles are the same product, and which products training may see.

Groups come from files of titles with a cluster id. Products are split into train, validation and test by a hash of
their id, so that a product keeps its side in every run and whichever other files are read. It does not know models
or losses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from embedder.text import clean
from index.items import read_items

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Labelled:
    """Rows of one file: raw titles, the product of each, and the split that each product belongs to.

    ``groups`` are ids unique across files (``file:label``); a row without a label is a product of its own.
    """

    name: str
    titles: list[str]
    groups: list[str]
    splits: list[str]

    def part(self, split: str) -> tuple[list[str], list[str]]:
        """Titles and groups of one of ``SPLITS``."""
        rows = [row for row, side in enumerate(self.splits) if side == split]
        return [self.titles[row] for row in rows], [self.groups[row] for row in rows]


def split_of(group: str, test: float = 0.2, validation: float = 0.1) -> str:
    """The side a product stands on, from a hash of its id: the same in every run."""
    digest = hashlib.blake2b(group.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return "test" if place < test else "validation" if place < test + validation else "train"


def read_labelled(path: str | Path, *, name: str | None = None, test_where: tuple[str, str] | None = None) -> Labelled:
    """Read one labelled file.

    Args:
        path: CSV, TSV, JSON Lines or Parquet with a title and a label column.
        name: what to call the set; the file's folder or stem when not given.
        test_where: (column, value): the rows that are the test part when the file has that column (a published split).

    Raises:
        InputError: the file cannot be read, has no labels, holds fewer than two products or no product with two
            titles, or ``test_where`` splits a product over two sides.
    """
    items = read_items(path, need_labels=True)
    path = Path(path)
    name = name or (path.parent.name if path.stem in {"titles", "train"} and path.parent.name else path.stem)
    labels = items.labels or []
    groups = [f"{name}:{label}" if label else f"{name}:row {row}" for row, label in enumerate(labels)]
    splits = [split_of(group) for group in groups]
    if test_where and test_where[0] in items.table.columns:
        column = items.table.columns[test_where[0]]
        chosen = {group for group, value in zip(groups, column, strict=True) if str(value) == test_where[1]}
        for row, (group, value) in enumerate(zip(groups, column, strict=True)):
            if group in chosen and str(value) != test_where[1]:
                raise items.table.error(
                    row,
                    f"product {labels[row]!r} stands on both sides of {test_where[0]}={test_where[1]}; "
                    "a split must keep a product's listings together",
                    column=test_where[0],
                )
        splits = [
            "test" if group in chosen else "validation" if side == "validation" else "train"
            for group, side in zip(groups, splits, strict=True)
        ]
    if len(set(groups)) < 2:
        raise InputError(f"all {len(groups)} rows are one product; training needs at least two", file=str(path))
    if len(set(groups)) == len(groups):
        raise InputError("no product has two listings; training needs pairs to learn from", file=str(path))
    return Labelled(name, items.titles, groups, splits)


@dataclass(frozen=True)
class Products:
    """Products to train on: ``titles[offsets[i]:offsets[i + 1]]`` are the cleaned titles of product ``i``.

    ``sources[i]`` is the position of the product's set, or -1 for a title of unknown product, which is taken as a
    product of its own in contrastive batches and never becomes a class. Products of a set stand in the order of their
    titles, so that neighbours are alike: hard negatives for free.
    """

    titles: list[str]
    offsets: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.sources)

    def of(self, product: int) -> list[str]:
        """The titles of one product."""
        return self.titles[self.offsets[product] : self.offsets[product + 1]]


def gather_products(sets: Sequence[Labelled], unlabelled: Iterable[str] = ()) -> Products:
    """The train part of several sets, and titles of unknown product behind them; held-out titles are left out."""
    titles: list[str] = []
    offsets, sources = [0], []
    held_out = {clean(t) for s in sets for t, side in zip(s.titles, s.splits, strict=True) if side != "train"}
    seen: set[str] = set(held_out)
    for position, labelled in enumerate(sets):
        members: dict[str, dict[str, None]] = {}
        for title, group in zip(*labelled.part("train"), strict=True):
            if (text := clean(title)) and text not in held_out:
                members.setdefault(group, {})[text] = None
        for group in sorted(members, key=lambda g: min(members[g])):
            titles += members[group]
            seen.update(members[group])
            offsets.append(len(titles))
            sources.append(position)
    for title in unlabelled:
        if (text := clean(title)) and text not in seen:
            seen.add(text)
            titles.append(text)
            offsets.append(len(titles))
            sources.append(-1)
    return Products(titles, np.array(offsets, np.int64), np.array(sources, np.int32))
