"""Figures for Prometheus: what was answered, what waits, what stands in the catalogue, and who may read them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from serving import KEY, lent, refused, serving
from starlette.testclient import TestClient

import api.app
from api.app import create_app
from api.service import Service, load_service
from api.settings import Settings
from index.listings import Item


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings())
    loaded.catalog.put([Item("a", "농심 신라면 120g 5개입"), Item("b", "Nintendo Switch OLED White")])
    assert loaded.living.follow() and loaded.living.settle()
    yield loaded
    loaded.close()


def figures(client: TestClient, **how: Any) -> dict[tuple[str, ...], float]:
    """Every figure by its name and its labels' values, in the order of the labels' names."""
    response = client.get("/metrics", **how)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {
        (s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for family in families for s in family.samples
    }


def test_requests_are_counted_by_route_and_status(service: Service) -> None:
    with serving(service) as client:
        for path in ("/v1/model", "/v1/model", "/nowhere", "/v1/items/none?q=title"):
            client.get(path)
        client.post("/v1/match", json={"titles": ["a"]})
        client.post("/v1/match", json={})
        client.request("BREW", "/v1/model")
        told = figures(client)
    count = "dongil_requests_total"
    assert told[count, "GET", "/v1/model", "200"] == 2
    assert told[count, "GET", "none", "404"] == 1
    assert told[count, "GET", "/v1/items/{id:text}", "404"] == 1
    assert (told[count, "POST", "/v1/match", "200"], told[count, "POST", "/v1/match", "422"]) == (1, 1)
    assert told[count, "other", "/v1/model", "405"] == 1
    assert told["dongil_request_seconds_count", "/v1/match"] == 2
    assert told["dongil_requests_in_flight",] == 1  # the one that asks
    assert told["process_resident_memory_bytes",] > 1e7


def test_what_stands_is_told(service: Service) -> None:
    with serving(service) as client:
        before = figures(client)
        client.post("/v1/match", json={"titles": ["제주 삼다수 2L", "b"]})
        after = figures(client)
    encoder = service.encoder
    assert (after["dongil_loaded",], after["dongil_items",]) == (1, 2)
    assert after["dongil_revision",] == service.living.snapshot.revision
    assert after["dongil_model_info", encoder.bundle.config.architecture, encoder.fingerprint] == 1
    encoded = "dongil_titles_encoded_total", encoder.fingerprint
    assert after[encoded] - before[encoded] == after["dongil_titles_matched_total",] == 2
    assert after["dongil_background_trouble",] == 0
    assert after["dongil_queue_length", "compute"] == after["dongil_queue_length", "store"] == 0


def test_jobs_are_told_by_their_state(service: Service) -> None:
    service.runner.close()  # so that nobody takes them
    done, _ = service.catalog.jobs.create("cluster", {}), service.catalog.jobs.create("cluster", {})
    service.catalog.jobs.cancel(done.id)
    assert service.catalog.jobs.tally() == {"cancelled": 1, "queued": 1}
    with serving(service) as client:
        told = figures(client)
    assert (told["dongil_jobs", "cancelled"], told["dongil_jobs", "queued"]) == (1, 1)


def test_work_that_waits_is_told(service: Service) -> None:
    gate, started = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        assert gate.wait(20)

    with serving(service, settings=Settings(max_concurrency=1)) as client, ThreadPoolExecutor(2) as callers:
        given: Service = client.app.state.shared.service  # type: ignore[attr-defined]
        assert client.portal is not None
        futures = [callers.submit(client.portal.call, given.line.run, work) for _ in range(2)]
        try:
            assert started.wait(20)
            while given.line.taken < 2:
                pass
            assert figures(client)["dongil_queue_length", "compute"] == 2
        finally:
            gate.set()
        assert [future.result(20) for future in futures] == [None, None]


def test_figures_are_told_while_loading(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    gate = threading.Event()

    def load(*_: object) -> Service:
        assert gate.wait(20)
        return lent(service, Settings())

    monkeypatch.setattr(api.app, "load_service", load)
    with TestClient(create_app(Settings())) as client:
        told = figures(client)
        assert told["dongil_loaded",] == 0 and ("dongil_items",) not in told
        gate.set()


ELSEWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(("host", "closed"), [("127.0.0.1", False), (ELSEWHERE, True)])
def test_elsewhere_figures_need_a_key(service: Service, host: str, closed: bool) -> None:
    with serving(service, settings=Settings(host=host, api_key=SecretStr(KEY))) as client:
        if closed:
            refused(client.get("/metrics"), 401)
        else:
            assert figures(client)
        assert figures(client, headers={"authorization": f"Bearer {KEY}"})


def test_openmetrics_is_spoken_to_who_asks_for_it(service: Service) -> None:
    with serving(service) as client:
        response = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_callers_make_no_labels(service: Service) -> None:
    paths: Sequence[str] = [f"/v1/items/{n}" for n in range(20)] + [f"/x{n}" for n in range(20)]
    with serving(service) as client:
        for path in paths:
            client.get(path)
        told = figures(client)
    assert not [labels for labels in told if any(path in labels for path in paths)]
