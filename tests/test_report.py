"""Reports as people and machines get them: whole, without NaN, self-contained, and safe from what titles hold."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from test_labelled import pair_folder

from benchmarks.bootstrap import Interval
from benchmarks.labelled import LabelledSet, Reading, read_pairs
from benchmarks.ladder import climb
from benchmarks.recall import RecallReport, Settings, measure_recall
from benchmarks.reliability import Kept
from benchmarks.report import (
    PAIRS_HEADER,
    POINT_NAMES,
    PROMISES_HEADER,
    RECALL_HEADER,
    broken_promise,
    pair_rows,
    promise_rows,
    recall_rows,
    spread,
    to_json,
    write_ladder,
    write_recall,
)
from embedder.errors import InputError
from index.decision import Promise

QUICK = Settings(threads=1, variations=False)
NASTY = '<script>alert("x")</script> {{ 7 * 7 }} & 햇반'


def listings(sides: tuple[str, ...] = ("validation", "test")) -> LabelledSet:
    """Forty products of two listings, whose titles would like to run."""
    titles = [f"{NASTY} {p} {word}" for p in range(40) for word in ("red", "white")]
    groups = [f"s:{p}" for p in range(40) for _ in range(2)]
    side_of = np.array([sides[p % len(sides)] for p in range(40) for _ in range(2)])
    return LabelledSet("s", "groups", titles, groups, side_of, np.ones(80, bool), ["분류 <b>"] * 80)


@pytest.fixture(scope="module")
def report() -> RecallReport:
    return measure_recall(listings(), settings=Settings(threads=1))


@pytest.fixture(scope="module")
def folder(report: RecallReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recall(report, tmp_path_factory.mktemp("report"), "dongil bench recall s <&> -o REPORT")


class Page(HTMLParser):
    """Tags that are opened and not closed, and addresses that would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.fetched += [
            v for k, v in values.items() if k in ("src", "href") and v and not v.startswith(("data:", "#"))
        ]
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_file_is_there(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "recall.json", "recall.md", "points.csv", "curves.csv", "reliability.csv", "promises.csv",
        "breakdown.csv", "pool_sizes.csv", "regimes.csv", "mistakes.csv", "curves.png", "precision_recall.png",
        "clusters.png", "reliability.png", "search.png", "pool_sizes.png",
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))


def test_the_page_stands_alone_and_runs_nothing(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert not page.tags & {"script", "iframe", "link"}
    assert "&lt;script&gt;" in text
    assert "&lt;b&gt;" in text
    assert "{{ 7 * 7 }}" in text and "49 &amp;" not in text
    assert "bench recall s &lt;&amp;&gt; -o REPORT" in text
    for words, korean in POINT_NAMES.values():
        assert words.replace("'", "&#39;") in text and korean in text


def test_nothing_is_told_as_nan(folder: Path) -> None:
    for path in [*folder.glob("*.csv"), folder / "index.html", folder / "recall.json", folder / "recall.md"]:
        text = re.sub(r"data:image/png;base64,[^\"]+", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"\b(nan|inf|infinity|none)\b", text, re.IGNORECASE) or path.name == "index.html"
        assert not re.search(r"\b(NaN|nan|inf|None)\b", text)


def test_json_and_csv_tell_the_same(folder: Path, report: RecallReport) -> None:
    values = json.loads((folder / "recall.json").read_text(encoding="utf-8"))
    assert values["set"]["test_rows"] == len(report.data.rows("test"))
    points = {point["name"]: point for point in values["models"][0]["points"]}
    with (folder / "points.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["point"]: row for row in csv.DictReader(file)}
    assert rows.keys() == points.keys()
    told = points["row_f1"]["scores"]
    assert float(rows["row_f1"]["row_f1"]) == told["row_f1"]["value"]
    assert float(rows["row_f1"]["row_f1_low"]) == told["row_f1"]["low"]
    assert float(rows["row_f1"]["threshold"]) == told["threshold"]
    with (folder / "curves.csv").open(encoding="utf-8", newline="") as file:
        curves = list(csv.DictReader(file))
    assert {row["measure"] for row in curves} == {"row", "pair", "bcubed", "components"}
    assert {row["side"] for row in curves} == {"validation", "test"}
    told = values["models"][0]["reliability"]
    with (folder / "reliability.csv").open(encoding="utf-8", newline="") as file:
        assert [int(row["pairs"]) for row in csv.DictReader(file)] == [one["pairs"] for one in told["bins"]]
    assert sum(one["pairs"] for one in told["bins"]) == told["pairs"]
    assert values["models"][0]["decision"] == report.models[0].decision.to_json()


def test_the_same_report_is_written_byte_for_byte(report: RecallReport, folder: Path, tmp_path: Path) -> None:
    again = write_recall(report, tmp_path, "dongil bench recall s <&> -o REPORT")
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_line_for_the_readme(report: RecallReport) -> None:
    (line,) = recall_rows(report)
    told = dict(zip(RECALL_HEADER, line, strict=True))
    assert (told["set"], told["judged / pool"]) == ("s", "40 / 80")
    assert re.fullmatch(r"\d\.\d{4}", told["threshold"])
    assert re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", told["row-F1 [95 %]"])
    assert pair_rows(report) == []


def test_promises_are_told_with_what_came_of_them(report: RecallReport, tmp_path: Path) -> None:
    (model,) = report.models
    error = spread(model.reliability.error)
    assert promise_rows(replace(report, models=[replace(model, promises=[])])) == [["s", error, "none", "-", "-", "-"]]
    promise = Promise(0.9, 0.85, 0.4, "nine of <ten>")
    kept = [Kept(promise, Interval(0.8, 0.7, 0.85), Interval(0.5, 0.4, 0.6), 30), Kept(promise, None, None, 0)]
    promised = replace(report, models=[replace(model, promises=kept)])
    rows = promise_rows(promised)
    assert rows == [
        ["s", error, "0.9", "0.800 [0.700, 0.850]", "0.500", "0.8500"], ["s", error, "0.9", "-", "-", "0.8500"]
    ]  # fmt: skip
    assert all(len(row) == len(PROMISES_HEADER) for row in rows)
    folder = write_recall(promised, tmp_path, "c")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert Page(text).open == []
    assert "nine of &lt;ten&gt;" in text and text.count('<small class="warn">fell short</small>') >= 1
    with (folder / "promises.csv").open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file))
    assert [(row["precision"], row["observed"], row["accepted"]) for row in told] == [
        ("0.9", "0.8", "30"),
        ("0.9", "", "0"),
    ]


def test_what_cannot_be_chosen_is_marked_empty(tmp_path: Path) -> None:
    report = measure_recall(listings(("train", "test")), settings=QUICK)
    folder = write_recall(report, tmp_path, "c")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "no threshold could be chosen here" in text
    assert "not chosen: no pair to find in the validation part" in text
    assert (folder / "pool_sizes.csv").read_text(encoding="utf-8").splitlines() == ["empty", "nothing to tell"]
    assert not (folder / "pool_sizes.png").exists()


def test_several_models_and_names_without_latin_letters(tmp_path: Path) -> None:
    report = measure_recall(listings(), settings=QUICK)
    (model,) = report.models
    second = replace(model, name="우리 모델", against_first=Interval(0.01, -0.01, 0.02))
    folder = write_recall(replace(report, models=[model, second]), tmp_path, "c")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "Models side by side" in text
    assert "우리 모델" in text
    assert Page(text).open == []
    assert len(recall_rows(replace(report, models=[model, second]))) == 2


def test_labelled_pairs_have_their_own_table(tmp_path: Path) -> None:
    data = read_pairs(pair_folder(tmp_path / "shop"), Reading(unseen=True), published=True)
    measured = measure_recall(data, settings=QUICK)
    text = (write_recall(measured, tmp_path / "out", "c") / "index.html").read_text("utf-8")
    assert Page(text).open == []
    ((name, *rest),) = pair_rows(measured)
    assert name == "shop" and len(rest) == len(PAIRS_HEADER) - 1
    assert "Labelled pairs over the two tables" in text
    assert "The published split of the pairs" in text


def test_a_ladder_is_written(tmp_path: Path) -> None:
    ladder = climb(listings(), settings=QUICK)
    folder = write_ladder(ladder, tmp_path, "dongil bench ablate s -o REPORT")
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "ladder.json", "ladder.csv", "ladder.md", "ladder.png"
    }  # fmt: skip
    values = json.loads((folder / "ladder.json").read_text(encoding="utf-8"))
    assert [rung["name"] for rung in values["rungs"]] == [rung.name for rung in ladder.rungs]
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    assert page.open == [] and page.fetched == []
    assert (folder / "ladder.md").read_text(encoding="utf-8").count("\n") == len(ladder.rungs) + 2


def test_a_promise_is_broken_when_the_whole_interval_is_below(report: RecallReport) -> None:
    point = report.models[0].point("row_f1")
    assert point.scores is not None
    for high, broken in ((0.93, True), (0.95, False)):
        scores = replace(point.scores, pair_precision=Interval(0.9, 0.85, high))
        assert broken_promise(replace(point, name="precision_95", scores=scores)) is broken
        assert not broken_promise(replace(point, scores=scores))
    assert not broken_promise(replace(point, name="precision_95", scores=None))


def test_intervals_in_words() -> None:
    assert spread(None) == "-"
    assert spread(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert spread(Interval(0.5, -0.25, 0.75), sign="+") == "+0.500 [-0.250, +0.750]"


def test_nan_has_no_place_in_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"f1": float("nan")})
    assert json.loads(to_json({"f1": np.float32(0.5)})) == {"f1": 0.5}


def test_a_report_that_cannot_be_written(report: RecallReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="no report can be written here"):
        write_recall(report, tmp_path / "file", "c")
    assert (tmp_path / "file").read_text() == "mine"
