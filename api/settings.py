"""Settings of a deployment, from ``DONGIL_`` environment variables, and the model that they name.

It knows the environment and which values are safe to serve with; it does not know HTTP.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from embedder.bundle import load_bundle
from embedder.encoder import Device, Encoder
from embedder.errors import InputError
from index.formats import shown

PREFIX = "DONGIL_"
_MIN_KEY = 16


class Settings(BaseSettings):
    """How to serve. Make one with ``read_settings``, whose errors name the variable.

    Attributes:
        model: folder of the model; None for the one that ships with dongil.
        data: folder of the durable catalogue; None keeps nothing beyond the process.
        catalog: file of items to take into the catalogue before serving.
        id_column, title_column: the catalogue's columns, when they have no name that dongil knows.
        host, port: where to listen; port 0 takes a free one. A host that others can reach needs an ``api_key``.
        api_key: what callers of /v1 must send as ``Authorization: Bearer``; None lets everybody in.
        threads: processors one request may use; None for all that the process may use.
        device: where to compute.
        max_concurrency: match and cluster requests worked on at once.
        max_queue: requests that may wait behind those; further ones are told to come again.
        max_body_bytes: size of a request's body at most.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    model: Path | None = None
    data: Path | None = None
    catalog: Path | None = None
    id_column: str | None = None
    title_column: str | None = None
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    api_key: SecretStr | None = None
    threads: Annotated[int | None, Field(ge=1)] = None
    device: Device = "auto"
    max_concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    max_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    max_body_bytes: Annotated[int, Field(ge=1_024)] = 8 * 1_024 * 1_024

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
        if self.api_key is None and not _is_loopback(self.host):
            raise PydanticCustomError(
                "open_host",
                f"host ({PREFIX}HOST) is {shown(self.host)}, which other machines can reach; "
                f"expected {PREFIX}API_KEY to be set, or a loopback host such as 127.0.0.1",
            )
        return self


def read_settings(**given: Any) -> Settings:
    """The settings from the environment, with the given ones in their place.

    Args:
        given: fields of ``Settings``, such as flags of a command line.

    Raises:
        InputError: a value that cannot be used, or a ``DONGIL_`` variable that there is no setting for.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    found = {name for name in os.environ if name.upper().startswith(PREFIX)}
    if wrong := sorted(name for name in found if name.upper() not in known):
        raise InputError(f"no such setting: {', '.join(wrong)}; expected only {', '.join(sorted(known))}")
    if "api_key" not in given and any(not os.environ[name] for name in found if name.upper() == f"{PREFIX}API_KEY"):
        # Elsewhere empty means unset. Here that would open what somebody meant to close.
        raise InputError(f"{PREFIX}API_KEY is empty; expected a key, or no such variable")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise InputError("; ".join(_fault(fault) for fault in error.errors(include_url=False))) from None


def _fault(fault: Any) -> str:
    if not fault["loc"]:
        return str(fault["msg"])
    name = str(fault["loc"][0])
    value = "unfit" if name == "api_key" else shown(fault["input"])
    return f"{name} ({PREFIX}{name.upper()}) is {value}; expected {fault['msg'].removeprefix('Input should be ')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def load_encoder(settings: Settings) -> Encoder:
    """The encoder of the model that the settings name.

    Raises:
        InputError: not a whole bundle, or a device that is not there.
    """
    return Encoder(load_bundle(settings.model), threads=settings.threads, device=settings.device)
