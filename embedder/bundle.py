"""Bundles: the folder that a model travels in, checked whole when read and made whole when written.

A bundle holds ``config.json``, ``tokenizer.json``, ``model.onnx``, ``decision.json``, ``metrics.json`` and
``README.md``. Its fingerprint covers what a vector depends on: model, tokenizer, cleaning and length limit. It does
not know what a decision or a metric says, nor how a model is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from embedder.errors import InputError
from embedder.folders import replacing_folder
from embedder.text import CLEANING_VERSION

FORMAT = 1
DEFAULT = Path(__file__).parent / "default"
_MODEL, _TOKENIZER = "model.onnx", "tokenizer.json"
FILES = ("config.json", _TOKENIZER, _MODEL, "decision.json", "metrics.json", "README.md")


@dataclass(frozen=True)
class BundleConfig:
    """What a bundle says of its model in ``config.json``.

    Attributes:
        architecture: in words a person reads, such as "BERT, 3 layers, hidden 256".
        dimensions: length of a vector.
        vocabulary: pieces the model has a row for; the tokenizer must not have more.
        max_length: tokens of a title that are read, special tokens included.
        precision: "float32" or "int8".
        parent: fingerprint of the model it was made from, or None.
        pooling: always "mean" so far.
        cleaning: the CLEANING_VERSION its titles were cleaned with.
    """

    architecture: str
    dimensions: int
    vocabulary: int
    max_length: int
    precision: str
    parent: str | None = None
    pooling: str = "mean"
    cleaning: int = CLEANING_VERSION


@dataclass(frozen=True)
class Bundle:
    """A whole, checked bundle in ``folder``. Make one with ``load_bundle`` or ``write_bundle``."""

    folder: Path
    config: BundleConfig
    fingerprint: str

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / _MODEL

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, truncating to the length limit, without padding."""
        tokenizer = Tokenizer.from_file(str(self.folder / _TOKENIZER))
        tokenizer.enable_truncation(self.config.max_length)
        tokenizer.no_padding()
        return tokenizer

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the bundle's JSON files.

        Raises:
            InputError: missing, or not a JSON object.
        """
        return _read_object(self.folder / name)


def load_bundle(folder: str | Path | None = None) -> Bundle:
    """Read and check a bundle; the one that ships with dongil when no folder is named.

    Raises:
        InputError: no such folder; a file missing; a file that is not the one the bundle was written with (half
            written, or mixed from two bundles); a tokenizer with more pieces than the model has rows; another cleaning.
    """
    folder = Path(folder) if folder is not None else DEFAULT
    if not folder.is_dir():
        raise InputError("no such model folder; expected a bundle made by dongil train", file=str(folder))
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise InputError(
            f"not a whole bundle: {', '.join(missing)} missing; expected {', '.join(FILES)}", file=str(folder)
        )
    about = _read_object(folder / "config.json")
    place = str(folder / "config.json")
    if about.get("format") != FORMAT:
        raise InputError(f"bundle format {about.get('format')!r}; this dongil reads {FORMAT}", file=place)
    try:
        config = BundleConfig(**about["model"])
        digests, fingerprint = dict(about["sha256"]), str(about["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a bundle's config: {error!r}", file=place) from error
    for name in (_TOKENIZER, _MODEL):
        if _digest(folder / name) != digests.get(name):
            raise InputError(
                "the file is not the one this bundle was written with; is it half written, or from another bundle?",
                file=str(folder / name),
            )
    if _fingerprint(config, digests) != fingerprint:
        raise InputError("config.json was changed after the bundle was written", file=place)
    if config.cleaning != CLEANING_VERSION:
        raise InputError(
            f"titles were cleaned by version {config.cleaning} in training; this dongil cleans by {CLEANING_VERSION}",
            file=place,
        )
    _check_tokenizer(folder / _TOKENIZER, config)
    return Bundle(folder, config, fingerprint)


def write_bundle(
    folder: str | Path,
    config: BundleConfig,
    *,
    model: bytes,
    tokenizer: str,
    decision: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: str,
) -> Bundle:
    """Write a bundle beside ``folder`` and rename it into place; a bundle that stood there is replaced whole.

    Raises:
        InputError: ``folder`` is something else than a bundle or cannot be written, or ``load_bundle`` would refuse
            what it is given; nothing is changed then.
    """
    content = {_MODEL: model, _TOKENIZER: tokenizer.encode()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    about = {
        "format": FORMAT, "fingerprint": _fingerprint(config, digests), "model": asdict(config), "sha256": digests,
    }  # fmt: skip
    content |= {
        "decision.json": _to_json(decision), "metrics.json": _to_json(metrics),
        "README.md": card.encode(), "config.json": _to_json(about),
    }  # fmt: skip
    folder = Path(folder)
    with replacing_folder(folder, "config.json") as beside:
        for name, data in content.items():
            (beside / name).write_bytes(data)
        try:
            bundle = load_bundle(beside)
        except InputError as error:
            raise InputError(f"not written: {error.message}", file=str(folder)) from error
    return replace(bundle, folder=folder)


def _to_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as JSON: {error}", file=str(path)) from error
    if not isinstance(value, dict):
        raise InputError(f"holds a {type(value).__name__}; expected a JSON object", file=str(path))
    return value


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from error


def _fingerprint(config: BundleConfig, digests: Mapping[str, str]) -> str:
    covered = {"model": asdict(config) | {"architecture": None, "parent": None}, "sha256": dict(digests)}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:16]


def _check_tokenizer(path: Path, config: BundleConfig) -> None:
    try:
        pieces = Tokenizer.from_file(str(path)).get_vocab_size()
    except Exception as error:  # tokenizers raises plain Exception for whatever it cannot read
        raise InputError(f"not a tokenizer: {error}", file=str(path)) from error
    if pieces > config.vocabulary:
        raise InputError(
            f"the tokenizer has {pieces} pieces, the model rows for {config.vocabulary}; they are not of one model",
            file=str(path),
        )
