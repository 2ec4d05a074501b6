"""The sets that dongil is measured on, wherever a user has put them: found, checked by counts, split as published.

No set comes with dongil. Each is looked for under one folder that the user names; one that is missing says where it
is to be had. It does not know models or measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold

from benchmarks.labelled import LabelledSet, Reading, checked, read_groups, read_pairs, read_queries
from embedder.errors import InputError
from index.items import read_items
from index.tables import read_table

_GATHERED = "it was gathered from public repositories and is not handed on; ask whoever measured with it"
_DEEPMATCHER = "it is among the entity-matching data sets on the DeepMatcher page, with tables and pair splits"
_KAGGLE = 'train.csv is on the Kaggle page of the competition "Shopee - Price Match Guarantee"'
_UCI = 'it is in the UCI Machine Learning Repository as "Product Classification and Clustering"'
_AIRUSH = "it was given to those who took part in Naver AI RUSH 2021, task 2-5, and is not public"


@dataclass(frozen=True)
class DataSet:
    """A set that is known: where it lies, how it is read, and what must be in it.

    Attributes:
        name: as it is asked for.
        place: under the user's folder; a file, or for pairs and AI RUSH a folder.
        rows, products: exactly so many, or the copy is not the one that others measured on; None where nobody tells.
        source: where it is to be had.
        read: from the place to the set.
        where: the rows of the published split.
    """

    name: str
    place: str
    rows: int
    products: int | None
    source: str
    read: Callable[[Path, Reading], LabelledSet] = read_groups
    where: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def load_set(name: str, root: str | Path, *, unseen: bool = False) -> LabelledSet:
    """Read one of ``DATA_SETS`` from under a folder.

    Args:
        name: of the set.
        root: the folder that holds the sets.
        unseen: see ``Reading``.

    Raises:
        InputError: no such set, it does not lie there (the error says where it is to be had), or it holds other
            numbers of rows or products than the published copy.
    """
    known = next((data for data in DATA_SETS if data.name == name), None)
    if known is None:
        raise InputError(f"no data set {name!r}; expected one of {', '.join(d.name for d in DATA_SETS)}")
    place = Path(root) / known.place
    if not place.exists():
        raise InputError(f"data set {name} is not here; {known.source}", file=str(place))
    data = known.read(place, Reading(name=Path(known.place).parts[0], where=known.where, unseen=unseen))
    for what, found, expected in (("rows", len(data), known.rows), ("products", len(set(data.groups)), known.products)):
        if expected and found != expected:
            message = f"holds {found:,} labelled {what}; the published copy has {expected:,}; {known.source}"
            raise InputError(message, file=str(place))
    return data if data.name == name else replace(data, name=name)


def load_titles(root: str | Path) -> list[str]:
    """The 313,241 titles of ``korean_unlabelled``: no labels, for load and speed.

    Raises:
        InputError: not there, or another number of titles.
    """
    place = Path(root) / "korean_unlabelled" / "titles.csv"
    if not place.exists():
        raise InputError(f"data set korean_unlabelled is not here; {_GATHERED}", file=str(place))
    titles = read_items(place).titles
    if len(titles) != 313_241:
        raise InputError(f"holds {len(titles):,} titles; expected 313,241", file=str(place))
    return titles


def _read_shopee_original(path: Path, reading: Reading) -> LabelledSet:
    """Kaggle's ``train.csv``: fold 0 of GroupKFold(5) is the test part, fold 1 the validation part.

    Groups are sorted and then dealt to folds by size, so labels must be numbers here: as text they sort otherwise.
    """
    items = reading.items(path)
    if wrong := next((label for label in items.labels or [] if not label.isdecimal()), None):
        raise InputError(f"label {wrong!r}; expected the whole numbers of label_group; {_KAGGLE}", file=str(path))
    labels = np.array([int(label) for label in items.labels or []])
    folds = np.empty(len(labels), np.int64)
    for fold, (_, rows) in enumerate(GroupKFold(5).split(labels, groups=labels)):
        folds[rows] = fold
    table = items.table.with_column("fold", [str(fold) for fold in folds])
    where = {"test": ("fold", "0"), "validation": ("fold", "1")}
    split = reading if reading.unseen else replace(reading, where=where)
    return checked(reading.name or "shopee", "groups", items.titles, items.labels or [], split, str(path), table=table)


def _read_airush(folder: Path, reading: Reading) -> LabelledSet:
    """The labelled part of AI RUSH 2-5: every Parquet file of ``train/train_data``, in the order of their names."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"no Parquet file here; {_AIRUSH}", file=str(folder))
    parts = [reading.items(file) for file in files]
    titles = [title for part in parts for title in part.titles]
    labels = [label for part in parts for label in part.labels or []]
    return checked(reading.name or "airush", "groups", titles, labels, reading, str(folder))


def _read_pricerunner(path: Path, reading: Reading) -> LabelledSet:
    """PriceRunner's aggregate: its header has a blank before most names."""
    named = {column.strip().casefold(): column for column in read_table(path).columns}
    missing = [name for name in ("product id", "product title", "cluster id") if name not in named]
    if missing:
        raise InputError(f"no column {missing[0]!r}; {_UCI}", file=str(path))
    id, title, label = (named[name] for name in ("product id", "product title", "cluster id"))
    return read_groups(path, replace(reading, id_column=id, title_column=title, label_column=label))


DATA_SETS = (
    DataSet("korea_cvs", "korea_cvs/titles.csv", 4_893, 3_322, _GATHERED),
    DataSet("naver_model_code", "naver_model_code/titles.csv", 2_046, 812, _GATHERED),
    DataSet("danawa", "danawa/titles.csv", 84_626, 80_668, _GATHERED),
    DataSet("naver_catalog_iherb_pairs", "naver_catalog_iherb_pairs/titles.csv", 104, 52, _GATHERED),
    DataSet("oliveyoung_rank", "oliveyoung_rank/titles.csv", 993, 961, _GATHERED),
    DataSet("shopee", "shopee/titles.csv", 27_399, 8_811, f"it is folds 1-4; {_KAGGLE}", where={"test": ("fold", "1")}),
    DataSet("abt-buy", "abt-buy", 2_173, 1_145, _DEEPMATCHER, read_pairs),
    DataSet("amazon-google", "amazon-google", 4_589, 3_423, _DEEPMATCHER, read_pairs),
    DataSet("walmart-amazon", "walmart-amazon", 24_628, 23_666, _DEEPMATCHER, read_pairs),
    DataSet("shopee-original", "shopee/train.csv", 34_250, 11_014, _KAGGLE, _read_shopee_original),
    DataSet("airush", "airush2021-2-5/train/train_data", 160_008, None, _AIRUSH, _read_airush),
    DataSet("pricerunner", "pricerunner/pricerunner_aggregate.csv", 35_311, 13_233, _UCI, _read_pricerunner),
)


def open_set(
    labelled: str,
    reading: Reading,
    *,
    data: Path | None = None,
    queries: Path | None = None,
    published: bool = False,
) -> LabelledSet:
    """The labelled set that a user means.

    Args:
        labelled: a file of groups, a database where ``queries`` are given, a folder of two tables and pairs, or the
            name of one of ``DATA_SETS`` where ``data`` is given.
        reading: how a file is read; of it, a named set keeps ``unseen`` alone.
        data: the folder that holds the sets.
        queries: the query file of a database.
        published: keep the published split of labelled pairs.

    Raises:
        InputError: it cannot be read, or two of these do not go together.
    """
    if data is not None:
        if queries or published:
            raise InputError(f"{labelled} is a named set; expected neither queries nor a published pair split with it")
        return load_set(labelled, data, unseen=reading.unseen)
    path = Path(labelled)
    if path.is_dir():
        if queries:
            raise InputError("a folder of tables has no query file; expected a database file", file=labelled)
        return read_pairs(path, reading, published=published)
    if published:
        raise InputError("no pair tables here; expected a folder with tableA.csv and tableB.csv", file=labelled)
    return read_queries(path, queries, reading) if queries else read_groups(path, reading)
