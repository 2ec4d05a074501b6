"""A snapshot answers as a catalogue made at once does, follows what changes, and never changes itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from living import DECISION, QUERIES, TITLES, loaded_of

from embedder.encoder import Encoder
from index.answers import Match
from index.fresh import Fresh
from index.matcher import Matcher
from index.nodes import key_of
from index.scene import Scene
from index.snapshot import Base, Snapshot

IDS = [f"i{place:03d}" for place in range(len(TITLES))]
EMPTY = loaded_of([], [], np.empty((0, 256), np.float32))


def first_of(ids: Sequence[str], titles: Sequence[str], encoder: Encoder) -> Snapshot:
    loaded = loaded_of(ids, titles, encoder.encode(titles))
    return Snapshot.first(Base.of(loaded, DECISION.blend, None, device="cpu"), encoder.encode, DECISION)


def grown(snapshot: Snapshot, ids: Sequence[str], titles: Sequence[str], encoder: Encoder) -> Snapshot:
    return snapshot.after(loaded_of(ids, titles, encoder.encode(titles)), (), snapshot.revision + 1)


@pytest.fixture(scope="module")
def whole(encoder: Encoder) -> Snapshot:
    return first_of(IDS, TITLES, encoder)


@pytest.fixture(scope="module")
def matcher(encoder: Encoder) -> Matcher:
    return Matcher(
        encoder, DECISION, IDS, TITLES, Scene.of(TITLES, lambda some, _: encoder.encode(some), DECISION.blend)
    )


def told(answers: Sequence[Sequence[Match]]) -> list[list[tuple[str, str, float, float, str]]]:
    return [
        sorted((m.id, m.title, round(m.score, 4), round(m.probability, 3), m.reason) for m in matches)
        for matches in answers
    ]


def ids_of(snapshot: Snapshot, title: str) -> list[str]:
    return sorted(match.id for match in snapshot.match([title], k=100, threshold=0.3)[0])


def test_a_base_alone_answers_as_a_matcher(whole: Snapshot, matcher: Matcher, encoder: Encoder) -> None:
    whole = whole.retold(whole.base.judged(whole.base.scene.judge(DECISION), DECISION), encoder.encode, DECISION)
    assert whole.shift == matcher.shift != 0
    assert told(whole.match(QUERIES, k=50)) == told(matcher.match(QUERIES, k=50))
    assert told(whole.match(QUERIES, threshold=0.2)) == told(matcher.match(QUERIES, threshold=0.2))
    ours, theirs = whole.answer(QUERIES, near_misses=5), matcher.answer(QUERIES, near_misses=5)
    assert told([one.near_misses for one in ours]) == told([one.near_misses for one in theirs])


def test_fresh_items_are_found_nearly_as_in_a_whole(whole: Snapshot, encoder: Encoder) -> None:
    """The blended cosines differ a little, so that probabilities may; what is found at half of them seldom does."""
    late = list(range(0, len(IDS), 8))
    early = [place for place in range(len(IDS)) if place not in late]
    part = first_of([IDS[place] for place in early], [TITLES[place] for place in early], encoder)
    part = grown(part, [IDS[place] for place in late], [TITLES[place] for place in late], encoder)
    assert len(part) == len(whole)
    assert part.strayed == len(late)
    ours, theirs = (
        [{m.id for m in found} for found in one.match(QUERIES, k=50, threshold=0.5)] for one in (part, whole)
    )
    both = sum(len(one & other) for one, other in zip(ours, theirs, strict=True))
    assert both >= 0.95 * sum(len(one | other) for one, other in zip(ours, theirs, strict=True))
    for place in late:
        assert IDS[place] in ids_of(part, TITLES[place])


def test_everything_may_be_fresh(encoder: Encoder) -> None:
    nothing = Snapshot.first(Base.of(EMPTY, DECISION.blend, None, device="cpu"), encoder.encode, DECISION)
    assert (len(nothing), nothing.match(QUERIES)) == (0, [[] for _ in QUERIES])
    some = grown(nothing, IDS[:20], TITLES[:20], encoder)
    assert ids_of(some, TITLES[0])[:3] == ["i000", "i001", "i002"]
    gone = some.after(EMPTY, IDS, 9)
    assert (len(gone), gone.match(QUERIES)) == (0, [[] for _ in QUERIES])


def test_what_is_gone_is_found_no_more(whole: Snapshot, encoder: Encoder) -> None:
    title = TITLES[0]
    assert {"i000", "i001"} <= set(ids_of(whole, title))
    less = whole.after(EMPTY, ["i000", "i001", "nobody"], 2)
    assert not {"i000", "i001"} & {*ids_of(less, title), *ids_of(less, "농심 신라면 5개")}
    assert less.title("i000") is None
    assert (len(less), less.node("i000"), less.strayed) == (len(whole) - 2, -1, 2)
    assert {"i000", "i001"} <= set(ids_of(whole, title)), "a snapshot stays as it is"
    back = grown(less, ["i000"], [title], encoder)
    assert "i000" in ids_of(back, title)
    assert "i001" not in ids_of(back, title)


def test_another_title_takes_the_place_of_the_first(whole: Snapshot, encoder: Encoder) -> None:
    other = grown(whole, ["i000"], ["로지텍 MX Master 3S 마우스 무선"], encoder)
    assert "i000" not in ids_of(other, TITLES[0])
    assert "i000" in ids_of(other, "로지텍 MX Master 3S 마우스")
    assert (len(other), other.title("i000")) == (len(whole), "로지텍 MX Master 3S 마우스 무선")
    again = grown(other, ["i000"], [TITLES[1]], encoder)
    assert again.node("i000") == again.node("i001")
    assert grown(again, ["i000"], [TITLES[1]], encoder).strayed == again.strayed, "nothing changed"


def test_titles_that_say_nothing_stand_alone(whole: Snapshot, encoder: Encoder) -> None:
    more = grown(whole, ["x", "y", "z"], ["😀", "😀", "ꆈꌠꁱꂷ"], encoder)
    assert more.match(["😀", "ꆈꌠꁱꂷ"], threshold=0.0) == [[], []]
    assert len({more.node(id) for id in "xyz"}) == 3


def test_fresh_nodes_do_not_depend_on_how_they_came(whole: Snapshot, encoder: Encoder) -> None:
    titles = [
        "농심 신라면 멀티 5입",
        "농심 신라면 큰사발",
        "소니 WH1000XM5 블랙",
        "😀",
        "삼다수 2리터 6병",
        "햇반 12개",
    ] * 1
    vectors = encoder.encode(titles)
    start = Fresh.beside(whole.base.scene, 20)
    at_once = start.grown(titles, vectors, DECISION.blend)
    one_by_one = start
    for place, title in enumerate(titles):
        one_by_one = one_by_one.grown([title], vectors[place : place + 1], DECISION.blend)
    np.testing.assert_array_equal(one_by_one.lists.ids, at_once.lists.ids)
    np.testing.assert_allclose(one_by_one.lists.scores, at_once.lists.scores, atol=1e-5)
    np.testing.assert_allclose(one_by_one.side.blended, at_once.side.blended, atol=1e-5)
    left, right = (np.array(side) for side in zip(*((a, b) for a in range(6) for b in range(6)), strict=True))
    for one in (one_by_one, at_once):
        np.testing.assert_allclose(
            one.evidence(one.side, left, right + one.start), at_once.evidence(at_once.side, left, right + one.start),
            atol=1e-5,
        )  # fmt: skip
    fresh_queries = whole.base.scene.side.wording.queries(titles)
    np.testing.assert_array_equal(
        one_by_one.side.wording.compare(left, right, one_by_one.side.wording),
        fresh_queries.compare(left, right, fresh_queries),
    )


def test_candidates_are_the_same_from_both_ends(whole: Snapshot, encoder: Encoder) -> None:
    some = grown(whole, ["x", "y", "z"], ["농심 신라면 멀티 5입", "농심 신라면 5입 멀티팩", "햇반 12개"], encoder)
    nodes = np.arange(whole.node("i095") + 4)
    at, near, probability, apart = some.around(nodes)
    seen = {(a, b): (round(p, 9), v) for a, b, p, v in zip(at.tolist(), near.tolist(), probability, apart, strict=True)}
    assert len(seen) == len(at)
    assert all(seen[b, a] == found for (a, b), found in seen.items())
    assert (some.node("x"), some.node("y")) in seen
    assert not [pair for pair in seen if pair[0] == pair[1]]
    few = nodes[::7]
    at, near, few_told, _ = some.around(few)
    for a, b, p in zip(few[at].tolist(), near.tolist(), few_told.tolist(), strict=True):
        assert p == pytest.approx(seen[a, b][0], abs=1e-6)


def test_equal_titles_of_new_items_share_a_node(whole: Snapshot, encoder: Encoder) -> None:
    some = grown(whole, ["x", "y"], ["새우깡 90g", "[무료배송] 새우깡 90G"], encoder)
    more = grown(some, ["z", "w"], ["새우깡 90g", TITLES[3]], encoder)
    assert more.items(more.node("x")) == ["x", "y", "z"]
    assert more.items(more.node("w")) == sorted({"w", *whole.items(whole.node("i003"))})
    assert more.after(EMPTY, ["x"], 9).items(more.node("x")) == ["y", "z"]


steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(TITLES[:12:2])), st.sets(st.sampled_from("abcdef"))
    ),
    max_size=5,
)


@given(steps)
@settings(max_examples=25)
def test_it_holds_what_a_dictionary_would(encoder: Encoder, steps: list[tuple[dict[str, str], set[str]]]) -> None:
    model = dict(zip("abc", TITLES[:6:2], strict=True))
    snapshot = first_of([*model], [*model.values()], encoder)
    for put, gone in steps:
        put = {id: title for id, title in put.items() if id not in gone}
        loaded = loaded_of([*put], [*put.values()], encoder.encode([*put.values()]))
        snapshot = snapshot.after(loaded, gone, snapshot.revision + 1)
        model = {id: title for id, title in {**model, **put}.items() if id not in gone}
    assert {id: title for id in "abcdef" if (title := snapshot.title(id)) is not None} == model
    assert len(snapshot) == len(model)
    nodes = defaultdict[str, set[str]](set)
    for id, title in model.items():
        nodes[key_of(title)].add(id)
    for some in nodes.values():
        assert set(snapshot.items(snapshot.node(min(some)))) == some
    for title in {*model.values()}:
        assert nodes[key_of(title)] <= {match.id for match in snapshot.match([title], threshold=0.0)[0]}
