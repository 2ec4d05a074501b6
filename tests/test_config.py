"""Settings refuse what no run can mean, and losses are read as they are written."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from embedder.errors import InputError
from training.config import CLASS_LOSSES, PAIR_LOSSES, Term, TrainConfig, parse_loss


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("arcface", [("arcface", 1.0)]),
        ("arcface+supcon:0.5", [("arcface", 1.0), ("supcon", 0.5)]),
        ("cached-ranking:2 + multisimilarity", [("cached-ranking", 2.0), ("multisimilarity", 1.0)]),
        *((name, [(name, 1.0)]) for name in (*CLASS_LOSSES, *PAIR_LOSSES)),
    ],
)
def test_a_loss_is_a_sum_of_weighted_terms(text: str, terms: list[tuple[str, float]]) -> None:
    assert parse_loss(text) == tuple(Term(*term) for term in terms)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("triplet", "loss 'triplet'; expected one of arcface, subcenter"),
        ("", "loss ''; expected one of"),
        ("arcface+", "loss ''; expected one of"),
        ("arcface:none", "loss arcface has weight 'none'; expected a number above 0"),
        ("supcon:0", "weight '0'"),
        ("supcon:nan", "weight 'nan'"),
        ("supcon:inf", "weight 'inf'"),
        ("supcon:", "weight ''"),
        ("supcon+arcface+supcon", "loss supcon stands twice"),
        ("arcface+cosface", "losses arcface and cosface each want the centres"),
    ],
)
def test_other_losses_are_refused_when_the_run_is_set_up(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(loss=text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centre_share": 0.0}, "centre_share is 0.0; expected more than 0"),
        ({"centre_share": 1.5}, "centre_share is 1.5"),
        ({"mined_share": -0.1}, "mined_share is -0.1; expected a share"),
        ({"mlm_share": float("nan")}, "mlm_share is nan"),
        ({"mlm_steps": -1}, "mlm_steps is -1; expected 0 or more"),
        ({"sub_centres": 0}, "sub_centres is 0; expected at least 1"),
        ({"distil_temperature": 0.0}, "distil_temperature is 0.0; expected more than 0"),
        ({"distil_cosine": float("inf")}, "distil_cosine is inf"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**changes)  # type: ignore[arg-type]
