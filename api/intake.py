"""Intake: strangers' files read within bounds. It is for workers, which may be refused memory and fail alone.

A small file may stand for far more than it is: pages of Parquet are compressed, and a dictionary tells one long text a
million times. So Parquet is counted while it is unpacked, piece by piece, before all of it is; and whatever is read,
the process gets so much memory for it and no more.

It knows files and their bounds. It does not know what columns mean.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedder.errors import InputError
from index.items import Items, read_items
from index.tables import FORMATS

MAX_COLUMNS = 1_000
_LEAST, _TIMES = 4 << 30, 16  # bytes of memory for a file: so many, or so many times its size
_UNPACKED = 1 << 30  # bytes that a Parquet file may hold, unpacked; or four times its size
_PIECE = 64  # rows unpacked at once: each may hold a long text


def read_rows(task: Mapping[str, Any], *, need_labels: bool = False) -> Items:
    """The items of the file that a task names.

    Args:
        task: ``file`` is the path, ``file_name`` what its user calls it, ``max_rows`` how many rows it may have;
            ``id_column``, ``title_column`` and ``label_column`` as for ``read_items``.
        need_labels: whether a file without a label column is an error.

    Raises:
        InputError: the file cannot be used, or holds too much.
    """
    columns = {name: task.get(name) for name in ("id_column", "title_column", "label_column")}
    with bounded_reading(task) as path:
        items = read_items(path, need_labels=need_labels, **columns)
        if len(items) > task["max_rows"]:
            raise InputError(f"{len(items):,} rows; expected at most {task['max_rows']:,}", file=str(path))
        return items


@contextmanager
def bounded_reading(task: Mapping[str, Any]) -> Iterator[Path]:
    """The path of a task's file, checked; what is read in the block has little memory.

    Raises:
        InputError: the file holds too much, or whatever is wrong with it in the block.
    """
    path = Path(task["file"])
    try:
        with _memory(max(_LEAST, _TIMES * path.stat().st_size)):
            if FORMATS.get(path.suffix.lower()) == "parquet":
                _check_parquet(path, task["max_rows"])
            yield path
    except MemoryError as error:
        raise InputError("it takes too much memory to read; expected a smaller file", file=str(path)) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(path)) from error


def by_users_names(error: InputError, task: Mapping[str, Any]) -> InputError:
    """An error that calls a task's file as its user does, and no other file of the service by its whole path."""
    if error.file is None:
        return error
    name = task["file_name"] if error.file == task.get("file") else Path(error.file).name
    return InputError(error.message, file=name, line=error.line, column=error.column)


@contextmanager
def _memory(most: int) -> Iterator[None]:
    """What the process may hold in memory in the block; asking for more fails, as if there were none."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    hard = before[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _check_parquet(path: Path, max_rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    most, held = max(_UNPACKED, 4 * path.stat().st_size), 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            about = file.metadata
            if about.num_rows > max_rows:
                raise InputError(f"{about.num_rows:,} rows; expected at most {max_rows:,}", file=str(path))
            if about.num_columns > MAX_COLUMNS:
                message = f"{about.num_columns:,} columns; expected at most {MAX_COLUMNS:,}"
                raise InputError(message, file=str(path))
            for piece in file.iter_batches(_PIECE, use_threads=False):
                held += piece.nbytes
                if held > most:
                    raise InputError(f"holds over {most >> 20:,} MiB when unpacked; expected less", file=str(path))
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise InputError(f"not a readable Parquet file: {error}", file=str(path)) from error
