"""Examples: how much each pair counts, over pools of several sizes and encoders."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from index.clustering import Edges
from index.evidence import EVIDENCE
from training.examples import Examples, counts_of, unfolded


def examples(name: str, rows: int, concerns: list[int], weight: float = 1.0) -> Examples:
    pairs = len(concerns)
    at = np.arange(pairs)
    return Examples(
        name, weight, rows, Edges(at, at + 1, np.ones(pairs, np.float32)),
        np.zeros((pairs, len(EVIDENCE)), np.float32), np.zeros(pairs), np.array(concerns, float),
        np.zeros((pairs, 2), np.int64),
    )  # fmt: skip


def test_a_full_pool_counts_as_much_as_its_variants() -> None:
    group = [examples("a", 4, [1, 1, 2, 0]), examples("a", 2, [2, 0]), examples("a", 2, [1, 1])]
    full, *variants = counts_of([group])[0]
    assert full.sum() == pytest.approx(sum(one.sum() for one in variants))
    assert full.tolist()[3] == 0
    every = np.concatenate([full, *variants])
    assert every[every > 0].mean() == pytest.approx(1)


def test_sets_count_by_their_weight_however_many_encoders_saw_them() -> None:
    own, other = [examples("a", 2, [1, 1])], [examples("a", 6, [1] * 6)]
    single = [examples("b", 1, [1], weight=0.5)]
    counts = [np.concatenate(some) for some in counts_of([own, single, other])]
    assert counts[0].sum() + counts[2].sum() == pytest.approx(2 * counts[1].sum())
    assert counts[0][0] == pytest.approx(counts[2][0])  # every judged row alike


def test_unfolded_examples_are_left_out_of_no_fold() -> None:
    assert (unfolded(examples("a", 1, [1, 0])).folds == -1).all()
