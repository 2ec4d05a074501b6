"""Folds: each product is held out exactly once, whole, and the scores of the folds are told together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.folds import fold_of, fold_set, over_folds, withheld_set
from training.labels import Labelled, gather_products, split_of

GROUPS = [f"set:{product}" for product in range(3000) for _ in range(1 + product % 2)]
LABELLED = Labelled("set", [f"상품 {row}" for row in range(len(GROUPS))], GROUPS, ["train"] * len(GROUPS))


def test_every_product_is_held_out_once_and_whole() -> None:
    held_out = [
        {group for group, side in zip(GROUPS, fold_set(LABELLED, fold, 5).splits, strict=True) if side == "test"}
        for fold in range(5)
    ]
    assert sum(map(len, held_out)) == len(set().union(*held_out)) == 3000
    assert all(500 < len(groups) < 700 for groups in held_out)


def test_the_others_train_and_choose() -> None:
    for fold in range(5):
        sides: dict[str, set[str]] = {}
        for group, side in zip(GROUPS, fold_set(LABELLED, fold, 5).splits, strict=True):
            sides.setdefault(group, set()).add(side)
        assert all(len(found) == 1 for found in sides.values())
        rest = [found for group, found in sides.items() if fold_of(group, 5) != fold]
        assert sum(found == {"validation"} for found in rest) / len(rest) == pytest.approx(0.1, abs=0.03)


def test_withheld_products_are_of_the_train_part_and_whole() -> None:
    usual = replace(LABELLED, splits=[split_of(group) for group in GROUPS])
    withheld = [withheld_set(usual, fold, 2).splits for fold in range(2)]
    for side, *found in zip(usual.splits, *withheld, strict=True):
        assert sorted(found) == {
            "train": ["test", "train"], "validation": ["validation"] * 2, "test": ["unseen"] * 2,
        }[side]  # fmt: skip
    products = [{g for g, side in zip(GROUPS, splits, strict=True) if side == "test"} for splits in withheld]
    assert not products[0] & products[1]
    # Neither what is withheld nor what is unseen is learnt from.
    learnt = gather_products([withheld_set(usual, 0, 2)])
    assert len(learnt.titles) == withheld[0].count("train")


def test_folds_do_not_follow_the_usual_split() -> None:
    test = [group for group in set(GROUPS) if split_of(group) == "test"]
    shares = [sum(fold_of(group, 5) == fold for group in test) / len(test) for fold in range(5)]
    assert max(shares) < 0.3


def test_scores_are_told_by_fold_with_mean_and_deviation() -> None:
    told = over_folds([{"a": {"row_f1": 0.8}, "b": {"row_f1": 0.5}}, {"a": {"row_f1": 0.6}}])
    assert told["number"] == 2
    assert told["by_set"]["a"]["row_f1"] == {
        "mean": pytest.approx(0.7), "sd": pytest.approx(0.02**0.5), "folds": [0.8, 0.6],
    }  # fmt: skip
    assert told["by_set"]["b"]["row_f1"] == {"mean": 0.5, "sd": None, "folds": [0.5, None]}
