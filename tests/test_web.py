"""Pairs that are kept up while nodes come are those of a base made anew, but for the weights of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from living import DECISION, loaded_of
from living import TITLES as EVERY

from embedder.encoder import Encoder
from index.clustering import Ids
from index.evidence import gather
from index.fresh import joined
from index.nodes import key_of
from index.scene import LEAST
from index.snapshot import Base, Snapshot
from index.web import Web

ONCE = replace(DECISION, blend=replace(DECISION.blend, stages=1))
TITLES = [*{key_of(title): title for title in EVERY}.values()]  # each a node of its own
IDS = [f"i{place:03d}" for place in range(len(TITLES))]
Told = dict[tuple[int, int], tuple[float, bool]]


def base_of(encoder: Encoder, titles: Sequence[str]) -> Base:
    loaded = loaded_of(IDS[: len(titles)], titles, encoder.encode(titles))
    base = Base.of(loaded, ONCE.blend, None, device="cpu")
    return base.judged(base.scene.judge(ONCE), ONCE)


def web_of(base: Base) -> Web:
    assert base.pairs is not None
    return Web(base, base.pairs, ONCE.cluster_threshold)


def after(snapshot: Snapshot, encoder: Encoder, first: int, last: int, titles: Sequence[str] = TITLES) -> Snapshot:
    some = titles[first:last]
    loaded = loaded_of(IDS[first:last], some, encoder.encode(some))
    return snapshot.after(replace(loaded, nodes=loaded.nodes + 1_000 * last), (), snapshot.revision + 1)


def told(web: Web, nodes: int) -> Told:
    at, other, probability, apart = web.around(np.arange(nodes))
    pairs = zip(at.tolist(), other.tolist(), zip(probability.tolist(), apart.tolist(), strict=True), strict=True)
    found: Told = {}
    for a, b, what in pairs:
        assert found.setdefault((min(a, b), max(a, b)), what) == what, "a pair is the same from both ends"
    return {pair: what for pair, what in found.items() if what[0] >= LEAST or what[1]}


def anew(encoder: Encoder, words: Base, titles: Sequence[str]) -> Told:
    """The pairs of a base of all titles, whose words are worth what they are in another one of the first of them."""
    base = base_of(encoder, titles)
    first, texts = words.scene.side.wording, base.scene.nodes.texts
    assert texts[: len(words.scene.nodes.texts)] == words.scene.nodes.texts
    wording = joined(first, first.queries(texts[len(words.scene.nodes.texts) :]))
    side, edges = replace(base.scene.side, wording=wording), base.scene.candidates()
    evidence = gather(side, edges.left, side, edges.right)
    each = zip(
        edges.left.tolist(), edges.right.tolist(), ONCE.probability(evidence).tolist(),
        ONCE.contradictions(evidence).tolist(), strict=True,
    )  # fmt: skip
    return {(a, b): (p, apart) for a, b, p, apart in each if a != b and (p >= LEAST or apart)}


def alike(ours: Told, theirs: Told) -> None:
    assert ours.keys() == theirs.keys()
    for pair, (probability, apart) in theirs.items():
        assert ours[pair][0] == pytest.approx(probability, abs=2e-4)
        assert ours[pair][1] == apart


@pytest.mark.parametrize("steps", [[], [31, 32, 33], [30, 40, 50]])
def test_it_is_what_a_new_base_would_be(encoder: Encoder, steps: list[int]) -> None:
    base = base_of(encoder, TITLES[:30])
    web, snapshot = web_of(base), Snapshot.first(base, encoder.encode, ONCE)
    done = 30
    for last in [*steps, len(TITLES)]:
        snapshot = after(snapshot, encoder, done, last)
        touched = web.take_up(snapshot)
        assert {*range(done, last)} <= {*touched.tolist()}
        done = last
    ours, theirs = told(web, len(TITLES)), anew(encoder, base, TITLES)
    alike(ours, theirs)
    assert any(abs(told(web_of(base), 30).get(pair, (0, False))[0] - theirs[pair][0]) > 1e-3 for pair in theirs)


def test_nothing_new_touches_nothing(encoder: Encoder) -> None:
    base = base_of(encoder, TITLES[:40])
    web, snapshot = web_of(base), Snapshot.first(base, encoder.encode, ONCE)
    assert len(web.take_up(snapshot)) == 0
    snapshot = after(snapshot, encoder, 40, 41)
    assert len(web.take_up(snapshot)) > 0
    assert len(web.take_up(snapshot)) == 0


def test_what_goes_touches_its_neighbours_and_what_comes_back_does_too(encoder: Encoder) -> None:
    base = base_of(encoder, TITLES[:40])
    web, snapshot = web_of(base), Snapshot.first(base, encoder.encode, ONCE)
    before = told(web, 40)
    node = base.place[IDS[0]]
    near = {a + b - node for (a, b), (p, _) in before.items() if node in (a, b) and p >= ONCE.cluster_threshold}
    gone = snapshot.after(loaded_of([], [], np.empty((0, encoder.dimension), np.float32)), [IDS[0]], 2)
    assert near <= {*web.take_up(gone).tolist()}
    back = after(gone, encoder, 0, 1)
    assert near | {node} <= {*web.take_up(back).tolist()}
    now = told(web, 40)
    alike(now, before)


def test_an_empty_base_takes_up_all(encoder: Encoder) -> None:
    none = loaded_of([], [], np.empty((0, encoder.dimension), np.float32))
    base = Base.of(none, ONCE.blend, None, device="cpu")
    base = base.judged(base.scene.judge(ONCE), ONCE)
    web = web_of(base)
    snapshot = after(Snapshot.first(base, encoder.encode, ONCE), encoder, 0, 12)
    assert web.take_up(snapshot).tolist() == [*range(12)]
    assert told(web, 12)


def test_titles_that_cannot_be_read_are_near_nobody(encoder: Encoder) -> None:
    base = base_of(encoder, TITLES[:20])
    web = web_of(base)
    titles = [*TITLES[:20], "", "ꆈꌠꁱꂷ", "새우깡 90g"]
    snapshot = after(Snapshot.first(base, encoder.encode, ONCE), encoder, 20, 23, titles)
    web.take_up(snapshot)
    at, *_ = web.around(np.array([20, 21], np.int64))
    assert len(at) == 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.permutations(range(24)))
@settings(max_examples=10)
def test_the_order_of_batches_is_all_one(encoder: Encoder, sizes: list[int], order: list[int]) -> None:
    titles = [TITLES[place] for place in order]
    base = base_of(encoder, titles[:8])

    def taken(steps: Ids) -> Told:
        web, snapshot = web_of(base), Snapshot.first(base, encoder.encode, ONCE)
        for first, last in zip(steps[:-1].tolist(), steps[1:].tolist(), strict=True):
            snapshot = after(snapshot, encoder, first, last, titles)
            web.take_up(snapshot)
        return told(web, len(titles))

    steps = np.unique(np.minimum(np.cumsum([8, *sizes, 99]), len(titles)))
    some, once = taken(steps), taken(np.array([8, len(titles)]))
    alike(some, once)
