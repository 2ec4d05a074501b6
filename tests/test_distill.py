"""The guide's loss is its formula, teachers' vectors outlive a kill, and a student comes out of one command."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

from conftest import unit_rows  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import training.teachers  # noqa: E402
from api.cli import app  # noqa: E402
from embedder.bundle import DEFAULT, load_bundle  # noqa: E402
from embedder.encoder import Encoder  # noqa: E402
from embedder.errors import InputError  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.distill import Guide, relations_loss  # noqa: E402
from training.labels import Labelled, gather_products  # noqa: E402
from training.model import TitleModel, encode  # noqa: E402
from training.teachers import Teachers, ask_teachers  # noqa: E402
from training.train import Trainer  # noqa: E402
from training.vocabulary import learn_vocabulary  # noqa: E402

TINY = TrainConfig(
    hidden=32, layers=1, heads=2, intermediate=64, vocabulary=300, max_length=24, contrast_steps=6, arcface_steps=4,
    products_per_batch=12, decoys_per_batch=4, validate_every=2,
)  # fmt: skip


def teachers(*vectors: np.ndarray[Any, Any]) -> Teachers:
    return Teachers(tuple(f"t{n}" for n in range(len(vectors))), tuple(v.astype(np.float16) for v in vectors))


def test_two_teachers_side_by_side_have_the_mean_of_their_cosines() -> None:
    one, two = unit_rows(6, 8), unit_rows(6, 3, seed=1)
    two[4] = 0
    both = teachers(one, two)
    assert both.dimension == 11
    rows = both.of(np.array([0, 3, 5, 4]))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0], atol=1e-3)
    expected = (one[0] @ one[3] + two[0] @ two[3]) / 2
    assert rows[0] @ rows[1] == pytest.approx(expected, abs=2e-3)


def test_relations_are_their_formula_and_nothing_where_both_agree() -> None:
    own, theirs = unit_rows(5, 4), unit_rows(5, 9, seed=1)
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        student, teacher = (np.exp([float(v[i] @ v[j]) / 0.1 for j in others]) for v in (own, theirs))
        student, teacher = student / student.sum(), teacher / teacher.sum()
        total += float((teacher * np.log(teacher / student)).sum())
    a, b = torch.from_numpy(own), torch.from_numpy(theirs)
    assert relations_loss(a, b, 0.1).item() == pytest.approx(total / 5, rel=1e-4)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0].astype(np.float32))
    assert relations_loss(b @ turn, b, 0.1).item() == pytest.approx(0, abs=1e-5)


def test_the_guide_leaves_out_decoys_and_titles_that_teachers_cannot_read() -> None:
    told = unit_rows(6, 8)
    told[2] = 0
    vectors = torch.from_numpy(unit_rows(4, 5, seed=2))
    torch.manual_seed(0)
    guide = Guide(teachers(told), 5, TINY)
    with torch.no_grad():
        both = guide(vectors, [1, -1, 2, 5])
        kept = vectors[[0, 3]]
        theirs = torch.from_numpy(told[[1, 5]])
        apart = 1 - torch.nn.functional.cosine_similarity(guide.map(kept), theirs).mean()
        assert both.item() == pytest.approx((apart + relations_loss(kept, theirs, 0.05)).item(), abs=2e-3)
        assert guide(vectors, [-1, -1, 2, -1]).item() == 0
    assert not list(Guide(teachers(told), 5, TrainConfig(distil_cosine=0.0)).parameters())


@pytest.fixture
def titles() -> list[str]:
    return [f"농심 라면 {n}호 {n % 7}개" for n in range(25)] + ["", "!!!"]


def test_teachers_answers_are_kept_and_taken_up_where_they_stood(
    tmp_path: Path, titles: list[str], encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.teachers, "_WINDOW", 10)
    reported: list[int] = []

    def ask(folder: Path, stop_after: int = 99) -> Teachers:
        def report(name: str, done: int, total: int) -> None:
            assert (name, total) == (encoder.fingerprint, 27)
            reported.append(done)
            if done >= stop_after:
                raise KeyboardInterrupt

        return ask_teachers([DEFAULT], titles, folder, report)

    whole = ask(tmp_path / "whole")
    expected = encoder.encode(titles)
    np.testing.assert_allclose(whole.vectors[0].astype(np.float32), expected, atol=1e-3)
    assert whole.vectors[0].dtype == np.float16
    assert reported == [10, 20, 27]
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        ask(folder, 20)
    (part,) = folder.iterdir()
    with part.open("ab") as file:
        file.write(b"half a row")
    reported.clear()
    resumed = ask(folder)
    assert reported == [27]
    np.testing.assert_array_equal(resumed.vectors[0], whole.vectors[0])
    reported.clear()
    ask(folder)
    assert not reported
    (part,) = folder.iterdir()
    assert part.suffix == ".npy"


@pytest.mark.parametrize("broken", [b"", b"\x93NUMPY", b"nothing like it" * 20])
def test_a_broken_part_is_begun_anew(tmp_path: Path, titles: list[str], broken: bytes) -> None:
    whole = ask_teachers([DEFAULT], titles, tmp_path, lambda *_: None)
    (path,) = tmp_path.iterdir()
    expected = np.array(whole.vectors[0])
    path.rename(path.with_suffix(".part"))
    path.with_suffix(".part").write_bytes(broken)
    again = ask_teachers([DEFAULT], titles, tmp_path, lambda *_: None)
    np.testing.assert_array_equal(again.vectors[0], expected)


def test_a_teacher_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is given twice"):
        ask_teachers([DEFAULT, DEFAULT], ["a"], tmp_path, lambda *_: None)


def test_a_stopped_student_ends_as_one_that_was_not(tmp_path: Path) -> None:
    rows = [(f"라면 {n}호 {way}", f"a{n}") for n in range(30) for way in ("순한맛", "매운맛")]
    products = gather_products(
        [Labelled("p", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows))], ["두부 한모", "두부 두모"]
    )
    tokenizer = learn_vocabulary(products.titles, TINY.vocabulary)
    told = teachers(unit_rows(len(products.titles), 48))

    def student(folder: str, stop_after: int = 99, taught: Teachers | None = told) -> TitleModel:
        def report(stage: str, done: int, steps: int, values: dict[str, float]) -> None:
            if "score" in values and len(run.history) >= stop_after:
                raise KeyboardInterrupt

        run = Trainer(
            TINY, products, tokenizer, tmp_path / folder, lambda *_: {"score": float(len(run.history))}, report, taught
        )
        return run.run()[0]

    whole = student("whole")
    for stop_after in (2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            student(f"stopped-{stop_after}", stop_after)
        resumed = student(f"stopped-{stop_after}")
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)
    alone = student("alone", taught=None)
    assert any(not torch.equal(value, alone.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(InputError, match="a run with other teachers"):
        student("whole", taught=None)


def test_a_student_comes_nearer_to_its_teacher(tmp_path: Path) -> None:
    rows = [(f"{brand} 라면 {n}호", f"{brand}{n}") for n in range(20) for brand in ("농심", "삼양", "오뚜기")]
    labelled = Labelled("p", [r[0] for r in rows], [r[1] for r in rows], ["train"] * len(rows))
    products = gather_products([labelled])
    tokenizer = learn_vocabulary(products.titles, TINY.vocabulary)
    brand = {"농심": 0, "삼양": 1, "오뚜기": 2}
    centres = unit_rows(3, 8)
    seen = np.stack([centres[brand[title.split()[0]]] for title in products.titles]) + 0.1 * unit_rows(60, 8, seed=5)
    told = teachers(seen / np.linalg.norm(seen, axis=1, keepdims=True))
    config = replace(
        TINY, contrast_steps=80, arcface_steps=0, validate_every=80, learning_rate=3e-3, distil_temperature=0.3
    )
    gaps = {}
    for name, taught in (("taught", told), ("alone", None)):
        run = Trainer(config, products, tokenizer, tmp_path / name, lambda *_: {"score": 0.0}, lambda *_: None, taught)
        vectors = torch.from_numpy(encode(run.run()[0], tokenizer, products.titles))
        theirs = torch.from_numpy(told.of(np.arange(len(products.titles))))
        gaps[name] = relations_loss(vectors, theirs, 0.3).item()
    assert gaps["taught"] < 0.6 * gaps["alone"]


def test_distill_writes_a_small_bundle(tmp_path: Path) -> None:
    rng = random.Random(0)
    brands, things = "농심 오뚜기 삼양 동원 풀무원".split(), "라면 참기름 만두 참치 두부 우동 김치".split()
    lines = ["title,cluster_id"]
    for product in range(200):
        brand, thing, size = rng.choice(brands), rng.choice(things), rng.choice([100, 120, 210, 500])
        lines += [
            f"{brand} {thing} {product}호 {size}g,{product}",
            f"{brand}){thing}{product}호{size}G 무료배송,{product}",
        ]
    (tmp_path / "toy.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "more.csv").write_text("title\n두부 한모\n우동 두그릇\n", encoding="utf-8")
    command = [
        "distill", str(tmp_path / "toy.csv"), "--teacher", str(DEFAULT), "--unlabelled", str(tmp_path / "more.csv"),
        "-o", str(tmp_path / "student"), "--config",
        "hidden=32,layers=1,heads=2,intermediate=64,vocabulary=400,contrast_steps=20,arcface_steps=6,"
        "products_per_batch=24,validate_every=20",
    ]  # fmt: skip
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    teacher, student = load_bundle(DEFAULT), load_bundle(tmp_path / "student")
    assert f"teacher {teacher.fingerprint}" in told.output
    assert student.config.dimensions == 32
    assert student.read_json("metrics.json")["teachers"] == [teacher.fingerprint]
    assert f"Taught by the vectors of {teacher.fingerprint}." in (student.folder / "README.md").read_text("utf-8")
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert "teacher" not in again.output, "vectors are kept"
    assert load_bundle(tmp_path / "student").fingerprint == student.fingerprint
