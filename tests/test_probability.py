"""The probability model says what LightGBM says, and refuses what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("lightgbm", reason="growing trees needs dongil[train]")
pytest.importorskip("onnx", reason="growing trees needs dongil[train]")

import lightgbm
import onnx

from embedder.errors import InputError
from index.evidence import EVIDENCE
from index.probability import COLUMNS, ProbabilityModel
from training.trees import TreeConfig, grow, to_onnx

Numbers = npt.NDArray[np.float32]


def evidence(pairs: int, seed: int = 0) -> Numbers:
    """Cosines, counts and verdicts by turns, as evidence holds them."""
    draw = np.random.default_rng(seed)
    some = draw.random((pairs, len(EVIDENCE))).astype(np.float32)
    some[:, 1::3] = draw.integers(0, 20, some[:, 1::3].shape)
    some[:, 2::3] = draw.integers(0, 4, some[:, 2::3].shape)
    return some


@pytest.fixture(scope="module")
def grown() -> tuple[lightgbm.Booster, bytes]:
    some = evidence(3000)
    same = some[:, 0] + 0.1 * some[:, 2] + 0.2 * np.random.default_rng(1).normal(size=len(some)) > 0.7
    booster = grow(some, same, np.ones(len(some), np.float32), TreeConfig(trees=40))
    return booster, to_onnx(booster)


def test_it_says_what_the_trees_say(grown: tuple[lightgbm.Booster, bytes]) -> None:
    booster, data = grown
    some = np.concatenate([evidence(2000, seed=2), evidence(3000)])  # values that are split upon among them
    found = ProbabilityModel(data).predict(some)
    assert found.dtype == np.float64 and found.shape == (5000,)
    np.testing.assert_allclose(found, booster.predict(some), atol=1e-5)
    assert 0 <= found.min() < found.max() - 0.2 <= 1


def test_a_pair_is_judged_alike_whatever_stands_beside_it(grown: tuple[lightgbm.Booster, bytes]) -> None:
    some = evidence(20_000, seed=3)
    together = ProbabilityModel(grown[1]).predict(some)
    assert np.array_equal(ProbabilityModel(grown[1], threads=3).predict(some), together)
    alone = [ProbabilityModel(grown[1]).predict(some[row : row + 1])[0] for row in (0, 8191, 8192, 19_999)]
    assert alone == together[[0, 8191, 8192, 19_999]].tolist()
    assert ProbabilityModel(grown[1]).predict(some[:0]).shape == (0,)


def renamed(data: bytes, columns: object) -> bytes:
    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {COLUMNS: json.dumps(columns)})
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("columns", [None, list(EVIDENCE[:-1]), [*EVIDENCE, "colour"], list(EVIDENCE[::-1])])
def test_other_columns_are_refused(grown: tuple[lightgbm.Booster, bytes], columns: object, tmp_path: Path) -> None:
    path = tmp_path / "probability.onnx"
    path.write_bytes(renamed(grown[1], columns))
    with pytest.raises(InputError, match="learnt from other evidence than this dongil gathers") as caught:
        ProbabilityModel.read(path)
    assert caught.value.file == str(path)
    assert ProbabilityModel(renamed(grown[1], list(EVIDENCE))).predict(evidence(3)).shape == (3,)


@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_what_is_no_model_is_refused(grown: tuple[lightgbm.Booster, bytes], kept: float, tmp_path: Path) -> None:
    path = tmp_path / "probability.onnx"
    path.write_bytes(grown[1][: int(kept * len(grown[1])) if kept < 1 else int(kept)])
    with pytest.raises(InputError, match="not a probability model: ") as caught:
        ProbabilityModel.read(path)
    assert caught.value.file == str(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        ProbabilityModel.read(tmp_path / "nowhere.onnx")
