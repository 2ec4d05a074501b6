"""The command line as its users meet it: files in, files out, exit codes, and one plain line when it cannot."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from api.cli import app
from embedder.bundle import DEFAULT
from embedder.encoder import Encoder

SAMPLE = Path(__file__).parents[1] / "api" / "sample" / "catalog.csv"


def dongil(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_cluster_keeps_rows_and_columns_and_adds_a_cluster(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    answer = dongil("cluster", SAMPLE, "-o", out)
    assert answer.exit_code == 0, answer.output
    given, made = rows_of(SAMPLE), rows_of(out)
    assert [row["id"] for row in made] == [row["id"] for row in given]
    assert [row["title"] for row in made] == [row["title"] for row in given]
    assert [row["cluster_id_in"] for row in made] == [row["cluster_id"] for row in given]
    ids = {row["id"] for row in given}
    assert all(row["cluster_id"] in ids for row in made)
    assert "products" in answer.output
    assert "B-cubed" in answer.output
    assert not Path(f"{out}.resume").exists()


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_cluster_writes_every_format_alike(tmp_path: Path, suffix: str) -> None:
    dongil("cluster", SAMPLE, "-o", tmp_path / "out.csv")
    answer = dongil("cluster", SAMPLE, "-o", tmp_path / f"out.{suffix}")
    assert answer.exit_code == 0, answer.output
    expected = [row["cluster_id"] for row in rows_of(tmp_path / "out.csv")]
    path = tmp_path / f"out.{suffix}"
    if suffix == "parquet":
        found = pq.read_table(path).column("cluster_id").to_pylist()
    elif suffix == "jsonl":
        found = [json.loads(line)["cluster_id"] for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        found = [line.split("\t")[2] for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert found == expected


def test_a_threshold_moves_the_clusters(tmp_path: Path) -> None:
    counts = []
    for threshold in ("0.1", "0.95"):
        assert dongil("cluster", SAMPLE, "-o", tmp_path / "o.csv", "--threshold", threshold).exit_code == 0
        counts.append(len({row["cluster_id"] for row in rows_of(tmp_path / "o.csv")}))
    assert counts[0] < counts[1]


def test_match_writes_accepted_items_best_first(tmp_path: Path) -> None:
    sample = rows_of(SAMPLE)
    queries = write(tmp_path / "q.csv", "id,title\nq1,★★★\n" + f'q2,"{sample[0]["title"]}"\n')
    out = tmp_path / "out.csv"
    answer = dongil("match", queries, "--catalog", SAMPLE, "-o", out)
    assert answer.exit_code == 0, answer.output
    rows = rows_of(out)
    assert list(rows[0]) == ["query_id", "item_id", "score", "probability", "reason"]
    assert {row["query_id"] for row in rows} == {"q2"}
    assert rows[0]["item_id"] == sample[0]["id"]
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 <= float(row["score"]) < 1.001 and row["reason"] for row in rows)
    assert len(rows) <= 10


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Titles of the sample catalogue, and one that no item has."""
    titles = [row["title"] for row in rows_of(SAMPLE)[:30]]
    path = tmp_path / "asked.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["title"], *([title] for title in titles), ["농심 백산수 2L 6개 새벽배송"]])
    return path


def matched(tmp_path: Path, asked: Path, *options: object) -> list[dict[str, str]]:
    out = tmp_path / "matched.csv"
    answer = dongil("match", asked, "--catalog", SAMPLE, "-o", out, *options)
    assert answer.exit_code == 0, answer.output
    return rows_of(out)


def test_a_threshold_is_a_probability(tmp_path: Path, asked: Path) -> None:
    strict = matched(tmp_path, asked, "--threshold", 0.8)
    loose = matched(tmp_path, asked, "--threshold", 0.1)
    assert all(float(row["probability"]) >= 0.1 for row in loose)
    assert [row for row in loose if float(row["probability"]) >= 0.8] == strict
    assert len(strict) < len(loose)


def test_near_misses_stand_behind_and_are_told_apart(tmp_path: Path, asked: Path) -> None:
    plain = matched(tmp_path, asked)
    rows = matched(tmp_path, asked, "--near-misses", 2)
    assert {row["accepted"] for row in rows} == {"true", "false"}
    assert [{name: row[name] for name in plain[0]} for row in rows if row["accepted"] == "true"] == plain
    by_query: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_query.setdefault(row["query_id"], []).append(row)
    for told in by_query.values():
        assert [row["accepted"] for row in told] == sorted((row["accepted"] for row in told), reverse=True)
        assert sum(row["accepted"] == "false" for row in told) <= 2
        probabilities = [float(row["probability"]) for row in told]
        assert probabilities == sorted(probabilities, reverse=True)


def test_assigned_items_go_to_one_title_each(tmp_path: Path, asked: Path) -> None:
    every = matched(tmp_path, asked, "--threshold", 0.1, "-k", 1000)
    once = matched(tmp_path, asked, "--threshold", 0.1, "--assign")
    items = [row["item_id"] for row in once]
    assert len(set(items)) == len(items)
    assert set(items) == {row["item_id"] for row in every}
    best: dict[str, float] = {}
    for row in every:
        best[row["item_id"]] = max(best.get(row["item_id"], 0), float(row["probability"]))
    assert all(float(row["probability"]) == best[row["item_id"]] for row in once)


def proven_model(folder: Path, *promises: tuple[float, float]) -> Path:
    """The model that ships, with precisions and thresholds as if they were proven."""
    shutil.copytree(DEFAULT, folder)
    decision = json.loads((folder / "decision.json").read_text(encoding="utf-8"))
    decision["promises"] = [
        {"precision": p, "threshold": t, "recall": 0.5, "words": f"{p:g} was counted"} for p, t in promises
    ]
    (folder / "decision.json").write_text(json.dumps(decision), encoding="utf-8")
    return folder


def test_a_proven_precision_picks_the_threshold_and_says_why(tmp_path: Path, asked: Path) -> None:
    model = proven_model(tmp_path / "model", (0.9, 0.4), (0.98, 0.8))
    out = tmp_path / "out.csv"
    answer = dongil(
        "match", asked, "--catalog", SAMPLE, "-o", out, "--model", model, "--min-precision", 0.95, "-k", 99
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert "from a probability of 0.800: 0.98 was counted" in answer.output
    assert rows_of(out) == matched(tmp_path, asked, "--threshold", 0.8, "-k", 99)
    clustered = dongil("cluster", SAMPLE, "-o", out, "--model", model, "--min-precision", 0.5)
    assert clustered.exit_code == 0, clustered.output
    assert "from a probability of 0.400: 0.9 was counted" in clustered.output
    assert dongil("cluster", SAMPLE, "-o", tmp_path / "t.csv", "--threshold", 0.4).exit_code == 0
    assert rows_of(out) == rows_of(tmp_path / "t.csv")


def test_a_precision_that_is_not_proven_is_refused_before_the_work(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = proven_model(tmp_path / "model", (0.9, 0.4))
    monkeypatch.setattr(Encoder, "encode", lambda *_, **__: pytest.fail("the work was begun"))
    for command in (("match", asked, "--catalog", SAMPLE), ("cluster", SAMPLE)):
        answer = dongil(*command, "-o", tmp_path / "out.csv", "--model", model, "--min-precision", 0.95)
        assert answer.exit_code == 1
        assert "min precision is 0.95" in answer.output and "up to 0.9" in answer.output
        assert not (tmp_path / "out.csv").exists()


def test_one_listing_per_seller(tmp_path: Path) -> None:
    titles = ["농심 백산수 2L 6개", "농심 백산수 2L 6개", "농심 백산수 2L 6개", "[무료배송] 농심 백산수 2L 6개", "콜라"]
    sellers = ["가", "가", "나", "", "가"]
    lines = [f"{title},{seller}" for title, seller in zip(titles, sellers, strict=True)]
    path = write(tmp_path / "in.csv", "title,seller\n" + "\n".join(lines) + "\n")
    assert dongil("cluster", path, "-o", tmp_path / "out.csv").exit_code == 0
    assert [row["cluster_id"] for row in rows_of(tmp_path / "out.csv")] == ["1", "1", "1", "1", "5"]
    assert dongil("cluster", path, "-o", tmp_path / "out.csv", "--one-per", "seller").exit_code == 0
    assert [row["cluster_id"] for row in rows_of(tmp_path / "out.csv")] == ["1", "2", "1", "1", "5"]
    answer = dongil("cluster", path, "-o", tmp_path / "o.csv", "--one-per", "shop")
    assert answer.exit_code == 1
    assert "no column 'shop'; expected one of 'title', 'seller'" in answer.output.replace("\n", "")


def test_the_largest_and_the_loosest_clusters_are_shown(tmp_path: Path) -> None:
    answer = dongil("cluster", SAMPLE, "-o", tmp_path / "out.csv", "--threshold", 0.2)
    assert "Largest clusters" in answer.output and "Loosest clusters" in answer.output
    alone = dongil("cluster", write(tmp_path / "in.csv", "title\n콜라\n우산\n"), "-o", tmp_path / "out.csv")
    assert alone.exit_code == 0
    assert "clusters" not in alone.output.replace(str(tmp_path), "")


def test_titles_flow_through_pipes() -> None:
    data = b'{"name": "a title 1"}\n{"name": "a title 1"}\n{"name": "*** !!"}\n'
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "cluster", "-", "-o", "-"], input=data, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    assert [row["cluster_id"] for row in rows] == ["1", "1", "3"]


def test_emoji_and_symbols_get_a_row_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "title\n🎁🎁\n★☆★\n!!!\n농심 신라면\n🎁🎁\n")
    assert dongil("cluster", path, "-o", tmp_path / "o.csv").exit_code == 0
    assert len({row["cluster_id"] for row in rows_of(tmp_path / "o.csv")}) == 5


BAD_FILES = {
    "missing file": (None, r"nowhere\.csv: cannot be read: No such file"),
    "empty file": ("", r"empty; expected at least one row"),
    "header only": ("id,title\n", r"empty; expected at least one row"),
    "no title column": ("id,naam\n1,a\n", r"--title-column"),
    "blank title": ("id,title\n1,a\n2,  \n", r"line 3, column title: .*blank"),
    "duplicate id": ("id,title\n1,a\n2,b\n1,c\n", r"line 4, column id: .*line 2"),
    "long title": ("id,title\n1," + "가" * 40_000 + "\n", r"line 2, column title: .*120,?000"),
    "ragged row": ("id,title\n1,a\n2\n", r"line 3"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("command", ["cluster", "match", "match against"])
def test_bad_files_are_told_in_one_line(tmp_path: Path, name: str, command: str) -> None:
    text, expected = BAD_FILES[name]
    path = tmp_path / "nowhere.csv"
    if text is not None:
        write(path, text)
    out = tmp_path / "out.csv"
    arguments = {
        "cluster": ("cluster", path), "match": ("match", path, "--catalog", SAMPLE),
        "match against": ("match", SAMPLE, "--catalog", path),
    }[command]  # fmt: skip
    answer = dongil(*arguments, "-o", out)
    assert answer.exit_code == 1
    assert "Traceback" not in answer.output
    assert str(path) in answer.output.replace("\n", "")

    assert re.search(expected, answer.output.replace("\n", " ")), answer.output
    assert not out.exists()


def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("title\n좋은 것\n".encode() + "나쁜 것\n".encode("cp949"))
    answer = dongil("cluster", tmp_path / "a.csv", "-o", tmp_path / "o.csv")
    assert answer.exit_code == 1
    assert "line 3" in answer.output


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out.xlsx", "unknown suffix"),
        ("no/such/out.csv", "no folder"),
        ("folder.csv", "is a folder"),
        ("in.csv", "never written over"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, expected: str
) -> None:
    source = write(tmp_path / "in.csv", "title\na\n")
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.setattr(Encoder, "encode", lambda *_, **__: pytest.fail("the work was begun"))
    answer = dongil("cluster", source, "-o", tmp_path / output)
    assert answer.exit_code == 1
    assert expected in answer.output.replace("\n", " ")
    assert source.read_text() == "title\na\n"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = write(tmp_path / "out.csv", "what stood here\n")
    monkeypatch.setattr(os, "fsync", full)
    answer = dongil("cluster", SAMPLE, "-o", before)
    assert answer.exit_code == 1
    assert "no space left" in answer.output
    assert before.read_text() == "what stood here\n"
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"out.csv"}


@pytest.mark.parametrize("damage", ["missing", "cut", "mixed"])
def test_a_damaged_model_is_named(tmp_path: Path, damage: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEFAULT, model)
    broken = model / ("tokenizer.json" if damage == "mixed" else "model.onnx")
    if damage == "missing":
        broken.unlink()
    elif damage == "cut":
        broken.write_bytes(broken.read_bytes()[:1000])
    else:
        broken.write_text(broken.read_text(encoding="utf-8").replace("[UNK]", "[unk]"), encoding="utf-8")
    answer = dongil("cluster", SAMPLE, "-o", tmp_path / "o.csv", "--model", model)
    assert answer.exit_code == 1
    assert broken.name in answer.output.replace("\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("cluster",),
        ("cluster", "a.csv"),
        ("match", "a.csv", "-o", "b.csv"),
        ("cluster", "a.csv", "-o", "b.csv", "--threshold", "2"),
        ("match", "a.csv", "--catalog", "b.csv", "-o", "c.csv", "--threshold", "-0.1"),
        ("match", "a.csv", "--catalog", "b.csv", "-o", "c.csv", "--threshold", "0.5", "--min-precision", "0.9"),
        ("cluster", "a.csv", "-o", "b.csv", "--threshold", "0.5", "--min-precision", "0.9"),
        ("match", "a.csv", "--catalog", "b.csv", "-o", "c.csv", "--near-misses", "-1"),
        ("threshold", "a.csv"),
        ("threshold", "a.csv", "-o", "m", "--part", "train"),
        ("threshold", "a.csv", "-o", "m", "--min-precision", "1"),
        ("nothing",),
        ("match", "a.csv", "--catalog", "b.csv", "-o", "c.csv", "-k", "0"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert dongil(*arguments).exit_code == 2


def test_ctrl_c_leaves_no_output_and_the_same_command_goes_on(tmp_path: Path) -> None:
    titles = [row["title"] for row in rows_of(SAMPLE)]
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["title"])
        writer.writerows([f"{titles[i % len(titles)]} 모델 {i}"] for i in range(60_000))
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    command = [sys.executable, "-m", "api.cli", "cluster", str(source), "-o", str(out)]
    # A job in the background of a shell is started deaf to Ctrl-C.
    hear = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    listening = [sys.executable, "-c", hear]
    running = subprocess.Popen([*listening, *command], stderr=subprocess.PIPE)
    kept = Path(f"{out}.resume")
    deadline = time.monotonic() + 300
    while not any(kept.glob("*.npy")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 1, told.decode()
    assert "interrupted; nothing was written" in told.decode()
    assert "Traceback" not in told.decode()
    assert not out.exists()
    assert any(kept.glob("*.npy"))
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before


def test_help_is_quick_and_needs_no_model() -> None:
    heavy = ("onnxruntime", "faiss", "torch", "fastapi")
    code = f"import sys; import api.cli; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    answer = dongil("--help")
    assert answer.exit_code == 0
    for command in ("match", "cluster", "train", "threshold", "serve", "doctor"):
        assert command in answer.output
