"""The ladder: each rung's lists against plain code, and rungs that stand on the same rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.labelled import LabelledSet, Reading, read_groups
from benchmarks.ladder import Ladder, climb, raise_nearest, rungs
from benchmarks.measures import sides_of
from benchmarks.pools import CachedEncoder, Judged, Pool
from benchmarks.recall import Settings, scenes
from embedder.bundle import Bundle
from embedder.errors import InputError
from embedder.text import clean
from index.decision import Decision
from index.vectors import Neighbours
from training.evaluate import row_curve

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"


@pytest.fixture(scope="module")
def data() -> LabelledSet:
    return read_groups(SAMPLE, Reading(unseen=True))


@pytest.fixture(scope="module")
def ladder(data: LabelledSet) -> Ladder:
    return climb(data, settings=Settings(threads=1))


@pytest.fixture(scope="module")
def pools(data: LabelledSet, bundle: Bundle) -> dict[str, Pool]:
    encoder = CachedEncoder(bundle, None, threads=1)
    return scenes(data, encoder, Decision.of(bundle), "all")


@pytest.fixture(scope="module")
def lists(pools: dict[str, Pool], bundle: Bundle) -> dict[str, Judged]:
    """Test lists of the rungs that try one setting."""
    found = {}
    for part in rungs(pools, Decision.of(bundle)):
        if part.name in ("character TF-IDF", "encoder", "encoder and TF-IDF, half and half"):
            ((_, sides),) = part.attempts
            found[part.name] = sides["test"].judged
    return found


def cosines(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Every two rows by TF-IDF and by the encoder."""
    texts = [clean(text).casefold() for text in pool.matcher.nodes.texts]
    weights = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), lowercase=False).fit_transform(texts)
    node, vectors = pool.matcher.nodes.node_of, pool.matcher.blended.stages[0]  # before blending
    return (weights @ weights.T).toarray()[np.ix_(node, node)], (vectors @ vectors.T)[np.ix_(node, node)]


def shown(judged: Judged, at: int) -> dict[int, float]:
    row = int(judged.rows[at])
    ids, scores = judged.neighbours.ids[at], judged.neighbours.scores[at]
    return {int(i): float(s) for i, s in zip(ids, scores, strict=True) if i >= 0 and i != row}


def test_scores_are_the_cosines_and_their_mean(pools: dict[str, Pool], lists: dict[str, Judged]) -> None:
    lexical, dense = cosines(pools["test"])
    expected = {
        "character TF-IDF": lexical, "encoder": dense, "encoder and TF-IDF, half and half": (lexical + dense) / 2
    }  # fmt: skip
    node = pools["test"].matcher.nodes.node_of
    for name, similarity in expected.items():
        for at in range(0, len(lists[name].rows), 7):
            row = int(lists[name].rows[at])
            for other, score in shown(lists[name], at).items():
                right = 1.0 if node[row] == node[other] else similarity[row, other]
                assert score == pytest.approx(right, abs=1e-5), (name, row, other)


def test_the_best_by_tfidf_are_listed(pools: dict[str, Pool], lists: dict[str, Judged]) -> None:
    lexical, _ = cosines(pools["test"])
    judged = lists["character TF-IDF"]
    for at in range(0, len(judged.rows), 7):
        row = int(judged.rows[at])
        others = np.delete(lexical[row], row)
        listed = sorted(shown(judged, at).values(), reverse=True)
        assert listed[:20] == pytest.approx(np.sort(others)[::-1][:20], abs=1e-5)


def test_halves_hold_the_candidates_of_both(lists: dict[str, Judged]) -> None:
    halves, dense, lexical = (
        lists[name] for name in ("encoder and TF-IDF, half and half", "encoder", "character TF-IDF")
    )
    for at in range(0, len(halves.rows), 7):
        assert set(shown(halves, at)) == set(shown(dense, at)) | set(shown(lexical, at))


def test_min2_raises_the_nearest_other_row_alone() -> None:
    near = Neighbours(np.array([[0, 2, 1], [1, 0, -1], [2, -1, -1]]), np.array(
        [[1, 0.6, 0.5], [1, 0.3, -np.inf], [1, -np.inf, -np.inf]], np.float32
    ))  # fmt: skip
    raised = raise_nearest(Judged(near, np.array([0, 0, 1]), np.arange(3)), 0.2)
    assert raised.neighbours.scores[0].tolist() == pytest.approx([1, 0.8, 0.5])
    assert raised.neighbours.scores[1, 1] == pytest.approx(0.5)
    assert raised.neighbours.scores[2, 0] == 1
    assert near.scores[0, 1] == np.float32(0.6)


def test_rungs_stand_on_each_other(ladder: Ladder, data: LabelledSet) -> None:
    names = [rung.name for rung in ladder.rungs]
    assert names[:2] == ["character TF-IDF", "encoder"]
    assert ladder.rows == len(data.rows("test")) and ladder.pool_rows == len(data)
    for at, rung in enumerate(ladder.rungs):
        assert (rung.against in names[:at]) if at else rung.against == ""
        before = next((other for other in ladder.rungs if other.name == rung.against), None)
        assert (rung.gain is None) == (before is None)
        if rung.gain and before and rung.row_f1 and before.row_f1:
            assert rung.gain.value == pytest.approx(rung.row_f1.value - before.row_f1.value)
            assert rung.gain.low <= rung.gain.value <= rung.gain.high


def test_the_top_rungs_are_the_bundles_own_decision(ladder: Ladder, pools: dict[str, Pool]) -> None:
    test = sides_of(pools["test"])["test"]
    tuned, shipped = ladder.rungs[-2:]
    assert (tuned.name, shipped.name) == ("evidence, one threshold", "evidence, as shipped")
    assert tuned.against == shipped.against == "encoder"
    assert tuned.threshold is not None and 0 < tuned.threshold <= 1
    assert tuned.row_f1 == test.mean_row_f1(tuned.threshold)
    assert shipped.threshold is None and shipped.average_precision is None
    assert shipped.row_f1 == test.mean_row_f1(None)


def test_a_part_may_be_left_off(pools: dict[str, Pool], bundle: Bundle) -> None:
    """On validation rows no rung with min2 is worse than the rung without: it tries leaving the score as it is."""
    best: dict[str, float] = {}
    for part in rungs(pools, Decision.of(bundle)):
        judged = [sides["validation"].judged for _, sides in part.attempts]
        curves = [row_curve(one.neighbours, one.labels, one.rows) for one in judged]
        best[part.name] = max(float(curve.f1[curve.best]) for curve in curves)
        if "min2" in part.name:
            assert best[part.name] >= best[part.against]


def test_the_same_seed_gives_the_same_ladder(data: LabelledSet, ladder: Ladder) -> None:
    assert climb(data, settings=ladder.settings).rungs == ladder.rungs


def test_nothing_to_choose_by(data: LabelledSet) -> None:
    with pytest.raises(InputError, match="the validation part of sample has no pair to find"):
        climb(replace(data, name="sample", sides=np.where(data.sides == "validation", "train", data.sides)))
