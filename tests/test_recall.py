"""The recall report on the sample catalogue: against the matcher itself, row by row, and with poor labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_labelled import pair_folder, write

from benchmarks.labelled import LabelledSet, Reading, read_groups, read_pairs, read_queries
from benchmarks.measures import sides_of
from benchmarks.mistakes import equal_titles
from benchmarks.pools import make_pool
from benchmarks.recall import POINTS, ModelReport, RecallReport, Settings, measure_recall, model_names
from embedder.bundle import Bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.decision import Decision
from index.matcher import Matcher
from training.evaluate import bcubed

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"
QUICK = Settings(threads=1, variations=False)


@pytest.fixture(scope="module")
def data() -> LabelledSet:
    return read_groups(SAMPLE, Reading(unseen=True))


@pytest.fixture(scope="module")
def report(data: LabelledSet, tmp_path_factory: pytest.TempPathFactory) -> RecallReport:
    return measure_recall(data, settings=Settings(threads=1, cache=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def model(report: RecallReport) -> ModelReport:
    return report.models[0]


@pytest.fixture(scope="module")
def matcher(data: LabelledSet, encoder: Encoder) -> Matcher:
    return Matcher.from_items([str(row) for row in range(len(data))], data.titles, encoder)


@pytest.mark.parametrize("name", ["own", "row_f1", "precision_90"])
def test_points_are_what_users_get(name: str, data: LabelledSet, model: ModelReport, matcher: Matcher) -> None:
    scores = model.point(name).scores
    if scores is None:
        pytest.skip("this model reaches no such point")
    assert (scores.threshold is None) == (name == "own")
    codes = data.codes()
    clusters = matcher.cluster(scores.threshold)
    assert scores.bcubed_f1 is not None
    assert scores.bcubed_f1.value == pytest.approx(bcubed(clusters, codes, data.rows("test")).f1)
    # Lists of the catalogue's own rows, one by one, from the pairs that its clusters come from.
    pairs, node_of, items = matcher.pairs, matcher.nodes.node_of, matcher.nodes.items()
    probable: dict[int, list[tuple[float, int]]] = {node: [] for node in range(len(items))}
    for a, b, probability in zip(*(part.tolist() for part in vars(pairs.edges).values()), strict=True):
        probable[a].append((probability, b))
        probable[b].append((probability, a))
    f1, joined = [], set()
    for row in data.rows("test").tolist():
        node = int(node_of[row])
        listed = [(float(np.float32(pairs.twins[node])), other) for other in items[node] if other != row]
        listed += [(probability, other) for probability, near in probable[node] for other in items[near]]
        listed.sort(key=lambda one: -one[0])
        found = np.array([[probability for probability, _ in listed]])
        taken = int(matcher.decision.accepted(found, scores.threshold, matcher.shift)[0])
        predicted = {row, *(other for _, other in listed[:taken])}
        truth = set(np.flatnonzero(codes == codes[row]).tolist())
        f1.append(2 * len(predicted & truth) / (len(predicted) + len(truth)))
        joined |= {(min(row, other), max(row, other)) for other in predicted - {row}}
    assert scores.row_f1 is not None and scores.exact is not None
    assert scores.row_f1.value == pytest.approx(np.mean(f1))
    assert scores.exact.value == pytest.approx(np.mean([value == 1 for value in f1]))
    right = sum(codes[a] == codes[b] for a, b in joined)
    assert (scores.right, scores.wrong) == (right, len(joined) - right)


def test_true_pairs_are_joined_unscored_or_unfound(data: LabelledSet, model: ModelReport) -> None:
    codes, test = data.codes(), data.rows("test")
    there = sum(int((codes == code).sum()) * (int((codes == code).sum()) - 1) // 2 for code in np.unique(codes[test]))
    for point in model.points:
        if point.scores:
            assert point.scores.right + point.scores.unscored + point.scores.unfound == there


def test_a_stricter_wish_has_a_higher_threshold(model: ModelReport) -> None:
    assert [point.name for point in model.points] == list(POINTS)
    wished = [model.point(f"precision_{p}").scores for p in (90, 95, 98, 99)]
    thresholds = [scores.threshold or 0 for scores in wished if scores]
    assert thresholds == sorted(thresholds)
    for p in (90, 95, 98, 99):
        reached = model.point(f"precision_{p}").validation
        assert reached is None or reached >= p / 100


def test_search_grows_with_k(model: ModelReport) -> None:
    values = [interval.value for interval in model.search.recall_at.values() if interval]
    assert values == sorted(values)
    assert model.search.ceiling is not None
    scores = model.point("own").scores
    assert scores is not None and scores.row_f1 is not None
    assert model.search.ceiling.value >= scores.row_f1.value


def test_pools_grow_and_both_regimes_are_told(data: LabelledSet, model: ModelReport) -> None:
    assert [v.rows for v in model.pool_sizes] == [len(data)]  # the sample is smaller than the smallest pool
    partners, singletons = model.regimes
    assert partners.singletons == 0 < singletons.singletons
    assert partners.carried_f1 == pytest.approx(partners.row_f1.value if partners.row_f1 else None)
    for one in (partners, singletons, *model.pool_sizes):
        assert one.own_f1 and one.row_f1 and one.lag
        assert one.lag.value == pytest.approx(one.own_f1.value - one.row_f1.value)
        assert one.best_f1 >= max(one.row_f1.value, one.carried_f1) - 1e-9
    (whole,), own = model.pool_sizes, model.point("own").scores
    assert whole.own_f1 and own and own.row_f1
    assert whole.own_f1.value == pytest.approx(own.row_f1.value)


def test_the_same_seed_gives_the_same_report(data: LabelledSet, report: RecallReport) -> None:
    again = measure_recall(data, settings=report.settings)
    assert again.models == report.models


def test_mistakes_are_mistakes(data: LabelledSet, model: ModelReport) -> None:
    for mistake in model.joined:
        assert mistake.product != mistake.other_product
        assert mistake.searched
        assert mistake.reason
    for mistake in model.parted:
        assert mistake.product == mistake.other_product
        assert {mistake.title, mistake.other} <= set(data.titles)
    joined, parted = ([m.probability for m in some] for some in (model.joined, model.parted))
    assert joined == sorted(joined, reverse=True)
    assert parted == sorted(parted)
    assert 0 <= min([0, *parted]) <= max([0, *joined]) <= 1
    assert len({(m.product, m.other_product) for m in model.joined}) == len(model.joined)


def test_buckets_hold_every_row_once(data: LabelledSet, model: ModelReport) -> None:
    kinds = {bucket.by for bucket in model.buckets}
    assert kinds == {"group size", "category", "title length", "look-alikes"}
    for by in kinds:
        assert sum(bucket.rows for bucket in model.buckets if bucket.by == by) == len(data.rows("test"))


def test_two_models_side_by_side(data: LabelledSet, bundle: Bundle) -> None:
    report = measure_recall(data, [None, bundle.folder], QUICK)
    first, second = report.models
    assert (first.name, second.name) == ("default (1)", "default (2)")
    assert first.against_first is None
    assert second.against_first is not None
    assert (second.against_first.low, second.against_first.high) == (0, 0)
    assert first.pool_sizes == first.regimes == []


def test_names_of_models() -> None:
    assert model_names([None, Path("a/x"), Path("b/x")]) == ["default", "x (1)", "x (2)"]


def test_each_part_among_its_own_rows(data: LabelledSet) -> None:
    report = measure_recall(data, settings=replace(QUICK, pool="own"))
    assert report.pool_rows == {side: len(data.rows(side)) for side in ("validation", "test")}
    with pytest.raises(InputError, match="pool is 'some'; expected all or own"):
        Settings(pool="some")


def test_without_a_validation_pair_no_threshold_is_chosen(data: LabelledSet) -> None:
    sides = np.where(data.sides == "validation", "train", data.sides)
    model = measure_recall(replace(data, sides=sides), settings=Settings(threads=1)).models[0]
    assert [point.name for point in model.points if point.scores] == ["own"]
    assert model.pool_sizes == model.regimes == []


def test_queries_of_a_database(tmp_path: Path, sample: list[tuple[str, str]]) -> None:
    queries = write(tmp_path / "q.csv", "id,title\n" + "".join(f"{id},x\n" for id, _ in sample[::3]))
    data = read_queries(SAMPLE, queries, Reading(unseen=True))
    report = measure_recall(data, settings=QUICK)
    scores = report.models[0].point("row_f1").scores
    assert scores is not None and scores.row_f1 is not None
    assert len(data.rows("test")) + len(data.rows("validation")) == len(sample[::3])
    assert report.pool_rows["test"] == len(sample)


def test_labelled_pairs(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path / "shop")
    data = read_pairs(folder, Reading(unseen=True), published=True)
    table = measure_recall(data, settings=QUICK).models[0].pairs
    assert table is not None and table.published
    assert (table.validation_pairs, table.test_pairs, table.test_true) == (1, 2, 1)
    assert table.threshold is not None and table.average_precision in (0.5, 1.0)
    assert 0 < table.threshold <= 1 and table.cosine_f1 is not None and table.published_f1 is None
    assert table.recall_at[50] is not None and table.recall_at[50].value == 1
    write(folder / "valid.csv", "ltable_id,rtable_id,label\n3,3,0\n")
    table = measure_recall(read_pairs(folder, Reading(unseen=True), published=True), settings=QUICK).models[0].pairs
    assert table is not None and table.threshold is None and table.f1 is None


def test_equal_titles_under_two_labels_are_counted_apart(encoder: Encoder) -> None:
    titles = ["햇반 210g", "햇반 210g", "새우깡 90g", "농심 새우깡 90g"]
    data = LabelledSet("s", "groups", titles, ["s:a", "s:b", "s:c", "s:c"], np.array(["test"] * 4), np.ones(4, bool))
    pool = make_pool(data, np.arange(4), ["test"], encoder, Decision.of(encoder.bundle))
    assert equal_titles(pool, sides_of(pool)["test"]) == 1
