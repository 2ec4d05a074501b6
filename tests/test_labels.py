"""Labels: products keep to one side, held-out titles stay out of training, bad files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedder.errors import InputError
from training.labels import Labelled, gather_products, read_labelled, split_of


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def many(path: Path, products: int = 200) -> Path:
    rows = [f"{p}-{i},제품 {p} 판매자 {i},g{p},{p % 5}" for p in range(products) for i in range(1 + p % 3)]
    return write(path, "id,title,cluster_id,fold\n" + "\n".join(rows) + "\n")


def test_a_product_stands_on_one_side_in_the_expected_shares() -> None:
    sides = [split_of(f"set:{product}") for product in range(5000)]
    assert sides == [split_of(f"set:{product}") for product in range(5000)]
    shares = {side: sides.count(side) / 5000 for side in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.02)


def test_rows_of_a_product_are_never_split(tmp_path: Path) -> None:
    labelled = read_labelled(many(tmp_path / "set.csv"))
    sides: dict[str, set[str]] = {}
    for group, side in zip(labelled.groups, labelled.splits, strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())


def test_a_published_test_part_is_taken_as_it_is(tmp_path: Path) -> None:
    labelled = read_labelled(many(tmp_path / "set.csv"), test_where=("fold", "1"))
    folds = [int(group.rpartition("g")[2]) % 5 for group in labelled.groups]
    assert all((side == "test") == (fold == 1) for fold, side in zip(folds, labelled.splits, strict=True))
    assert "validation" in labelled.splits


def test_a_published_split_through_a_product_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "title,cluster_id,fold\na,1,0\nb,1,1\nc,2,0\n")
    with pytest.raises(InputError, match=r"a\.csv, line 2, column fold: product '1' stands on both sides"):
        read_labelled(path, test_where=("fold", "1"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [("a,1\nb,1\n", "all 2 rows are one product"), ("a,1\nb,2\n", "no product has two listings")],
)
def test_labels_that_teach_nothing_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labelled(write(tmp_path / "a.csv", "title,cluster_id\n" + rows))


def test_rows_without_a_label_are_products_of_their_own(tmp_path: Path) -> None:
    labelled = read_labelled(write(tmp_path / "a.csv", "title,cluster_id\na,1\nb,1\nc,\nd,\n"))
    assert len(set(labelled.groups)) == 3


def test_held_out_titles_are_nowhere_in_what_is_trained_on() -> None:
    sides = ["train", "train", "test", "validation", "train"]
    labelled = Labelled("s", ["가 1", "가 2", "나 1", "다 1", "나 1"], ["a", "a", "b", "c", "d"], sides)
    products = gather_products([labelled], ["나 1", "[무료배송] 다 1", "라 1", "가 1", "라 1"])
    assert products.titles == ["가 1", "가 2", "라 1"]
    assert products.sources.tolist() == [0, -1]
    assert [products.of(i) for i in range(2)] == [["가 1", "가 2"], ["라 1"]]


def test_look_alikes_stand_side_by_side() -> None:
    titles = ["생수 2L 12개", "가방", "생수 2L 6개", "하늘"]
    labelled = Labelled("s", titles, ["a", "b", "c", "d"], ["train"] * 4)
    products = gather_products([labelled])
    order = [products.of(i)[0] for i in range(4)]
    assert abs(order.index("생수 2L 12개") - order.index("생수 2L 6개")) == 1
    assert np.diff(products.offsets).tolist() == [1, 1, 1, 1]
