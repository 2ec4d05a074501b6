"""A title's vector is its own: of length 1 or 0, whatever is encoded beside it, wherever and in how many threads."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder import encoder as module
from embedder.bundle import Bundle
from embedder.encoder import Encoder, available_cpus
from embedder.errors import InputError
from index.vectors import Vectors

has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
# The last is one word of 100,000 characters, which no vocabulary holds.
UNREADABLE = ["", "😀😀", "★ ... !", "\u3164", "ꆈꌠꁱꂷ ꉙꄯ", "가" * 100_000]
LONG = ["농심 백산수 2L " * 7_000, "free " * 10_000 + "shipping " * 10_000, "1,000," * 17_000]


@pytest.fixture(scope="module")
def titles(sample: list[tuple[str, str]]) -> list[str]:
    return [*UNREADABLE, *(title for _, title in sample[:80]), "가", "Logitech MX Master 3S " * 30]


@pytest.fixture(scope="module")
def vectors(encoder: Encoder, titles: list[str]) -> Vectors:
    return encoder.encode(titles)


def test_shape_and_length(encoder: Encoder, titles: list[str], vectors: Vectors) -> None:
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(titles), encoder.dimension)
    lengths = np.linalg.norm(vectors, axis=1)
    assert (lengths[: len(UNREADABLE)] == 0).all()
    np.testing.assert_allclose(lengths[len(UNREADABLE) :], 1, atol=1e-5)


def test_no_titles(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert encoder.encode(["😀"]).tolist() == [[0] * encoder.dimension]


def test_titles_that_say_the_same(encoder: Encoder) -> None:
    same = ["제주 삼다수 500ml x 20개", "[무료배송] 제주  삼다수 500㎖ × 20개", "제주 삼다수 500ML x 20개"]
    first, *others = encoder.encode(same)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_long_titles(encoder: Encoder) -> None:
    assert np.linalg.norm(encoder.encode(LONG), axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert max(map(len, encoder.tokenize(LONG))) == encoder.bundle.config.max_length


@pytest.mark.parametrize("tokens_per_batch", [1, 100, 1_000_000])
def test_the_batch_does_not_matter(
    encoder: Encoder, titles: list[str], vectors: Vectors, tokens_per_batch: int
) -> None:
    np.testing.assert_allclose(encoder.encode(titles, tokens_per_batch=tokens_per_batch), vectors, atol=1e-6)


@given(chosen=st.lists(st.integers(0, 87), min_size=1, max_size=12))
@settings(max_examples=15)
def test_the_company_and_order_do_not_matter(
    encoder: Encoder, titles: list[str], vectors: Vectors, chosen: list[int]
) -> None:
    np.testing.assert_allclose(encoder.encode([titles[row] for row in chosen]), vectors[chosen], atol=1e-6)


def test_threads_do_not_matter(bundle: Bundle, titles: list[str], vectors: Vectors) -> None:
    several = Encoder(bundle, threads=3, device="cpu")
    np.testing.assert_array_equal(several.encode(titles), vectors)
    np.testing.assert_allclose(several.encode(titles, tokens_per_batch=256), vectors, atol=1e-6)


def test_the_process_does_not_matter(encoder: Encoder, titles: list[str]) -> None:
    code = (
        "import hashlib, sys; from embedder.bundle import load_bundle; from embedder.encoder import Encoder\n"
        "titles = sys.stdin.buffer.read().decode().split('\\0')\n"
        "print(hashlib.sha256(Encoder(load_bundle(), threads=1, device='cpu').encode(titles).tobytes()).hexdigest())"
    )
    few = titles[6:40]
    there = subprocess.run(
        [sys.executable, "-c", code], input="\0".join(few).encode(), capture_output=True, check=True, cwd=ROOT
    )
    assert there.stdout.decode().strip() == hashlib.sha256(encoder.encode(few).tobytes()).hexdigest()


def test_windows_join_without_a_seam(
    encoder: Encoder, titles: list[str], vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW", 17)
    np.testing.assert_allclose(encoder.encode(titles), vectors, atol=1e-6)


@pytest.mark.parametrize("window", [7, 1_000])
def test_progress_counts_every_title_once(
    encoder: Encoder, titles: list[str], monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(module, "_WINDOW", window)
    steps: list[int] = []
    encoder.encode(titles, tokens_per_batch=200, progress=steps.append)
    assert sum(steps) == len(titles)
    assert min(steps) > 0


def test_progress_may_stop_the_work(encoder: Encoder, titles: list[str]) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode(titles, progress=stop)
    assert len(encoder.encode(titles[:9])) == 9


def test_batches_keep_to_their_budget() -> None:
    tokens = [[1] * length for length in [5, 0, 3, 9, 3, 40, 0, 1]]
    batches = list(module._batches(tokens, 12))
    assert sorted(row for batch in batches for row in batch) == [0, 2, 3, 4, 5, 7]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(tokens[row]) for row in batch) <= 12


class BrokenSession:
    def run(self, _: None, inputs: dict[str, Any]) -> Sequence[Any]:
        answer = np.ones((len(inputs["lengths"]), 4), np.float32)
        answer[-1, 0] = np.nan
        return [answer]


def test_a_value_that_is_no_number_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Encoder(bundle, threads=1, device="cpu")
    monkeypatch.setattr(broken._models[0], "_session", BrokenSession())
    with pytest.raises(InputError, match=r"model\.onnx: the model answered with a value that is not finite"):
        broken.encode(["농심 백산수 2L"])


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_refused(bundle: Bundle, threads: int) -> None:
    with pytest.raises(InputError, match=f"threads is {threads}; expected at least 1"):
        Encoder(bundle, threads=threads)


def test_threads_are_by_default_what_the_process_may_use(bundle: Bundle) -> None:
    assert Encoder(bundle, device="cpu").threads == available_cpus() >= 1


def test_what_onnxruntime_cannot_run_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((bundle.folder / "tokenizer.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"model\.onnx: onnxruntime cannot run it: "):
        Encoder(replace(bundle, folder=tmp_path), device="cpu")


# Devices


@pytest.mark.skipif(has_gpu, reason="this onnxruntime has a CUDA provider")
def test_a_gpu_is_refused_where_there_is_none(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="device is gpu, but onnxruntime has no CUDA provider"):
        Encoder(bundle, device="gpu")
    assert not Encoder(bundle, threads=1).on_gpu


@pytest.mark.skipif(has_gpu, reason="this onnxruntime has a CUDA provider that may start")
def test_a_provider_that_does_not_start_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime's own, of the provider that it leaves out
        with pytest.raises(InputError, match="device is gpu, but onnxruntime could not start CUDA"):
            Encoder(bundle, device="gpu")


@pytest.mark.skipif(not has_gpu, reason="needs onnxruntime-gpu and a GPU")
def test_a_gpu_gives_the_same_vectors(bundle: Bundle, titles: list[str], vectors: Vectors) -> None:
    on_gpu = Encoder(bundle, device="gpu")
    assert on_gpu.on_gpu
    scores = (on_gpu.encode(titles) * vectors).sum(1)
    np.testing.assert_allclose(scores, (vectors * vectors).sum(1), atol=0.01)
