"""API keys: who may do what, kept as digests in a file that is read again whenever it changes.

A key is 256 random bits, so its SHA-256 is as good as the key to compare with, and of no use to whoever reads the
file. It knows names, scopes and digests. It does not know requests, nor how a key comes in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from embedder.errors import InputError
from index.formats import shown

if TYPE_CHECKING:
    from api.settings import Settings

KeyScope = Literal["read", "write", "admin"]
"""What a key allows; each one includes those before it."""
NOBODY = "anonymous"
"""Who asks where no keys are asked for."""
OWNER = "admin"
"""Name of the one key that the settings may hold."""
_SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """A key that lets somebody in.

    Attributes:
        name: of who has it; it stands in logs and trails.
        scope: what it allows.
        digest: SHA-256 of the key.
    """

    name: str
    scope: KeyScope
    digest: bytes

    def allows(self, scope: KeyScope) -> bool:
        """Whether something of this scope is allowed."""
        return _SCOPES.index(self.scope) >= _SCOPES.index(scope)


class Keyring:
    """The keys of a deployment. A file that was changed is read again at the next question; a broken one is not taken.

    Args:
        secret: a key that may do everything, named "admin".
        file: of further keys, as ``add_key`` writes it.

    Raises:
        InputError: the file is none of keys.
    """

    def __init__(self, secret: str | None, file: Path | None) -> None:
        self._own = [Key(OWNER, "admin", _digest(secret))] if secret is not None else []
        self._file, self._seen = file, _version(file)
        self._keys = [*self._own, *(read_keys(file) if file is not None else ())]

    @property
    def empty(self) -> bool:
        """Whether nobody can come in."""
        return not self._keys

    def find(self, presented: str) -> Key | None:
        """The key that was presented, if it is one. The time it takes tells nothing of how nearly it was another."""
        self._follow()
        digest, found = _digest(presented), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def named(self, name: str) -> Key | None:
        """The key of this name, if there still is one."""
        self._follow()
        return next((key for key in self._keys if key.name == name), None)

    def _follow(self) -> None:
        if self._file is None or (now := _version(self._file)) == self._seen:
            return
        self._seen = now
        try:
            self._keys = [*self._own, *read_keys(self._file)]
        except InputError as error:
            logging.getLogger("dongil").error("the keys stay as they were: %s", error)


def find_key(settings: Settings, presented: str) -> Key | None:
    """The key of a deployment that was presented, if it is one."""
    return settings.keyring.find(presented)


def read_keys(file: Path) -> list[Key]:
    """The keys of a file.

    Raises:
        InputError: it cannot be read, or is none of keys.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["keys"]
        if not isinstance(entries, list):
            raise TypeError
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(file)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            'no file of keys; expected {"keys": [...]}, as `dongil key` writes it', file=str(file)
        ) from error
    keys = [_key(entry, f"key {number}", file) for number, entry in enumerate(entries, 1)]
    for number, key in enumerate(keys, 1):
        if key.name in {other.name for other in keys[: number - 1]}:
            raise InputError(f"key {number}: name {key.name!r} stands there twice", file=str(file))
    return keys


def add_key(file: Path, name: str, scope: KeyScope) -> str:
    """Make a key and add its digest to a file, which is made where there is none; returns the key, kept nowhere else.

    Raises:
        InputError: the name is unfit or taken, or the file is none of keys.
    """
    keys = read_keys(file) if file.exists() else []
    if name in {key.name for key in keys}:
        raise InputError(f"name {name!r} is taken; expected another one, or remove its line", file=str(file))
    secret = f"dongil_{secrets.token_urlsafe(32)}"
    added = _key({"name": name, "scope": scope, "sha256": _digest(secret).hex()}, "the new key", file)
    _write(file, [*keys, added])
    return secret


def _key(entry: Any, where: str, file: Path) -> Key:
    fields = entry if isinstance(entry, dict) else {}
    name, scope, digest = (fields.get(field) for field in ("name", "scope", "sha256"))
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (OWNER, NOBODY):
        expected = f"1 to 64 letters, digits, dots, dashes and underscores, not {OWNER!r} or {NOBODY!r}"
        raise InputError(f"{where}: name is {shown(name)}; expected {expected}", file=str(file))
    if scope not in _SCOPES:
        raise InputError(f"{where}: scope is {shown(scope)}; expected {', '.join(_SCOPES)}", file=str(file))
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InputError(f"{where}: sha256 is unfit; expected 64 digits of lower-case hexadecimal", file=str(file))
    return Key(name, scope, bytes.fromhex(digest))


def _write(file: Path, keys: Sequence[Key]) -> None:
    listed = [{"name": key.name, "scope": key.scope, "sha256": key.digest.hex()} for key in keys]
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps({"keys": listed}, indent=2) + "\n", encoding="utf-8")
        if file.exists():
            shutil.copymode(file, beside)
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror or error}", file=str(file)) from error


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _version(file: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file does."""
    try:
        about = file.stat() if file is not None else None
    except OSError:
        return None
    return (about.st_mtime_ns, about.st_size, about.st_ino) if about else None
