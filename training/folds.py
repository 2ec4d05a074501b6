"""Folds: every product is held out once, so that a recipe is judged on all labels and not on one lucky part.

The same serves a decision: what it learns of similarities must come from products that the encoder did not learn from.

Products are dealt into folds by a hash of their id, another one than that of the usual split. It knows which side a
product stands on and how scores of folds are told; it does not know how a model is trained or judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from training.labels import Labelled, split_of

Scores = dict[str, dict[str, float]]  # set -> measure -> value


def fold_of(group: str, folds: int) -> int:
    """The fold that a product is held out in, 0 to ``folds - 1``, from a hash of its id: the same in every run."""
    digest = hashlib.blake2b(group.encode(), digest_size=8, person=b"fold").digest()
    return int.from_bytes(digest, "big") % folds


def fold_set(labelled: Labelled, fold: int, folds: int) -> Labelled:
    """The set split for one fold: its products are the test part, and a tenth of the others the validation part.

    A published test part is dealt into folds like everything else.
    """
    splits = [
        "test" if fold_of(group, folds) == fold else split_of(group, test=0.0, validation=0.1)
        for group in labelled.groups
    ]
    return replace(labelled, splits=splits)


def withheld_set(labelled: Labelled, fold: int, folds: int) -> Labelled:
    """The set as an encoder sees it that serves the decision alone: it learns without one fold of the train part.

    That fold's products are the test part, and no product is in the usual one: those rows are neither learnt from nor
    judged.
    """
    splits = [
        "unseen" if side == "test" else "test" if side == "train" and fold_of(group, folds) == fold else side
        for side, group in zip(labelled.splits, labelled.groups, strict=True)
    ]
    return replace(labelled, splits=splits)


def over_folds(scores: Sequence[Scores]) -> dict[str, Any]:
    """Out-of-fold scores for ``metrics.json``: of each set and measure the folds' values, their mean and deviation.

    Args:
        scores: of each fold. A set that was too small to be judged in a fold is missing there, and has ``None``.
            The deviation is that of a sample (n - 1); ``None`` for a set judged once.
    """
    told: dict[str, Any] = {}
    for name in sorted({name for fold in scores for name in fold}):
        measures = next(fold[name] for fold in scores if name in fold)
        told[name] = {}
        for measure in measures:
            values = [fold[name][measure] if name in fold else None for fold in scores]
            there = [value for value in values if value is not None]
            told[name][measure] = {
                "mean": mean(there), "sd": stdev(there) if len(there) > 1 else None, "folds": values,
            }  # fmt: skip
    return {"number": len(scores), "by_set": told}
