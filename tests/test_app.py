"""The service as its callers see it: answers, limits, problems, load, start and end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import TestClient

import api.app
from api.app import Line, Service, create_app, load_service
from api.problems import MEDIA_TYPE, Problem
from api.schemas import MAX_K, MAX_MATCHES, MAX_TITLES
from api.settings import Settings
from index.decision import Promise
from index.items import MAX_TITLE_BYTES, read_items
from index.matcher import Matcher

SAMPLE = Path(__file__).resolve().parent.parent / "api" / "sample" / "catalog.csv"
KEY = "0123456789abcdef"
JSON = {"content-type": "application/json"}
TITLES = ["농심 너구리 얼큰한맛 120g 5개입", "Nintendo Switch OLED Model White", "🎉✨"]
ITEMS = [
    {"id": "b", "title": "농심 너구리 120g 5개입"},
    {"id": "🎉", "title": "🎉"},
    {"id": "c", "title": "Nintendo Switch OLED"},
    {"id": "a", "title": "농심 너구리 120g 5개입 [무료배송]"},
]


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("DONGIL_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def service(clean_environment: None) -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE))
    yield loaded
    loaded.line.close()


@pytest.fixture(scope="session")
def matcher(service: Service) -> Matcher:
    assert service.matcher is not None
    return service.matcher


@contextmanager
def serving(service: Service, *, matcher: Any = None, settings: Settings | None = None) -> Iterator[TestClient]:
    """A client of an app that is given what another one has loaded."""
    settings = settings or service.settings
    given = replace(
        service, matcher=matcher, settings=settings, line=Line(settings.max_concurrency, settings.max_queue)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.app, "load_service", lambda *_: given)
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            until_ready(client)
            patch.undo()
            yield client


def until_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 20
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="session")
def client(service: Service, matcher: Matcher) -> Iterator[TestClient]:
    with serving(service, matcher=matcher) as client:
        yield client


def refused(response: Any, status: int) -> dict[str, Any]:
    """The problem in an answer, which must be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    content: dict[str, Any] = response.json()
    problem = Problem.model_validate(content, strict=True, extra="forbid")
    assert (problem.type, problem.status) == ("about:blank", status)
    assert len(response.text) < 8_000
    return content


# Answers


@pytest.mark.parametrize("asked", [{}, {"k": 1}, {"k": 1000, "threshold": 0.5}, {"threshold": 0}, {"threshold": 1}])
def test_match_answers_what_the_matcher_answers(client: TestClient, matcher: Matcher, asked: dict[str, Any]) -> None:
    answer = client.post("/v1/match", json={"titles": TITLES, **asked}).json()
    expected = matcher.match(TITLES, **asked)
    assert [result["title"] for result in answer["results"]] == TITLES
    assert [result["matches"] for result in answer["results"]] == [[asdict(m) for m in found] for found in expected]
    assert answer["model"] == {
        "fingerprint": matcher.encoder.fingerprint,
        "decision": "threshold" if "threshold" in asked else "expected F1",
        "threshold": asked.get("threshold"),
    }


def test_near_misses_are_told_where_they_are_asked_for(client: TestClient, matcher: Matcher) -> None:
    asked = {"titles": TITLES, "k": 2}
    plain, explained = (client.post("/v1/match", json=asked | more).json() for more in ({}, {"explain": True}))
    expected = matcher.answer(TITLES, k=2, near_misses=3)
    for result, short, answer in zip(explained["results"], plain["results"], expected, strict=True):
        assert list(short) == ["title", "matches"]
        assert result["matches"] == short["matches"] == [asdict(match) for match in answer.matches]
        assert result["near_misses"] == [asdict(miss) for miss in answer.near_misses]
    assert any(result["near_misses"] for result in explained["results"])


PROMISE = Promise(0.9, 0.6, 0.7, "precision of at least 0.9 is proven with 95 % confidence: 95 of 100 pairs are right")


@pytest.fixture(scope="module")
def proven(service: Service, matcher: Matcher) -> Iterator[TestClient]:
    """A service whose model has proven a precision of .9 from a probability of .6 on."""
    decision = replace(matcher.decision, promises=(PROMISE,))
    given = Matcher(matcher.encoder, decision, matcher.ids, matcher.titles, matcher.scene)
    with serving(replace(service, decision=decision), matcher=given) as client:
        yield client


@pytest.mark.parametrize("precision", [0.5, 0.9])
def test_a_proven_precision_decides_and_says_so(proven: TestClient, precision: float) -> None:
    used = {"decision": "threshold", "threshold": 0.6, "proof": PROMISE.words}
    for path, asked in (("/v1/match", {"titles": TITLES, "k": 50}), ("/v1/cluster", {"items": ITEMS})):
        answer = proven.post(path, json=asked | {"min_precision": precision}).json()
        by_threshold = proven.post(path, json=asked | {"threshold": 0.6}).json()
        assert answer.pop("model").items() >= used.items()
        assert "proof" not in by_threshold.pop("model")
        assert answer == by_threshold
    (promise,) = proven.get("/v1/model").json()["promises"]
    assert promise == vars(PROMISE)


def test_a_precision_that_is_not_proven_is_a_problem(proven: TestClient) -> None:
    for path, asked in (("/v1/match", {"titles": TITLES}), ("/v1/cluster", {"items": ITEMS})):
        detail = refused(proven.post(path, json=asked | {"min_precision": 0.95}), 422)["detail"]
        assert "min precision is 0.95" in detail and "up to 0.9" in detail
        both = proven.post(path, json=asked | {"min_precision": 0.9, "threshold": 0.5})
        (fault,) = refused(both, 422)["errors"]
        assert fault["expected"] == "a threshold or a min_precision, not both"
        for wrong in (0, 1, 1.5, "0.9"):
            assert refused(proven.post(path, json=asked | {"min_precision": wrong}), 422)["errors"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "0.5"])
def test_a_threshold_is_a_probability(client: TestClient, threshold: Any) -> None:
    for path, asked in (("/v1/match", {"titles": TITLES}), ("/v1/cluster", {"items": ITEMS})):
        (fault,) = refused(client.post(path, json=asked | {"threshold": threshold}), 422)["errors"]
        assert fault["location"] == "#/threshold"


def test_a_title_of_emoji_has_no_matches(client: TestClient) -> None:
    (result,) = client.post("/v1/match", json={"titles": ["🎉✨"], "threshold": 0}).json()["results"]
    assert result == {"title": "🎉✨", "matches": []}


@pytest.mark.parametrize("asked", [{}, {"threshold": 0.3}, {"threshold": 1}])
def test_cluster_answers_what_the_matcher_answers(client: TestClient, matcher: Matcher, asked: dict[str, Any]) -> None:
    answer = client.post("/v1/cluster", json={"items": ITEMS, **asked}).json()
    ids = [item["id"] for item in ITEMS]
    alone = Matcher.from_items(ids, [item["title"] for item in ITEMS], matcher.encoder)
    cluster_of = {id: cluster["cluster_id"] for cluster in answer["clusters"] for id in cluster["items"]}
    assert cluster_of == dict(zip(ids, alone.cluster(asked.get("threshold")), strict=True))
    assert sorted(id for cluster in answer["clusters"] for id in cluster["items"]) == sorted(ids)
    assert answer["model"] == {
        "fingerprint": matcher.encoder.fingerprint,
        "decision": "threshold",
        "threshold": asked.get("threshold", matcher.decision.cluster_threshold),
    }


def test_clusters_and_their_items_stand_in_the_order_they_were_sent(client: TestClient) -> None:
    answer = client.post("/v1/cluster", json={"items": ITEMS, "threshold": 1}).json()
    assert answer["clusters"] == [
        {"cluster_id": "a", "items": ["b", "a"]},
        {"cluster_id": "🎉", "items": ["🎉"]},
        {"cluster_id": "c", "items": ["c"]},
    ]


def test_clusters_need_a_threshold_over_nothing(client: TestClient) -> None:
    assert "threshold is 0" in refused(client.post("/v1/cluster", json={"items": ITEMS, "threshold": 0}), 422)["detail"]


def test_model_tells_what_answers(client: TestClient, matcher: Matcher) -> None:
    config = matcher.encoder.bundle.config
    assert client.get("/v1/model").json() == {
        "fingerprint": matcher.encoder.fingerprint,
        "architecture": config.architecture,
        "dimensions": config.dimensions,
        "precision": config.precision,
        "threshold": matcher.decision.threshold,
        "cluster_threshold": matcher.decision.cluster_threshold,
        "promises": [vars(promise) for promise in matcher.decision.promises],
        "items": len(read_items(SAMPLE)),
        "index": {"exact": True, "recall": 1.0},
    }


def test_without_a_catalogue_only_clustering_works(service: Service) -> None:
    with serving(service) as client:
        assert "no catalogue" in refused(client.post("/v1/match", json={"titles": ["a"]}), 409)["detail"]
        assert client.post("/v1/cluster", json={"items": ITEMS}).status_code == 200
        answer = client.get("/v1/model").json()
        assert (answer["items"], answer["index"]) == (0, None)


# What is refused


def test_limits_are_met_exactly(client: TestClient) -> None:
    longest = "가" * (MAX_TITLE_BYTES // 3)
    assert client.post("/v1/match", json={"titles": [longest]}).status_code == 200
    (fault,) = refused(client.post("/v1/match", json={"titles": [longest + "가"]}), 422)["errors"]
    assert fault["expected"] == f"at most {MAX_TITLE_BYTES} bytes of UTF-8, not {len(longest.encode()) + 3}"
    assert client.post("/v1/match", json={"titles": ["🎉"] * MAX_TITLES}).status_code == 200
    assert (
        "at most 1000"
        in refused(client.post("/v1/match", json={"titles": ["🎉"] * 1_001}), 422)["errors"][0]["expected"]
    )
    assert client.post("/v1/match", json={"titles": ["🎉"] * (MAX_MATCHES // MAX_K), "k": MAX_K}).status_code == 200
    (fault,) = refused(client.post("/v1/match", json={"titles": ["🎉"] * 101, "k": MAX_K}), 422)["errors"]
    assert (fault["location"], fault["value"]) == ("#", "'101 titles, k 1000'")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=8,
)


_FIELDS = ("titles", "items", "k", "threshold", "min_precision", "explain", "x")


@examples(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(_FIELDS, values)) | values)
def test_no_json_makes_it_fail(client: TestClient, value: Any) -> None:
    for path in ("/v1/match", "/v1/cluster"):
        response = client.post(path, content=json.dumps(value).encode(), headers=JSON)
        assert response.status_code in {200, 422}, response.text


@examples(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(), min_size=1, max_size=20), min_size=1, max_size=4))
def test_every_title_is_answered_or_refused(client: TestClient, titles: list[str]) -> None:
    response = client.post("/v1/match", content=json.dumps({"titles": titles}).encode(), headers=JSON)
    fit = all(t.strip() and "\0" not in t and t.isascii() | (t == t.encode(errors="replace").decode()) for t in titles)
    assert response.status_code == (200 if fit else 422)
    assert not fit or [result["title"] for result in response.json()["results"]] == titles


def test_without_the_key_v1_is_closed_and_health_is_open(service: Service) -> None:
    with serving(service, settings=Settings(api_key=SecretStr(KEY))) as client:
        refused(client.get("/v1/model"), 401)
        refused(client.post("/v1/match", json={"titles": ["a"]}), 401)
        refused(client.post("/v1/cluster", json={"items": ITEMS}), 401)
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.get("/v1/model", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
