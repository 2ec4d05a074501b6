"""Settings of a deployment, from flags, ``DONGIL_`` environment variables and a file.

It knows where settings come from and which values are safe to serve with; it does not know HTTP.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api.keys import Keyring
from embedder.errors import InputError
from index.formats import shown

PREFIX = "DONGIL_"
CONFIG = f"{PREFIX}CONFIG"
_MIN_KEY = 16
_MEBIBYTE = 1 << 20


def _about(words: str, default: Any, **limits: Any) -> Any:
    return Field(default, description=words, **limits)


class Settings(BaseSettings):
    """How to serve; ``settings_table`` lists what each one means. Make one with ``read_settings``, whose errors name
    where a value came from.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    model: Path | None = _about("folder of the model; the one that ships with dongil", None)
    data: Path | None = _about("folder of the durable catalogue; without one nothing outlives the process", None)
    catalog: Path | None = _about("file of items to take into the catalogue before serving", None)
    id_column: str | None = _about("the file's column of ids, when it has no name that dongil knows", None)
    title_column: str | None = _about("the file's column of titles, when it has no name that dongil knows", None)
    host: str = _about("address to listen on; one that others can reach needs an API key", "127.0.0.1", min_length=1)
    port: int = _about("port to listen on; 0 takes a free one", 8000, ge=0, le=65_535)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = _about(
        "further names, parted by commas, that a browser may ask for the service by: a proxy's", ()
    )
    api_key: SecretStr | None = _about("one API key that may do everything; without keys everybody may", None)
    api_keys_file: Path | None = _about("file of API keys with scopes, as `dongil key` writes it", None)
    threads: int | None = _about("processors that one request may use; all that the process may use", None, ge=1)
    device: Literal["auto", "cpu", "gpu"] = _about("where to compute: auto, cpu or gpu", "auto")
    max_concurrency: int = _about("pieces of work computed at once", 2, ge=1, le=64)
    max_queue: int = _about("pieces that may wait behind those; more are told to come again", 64, ge=0, le=10_000)
    max_titles: int = _about("titles that may wait or be matched at once; more come again", 4_096, ge=1, le=1_000_000)
    max_connections: int = _about("connections at once; more are told to come again", 512, ge=8, le=60_000)
    max_body_bytes: int = _about("size of a JSON body", 8 * _MEBIBYTE, ge=1_024)
    max_upload_bytes: int = _about("size of an uploaded file", 1_024 * _MEBIBYTE, ge=1_024)
    max_upload_rows: int = _about("rows of a file that a job reads", 5_000_000, ge=1)
    files: Path | None = _about("folder whose files jobs may read by name; without one only uploads", None)
    max_jobs: int = _about("jobs that run at once", 1, ge=1, le=16)
    keep_jobs_days: int = _about("days that ended jobs and their files are kept; 0 is for ever", 30, ge=0, le=36_500)
    header_seconds: float = _about("time that the head of a request may take", 10.0, gt=0, le=3_600)
    body_seconds: float = _about("time that a body may take, and more for a long one", 20.0, gt=0, le=3_600)
    body_rate: int = _about("bytes that give a body one more second; so many a second are enough", 16_384, ge=1)
    drain_seconds: float = _about("time between the signal to end and closing the door, for proxies", 0.0, ge=0, le=600)
    grace_seconds: int = _about("time that requests get to end once the door is closed", 30, ge=1, le=3_600)
    log_format: Literal["plain", "json"] = _about("lines of the log: plain or json", "plain")
    log_level: Literal["debug", "info", "warning", "error"] = _about("from where on to log", "info")
    log_titles: bool = _about("whether the titles of requests are logged", False)

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [name.strip().lower() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        """A key must fit into a header and be too long to guess."""
        text = key.get_secret_value() if key else None
        if text is not None and not (len(text) >= _MIN_KEY and all("!" <= char <= "~" for char in text)):
            raise PydanticCustomError("api_key", f"at least {_MIN_KEY} printable ASCII characters without spaces")
        return key

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if not self.closed and not self.local:
            raise PydanticCustomError(
                "open_host",
                f"host ({PREFIX}HOST) is {shown(self.host)}, which other machines can reach; expected {PREFIX}API_KEY "
                f"or {PREFIX}API_KEYS_FILE to be set, or a loopback host such as 127.0.0.1",
            )
        return self

    @property
    def closed(self) -> bool:
        """Whether keys are asked for."""
        return self.api_key is not None or self.api_keys_file is not None

    @cached_property
    def local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @cached_property
    def keyring(self) -> Keyring:
        """The keys that let somebody in.

        Raises:
            InputError: the file of keys cannot be used.
        """
        return Keyring(self.api_key.get_secret_value() if self.api_key else None, self.api_keys_file)


def read_settings(config: Path | None = None, **given: Any) -> Settings:
    """The settings: what is given, else what the environment says, else what the file does.

    Args:
        config: TOML or JSON file of settings by name; by default the one that ``DONGIL_CONFIG`` names, if any.
        given: fields of ``Settings``, such as flags of a command line.

    Raises:
        InputError: a value that cannot be used, or a name that there is no setting for; it says where that stands.
    """
    found = {name.upper(): name for name in os.environ if name.upper().startswith(PREFIX)}
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG}
    _refuse_unknown([found[name] for name in found if name not in known], known)
    if config is None and os.environ.get(found.get(CONFIG, "")):
        config = Path(os.environ[found[CONFIG]])
    key = f"{PREFIX}API_KEY"
    if "api_key" not in given and key in found and not os.environ[found[key]]:
        # Elsewhere empty means unset. Here that would open what somebody meant to close.
        raise InputError(f"{key} is empty; expected a key, or no such variable")
    file = _read_file(config) if config is not None else {}
    said = {name for name in Settings.model_fields if os.environ.get(found.get(PREFIX + name.upper(), ""))}
    sources = {name: f"--{name.replace('_', '-')}" for name in given}
    sources |= {name: str(config) for name in file if name not in said and name not in given}
    try:
        settings = Settings(**{name: value for name, value in file.items() if name not in said} | given)
    except ValidationError as error:
        raise InputError("; ".join(_fault(fault, sources) for fault in error.errors(include_url=False))) from None
    if settings.closed and settings.keyring.empty:
        raise InputError("no key in it, so that nobody could come in; make one with `dongil key NAME`",
                         file=str(settings.api_keys_file))  # fmt: skip
    return settings


def settings_table() -> list[tuple[str, str, str]]:
    """Every setting: its name, what it is when nobody says, and what it means."""
    return [(name, _plain(field.default), field.description or "") for name, field in Settings.model_fields.items()]


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value in (None, ()) else str(value)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        values = tomllib.loads(text) if file.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(file)) from error
    except ValueError as error:
        raise InputError(f"neither TOML (.toml) nor JSON of settings: {error}", file=str(file)) from error
    if not isinstance(values, dict):
        raise InputError("expected settings by their names", file=str(file))
    wrong = [name for name in values if name not in Settings.model_fields]
    _refuse_unknown(wrong, set(Settings.model_fields), str(file))
    return values


def _refuse_unknown(wrong: list[str], known: set[str], file: str | None = None) -> None:
    if wrong:
        told = f"no such setting: {', '.join(sorted(wrong))}; expected only {', '.join(sorted(known))}"
        raise InputError(told, file=file)


def _fault(fault: Any, sources: Mapping[str, str]) -> str:
    if not fault["loc"]:
        return str(fault["msg"])
    name = str(fault["loc"][0])
    value = "unfit" if name == "api_key" else shown(fault["input"])
    source = sources.get(name, PREFIX + name.upper())
    return f"{name} ({source}) is {value}; expected {fault['msg'].removeprefix('Input should be ')}"


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, which no other one can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
