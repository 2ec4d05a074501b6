"""Jobs over HTTP: asked for, watched, stopped, taken home; and files of strangers that do no harm."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from pydantic import SecretStr
from serving import KEY, refused, until_ready
from starlette.testclient import TestClient

import api.orders
from api.app import create_app
from api.runner import Interrupted, Told
from api.service import Service
from api.settings import Settings
from api.tasks import Tasks
from embedder.encoder import Encoder
from index.ledger import Job
from index.matcher import Matcher
from index.tables import read_table

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"
LIMIT = 2_000_000
ROWS = (
    "id,title,price\n"
    "1,농심 신라면 120g 5개입,4280\n"
    "2,[무료배송] 농심 신라면 120g 5개입,4300\n"
    "3,=HYPERLINK(1),1\n"
    "4,Nintendo Switch OLED White,-5\n"
)
TITLES = [line.split(",")[1] for line in ROWS.splitlines()[1:]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files jobs may read, beside one with secrets."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "open"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "items.csv").write_text(ROWS, encoding="utf-8")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    (home / "secret.csv").write_text(ROWS, encoding="utf-8")
    (folder / "out.csv").symlink_to(home / "secret.csv")
    (folder / "up").symlink_to(home)
    (folder / "round.csv").symlink_to(folder / "round.csv")
    (folder / "inside.csv").symlink_to(folder / "deep" / "items.csv")
    os.mkfifo(folder / "pipe.csv")
    return folder


@pytest.fixture(scope="module")
def client(opened: Path) -> Iterator[TestClient]:
    settings = Settings(catalog=SAMPLE, threads=1, device="cpu", files=opened, max_upload_bytes=LIMIT)
    app = create_app(settings)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        until_ready(client)
        yield client


@pytest.fixture(scope="module")
def service(client: TestClient) -> Service:
    found: Service = client.app.state.shared.service  # type: ignore[attr-defined]
    return found


def upload(client: TestClient, job: Mapping[str, Any], data: bytes | str, name: str = "items.csv", **more: Any) -> Any:
    files = {"job": (None, json.dumps(job), "application/json"), "file": (name, data)}
    return client.post("/v1/jobs/upload", files=files, **more)


def ended(client: TestClient, response: Any) -> dict[str, Any]:
    """A job that was just asked for, when it has ended."""
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = client.get(response.headers["location"]).json()
        if job["state"] not in ("queued", "running"):
            return job
        assert time.monotonic() < deadline
        time.sleep(0.02)


def table(client: TestClient, job: Mapping[str, Any], name: str, folder: Path) -> dict[str, list[Any]]:
    response = client.get(f"/v1/jobs/{job['id']}/files/{name}?exact=true")
    assert response.status_code == 200
    (folder / name).write_bytes(response.content)
    return read_table(folder / name).columns


def left(service: Service) -> set[str]:
    return {path.name for path in service.runner.folder.iterdir()}


# What jobs do


def test_a_file_is_clustered(client: TestClient, encoder: Encoder, tmp_path: Path) -> None:
    job = ended(client, upload(client, {"kind": "cluster", "threshold": 0.3}, ROWS))
    assert (job["state"], job["error"], job["files"]) == ("done", None, ["clusters.csv"])
    assert (job["result"]["items"], job["result"]["threshold"]) == (4, 0.3)
    names = Matcher.from_items(["1", "2", "3", "4"], TITLES, encoder, device="cpu").cluster(0.3)
    found = table(client, job, "clusters.csv", tmp_path)
    assert found == {"id": list("1234"), "title": TITLES, "price": ["4280", "4300", "1", "-5"], "cluster_id": names}
    sheet = client.get(f"/v1/jobs/{job['id']}/files/clusters.csv").text
    assert "3,`=HYPERLINK(1)," in sheet
    assert "White,-5," in sheet


def test_the_format_may_be_another_one(client: TestClient, tmp_path: Path) -> None:
    asked = {"kind": "cluster", "format": "parquet", "one_per": "price"}
    job = ended(client, upload(client, asked, ROWS.replace("4300", "4280")))
    assert job["files"] == ["clusters.parquet"]
    assert len(set(table(client, job, "clusters.parquet", tmp_path)["cluster_id"])) == 4


def test_a_file_is_matched_with_the_catalogue(client: TestClient, service: Service, tmp_path: Path) -> None:
    asked = {"kind": "match", "k": 3, "near_misses": 1}
    job = ended(client, upload(client, asked, ROWS.replace(",", "\t"), "q.tsv"))
    assert job["state"] == "done", job["error"]
    found = table(client, job, "matches.tsv", tmp_path)
    reply = service.living.answer(TITLES, k=3, near_misses=1)
    told = [
        (query, match.id, f"{round(match.probability, 6)}", "true" if match in answer.matches else "false")
        for query, answer in zip("1234", reply.answers, strict=True)
        for match in (*answer.matches, *answer.near_misses)
    ]
    columns = ("query_id", "item_id", "probability", "accepted")
    assert list(zip(*(found[name] for name in columns), strict=True)) == told
    assert job["result"]["matches"] == found["accepted"].count("true")
    assert job["result"]["revision"] <= reply.revision


def test_items_are_imported_and_others_removed(client: TestClient) -> None:
    lines = [
        {"id": f"new {n}", "title": f"농심 신라면 {n}호", "판매자": "마트", "price": n, "note": ""} for n in (1, 2)
    ]
    data = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    before = client.get("/v1/items?limit=1000").json()["items"]
    job = ended(client, upload(client, {"kind": "import"}, data, "new.jsonl"))
    assert job["state"] == "done", job["error"]
    assert {name: job["result"][name] for name in ("rows", "created", "updated", "unchanged", "deleted")} == {
        "rows": 2, "created": 2, "updated": 0, "unchanged": 0, "deleted": 0,
    }  # fmt: skip
    item = client.get("/v1/items/new%201").json()
    assert (item["title"], item["seller"], item["extra"]) == ("농심 신라면 1호", "마트", {"price": 1})
    changed = ended(client, upload(client, {"kind": "import", "seller_column": "title"}, data, "new.jsonl"))
    assert changed["result"]["updated"] == 2
    job = ended(client, upload(client, {"kind": "import", "delete_missing": True}, data, "new.jsonl"))
    assert job["result"]["deleted"] == len(before)
    assert {item["id"] for item in client.get("/v1/items").json()["items"]} == {"new 1", "new 2"}
    client.put("/v1/items", json={"items": [{"id": item["id"], "title": item["title"]} for item in before]})


def test_an_import_that_was_stopped_goes_on(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.tasks._CHUNK", 2)
    (tmp_path / "input.csv").write_text(ROWS.replace("\n", "\nx", 4), encoding="utf-8")
    request = {"kind": "import", "upload": {"stored": "input.csv", "name": "a.csv"}, "delete_missing": False}
    job = Job("j", "import", "running", "", 0, 0, request, {}, None, False, 0, None, 0, None, 0)

    class StopsAt(Told):
        at: int | None = None

        def __call__(self, phase: str, done: int, total: int) -> None:
            super().__call__(phase, done, total)
            if phase == "import" and done == self.at:
                raise Interrupted

    told = StopsAt(lambda _: None, threading.Event())
    told.at = 2
    with pytest.raises(Interrupted):
        Tasks(service)(job, tmp_path, told)
    assert service.catalog.get("x1") is not None
    assert service.catalog.get("x3") is None
    service.catalog.delete(["x1"])  # somebody else's wish, which going on does not undo
    found = Tasks(service)(job, tmp_path, Told(lambda _: None, threading.Event()))
    assert (found["rows"], found["created"], found["unchanged"]) == (4, 4, 0)
    assert service.catalog.get("x1") is None
    assert service.catalog.get("x4") is not None
    service.catalog.delete(["x2", "x3", "x4"])
    service.living.follow()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("id,title\n" + "x" * 300 + ",a\n", "line 2: id is"),
        ("id,title\n1,a\n1,b\n", "line 3, column id: id '1' stands on line 2 too"),
        ("id,title,seller\n1,a," + "s" * 300 + "\n", "line 2: seller is"),
        ("id,title\n1,\n", "line 2, column title: blank title"),
        ("what,ever\n1,2\n", "no title column"),
        ("title\na\n", "no id column"),
        ("", "empty"),
        ("id,title\n1,\xff\n".encode("latin-1"), "not valid UTF-8"),
    ],
)
def test_rows_that_cannot_be_imported_change_nothing(client: TestClient, rows: str | bytes, words: str) -> None:
    def there() -> dict[str, str]:  # not where items stand: clusters go on moving in the background
        return {item["id"]: item["title"] for item in client.get("/v1/items?limit=1000").json()["items"]}

    before = there()
    job = ended(client, upload(client, {"kind": "import"}, rows))
    assert job["state"] == "failed"
    assert words in job["error"]
    assert job["error"].startswith("items.csv")
    assert there() == before


def test_the_catalogue_is_made_anew(client: TestClient) -> None:
    job = ended(client, client.post("/v1/jobs", json={"kind": "rebuild"}))
    assert (job["state"], job["result"]["moved"]) == ("done", 0)


def test_a_benchmark_is_a_report(client: TestClient) -> None:
    for name in ("sklearn", "scipy", "matplotlib", "jinja2"):
        pytest.importorskip(name)
    data = "title,cluster_id\n" + "".join(f"상품 {n} 번 {side},{n}\n" for n in range(40) for side in "가나")
    job = ended(client, upload(client, {"kind": "benchmark"}, data))
    assert job["state"] == "done", job["error"]
    assert {"index.html", "recall.json", "curves.png"} <= set(job["files"])
    assert job["result"]["models"][0]["name"] == "active"
    page = client.get(f"/v1/jobs/{job['id']}/files/index.html")
    assert page.headers["content-disposition"].startswith("attachment")
    values = client.get(f"/v1/jobs/{job['id']}/files/recall.json").json()
    assert values["set"]["name"] == "items"


# What is asked wrongly


def test_what_cannot_be_done_is_refused_before_it_is_queued(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left(service)
    monkeypatch.setattr(api.orders, "find_spec", lambda _: None)
    for asked, words in (
        ({"kind": "train", "what": "encoder"}, "pip install 'dongil[train]'"),
        ({"kind": "benchmark", "file": "deep/items.csv"}, "pip install 'dongil[bench]'"),
        ({"kind": "cluster"}, "without a file"),
        ({"kind": "cluster", "file": "deep/items.csv", "min_precision": 0.9999}, "0.9999"),
        ({"kind": "compare", "model": "none"}, "no model 'none'"),
        ({"kind": "activate", "model": "none"}, "no model 'none'"),
    ):
        assert words in refused(client.post("/v1/jobs", json=asked), 422)["detail"]
    assert "no model was at work" in refused(client.post("/v1/jobs", json={"kind": "rollback"}), 409)["detail"]
    assert "a file came" in refused(upload(client, {"kind": "rebuild"}, ROWS), 422)["detail"]
    assert "a file came" in refused(upload(client, {"kind": "cluster", "file": "x.csv"}, ROWS), 422)["detail"]
    assert "is no JSON" in refused(client.post("/v1/jobs/upload", files={"file": ("a.csv", ROWS)}), 422)["detail"]
    (fault,) = refused(upload(client, {"kind": "cluster", "threshold": 0}, ROWS), 422)["errors"]
    assert fault["location"] == "#/job/threshold"
    (fault,) = refused(client.post("/v1/jobs", json={"kind": "match", "k": 0}), 422)["errors"]
    assert fault["location"] == "#/k"
    (fault,) = refused(client.post("/v1/jobs", json={"kind": "activate"}), 422)["errors"]
    assert fault["location"] == "#/model"
    assert left(service) == before


@pytest.mark.parametrize(
    "name",
    [
        "../secret.csv", "deep/../../secret.csv", "out.csv", "up/secret.csv", "round.csv", "pipe.csv", "deep",
        "none.csv", "notes.txt", "/etc/passwd", "deep/items.csv\0.csv", "a" * 900, "deep/items.csv/x",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_open_folder(client: TestClient, opened: Path, name: str) -> None:
    detail = refused(client.post("/v1/jobs", json={"kind": "cluster", "file": name}), 422)["detail"]
    assert str(opened.parent) not in detail


def test_files_in_the_open_folder_are_read(client: TestClient) -> None:
    job = ended(client, client.post("/v1/jobs", json={"kind": "cluster", "file": "inside.csv"}))
    assert (job["state"], job["result"]["items"]) == ("done", 4)


def test_no_folder_is_open_unless_one_is_named() -> None:
    with pytest.raises(ValueError, match="DONGIL_FILES"):
        api.orders.allowed_file(None, "items.csv")


# What would do harm


def test_an_upload_that_is_too_large_leaves_nothing(client: TestClient, service: Service) -> None:
    before = left(service)
    assert "2000000 bytes" in refused(upload(client, {"kind": "cluster"}, b"x" * (LIMIT + 1)), 413)["detail"]
    huge = upload(client, {"kind": "cluster"}, b"x" * (4 * LIMIT))
    refused(huge, 413)
    refused(upload(client, {"kind": "cluster"}, ROWS, "items.csv.gz"), 422)
    refused(upload(client, {"kind": "cluster"}, ROWS, headers={"content-encoding": "gzip"}), 415)
    assert left(service) == before
    assert all(service.runner.places.acquire(blocking=False) for _ in range(4))
    assert "uploads are under way" in refused(upload(client, {"kind": "cluster"}, ROWS), 503)["detail"]
    service.runner.places.release(4)


def test_a_bomb_harms_its_worker_alone(client: TestClient, tmp_path: Path) -> None:
    rows = 3_000
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * (1 << 20)]))
    columns = pa.table({"id": [str(row) for row in range(rows)], "title": long})
    pq.write_table(columns, tmp_path / "bomb.parquet", compression="zstd")
    data = (tmp_path / "bomb.parquet").read_bytes()
    assert len(data) < 200_000
    job = ended(client, upload(client, {"kind": "import"}, data, "bomb.parquet"))
    assert job["error"] in (
        "bomb.parquet: holds over 1,024 MiB when unpacked; expected less",
        "bomb.parquet: it takes too much memory to read; expected a smaller file",
    )
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.parquet", b"PAR1" + bytes(50) + b"PAR1"),
        ("x.parquet", b"id,title"),
        ("x.csv", b"\x1f\x8b\x08" + bytes(60)),
        ("x.jsonl", b'{"a":' * 100_000),
    ],
)
def test_rubbish_fails_its_job_alone(client: TestClient, name: str, data: bytes) -> None:
    job = ended(client, upload(client, {"kind": "import"}, data, name))
    assert job["state"] == "failed"
    assert job["error"].startswith(name)


def test_without_a_key_nobody_sends_anything(opened: Path, client: TestClient) -> None:
    shared = client.app.state.shared  # type: ignore[attr-defined]
    app = create_app(Settings(api_key=SecretStr(KEY)))
    app.state.shared.service = shared.service
    closed = TestClient(app, base_url="http://localhost")
    refused(upload(closed, {"kind": "cluster"}, ROWS), 401)
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/x"), ("DELETE", "/v1/jobs/x")):
        refused(closed.request(method, path), 401)


# The life of a job


def test_a_job_that_runs_is_stopped(client: TestClient, service: Service) -> None:
    rows = "id,title\n" + "".join(f"{n},상품 {n} 번 {n * 7919} 호 신선한 대용량\n" for n in range(20_000))
    response = upload(client, {"kind": "cluster"}, rows)
    path = response.headers["location"]
    seen = list[dict[str, Any]]()
    deadline = time.monotonic() + 60
    while not seen or seen[-1]["phase"] != "encode" or not seen[-1]["done"]:
        assert time.monotonic() < deadline
        seen.append(client.get(path).json())
        time.sleep(0.02)
    refused(client.delete(path), 409)
    waiting = upload(client, {"kind": "cluster"}, ROWS).headers["location"]
    assert client.post(f"{waiting}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{path}/cancel").json()["cancelling"]
    started = time.monotonic()
    assert ended(client, response)["state"] == "cancelled"
    assert time.monotonic() - started < 10
    refused(client.post(f"{path}/cancel"), 409)
    id = path.rpartition("/")[2]
    refused(client.get(f"{path}/files/clusters.csv"), 404)
    assert client.delete(path).status_code == 204
    assert id not in left(service)
    refused(client.get(path), 404)
    refused(client.delete(path), 404)
    refused(client.post(f"{path}/cancel"), 404)
    for earlier, later in pairwise(seen):
        assert later["phase"] != earlier["phase"] or later["done"] >= earlier["done"]


def test_the_same_key_and_file_make_one_job(client: TestClient, service: Service) -> None:
    key = {"Idempotency-Key": "k1"}
    first = upload(client, {"kind": "cluster"}, ROWS, headers=key)
    folders = left(service)
    assert upload(client, {"kind": "cluster"}, ROWS, headers=key).json()["id"] == first.json()["id"]
    refused(upload(client, {"kind": "cluster"}, ROWS + "5,x,1\n", headers=key), 409)
    assert left(service) == folders
    ended(client, first)


def test_only_what_a_job_made_is_handed_out(client: TestClient) -> None:
    job = ended(client, upload(client, {"kind": "cluster"}, ROWS))
    for name in ("input.csv", "worker.log", "..%2Finput.csv", "%2e%2e/input.csv", ".lock", "clusters.csv%00", "x"):
        assert client.get(f"/v1/jobs/{job['id']}/files/{name}").status_code in (404, 422)


def test_jobs_are_listed_newest_first(client: TestClient) -> None:
    ids = [ended(client, client.post("/v1/jobs", json={"kind": "rebuild"}))["id"] for _ in range(2)]
    first = client.get("/v1/jobs?limit=1").json()
    second = client.get(f"/v1/jobs?limit=1&cursor={first['next_cursor']}").json()
    assert [first["items"][0]["id"], second["items"][0]["id"]] == ids[::-1]
    assert {job["state"] for job in client.get("/v1/jobs?state=failed").json()["items"]} <= {"failed"}
    refused(client.get("/v1/jobs?state=odd"), 422)
    refused(client.get("/v1/jobs?cursor=odd"), 422)
