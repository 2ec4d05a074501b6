"""What a catalogue has to say to a title: its matches, its near misses, and why; the same whatever else is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from embedder.encoder import Encoder
from embedder.errors import InputError
from index.answers import Ask, Match, assigned
from index.clustering import lists_of
from index.matcher import Matcher
from index.nodes import key_of, row_neighbours

Items = list[tuple[str, str]]


def catalogue(items: Items, encoder: Encoder, **options: Any) -> Matcher:
    return Matcher.from_items([id for id, _ in items], [title for _, title in items], encoder, device="cpu", **options)


@pytest.fixture(scope="module")
def matcher(sample: Items, encoder: Encoder) -> Matcher:
    return catalogue(sample, encoder)


@pytest.fixture(scope="module")
def queries(sample: Items) -> list[str]:
    return [title for _, title in sample[:40]] + ["농심 신라면 5개", "😀", "Logitech mouse", ""]


def alike(first: Sequence[Sequence[Match]], second: Sequence[Sequence[Match]]) -> bool:
    """Whether two answers name the same items, as probable; items of equal probability may stand in either order."""

    def told(matches: Sequence[Match]) -> list[tuple[str, str, str, float]]:
        return sorted((match.id, match.title, match.reason, match.probability) for match in matches)

    for one, other in zip(map(told, first), map(told, second), strict=True):
        if [match[:3] for match in one] != [match[:3] for match in other]:
            return False
        if [match[3] for match in one] != pytest.approx([match[3] for match in other], abs=0.02):
            return False  # a leaf of a tree may be a hair's breadth of cosine away
    return True


def test_matches_are_accepted_items_most_probable_first(matcher: Matcher, queries: list[str], sample: Items) -> None:
    titles = dict(sample)
    answers = matcher.match(queries, k=3, threshold=0.1)
    assert len(answers) == len(queries)
    assert any(len(matches) == 3 for matches in answers)
    for matches in answers:
        probabilities = [match.probability for match in matches]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len({match.id for match in matches}) == len(matches) <= 3
        for match in matches:
            assert 0.1 <= match.probability <= 1
            assert 0.4 <= match.score < 1.0001
            assert match.title == titles[match.id]
            assert match.reason


def test_a_title_of_the_catalogue_finds_its_item(matcher: Matcher, sample: Items) -> None:
    answers = matcher.match([title for _, title in sample], k=50, threshold=0.01)
    found = [any(match.id == id for match in matches) for (id, _), matches in zip(sample, answers, strict=True)]
    assert np.mean(found) > 0.98


def test_a_title_of_the_catalogue_is_answered_as_all_of_it_is_judged(matcher: Matcher, sample: Items) -> None:
    """The batch knows each row's probable partners; a query of the row's title gets just these, and itself."""
    pairs, nodes = matcher.pairs, matcher.nodes
    rows = np.arange(len(sample))
    lists = row_neighbours(nodes, lists_of(len(nodes.texts), pairs.edges, 100), rows, twins=pairs.twins)
    answers = matcher.match([title for _, title in sample], k=1000, threshold=0)
    for row, matches in enumerate(answers):
        own = nodes.node_of[row]
        told = zip(lists.ids[row].tolist(), lists.scores[row].tolist(), strict=True)
        expected = {matcher.ids[id]: score for id, score in told if id >= 0 and nodes.node_of[id] != own}
        found = {match.id: match.probability for match in matches if match.title != sample[row][1]}
        assert found == pytest.approx(expected, abs=1e-6)


def test_each_title_gets_its_own_set_unless_a_threshold_is_given(matcher: Matcher, queries: list[str]) -> None:
    everything = matcher.match(queries, k=1000, threshold=0)
    for threshold in (0.2, 0.6, 1.0):
        some = matcher.match(queries, k=1000, threshold=threshold)
        assert some == [[match for match in matches if match.probability >= threshold] for matches in everything]
    own = {key_of(title) for title in matcher.titles}
    for query, chosen, every in zip(queries, matcher.match(queries, k=1000), everything, strict=True):
        assert chosen == every[: len(chosen)]
        chances = np.array([match.probability for match in every]).reshape(1, -1)
        (count,) = matcher.decision.accepted(chances, shift=matcher.shift if key_of(query) in own else 0.0)
        assert len(chosen) == count


def test_the_prior_of_a_catalogue_binds_its_own_titles_and_no_others(
    encoder: Encoder, sample: list[tuple[str, str]]
) -> None:
    """A catalogue of one listing a product may be asked by sellers who have them all."""
    ids, titles = [id for id, _ in sample], [title for _, title in sample]
    alone, neutral = (Matcher.from_items(ids, titles, encoder) for _ in range(2))
    alone.__dict__["shift"], neutral.__dict__["shift"] = -1.0, 0.0
    strangers = ["신라면 120g 농심 5봉", "(무료배송) 농심 신라면 40개"]
    assert alone.match(strangers, k=50) == neutral.match(strangers, k=50)
    strict, usual = (sum(map(len, one.match(titles, k=50))) for one in (alone, neutral))
    assert strict < usual
    assert alone.cluster_threshold > neutral.cluster_threshold == neutral.decision.cluster_threshold


def test_queries_do_not_depend_on_one_another(matcher: Matcher, queries: list[str]) -> None:
    together = matcher.match(queries, threshold=0)
    assert alike(together, [matcher.match([query], threshold=0)[0] for query in queries])
    assert matcher.match([]) == []


def test_asking_for_more_only_adds(matcher: Matcher, queries: list[str]) -> None:
    for few, many in zip(matcher.match(queries, k=2), matcher.match(queries, k=50), strict=True):
        assert few == many[:2]


def test_near_misses_are_the_best_of_what_was_refused(matcher: Matcher, queries: list[str]) -> None:
    for threshold in (None, 0.5):
        answers = matcher.answer(queries, k=2, threshold=threshold, near_misses=3)
        accepted = matcher.match(queries, k=1000, threshold=threshold)
        assert any(len(one.near_misses) == 3 for one in answers)
        for one, every in zip(answers, accepted, strict=True):
            assert one.matches == every[:2]
            assert not {miss.id for miss in one.near_misses} & {match.id for match in every}
            told = [match.probability for match in (*every, *one.near_misses)]
            assert told == sorted(told, reverse=True)
            assert all(miss.reason for miss in one.near_misses)
    assert matcher.answer(queries) == matcher.answer(queries, near_misses=0)
    with pytest.raises(InputError, match="near_misses is -1; expected at least 0"):
        matcher.answer(queries, near_misses=-1)


def test_a_near_miss_says_why(encoder: Encoder) -> None:
    found = catalogue([("a", "농심 백산수 2L 12개"), ("b", "농심 백산수 500ml 6개"), ("c", "콜라")], encoder)
    (answer,) = found.answer(["농심 백산수 2L 6개"], threshold=1, near_misses=2)
    reasons = {miss.id: miss.reason for miss in answer.near_misses}
    assert "수량 다름 6개 ≠ 12개" in reasons["a"]
    assert "용량 다름" in reasons["b"]


def test_many_equal_titles_take_no_longer_than_they_must(encoder: Encoder) -> None:
    items = [(f"i{number:05}", "제주 삼다수 2L 6개") for number in range(20_000)]
    found = catalogue(items, encoder)
    started = time.process_time()
    (matches,) = found.match(["삼다수 제주 2L 6개"], k=5)
    (known,) = found.match([items[0][1]], k=5)
    assert time.process_time() - started < 5
    assert len(known) in (0, 5) and len(matches) in (0, 5)
    assert len(found.match([items[0][1]], k=30_000, threshold=0)[0]) == 20_000


def matched(*told: tuple[str, float]) -> list[Match]:
    return [Match(id, id, 1.0, probability, "") for id, probability in told]


def test_each_item_goes_to_its_single_best_title() -> None:
    answers = [matched(("a", 0.9), ("b", 0.7)), [], matched(("b", 0.8), ("a", 0.9)), matched(("c", 0.1))]
    assert assigned(answers) == [matched(("a", 0.9)), [], matched(("b", 0.8)), matched(("c", 0.1))]
    assert assigned([]) == [] and assigned([[], []]) == [[], []]


def test_titles_may_be_asked_each_on_its_own_terms(matcher: Matcher, queries: list[str]) -> None:
    terms = [(10, None, 0), (2, 0.2, 3), (1_000, 0.0, 0), (1, None, 5), (3, 1.0, 1)]
    asks = [Ask(title, *terms[at % len(terms)]) for at, title in enumerate(queries)]
    together = matcher.answers(asks)
    for ask, answer in zip(asks, together, strict=True):
        (alone,) = matcher.answer([ask.title], k=ask.k, threshold=ask.threshold, near_misses=ask.near_misses)
        assert alike([answer.matches, answer.near_misses], [alone.matches, alone.near_misses])
    assert matcher.answers([]) == []
    assert matcher.answers([Ask(title) for title in queries]) == matcher.answer(queries)
    for terms_out_of_range in ((0,), (1, 2.0), (1, None, -1)):
        with pytest.raises(InputError, match="expected"):
            Ask("콜라", *terms_out_of_range)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one(matcher: Matcher, k: int) -> None:
    with pytest.raises(InputError, match=f"k is {k}; expected at least 1"):
        matcher.match(["콜라"], k=k)


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan")])
def test_a_threshold_that_is_no_probability(matcher: Matcher, threshold: float) -> None:
    with pytest.raises(InputError, match=f"threshold is {threshold}; expected a probability between 0 and 1"):
        matcher.match(["콜라"], threshold=threshold)
    with pytest.raises(InputError, match=f"threshold is {threshold}, .*; expected 0 <= absent < threshold <= 1"):
        matcher.cluster(threshold)


# What cannot be told apart, and what cannot be read

SAME = ["제주 삼다수 500ml x 20개", "[무료배송] 제주 삼다수 500㎖ × 20개", "제주  삼다수 500ML x 20개★"]


def test_titles_that_clean_alike_stand_together(encoder: Encoder) -> None:
    items = [("d", "로지텍 마우스 M185"), *zip("cab", SAME, strict=True)]
    found = catalogue(items, encoder)
    assert len(found.nodes.texts) == 2
    assert found.cluster(1) == ["d", "a", "a", "a"]
    (matches,) = found.match([SAME[0]], threshold=0)
    assert [match.id for match in matches] == ["c", "a", "b"]
    assert [match.title for match in matches] == SAME
    assert len({(match.score, match.probability, match.reason) for match in matches}) == 1
    assert [match.id for match in found.match([SAME[0]], k=2, threshold=0)[0]] == ["c", "a"]


def test_titles_without_a_letter_or_digit_stand_alone(encoder: Encoder) -> None:
    items = [("a", "😀😀"), ("b", "😀😀"), ("c", "★ ... !"), ("d", "콜라 500ml"), ("e", "\u3164")]
    found = catalogue(items, encoder)
    assert found.cluster(0.01) == ["a", "b", "c", "d", "e"]
    assert found.match(["😀😀", "", "★ ... !"], threshold=0) == [[], [], []]
    assert [match.id for match in found.match(["콜라 500ML"], threshold=0)[0]] == ["d"]
    assert len(found.pairs.edges) == 0


def test_a_script_that_the_model_never_saw_matches_nothing(encoder: Encoder) -> None:
    items = [("a", "ꆈꌠꁱꂷ"), ("b", "ꆈꌠꁱꂷ"), ("c", "ꉙꄯ"), ("d", "콜라 500ml")]
    found = catalogue(items, encoder)
    assert found.cluster(0.01) == ["a", "a", "c", "d"]
    assert found.match(["ꆈꌠꁱꂷ"], threshold=0) == [[]]


@pytest.mark.parametrize("title", ["콜라 500ml", "😀"])
def test_a_catalogue_of_one(encoder: Encoder, title: str) -> None:
    found = catalogue([("a", title)], encoder)
    assert found.cluster() == ["a"]
    assert len(found.match([title], threshold=0)[0]) == (title != "😀")
