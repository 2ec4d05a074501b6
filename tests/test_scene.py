"""A scene judges all its candidates at once as it would each alone, and a new title as one of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from conftest import unit_rows

from embedder.encoder import Encoder
from index.blending import BlendConfig, blend_vectors
from index.clustering import Edges
from index.decision import Decision
from index.evidence import candidates, contradictions, gather
from index.scene import LEAST, Scene, judged_pairs, phase
from index.vectors import Vectors

BLEND = BlendConfig()
DECISION = Decision(BLEND, 0.5, 0.5, slope=3.0, intercept=-4.0)


@pytest.fixture(scope="module")
def titles(sample: list[tuple[str, str]]) -> list[str]:
    some = [title for _, title in sample[:160]]
    return [*some, *(f"[무료배송] {title}" for title in some[:8]), "😀", "★"]


@pytest.fixture(scope="module")
def encode(encoder: Encoder) -> Callable[[list[str], Callable[[int], None] | None], Vectors]:
    return lambda texts, advance: encoder.encode(texts, progress=advance)


@pytest.fixture(scope="module")
def scene(titles: list[str], encode: Callable[[list[str], Callable[[int], None] | None], Vectors]) -> Scene:
    return Scene.of(titles, encode, BLEND, device="cpu")


def test_every_pair_is_judged_as_it_would_be_alone(scene: Scene) -> None:
    pairs = scene.candidates()
    judged = scene.judge(DECISION)
    told = dict(
        zip(zip(judged.edges.left.tolist(), judged.edges.right.tolist(), strict=True), judged.edges.scores, strict=True)
    )
    apart = set(zip(*(side.tolist() for side in judged.apart), strict=True))
    assert judged.edges.scores.dtype == np.float32
    for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
        evidence = gather(scene.side, np.array([left]), scene.side, np.array([right]))
        probability = float(DECISION.probability(evidence)[0])
        if left == right:
            assert judged.twins[left] == pytest.approx(probability, abs=1e-6)
        elif probability >= LEAST + 1e-6:
            assert told.pop((left, right)) == pytest.approx(probability, abs=1e-5)
        assert ((left, right) in apart) == (contradictions(evidence)[0] and left != right)
    assert not told


def test_candidates_are_pairs_of_readable_nodes_and_nodes_of_several_items(scene: Scene, titles: list[str]) -> None:
    pairs = scene.candidates()
    assert sorted(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == list(
        zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    )
    twins = set(pairs.left[pairs.left == pairs.right].tolist())
    assert twins == {node for node, items in enumerate(scene.nodes.items()) if len(items) > 1}
    assert len(twins) == 8
    assert not {int(scene.nodes.node_of[len(titles) - back]) for back in (1, 2)} & {
        *pairs.left.tolist(), *pairs.right.tolist()
    }  # fmt: skip
    search = scene.index.search(scene.side.vectors, BLEND.k)
    assert len(candidates(search)) == len(pairs) - len(twins)


def test_what_stands_around_a_node(scene: Scene) -> None:
    pairs = scene.candidates()
    near = defaultdict(set)
    for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
        if left != right:
            near[left].add(right)
            near[right].add(left)
    asked = np.array([7, 0, 7, len(scene.nodes.texts) - 1])
    place, other = scene.around(asked)
    for at, node in enumerate(asked.tolist()):
        assert sorted(other[place == at].tolist()) == sorted(near[node])
    assert (np.diff(place) >= 0).all()
    assert [len(part) for part in scene.around(asked[:0])] == [0, 0]


def test_blocks_join_without_a_seam(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scene.judge(DECISION)
    monkeypatch.setattr("index.scene._PAIRS", 13)
    parts = scene.judge(DECISION)
    np.testing.assert_allclose(parts.edges.scores, whole.edges.scores, atol=1e-6)
    assert np.array_equal(parts.apart, whole.apart)


def test_the_order_of_titles_does_not_matter(
    scene: Scene, titles: list[str], encode: Callable[[list[str], Callable[[int], None] | None], Vectors]
) -> None:
    other = Scene.of(titles[::-1], encode, BLEND, device="cpu")

    def told(one: Scene) -> dict[frozenset[str], float]:
        edges, texts = one.judge(DECISION).edges, one.nodes.texts
        ends = zip(edges.left.tolist(), edges.right.tolist(), strict=True)
        return {frozenset((texts[a], texts[b])): float(s) for (a, b), s in zip(ends, edges.scores, strict=True)}

    first, second = told(scene), told(other)
    assert first.keys() == second.keys()
    assert [first[pair] for pair in first] == pytest.approx([second[pair] for pair in first], abs=1e-4)


def test_one_new_title_is_blended_as_many_are(scene: Scene) -> None:
    queries = unit_rows(30, scene.side.vectors.shape[1], seed=5)
    queries[:20] = scene.side.vectors[:20] + 0.02 * queries[:20]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    together = blend_vectors(queries, scene.blended.stages, scene.index.search(queries, BLEND.k), BLEND)
    for row in range(len(queries)):
        one = queries[row : row + 1]
        alone = blend_vectors(one, scene.blended.stages, scene.index.search(one, BLEND.k), BLEND)
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    assert np.abs(together - queries).max() > 0.01


def test_progress_is_told_of_every_phase(titles: list[str], encoder: Encoder) -> None:
    told: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def listen(name: str, done: int, total: int) -> None:
        told[name].append((done, total))

    made = Scene.of(
        titles, lambda texts, advance: encoder.encode(texts, progress=advance), BLEND, device="cpu", progress=listen
    )
    made.judge(DECISION, listen)
    assert list(told) == ["encode", "search", "blend", "judge"]
    totals = {"judge": len(made.candidates()), "blend": BLEND.stages * len(made.nodes.texts)}
    for name, steps in told.items():
        total = totals.get(name, len(made.nodes.texts))
        assert steps[-1] == (total, total)
        assert steps == sorted(steps)
    assert phase(None, "encode", 3) is None


def test_a_pair_with_itself_is_no_edge() -> None:
    pairs = Edges(np.array([0, 0, 1, 2]), np.array([0, 1, 2, 2]), np.ones(4, np.float32))
    found = judged_pairs(4, pairs, np.array([0.7, 0.9, LEAST / 2, 0.2]), np.array([True, True, False, False]))
    assert (found.edges.left.tolist(), found.edges.right.tolist()) == ([0], [1])
    assert found.twins.tolist() == [0.7, 1, 0.2, 1]
    assert [side.tolist() for side in found.apart] == [[0], [1]]
