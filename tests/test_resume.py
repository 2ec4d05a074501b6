"""Encoding is taken up where it stopped, and only ever with the same model and titles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embedder.resume
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from embedder.resume import ResumingEncoder


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder.resume, "_WINDOW", 4)


TITLES = [f"농심 신라면 {i}개입" for i in range(10)]


def test_an_interrupted_encoding_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, folder = load_bundle(), tmp_path / "out.csv.resume"
    done: list[int] = []

    def interrupt(more: int) -> None:
        done.append(more)
        if sum(done) >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ResumingEncoder(bundle, folder, threads=1).encode(TITLES, progress=interrupt)
    assert len(list(folder.iterdir())) == 1
    encoded: list[list[str]] = []
    whole = Encoder.encode

    def spy(self: Encoder, titles: list[str], **options: object) -> np.ndarray:
        encoded.append(list(titles))
        return whole(self, titles, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "encode", spy)
    encoder = ResumingEncoder(bundle, folder, threads=1)
    steps: list[int] = []
    vectors = encoder.encode(TITLES, progress=steps.append)
    assert encoded == [TITLES[4:8], TITLES[8:]]
    assert sum(steps) == len(TITLES)
    np.testing.assert_allclose(vectors, whole(Encoder(bundle), TITLES), atol=1e-6)
    encoder.forget()
    assert not folder.exists()


def test_other_titles_or_a_cut_file_are_encoded_anew(tmp_path: Path) -> None:
    bundle = load_bundle()
    encoder = ResumingEncoder(bundle, tmp_path / "kept", threads=1)
    first = encoder.encode(TITLES)
    changed = [*TITLES[:5], "다른 상품", *TITLES[6:]]
    np.testing.assert_allclose(encoder.encode(changed), Encoder(bundle).encode(changed), atol=1e-6)
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(encoder.encode(TITLES), first)
