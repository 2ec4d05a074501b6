"""Unpacking: a model that came as a zip file, taken apart by the names that a bundle has and by no others.

A zip file may name paths anywhere, hold links, and stand for far more than it is. So names are read and never followed,
bytes are counted as they come, and what is not a part of a bundle refuses the whole. It is for workers.

It knows zip files and the names in a bundle. Whether what is in the files is a model, `embedder.bundle` says.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from pathlib import Path

from embedder.bundle import BACKGROUND, FILES, PROBABILITY
from embedder.errors import InputError
from index.formats import shown

_FILES = frozenset((*FILES, PROBABILITY, BACKGROUND))
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST = 500  # entries
_PIECE = 1 << 20
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others take far more memory to unpack
_ENCRYPTED = 0x1


def unpack(path: Path, folder: Path, limit: int) -> None:
    """Unpack a bundle.

    Args:
        path: of the zip file: the bundle's files at its top, or in one folder.
        folder: a new one to make.
        limit: bytes that all files together may have.

    Raises:
        InputError: no zip file, or one that holds something else, or too much.
    """
    try:
        with zipfile.ZipFile(path) as zipped:
            entries = [entry for entry in zipped.infolist() if not entry.is_dir()]
            if len(entries) > _MOST:
                raise InputError(f"{len(entries):,} files; expected a bundle's, at most {_MOST}")
            named = [(entry, _parts(entry)) for entry in entries]
            if _in_one_folder([parts for _, parts in named]):
                named = [(entry, parts[1:]) for entry, parts in named]
            seen: set[tuple[str, ...]] = set()
            for entry, parts in named:
                if not 1 <= len(parts) <= 2 or parts in seen:
                    raise InputError(f"{shown(entry.filename)}; expected each file of a bundle once")
                seen.add(parts)
                limit -= _write(zipped, entry, folder.joinpath(*parts), limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"not a readable zip file: {error}") from error


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """Where an entry stands, of names that are safe."""
    parts = tuple(entry.filename.split("/"))
    if parts[-1] not in _FILES or not all(_FOLDER.fullmatch(part) for part in parts[:-1]):
        raise InputError(f"{shown(entry.filename)}; expected only a bundle's files: {', '.join(sorted(_FILES))}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED or entry.compress_type not in _KINDS:
        raise InputError(f"{shown(entry.filename)} is a link, encrypted or packed in a rare way; expected a plain file")
    return parts


def _in_one_folder(named: list[tuple[str, ...]]) -> bool:
    """Whether all of a bundle stands in one folder, as when that folder was zipped."""
    return len({parts[0] for parts in named}) == 1 and all(len(parts) > 1 for parts in named)


def _write(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, limit: int) -> int:
    """Write an entry, counting what really comes; its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with zipped.open(entry) as packed, path.open("xb") as file:
        while piece := packed.read(_PIECE):
            size += len(piece)
            if size > limit:
                raise InputError("holds more than it may when unpacked; expected a smaller model")
            file.write(piece)
    return size
