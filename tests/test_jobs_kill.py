"""A job survives its service: killed while it works, started again, and its file is right."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
from conftest import ROOT
from test_children import until_gone

from embedder.encoder import Encoder
from index.matcher import Matcher
from index.tables import read_table

COUNT = 2_000
TITLES = [f"농심 상품 {n % 997} 번 {n} 호 신선한 대용량 {n * 7919} 묶음" for n in range(COUNT)]


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@contextmanager
def serving(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    command = [sys.executable, "-m", "api.cli", "serve", "--data", str(data), "--port", str(port), "--threads", "1"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DONGIL_")}
    process = subprocess.Popen(command, cwd=ROOT, env=kept, stderr=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            until(lambda: ready(client))
            yield process, client
        finally:
            process.kill()
            process.wait()


def ready(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/readyz").status_code == 200)
    except httpx.TransportError:
        return False


def until(seen: Any) -> Any:
    deadline = time.monotonic() + 90
    while not (value := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def worker_of(pid: int) -> int:
    """The process that works for a service."""
    for folder in Path("/proc").iterdir():
        try:
            told = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(told[1]) == pid and b"api.worker" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except (OSError, IndexError):
            continue
    return 0


def test_a_killed_service_goes_on_with_its_job(tmp_path: Path, encoder: Encoder) -> None:
    rows = "id,title\n" + "".join(f"{n},{title}\n" for n, title in enumerate(TITLES))
    with serving(tmp_path / "data") as (process, client):
        files = {"job": (None, '{"kind": "cluster"}', "application/json"), "file": ("items.csv", rows)}
        path = client.post("/v1/jobs/upload", files=files).headers["location"]
        until(lambda: client.get(path).json()["phase"] == "encode")
        worker = worker_of(process.pid)
        assert worker
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until_gone(worker)
    with serving(tmp_path / "data") as (process, client):
        job = until(lambda: job if (job := client.get(path).json())["state"] not in ("queued", "running") else None)
        assert (job["state"], job["error"], job["files"]) == ("done", None, ["clusters.csv"])
        (tmp_path / "clusters.csv").write_bytes(client.get(f"{path}/files/clusters.csv?exact=true").content)
        process.terminate()
        process.wait(30)
    found = read_table(tmp_path / "clusters.csv").columns
    ids = [str(n) for n in range(COUNT)]
    assert (found["id"], found["title"]) == (ids, TITLES)
    assert found["cluster_id"] == Matcher.from_items(ids, TITLES, encoder, device="cpu").cluster()
