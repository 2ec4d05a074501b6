"""Labels from use make a better decision on products they do not name, or it is said that they do not."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from living import loaded_of
from typer.testing import CliRunner, Result

from api.cli import app
from embedder.bundle import Bundle, load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.catalog import Catalog
from index.correction import COLUMNS, Correction, column_of, logits_of, sigmoid
from index.decision import Decision
from index.evidence import EVIDENCE, VETOES
from index.ledger import Label
from index.listings import Item
from index.review import draw
from index.snapshot import Snapshot
from index.tables import Table, read_table
from index.verdict import Verdict
from training.compared import Comparison, Figure, Held, compare, verdict_of
from training.labels import read_labelled
from training.lessons import STRATA, Lessons, catalogue_of, lessons_of, weigh
from training.pairs import PAIR_COLUMNS, read_pairs
from training.relearn import FEWEST, GRID, TARGETS, Relearnt, relearn, write_relearnt
from training.told import labels_of, write_training_file

Rows = list[tuple[str, str, str]]


def dongil(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def table(rows: Rows) -> Table:
    return Table("labels.csv", dict(zip(PAIR_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def products() -> dict[str, str]:
    """The product of each title of the sample catalogue."""
    with (ROOT / "api" / "sample" / "catalog.csv").open(encoding="utf-8", newline="") as file:
        return {row["title"]: row["cluster_id"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def decision(bundle: Bundle) -> Decision:
    return Decision.of(bundle)


@pytest.fixture(scope="module")
def sample_of(products: dict[str, str], encoder: Encoder, decision: Decision) -> Snapshot:
    return catalogue_of(list(products), encoder, decision, device="cpu")


@pytest.fixture(scope="module")
def drawn(sample_of: Snapshot) -> list[tuple[str, str, bool]]:
    """Candidate pairs of the sample: two titles, and whether their quantities of pieces differ."""
    rows = []
    for node in sample_of.nodes.tolist():
        _, near, probabilities, _ = sample_of.around(np.array([node]))
        near = near[(near > node) & (probabilities >= 0.01)]
        evidence = sample_of.between(np.full(len(near), node), near)
        packs = evidence[:, EVIDENCE.index("quantity_count")] == Verdict.DIFFERENT
        texts = sample_of.base.scene.nodes.texts
        rows += [(texts[node], texts[other], bool(p)) for other, p in zip(near.tolist(), packs, strict=True)]
    random.Random(1).shuffle(rows)
    return rows


def size_blind(products: dict[str, str], drawn: Sequence[tuple[str, str, bool]], count: int) -> Rows:
    """Labels of a shop for which packs of other sizes are the same product."""
    rows = [(a, b, "same" if packs or products[a] == products[b] else "different") for a, b, packs in drawn]
    return rows[:count]


def kept(rows: Rows) -> Rows:
    """The labels that no others contradict."""
    pairs = read_pairs(table(rows), PAIR_COLUMNS)
    wrong = {pair.row for pair in pairs.conflicts()}
    return [row for at, row in enumerate(rows) if at not in wrong]


@pytest.fixture(scope="module")
def lessons(
    products: dict[str, str], drawn: list[tuple[str, str, bool]], sample_of: Snapshot, encoder: Encoder
) -> Lessons:
    rows = kept(size_blind(products, drawn, 500))
    return weigh(read_pairs(table(rows), PAIR_COLUMNS), sample_of, encoder.encode)


@pytest.fixture(scope="module")
def relearnt(lessons: Lessons, decision: Decision) -> Relearnt:
    return relearn(lessons, decision)


# What is learnt


def test_a_systematic_difference_is_learnt(relearnt: Relearnt) -> None:
    assert relearnt.verdict == "better", relearnt.words
    for view in (relearnt.labelled, relearnt.catalogue):
        assert view is not None
        assert view.log_loss_gain.low > 0
        assert view.after.f1.value > view.before.f1.value
        assert view.after.calibration_error.value < view.before.calibration_error.value
    correction = relearnt.decision.correction
    assert correction is not None
    assert correction.columns["quantity_count differs"] > 0.5
    assert correction.lifted == ("quantity_count",)
    assert correction.labels == relearnt.same + relearnt.different


def test_it_judges_pairs_that_it_never_saw_as_the_shop_does(
    relearnt: Relearnt, decision: Decision, products: dict[str, str], drawn: list[tuple[str, str, bool]],
    sample_of: Snapshot, encoder: Encoder,
) -> None:  # fmt: skip
    rows = kept(size_blind(products, drawn[500:], 10**6))
    held = weigh(read_pairs(table(rows), PAIR_COLUMNS), sample_of, encoder.encode, sample=False)
    apart = held.evidence[:, EVIDENCE.index("quantity_count")] == Verdict.DIFFERENT
    before, after = decision.probability(held.evidence), relearnt.decision.probability(held.evidence)
    assert apart.sum() > 10
    assert after[apart].mean() > before[apart].mean() + 0.1
    wrong = [((p >= d.threshold) != held.same).mean() for p, d in ((before, decision), (after, relearnt.decision))]
    assert wrong[1] < wrong[0]
    # Nothing keeps packs of another size apart any more, but whatever else did still does.
    vetoed = relearnt.decision.contradictions(held.evidence)
    others = (held.evidence[:, [EVIDENCE.index(name) for name in VETOES[1:]]] == Verdict.DIFFERENT).any(axis=1)
    assert (vetoed == others).all() and decision.contradictions(held.evidence)[apart].all()


def test_labels_at_random_are_told_and_refused(
    drawn: list[tuple[str, str, bool]], sample_of: Snapshot, encoder: Encoder, decision: Decision, bundle: Bundle,
    tmp_path: Path,
) -> None:  # fmt: skip
    coin = random.Random(3)
    rows = kept([(a, b, coin.choice(["same", "different"])) for a, b, _ in drawn[:300]])
    found = relearn(weigh(read_pairs(table(rows), PAIR_COLUMNS), sample_of, encoder.encode), decision)
    assert found.verdict == "worse"
    assert "labels do not go with what the titles say" in found.words
    with pytest.raises(InputError, match="not written, because it is worse: the labels do not go"):
        write_relearnt(bundle, tmp_path / "m", found)
    assert not (tmp_path / "m").exists()
    assert Decision.of(write_relearnt(bundle, tmp_path / "m", found, force=True)).correction is not None


def test_a_few_labels_hardly_move_it(lessons: Lessons, decision: Decision) -> None:
    few = [*np.flatnonzero(lessons.same)[:FEWEST], *np.flatnonzero(~lessons.same)[:FEWEST]]
    some = replace(lessons, evidence=lessons.evidence[few], same=lessons.same[few], products=lessons.products[few],
                   strata=lessons.strata[few], weights=None)  # fmt: skip
    small, large = (relearn(one, decision).decision.correction for one in (some, lessons))
    assert small is not None and large is not None
    assert abs(small.columns["quantity_count differs"]) < abs(large.columns["quantity_count differs"])
    assert small.lifted == ()


def test_nothing_is_judged_by_labels_of_its_products(lessons: Lessons, decision: Decision) -> None:
    """Turning the labels of a product round changes nothing of what is said of its pairs."""
    found = relearn(lessons, decision)
    product = int(lessons.products[0, 0])
    own = (lessons.products == product).any(axis=1)
    other = relearn(replace(lessons, same=lessons.same ^ own), decision)
    assert found.held.after[own] == pytest.approx(other.held.after[own], abs=1e-12)
    assert (found.held.now[own] == other.held.now[own]).all()
    assert not np.allclose(found.held.after, other.held.after)


def test_the_same_labels_teach_the_same(lessons: Lessons, decision: Decision, relearnt: Relearnt) -> None:
    again = relearn(lessons, decision)
    assert again.decision == relearnt.decision
    assert again.told() == relearnt.told()
    json.dumps(relearnt.told(), allow_nan=False)


def test_what_was_learnt_before_is_learnt_anew(lessons: Lessons, relearnt: Relearnt, decision: Decision) -> None:
    again = relearn(lessons, replace(relearnt.decision, threshold=decision.threshold))
    assert again.decision.correction == relearnt.decision.correction
    assert again.labelled.before == relearnt.labelled.before


# Labels as they come


@pytest.mark.parametrize(
    ("same", "different", "said"),
    [
        (
            3,
            30,
            "3 pairs called the same and 30 called different; expected at least 10 of both .*: 7 more called same$",
        ),
        (0, 40, "10 more called same$"),
        (40, 0, "10 more called different$"),
        (0, 0, "10 more called same and 10 more called different$"),
    ],
)
def test_too_few_labels_say_how_many_are_missing(
    lessons: Lessons, decision: Decision, same: int, different: int, said: str
) -> None:
    rows = [*np.flatnonzero(lessons.same)[:same], *np.flatnonzero(~lessons.same)[:different]]
    some = replace(lessons, evidence=lessons.evidence[rows], same=lessons.same[np.array(rows, int)],
                   products=lessons.products[rows], strata=lessons.strata[rows], weights=None)  # fmt: skip
    with pytest.raises(InputError, match=said):
        relearn(some, decision)


def test_labels_that_contradict_each_other_are_left_out_and_told(sample_of: Snapshot, encoder: Encoder) -> None:
    rows = [
        ("농심 신라면 5입", "농심 신라면 다섯개", "same"), ("농심 신라면 다섯개", "신라면 5봉", "same"),
        ("농심 신라면 5입", "신라면 5봉", "different"), ("농심 신라면 5입", "농심 신라면 5입", "same"),
    ]  # fmt: skip
    found = weigh(read_pairs(table(rows), PAIR_COLUMNS), sample_of, encoder.encode)
    assert found.same.tolist() == [True, True]
    conflict, twins = found.left_out
    assert "row 3 calls 농심 신라면 5입 and 신라면 5봉 different; called the same:" in conflict.replace("'", "")
    assert twins.startswith("1 pairs of equal titles")


def test_titles_that_the_catalogue_does_not_hold_are_met_in_it(sample_of: Snapshot, encoder: Encoder) -> None:
    held, strange = sample_of.base.titles[0], "듣도 보도 못한 물건 77호"
    before = len(sample_of)
    found = weigh(read_pairs(table([(held, strange, "different")]), PAIR_COLUMNS), sample_of, encoder.encode)
    grown = sample_of.after(loaded_of(["x"], [strange], encoder.encode([strange])), (), 1)
    node = np.array([grown.node("x")]), np.array([grown.node("0")])
    assert found.evidence == pytest.approx(grown.between(*node), nan_ok=True)
    assert len(sample_of) == before, "nothing was added"


def test_labels_of_a_catalogue_teach_by_the_titles_they_were_given_for(
    tmp_path: Path, sample_of: Snapshot, encoder: Encoder
) -> None:
    with Catalog.open(tmp_path / "data") as catalog:
        catalog.put([Item("a", "농심 신라면 5입"), Item("b", "신라면 5봉"), Item("c", "코카콜라 355ml")])
        catalog.labels.put([
            Label("a", "b", "same", "me"), Label("a", "c", "different", "me"), Label("b", "c", "skip", "me"),
            Label("펩시 355ml", "펩시콜라 355ml", "same", "me", of="titles"),
        ])  # fmt: skip
        catalog.put([Item("a", "삼양라면 5입")])
        assert {frozenset(row) for row in zip(*labels_of(catalog).columns.values(), strict=True)} == {
            frozenset(("농심 신라면 5입", "신라면 5봉", "same")),
            frozenset(("농심 신라면 5입", "코카콜라 355ml", "different")),
            frozenset(("펩시 355ml", "펩시콜라 355ml", "same")),
        }
        found = lessons_of(catalog, sample_of, encoder.encode)
        assert sorted(found.same.tolist()) == [False, True, True]


def test_no_labels_at_all(tmp_path: Path, sample_of: Snapshot, encoder: Encoder, decision: Decision) -> None:
    with Catalog.open(tmp_path / "data") as catalog, pytest.raises(InputError, match="0 pairs called the same"):
        relearn(lessons_of(catalog, sample_of, encoder.encode), decision)


# How labels stand for a catalogue


def test_pairs_are_weighed_as_the_catalogue_has_them(lessons: Lessons, sample_of: Snapshot) -> None:
    assert lessons.weights is not None and lessons.covered == pytest.approx(1, abs=0.05)
    assert lessons.weights.mean() == pytest.approx(1)
    place = np.searchsorted(STRATA, draw(sample_of, 10**6).probabilities, "right")
    for stratum in np.unique(lessons.strata):
        share = lessons.weights[lessons.strata == stratum].sum() / len(lessons)
        assert share == pytest.approx((place == stratum).mean())


def test_weighing_mends_a_lopsided_choice_of_pairs() -> None:
    """Of a catalogue with 90 % sure pairs, nine in ten labels are of doubtful ones: only weights tell its precision."""
    rng = np.random.default_rng(0)
    p = np.concatenate([np.full(300, 0.5), np.full(100, 0.98)])
    same = rng.random(400) < p
    held = Held(same, p, p, p >= 0.4, p >= 0.4, np.arange(400))
    weights = np.where(p > 0.9, 0.9 / 100, 0.1 / 300)
    plain, fair = compare(held), compare(held, weights / weights.mean())
    assert plain.before.precision.high < 0.8
    assert fair.before.precision.low < 0.9 * 0.98 + 0.1 * 0.5 < fair.before.precision.high
    assert fair.worth < plain.worth == 400


def test_intervals_hold_what_they_should() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for seed in range(30):
        p = rng.random(200)
        same = rng.random(200) < p
        found = compare(Held(same, p, p, p >= 0.5, p >= 0.5, np.arange(200)), seed=seed).before.precision
        inside += found.low <= 0.75 <= found.high
    assert inside >= 26


def test_scores_are_what_they_say() -> None:
    same = np.array([True, True, False, False])
    before, after = np.array([0.9, 0.2, 0.6, 0.1]), np.array([0.9, 0.8, 0.3, 0.1])
    found = compare(Held(same, before, after, before >= 0.5, after >= 0.5, np.arange(4)))
    assert (found.before.precision.value, found.before.recall.value, found.before.f1.value) == (0.5, 0.5, 0.5)
    assert found.after.f1.value == 1 and found.f1_gain.value == 0.5
    loss = -np.mean(np.log([0.9, 0.2, 0.4, 0.9]))
    assert found.before.log_loss.value == pytest.approx(loss)
    assert found.over_guessing.value == pytest.approx(math.log(2) + np.mean(np.log([0.9, 0.8, 0.7, 0.9])))
    assert found.before.calibration_error.value == pytest.approx((0.1 + 0.8 + 0.6 + 0.1) / 4)


def gained(f1: float, loss: float, wide: float = 0.01, guess: float = 0.1) -> Comparison:
    def figure(value: float) -> Figure:
        return Figure(value, value - wide, value + wide)

    one, yes = np.ones(1), np.ones(1, bool)
    some = compare(Held(yes, one, one, yes, yes, np.zeros(1, np.int64)))
    return replace(some, f1_gain=figure(f1), log_loss_gain=figure(loss), over_guessing=figure(guess))


@pytest.mark.parametrize(
    ("labelled", "catalogue", "verdict"),
    [
        (gained(0.1, 0.1), None, "better"),
        (gained(0.0, 0.1), gained(0.0, 0.0), "better"),
        (gained(0.1, 0.1), gained(-0.1, 0.1), "worse"),
        (gained(-0.005, -0.005), None, "worse"),
        (gained(-0.005, 0.005), gained(-0.005, 0.005), "worse"),
        (gained(-0.005, 0.005), gained(0.005, 0.005), "no worse"),
        (gained(0.005, -0.005), None, "no worse"),
        (gained(0.1, 0.1, guess=0.0), None, "worse"),
    ],
)
def test_the_verdict(labelled: Comparison, catalogue: Comparison | None, verdict: str) -> None:
    assert verdict_of(labelled, catalogue)[0] == verdict


# What is written


def test_a_model_that_was_taught(relearnt: Relearnt, bundle: Bundle, lessons: Lessons, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="proofs need dongil[train]")
    written = write_relearnt(bundle, tmp_path / "m", relearnt)
    assert written.fingerprint == bundle.fingerprint, "vectors that are stored stay good"
    decision = Decision.of(written)
    assert decision == relearnt.decision
    assert decision.probability(lessons.evidence).tolist() == relearnt.decision.probability(lessons.evidence).tolist()
    differing = {p.name for p in (tmp_path / "m").iterdir() if p.read_bytes() != (bundle.folder / p.name).read_bytes()}
    assert differing == {"decision.json", "metrics.json", "README.md"}
    assert written.read_json("metrics.json")["relearn"]["verdict"] == "better"
    assert decision.promises and all("of pairs drawn as the catalogue's are" in p.words for p in decision.promises)
    again = write_relearnt(written, tmp_path / "m", relearnt)
    card = (again.folder / "README.md").read_text(encoding="utf-8")
    assert card.count("## Relearnt from labels") == 1
    assert "**better**" in card


def test_it_proves_what_training_proves() -> None:
    decide = pytest.importorskip("training.decide", reason="needs dongil[train]", exc_type=ImportError)
    assert (decide.TARGETS, decide.GRID.tolist()) == (TARGETS, GRID.tolist())


def test_promises_are_kept_on_pairs_it_never_saw(
    relearnt: Relearnt, products: dict[str, str], drawn: list[tuple[str, str, bool]], sample_of: Snapshot,
    encoder: Encoder,
) -> None:  # fmt: skip
    pytest.importorskip("scipy", reason="proofs need dongil[train]")
    rows = size_blind(products, drawn[500:], 10**6)
    held = weigh(read_pairs(table(rows), PAIR_COLUMNS), sample_of, encoder.encode, sample=False)
    probabilities = relearnt.decision.probability(held.evidence)
    for promise in relearnt.decision.promises:
        assert held.same[probabilities >= promise.threshold].mean() >= promise.precision - 0.03


def test_the_bundle_that_ships_loads_as_before(bundle: Bundle) -> None:
    assert "correction" not in bundle.read_json("decision.json")
    decision = Decision.of(bundle)
    assert decision.correction is None
    assert "correction" not in decision.to_json()


# The correction


def evidence_of(**columns: float) -> np.ndarray:
    some = np.zeros((1, len(EVIDENCE)), np.float32)
    for name, value in columns.items():
        some[0, EVIDENCE.index(name)] = value
    return some


def test_a_correction_weighs_what_it_says() -> None:
    correction = Correction(0.5, -1.0, {"quantity_count differs": 2.0, "numbers_alone_most": 3.0})
    found = correction.apply(evidence_of(quantity_count=Verdict.DIFFERENT, numbers_alone_most=1), np.array([0.8]))
    assert found == pytest.approx(sigmoid(np.array([0.5 * math.log(4) - 1 + 2 + 1.5])))
    for value in (Verdict.UNSAID, Verdict.ONE_SIDE, Verdict.SAME):
        plain = correction.apply(evidence_of(quantity_count=value), np.array([0.8]))
        assert plain == pytest.approx(sigmoid(np.array([0.5 * math.log(4) - 1])))


def test_no_correction_changes_nothing_and_keeps_order() -> None:
    p = np.array([0.0, 1e-9, 0.3, 0.7, 1.0])
    some = np.repeat(evidence_of(), 5, axis=0)
    assert Correction().apply(some, p) == pytest.approx(p, abs=1e-5)
    assert (np.diff(Correction(0.1, 4.0).apply(some, p)) >= 0).all()
    assert logits_of(p)[[0, -1]].tolist() == pytest.approx([-13.8155, 13.8155], abs=1e-3)
    assert all(column_of(name, some).max() <= 1 for name in COLUMNS)


def test_a_correction_comes_back_as_it_was_written() -> None:
    correction = Correction(0.9, 0.1, {"trait_colour one side": -1.5}, ("quantity_mass",), 77)
    assert Correction.from_json(json.loads(json.dumps(correction.to_json()))) == correction


# The command


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, products: dict[str, str], drawn: list[tuple[str, str, bool]]
) -> Path:
    folder = tmp_path_factory.mktemp("files")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([PAIR_COLUMNS, *kept(size_blind(products, drawn, 500))])
    return folder


def test_the_command_teaches_and_tells(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need dongil[train]")
    catalog = ROOT / "api" / "sample" / "catalog.csv"
    answer = dongil("relearn", files / "labels.csv", "-o", tmp_path / "m", "--catalog", catalog,
                    "--plot", tmp_path / "p.png")  # fmt: skip
    assert answer.exit_code == 0, answer.output
    told = " ".join(answer.output.split())
    assert "better: " in told and "as in the" in told and "keeps no pair apart any more: quantity_count" in told
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert Decision.of(load_bundle(tmp_path / "m")).correction is not None
    again = dongil("relearn", files / "labels.csv", "-o", tmp_path / "m", "--model", tmp_path / "m")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "full"), "something else stands here"),
        (("-o", "new", "--plot", "p.jpg"), "unknown suffix; expected .png"),
        (("-o", "new", "--plot", "none/p.png"), "no file can stand here"),
        (("-o", "new", "--label-column", "said"), "no column 'said'"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("life's work")
    monkeypatch.setattr(Encoder, "encode", lambda *_, **__: pytest.fail("the work was begun"))
    answer = dongil("relearn", files / "labels.csv", *options)
    assert answer.exit_code == 1
    assert said in answer.output.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_groups_are_not_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("title,cluster_id\n콜라,1\n사이다,2\n", encoding="utf-8")
    answer = dongil("relearn", tmp_path / "a.csv", "-o", tmp_path / "m")
    assert answer.exit_code == 1
    assert "no pairs; expected the columns title_a, title_b and label" in answer.output.replace("\n", " ")


def test_too_few_labels_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "title_a,title_b,label\n콜라 1L,코카콜라 1L,1\n콜라 1L,사이다 1L,0\n", encoding="utf-8"
    )
    answer = dongil("relearn", tmp_path / "a.csv", "-o", tmp_path / "m")
    assert answer.exit_code == 1
    assert "9 more called same and 9 more called different" in answer.output.replace("\n", " ")
    assert not (tmp_path / "m").exists()


WITHOUT_TRAIN = """
import sys
sys.modules.update(dict.fromkeys(["torch", "scipy", "sklearn", "lightgbm", "matplotlib"]))
import api.relearn, training.told
import numpy as np
from embedder.bundle import load_bundle
from index.decision import Decision
from index.evidence import EVIDENCE
from training.lessons import Lessons
from training.relearn import relearn
rng = np.random.default_rng(0)
evidence = rng.random((80, len(EVIDENCE))).astype(np.float32)
products = np.arange(160).reshape(80, 2)
lessons = Lessons(evidence, rng.random(80) < 0.5, products, [str(n) for n in range(160)], np.zeros(80, np.int64))
found = relearn(lessons, Decision.of(load_bundle()))
assert found.decision.promises == found.proofs == ()
"""


def test_it_needs_nothing_of_the_training_extra() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_TRAIN], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr


# A file for the encoder


def test_a_catalogue_as_a_training_file(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "data") as catalog:
        titles = ["신라면 5입", "신라면 5봉", "농심 신라면 다섯봉", "신라면컵", "신라면 컵 65g",
                  "콜라 1L", "코카콜라 1L", "사이다", "칠성 사이다"]  # fmt: skip
        catalog.put([Item(id, title) for id, title in zip("abcdefghi", titles, strict=True)])
        clusters = {"noodles": "abde", "cola": "fg", "cider": "hi"}
        for name, items in clusters.items():
            catalog.clusters.move(dict.fromkeys(items, name), "rebuild", "dongil")
        catalog.clusters.rate({"noodles": 0.95, "cola": 0.97, "cider": 0.5})
        catalog.labels.put([Label("a", "b", "same", "me"), Label("a", "d", "different", "me"),
                            Label("h", "i", "skip", "me")])  # fmt: skip
        catalog.clusters.move({"c": "noodles"}, "move", "me", by_hand=True)
        count = write_training_file(catalog, tmp_path / "pairs.csv")
        pairs = read_pairs(read_table(tmp_path / "pairs.csv"), PAIR_COLUMNS)
        labels_alone = write_training_file(catalog, tmp_path / "labels.csv", sure=None)
    assert count == len(pairs.same) + len(pairs.different) and not pairs.conflicts()
    said = {frozenset((pairs.titles[p.left], pairs.titles[p.right])) for p in pairs.same}
    assert {"신라면 5입", "신라면 5봉"} in said
    assert {"콜라 1L", "코카콜라 1L"} in said, "a cluster that holds together is taken"
    assert not any("사이다" in pair for pair in said), "a loose one is not"
    joined = dict(zip(pairs.titles, pairs.products().tolist(), strict=True))
    assert joined["신라면 5입"] != joined["신라면컵"], "a label goes before a cluster"
    assert labels_alone < count
    assert len(read_labelled(tmp_path / "pairs.csv").titles) == len(pairs.titles), "training takes it"


def test_the_threshold_moves_where_labels_clearly_call_for_it() -> None:
    from training.relearn import _threshold

    rng = np.random.default_rng(0)
    p = rng.random(400)
    assert _threshold(p, rng.random(400) < p, 0.5) == 0.5, "as good as it was"
    assert _threshold(p, p >= 0.75, 0.4) == pytest.approx(0.75)
    few = np.array([0.45, 0.46, 0.47, 0.9])
    assert _threshold(few, few >= 0.5, 0.4) == 0.4, "three labels call for nothing"
