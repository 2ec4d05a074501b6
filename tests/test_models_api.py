"""Models over HTTP: they come, are compared, take over, are taken back and go; and what is none does no harm."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from serving import refused, until_ready
from starlette.testclient import TestClient

from api.app import create_app
from api.service import Service
from api.settings import Settings
from embedder.bundle import DEFAULT, copy_bundle, load_bundle
from index.decision import Decision
from index.ledger import Label

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the operator has opened, with a model that accepts less, and one that points outside."""
    home = tmp_path_factory.mktemp("home")
    bundle = load_bundle()
    decision = bundle.read_json("decision.json")
    strict = decision | {"cluster_threshold": 0.9, "threshold": 0.9}
    copy_bundle(bundle, home / "open" / "strict", decision=strict, metrics={"row_f1": 0.5}, card="# strict")
    copy_bundle(bundle, home / "open" / "linked", decision=strict, metrics={}, card="x")
    (home / "secret").write_text("secret", encoding="utf-8")
    (home / "open" / "linked" / "README.md").unlink()
    (home / "open" / "linked" / "README.md").symlink_to(home / "secret")
    copy_bundle(bundle, home / "closed", decision=strict, metrics={}, card="x")
    return home / "open"


@pytest.fixture(scope="module")
def client(opened: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        catalog=SAMPLE, data=tmp_path_factory.mktemp("data"), threads=1, device="cpu", files=opened,
        max_upload_bytes=40_000_000,
    )  # fmt: skip
    with TestClient(create_app(settings), base_url="http://localhost", raise_server_exceptions=False) as client:
        until_ready(client)
        yield client


@pytest.fixture(scope="module")
def service(client: TestClient) -> Service:
    found: Service = client.app.state.shared.service  # type: ignore[attr-defined]
    return found


def zipped(folder: Path, **changed: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for path in folder.iterdir():
            file.writestr(f"model/{path.name}", changed.get(path.stem, path.read_bytes()))
    return data.getvalue()


def upload(client: TestClient, name: str, data: bytes, filename: str = "model.zip") -> Any:
    return client.post("/v1/models/upload", data={"name": name}, files={"file": (filename, data)})


def done(client: TestClient, response: Any) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = client.get(response.headers["location"]).json()
        if job["state"] not in ("queued", "running"):
            assert (job["state"], job["error"]) == ("done", None)
            result: dict[str, Any] = job["result"]
            return result
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_model_that_serves_is_on_the_shelf(client: TestClient, service: Service) -> None:
    told = client.get("/v1/models").json()
    assert (told["active"], told["before"], told["faults"]) == ("default", None, {})
    (model,) = told["items"]
    assert (model["name"], model["active"], model["outside"]) == ("default", True, True)
    assert model["fingerprint"] == service.encoder.fingerprint
    details = client.get("/v1/models/default").json()
    assert details["metrics"] == load_bundle().read_json("metrics.json")
    assert details["card"] == (DEFAULT / "README.md").read_text(encoding="utf-8")
    refused(client.get("/v1/models/none"), 404)


def test_a_model_takes_over_and_is_taken_back(client: TestClient, service: Service) -> None:
    made = client.post("/v1/models", json={"name": "strict", "folder": "strict"})
    assert (made.status_code, made.headers["location"]) == (201, "/v1/models/strict")
    assert (made.json()["active"], made.json()["metrics"]) == (False, {"row_f1": 0.5})
    refused(client.post("/v1/models", json={"name": "strict", "folder": "strict"}), 409)
    found = done(client, client.post("/v1/models/strict/compare"))["comparison"]
    assert found["items"] == 538
    assert found["new_clusters"] > found["old_clusters"]
    assert client.get("/v1/models").json()["active"] == "default"

    old = service.living
    told = done(client, client.post("/v1/models/strict/activate"))
    assert (told["took_over"], told["model"]) == (True, "strict")
    assert service.living is not old
    assert service.living.decision.cluster_threshold == 0.9
    assert client.get("/v1/model").json()["cluster_threshold"] == service.living.snapshot.cluster_threshold
    assert service.living.settle()
    listed = client.get("/v1/models").json()
    assert (listed["active"], listed["before"]) == ("strict", "default")
    assert not done(client, client.post("/v1/models/strict/activate"))["took_over"]
    refused(client.delete("/v1/models/strict"), 409)

    assert done(client, client.post("/v1/models/rollback"))["model"] == "default"
    shipped = Decision.of(load_bundle())
    assert service.living.decision.cluster_threshold == shipped.cluster_threshold
    assert client.get("/v1/model").json()["cluster_threshold"] == shipped.clusters_from(service.living.snapshot.shift)
    refused(client.post("/v1/models/rollback"), 409)
    assert service.living.settle()
    assert client.delete("/v1/models/strict").status_code == 204
    refused(client.delete("/v1/models/strict"), 404)
    refused(client.delete("/v1/models/default"), 409)
    page = client.get("/v1/activations?limit=2").json()
    assert [one["model"] for one in page["items"]] == ["default", "strict"]
    assert page["items"][0]["who"] == "anonymous"
    (first,) = client.get(f"/v1/activations?cursor={page['next_cursor']}").json()["items"]
    assert (first["model"], first["who"]) == ("default", "service")


def test_unknown_models_are_not_found(client: TestClient) -> None:
    for what in ("compare", "activate"):
        refused(client.post(f"/v1/models/none/{what}"), 404)
    refused(client.delete("/v1/models/none"), 404)


@pytest.mark.parametrize("folder", ["../closed", "linked", "none", "strict/config.json", "/etc", "..", "."])
def test_no_folder_leads_out_of_the_open_one(client: TestClient, opened: Path, folder: str) -> None:
    told = refused(client.post("/v1/models", json={"name": "x", "folder": folder}), 422)["detail"]
    assert str(opened.parent) not in told
    assert client.get("/v1/models").json()["faults"] == {}


@pytest.mark.parametrize("name", ["../x", ".x", "", "a/b", "x" * 65, "default"])
def test_a_model_needs_a_plain_name_of_its_own(client: TestClient, name: str) -> None:
    answer = client.post("/v1/models", json={"name": name, "folder": "strict"})
    refused(answer, 409 if name == "default" else 422)


def test_a_model_is_uploaded(client: TestClient, service: Service) -> None:
    before = set(service.runner.folder.iterdir())
    made = upload(client, "sent", zipped(DEFAULT))
    assert made.status_code == 201, made.text
    assert made.json()["digest"] == client.get("/v1/models/default").json()["digest"]
    refused(upload(client, "sent", b""), 409)
    wrong = (
        ("x", b"no zip file", "not a readable zip file"),
        ("x", zipped(DEFAULT, model=b"no model"), "not the one this bundle was written with"),
        ("../x", zipped(DEFAULT), "name '../x'"),
    )
    for name, data, words in wrong:
        assert words in refused(upload(client, name, data), 422)["detail"]
    refused(upload(client, "x", zipped(DEFAULT), "model.tar.gz"), 422)
    refused(upload(client, "x", b"x" * 50_000_000), 413)
    assert set(service.runner.folder.iterdir()) == before
    assert {one["name"] for one in client.get("/v1/models").json()["items"]} == {"default", "sent"}
    client.delete("/v1/models/sent")


def test_a_model_that_is_a_bomb_is_refused(client: TestClient) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.onnx", bytes(60_000_000))
    assert "holds more" in refused(upload(client, "x", data.getvalue()), 422)["detail"]


def test_labels_make_another_model(client: TestClient, service: Service) -> None:
    failed = client.post("/v1/jobs", json={"kind": "train", "what": "relearn", "name": "learnt"})
    deadline = time.monotonic() + 30
    while (job := client.get(failed.headers["location"]).json())["state"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "more called same" in job["error"]
    products: dict[str, list[str]] = {}
    for line in SAMPLE.read_text(encoding="utf-8").splitlines()[1:]:
        cells = line.rsplit(",", 2)
        products.setdefault(cells[1], []).append(line.split(",")[0])
    several = [items for items in products.values() if len(items) > 1]
    same = [Label(items[0], items[1], "same", "me") for items in several[:60]]
    other = [Label(one[0], two[0], "different", "me") for one, two in pairwise(several[:61])]
    service.catalog.labels.put([*same, *other])
    told = done(client, client.post("/v1/jobs", json={"kind": "train", "what": "relearn", "name": "learnt"}))
    assert told["verdict"] in ("better", "no clear difference", "worse", "unclear", "same")
    assert {"before", "after"} <= set(told["labelled"])
    names = {one["name"]: one for one in client.get("/v1/models").json()["items"]}
    assert ("learnt" in names) == (told["name"] == "learnt") == (told["verdict"] != "worse")
    again = client.post("/v1/jobs", json={"kind": "train", "what": "relearn", "name": "default"})
    refused(again, 409)
    assert json.dumps(told, allow_nan=False)
