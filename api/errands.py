"""Errands: the heavy parts of jobs, each a function of a task; a worker runs them, and none twice at once in a folder.

A task is what the service has told the worker: the errand's own options, ``folder`` of the job, and of its file what
`api.intake` says. What an errand makes for people to keep stands in ``folder/out`` and is named in its result. Each
may be begun again after it was stopped at any moment.

It knows files in and out. It does not know the catalogue, which is the service's alone, nor HTTP.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from api.intake import bounded_reading, read_rows
from api.items_schemas import PutItem
from api.rows import column_values, matches_table, with_clusters
from api.unpacking import unpack
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from embedder.errors import InputError
from embedder.resume import ResumingEncoder
from index.decision import Decision
from index.formats import plain_value, shown
from index.items import Items
from index.matcher import Matcher
from index.scene import Progress
from index.tables import write_table

OUT = "out"
"""The folder in a job's that holds what it made."""
ROWS = "rows.jsonl"
"""What ``read`` writes."""
FOUND = "found.jsonl"
"""What ``write_matches`` reads: a list a line, as ``MatchRow`` says."""
_SELLERS = ("seller", "shop", "mall", "store", "판매자", "판매처", "몰")
_TRIED = ("농심 신라면 120g 5개입", "Nintendo Switch OLED White")
_CATEGORIES = ("category", "카테고리", "분류")
Task = Mapping[str, Any]
Result = dict[str, Any]


def out_folder(folder: Path) -> Path:
    """Where a job's files go, made if it is not there."""
    out = folder / OUT
    out.mkdir(exist_ok=True)
    return out


def read(task: Task, tell: Progress) -> Result:
    """The file's rows as ``ROWS``, an object a line, so that the service can take them piece by piece.

    With ``whole`` a row has seller, category and extra columns besides id and title.
    """
    tell("read", 0, 0)
    items = read_rows(task)
    rows: Iterable[dict[str, Any]] = _whole(task, items) if task.get("whole") else ({} for _ in items.ids)
    folder = Path(task["folder"])
    beside = folder / f"{ROWS}.new"
    with beside.open("w", encoding="utf-8") as file:
        for id, title, more in zip(items.ids, items.titles, rows, strict=True):
            file.write(json.dumps({"id": id, "title": title, **more}) + "\n")
    beside.replace(folder / ROWS)
    return {"rows": len(items)}


def _whole(task: Task, items: Items) -> Iterable[dict[str, Any]]:
    """What a row has besides id and title, held to the limits that ``PUT /v1/items`` has."""
    if items.id_column is None:
        raise InputError("no id column; name it with id_column, so that items are known again", file=items.table.name)
    columns = items.table.columns
    named = {
        part: _column(items, task.get(f"{part}_column"), known)
        for part, known in (("seller", _SELLERS), ("category", _CATEGORIES))
    }
    used = {items.id_column, items.title_column, *named.values()}
    for row, (id, title) in enumerate(zip(items.ids, items.titles, strict=True)):
        more: dict[str, Any] = {
            part: column_text(columns[name][row]) for part, name in named.items() if name is not None
        }
        extra = {name: plain_value(values[row]) for name, values in columns.items() if name not in used}
        more["extra"] = {name: value for name, value in extra.items() if value not in (None, "")}
        try:
            PutItem(id=id, title=title, **more)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            at = ".".join(map(str, fault["loc"]))
            wrong = f"{at} is {shown(fault['input'])}; expected {fault['msg'].removeprefix('Input should be ')}"
            raise items.table.error(row, wrong) from None
        yield more


def column_text(value: Any) -> str | None:
    """A cell as text; None for a blank one."""
    plain = plain_value(value)
    if plain is None or plain == "":
        return None
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _column(items: Items, given: str | None, known: Iterable[str]) -> str | None:
    """The column that was named, or one of a known name."""
    if given is not None:
        column_values(items, given)
        return given
    free = {name.strip().casefold(): name for name in reversed(items.table.columns)}
    return next((free[name] for name in known if name in free), None)


def cluster(task: Task, tell: Progress) -> Result:
    """The file's rows and columns with a ``cluster_id``, as ``dongil cluster`` writes them."""
    tell("read", 0, 0)
    rows, folder = read_rows(task), Path(task["folder"])
    values = column_values(rows, task["one_per"]) if task.get("one_per") is not None else None
    encoder = ResumingEncoder(
        load_bundle(task["model"]), folder / "vectors", threads=task["threads"], device=task["device"]
    )
    decision = Decision.of(encoder.bundle, threads=encoder.threads)
    threshold = task.get("threshold")
    if task.get("min_precision") is not None:
        threshold = decision.promised(task["min_precision"]).threshold
    matcher = Matcher.from_items(rows.ids, rows.titles, encoder, decision, device=task["device"], progress=tell)
    grouping = matcher.group(threshold, one_per=values)
    name = f"clusters.{task['format']}"
    tell("write", 0, 0)
    write_table(with_clusters(rows.table, grouping.names), out_folder(folder) / name)
    encoder.forget()
    return {
        "items": len(rows),
        "clusters": len(set(grouping.names)),
        "threshold": matcher.cluster_threshold if threshold is None else threshold,
        "model": encoder.fingerprint,
        "files": [name],
    }


def write_matches(task: Task, tell: Progress) -> Result:
    """What was found in the catalogue as a file, as ``dongil match`` writes it."""
    tell("write", 0, 0)
    folder, name = Path(task["folder"]), f"matches.{task['format']}"
    with (folder / FOUND).open(encoding="utf-8") as file:
        table = matches_table(name, (json.loads(line) for line in file), task["near_misses"] > 0)
    write_table(table, out_folder(folder) / name)
    return {"files": [name]}


def benchmark(task: Task, tell: Progress) -> Result:
    """Recall, precision and F1 against the threshold of a labelled file: what ``dongil bench recall`` writes."""
    from benchmarks.datasets import open_set
    from benchmarks.labelled import Reading
    from benchmarks.recall import Settings, measure_recall
    from benchmarks.report import write_recall

    folder = Path(task["folder"])
    tell("read", 0, 0)
    reading = Reading(
        name=task.get("name") or Path(task["file_name"]).stem, id_column=task.get("id_column"),
        title_column=task.get("title_column"), label_column=task.get("label_column"), unseen=task["unseen"],
    )  # fmt: skip
    with bounded_reading(task) as path:
        data = open_set(str(path), reading)
        if len(data) > task["max_rows"]:
            raise InputError(f"{len(data):,} rows; expected at most {task['max_rows']:,}", file=str(path))
    settings = Settings(
        pool="all", seed=0, cache=folder / "vectors", threads=task["threads"], variations=not task["quick"]
    )
    report = measure_recall(data, [Path(one) for one in task["models"]], settings, lambda said: tell(said, 0, 0))
    beside = folder / "report.new"
    shutil.rmtree(beside, ignore_errors=True)
    write_recall(report, beside, f"a job of the service on {task['file_name']}")
    out = out_folder(folder)
    for path in beside.iterdir():
        path.replace(out / path.name)
    shutil.rmtree(folder / "vectors", ignore_errors=True)
    own = [(model, model.point("own").scores) for model in report.models]
    return {
        "rows": len(data),
        "models": [
            {"name": task["model_names"][at], "fingerprint": model.fingerprint, **_figures(scores)}
            for at, (model, scores) in enumerate(own)
        ],
        "files": sorted(path.name for path in out.iterdir()),
    }


def _figures(scores: Any) -> dict[str, float | None]:
    names = ("row_f1", "pair_precision", "pair_recall", "pair_f1", "bcubed_precision", "bcubed_recall", "bcubed_f1")
    found = {name: getattr(scores, name, None) for name in names}
    return {name: None if value is None else round(float(value.value), 6) for name, value in found.items()}


def train(task: Task, tell: Progress) -> Result:
    """A model trained on labelled files, in ``folder/model``; a stopped run goes on from its last checkpoint."""
    from training.recipe import Recipe, make_bundle
    from training.settings import read_settings

    folder = Path(task["folder"])
    # A bool as JSON has it; and a comma after the last one, so that no value makes a file's name of it.
    given = "".join(f"{name}={str(value).lower()}," for name, value in task["config"].items())
    config, blend = read_settings(given, task["base"])
    labelled = list(task["labelled"])
    if task.get("file") is not None:
        with bounded_reading(task) as path:
            path.stat()
        labelled.append(task["file"])
    recipe = Recipe(labelled, command="a training job of the service", conflicts="drop", blend=blend)

    def report(stage: str, step: int, steps: int, _: dict[str, float]) -> None:
        tell(stage, step, steps)

    bundle = make_bundle(recipe, folder / "model", config, folder / "work", report)
    shutil.rmtree(folder / "work", ignore_errors=True)
    if bundle is None:
        raise InputError("this process does not lead its team; expected to train alone")
    return {"fingerprint": bundle.fingerprint}


def check_model(task: Task, tell: Progress) -> Result:
    """Whether a model works: ``model`` is its folder, or ``zip`` a file that is unpacked to ``folder/model`` first."""
    tell("check", 0, 0)
    if task.get("zip") is not None:
        unpack(Path(task["zip"]), Path(task["folder"]) / "model", task["limit"])
    encoder = Encoder(load_bundle(task["model"]), threads=1, device="cpu")
    matcher = Matcher.from_items(["1", "2"], list(_TRIED), encoder, device="cpu")
    matcher.answer(list(_TRIED), k=1)
    return {"fingerprint": encoder.fingerprint}


ERRANDS: Mapping[str, Callable[[Task, Progress], Result]] = MappingProxyType(
    {
        "read": read,
        "cluster": cluster,
        "write_matches": write_matches,
        "benchmark": benchmark,
        "train": train,
        "check_model": check_model,
    }
)
