"""Choosing a decision: probabilities that held-out products bear out, thresholds, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="choosing a decision needs dongil[train]")

from index.blending import BlendConfig
from index.choice import accepted_by_expected_f1
from index.clustering import Edges
from index.nodes import Nodes
from index.scene import JudgedPairs, Scene
from index.vectors import Vectors
from training.decide import accept, choose_decision, pair_lists, reliability, row_lists, scores_at
from training.examples import Pool
from training.trees import TreeConfig

QUICK = TreeConfig(trees=60, leaves=6)


def pool(noise: float, weight: float = 1.0, seed: int = 0, products: int = 200) -> Pool:
    """Products of two titles each, whose vectors stand ``noise`` apart; the first half of them is judged."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(products, 32)), 2, axis=0)
    vectors = centres + noise * rng.normal(size=centres.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    titles = [f"{'가나다라마바사아자차'[i % 10]}{i // 2} {'상품 세트'[: 2 + i % 2]}" for i in range(2 * products)]
    rows = {title: row for row, title in enumerate(titles)}

    def encode(texts: list[str], _: object) -> Vectors:
        return np.ascontiguousarray(vectors[[rows[text] for text in texts]])

    labels = [f"{noise} {i // 2}" for i in range(2 * products)]
    scene = Scene.of(titles, encode, BlendConfig(stages=0), device="cpu")
    return Pool(f"noise {noise}", scene, labels, np.arange(products), weight)


def test_well_parted_products_are_decided_almost_without_error() -> None:
    tight = pool(0.1, products=500)
    choice = choose_decision([tight], blend=BlendConfig(stages=0), trees=QUICK)
    assert choice.trees is not None and choice.decision.model is not None
    assert choice.f1 > 0.97 and choice.by_set[tight.name]["bcubed_f1"] > 0.97
    assert scores_at(choice.decision, tight)["row_f1"] > 0.98
    assert choice.calibration[tight.name]["error"] < 0.05
    assert [promise.precision for promise in choice.decision.promises][:2] == [0.6, 0.7]
    assert all("proven" in promise.words for promise in choice.decision.promises)


def test_few_labels_leave_it_to_the_cosine() -> None:
    few = pool(0.1, products=60)
    choice = choose_decision([few], blend=BlendConfig(stages=0))
    assert choice.trees is None and choice.decision.model is None
    assert choice.f1 > 0.95


def test_probabilities_come_from_trees_that_never_saw_the_product() -> None:
    """Titles without any sense cannot be told apart by trees that must not have seen them."""
    mixed = pool(0.3, products=500)
    rng = np.random.default_rng(1)
    shuffled = Pool(mixed.name, mixed.scene, [mixed.labels[i] for i in rng.permutation(1000)], mixed.rows)
    choice = choose_decision([shuffled], blend=BlendConfig(stages=0), trees=QUICK)
    assert choice.by_set[shuffled.name]["row_f1_at_own_threshold"] < 0.7  # alone each row scores 2/3


def test_other_products_teach_the_probability_too() -> None:
    """Own labels of which half are wrong, and many good ones of other products of the set."""
    own, many, fresh = (pool(0.3, seed=seed, products=800) for seed in range(3))
    labels = [label if row % 4 else f"alone {row}" for row, label in enumerate(own.labels)]
    wrong = Pool(own.name, own.scene, labels, own.rows)
    fast = TreeConfig(trees=60, leaves=6, learning_rate=0.3)
    alone = choose_decision([wrong], blend=BlendConfig(stages=0), trees=fast)
    taught = choose_decision([wrong], blend=BlendConfig(stages=0), trees=fast, others=iter([[many]] * 3))
    assert alone.trees and taught.trees
    sure = [row_lists(fresh, fresh.scene.judge(choice.decision)).scores[:, 0].mean() for choice in (alone, taught)]
    assert sure[0] < 0.75 and sure[1] > sure[0] + 0.05
    # What is told is of the own rows alone.
    assert taught.by_set.keys() == alone.by_set.keys() and taught.proven_on == alone.proven_on


def test_a_set_that_weighs_more_decides() -> None:
    tight, loose = pool(0.1), pool(1.2, seed=1)
    quiet = choose_decision([tight, pool(1.2, 0.01, 1)], blend=BlendConfig(stages=0), trees=QUICK)
    loud = choose_decision([pool(0.1, 0.01), loose], blend=BlendConfig(stages=0), trees=QUICK)
    assert quiet.f1 > loud.f1


def hand_made() -> tuple[Pool, JudgedPairs]:
    """Four items of three titles: a and b of one title, c near it, d far; a and c are one product, b and d alone."""
    scene = object.__new__(Scene)
    scene.nodes = Nodes(["갑", "을", "병"], np.array([0, 0, 1, 2]), np.ones(3, bool))
    pairs = JudgedPairs(
        Edges(np.array([0, 1]), np.array([1, 2]), np.array([0.8, 0.1], np.float32)), np.array([0.6, 1.0, 1.0]),
        (np.empty(0, np.int64), np.empty(0, np.int64)),
    )  # fmt: skip
    return Pool("hand", scene, ["p", "q", "p", "r"], np.array([0, 2])), pairs


def test_lists_of_items_hold_those_of_an_equal_title_at_their_own_probability() -> None:
    lists = row_lists(*hand_made())
    assert lists.ids.tolist()[0][:2] == [2, 1] and lists.scores[0, :2] == pytest.approx([0.8, 0.6])
    assert lists.ids.tolist()[1][:3] == [0, 1, 3] and lists.scores[1, :3] == pytest.approx([0.8, 0.8, 0.1])


def test_pairs_are_counted_once_and_those_to_find_are_known() -> None:
    scores, right, products, possible = pair_lists([hand_made()])
    assert sorted(zip(scores.round(2).tolist(), right.tolist(), strict=True)) == [
        (0.1, False), (0.6, False), (0.8, False), (0.8, True),
    ]  # fmt: skip
    assert possible == 1 and len(set(products.tolist())) == 1


def test_accepting_by_a_threshold_and_by_expected_f1() -> None:
    decision = choose_decision([pool(0.1, products=60)], blend=BlendConfig(stages=0)).decision
    lists = row_lists(*hand_made())
    assert (accept(decision, lists, 0.7).ids >= 0).sum(axis=1).tolist() == [1, 2]
    chosen = accepted_by_expected_f1(np.where(lists.ids >= 0, lists.scores, 0).astype(np.float64))
    assert (accept(decision, lists).ids >= 0).sum(axis=1).tolist() == chosen.tolist()


def test_reliability_counted_by_hand() -> None:
    told = reliability(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.11, 0.19, 0.95, 0.85]))
    assert [(b["pairs"], round(b["right"], 3)) for b in told["bins"]] == [(2, 0.5), (1, 1.0), (1, 1.0)]
    assert told["error"] == pytest.approx((0.35 * 2 + 0.15 + 0.05) / 4)
