"""The command line as its users meet it: files in, files out, exit codes, and one plain line when it cannot."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
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
    for threshold in ("0.5", "0.999"):
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
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= float(row["probability"]) <= 1 and row["reason"] for row in rows)
    assert len(rows) <= 10


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
    import shutil

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
    deadline = time.monotonic() + 60
    while not any(kept.glob("*.npy")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
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
    for command in ("match", "cluster", "train", "serve", "doctor"):
        assert command in answer.output
