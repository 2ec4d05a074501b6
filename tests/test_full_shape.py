"""The proof at full shape runs the user's own command, here on a base that is tiny."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from bases import tiny_base

from benchmarks.full_shape import prove_base
from embedder.errors import InputError


@pytest.mark.parametrize("weights", [True, False])
def test_a_base_is_trained_exported_and_served(tmp_path: Path, weights: bool) -> None:
    base = tiny_base(tmp_path / "base")
    if not weights:
        (base / "model.safetensors").unlink()
    said: list[str] = []
    prove_base(base, tmp_path / "report", steps=2, say=said.append)
    assert said[0] == ("its own weights" if weights else "random weights")
    found = json.loads((tmp_path / "report" / "base.json").read_text(encoding="utf-8"))
    assert found["random_weights"] is not weights
    assert set(found["trained"]["titles_per_s"]) == {"contrast", "arcface"}
    assert found["trained"]["peak_mb"] > 100
    exported = found["runs"][0]["result"]
    assert exported["graphs"]["float32"]["least_cosine"] > 0.9999
    assert [run["status"] for run in found["runs"]] == ["ok"] * 3
    told = (tmp_path / "report" / "base.md").read_text(encoding="utf-8")
    assert "serving int8: " in told
    assert f"{exported['parameters'] / 1e6:.1f}M parameters" in told
    assert (base / "model.safetensors").exists() is weights


def test_a_folder_that_is_no_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config that transformers knows"):
        prove_base(tmp_path, tmp_path / "report")
