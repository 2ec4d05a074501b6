"""The doctor sees a healthy installation as healthy, and names what is wrong with another."""

from __future__ import annotations

from pathlib import Path

import pytest

import api.doctor
from api.doctor import examine


def test_this_installation_is_in_order() -> None:
    healthy, lines = examine()
    assert healthy
    assert any(line.startswith("faiss: faiss-") for line in lines)
    assert any("would encode on" in line for line in lines)


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
