"""Labelled sets: three forms, the split of training, and every input that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from benchmarks.labelled import PAIR_FILES, Reading, read_groups, read_pairs, read_queries
from embedder.errors import InputError
from training.labels import read_labelled, split_of

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def groups_file(folder: Path, products: int = 60, name: str = "listings.csv") -> Path:
    rows = [f"{p}-{i},title {p} {i},{p},{p % 5}" for p in range(products) for i in range(2)]
    return write(folder / name, "id,title,cluster_id,fold\n" + "\n".join(rows) + "\n")


def pair_folder(folder: Path, pairs: str = "0,0,1\n1,1,1\n2,2,0\n") -> Path:
    write(folder / "tableA.csv", "id,title\n" + "".join(f"{i},left {i}\n" for i in range(4)))
    write(folder / "tableB.csv", "id,name\n" + "".join(f"{i},right {i}\n" for i in range(5)))
    head = "ltable_id,rtable_id,label\n"
    write(folder / "train.csv", head + pairs)
    write(folder / "valid.csv", head + "3,3,1\n")
    write(folder / "test.csv", head + "3,4,1\n0,4,0\n")
    return folder


@pytest.mark.parametrize("name", ["listings.csv", "shop/titles.csv", "shop/train.csv"])
@pytest.mark.parametrize("where", [None, ("fold", "1")])
def test_products_stand_on_the_side_that_training_gives_them(
    tmp_path: Path, name: str, where: tuple[str, str] | None
) -> None:
    path = groups_file(tmp_path, name=name)
    theirs = read_labelled(path, test_where=where)
    ours = read_groups(path, Reading(where={"test": where} if where else {}))
    assert (ours.name, ours.titles, ours.groups) == (theirs.name, theirs.titles, theirs.groups)
    assert ours.sides.tolist() == theirs.splits
    assert ours.judged.all()
    assert ours.form == "groups"


def test_a_published_split_of_three_parts(tmp_path: Path) -> None:
    where = {"test": ("fold", "0"), "validation": ("fold", "1")}
    data = read_groups(groups_file(tmp_path), Reading(where=where))
    folds = [int(title.split()[1]) % 5 for title in data.titles]
    assert data.sides.tolist() == [{0: "test", 1: "validation"}.get(fold, "train") for fold in folds]


def test_an_unseen_set_is_judged_whole(tmp_path: Path) -> None:
    data = read_groups(groups_file(tmp_path), Reading(unseen=True))
    assert set(data.sides.tolist()) == {"validation", "test"}
    assert data.sides[0] == split_of(data.groups[0], 0.5, 0.5)


def test_the_sample_has_categories() -> None:
    data = read_groups(SAMPLE)
    assert data.categories is not None
    assert "food" in data.categories
    assert len(data.codes()) == len(data.categories) == len(data)
    assert data.digest() == read_groups(SAMPLE).digest() != read_groups(SAMPLE, Reading(unseen=True)).digest()


def test_rows_without_a_label_are_left_out_and_told(tmp_path: Path) -> None:
    path = groups_file(tmp_path)
    write(path, path.read_text() + "x,nobody knows,,0\n")
    data = read_groups(path)
    assert len(data) == 120
    assert "without a label were left out (1)" in data.notes[0]


def test_queries_alone_are_judged(tmp_path: Path) -> None:
    rows = "".join(f"n{p}{i},title {p} {i},c{p}\n" for p in range(40) for i in range(2))
    database = write(tmp_path / "db.csv", "nv_mid,prod_nm,match_nv_mid\n" + rows)
    queries = write(tmp_path / "query.csv", "nv_mid,prod_nm\n" + "".join(f"n{p}0,title {p} 0\n" for p in range(40)))
    data = read_queries(database, queries, Reading(unseen=True))
    assert data.form == "queries"
    assert data.judged.tolist() == [True, False] * 40
    assert set(data.rows("test") % 2) == {0}


def test_a_query_that_is_not_in_the_database(tmp_path: Path) -> None:
    database = groups_file(tmp_path)
    queries = write(tmp_path / "q.csv", "id,title\n0-0,title 0 0\nzz,unknown\n")
    with pytest.raises(InputError, match=r"q.csv, line 3, column id: query 'zz' is not in the database"):
        read_queries(database, queries)


def test_pairs_are_groups_and_stand_with_their_left_title(tmp_path: Path) -> None:
    data = read_pairs(pair_folder(tmp_path / "shop"), Reading(unseen=True))
    assert data.titles == [f"left {i}" for i in range(4)] + [f"right {i}" for i in range(5)]
    assert data.groups[0] == data.groups[4] == "shop:shop_B0"
    assert data.groups[3] == data.groups[7] == data.groups[8] == "shop:shop_B4"
    assert data.groups[2] == "shop:shop_A2"
    assert data.pairs is not None
    assert data.pairs.left.tolist() == [0, 1, 2, 3, 3, 0]
    assert data.pairs.right.tolist() == [4, 5, 6, 7, 8, 8]
    assert data.pairs.same.tolist() == [True, True, False, True, True, False]
    assert (data.pairs.sides == data.sides[data.pairs.left]).all()
    assert data.pairs.right_rows.tolist() == [4, 5, 6, 7, 8]


def test_the_published_pair_split_is_kept_when_asked(tmp_path: Path) -> None:
    data = read_pairs(pair_folder(tmp_path / "shop"), Reading(unseen=True), published=True)
    assert data.pairs is not None
    assert data.pairs.sides.tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert list(PAIR_FILES) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("0,9,1\n", r"train.csv, line 2, column rtable_id: id '9' is not in tableB.csv; expected one of its 5 ids"),
        ("0,0,1\n9,0,1\n", r"train.csv, line 3, column ltable_id: id '9' is not in tableA.csv"),
        ("0,0,2\n", r"line 2, column label: label '2'; expected 1 for one product, 0 for two"),
        ("0,0,1\n0,0,0\n", r"line 3, column label: pair 0, 0 had the other label before"),
    ],
)
def test_pairs_that_cannot_be(tmp_path: Path, pairs: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(pair_folder(tmp_path / "shop", pairs))


def test_a_missing_table(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path / "shop")
    (folder / "valid.csv").unlink()
    with pytest.raises(InputError, match=r"valid.csv: cannot be read"):
        read_pairs(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,a,p\n", "1 labelled rows; expected at least two"),
        ("1,a,\n2,b,\n", "0 labelled rows; expected at least two"),
        ("1,a,p\n2,b,p\n", "all 2 labelled rows are one product"),
        ("1,a,p\n2,b,q\n", "all 2 labels differ; expected a product with two listings"),
    ],
)
def test_labels_that_tell_nothing(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_groups(write(tmp_path / "few.csv", "id,title,cluster_id\n" + rows))


def test_no_labels_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no label column"):
        read_groups(write(tmp_path / "plain.csv", "id,title\n1,a\n"))


def test_no_product_to_report_on(tmp_path: Path) -> None:
    groups = [f"p{i}" for i in range(50) if split_of(f"few:p{i}") == "train"][:2]
    rows = "".join(f"{g}{i},{g} {i},{g}\n" for g in groups for i in range(2))
    path = write(tmp_path / "few.csv", "id,title,cluster_id\n" + rows)
    with pytest.raises(InputError, match="none of 2 products is in the test part; expected more labels, or --unseen"):
        read_groups(path)


def test_a_split_column_that_is_missing_or_splits_a_product(tmp_path: Path) -> None:
    path = groups_file(tmp_path)
    with pytest.raises(InputError, match="no column 'part' for the test part"):
        read_groups(path, Reading(where={"test": ("part", "1")}))
    with pytest.raises(InputError, match=r"line 3, column id: product .* stands on both sides of id=0-0"):
        read_groups(path, Reading(where={"test": ("id", "0-0")}))


def test_rows_of_a_side_are_the_judged_ones(tmp_path: Path) -> None:
    data = read_groups(groups_file(tmp_path))
    assert np.concatenate([data.rows(side) for side in ("train", "validation", "test")]).size == len(data)
