"""Reports as files: JSON and CSV for machines, PNG plots, Markdown for a README, one self-contained page for people.

Titles are strangers' text: the template escapes all it is given. It does not know how anything was measured.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.bootstrap import Interval
from benchmarks.figures import markdown_table, report_folder, write_file
from benchmarks.ladder import Ladder
from benchmarks.measures import Scores
from benchmarks.mistakes import Mistake
from benchmarks.plots import ladder_plot, recall_plots
from benchmarks.recall import ModelReport, Point, RecallReport
from index.tables import Table, write_table

POINT_NAMES: Mapping[str, tuple[str, str]] = {
    "own": ("what you get without naming a threshold", "기본 동작 (임계값 지정 없음)"),
    "row_f1": ("best balance for each listing (row-F1)", "상품별 균형이 가장 좋은 값"),
    "pair_f1": ("best balance over all pairs (pair-F1)", "쌍 기준 균형이 가장 좋은 값"),
    "bcubed_f1": ("best clusters (B-cubed F1)", "클러스터 품질이 가장 좋은 값"),
    "precision_90": ("at least 90 of 100 joined pairs right", "묶은 쌍 100개 중 90개 이상 정답"),
    "precision_95": ("at least 95 of 100 joined pairs right", "100개 중 95개 이상 정답"),
    "precision_98": ("at least 98 of 100 joined pairs right", "100개 중 98개 이상 정답"),
    "precision_99": ("at least 99 of 100 joined pairs right", "100개 중 99개 이상 정답"),
}
FORMS: Mapping[str, str] = {
    "groups": "one file of labelled listings",
    "queries": "a database, and queries taken from it",
    "pairs": "two tables and labelled pairs over them",
}
RECALL_HEADER = (
    "set", "judged / pool", "row-F1 [95 %]", "pair precision", "pair recall", "B-cubed F1 [95 %]",
    "B-cubed precision", "average precision", "row-F1, one threshold", "threshold", "recall@10", "recall@50",
)  # fmt: skip
PROMISES_HEADER = (
    "set", "calibration error [95 %]", "promised precision", "observed [95 %]", "recall", "from probability",
)  # fmt: skip
PAIRS_HEADER = (
    "set", "test pairs", "pair-F1 [95 %]", "precision", "recall", "threshold", "pair-F1 by cosine",
    "R-SupCon, whole records",
)  # fmt: skip
LADDER_HEADER = ("rung", "row-F1 [95 %]", "gain [95 %]", "over", "pair-F1", "average precision", "threshold", "chosen")


def write_recall(report: RecallReport, folder: str | Path, command: str) -> Path:
    """Write every file of a recall report; ``index.html`` is the one to open.

    Args:
        report: what was measured.
        folder: to write into; made if it is not there.
        command: that made it, told on the page.

    Raises:
        InputError: nothing can be written there.
    """
    folder = report_folder(folder)
    plots = recall_plots(report)
    for stem, data in plots.items():
        write_file(folder / f"{stem}.png", data)
    for stem, rows in _tables(report).items():
        _write_csv(folder / f"{stem}.csv", rows)
    write_file(folder / "recall.json", to_json(_recall_values(report, command)))
    write_file(folder / "recall.md", markdown_table(RECALL_HEADER, recall_rows(report)).encode())
    page = render("report.html", report=report, command=command, plots=_inlined(plots), unique=_products(report))
    write_file(folder / "index.html", page.encode())
    return folder


def write_ladder(ladder: Ladder, folder: str | Path, command: str) -> Path:
    """Write ``ladder.json``, ``ladder.csv``, ``ladder.md``, ``ladder.png`` and ``index.html``.

    Raises:
        InputError: nothing can be written there.
    """
    folder = report_folder(folder)
    plot = ladder_plot(ladder)
    values = {
        "format": 1, "command": command, "set": _set_values(ladder), "model": ladder.model,
        "fingerprint": ladder.fingerprint, "judged": ladder.rows, "pool": ladder.pool_rows,
        "rungs": [asdict(rung) for rung in ladder.rungs],
    }  # fmt: skip
    write_file(folder / "ladder.png", plot)
    write_file(folder / "ladder.json", to_json(values))
    write_file(folder / "ladder.md", markdown_table(LADDER_HEADER, ladder_rows(ladder)).encode())
    _write_csv(folder / "ladder.csv", [_flat(asdict(rung)) for rung in ladder.rungs])
    page = render("ladder.html", ladder=ladder, command=command, plot=_inlined({"ladder": plot})["ladder"])
    write_file(folder / "index.html", page.encode())
    return folder


def recall_rows(report: RecallReport) -> list[list[str]]:
    """One line a model for a Markdown table of ``RECALL_HEADER``."""
    lines = []
    for model in report.models:
        pool = f"{len(report.data.rows('test')):,} / {report.pool_rows['test']:,}"
        own, tuned, at = model.point("own").scores, model.point("row_f1").scores, model.search.recall_at
        if own is not None:
            lines.append([
                _name(report, model), pool, spread(own.row_f1), short(own.pair_precision), short(own.pair_recall),
                spread(own.bcubed_f1), short(own.bcubed_precision), short(model.average_precision),
                short(tuned.row_f1) if tuned else "-", threshold_of(tuned.threshold if tuned else None),
                short(at.get(10)), short(at.get(50)),
            ])  # fmt: skip
    return lines


def promise_rows(report: RecallReport) -> list[list[str]]:
    """One line a promise for a Markdown table of ``PROMISES_HEADER``, and one for a model that promises nothing."""
    lines = []
    for model in report.models:
        head = [_name(report, model), spread(model.reliability.error)]
        told = [
            [
                f"{one.promise.precision:g}", spread(one.precision), short(one.recall),
                threshold_of(one.promise.threshold),
            ]
            for one in model.promises
        ]  # fmt: skip
        lines += [[*head, *one] for one in told or [["none", "-", "-", "-"]]]
    return lines


def pair_rows(report: RecallReport) -> list[list[str]]:
    """One line a model for a Markdown table of ``PAIRS_HEADER``; none for a set without labelled pairs."""
    return [
        [
            _name(report, model), f"{p.test_pairs:,}", spread(p.f1), short(p.precision), short(p.recall),
            threshold_of(p.threshold), short(p.cosine_f1), f"{p.published_f1:.3f}" if p.published_f1 else "-",
        ]
        for model in report.models if (p := model.pairs)
    ]  # fmt: skip


def _name(report: RecallReport, model: ModelReport) -> str:
    return report.data.name if len(report.models) == 1 else f"{report.data.name}, {model.name}"


def ladder_rows(ladder: Ladder) -> list[list[str]]:
    """One line a rung for a Markdown table of ``LADDER_HEADER``."""
    return [
        [
            rung.name, spread(rung.row_f1), spread(rung.gain, sign="+") if rung.gain else "-", rung.against or "-",
            short(rung.pair_f1), f"{rung.average_precision:.3f}" if rung.average_precision is not None else "-",
            threshold_of(rung.threshold), rung.chosen or "-",
        ]
        for rung in ladder.rungs
    ]  # fmt: skip


def short(interval: Interval | None) -> str:
    """The value with three digits, or a dash."""
    return "-" if interval is None else f"{interval.value:.3f}"


def spread(interval: Interval | None, sign: str = "") -> str:
    """The value and its interval with three digits, or a dash."""
    if interval is None:
        return "-"
    value, low, high = (format(number, f"{sign}.3f") for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def threshold_of(threshold: float | None) -> str:
    """A threshold with four digits; a dash where none is named."""
    return "-" if threshold is None else f"{threshold:.4f}"


def per_cent(interval: Interval | None) -> str:
    """The value in per cent, or a dash."""
    return "–" if interval is None else f"{100 * interval.value:.0f} %"


def between(interval: Interval | None) -> str:
    """The interval in per cent."""
    return "" if interval is None else f"{100 * interval.low:.0f}–{100 * interval.high:.0f}"


def broken_promise(point: Point) -> bool:
    """Whether a point was chosen for a precision that the test part does not bear out, its whole interval below it."""
    if not point.name.startswith("precision_") or point.scores is None or point.scores.pair_precision is None:
        return False
    return point.scores.pair_precision.high < int(point.name.removeprefix("precision_")) / 100


def render(template: str, **values: Any) -> str:
    """A page from a template beside this module."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "short": short,
        "spread": spread,
        "per_cent": per_cent,
        "between": between,
        "threshold_of": threshold_of,
    }
    environment.globals |= {"point_names": POINT_NAMES, "forms": FORMS, "broken_promise": broken_promise}
    return environment.get_template(template).render(**values)


def to_json(values: Mapping[str, Any]) -> bytes:
    """JSON without NaN; a value that is none is null."""
    return (json.dumps(values, ensure_ascii=False, indent=1, allow_nan=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a report")


def _recall_values(report: RecallReport, command: str) -> dict[str, Any]:
    return {
        "format": 1,
        "command": command,
        "set": _set_values(report),
        "pool_rows": report.pool_rows,
        "models": [_model_values(model) for model in report.models],
    }


def _model_values(model: ModelReport) -> dict[str, Any]:
    # The probability model is a file of the bundle's, and no figure.
    bare = replace(model, decision=replace(model.decision, model=None))
    return asdict(bare) | {"decision": model.decision.to_json()}


def _set_values(report: RecallReport | Ladder) -> dict[str, Any]:
    data = report.data
    return {
        "name": data.name, "form": data.form, "rows": len(data), "products": len(set(data.groups)),
        "digest": data.digest(), "validation_rows": len(data.rows("validation")), "test_rows": len(data.rows("test")),
        "pool": report.settings.pool, "seed": report.settings.seed, "notes": list(data.notes),
    }  # fmt: skip


def _products(report: RecallReport) -> dict[str, int]:
    groups = np.array(report.data.groups)
    return {"all": len(set(report.data.groups)), "test": len(np.unique(groups[report.data.rows("test")]))}


def _inlined(plots: Mapping[str, bytes]) -> dict[str, str]:
    return {stem: f"data:image/png;base64,{base64.b64encode(data).decode()}" for stem, data in plots.items()}


def _tables(report: RecallReport) -> dict[str, list[dict[str, Any]]]:
    """CSV stem -> rows."""
    tables: dict[str, list[dict[str, Any]]] = {
        "points": [], "curves": [], "reliability": [], "promises": [], "breakdown": [], "pool_sizes": [],
        "regimes": [], "mistakes": [],
    }  # fmt: skip
    for model in report.models:
        who = {"model": model.name}
        tables["points"] += [who | _point_row(point) for point in model.points]
        tables["curves"] += [
            who | {"side": side, "measure": measure, "threshold": t, "precision": p, "recall": r, "f1": f}
            for side, measures in model.curves.items() for measure, rows in measures.items() for t, p, r, f in rows
        ]  # fmt: skip
        tables["reliability"] += [who | _flat(asdict(one)) for one in model.reliability.bins]
        tables["promises"] += [
            who | asdict(one.promise) | {"accepted": one.accepted}
            | _flat({"observed": one.precision and asdict(one.precision), "found": one.recall and asdict(one.recall)})
            for one in model.promises
        ]  # fmt: skip
        tables["breakdown"] += [who | _flat(asdict(bucket)) for bucket in model.buckets]
        tables["pool_sizes"] += [who | _flat(asdict(variation)) for variation in model.pool_sizes]
        tables["regimes"] += [who | _flat(asdict(variation)) for variation in model.regimes]
        tables["mistakes"] += _mistake_rows(model)
    return tables


def _point_row(point: Point) -> dict[str, Any]:
    scores = asdict(point.scores) if point.scores else dict.fromkeys((field.name for field in fields(Scores)), None)
    return {"point": point.name, "validation": point.validation, **_flat(scores)}


def _mistake_rows(model: ModelReport) -> list[dict[str, Any]]:
    def row(kind: str, mistake: Mistake) -> dict[str, Any]:
        return {"model": model.name, "mistake": kind, **asdict(mistake)}

    return [row("joined", mistake) for mistake in model.joined] + [row("parted", mistake) for mistake in model.parted]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """An interval becomes three columns."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        else:
            flat[name] = value
    return flat


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file; without rows, a note that says so: an empty table must not look like a forgotten one."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names} if rows else {"empty": ["nothing to tell"]}
    write_table(Table(str(path), columns), path)
