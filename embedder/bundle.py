"""Bundles: the folder that a model travels in, checked whole when read and made whole when written.

A bundle holds ``config.json``, ``tokenizer.json``, ``model.onnx``, ``decision.json``, ``metrics.json`` and
``README.md``, and perhaps ``probability.onnx`` and ``background.npy``, which decide on pairs. Its fingerprint covers
what a vector depends on: model, tokenizer, cleaning and length limit. An ensemble is a bundle too: instead of a model
and a tokenizer of its own it holds whole bundles in folders, each with a weight. It does not know what a decision or
a metric says, nor how a model is run.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
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
_SHARED = ("config.json", "decision.json", "metrics.json", "README.md")  # what an ensemble holds beside its members
FILES = ("config.json", _TOKENIZER, _MODEL, "decision.json", "metrics.json", "README.md")
PROBABILITY, BACKGROUND = "probability.onnx", "background.npy"
"""Files that a bundle may hold besides: the probability model, and how common grams are in titles at large."""


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
        pooling: "mean" over a title's tokens, or "cls", the state of its first; it is a part of the graph.
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
class Member:
    """A model of an ensemble: its bundle, and its share of every cosine; the shares of all members sum to 1."""

    bundle: Bundle
    weight: float


@dataclass(frozen=True)
class Bundle:
    """A whole, checked bundle in ``folder``. Make one with ``load_bundle`` or ``write_bundle``.

    Attributes:
        folder, config, fingerprint: of the bundle.
        members: of an ensemble, in the order of their vectors; none where the bundle is a model itself.
    """

    folder: Path
    config: BundleConfig
    fingerprint: str
    members: tuple[Member, ...] = ()

    @property
    def models(self) -> tuple[Member, ...]:
        """The models to run: the members, or the bundle itself alone."""
        return self.members or (Member(self, 1.0),)

    @property
    def model_path(self) -> Path:
        """The ONNX file.

        Raises:
            InputError: an ensemble has one a member.
        """
        if self.members:
            raise InputError(f"an ensemble of {len(self.members)} models; expected one model", file=str(self.folder))
        return self.folder / _MODEL

    @property
    def model_bytes(self) -> int:
        """Size of its ONNX files."""
        return sum(member.bundle.model_path.stat().st_size for member in self.models)

    def files(self) -> Iterator[Path]:
        """Its files, relative to the folder."""
        names = (*(_SHARED if self.members else FILES), PROBABILITY, BACKGROUND)
        yield from (Path(name) for name in names if (self.folder / name).is_file())
        for member in self.members:
            yield from (Path(member.bundle.folder.name) / path for path in member.bundle.files())

    def copy_to(self, folder: Path) -> None:
        """Copy its files, and nothing else that stands beside them, into a folder."""
        for path in self.files():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / path, folder / path)

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
    place = folder / "config.json"
    about = _read_object(place) if place.is_file() else {}
    needed = _SHARED if "members" in about else FILES
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise InputError(
            f"not a whole bundle: {', '.join(missing)} missing; expected {', '.join(needed)}", file=str(folder)
        )
    if about.get("format") != FORMAT:
        raise InputError(f"bundle format {about.get('format')!r}; this dongil reads {FORMAT}", file=str(place))
    try:
        return _load_ensemble(folder, about) if "members" in about else _load_model(folder, about)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a bundle's config: {error!r}", file=str(place)) from error


def _load_model(folder: Path, about: Mapping[str, Any]) -> Bundle:
    place = str(folder / "config.json")
    config = BundleConfig(**about["model"])
    digests, fingerprint = dict(about["sha256"]), str(about["fingerprint"])
    _check_digests(folder, (_TOKENIZER, _MODEL), digests)
    if _fingerprint(config, digests) != fingerprint:
        raise InputError("config.json was changed after the bundle was written", file=place)
    if config.cleaning != CLEANING_VERSION:
        raise InputError(
            f"titles were cleaned by version {config.cleaning} in training; this dongil cleans by {CLEANING_VERSION}",
            file=place,
        )
    _check_tokenizer(folder / _TOKENIZER, config)
    return Bundle(folder, config, fingerprint)


def _load_ensemble(folder: Path, about: Mapping[str, Any]) -> Bundle:
    place = str(folder / "config.json")
    named = [(str(one["folder"]), float(one["weight"])) for one in about["members"]]
    _check_digests(folder, (), dict(about["sha256"]))
    for name, weight in named:
        if not name or Path(name).name != name or name == "..":
            raise InputError(f"member {name!r}; expected the name of a folder in this one", file=place)
        if not 0 < weight < 1:
            raise InputError(f"the weight of member {name!r} is {weight}; expected a share between 0 and 1", file=place)
    if len(named) < 2 or not math.isclose(sum(weight for _, weight in named), 1):
        raise InputError("expected two members or more, with weights that sum to 1", file=place)
    members = tuple(Member(load_bundle(folder / name), weight) for name, weight in named)
    if nested := [member.bundle.folder for member in members if member.bundle.members]:
        raise InputError("an ensemble in an ensemble; expected a model", file=str(nested[0]))
    fingerprint = ensemble_fingerprint(members)
    if fingerprint != about["fingerprint"]:
        raise InputError("the members are not the ones this ensemble was written with", file=place)
    return Bundle(folder, _together(members), fingerprint, members)


def _check_digests(folder: Path, needed: tuple[str, ...], digests: Mapping[str, str]) -> None:
    """Refuse files that are not the ones a config was written with."""
    more = [name for name in (PROBABILITY, BACKGROUND) if name in digests or (folder / name).exists()]
    for name in (*needed, *more):
        if _digest(folder / name) != digests.get(name):
            raise InputError(
                "the file is not the one this bundle was written with; is it half written, or from another bundle?",
                file=str(folder / name),
            )


def ensemble_fingerprint(members: tuple[Member, ...]) -> str:
    """What tells the vectors of an ensemble from all others: its members' fingerprints and weights, in their order."""
    told = [[member.bundle.fingerprint, member.weight] for member in members]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _together(members: tuple[Member, ...]) -> BundleConfig:
    """What members amount to as one model: the dimensions of all, and in words what each is."""
    configs = [member.bundle.config for member in members]
    told = [f"{member.weight:.2f} x {member.bundle.config.architecture}" for member in members]
    return BundleConfig(
        architecture=f"ensemble of {len(members)}: {' + '.join(told)}",
        dimensions=sum(config.dimensions for config in configs),
        vocabulary=max(config.vocabulary for config in configs),
        max_length=max(config.max_length for config in configs),
        precision=" + ".join(dict.fromkeys(config.precision for config in configs)),
        pooling=" + ".join(dict.fromkeys(config.pooling for config in configs)),
        cleaning=configs[0].cleaning,
    )


def write_bundle(
    folder: str | Path,
    config: BundleConfig,
    *,
    model: bytes,
    tokenizer: str,
    decision: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: str,
    more: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle beside ``folder`` and rename it into place; a bundle that stood there is replaced whole.

    Raises:
        InputError: ``folder`` is something else than a bundle or cannot be written, or ``load_bundle`` would refuse
            what it is given; nothing is changed then.

    ``more`` holds the files that a bundle may hold besides, by name.
    """
    content = {_MODEL: model, _TOKENIZER: tokenizer.encode(), **(more or {})}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    about = {
        "format": FORMAT, "fingerprint": _fingerprint(config, digests), "model": asdict(config), "sha256": digests,
    }  # fmt: skip
    content |= {
        "decision.json": to_json(decision), "metrics.json": to_json(metrics),
        "README.md": card.encode(), "config.json": to_json(about),
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


def copy_bundle(
    bundle: Bundle, folder: str | Path, *, decision: Mapping[str, Any], metrics: Mapping[str, Any], card: str
) -> Bundle:
    """Write a copy of a bundle, or of an ensemble, that says otherwise what it decides and how good it is.

    Raises:
        InputError: ``folder`` is something else than a bundle or cannot be written; nothing is changed then.
    """
    folder = Path(folder)
    told = {"decision.json": to_json(decision), "metrics.json": to_json(metrics), "README.md": card.encode()}
    with replacing_folder(folder, "config.json") as beside:
        bundle.copy_to(beside)
        for name, data in told.items():
            (beside / name).write_bytes(data)
    return load_bundle(folder)


def to_json(value: Mapping[str, Any]) -> bytes:
    """A JSON object as it stands in a bundle."""
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
    read = {name: digests.get(name) for name in (_MODEL, _TOKENIZER)}
    covered = {"model": asdict(config) | {"architecture": None, "parent": None}, "sha256": read}
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
