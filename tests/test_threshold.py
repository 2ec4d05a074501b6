"""A model proven by own labels: thresholds that they choose, promises that they carry, and nothing half-written."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("sklearn", reason="proving thresholds needs dongil[train]")
pytest.importorskip("lightgbm", reason="proving thresholds needs dongil[train]")

from api.cli import app
from embedder.bundle import DEFAULT, Bundle, load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.decision import Decision
from index.matcher import Matcher
from training.decide import TARGETS, THRESHOLDS, accept, pair_lists, row_lists
from training.evaluate import row_scores
from training.labels import Labelled, read_labelled
from training.prove import prove
from training.threshold import GRID, Pool, Proven, pool_of_labels, precision_recall_plot, prove_on, write_proven


def dongil(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products of two listings each and some of one; every tenth product is labelled as two by mistake."""
    rng = random.Random(0)
    brands, things = "농심 오뚜기 삼양 동원 풀무원 해태 롯데".split(), "라면 참기름 만두 참치 두부 우동 김치".split()
    rows = []
    for product in range(260):
        brand, thing, size = rng.choice(brands), rng.choice(things), rng.choice([100, 120, 210, 500])
        rows.append((f"{brand} {thing} {product}호 {size}g", f"p{product}"))
        if product % 4:
            mistaken = "x" if product % 10 == 1 else ""
            rows.append((f"{brand}) {thing} {product}호 {size}G 무료배송", f"p{product}{mistaken}"))
            rows.append((f"{thing} {brand} {product}호 ({size}g)", f"p{product}"))
    path = tmp_path_factory.mktemp("labels") / "toy.csv"
    path.write_text("title,cluster_id\n" + "".join(f"{t},{p}\n" for t, p in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def labelled(labels: Path) -> Labelled:
    return read_labelled(labels)


@pytest.fixture(scope="module")
def pool(labelled: Labelled, encoder: Encoder) -> Pool:
    return pool_of_labels(labelled, encoder, Decision.of(encoder.bundle), device="cpu")


@pytest.fixture(scope="module")
def proven(pool: Pool, bundle: Bundle) -> Proven:
    return prove_on(pool, Decision.of(bundle), {0.5, 0.7, 0.99})


def test_all_rows_are_judged_or_those_of_a_part(labelled: Labelled, pool: Pool, encoder: Encoder) -> None:
    assert pool.rows.tolist() == list(range(len(labelled.titles)))
    part = pool_of_labels(labelled, encoder, Decision.of(encoder.bundle), "test", device="cpu")
    titles, groups = labelled.part("test")
    assert list(part.labels[: len(part.rows)]) == groups
    assert len(part.labels) == len(titles) + len(labelled.part("train")[0])
    alone = replace(labelled, splits=["train"] * len(labelled.titles))
    with pytest.raises(InputError, match="no product of the test part has two listings"):
        pool_of_labels(alone, encoder, Decision.of(encoder.bundle), "test")


def test_proofs_are_those_of_prove(pool: Pool, proven: Proven, bundle: Bundle) -> None:
    decision = Decision.of(bundle)
    scores, right, products, possible = pair_lists([(pool, pool.scene.judge(decision))])
    assert [proof.target for proof in proven.proofs] == [0.5, 0.7, 0.99]
    for proof in proven.proofs:
        again = prove(scores, right, products, proof.target, grid=GRID)
        assert (again.threshold, again.accepted, again.lower) == (proof.threshold, proof.accepted, proof.lower)
        at = proof.threshold
        if at is not None:
            assert proof.recall == pytest.approx(right[scores >= at].sum() / possible)
            assert right[scores >= at].mean() == pytest.approx(proof.precision)
    kept = [(p.precision, p.threshold, p.words) for p in proven.decision.promises]
    assert kept == [(p.target, p.threshold, p.words) for p in proven.proofs if p.threshold is not None]
    assert 0.5 in {promise.precision for promise in proven.decision.promises}


def test_thresholds_are_the_best_on_these_labels(pool: Pool, proven: Proven) -> None:
    lists = row_lists(pool, pool.scene.judge(proven.decision))
    f1 = {
        t: row_scores(accept(proven.decision, lists, t), pool.labels, pool.rows, 0.5).f1.mean() for t in THRESHOLDS
    }  # fmt: skip
    assert f1[proven.decision.threshold] == pytest.approx(max(f1.values()), abs=1e-6)
    assert proven.scores["row_f1_at_threshold"] == pytest.approx(f1[proven.decision.threshold])
    assert proven.scores["rows"] == len(pool.rows)


def test_the_curve_is_of_pairs(pool: Pool, proven: Proven, bundle: Bundle) -> None:
    scores, right, _, possible = pair_lists([(pool, pool.scene.judge(Decision.of(bundle)))])
    recall, precision = proven.curve
    assert (np.diff(recall) >= 0).all()
    assert recall[-1] == pytest.approx(right.sum() / possible)
    assert precision[-1] == pytest.approx(right.mean())
    best = scores == scores.max()
    assert (recall[0], precision[0]) == (pytest.approx(right[best].sum() / possible), pytest.approx(right[best].mean()))
    assert precision_recall_plot(proven).startswith(b"\x89PNG")


def test_the_command_writes_a_model_that_keeps_its_promise(labels: Path, labelled: Labelled, tmp_path: Path) -> None:
    output, plot = tmp_path / "proven", tmp_path / "curve.png"
    answer = dongil("threshold", labels, "-o", output, "--min-precision", 0.65, "--plot", plot)
    assert answer.exit_code == 0, answer.output
    assert "proven" in answer.output
    assert "more pairs" in answer.output or "no number of" in answer.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    before, after = load_bundle(), load_bundle(output)
    assert after.fingerprint == before.fingerprint
    differing = {
        path.name for path in output.iterdir() if path.read_bytes() != (before.folder / path.name).read_bytes()
    }  # fmt: skip
    assert differing == {"decision.json", "metrics.json", "README.md"}
    about = after.read_json("decision.json")
    assert set(about["chosen_on"]) == {"toy"}
    assert {proof["target"] for proof in about["proofs"]} == {0.65, *TARGETS}
    assert set(after.read_json("metrics.json")) == {*before.read_json("metrics.json"), "threshold"}
    promise = Decision.of(after).promised(0.65)
    assert promise.words in (output / "README.md").read_text(encoding="utf-8")
    matcher = Matcher.from_items([str(row) for row in range(len(labelled.titles))], labelled.titles, Encoder(after))
    pairs = matcher.pairs.edges.over(promise.threshold)
    same = [labelled.groups[a] == labelled.groups[b] for a, b in zip(pairs.left, pairs.right, strict=True)]
    assert np.mean(same) >= 0.65


def test_a_model_may_be_proven_in_its_place_again_and_again(proven: Proven, bundle: Bundle, tmp_path: Path) -> None:
    first = write_proven(bundle, tmp_path / "m", proven)
    second = write_proven(first, tmp_path / "m", replace(proven, name="other"))
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert card.count("## Thresholds by own labels") == 1 and "`other`" in card and "`toy`" not in card
    original = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith(original.rstrip())
    assert set(second.read_json("decision.json")["chosen_on"]) == {"other"}
    assert second.read_json("decision.json").keys() >= bundle.read_json("decision.json").keys()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "folder"), "something else stands here; expected a new folder or a model's"),
        (("-o", "new", "--plot", "curve.jpg"), "unknown suffix; expected .png"),
        (("-o", "new", "--plot", "no/curve.png"), "no file can stand here"),
        (("-o", "new", "--model", "folder"), "not a whole bundle"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.docx").write_text("life's work")
    monkeypatch.setattr(Encoder, "encode", lambda *_, **__: pytest.fail("the work was begun"))
    answer = dongil("threshold", labels, *options)
    assert answer.exit_code == 1
    assert said in answer.output.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failure_midway_leaves_the_old_model(
    labels: Path, proven: Proven, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DEFAULT, tmp_path / "m")
    before = (tmp_path / "m" / "decision.json").read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        write_proven(bundle, tmp_path / "m", proven)
    assert (tmp_path / "m" / "decision.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_labels_without_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("title,cluster_id\n콜라,1\n사이다,2\n", encoding="utf-8")
    answer = dongil("threshold", tmp_path / "a.csv", "-o", tmp_path / "m")
    assert answer.exit_code == 1
    assert "no product has two listings" in answer.output
    assert not (tmp_path / "m").exists()


def test_few_labels_say_how_many_are_missing(tmp_path: Path) -> None:
    rows = [f"농심 라면 {n // 2}호{' 무료배송' * (n % 2)} {n}번,{n // 2}" for n in range(12)]
    (tmp_path / "a.csv").write_text("title,cluster_id\n" + "\n".join(rows), encoding="utf-8")
    answer = dongil("threshold", tmp_path / "a.csv", "-o", tmp_path / "m")
    assert answer.exit_code == 0, answer.output
    about = json.loads((tmp_path / "m" / "decision.json").read_text(encoding="utf-8"))
    assert about["promises"] == []
    assert [proof["target"] for proof in about["proofs"]] == list(TARGETS)
    refused = dongil("match", tmp_path / "a.csv", "--catalog", tmp_path / "a.csv", "-o", "-", "--model", tmp_path / "m",
                     "--min-precision", 0.9)  # fmt: skip
    assert refused.exit_code == 1
    assert "prove no precision at all" in refused.output.replace("\n", " ")
