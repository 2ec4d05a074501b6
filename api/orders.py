"""Orders: a job that is asked for, checked as far as that is quick, and queued.

What cannot be done is refused before it is queued, and not when its turn comes. It knows what each kind of job needs.
It does not know how anything is done (`api.tasks`), nor HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from api.jobs_schemas import (
    ActivateJob,
    AnyJob,
    BenchmarkJob,
    ClusterJob,
    CompareJob,
    MatchJob,
    OfFile,
    RollbackJob,
    TrainJob,
)
from embedder.errors import InputError
from index.ledger import Job
from index.store import ConflictError
from index.tables import FORMATS

if TYPE_CHECKING:
    from api.service import Service
    from api.uploads import Upload

_EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("torch", "transformers", "sklearn", "lightgbm", "onnx"),
        "bench": ("sklearn", "scipy", "matplotlib", "jinja2"),
    }
)


def order(
    service: Service,
    asked: AnyJob,
    who: str,
    *,
    upload: Upload | None = None,
    folder: Path | None = None,
    idempotency_key: str | None = None,
) -> Job:
    """Queue a job.

    Args:
        service: that is to do it.
        asked: what.
        who: asks.
        upload, folder: the file that came with it, and the folder of ``Runner.incoming`` that holds it.
        idempotency_key: the same key and job get the same job.

    Raises:
        InputError: it lacks a file, or what it names; or this installation cannot do it.
        ConflictError: it cannot be done beside what there is.
        BusyError: too many jobs wait.
    """
    request = asked.model_dump(exclude_none=True) | {"who": who} | _more(service, asked, upload)
    if upload is not None:
        request["upload"] = {
            "name": upload.name,
            "stored": upload.stored,
            "bytes": upload.size,
            "sha256": upload.sha256,
        }
    return service.runner.submit(asked.kind, request, folder, idempotency_key=idempotency_key)


def _more(service: Service, asked: AnyJob, upload: Upload | None) -> dict[str, Any]:
    """What is to be known of a job besides what was asked; refuses what cannot be done."""
    named = asked.file if isinstance(asked, OfFile) else None
    if upload is not None and named is not None:
        raise InputError(f"a file came with the job, and `file` is {named[:200]!r}; expected one of the two")
    if upload is not None and not isinstance(asked, OfFile):
        raise InputError(f"a file came with the job {asked.kind!r}; expected none")
    if named is not None:
        allowed_file(service.settings.files, named)
    if isinstance(asked, OfFile) and named is None and upload is None and asked.kind != "train":
        raise InputError(f"the job {asked.kind!r} without a file; expected an upload, or `file`")
    match asked:
        case ClusterJob() | MatchJob() if asked.min_precision is not None:
            service.decision.promised(asked.min_precision)
        case TrainJob():
            _check_training(service, asked, with_file=(named, upload) != (None, None))
        case BenchmarkJob():
            need_extra("bench", "a benchmark")
            for name in asked.models:
                service.shelf.get(name)
        case CompareJob() | ActivateJob():
            service.shelf.get(asked.model)
        case RollbackJob():
            before = service.shelf.before()
            if before is None:
                raise ConflictError("no model was at work before this one; expected one to roll back to")
            return {"model": before.name}
    return {}


def _check_training(service: Service, asked: TrainJob, *, with_file: bool) -> None:
    if asked.what == "encoder":
        need_extra("train", "training an encoder")
    elif with_file:
        raise InputError("a file to relearn from; expected labels by `PUT /v1/labels`, or `what` to be encoder")
    if asked.name is not None:
        service.shelf.check_free(asked.name)


def need_extra(extra: str, what: str) -> None:
    """Refuse what this installation cannot do.

    Raises:
        InputError: a package of the extra is not there.
    """
    if missing := [name for name in _EXTRAS[extra] if find_spec(name) is None]:
        raise InputError(f"{', '.join(missing)} not installed; {what} needs pip install 'dongil[{extra}]'")


def allowed_file(folder: Path | None, name: str) -> Path:
    """The file of a name in the folder that the operator has opened, wherever links lead.

    Raises:
        InputError: there is no such folder or file, it is outside, or no table by its suffix.
    """
    path = _allowed(folder, name, "file")
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"unknown suffix {path.suffix[:20]!r}; expected one of {', '.join(FORMATS)}")
    return path


def allowed_model(folder: Path | None, name: str) -> Path:
    """The folder of a model inside the one that the operator has opened, and no link in it leads out of it.

    Raises:
        InputError: there is none, or something of it is outside.
    """
    path = _allowed(folder, name, "folder")
    if not (path / "config.json").is_file():
        raise InputError(f"no model in folder {name[:200]!r}; expected a bundle made by dongil train")
    for inside in path.rglob("*"):
        _allowed(path, str(inside.relative_to(path)), "folder" if inside.is_dir() else "file")
    return path


def _allowed(folder: Path | None, name: str, kind: Literal["file", "folder"]) -> Path:
    if folder is None:
        raise InputError("files of the service's machine are not open to it; expected an upload, or DONGIL_FILES")
    try:
        root = folder.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        inside = path.is_relative_to(root) and (path.is_file() if kind == "file" else path.is_dir())
    except (OSError, ValueError, RuntimeError):  # not there, a NUL character, links in a circle
        inside = False
    if not inside:  # whether there is something outside is nobody's business
        raise InputError(f"no {kind} {name[:200]!r}; expected one inside the folder that is open to the service")
    return path
