"""What was acknowledged is there after ``kill -9``, once and whole; and after a power failure that lost the log's end.

A child writes batches and says before each what it tries and after each that it was done. The parent kills it at a
random moment, opens the catalogue and holds it against what was said: all that was acknowledged, and of the last
thing that was tried all or nothing. DONGIL_TEST_KILLS sets how many children die.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from conftest import ROOT

from index.catalog import Catalog
from index.ledger import Label
from index.listings import Item
from index.store import FILE

KILLS = int(os.environ.get("DONGIL_TEST_KILLS", "20"))
AFTER = 0.12  # seconds in which a child dies once it is at work
Step = dict[str, Any]
State = dict[str, dict[str, Any]]


def drawn(draw: random.Random, name: str) -> Iterator[Step]:
    """Steps without end: batches of items with labels and clusters on them, deletions, and jobs at every stage."""
    items: list[str] = []
    for number in range(1_000_000):
        kind = draw.choice(["put", "put", "put", "delete", "label", "job", "work"])
        if kind == "put":
            new = [f"{name}-{number}-{n}" for n in range(draw.randint(1, 40))]
            batch = [*new, *draw.sample(items, min(len(items), 3))]
            items += new
            yield {"put": {id: f"title {number} of {id}" for id in batch}, "cluster": f"{name}-{number}"}
        elif kind == "delete" and len(items) > 50:
            yield {"delete": [items.pop(draw.randrange(len(items))) for _ in range(draw.randint(1, 5))]}
        elif kind == "label" and len(items) > 2:
            left, right = sorted(draw.sample(items, 2))
            yield {"label": [left, right, draw.choice(["same", "different", "skip"])]}
        elif kind == "job":
            yield {"job": f"{name}-{number}"}
        elif kind == "work":
            yield {"work": f"{name}-{number}"}


def act(catalog: Catalog, step: Step) -> None:
    """Do a step in one transaction."""
    if "put" in step:
        with catalog.transaction():
            catalog.put([Item(id, title) for id, title in step["put"].items()])
            catalog.clusters.move(dict.fromkeys(step["put"], step["cluster"]), "found", "child")
    elif "delete" in step:
        catalog.delete(step["delete"])
    elif "label" in step:
        left, right, verdict = step["label"]
        catalog.labels.put([Label(left, right, verdict, "child")])
    elif "job" in step:
        catalog.jobs.create(step["job"], {}, idempotency_key=step["job"])
    elif "work" in step:
        with catalog.transaction():
            if job := catalog.jobs.claim():
                catalog.jobs.end(job.id, result={"by": step["work"]})


def expect(state: State, step: Step) -> None:
    """What a step does to what is there, on dictionaries."""
    if "put" in step:
        state["items"] |= {id: [title, step["cluster"]] for id, title in step["put"].items()}
    elif "delete" in step:
        for id in step["delete"]:
            del state["items"][id]
    elif "label" in step:
        left, right, verdict = step["label"]
        state["labels"][f"{left} {right}"] = verdict
    elif "job" in step:
        state["jobs"][step["job"]] = ["queued", {}]
    elif waiting := [kind for kind, (stage, _) in state["jobs"].items() if stage == "queued"]:
        state["jobs"][waiting[0]] = ["done", {"by": step["work"]}]


def found(catalog: Catalog) -> State:
    with catalog.snapshot():
        items = {item.id: [item.title, item.cluster] for item in catalog.page(limit=1_000_000).items}
        labels = {f"{label.left} {label.right}": label.verdict for label in catalog.labels.page(limit=1_000_000)[0]}
        jobs = catalog.jobs.page(limit=1_000_000)[0][::-1]
        assert len({job.kind for job in jobs}) == len(jobs), "no job twice"
        with catalog._store.read() as (connection, _):
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            sizes = "SELECT cluster, count(*) FROM items GROUP BY cluster EXCEPT SELECT id, size FROM clusters"
            assert connection.execute(sizes).fetchall() == []
    return {"items": items, "labels": labels, "jobs": {job.kind: [job.state, dict(job.result)] for job in jobs}}


def start(folder: Path, number: int, said: TextIO) -> subprocess.Popen[str]:
    """A child that waits for a line before it opens the catalogue, so that it is loaded when it is needed."""
    command = [sys.executable, __file__, str(folder), str(number)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, text=True, env=environment)


def kill_at_work(child: subprocess.Popen[str], log: Path, draw: random.Random) -> None:
    """Kill a child; one in five at any moment from its opening on, the rest when it has begun to write."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    early, patience = draw.random() < 0.2, time.monotonic() + 60
    while not early and not log.stat().st_size and time.monotonic() < patience:
        assert child.poll() is None
        time.sleep(0.001)
    time.sleep(draw.uniform(0, AFTER))
    child.send_signal(signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL
    child.stdin.close()


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    draw, folder = random.Random(0), tmp_path / "data"
    state: State = {"items": {}, "labels": {}, "jobs": {}}
    done, slowest = 0, 0.0
    logs = [tmp_path / f"{number}.jsonl" for number in range(KILLS)]
    children: list[subprocess.Popen[str]] = []
    try:
        for number, log in enumerate(logs):
            for ahead in range(len(children), min(number + 3, KILLS)):
                with logs[ahead].open("w") as said:
                    children.append(start(folder, ahead, said))
            kill_at_work(children[number], log, draw)
            steps = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
            tried, acknowledged = [step for step in steps if step], steps.count({})
            assert len(tried) - acknowledged in (0, 1)
            for step in tried[:acknowledged]:
                expect(state, step)
            perhaps = copy.deepcopy(state)
            for step in tried[acknowledged:]:
                expect(perhaps, step)
            begun = time.monotonic()
            with Catalog.open(folder) as catalog:
                slowest = max(slowest, time.monotonic() - begun)
                here = found(catalog)
            assert here in (state, perhaps)
            state, done = here, done + acknowledged
    finally:
        for child in children:
            child.kill()
            child.communicate()
    print(f"{KILLS} kills, {done} acknowledged steps, {len(state['items'])} items; opened in {slowest:.3f} s at most")
    assert done > KILLS
    assert slowest < 5


@pytest.mark.parametrize("garbage", [b"", b"\x5a" * 5_000])
def test_a_lost_end_of_the_log_loses_whole_steps(tmp_path: Path, garbage: bytes) -> None:
    steps = drawn(random.Random(1), "p")
    state: State = {"items": {}, "labels": {}, "jobs": {}}
    states = [copy.deepcopy(state)]
    with Catalog.open(tmp_path / "data") as catalog:
        wal = catalog.folder / f"{FILE}-wal"
        begun = wal.stat().st_size
        for step, _ in zip(steps, range(40), strict=False):
            act(catalog, step)
            expect(state, step)
            states.append(copy.deepcopy(state))
        draw, reached = random.Random(0), set[int]()
        for number in range(25):
            folder = shutil.copytree(catalog.folder, tmp_path / f"{number}", ignore=shutil.ignore_patterns("*-shm"))
            lost = folder / wal.name
            lost.write_bytes(lost.read_bytes()[: draw.randint(begun, wal.stat().st_size)] + garbage)
            with Catalog.open(folder) as copied:
                reached.add(states.index(found(copied)))
    assert len(reached) > 10


def main(folder: str, number: str) -> None:
    sys.stdin.readline()
    with Catalog.open(folder) as catalog:
        for step in drawn(random.Random(int(number)), number):
            print(json.dumps(step), flush=True)
            act(catalog, step)
            print("{}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
