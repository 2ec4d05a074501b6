"""The prior of a catalogue: against a plain count, and what it must not do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.clustering import Edges
from index.decision import shifted
from index.nodes import Nodes
from index.prior import USUAL, prior_shift, share_alone
from index.scene import JudgedPairs


def catalogue(
    sizes: list[int], pairs: dict[tuple[int, int], float], twin: float = 0.9, unread: set[int] | None = None
) -> tuple[Nodes, JudgedPairs]:
    """Nodes of so many items each, and the probabilities of pairs of them."""
    node_of = np.repeat(np.arange(len(sizes)), sizes)
    readable = np.array([node not in (unread or set()) for node in range(len(sizes))], bool)
    nodes = Nodes([str(node) for node in range(len(sizes))], node_of, readable)
    ends = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    scores = np.array([pairs[a, b] for a, b in ends.tolist()], np.float32)
    twins = np.where(np.array(sizes) > 1, twin, 1.0)
    none = np.empty(0, np.int64)
    return nodes, JudgedPairs(Edges(ends[:, 0], ends[:, 1], scores), twins, (none, none))


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[list[int], dict[tuple[int, int], float], set[int]]:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=8))
    nodes = range(len(sizes))
    every = [(a, b) for a in nodes for b in nodes if a < b]
    some = draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    unread = draw(st.sets(st.sampled_from(nodes)))
    pairs = {pair: draw(st.floats(0.015625, 1, width=32)) for pair in some if not unread & set(pair)}
    return sizes, pairs, unread


@given(catalogues())
def test_the_share_is_the_mean_chance_that_no_candidate_is_right(
    of: tuple[list[int], dict[tuple[int, int], float], set[int]],
) -> None:
    sizes, pairs, unread = of
    chances = []
    for node, size in enumerate(sizes):
        alone = 1.0 if size == 1 else 1 - 0.9
        for pair, probability in pairs.items():
            alone *= 1 - probability if node in pair else 1.0
        chances += [alone] * size if node not in unread else []  # one that cannot be read is in no pair
    expected = sum(chances) / len(chances) if chances else USUAL
    assert share_alone(*catalogue(sizes, pairs, unread=unread)) == pytest.approx(expected, abs=1e-6)


def test_a_catalogue_of_singletons_asks_for_more_evidence_and_one_of_pairs_for_less() -> None:
    singletons = catalogue([1] * 2_000, {})
    paired = catalogue([1] * 2_000, {(node, node + 1): 0.97 for node in range(0, 2_000, 2)})
    half = catalogue([1] * 2_000, {(node, node + 1): 0.97 for node in range(0, 1_140, 2)})
    assert prior_shift(*singletons) == -1.0
    assert prior_shift(*paired) == 1.0
    assert prior_shift(*half) == 0.0


def test_a_handful_of_listings_shifts_nothing() -> None:
    assert prior_shift(*catalogue([1, 1, 1], {})) == 0.0
    assert prior_shift(*catalogue([1, 1], {(0, 1): 0.99})) == 0.0
    assert prior_shift(*catalogue([1], {}, unread={0})) == 0.0


def test_a_few_listings_more_shift_nothing() -> None:
    """A rebuild after small changes must not move clusters that nobody touched."""
    shifts = {prior_shift(*catalogue([1] * items, {(0, 1): 0.9})) for items in range(1_000, 1_011)}
    assert len(shifts) == 1


@given(catalogues())
def test_it_stays_within_one_logit_in_steps(of: tuple[list[int], dict[tuple[int, int], float], set[int]]) -> None:
    shift = prior_shift(*catalogue(of[0], of[1], unread=of[2]))
    assert -1 <= shift <= 1
    assert shift * 10 == pytest.approx(round(shift * 10))


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-1, 1))
def test_shifting_moves_the_logit(probability: float, by: float) -> None:
    (moved,) = shifted(np.array([probability]), by).tolist()
    assert math.log(moved / (1 - moved)) == pytest.approx(math.log(probability / (1 - probability)) + by, abs=1e-6)


def test_what_is_sure_stays_sure() -> None:
    assert shifted(np.array([0.0, 1.0]), 1.0).tolist() == [0.0, 1.0]
