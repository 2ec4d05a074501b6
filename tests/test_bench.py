"""``dongil bench`` from end to end on the sample catalogue, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from api.bench import bench

SAMPLE = str(ROOT / "api" / "sample" / "catalog.csv")


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(bench, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_recall_and_its_cache(tmp_path: Path) -> None:
    out = tmp_path / "report"
    code, said = run("recall", SAMPLE, "-o", out, "--unseen", "--quick", "--threads", "1")
    assert code == 0, said
    assert (out / "index.html").exists()
    assert len(list((tmp_path / ".dongil-cache").iterdir())) == 1
    code, said = run("recall", SAMPLE, "-o", out, "--unseen", "--quick", "--threads", "1")
    assert code == 0
    assert "vectors read from the cache" in said


def test_ablate(tmp_path: Path) -> None:
    code, said = run("ablate", SAMPLE, "-o", tmp_path / "r", "--unseen", "--threads", "1", "--cache", tmp_path / "c")
    assert code == 0, said
    assert (tmp_path / "r" / "ladder.md").exists()
    assert (tmp_path / "c").is_dir() and not (tmp_path / ".dongil-cache").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recall", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["recall", "korea_cvs", "--data", "."], "data set korea_cvs is not here"),
        (["recall", SAMPLE, "--test-where", "fold"], "'fold' for the test part; expected COLUMN=VALUE"),
        (["ablate", SAMPLE, "--test-where", "fold=1"], "no column 'fold' for the test part"),
        (["recall", SAMPLE, "--model", "nowhere"], "no such model folder"),
        (["all", "--data", ".", "--part", "colour"], "no part 'colour'"),
    ],
)
def test_what_cannot_be_measured(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, said = run(*arguments, "-o", tmp_path / "report")
    assert code == 1
    assert message in " ".join(said.split())
    assert "Traceback" not in said
    assert list((tmp_path / "report").iterdir()) == []


def test_peers_and_speed_are_called_as_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr("benchmarks.peers.run_peers", lambda *a, **k: called.append((a, k)) or tmp_path)
    monkeypatch.setattr("benchmarks.speed.run_speed", lambda *a, **k: called.append((a, k)) or tmp_path)
    assert run("peers", "a.csv", "b.csv", "-o", tmp_path, "--only", "tfidf")[0] == 0
    assert run("speed", "-o", tmp_path, "--part", "encode", "--size", "1000", "--size", "2000")[0] == 0
    (peers, peer_options), (speed, speed_options) = called
    assert peers == (["a.csv", "b.csv"], tmp_path)
    assert (peer_options["model"], peer_options["only"]) == (None, ["tfidf"])
    assert speed == (tmp_path,)
    assert (speed_options["parts"], speed_options["titles"], speed_options["sizes"]) == (["encode"], None, [1000, 2000])


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, said = run("recall", SAMPLE, "-o", tmp_path)
    assert code == 1
    assert "pip install 'dongil[bench]'" in said
