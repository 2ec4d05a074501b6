"""Several bundles serve as one encoder: their vectors side by side, whole folders, and one refusal for each mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, unit_rows
from hypothesis import given
from hypothesis import strategies as st

from embedder.bundle import BACKGROUND, Bundle, BundleConfig, _fingerprint, copy_bundle, load_bundle
from embedder.encoder import Encoder
from embedder.ensemble import concatenated, members_of, write_ensemble
from embedder.errors import InputError
from embedder.resume import ResumingEncoder
from index.decision import Decision
from index.matcher import Matcher

TITLES = ["농심 백산수 2L", "백산수 생수 2L 낱개", "오뚜기)참기름 320ml", "Sony WH-1000XM5", "", "★☆"]


@pytest.fixture(scope="module")
def second(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another model: the one that ships, reading four tokens of a title."""
    folder = tmp_path_factory.mktemp("second") / "short"
    bundle.copy_to(folder)
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = BundleConfig(**(about["model"] | {"max_length": 5}))
    about |= {"model": vars(config), "fingerprint": _fingerprint(config, about["sha256"])}
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    return load_bundle(folder)


@pytest.fixture(scope="module")
def ensemble(bundle: Bundle, second: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("ensemble") / "both"
    more = {BACKGROUND: (bundle.folder / BACKGROUND).read_bytes()}
    return write_ensemble(
        folder, members_of([bundle, second], [3, 1]), decision=bundle.read_json("decision.json"),
        metrics={}, card="# both", more=more,
    )  # fmt: skip


def test_a_vector_is_the_weighted_concatenation(bundle: Bundle, second: Bundle, ensemble: Bundle) -> None:
    first, other = (Encoder(one, threads=1, device="cpu").encode(TITLES) for one in (bundle, second))
    together = Encoder(ensemble, threads=1, device="cpu")
    vectors = together.encode(TITLES)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TITLES), together.dimension)
    expected = np.concatenate([np.sqrt(0.75) * first, np.sqrt(0.25) * other], axis=1)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors[:4], axis=1), 1, atol=1e-6)
    assert not vectors[4:].any()
    np.testing.assert_allclose(
        vectors @ vectors.T, 0.75 * first @ first.T + 0.25 * other @ other.T, atol=1e-6
    )  # fmt: skip


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=4),
    rows=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_a_cosine_is_the_weighted_mean_of_cosines(weights: list[float], rows: int, seed: int) -> None:
    parts = [unit_rows(rows, 3 + number, seed + number) for number in range(len(weights))]
    together = concatenated(parts, weights)
    mean = sum(weight * part @ part.T for weight, part in zip(weights, parts, strict=True)) / sum(weights)
    np.testing.assert_allclose(together @ together.T, mean, atol=1e-5)


def test_a_title_that_one_member_cannot_read_still_has_length_1() -> None:
    first, second = unit_rows(2, 4), unit_rows(2, 4, 1)
    second[1] = 0
    together = concatenated([first, second], [0.5, 0.5])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(together[1, :4], first[1], atol=1e-6)


def test_progress_counts_each_title_once(ensemble: Bundle) -> None:
    done: list[int] = []
    Encoder(ensemble, threads=1, device="cpu").encode(TITLES, progress=done.append)
    assert sum(done) == len(TITLES)
    assert min(done) > 0


def test_an_ensemble_serves_as_a_model_does(tmp_path: Path, ensemble: Bundle, sample: list[tuple[str, str]]) -> None:
    ids, titles = zip(*sample[:60], strict=True)
    encoder = ResumingEncoder(ensemble, tmp_path / "kept", threads=1, device="cpu")
    matcher = Matcher.from_items(ids, titles, encoder, Decision.of(ensemble), device="cpu")
    assert any(matcher.match(list(titles[:20])))
    matcher.save(tmp_path / "index")
    assert len(Matcher.load(tmp_path / "index", encoder, device="cpu")) == 60
    encoder.forget()


def test_the_fingerprint_hangs_on_members_weights_and_order(tmp_path: Path, bundle: Bundle, second: Bundle) -> None:
    options = {"decision": {}, "metrics": {}, "card": ""}
    made = [
        write_ensemble(tmp_path / str(number), members_of(bundles, weights), **options)  # type: ignore[arg-type]
        for number, (bundles, weights) in enumerate([
            ([bundle, second], [1, 1]), ([bundle, second], [1, 2]), ([second, bundle], [1, 1]),
            ([bundle, second], [2, 2]),
        ])
    ]  # fmt: skip
    prints = [one.fingerprint for one in made]
    assert prints[0] == prints[3]
    assert len(set(prints)) == 3
    assert load_bundle(tmp_path / "1") == made[1]
    assert [member.weight for member in made[1].members] == pytest.approx([1 / 3, 2 / 3])


def test_a_copy_is_the_same_model(tmp_path: Path, ensemble: Bundle) -> None:
    copied = copy_bundle(ensemble, tmp_path / "copy", decision={"new": 1}, metrics={}, card="# new")
    assert copied.fingerprint == ensemble.fingerprint
    assert copied.read_json("decision.json") == {"new": 1}
    assert sorted(map(str, copied.files())) == sorted(map(str, ensemble.files()))
    assert copied.model_bytes == ensemble.model_bytes


def test_models_that_cannot_serve_as_one_are_refused(bundle: Bundle, second: Bundle, ensemble: Bundle) -> None:
    other = replace(second, config=replace(second.config, cleaning=99))
    for bundles, weights, message in (
        ([bundle], [1], "1 model; expected two or more"),
        ([bundle, bundle], [1, 1], "the same model twice"),
        ([bundle, ensemble], [1, 1], "an ensemble already"),
        ([bundle, other], [1, 1], "cleans titles by version 99"),
        ([bundle, second], [1], "1 weights for 2 models"),
        ([bundle, second], [1, 0], "weight 0; expected a number over 0"),
        ([bundle, second], [1, float("nan")], "weight nan"),
    ):
        with pytest.raises(InputError, match=message):
            members_of(bundles, weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": []}, "two members or more"),
        ({"members": [{"folder": "../x", "weight": 0.5}, {"folder": "member-2", "weight": 0.5}]}, "'../x'; expected"),
        ({"members": [{"folder": "", "weight": 0.5}, {"folder": "member-2", "weight": 0.5}]}, "member ''; expected"),
        ({"members": [{"folder": "member-1", "weight": 2}, {"folder": "member-2", "weight": 0.5}]}, "is 2.0; expected"),
        ({"members": [{"folder": "member-1", "weight": 0.5}, {"folder": "member-2", "weight": 0.4}]}, "sum to 1"),
        ({"members": [{"folder": "member-1", "weight": 0.5}, {"folder": "member-2", "weight": 0.5}]}, "are not the"),
        ({"members": [{"folder": "member-1"}, 3]}, "not a bundle's config"),
        ({"members": [{"folder": "member-7", "weight": 0.5}, {"folder": "member-2", "weight": 0.5}]}, "no such model"),
        ({"format": 2}, "bundle format 2"),
        ({"sha256": {}}, "the file is not the one"),
    ],
)
def test_a_damaged_ensemble_is_refused(
    tmp_path: Path, ensemble: Bundle, change: dict[str, object], message: str
) -> None:
    ensemble.copy_to(tmp_path / "e")
    path = tmp_path / "e" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_bundle(tmp_path / "e")


def test_a_damaged_member_is_refused(tmp_path: Path, ensemble: Bundle) -> None:
    ensemble.copy_to(tmp_path / "e")
    shutil.copyfile(tmp_path / "e" / "README.md", tmp_path / "e" / "member-2" / "model.onnx")
    with pytest.raises(InputError, match=r"member-2/model\.onnx: the file is not the one"):
        load_bundle(tmp_path / "e")


def test_what_stands_in_the_way_stays(tmp_path: Path, bundle: Bundle, second: Bundle) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(InputError, match="something else stands here"):
        write_ensemble(tmp_path / "mine", members_of([bundle, second], [1, 1]), decision={}, metrics={}, card="")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_model_file_of_an_ensemble_is_none(ensemble: Bundle) -> None:
    with pytest.raises(InputError, match="an ensemble of 2 models; expected one model"):
        _ = ensemble.model_path


def test_serving_an_ensemble_needs_no_torch(ensemble: Bundle) -> None:
    code = (
        "import sys; from embedder.bundle import load_bundle; from embedder.encoder import Encoder\n"
        "assert Encoder(load_bundle(sys.argv[1]), threads=1).encode(['농심 백산수 2L']).any()\n"
        "print(sorted({'torch', 'transformers', 'training', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(ensemble.folder)], capture_output=True, text=True, cwd=ROOT, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
