"""Known sets: found, counted, split as published, and an error that says where to get what is missing."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_labelled import groups_file, pair_folder, write

from benchmarks import datasets
from benchmarks.datasets import DATA_SETS, DataSet, load_set, load_titles, open_set
from benchmarks.labelled import Reading
from embedder.errors import InputError


def known(name: str) -> DataSet:
    return next(data for data in DATA_SETS if data.name == name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The known sets, without their counts: tests hold a few rows of each."""
    monkeypatch.setattr(datasets, "DATA_SETS", tuple(replace(d, rows=0, products=None) for d in DATA_SETS))


def test_names_are_told_apart() -> None:
    names = [data.name for data in DATA_SETS]
    assert len(set(names)) == len(names)
    with pytest.raises(InputError, match="no data set 'shopping'; expected one of korea_cvs"):
        load_set("shopping", ".")


@pytest.mark.parametrize("name", [data.name for data in DATA_SETS])
def test_a_missing_set_says_where_it_is_to_be_had(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"data set {name} is not here; ") as error:
        load_set(name, tmp_path)
    assert known(name).source in str(error.value)
    assert str(tmp_path / known(name).place) in str(error.value)


def test_another_number_of_rows_is_another_copy(tmp_path: Path) -> None:
    groups_file(tmp_path, name="korea_cvs/titles.csv")
    with pytest.raises(InputError, match="holds 120 labelled rows; the published copy has 4,893"):
        load_set("korea_cvs", tmp_path)


def test_another_number_of_products_is_another_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "DATA_SETS", (replace(known("korea_cvs"), rows=120),))
    groups_file(tmp_path, name="korea_cvs/titles.csv")
    with pytest.raises(InputError, match="holds 60 labelled products; the published copy has 3,322"):
        load_set("korea_cvs", tmp_path)


@pytest.mark.usefixtures("small")
def test_shopee_folds_one_to_four_are_tested_on_fold_one(tmp_path: Path) -> None:
    groups_file(tmp_path, name="shopee/titles.csv")
    data = load_set("shopee", tmp_path)
    folds = np.array([int(title.split()[1]) % 5 for title in data.titles])
    assert ((data.sides == "test") == (folds == 1)).all()
    assert "validation" in data.sides


@pytest.mark.usefixtures("small")
def test_shopee_as_kaggle_gives_it_is_split_by_group_k_fold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.choice(10_000, 50, replace=False), rng.integers(2, 6, 50))
    rows = "".join(f"train_{i},{i}.jpg,title {i},{label}\n" for i, label in enumerate(labels))
    write(tmp_path / "shopee" / "train.csv", "posting_id,image,title,label_group\n" + rows)
    data = load_set("shopee-original", tmp_path)
    assert data.name == "shopee-original"
    assert data.groups[0] == f"shopee:{labels[0]}"
    parts = {side: set(np.array(data.groups)[data.sides == side]) for side in ("train", "validation", "test")}
    assert not parts["test"] & parts["validation"] and not parts["test"] & parts["train"]
    sizes = [int((data.sides == side).sum()) for side in ("validation", "test")]
    assert max(sizes) - min(sizes) <= 6  # folds are dealt by size
    write(tmp_path / "shopee" / "train.csv", "posting_id,title,label_group\na,t,x1\nb,u,x1\n")
    with pytest.raises(InputError, match="label 'x1'; expected the whole numbers of label_group"):
        load_set("shopee-original", tmp_path)


@pytest.mark.usefixtures("small")
def test_airush_parquet_in_several_files(tmp_path: Path) -> None:
    folder = tmp_path / "airush2021-2-5" / "train" / "train_data"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="no Parquet file here"):
        load_set("airush", tmp_path)
    for part in range(2):
        rows = range(40 * part, 40 * part + 40)
        columns = {
            "nv_mid": [str(row) for row in rows], "prod_nm": [f"백산수 {row}" for row in rows],
            "match_nv_mid": [str(row // 4) for row in rows],
        }  # fmt: skip
        pq.write_table(pa.table(columns), folder / f"part{part}.parquet")
    data = load_set("airush", tmp_path, unseen=True)
    assert len(data) == 80
    assert len(set(data.groups)) == 20


@pytest.mark.usefixtures("small")
def test_pricerunner_with_blanks_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "pricerunner" / "pricerunner_aggregate.csv"
    head = "Product ID,Product Title, Merchant ID, Cluster ID, Cluster Label, Category ID, Category Label"
    rows = "".join(f"{i},phone {i},1,{i // 3},label,9,Mobile Phones\n" for i in range(90))
    write(path, head + "\n" + rows)
    data = load_set("pricerunner", tmp_path)
    assert data.categories is not None
    assert set(data.categories) == {"Mobile Phones"}
    assert data.groups[5] == "pricerunner:1"
    write(path, "Product ID,Title\n1,a\n")
    with pytest.raises(InputError, match="no column 'product title'"):
        load_set("pricerunner", tmp_path)


@pytest.mark.usefixtures("small")
def test_tables_and_pairs_by_name(tmp_path: Path) -> None:
    pair_folder(tmp_path / "abt-buy")
    data = load_set("abt-buy", tmp_path, unseen=True)
    assert data.form == "pairs"
    assert data.groups[0] == "abt-buy:abt-buy_B0"


def test_unlabelled_titles_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="korean_unlabelled is not here"):
        load_titles(tmp_path)
    with (tmp_path / "titles.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["title"], ["a"]])
    write(tmp_path / "korean_unlabelled" / "titles.csv", "title\na\n")
    with pytest.raises(InputError, match="holds 1 titles; expected 313,241"):
        load_titles(tmp_path)


def test_what_a_user_means(tmp_path: Path) -> None:
    groups, folder = groups_file(tmp_path), pair_folder(tmp_path / "shop")
    assert open_set(str(groups), Reading()).form == "groups"
    assert open_set(str(groups), Reading(), queries=groups).form == "queries"
    assert open_set(str(folder), Reading(unseen=True)).form == "pairs"
    with pytest.raises(InputError, match="a folder of tables has no query file"):
        open_set(str(folder), Reading(), queries=groups)
    with pytest.raises(InputError, match="no pair tables here"):
        open_set(str(groups), Reading(), published=True)
    with pytest.raises(InputError, match="is a named set"):
        open_set("shopee", Reading(), data=tmp_path, published=True)
    with pytest.raises(InputError, match="data set shopee is not here"):
        open_set("shopee", Reading(), data=tmp_path)
