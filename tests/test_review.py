"""The review queue asks what teaches most, says why, and never asks what it was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from living import DECISION, TITLES

import index.review
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.catalog import Catalog
from index.clustering import Ids
from index.correction import logits_of
from index.ledger import Label
from index.listings import Item
from index.living import LivingMatcher, Pace
from index.nodes import key_of
from index.reasons import reason
from index.review import SHARES, Suggestion, draw, suggest
from index.snapshot import Snapshot
from index.wording import Numbers

NEVER = Pace(least=10**6)


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, encoder: Encoder, sample: list[tuple[str, str]]
) -> Iterator[tuple[LivingMatcher, Catalog]]:
    """The sample catalogue by the model that ships; the last items came after the rest was clustered."""
    with Catalog.open(tmp_path_factory.mktemp("shop")) as catalog:
        items = [Item(id, title, f"seller {place % 5}") for place, (id, title) in enumerate(sample)]
        catalog.put(items[:-150])
        with LivingMatcher.open(catalog, encoder, device="cpu", pace=NEVER) as living:
            assert living.settle(300)
            living.rebuild()
            catalog.put(items[-150:])
            assert living.settle(300)
            yield living, catalog


@pytest.fixture
def small(tmp_path: Path, encoder: Encoder) -> Iterator[tuple[LivingMatcher, Catalog]]:
    with Catalog.open(tmp_path / "data") as catalog:
        catalog.put([Item(f"i{place:03d}", title) for place, title in enumerate(TITLES)])
        with LivingMatcher.open(catalog, encoder, DECISION, device="cpu", pace=NEVER) as living:
            assert living.settle(300)
            living.rebuild()
            living.follow()
            yield living, catalog


def ids(pairs: list[Suggestion]) -> list[tuple[str, str]]:
    return [(pair.left.id, pair.right.id) for pair in pairs]


def probability(snapshot: Snapshot, pair: Suggestion) -> float:
    one, other = (np.array([snapshot.node(item.id)]) for item in (pair.left, pair.right))
    return float(snapshot.decision.probability(snapshot.between(one, other))[0])


# What is asked


def test_each_pair_says_what_it_is(shop: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = shop
    found = suggest(living, catalog, 40)
    assert len(found) == 40
    for pair in found:
        assert catalog.get(pair.left.id) == pair.left and catalog.get(pair.right.id) == pair.right
        assert pair.left.seller and pair.left.cluster and pair.right.cluster
        assert pair.probability == pytest.approx(probability(living.snapshot, pair), abs=1e-6)
        assert pair.reason == reason(pair.left.title, pair.right.title)


def test_every_kind_is_there_and_means_it(shop: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = shop
    decision = living.snapshot.decision
    found = suggest(living, catalog, 60)
    assert {pair.why for pair in found} == set(SHARES)
    proposed = {frozenset(event.detail["clusters"]) for event in catalog.clusters.events(limit=500, kind="propose")}
    loose = [cluster.id for cluster in catalog.clusters.page("loosest", limit=100)[0]]
    for pair in found:
        same_cluster = pair.left.cluster == pair.right.cluster
        if pair.why == "accepted" or pair.why == "number":
            assert pair.probability >= decision.threshold
        elif pair.why == "refused":
            assert pair.probability < decision.threshold
        elif pair.why == "uncertain":
            assert decision.cluster_threshold - 0.15 < pair.probability < 0.75
        elif pair.why == "proposed":
            assert frozenset((pair.left.cluster, pair.right.cluster)) in proposed
        else:
            assert same_cluster and pair.left.cluster in loose
        if pair.why == "number":
            assert "다름" in pair.reason


def test_any_first_part_is_mixed_as_the_whole(shop: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = shop
    found = suggest(living, catalog, 40)
    for size in (10, 20, 40):
        counts = Counter(pair.why for pair in found[:size])
        for why, share in SHARES.items():
            assert abs(counts[why] - share * size) <= 2, (size, why)


def test_no_cluster_is_asked_about_twice_while_others_wait(shop: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = shop
    found = suggest(living, catalog, 30)
    clusters = Counter(cluster for pair in found for cluster in {pair.left.cluster, pair.right.cluster})
    assert max(clusters.values()) == 1
    assert len(set(map(frozenset, ids(found)))) == 30


def test_when_nothing_else_is_left_clusters_come_again(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    found = suggest(living, catalog, 10_000)
    assert len({frozenset(pair) for pair in ids(found)}) == len(found) > len(TITLES) / 2
    clusters = Counter(cluster for pair in found for cluster in {pair.left.cluster, pair.right.cluster})
    assert max(clusters.values()) > 1
    assert suggest(living, catalog, 5) == found[:5]


def test_the_same_again_and_another_by_another_seed(shop: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = shop
    assert suggest(living, catalog, 20, seed=4) == suggest(living, catalog, 20, seed=4)
    assert ids(suggest(living, catalog, 20, seed=4)) != ids(suggest(living, catalog, 20, seed=5))


# What was told


def test_what_is_labelled_is_not_asked_again(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    seen: set[frozenset[str]] = set()
    for verdict in ("same", "different", "skip") * 3:
        found = suggest(living, catalog, 6)
        assert found and not seen & {frozenset(pair) for pair in ids(found)}
        seen |= {frozenset(pair) for pair in ids(found)}
        catalog.labels.put([Label(left, right, verdict, "me") for left, right in ids(found)])
        living.follow()


def test_what_follows_from_labels_is_not_asked(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    # The first three listings of the first product are one, and none of them is the second product's first.
    told = [Label("i000", "i001", "same", "me"), Label("i001", "i002", "same", "me"),
            Label("i000", "i008", "different", "me")]  # fmt: skip
    catalog.labels.put(told)
    living.follow()
    asked = {frozenset(pair) for pair in ids(suggest(living, catalog, 10_000))}
    assert not asked & {frozenset(pair) for pair in (("i000", "i001"), ("i001", "i002"), ("i000", "i002"))}
    assert not asked & {frozenset((one, "i008")) for one in ("i000", "i001", "i002")}
    assert any("i000" in pair for pair in asked), "of others it is asked still"


def test_labels_of_titles_count_whoever_lists_them(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    pair = suggest(living, catalog, 1)[0]
    catalog.labels.put([Label(pair.left.title.upper(), pair.right.title, "different", "me", of="titles")])
    living.follow()
    asked = {
        frozenset((key_of(one.left.title), key_of(one.right.title))) for one in suggest(living, catalog, 10_000)
    }  # fmt: skip
    assert frozenset((key_of(pair.left.title), key_of(pair.right.title))) not in asked


def test_a_label_that_is_taken_back_is_asked_again(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    pair = ids(suggest(living, catalog, 1))[0]
    catalog.labels.put([Label(*pair, "skip", "me")])
    assert pair not in ids(suggest(living, catalog, 10_000))
    catalog.labels.delete(*pair)
    assert pair in ids(suggest(living, catalog, 10_000))


def test_what_has_gone_or_changed_is_not_asked(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    gone, changed = ids(suggest(living, catalog, 1))[0]
    catalog.delete([gone])
    item = catalog.get(changed)
    assert item is not None
    catalog.put([replace(item, title="아주 다른 물건")])
    # The snapshot has not followed yet: what it holds is not what there is.
    asked = {id for pair in ids(suggest(living, catalog, 10_000)) for id in pair}
    assert not asked & {gone, changed}


# The draw


def test_a_draw_is_of_candidates_each_once(shop: tuple[LivingMatcher, Catalog]) -> None:
    snapshot = shop[0].snapshot
    every, some = draw(snapshot, 10**6), draw(snapshot, 60, seed=1)
    pairs = dict(zip(zip(every.left.tolist(), every.right.tolist(), strict=True), every.probabilities, strict=True))
    assert len(pairs) == len(every.left) and (every.left < every.right).all()
    for left, right, p in zip(some.left.tolist(), some.right.tolist(), some.probabilities, strict=True):
        assert pairs[left, right] == pytest.approx(p, abs=1e-6)
    for node in snapshot.nodes[::37].tolist():
        _, near, probabilities, _ = snapshot.around(np.array([node]))
        for other, p in zip(near.tolist(), probabilities, strict=True):
            assert ((min(node, other), max(node, other)) in pairs) == (p >= 0.01)


def test_a_draw_is_fair(shop: tuple[LivingMatcher, Catalog]) -> None:
    """Pairs are drawn as often whatever their probability: of half the nodes, three in four."""
    snapshot = shop[0].snapshot
    every, half = draw(snapshot, 10**6), len(snapshot.nodes) // 2
    sure = [(draw(snapshot, half, seed).probabilities >= 0.4) for seed in range(20)]
    counts = np.array([(some.sum(), (~some).sum()) for some in sure]).mean(axis=0)
    there = (every.probabilities >= 0.4).sum(), (every.probabilities < 0.4).sum()
    assert counts / there == pytest.approx([0.75, 0.75], abs=0.03)


def test_items_that_come_hardly_change_the_draw(small: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = small
    before = draw(living.snapshot, 40)
    catalog.put([Item("new", "완전히 새로운 상품 하나")])
    assert living.settle(60)
    after = draw(living.snapshot, 40)
    pairs = [set(zip(some.left.tolist(), some.right.tolist(), strict=True)) for some in (before, after)]
    assert len(pairs[0] & pairs[1]) > 0.8 * len(pairs[0])


def test_a_draw_is_the_same_whether_its_pairs_were_judged_with_the_base_or_not(
    small: tuple[LivingMatcher, Catalog],
) -> None:
    """Items came, went and have other titles since the base was made."""
    living, catalog = small
    item = catalog.get("i004")
    assert item is not None
    catalog.put([Item(f"new{n}", f"{title} 새로") for n, title in enumerate(TITLES[:6])])
    catalog.put([Item("twin", TITLES[9]), replace(item, title=TITLES[20] + " 특별")])
    catalog.delete(["i001", "i012"])
    assert living.settle(60)
    judged = living.snapshot
    assert judged.base.pairs is not None and judged.strayed
    plain = judged.retold(replace(judged.base, pairs=None), living.encoder.encode, judged.decision)
    for nodes, seed in ((10**6, 0), (30, 1), (5, 2)):
        one, other = draw(judged, nodes, seed), draw(plain, nodes, seed)
        assert len(one.left) and one.left.tolist() == other.left.tolist()
        assert one.right.tolist() == other.right.tolist()
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        ends = np.concatenate([one.left, one.right])
        assert not judged.dead[ends].any()


def test_what_the_base_knows_is_not_weighed_again(
    small: tuple[LivingMatcher, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue costs the pairs that it looks at, not those of the draw."""
    living, catalog = small
    weighed = list[int]()
    between = Snapshot.between

    def counted(self: Snapshot, one: Ids, other: Ids) -> Numbers:
        weighed.append(len(one))
        return between(self, one, other)

    monkeypatch.setattr(Snapshot, "between", counted)
    assert len(draw(living.snapshot).left) and sum(weighed) == 0
    catalog.put([Item("new", TITLES[0] + " 새로")])
    assert living.settle(60)
    weighed.clear()
    node = living.snapshot.node("new")
    drawn = draw(living.snapshot, 10**6)
    assert 0 < sum(weighed) <= 2 * len(living.snapshot.ways(np.array([node]))[0])
    assert node in drawn.right


def test_how_much_is_looked_at_together_changes_nothing(
    shop: tuple[LivingMatcher, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    living, catalog = shop
    found = suggest(living, catalog, 60)
    for name, value in (("_AT_ONCE", 1), ("_FEW", 3), ("_BLOCK", 50)):
        monkeypatch.setattr(index.review, name, value)
    again = suggest(living, catalog, 60)
    assert ids(again) == ids(found)
    assert [pair.why for pair in again] == [pair.why for pair in found]
    assert [pair.probability for pair in again] == pytest.approx([pair.probability for pair in found], abs=1e-6)


def test_the_nearest_to_the_boundary_come_first(shop: tuple[LivingMatcher, Catalog]) -> None:
    living, catalog = shop
    decision = living.snapshot.decision
    boundary = logits_of(np.array([0.5, decision.threshold, living.snapshot.cluster_threshold]))
    found = suggest(living, catalog, 30)
    asked = logits_of(np.array([pair.probability for pair in found if pair.why == "uncertain"]))
    far = np.abs(asked[:, None] - boundary).min(axis=1) // 0.25
    assert len(far) > 5 and (np.diff(far) >= 0).all()


# Odd catalogues


def test_an_empty_catalogue_has_nothing_to_ask(tmp_path: Path, encoder: Encoder) -> None:
    with (
        Catalog.open(tmp_path / "data") as catalog,
        LivingMatcher.open(catalog, encoder, DECISION, device="cpu", pace=NEVER) as living,
    ):
        assert suggest(living, catalog) == []
        catalog.put([Item("a", "콜라"), Item("b", "콜라"), Item("c", "ꆈꌠꁱꂷ"), Item("d", "!!")])
        assert living.settle(60)
        assert suggest(living, catalog) == [], "twins need no label, and what cannot be read has no candidates"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one(shop: tuple[LivingMatcher, Catalog], limit: int) -> None:
    with pytest.raises(InputError, match=f"limit is {limit}; expected at least 1"):
        suggest(*shop, limit)
