"""A bundle is read whole or refused by name, and written whole or not at all."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import embedder.bundle
from embedder.bundle import BACKGROUND, FILES, PROBABILITY, Bundle, BundleConfig, load_bundle, write_bundle
from embedder.errors import InputError

CONFIG = BundleConfig(architecture="none", dimensions=4, vocabulary=8, max_length=5, precision="float32")


def tokenizer(*words: str) -> str:
    made = Tokenizer(models.WordLevel({"[UNK]": 0} | {word: at for at, word in enumerate(words, 1)}, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(made.to_str())


def write(folder: Path, config: BundleConfig = CONFIG, **other: Any) -> Bundle:
    content: dict[str, Any] = {
        "model": b"weights " * 100, "tokenizer": tokenizer("물", "차"), "decision": {"threshold": 0.5},
        "metrics": {"f1": 0.9}, "card": "# 모형\n",
    }  # fmt: skip
    return write_bundle(folder, config, **(content | other))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_round_trip(tmp_path: Path) -> None:
    written = write(tmp_path / "m")
    read = load_bundle(tmp_path / "m")
    assert read == written
    assert read.config == CONFIG
    assert read.folder == tmp_path / "m"
    assert read.model_path.read_bytes() == b"weights " * 100
    assert read.read_json("decision.json") == {"threshold": 0.5}
    assert read.read_json("metrics.json") == {"f1": 0.9}
    assert (tmp_path / "m" / "README.md").read_text(encoding="utf-8") == "# 모형\n"
    assert sorted(bytes_of(tmp_path / "m")) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_tokenizer_truncates_and_does_not_pad(tmp_path: Path) -> None:
    read = write(tmp_path / "m").tokenizer()
    assert [encoding.ids for encoding in read.encode_batch(["물 차 술", "물 " * 9])] == [[1, 2, 0], [1] * 5]


def test_the_bundle_that_ships(bundle: Bundle) -> None:
    assert bundle == load_bundle(embedder.bundle.DEFAULT)
    assert bundle.tokenizer().get_vocab_size() <= bundle.config.vocabulary
    assert sorted(path.name for path in bundle.folder.iterdir()) == sorted([*FILES, PROBABILITY, BACKGROUND])


def test_what_decides_on_pairs_travels_too_and_is_no_part_of_a_vector(tmp_path: Path) -> None:
    plain = write(tmp_path / "a")
    more = {PROBABILITY: b"trees", BACKGROUND: b"grams"}
    written = write(tmp_path / "b", more=more)
    assert written.fingerprint == plain.fingerprint
    assert {name: bytes_of(tmp_path / "b")[name] for name in more} == more
    assert sorted(bytes_of(tmp_path / "b")) == sorted([*FILES, *more])


@pytest.mark.parametrize("name", [PROBABILITY, BACKGROUND])
@pytest.mark.parametrize("damage", ["missing", "other", "added"])
def test_what_decides_on_pairs_is_the_bundles_own(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "m"
    write(folder, more={} if damage == "added" else {PROBABILITY: b"trees", BACKGROUND: b"grams"})
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(b"of another bundle")
    with pytest.raises(InputError) as caught:
        load_bundle(folder)
    assert caught.value.file == str(folder / name)


def test_the_fingerprint_covers_what_a_vector_depends_on(tmp_path: Path) -> None:
    first = write(tmp_path / "a").fingerprint
    assert write(tmp_path / "b", metrics={}, card="", decision={}).fingerprint == first
    assert write(tmp_path / "c", replace(CONFIG, architecture="other words", parent="1234")).fingerprint == first
    others = [
        write(tmp_path / "d", model=b"other weights").fingerprint,
        write(tmp_path / "e", tokenizer=tokenizer("물")).fingerprint,
        write(tmp_path / "f", replace(CONFIG, max_length=6)).fingerprint,
        write(tmp_path / "g", replace(CONFIG, precision="int8")).fingerprint,
    ]
    assert len({first, *others}) == 5


# Reading


def edit(**changes: Any) -> Callable[[Path], object]:
    """Change parts of config.json without a new fingerprint."""

    def apply(folder: Path) -> None:
        about = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(about | changes))

    return apply


def put(name: str, text: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def remove(*names: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return apply


def become_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


MODEL = asdict(CONFIG)
MIXED = "half written, or from another bundle"
BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no folder": (shutil.rmtree, "", "no such model folder"),
    "a file": (become_a_file, "", "no such model folder"),
    "an empty folder": (remove(*FILES), "", "not a whole bundle: config.json, tokenizer.json, "),
    **{name: (remove(name), "", f"not a whole bundle: {name} missing") for name in FILES},
    "model cut short": (put("model.onnx", b"weights " * 99), "model.onnx", MIXED),
    "empty model": (put("model.onnx", b""), "model.onnx", MIXED),
    "other tokenizer": (put("tokenizer.json", tokenizer("술")), "tokenizer.json", MIXED),
    "edited model": (edit(model=MODEL | {"max_length": 64}), "config.json", "config.json was changed"),
    "other format": (edit(format=2), "config.json", "bundle format 2; this dongil reads 1"),
    "no format": (put("config.json", "{}"), "config.json", "bundle format None; this dongil reads 1"),
    "config cut short": (put("config.json", '{"format": 1,'), "config.json", "not readable as JSON"),
    "config in another encoding": (put("config.json", b"\xff\xfe{}"), "config.json", "not readable as JSON"),
    "config is a list": (put("config.json", "[1]"), "config.json", "holds a list; expected a JSON object"),
    "unknown key": (edit(model=MODEL | {"colour": 1}), "config.json", "not a bundle's config"),
    "missing key": (edit(model={}), "config.json", "not a bundle's config"),
    "no model": (edit(model=None), "config.json", "not a bundle's config"),
    "no digests": (edit(sha256="abc"), "config.json", "not a bundle's config"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_a_whole_bundle_is_refused_by_name(tmp_path: Path, name: str) -> None:
    spoil, file, said = BROKEN[name]
    folder = tmp_path / "m"
    write(folder)
    spoil(folder)
    with pytest.raises(InputError) as caught:
        load_bundle(folder)
    assert caught.value.file == str(folder / file)
    assert said in caught.value.message


def test_another_cleaning_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(embedder.bundle, "CLEANING_VERSION", 0)
        write(tmp_path / "m", replace(CONFIG, cleaning=0))
    with pytest.raises(InputError, match=r"config\.json: titles were cleaned by version 0 in training; .* cleans by 1"):
        load_bundle(tmp_path / "m")


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "m")
    real = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "model.onnx":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"model\.onnx: cannot be read: Permission denied"):
        load_bundle(tmp_path / "m")


def test_read_json_names_the_file(tmp_path: Path) -> None:
    read = write(tmp_path / "m")
    (tmp_path / "m" / "decision.json").write_text("[]")
    with pytest.raises(InputError, match=r"decision\.json: holds a list; expected a JSON object"):
        read.read_json("decision.json")


# Writing

UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "more pieces": ({"tokenizer": tokenizer(*"가나다라마바사아")}, "has 9 pieces, the model rows for 8"),
    "no tokenizer": ({"tokenizer": "{}"}, "not a tokenizer"),
    "other cleaning": ({"config": replace(CONFIG, cleaning=99)}, "cleaned by version 99"),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("old", [True, False])
def test_what_would_not_load_is_not_written(tmp_path: Path, name: str, old: bool) -> None:
    content, said = UNFIT[name]
    folder = tmp_path / "m"
    before = bytes_of(write(folder).folder) if old else {}
    with pytest.raises(InputError) as caught:
        write(folder, **content)
    assert caught.value.file == str(folder)
    assert said in caught.value.message
    assert (bytes_of(folder) if old else {}) == before
    assert [path.name for path in tmp_path.iterdir()] == (["m"] if old else [])


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", range(1, len(FILES) + 1))
def test_a_failure_midway_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, at: int
) -> None:
    folder, calls = tmp_path / "m", []
    before = bytes_of(write(folder).folder)
    real = Path.write_bytes

    def write_part(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) == at:
            real(self, data[: len(data) // 2])
            raise failure
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_part)
    with pytest.raises(InputError if isinstance(failure, OSError) else KeyboardInterrupt) as caught:
        write(folder, model=b"newer weights")
    if isinstance(failure, OSError):
        assert str(caught.value) == f"{folder}: cannot be written: No space left on device"
    assert bytes_of(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_bundle_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "m")
    newer = write(tmp_path / "m", model=b"newer weights")
    assert load_bundle(tmp_path / "m") == newer
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.docx").write_text("life's work")
    with pytest.raises(InputError, match="something else stands here"):
        write(tmp_path / "m")
    assert bytes_of(tmp_path / "m") == {"thesis.docx": b"life's work"}


def test_metrics_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "m", metrics={"f1": float("nan")})
    assert not list(tmp_path.iterdir())
