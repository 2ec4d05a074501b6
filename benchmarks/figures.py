"""Figures as files: JSON for machines, Markdown for people, PNG for the eye; and the machine that they hold for.

A file appears whole or not at all. It does not know what was measured.
"""

from __future__ import annotations

import io
import json
import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from embedder.encoder import available_cpus
from embedder.errors import InputError

_PACKAGES = ("dongil", "numpy", "onnxruntime", "faiss-cpu", "faiss-gpu", "tokenizers")


def report_folder(path: str | Path) -> Path:
    """The folder a report goes to, made if it is not there, before any work is spent.

    Raises:
        InputError: something else stands there, or nothing can be written into it.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"no report can be written here: {error.strerror or error}", file=str(folder)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError("no permission to write here; expected a folder for the report", file=str(folder))
    return folder


def write_file(path: Path, data: bytes) -> None:
    """Write beside ``path`` and rename into place.

    Raises:
        InputError: it cannot be written; nothing stays behind.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def write_figures(folder: Path, name: str, *, values: Mapping[str, Any], markdown: str, figure: Any = None) -> None:
    """Write ``name.json``, ``name.md`` and, of a matplotlib ``figure``, ``name.png``."""
    text = json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_file(folder / f"{name}.json", text.encode())
    write_file(folder / f"{name}.md", markdown.encode())
    if figure is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120, bbox_inches="tight")
        write_file(folder / f"{name}.png", picture.getvalue())


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def empty_figure(width: float, height: float) -> Any:
    """A matplotlib figure of so many inches, without the state that pyplot keeps."""
    from matplotlib.figure import Figure  # here: slow to load, and only pictures need it

    return Figure(figsize=(width, height), layout="constrained")


def machine() -> dict[str, Any]:
    """What the figures hold for: processor, memory, versions, and how busy the machine was with other work."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(), "cpus": available_cpus(), "memory_gb": _memory_gb(), "load_before": load,
        "system": platform.system(), "python": platform.python_version(), "versions": versions,
    }  # fmt: skip


def machine_line(about: Mapping[str, Any]) -> str:
    """``machine`` in one sentence."""
    memory = f", {about['memory_gb']} GiB" if about["memory_gb"] else ""
    busy = f"; load before the run {about['load_before']:.1f}" if about["load_before"] is not None else ""
    return f"{about['processor']}, {about['cpus']} processors{memory}, Python {about['python']}{busy}."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None
