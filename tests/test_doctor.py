"""The doctor sees a healthy installation as healthy, and names what is wrong with another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import api.doctor
from api.doctor import examine
from embedder.bundle import Bundle, write_bundle


def test_this_installation_is_in_order() -> None:
    healthy, lines = examine()
    assert healthy
    assert any(line.startswith("faiss: faiss-") for line in lines)
    assert any("would encode on" in line for line in lines)


def test_how_it_decides_is_told(bundle: Bundle, tmp_path: Path) -> None:
    decision = bundle.read_json("decision.json")
    told = "\n".join(examine()[1])
    assert "probability: a model of the evidence" in told
    assert f"one threshold for all would be {decision['threshold']:.2f}" in told
    assert f"clusters from {decision['cluster_threshold']:.2f}" in told
    proven = decision | {"promises": [{"precision": 0.9, "threshold": 0.71, "recall": 0.6, "words": "95 of 100"}]}
    told = "\n".join(examine(rewritten(bundle, tmp_path / "proven", proven))[1])
    assert "--min-precision 0.9: from 0.710; 95 of 100" in told
    told = "\n".join(examine(rewritten(bundle, tmp_path / "plain", decision | {"promises": []}))[1])
    assert "--min-precision: none is proven; dongil threshold LABELLED proves one" in told
    assert "probability: of the cosine alone" in told


def rewritten(bundle: Bundle, folder: Path, decision: dict[str, Any]) -> Path:
    """The bundle without its probability model, with another decision."""
    texts = [(bundle.folder / name).read_text(encoding="utf-8") for name in ("tokenizer.json", "README.md")]
    write_bundle(
        folder, bundle.config, model=bundle.model_path.read_bytes(), tokenizer=texts[0], decision=decision,
        metrics={}, card=texts[1],
    )  # fmt: skip
    return folder


def test_two_builds_are_an_illness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.doctor, "_version", lambda name: "1.0")
    healthy, lines = examine()
    assert not healthy
    assert sum("TWO BUILDS" in line for line in lines) == 2


def test_nothing_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.doctor, "_version", lambda name: None)
    healthy, lines = examine()
    assert not healthy
    assert "faiss:  MISSING: pip install dongil[cpu] or dongil[gpu]" in lines


def test_a_broken_model_is_said(tmp_path: Path) -> None:
    healthy, lines = examine(tmp_path)
    assert not healthy
    assert any("not a whole bundle" in line for line in lines)
