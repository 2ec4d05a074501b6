"""The proof from end to end: on small sets, with the model that ships and a decision of its own."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("lightgbm", reason="learning what each part adds needs dongil[train]")
pytest.importorskip("jinja2", reason="reports need dongil[bench]")

from conftest import ROOT
from test_parts import two_packs

from api.bench import bench
from benchmarks.hard_pairs import HardPairs, Merged
from benchmarks.proof import WEIGHTS, Proof, prove_decision
from benchmarks.proof_tables import sections, to_markdown, write_proof
from benchmarks.readme import make_tables
from embedder.bundle import Bundle, write_bundle
from embedder.errors import InputError
from index.blending import BlendConfig
from index.decision import Decision

SETS = ("korea_cvs", "danawa")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in SETS:
        place = folder / name / "titles.csv"
        place.parent.mkdir()
        with place.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "title", "cluster_id"])
            made = two_packs(100, name)
            writer.writerows(zip(range(len(made.titles)), made.titles, made.groups, strict=True))
    return folder


@pytest.fixture(scope="module")
def model(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that ships with the plainest of decisions."""
    folder = tmp_path_factory.mktemp("model") / "plain"
    files = {name: (bundle.folder / name).read_bytes() for name in ("model.onnx", "tokenizer.json")}
    decision = Decision(BlendConfig(k=10), 0.5, 0.5, 3.0, -4.0).to_json()
    tokenizer = files["tokenizer.json"].decode()
    write_bundle(
        folder, replace(bundle.config), model=files["model.onnx"], tokenizer=tokenizer, decision=decision, metrics={},
        card="",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def proof(data: Path, model: Path) -> Proof:
    return prove_decision(data, model, sets=SETS, threads=1)


def test_sets_weigh_what_they_weigh_where_the_model_is_made() -> None:
    made = dict(re.findall(r"--weight ([\w-]+)=([\d.]+)", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert {name: float(made.get(name, 1)) for name in WEIGHTS} == dict(WEIGHTS)


def test_everything_is_measured_on_every_set(proof: Proof) -> None:
    assert list(proof.judged) == list(SETS) == [one.name for one in proof.purity] == list(proof.calibration)
    assert proof.parts and list(proof.parts.whole.gain) == list(SETS)
    assert proof.followed == "korea_cvs" and [size.rows for size in proof.sizes] == [600]
    assert [hard.name for hard in proof.hard] == list(SETS)
    assert [one.way for one in proof.injected] == ["as shipped", "connected components"]


def test_the_report_holds_every_table(proof: Proof, tmp_path: Path) -> None:
    strange = Merged("<script>1</script>", "떡 2", "number", 0.9, "수량 다름")
    proof = replace(proof, hard=[replace(proof.hard[0], worst=[strange])])
    folder = write_proof(proof, tmp_path / "report", "dongil bench decision")
    names = {"decision.json", "decision.md", "index.html", "parts.png", "reliability.png", "clusters.png"}
    assert {path.name for path in folder.iterdir()} == names
    page, text = (folder / "index.html").read_text(), (folder / "decision.md").read_text()
    for section in sections(proof):
        assert f"#### {section.title}\n" in text and f">{escape(section.title).replace('&#x27;', '&#39;')} <" in page
        assert all(len(row) == len(section.header) for row in section.rows)
    assert "&lt;script&gt;1" in page and "<script>" not in page
    assert page.count("data:image/png;base64,") == 3 and "http" not in page
    assert json.loads((folder / "decision.json").read_text())["hard"][0]["worst"][0]["title"] == strange.title


def test_the_table_is_put_into_a_readme(proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.proof.prove_decision", lambda *_, **__: proof)
    path = tmp_path / "README.md"
    path.write_text("<!-- begin decision -->\n<!-- end decision -->\n")
    tables = make_tables(tmp_path, tmp_path / "out", parts=["decision"], readme=path)
    assert tables == {"decision": to_markdown(proof)}
    assert path.read_text() == f"<!-- begin decision -->\n{to_markdown(proof).rstrip()}\n<!-- end decision -->\n"
    assert (tmp_path / "out" / "decision" / "index.html").exists()


def test_titles_stay_out_of_the_tables(proof: Proof) -> None:
    assert "g |" not in to_markdown(proof) and "농심" not in to_markdown(proof)


def test_a_part_can_be_measured_by_itself(data: Path, model: Path, tmp_path: Path) -> None:
    arguments = ["decision", "--data", data, "-o", tmp_path / "r", "--model", model, "--set", "danawa"]
    ran = CliRunner().invoke(bench, [*map(str, arguments), "--part", "hard", "--threads", "1"])
    assert ran.exit_code == 0, ran.output
    assert "Same except a number" in ran.output and "What each part adds" not in ran.output
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"decision.json", "decision.md", "index.html"}
    assert len(list((tmp_path / ".dongil-cache").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sets": ["nowhere"]}, "no set 'nowhere'; expected korea_cvs"),
        ({"parts": ["colour"]}, "no part 'colour'; expected parts, certainty, hard"),
        ({"sets": ["shopee"]}, "titles.csv: cannot be read"),
    ],
)
def test_what_cannot_be_measured(data: Path, model: Path, options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prove_decision(data, model, **options)  # type: ignore[arg-type]


def test_a_set_without_a_worst_case_says_so(proof: Proof, tmp_path: Path) -> None:
    none = HardPairs("korea_cvs", 10, 5, 0, 0, [], [])
    folder = write_proof(replace(proof, hard=[none], parts=None), tmp_path, "dongil bench decision")
    assert "None is accepted." in (folder / "index.html").read_text()
    assert not (folder / "parts.png").exists()
