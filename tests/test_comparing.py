"""A model is held against labels by its own decision, and clusters against each other pair by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.clustering import Ids
from index.comparing import SHOWN, Agreement, Changed, Comparison, _changed, _pairs_of, agreement
from index.ledger import Label
from index.snapshot import Snapshot

SAID = {"ab": 0.9, "ac": 0.2, "bc": 0.5, "ad": 0.6, "cd": 0.1}


class Judge:
    """What ``agreement`` asks of a snapshot: items are letters, and "e" stands where "a" does."""

    def node(self, id: str) -> int:
        return "abcd".index("a" if id == "e" else id)

    def between(self, one: Ids, other: Ids) -> np.ndarray:
        pairs = ("".join(sorted("abcd"[node] for node in two)) for two in zip(one, other, strict=True))
        return np.array([[SAID.get(pair, 0.0)] for pair in pairs]).reshape(-1, 1)

    @property
    def decision(self) -> Any:
        return SimpleNamespace(threshold=0.5, probability=lambda evidence: evidence[:, 0])


def judged(*labels: Label) -> Agreement:
    return agreement(cast(Snapshot, Judge()), labels)


def test_labels_count_by_what_the_model_says() -> None:
    same = [Label(a, b, "same", "kim") for a, b in ("ab", "ac", "bc", "ae")]
    told = judged(*same, Label("a", "d", "different", "kim"), Label("c", "d", "different", "kim"))
    assert told == Agreement(found=3, wrong=1, missed=1, right=1)
    assert (told.precision, told.recall) == (0.75, 0.75)


def test_no_labels_say_nothing() -> None:
    told = judged()
    assert (told, told.precision, told.recall) == (Agreement(0, 0, 0, 0), None, None)
    assert judged(Label("c", "d", "different", "kim")).precision is None


def test_of_no_pairs_all_are_kept() -> None:
    none = Agreement(0, 0, 0, 0)
    assert Comparison(0, none, none, 0, 0, 0, 0, 0, 0, ()).kept_share == 1
    assert Comparison(0, none, none, 9, 3, 3, 6, 4, 2, ()).kept_share == pytest.approx(2 / 8)


def test_what_changes_most_comes_first() -> None:
    before = dict.fromkeys("abcdef", "x") | dict.fromkeys("gh", "y") | {"i": "z"}
    after = before | {"f": "y", "h": "new 1"}
    assert _changed(before, after) == (
        Changed("x", tuple("abcde"), ("f",), ()),
        Changed("y", ("g",), ("h",), ("f",)),
    )


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyzn")), max_size=40))
def test_a_change_is_told_of_every_cluster_that_has_one(items: Sequence[tuple[str, str]]) -> None:
    before = {str(at): old for at, (old, _) in enumerate(items)}
    after = {str(at): new for at, (_, new) in enumerate(items)}
    told = {change.cluster: change for change in _changed(before, after)}
    there = {*before.values()}
    assert {*told} == {name for id in before if before[id] != after[id] for name in (before[id], after[id])} & there
    for name, change in told.items():
        assert len({*change.stay, *change.leave, *change.come}) <= 3 * SHOWN
        assert all(before[id] == name == after[id] for id in change.stay)
        assert all(before[id] == name != after[id] for id in change.leave)
        assert all(before[id] != name == after[id] for id in change.come)
    sizes = Counter(before.values())
    brute = sum(before[a] == before[b] for a in before for b in before if int(a) < int(b))
    assert _pairs_of(sizes.values()) == brute
