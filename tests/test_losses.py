"""Every loss against its formula written out, and sampled centres against all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

from conftest import unit_rows  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from pytorch_metric_learning.losses import SupConLoss  # noqa: E402

from training.config import CLASS_LOSSES, TrainConfig  # noqa: E402
from training.losses import ClassLoss, SecondLoss, margin_parts, ranking_loss  # noqa: E402

CPU = torch.device("cpu")
CONFIG = TrainConfig(scale=20.0, margin_start=10.0, margin_end=30.0, cosine_margin=0.3, sub_centres=3)
CLASSES, DIMENSION = 7, 5
SIZES = np.array([1, 2, 3, 9, 30, 64, 900])
VECTORS = torch.from_numpy(unit_rows(6, DIMENSION, seed=1))
LABELS = torch.tensor([0, 3, 3, 6, 1, 5])


def class_loss(name: str, **changes: Any) -> ClassLoss:
    return ClassLoss(name, unit_rows(CLASSES, DIMENSION), SIZES, replace(CONFIG, **changes), CPU)


def by_hand(name: str, centres: npt.NDArray[np.float32], ramp: float, seen: list[int] | None = None) -> float:
    """The mean loss, one title at a time; ``centres`` of shape (classes, each, dimension)."""
    degrees = CONFIG.margin_start + ramp * (CONFIG.margin_end - CONFIG.margin_start)
    losses = []
    for vector, label in zip(VECTORS.numpy().astype(float), LABELS.tolist(), strict=True):
        cosines = {c: max(float(vector @ one) for one in centres[c]) for c in seen or range(CLASSES)}
        margin = math.radians(degrees)
        if name == "cosface":
            cosines[label] -= CONFIG.cosine_margin * degrees / CONFIG.margin_end
        else:
            if name == "adaptive":
                margin *= min(1.0, max(0.5, (SIZES[label] / 2) ** -0.2))
            cosines[label] = math.cos(math.acos(cosines[label]) + margin)
        logits = {c: CONFIG.scale * value for c, value in cosines.items()}
        losses.append(math.log(sum(math.exp(value) for value in logits.values())) - logits[label])
    return float(np.mean(losses))


@pytest.mark.parametrize("ramp", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_a_margin_loss_is_its_formula(name: str, ramp: float) -> None:
    loss = class_loss(name)
    centres = loss.head.W.detach().numpy().T.reshape(CLASSES, loss.each, DIMENSION)
    assert loss.each == (3 if name == "subcenter" else 1)
    assert loss(VECTORS, LABELS, 0, ramp).item() == pytest.approx(by_hand(name, centres, ramp), rel=1e-4)


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_the_gradient_is_finite_where_a_title_stands_on_its_centre_or_opposite(name: str) -> None:
    loss = class_loss(name, sub_centres=1)
    centres = loss.head.W.detach().T[LABELS]
    for side in (1, -1):
        vectors = (side * centres).clone().requires_grad_()
        loss(vectors, LABELS, 0, 1.0).backward()
        assert torch.isfinite(vectors.grad).all()


def test_small_products_get_the_whole_margin_and_large_ones_half() -> None:
    parts = margin_parts(np.array([0, 1, 2, 3, 8, 64, 10**6]))
    np.testing.assert_allclose(parts, [1, 1, 1, 1.5**-0.2, 4**-0.2, 0.5, 0.5], rtol=1e-6)


def test_sub_centres_start_apart_and_near_their_product() -> None:
    start = unit_rows(CLASSES, DIMENSION)
    centres = class_loss("subcenter").head.W.detach().numpy().T.reshape(CLASSES, 3, DIMENSION)
    assert np.einsum("ced,cd->ce", centres, start).min() > 0.98
    assert np.einsum("ced,cfd->cef", centres, centres)[:, ~np.eye(3, dtype=bool)].max() < 1 - 1e-6


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_sampled_centres_give_the_loss_over_those(name: str) -> None:
    loss = class_loss(name, centre_share=0.8)
    centres = loss.table.weight.detach().numpy().reshape(CLASSES, loss.each, DIMENSION).copy()
    for step in range(10):
        chosen, place = loss._choose(LABELS, step)
        seen = chosen.tolist()
        assert len(set(seen)) == len(seen) <= max(5, round(0.8 * CLASSES))
        assert [seen[p] for p in place.tolist()] == LABELS.tolist()
        assert loss(VECTORS, LABELS, step, 0.5).item() == pytest.approx(by_hand(name, centres, 0.5, seen), rel=1e-4)


def test_a_step_moves_only_the_centres_that_it_saw_and_a_checkpoint_keeps_them() -> None:
    start, config = unit_rows(500, DIMENSION), replace(CONFIG, centre_share=0.1)
    losses = [ClassLoss("arcface", start, np.full(500, 2), config, CPU) for _ in range(2)]
    first, other = losses
    for step in range(3):
        before, (chosen, _) = first.table.weight.detach().clone(), first._choose(LABELS, step)
        assert len(chosen) <= 50
        first.rare.zero_grad()
        first(VECTORS, LABELS, step, 1.0).backward()
        first.rare.step()
        moved = (first.table.weight.detach() != before).any(dim=1).nonzero().flatten()
        assert moved.tolist() == sorted(chosen.tolist())
        if step == 1:
            other.load_state_dict(first.state_dict())
    other.rare.zero_grad()
    other(VECTORS, LABELS, 2, 1.0).backward()
    other.rare.step()
    assert torch.equal(first.table.weight, other.table.weight)
    assert first.parameters == []
    assert {g["rate"] for one in first.optimizers for g in one.param_groups} == {config.centre_learning_rate}


def slow_ranking(vectors: npt.NDArray[np.float32], labels: list[int], temperature: float) -> float:
    """The same, by loops over titles."""
    rows = {label: [i for i, own in enumerate(labels) if own == label] for label in dict.fromkeys(labels)}
    paired = [own for own in rows.values() if len(own) > 1]
    alone = [own[0] for own in rows.values() if len(own) == 1]
    losses = []
    for side in (0, 1):
        candidates = [own[1 - side] for own in paired] + alone
        for own in paired:
            logits = {c: float(vectors[own[side]] @ vectors[c]) / temperature for c in candidates}
            losses.append(math.log(sum(map(math.exp, logits.values()))) - logits[own[1 - side]])
    return float(np.mean(losses)) if losses else 0.0


@given(st.lists(st.integers(-3, 5), min_size=1, max_size=16), st.integers(0, 9))
def test_ranking_is_its_formula(labels: list[int], seed: int) -> None:
    vectors = unit_rows(len(labels), 4, seed=seed)
    found = ranking_loss(torch.from_numpy(vectors), torch.tensor(labels), 0.2)
    assert float(found) == pytest.approx(slow_ranking(vectors, labels, 0.2), rel=1e-4, abs=1e-6)


def second(text: str, **changes: Any) -> SecondLoss:
    config = replace(CONFIG, loss=text, **changes)
    return SecondLoss(config, unit_rows(CLASSES, DIMENSION), SIZES, CPU)


def test_terms_are_weighted_and_only_the_contrast_sees_decoys() -> None:
    labels = torch.tensor([0, 3, 3, -4, 1, -5])
    supcon = float(SupConLoss(temperature=CONFIG.temperature)(VECTORS, labels))
    margin = class_loss("arcface")(VECTORS[labels >= 0], labels[labels >= 0], 0, 0.5).item()
    ranking = float(ranking_loss(VECTORS, labels, CONFIG.temperature))
    for text, expected in (
        ("arcface", margin + 0.7 * supcon),
        ("arcface+supcon:0.5", margin + 0.5 * supcon),
        ("supcon", supcon),
        ("arcface:2+cached-ranking:3", 2 * margin + 3 * ranking),
    ):
        assert second(text, contrast_weight=0.7)(VECTORS, labels, 0, 0.5).item() == pytest.approx(expected, rel=1e-5)


def test_a_loss_without_centres_learns_none() -> None:
    assert second("supcon+multisimilarity").margin is None


@pytest.mark.parametrize("text", ["multisimilarity", "cached-ranking", "supcon", "arcface+multisimilarity"])
def test_a_step_down_the_gradient_lowers_the_loss(text: str) -> None:
    loss, labels = second(text), torch.tensor([0, 0, 3, 3, -8, -9])
    vectors = VECTORS.clone().requires_grad_()
    before = loss(vectors, labels, 0, 1.0)
    before.backward()
    after = torch.nn.functional.normalize(vectors.detach() - 0.01 * vectors.grad, dim=1)
    assert loss(after, labels, 0, 1.0).item() < before.item()
