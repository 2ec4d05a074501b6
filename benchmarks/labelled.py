"""Labelled sets: titles with the product of each, and which of them choose a threshold and which are reported on.

Three forms are read: groups (one file), a database with queries taken from it (two files), and labelled pairs over
two tables (a folder). Products are split by the hash that training splits them by, so a product that a model was
trained on is in the pool but never judged. It does not know models, nor what a score is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.errors import InputError
from index.formats import shown
from index.items import Items, read_items
from index.tables import Table, read_table
from training.labels import split_of

Rows = npt.NDArray[np.int64]

CATEGORY_COLUMNS = ("category", "category label", "카테고리", "분류")
PAIR_FILES: Mapping[str, str] = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of a left and a right table, each labelled as one product or two; arrays of one length.

    Attributes:
        left, right: row numbers in the set.
        same: the label.
        sides: "train", "validation" or "test": that of the left title's product, or of the published files.
        published: whether ``sides`` are the published ones.
        right_rows: all rows of the right table, int64.
    """

    left: Rows
    right: Rows
    same: npt.NDArray[np.bool_]
    sides: npt.NDArray[np.str_]
    published: bool
    right_rows: Rows


@dataclass(frozen=True)
class LabelledSet:
    """Titles, their products and what each product is for. Make one with the ``read_`` functions.

    Attributes:
        name: of the set.
        form: "groups", "queries" or "pairs".
        titles: raw, one per row.
        groups: product of each row, as ``name:label``, the id that training hashes.
        sides: of each row: "train" (in the pool, never judged), "validation" (chooses) or "test" (is reported).
        judged: whether the row is a query; rows that are not are in the pool alone.
        categories: of each row, where the file has them.
        pairs: of the form "pairs".
        notes: what a reader of the figures must know of this set.
    """

    name: str
    form: str
    titles: list[str] = field(repr=False)
    groups: list[str] = field(repr=False)
    sides: npt.NDArray[np.str_] = field(repr=False)
    judged: npt.NDArray[np.bool_] = field(repr=False)
    categories: list[str] | None = field(default=None, repr=False)
    pairs: LabelledPairs | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.titles)

    def rows(self, side: str) -> Rows:
        """The judged rows of a side."""
        return np.flatnonzero((self.sides == side) & self.judged)

    def codes(self) -> Rows:
        """Products as numbers, int64, one per row."""
        return np.unique(np.array(self.groups), return_inverse=True)[1].astype(np.int64)

    def digest(self) -> str:
        """What the figures depend on: titles, products, sides and queries."""
        parts = zip(self.titles, self.groups, self.sides.tolist(), self.judged.tolist(), strict=True)
        return hashlib.sha256("\0".join(f"{t}\1{g}\1{s}\1{j}" for t, g, s, j in parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Reading:
    """How a user wants a file read.

    Attributes:
        name: what training called the set; the file's folder or stem by default. The split hangs on it.
        id_column, title_column, label_column: where the known names do not do.
        where: side -> (column, value): the rows of a published split; "validation" without one is hashed.
        unseen: no model saw this set in training: half of the products choose and half are reported.
    """

    name: str | None = None
    id_column: str | None = None
    title_column: str | None = None
    label_column: str | None = None
    where: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unseen: bool = False

    def items(self, path: Path, *, need_labels: bool = True) -> Items:
        """The file's ids, titles and labels."""
        return read_items(
            path, id_column=self.id_column, title_column=self.title_column, label_column=self.label_column,
            need_labels=need_labels,
        )  # fmt: skip

    def side(self, group: str) -> str:
        """The side of a product by its hash."""
        return split_of(group, 0.5, 0.5) if self.unseen else split_of(group)


def read_groups(path: str | Path, reading: Reading | None = None) -> LabelledSet:
    """Read one file of titles with the product of each.

    Raises:
        InputError: the file cannot be used (see ``checked``), or a column of ``where`` is missing or splits a product.
    """
    reading, path = reading or Reading(), Path(path)
    items = reading.items(path)
    name = reading.name or set_name(path)
    return checked(
        name, "groups", items.titles, items.labels or [], reading, str(path), table=items.table,
        categories=_categories(items.table),
    )  # fmt: skip


def read_queries(database: str | Path, queries: str | Path, reading: Reading | None = None) -> LabelledSet:
    """Read a labelled database and the queries taken from it, as in AI RUSH 2-5: only the queries are judged.

    Raises:
        InputError: a file cannot be used, or a query's id is not in the database.
    """
    reading, database = reading or Reading(), Path(database)
    items = reading.items(database)
    row_of = {id: row for row, id in enumerate(items.ids)}
    if items.id_column is None:
        raise InputError("no id column; expected one that the queries name, or --id-column", file=str(database))
    asked = reading.items(Path(queries), need_labels=False)
    judged = np.zeros(len(items), bool)
    for row, id in enumerate(asked.ids):
        if id not in row_of:
            message = f"query {shown(id)} is not in the database; expected one of the {len(items):,} ids in {database}"
            raise asked.table.error(row, message, column=asked.id_column)
        judged[row_of[id]] = True
    return checked(
        reading.name or set_name(database), "queries", items.titles, items.labels or [], reading, str(database),
        table=items.table, categories=_categories(items.table), judged=judged,
    )  # fmt: skip


def read_pairs(folder: str | Path, reading: Reading | None = None, *, published: bool = False) -> LabelledSet:
    """Read two tables and labelled pairs over them: ``tableA.csv``, ``tableB.csv`` and the files of ``PAIR_FILES``.

    Products are the titles that true pairs connect. A pair stands on the side of its left title's product, so that
    no pair is judged whose query a model may have seen; ``published`` keeps the files' own split instead.

    Raises:
        InputError: a file is missing or cannot be used, a pair names an unknown id, or a label is neither 0 nor 1.
    """
    reading, folder = reading or Reading(), Path(folder)
    name = reading.name or folder.resolve().name
    tables = [reading.items(folder / file, need_labels=False) for file in ("tableA.csv", "tableB.csv")]
    places = [{id: row for row, id in enumerate(table.ids)} for table in tables]
    first_right = len(tables[0])
    left, right, same, parts = _read_pair_files(folder, places)
    right += first_right
    titles = tables[0].titles + tables[1].titles
    keys = [f"A{id}" for id in tables[0].ids] + [f"B{id}" for id in tables[1].ids]
    labels = [f"{name}_{keys[root]}" for root in _roots(len(titles), left[same], right[same])]
    categories = [_categories(table.table) for table in tables]
    data = checked(
        name, "pairs", titles, labels, reading, str(folder),
        categories=(categories[0] or []) + (categories[1] or []) if all(categories) else None,
    )  # fmt: skip
    sides = parts if published else data.sides[left]
    pairs = LabelledPairs(left, right, same, sides, published, np.arange(first_right, len(titles)))
    return LabelledSet(
        name, data.form, titles, data.groups, data.sides, data.judged, data.categories, pairs, data.notes
    )  # fmt: skip


def checked(
    name: str,
    form: str,
    titles: Sequence[str],
    labels: Sequence[str],
    reading: Reading,
    file: str,
    *,
    table: Table | None = None,
    categories: Sequence[str] | None = None,
    judged: npt.NDArray[np.bool_] | None = None,
) -> LabelledSet:
    """A set of the rows that have a label, split by product.

    Raises:
        InputError: fewer than two labelled rows, one product only, labels that all differ, or nothing to report on.
    """
    judged = np.ones(len(titles), bool) if judged is None else judged
    keep = [row for row, label in enumerate(labels) if label]
    groups = [f"{name}:{labels[row]}" for row in keep]
    products = len(set(groups))
    if len(groups) < 2:
        raise InputError(f"{len(groups)} labelled rows; expected at least two to compare", file=file)
    if products == 1:
        raise InputError(f"all {len(groups)} labelled rows are one product; expected at least two products", file=file)
    if products == len(groups):
        raise InputError(f"all {products} labels differ; expected a product with two listings to find", file=file)
    sides = _sides(groups, keep, reading, table, file)
    judged = judged[keep]
    if not ((sides == "test") & judged).any():
        raise InputError(
            f"none of {products} products is in the test part; expected more labels, or --unseen if no model was "
            "trained on this file",
            file=file,
        )
    without = len(titles) - len(keep)
    return LabelledSet(
        name, form, [titles[row] for row in keep], groups, sides, judged,
        [categories[row] for row in keep] if categories else None,
        notes=(f"Rows without a label were left out ({without:,}): what they match is not known.",) if without else (),
    )  # fmt: skip


def set_name(path: Path) -> str:
    """What training calls the set of a file (``training.labels.read_labelled``), so that the split is the same."""
    return path.parent.name if path.stem in {"titles", "train"} and path.parent.name else path.stem


def _sides(
    groups: Sequence[str], keep: Sequence[int], reading: Reading, table: Table | None, file: str
) -> npt.NDArray[np.str_]:
    sides = {group: reading.side(group) for group in groups}
    if reading.where and "validation" in reading.where:
        sides = dict.fromkeys(groups, "train")
    elif "test" in reading.where:
        sides = {group: "train" if side == "test" else side for group, side in sides.items()}
    for side, (column, value) in reading.where.items():
        if table is None or column not in table.columns:
            raise InputError(f"no column {column!r} for the {side} part; expected one of the file's", file=file)
        chosen = [str(table.columns[column][row]) == value for row in keep]
        inside = {group for group, chosen_row in zip(groups, chosen, strict=True) if chosen_row}
        for row, group, chosen_row in zip(keep, groups, chosen, strict=True):
            if group in inside and not chosen_row:
                message = f"product {group!r} stands on both sides of {column}={value}; expected its listings together"
                raise table.error(row, message, column=column)
        sides |= dict.fromkeys(inside, side)
    return np.array([sides[group] for group in groups])


def _categories(table: Table) -> list[str] | None:
    known = {column.strip().casefold(): column for column in reversed(table.columns)}
    column = next((known[name] for name in CATEGORY_COLUMNS if name in known), None)
    values = [str(value).strip() if value is not None else "" for value in table.columns[column]] if column else []
    return values if any(values) else None


def _read_pair_files(
    folder: Path, places: Sequence[Mapping[str, int]]
) -> tuple[Rows, Rows, npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    ends: dict[tuple[int, int], tuple[bool, str]] = {}
    for side, file in PAIR_FILES.items():
        table = read_table(folder / file)
        for column in ("ltable_id", "rtable_id", "label"):
            if column not in table.columns:
                raise InputError(f"no column {column!r}; expected ltable_id, rtable_id and label", file=table.name)
        columns = (table.columns[c] for c in ("ltable_id", "rtable_id", "label"))
        for row, (a, b, label) in enumerate(zip(*columns, strict=True)):
            for id, known, column, other in ((a, places[0], "ltable_id", "A"), (b, places[1], "rtable_id", "B")):
                if id not in known:
                    message = f"id {shown(id)} is not in table{other}.csv; expected one of its {len(known):,} ids"
                    raise table.error(row, message, column=column)
            if label not in ("0", "1"):
                raise table.error(row, f"label {shown(label)}; expected 1 for one product, 0 for two", column="label")
            pair = places[0][a], places[1][b]
            if ends.setdefault(pair, (label == "1", side))[0] != (label == "1"):
                raise table.error(row, f"pair {a}, {b} had the other label before; expected one", column="label")
    left, right = np.array(list(ends), np.int64).reshape(-1, 2).T
    same, sides = zip(*ends.values(), strict=True)
    return left.copy(), right.copy(), np.array(same), np.array(sides)


def _roots(n: int, left: Rows, right: Rows) -> list[int]:
    """The node that names each node's component: the right table's end of its last join."""
    parent = list(range(n))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        if (mine := root(a)) != (other := root(b)):
            parent[mine] = other
    return [root(node) for node in range(n)]
