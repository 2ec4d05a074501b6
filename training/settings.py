"""The settings of a run as users write them: ``NAME=VALUE,...`` on the command line, or a JSON file.

A file is one object with the same names, and besides ``base``, ``blend`` (an object with the names of ``BlendConfig``)
and ``about``, a sentence that is for people alone. It knows names and types; it does not know which values are good.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from embedder.errors import InputError
from index.blending import BlendConfig
from training.backbone import SMALL
from training.config import TrainConfig, default_config

DEFAULT_BASE = "klue/bert-base"
_SHAPE = ("hidden", "layers", "heads", "intermediate", "vocabulary")  # settings that a pretrained base decides
_SWITCH = MappingProxyType({"0": False, "1": True, "false": False, "true": True})
_BLEND: Mapping[str, type] = MappingProxyType(
    {f.name: type(f.default) for f in fields(BlendConfig)} | {"min2_threshold": float}
)


def parse_config(text: str, base: str = SMALL) -> TrainConfig:
    """``"layers=4,seed=1"`` as a configuration; what is not named is as ``default_config`` has it for the base.

    Raises:
        InputError: a name that TrainConfig does not have or that the base decides, or a value of another type.
    """
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        kind = _kind(name, base)
        try:
            values[name] = _SWITCH[value] if kind is bool else kind(value)
        except (ValueError, KeyError) as error:
            raise InputError(f"setting {name} is {value!r}; expected {kind.__name__}") from error
    return replace(default_config(base), **values)


def read_settings(text: str, base: str | None = None) -> tuple[TrainConfig, BlendConfig]:
    """The configuration of a run and how its vectors are to be blended.

    Args:
        text: ``NAME=VALUE,...``, or the name of a file that ends with ".json".
        base: as the user named it; None for the file's own, or else ``DEFAULT_BASE``.

    Raises:
        InputError: as ``parse_config``; a file that cannot be read, or whose base is another one.
    """
    if not text.lower().endswith(".json"):
        return parse_config(text, base or DEFAULT_BASE), BlendConfig()
    try:
        return _from_object(_read(Path(text)), base)
    except InputError as error:
        raise InputError(error.message, file=text, line=error.line) from error


def write_settings(path: Path, config: TrainConfig, blend: BlendConfig, about: str) -> None:
    """Write a file that ``read_settings`` reads: what differs from the base's defaults, and the blending.

    Raises:
        InputError: it cannot be written.
    """
    usual = asdict(default_config(config.base))
    changed = {name: value for name, value in asdict(config).items() if value != usual[name]}
    value = {"about": about, "base": config.base} | changed | {"blend": asdict(blend)}
    write_whole(path, (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, then rename it into it.

    Raises:
        InputError: it cannot be written; what stood there still does.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror or error}", file=str(path)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", line=error.lineno) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(value, dict):
        raise InputError(f"holds a {type(value).__name__}; expected a JSON object of settings")
    return value


def _from_object(value: dict[str, Any], base: str | None) -> tuple[TrainConfig, BlendConfig]:
    """What a file's object says."""
    value = dict(value)
    value.pop("about", None)
    own, blend = value.pop("base", None), value.pop("blend", {})
    if own is not None and not isinstance(own, str):
        raise InputError(f"base is {own!r}; expected a name or a folder")
    if base and own and base != own:
        raise InputError(f"these settings are for base {own!r}, but --base is {base!r}; expected one of them")
    base = base or own or DEFAULT_BASE
    config = replace(default_config(base), **{n: _fitting(n, v, _kind(n, base)) for n, v in value.items()})
    if not isinstance(blend, dict):
        raise InputError(f"blend is {blend!r}; expected an object with {', '.join(_BLEND)}")
    if unknown := sorted(blend.keys() - _BLEND.keys()):
        raise InputError(f"no blend setting {unknown[0]!r}; expected one of {', '.join(_BLEND)}")
    parts: dict[str, Any] = {
        n: None if n == "min2_threshold" and v is None else _fitting(f"blend {n}", v, _BLEND[n])
        for n, v in blend.items()
    }
    return config, BlendConfig(**parts)


def _kind(name: str, base: str) -> type:
    """The type of a setting that a run on this base can have."""
    known: dict[str, type] = {f.name: type(f.default) for f in fields(TrainConfig) if f.name != "base"}
    if name not in known:
        raise InputError(f"no setting {name!r}; expected one of {', '.join(known)}")
    if base != SMALL and name in _SHAPE:
        raise InputError(f"setting {name} is of --base {SMALL}; {base} brings its own")
    return known[name]


def _fitting(name: str, value: Any, kind: type) -> Any:
    """A value of a file, if it is of the type; a whole number will do for another number."""
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"setting {name} is {value!r}; expected {kind.__name__}")
    return value
