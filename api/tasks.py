"""Tasks: what each kind of job does, begun anew or for the first time.

What parses files, encodes many titles or learns runs in a worker (`api.errands`), which may die of it. What reads or
writes the catalogue runs here, for the catalogue has one process: in bounded pieces, each whole, so that a job that was
stopped goes on, and requests come in between.

It knows the service, workers and the shelf. It does not know how jobs are queued (`api.runner`), nor HTTP.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.asking import Asking
from api.children import run_errand
from api.errands import FOUND, ROWS
from api.orders import allowed_file
from api.rows import match_row
from api.takeover import activate, compare_models
from embedder.bundle import load_bundle
from index.ledger import Job
from index.listings import Item
from index.shelf import digest_of
from index.tables import FORMATS

if TYPE_CHECKING:
    from api.runner import Told
    from api.service import Service

_CHUNK = 1_000  # items put or removed in one transaction
_ASKED = 32  # titles looked up at once
_SINCE = "since"


class Tasks:
    """What the jobs of a service do; call it with a job."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._alone = threading.Lock()  # whoever puts another model to work, or all clusters anew

    def __call__(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        """Do a job in its folder; what came of it.

        Raises:
            InputError: it cannot be done, and why.
            Interrupted: it is to stop; what it has done stands, and the same call goes on from there.
        """
        kinds = {
            "cluster": self._cluster, "match": self._match, "import": self._import, "rebuild": self._rebuild,
            "train": self._train, "benchmark": self._benchmark, "compare": self._compare,
            "activate": self._activate, "rollback": self._activate,
        }  # fmt: skip
        return kinds[job.kind](job, folder, told)

    def _cluster(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        bundle = self._service.encoder.bundle
        return self._errand("cluster", job, folder, told, model=str(bundle.folder.resolve()))

    def _match(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        """Ask the living catalogue, which a copy of would take as much memory again and be of yesterday.

        All titles are answered by one snapshot, so that a match that was stopped begins anew. Answers go through a
        file: those of a million titles are larger than the catalogue.
        """
        count = self._rows(job, folder, told, whole=False)
        asking = Asking(self._service, job.request)
        done = matched = found = 0
        with (folder / FOUND).open("w", encoding="utf-8") as file:
            for rows in _chunks(folder / ROWS, _ASKED):
                told("match", done, count)
                answers = asking.answers([row["title"] for row in rows])
                for row, answer in zip(rows, answers, strict=True):
                    kept = [(match, True) for match in answer.matches] + [(miss, False) for miss in answer.near_misses]
                    file.writelines(json.dumps(match_row(row["id"], *one)) + "\n" for one in kept)
                    matched, found = matched + bool(answer.matches), found + len(answer.matches)
                done += len(rows)
        made = self._errand("write_matches", job, folder, told)
        return {
            "titles": count, "matched": matched, "matches": found, "revision": asking.revision,
            "model": asking.fingerprint, **made,
        }  # fmt: skip

    def _import(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        """Put a file's items, in transactions that each happen once: one that was done before a stop tells the same."""
        catalog, counts = self._service.catalog, Counter[str]()
        if not (folder / _SINCE).exists():
            with catalog.snapshot() as revision:
                (folder / _SINCE).write_text(str(revision), encoding="ascii")
        since = int((folder / _SINCE).read_text(encoding="ascii"))
        count, ids, done = self._rows(job, folder, told, whole=True), set[str](), 0
        for number, rows in enumerate(_chunks(folder / ROWS, _CHUNK)):
            told("import", done, count)
            items = [Item(**row) for row in rows]
            put = catalog.put(items, idempotency_key=f"job {job.id} {number}")
            counts.update(created=put.created, updated=put.updated, unchanged=put.unchanged)
            self._service.living.follow()
            ids.update(item.id for item in items)
            done += len(items)
        if job.request.get("delete_missing"):
            counts["deleted"] = self._delete_missing(ids, since, told)
        with catalog.snapshot() as revision:
            names = ("created", "updated", "unchanged", "deleted")
            return {"rows": count, **{name: counts[name] for name in names}, "revision": revision}

    def _delete_missing(self, kept: set[str], since: int, told: Told) -> int:
        """Remove items that are not among some, but those that came after a revision; how many."""
        catalog, cursor, done, deleted = self._service.catalog, None, 0, 0
        count = catalog.count()
        while True:
            told("delete", min(done, count), count)
            with catalog.transaction():
                page = catalog.page(cursor, _CHUNK)
                gone = [item.id for item in page.items if item.id not in kept and item.created <= since]
                if gone:
                    catalog.delete(gone)
            self._service.living.follow()
            done, deleted, cursor = done + len(page.items), deleted + len(gone), page.next_cursor
            if cursor is None:
                return deleted

    def _rebuild(self, _: Job, __: Path, told: Told) -> Mapping[str, Any]:
        with self._alone:
            return {"moved": self._service.living.rebuild(told)}

    def _train(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        name = job.request.get("name") or f"{job.request['what']}-{job.id[:8]}"
        if job.request["what"] == "relearn":
            return self._relearn(name, folder, told)
        from training.told import write_training_file

        labels = folder / "labels.csv"
        told("labels", 0, 0)
        labelled = [str(labels)] if write_training_file(self._service.catalog, labels) else []
        made = self._errand("train", job, folder, told, labelled=labelled)
        return self._shelve(name, folder / "model") | {"fingerprint": made["fingerprint"]}

    def _relearn(self, name: str, folder: Path, told: Told) -> Mapping[str, Any]:
        """Learn the decision anew, and tell how it was and is on products that were held out."""
        from training.lessons import lessons_of
        from training.relearn import relearn, write_relearnt

        living = self._service.living
        told("labels", 0, 0)
        lessons = lessons_of(self._service.catalog, living.snapshot, living.encoder.encode)
        told("learn", 0, 0)
        relearnt = relearn(lessons, living.decision)
        found = relearnt.told()
        if relearnt.verdict == "worse":
            return found | {"name": None}
        told.check()
        write_relearnt(living.encoder.bundle, folder / "model", relearnt)
        return found | self._shelve(name, folder / "model")

    def _shelve(self, name: str, folder: Path) -> dict[str, Any]:
        """Put a model on the shelf, unless this very one was put there before a stop.

        Raises:
            ConflictError: another one has the name.
        """
        shelf, bundle = self._service.shelf, load_bundle(folder)
        own = (name, bundle.fingerprint, digest_of(bundle))
        if own not in {(one.name, one.bundle.fingerprint, one.model.digest) for one in shelf.entries()}:
            shelf.put(name, folder)
        return {"name": name}

    def _benchmark(self, job: Job, folder: Path, told: Told) -> Mapping[str, Any]:
        names = list(job.request.get("models") or ())
        bundles = [self._service.shelf.get(name).bundle for name in names] or [self._service.encoder.bundle]
        folders = [str(bundle.folder.resolve()) for bundle in bundles]
        more = {"models": folders, "model_names": names or ["active"]}
        return self._errand("benchmark", job, folder, told, **more)

    def _compare(self, job: Job, _: Path, told: Told) -> Mapping[str, Any]:
        with self._alone:
            return compare_models(self._service, job.request["model"], told)

    def _activate(self, job: Job, _: Path, told: Told) -> Mapping[str, Any]:
        with self._alone:
            return activate(self._service, job.request, told)

    def _rows(self, job: Job, folder: Path, told: Told, *, whole: bool) -> int:
        """Have the job's file read into ``ROWS``, if that is not done; the number of rows."""
        if not (folder / ROWS).exists():
            self._errand("read", job, folder, told, whole=whole)
        with (folder / ROWS).open("rb") as file:
            return sum(1 for _ in file)

    def _errand(self, errand: str, job: Job, folder: Path, told: Told, **more: Any) -> dict[str, Any]:
        settings = self._service.settings
        task = {
            **job.request, **self._file(job, folder), "threads": settings.threads, "device": settings.device,
            "max_rows": settings.max_upload_rows, **more,
        }  # fmt: skip
        return run_errand(errand, task, folder, told, told.check)

    def _file(self, job: Job, folder: Path) -> dict[str, Any]:
        """Of the job's file: where it is, what its user calls it, and the format of what is made of it."""
        if upload := job.request.get("upload"):
            path, name = folder / upload["stored"], upload["name"]
        elif named := job.request.get("file"):
            path, name = allowed_file(self._service.settings.files, named), named
        else:
            return {"file": None}
        form = job.request.get("format") or FORMATS[path.suffix.lower()]
        return {"file": str(path), "file_name": name, "format": form}


def _chunks(path: Path, size: int) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        while lines := list(islice(file, size)):
            yield [json.loads(line) for line in lines]
