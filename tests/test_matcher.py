"""A catalogue answers the same whatever the order of its items, and comes back from disk whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pytest
from conftest import ROOT

from embedder.bundle import Bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.decision import Decision
from index.matcher import Matcher
from index.scene import LEAST

Items = list[tuple[str, str]]
SAME = ["제주 삼다수 500ml x 20개", "[무료배송] 제주 삼다수 500㎖ × 20개", "제주  삼다수 500ML x 20개★"]
FILES = [
    "index.faiss", "index.json", "items.json", "matcher.json", "neighbour_ids.npy", "neighbour_scores.npy",
    "node_of.npy", "readable.npy", "stages.npy",
]  # fmt: skip


def catalogue(items: Items, encoder: Encoder, **options: Any) -> Matcher:
    return Matcher.from_items([id for id, _ in items], [title for _, title in items], encoder, device="cpu", **options)


@pytest.fixture(scope="module")
def matcher(sample: Items, encoder: Encoder) -> Matcher:
    return catalogue(sample, encoder)


@pytest.fixture(scope="module")
def queries(sample: Items) -> list[str]:
    return [title for _, title in sample[:40]] + ["농심 신라면 5개", "😀", "Logitech mouse", ""]


# Clustering


def partition(ids: Sequence[str], clusters: Sequence[str]) -> dict[str, str]:
    return dict(zip(ids, clusters, strict=True))


@pytest.mark.parametrize("threshold", [None, 0.6])
def test_the_order_of_items_does_not_matter(
    matcher: Matcher, sample: Items, encoder: Encoder, threshold: float | None
) -> None:
    expected = partition(matcher.ids, matcher.cluster(threshold))
    other = catalogue([sample[row] for row in np.random.default_rng(1).permutation(len(sample))], encoder)
    assert partition(other.ids, other.cluster(threshold)) == expected


def test_the_order_of_equal_titles_does_not_matter(encoder: Encoder) -> None:
    items = list(zip("abcdefg", [*SAME, "STRASSE 5L", "straße 5L", "strasse 5l", "제주 삼다수"], strict=True))
    forwards, backwards = catalogue(items, encoder), catalogue(items[::-1], encoder)
    assert sorted(forwards.nodes.texts) == sorted(backwards.nodes.texts)
    for threshold in (0.3, 0.6, 0.9):
        assert partition(forwards.ids, forwards.cluster(threshold)) == partition(
            backwards.ids, backwards.cluster(threshold)
        )


@pytest.mark.parametrize("threshold", [0.2, 0.6, 0.95])
def test_clusters_stay_within_the_components_of_the_edges(matcher: Matcher, threshold: float) -> None:
    edges, nodes = matcher.pairs.edges.over(threshold), matcher.nodes
    graph = nx.Graph(zip(edges.left.tolist(), edges.right.tolist(), strict=True))
    graph.add_nodes_from(range(len(nodes.texts)))
    component = {node: number for number, part in enumerate(nx.connected_components(graph)) for node in part}
    of_cluster = defaultdict(set)
    for node, name in zip(nodes.node_of.tolist(), matcher.cluster(threshold), strict=True):
        of_cluster[name].add(component[node])
    assert all(len(found) == 1 for found in of_cluster.values())


@pytest.mark.parametrize("threshold", [0.02, 0.5])
def test_what_contradicts_itself_never_shares_a_cluster(matcher: Matcher, threshold: float) -> None:
    clusters = np.array(matcher.cluster(threshold), object)
    first = {node: item for item, node in reversed(list(enumerate(matcher.nodes.node_of.tolist())))}
    left, right = matcher.pairs.apart
    assert len(left)
    for one, other in zip(left.tolist(), right.tolist(), strict=True):
        assert clusters[first[one]] != clusters[first[other]]


def test_a_strict_threshold_leaves_fewer_together(matcher: Matcher) -> None:
    fine, coarse = matcher.cluster(0.95), matcher.cluster(0.2)
    assert len(set(coarse)) < len(set(fine))
    assert matcher.cluster() == matcher.cluster(matcher.cluster_threshold)


def test_one_listing_per_seller(matcher: Matcher, sample: Items) -> None:
    sellers = ["AB"[row % 2] if row % 5 else "" for row in range(len(sample))]
    names = matcher.group(one_per=sellers).names
    told = [(name, seller) for name, seller in zip(names, sellers, strict=True) if seller]
    assert len(set(told)) == len(told)
    assert len(set(names)) > len(set(matcher.cluster()))


def test_clusters_say_something_of_the_products(matcher: Matcher) -> None:
    """Far below what any model worth shipping does, and far above chance."""
    with (ROOT / "api" / "sample" / "catalog.csv").open(encoding="utf-8", newline="") as file:
        labels = [row["cluster_id"] for row in csv.DictReader(file)]

    def pairs(*keys: Sequence[str]) -> int:
        return sum(count * (count - 1) // 2 for count in Counter(zip(*keys, strict=True)).values())

    f1 = [2 * pairs(c, labels) / (pairs(c) + pairs(labels)) for c in map(matcher.cluster, np.arange(0.1, 1, 0.1))]
    assert max(f1) > 0.3


def test_a_catalogue_too_large_for_exact_search(
    matcher: Matcher, sample: Items, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.vectors.EXACT_UP_TO", 100)
    monkeypatch.setattr("index.vectors._WORTH", 1)
    large = catalogue(sample, encoder)
    assert not large.index.exact
    assert large.index.recall >= 0.99
    same = np.array(large.cluster()) == np.array(matcher.cluster())
    assert same.mean() > 0.95
    large.save(tmp_path / "c")
    assert Matcher.load(tmp_path / "c", encoder, device="cpu").cluster() == large.cluster()


# Making


def test_progress_is_told_of_every_phase(encoder: Encoder) -> None:
    told: dict[str, list[tuple[int, int]]] = defaultdict(list)
    catalogue(
        [(str(number), f"콜라 {number}개") for number in range(30)] + [("x", "😀"), ("y", "콜라 3개")],
        encoder, progress=lambda phase, done, total: told[phase].append((done, total)),
    )  # fmt: skip
    stages = Decision.of(encoder.bundle).blend.stages
    assert list(told) == ["encode", "search", "blend"][: 2 + bool(stages)]
    for phase, steps in told.items():
        total = 31 * (stages if phase == "blend" else 1)
        assert steps[-1] == (total, total)
        assert steps == sorted(steps)


def test_an_id_that_stands_twice(encoder: Encoder) -> None:
    ids = [str(number) for number in range(200_000)] + ["7"]
    started = time.process_time()
    with pytest.raises(InputError, match="id '7' stands twice; expected unique ids"):
        Matcher.from_items(ids, ids, encoder)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("ids", "titles"), [([], []), (["a"], []), (["a"], ["콜라", "사이다"])])
def test_ids_without_titles(encoder: Encoder, ids: list[str], titles: list[str]) -> None:
    with pytest.raises(InputError, match=f"{len(ids)} ids for {len(titles)} titles; expected as many, at least one"):
        Matcher.from_items(ids, titles, encoder)


# Files


@pytest.fixture(scope="module")
def saved(matcher: Matcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "catalogue"
    matcher.save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "catalogue"))


def test_it_comes_back_as_it_was(matcher: Matcher, saved: Path, encoder: Encoder, queries: list[str]) -> None:
    assert sorted(path.name for path in saved.iterdir()) == FILES
    again = Matcher.load(saved, encoder, device="cpu")
    assert (again.ids, again.titles, again.decision) == (matcher.ids, matcher.titles, matcher.decision)
    assert again.answer(queries, near_misses=2) == matcher.answer(queries, near_misses=2)
    assert again.cluster() == matcher.cluster()
    first, second = again.pairs.edges, matcher.pairs.edges
    for part in ("left", "right", "scores"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))
    assert first.scores.min() >= LEAST


def test_ids_and_titles_of_any_characters_come_back(encoder: Encoder, tmp_path: Path) -> None:
    items = [("가\n", "콜라 \ud83d 5개"), ('"', "사이다\u2028\x00"), ("", "😀")]
    catalogue(items, encoder).save(tmp_path / "c")
    again = Matcher.load(tmp_path / "c", encoder, device="cpu")
    assert list(zip(again.ids, again.titles, strict=True)) == items


def test_the_decision_is_the_bundles_of_the_day(
    encoder: Encoder, tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalogue keeps vectors, not thresholds: a bundle that is proven anew decides anew without indexing again."""
    decision = Decision.of(encoder.bundle)
    strict = replace(decision, threshold=0.99)
    monkeypatch.setattr(Decision, "of", lambda *_, **__: strict)
    assert Matcher.load(saved, encoder, device="cpu").decision == strict
    other = replace(decision, blend=replace(decision.blend, threshold=0.123))
    monkeypatch.setattr(Decision, "of", lambda *_, **__: other)
    with pytest.raises(InputError, match="made with another way of blending: index the catalogue again"):
        Matcher.load(saved, encoder, device="cpu")


def test_another_model_is_refused(saved: Path, bundle: Bundle) -> None:
    other = Encoder(replace(bundle, fingerprint="0123456789abcdef"), threads=1, device="cpu")
    with pytest.raises(InputError, match=f"made with model {bundle.fingerprint}, but this model is 0123456789abcdef"):
        Matcher.load(saved, other)


def rewritten(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | changes).encode()


EDITED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "other format": ("matcher.json", rewritten(format=1), "format 1; this dongil reads 2"),
    "other count": ("matcher.json", rewritten(items=3), "its files hold different numbers of items"),
    "fewer nodes": ("items.json", rewritten(texts=["콜라"]), "its files hold different numbers of titles"),
    "no blending": ("matcher.json", rewritten(blend={"colour": 1}), "not a whole catalogue: "),
    "a list": ("matcher.json", lambda _: b"[]", "not a whole catalogue: "),
    "items are a list": ("items.json", lambda _: b"[]", "not a whole catalogue: "),
    "a pickle": ("stages.npy", lambda _: b"\x80\x04N.", "not a whole catalogue: "),
}


@pytest.mark.parametrize("name", EDITED)
def test_files_that_do_not_belong_together_are_refused(copy: Path, encoder: Encoder, name: str) -> None:
    file, edit, said = EDITED[name]
    (copy / file).write_bytes(edit((copy / file).read_bytes()))
    with pytest.raises(InputError) as caught:
        Matcher.load(copy, encoder, device="cpu")
    assert caught.value.file in {str(copy), str(copy / file)}
    assert said in caught.value.message


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kept", [None, 0.0, 0.5])
def test_what_is_half_written_is_refused(copy: Path, encoder: Encoder, file: str, kept: float | None) -> None:
    content = (copy / file).read_bytes()
    (copy / file).unlink()
    if kept is not None:
        (copy / file).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"catalogue: not a whole (catalogue|index): ") as caught:
        Matcher.load(copy, encoder, device="cpu")
    assert caught.value.file == str(copy)


def test_no_folder(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InputError, match="nowhere: not a whole catalogue: "):
        Matcher.load(tmp_path / "nowhere", encoder)


def test_something_else_is_not_replaced(matcher: Matcher, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("life's work")
    with pytest.raises(InputError, match="something else stands here"):
        matcher.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_the_old_catalogue(
    matcher: Matcher, copy: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    smaller = catalogue([("a", "콜라")], encoder)

    def save(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(InputError if isinstance(failure, OSError) else KeyboardInterrupt):
        smaller.save(copy)
    assert [path.name for path in copy.parent.iterdir()] == ["catalogue"]
    assert Matcher.load(copy, encoder, device="cpu").cluster() == matcher.cluster()


def test_a_catalogue_is_replaced_whole(copy: Path, encoder: Encoder) -> None:
    catalogue([("a", "콜라")], encoder).save(copy)
    assert len(Matcher.load(copy, encoder, device="cpu")) == 1
    assert [path.name for path in copy.parent.iterdir()] == ["catalogue"]
