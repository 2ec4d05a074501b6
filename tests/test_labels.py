"""Labels: products keep to one side, held-out titles stay out of training, bad files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedder.errors import InputError
from training.labels import Columns, Labelled, gather_products, read_labelled, split_of


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


def pair_file(path: Path, *rows: tuple[str, str, object]) -> Path:
    return write(path, "title_a,title_b,label\n" + "".join(f"{a},{b},{label}\n" for a, b, label in rows))


def test_pairs_join_into_products_and_keep_their_negatives(tmp_path: Path) -> None:
    path = pair_file(tmp_path / "p.csv", ("나", "가", 1), ("다", "나", "same"), ("라", "다", 0), ("라", "마", "다름"))
    labelled = read_labelled(path)
    assert labelled.titles == ["나", "가", "다", "라", "마"]
    assert labelled.groups == ["p:가", "p:가", "p:가", "p:라", "p:마"]
    assert labelled.splits == [split_of(group) for group in labelled.groups]
    assert labelled.negatives == [(3, 2), (3, 4)]


def test_the_order_of_pairs_does_not_move_a_product(tmp_path: Path) -> None:
    rows = [(f"상품 {n}", f"물건 {n - n % 3}", 1) for n in range(50)]
    ways = [read_labelled(pair_file(tmp_path / "p.csv", *order)) for order in (rows, rows[::-1])]
    assert len({frozenset(zip(w.titles, w.groups, w.splits, strict=True)) for w in ways}) == 1


CONTRARY = [("가", "나", 1), ("나", "다", 1), ("가", "다", 0), ("가", "라", 0), ("라", "마", 1)]


def test_conflicts_stop_with_their_rows_or_are_left_out(tmp_path: Path) -> None:
    path = pair_file(tmp_path / "p.csv", *CONTRARY)
    with pytest.raises(InputError) as stopped:
        read_labelled(path)
    assert "p.csv: 1 of 2 pairs called different contradict" in str(stopped.value)
    assert "line 4 calls '가' and '다' different; called the same: '가' and '나' (line 2), '나' and '다'" in str(
        stopped.value
    )
    labelled = read_labelled(path, conflicts="drop")
    assert labelled.conflicts == len(labelled.told) == 1
    assert labelled.negatives == [(0, 3)]


def test_of_many_conflicts_some_are_told(tmp_path: Path) -> None:
    same = [(f"상품 {n}", f"상품 {n + 1}", 1) for n in range(60)]
    path = pair_file(tmp_path / "p.csv", ("끝", "끝 2", 1), *same, *((a, b, 0) for a, b, _ in same))
    with pytest.raises(InputError, match="60 of 60 pairs called different") as stopped:
        read_labelled(path)
    assert str(stopped.value).count("\n") == 21
    assert str(stopped.value).endswith("and 40 more")


@pytest.mark.parametrize(
    ("rows", "message"),
    [([("a", "b", 1), ("b", "c", 1)], "all 3 rows are one product"), ([("a", "b", 0)], "no product has two listings")],
)
def test_pairs_that_teach_nothing_are_refused(tmp_path: Path, rows: list[tuple[str, str, int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labelled(pair_file(tmp_path / "p.csv", *rows))


def test_a_published_part_of_pairs_holds_every_product_it_names(tmp_path: Path) -> None:
    rows = "가,나,1,test\n다,라,1,train\n가,마,0,test\n다,바,0,train\n나,다,0,train\n"
    labelled = read_labelled(
        write(tmp_path / "p.csv", "title_a,title_b,label,part\n" + rows), test_where=("part", "test")
    )
    sides = dict(zip(labelled.titles, labelled.splits, strict=True))
    assert {title for title, side in sides.items() if side == "test"} == {"가", "나", "마"}


def test_a_published_part_through_a_pair_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "title_a,title_b,label,part\n가,나,1,test\n나,다,1,train\n라,마,0,test\n")
    with pytest.raises(InputError, match=r"line 3, column part: product '가' stands on both sides of part=test"):
        read_labelled(path, test_where=("part", "test"))


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "left,right,match\n가,나,1\n다,라,0\n")
    columns = Columns(title_a="left", title_b="right", label="match")
    assert len(set(read_labelled(path, columns=columns).groups)) == 3
    path = write(tmp_path / "g.csv", "what,which\n가,1\n나,1\n다,2\n")
    assert len(set(read_labelled(path, columns=Columns("what", "which")).groups)) == 2


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "NULL", "N/A"])
def test_a_label_that_means_none_is_refused_where_it_stands(tmp_path: Path, label: str) -> None:
    path = write(tmp_path / "a.csv", f"title,cluster_id\na,1\nb,1\nc,{label}\n")
    with pytest.raises(
        InputError, match=rf"line 4, column cluster_id: label '{label}'; expected a product, or nothing"
    ):
        read_labelled(path)


def test_negatives_are_pairs_of_products_on_the_training_side() -> None:
    titles = ["나 1", "나 2", "가 1", "다 1", "라 1"]
    groups = ["b", "b", "a", "c", "d"]
    negatives = [(0, 2), (1, 2), (2, 3), (3, 4)]
    products = gather_products([Labelled("s", titles, groups, ["train"] * 4 + ["test"], negatives)])
    place = {products.of(i)[0]: i for i in range(len(products))}
    expected = {tuple(sorted((place["나 1"], place["가 1"]))), tuple(sorted((place["가 1"], place["다 1"])))}
    assert {tuple(pair) for pair in products.negatives.tolist()} == expected
    assert len(products.negatives) == 2
    assert products.unjoined.tolist() == sorted([place["가 1"], place["다 1"]])


def test_sets_without_pairs_have_no_negatives() -> None:
    products = gather_products([Labelled("s", ["a 1", "b 1"], ["a", "b"], ["train"] * 2)])
    assert products.negatives.shape == (0, 2)
    assert products.unjoined.shape == (0,)
