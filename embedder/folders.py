"""Folders that appear whole or not at all.

It knows renaming; it does not know what stands in a folder. Replacing a full folder takes two renames: a process
killed between them leaves the old folder whole in ``.<name>.old.*`` beside.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedder.errors import InputError


def check_folder(folder: Path, mark: str) -> None:
    """Refuse a place that ``replacing_folder`` would refuse, before work is spent on it.

    Raises:
        InputError: something else than a folder that holds ``mark`` stands there.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))):
        raise InputError(
            f"something else stands here; expected a new folder or one that holds {mark}", file=str(folder)
        )


@contextmanager
def replacing_folder(folder: Path, mark: str) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``folder`` when the block ends well.

    Args:
        folder: where it is to stand; parents are made.
        mark: a file that tells a folder of this kind; a full folder without it is not replaced.

    Raises:
        InputError: something else stands there, or it cannot be written; whatever stood there still does.
    """
    beside = None
    try:
        check_folder(folder, mark)
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        beside.chmod(0o755)
        yield beside
        for path in (*beside.rglob("*"), beside):
            _sync(path)
        _swap(beside, folder)
        _sync(folder.parent)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=str(folder)) from error
    finally:
        if beside:
            shutil.rmtree(beside, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(new: Path, folder: Path) -> None:
    """Put ``new`` where ``folder`` is; a folder cannot be renamed over a full one, so the old one steps aside."""
    if not folder.exists():
        new.replace(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    old = aside / folder.name
    try:
        folder.replace(old)
        new.replace(folder)
    finally:
        if not folder.exists():
            old.replace(folder)
        shutil.rmtree(aside, ignore_errors=True)
