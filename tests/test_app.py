"""The service as its callers see it: answers, limits, problems, load, start and end."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr
from serving import ITEMS, JSON, KEY, SAMPLE, refused, serving
from starlette.testclient import TestClient

from api.schemas import MAX_K, MAX_MATCHES, MAX_TITLES
from api.service import Service, load_service
from api.settings import Settings
from index.answers import Answer, Ask, Match
from index.decision import Decision, Promise
from index.items import MAX_TITLE_BYTES, read_items
from index.living import LivingMatcher
from index.matcher import Matcher
from index.vectors import Sketch

TITLES = ["농심 너구리 얼큰한맛 120g 5개입", "Nintendo Switch OLED Model White", "🎉✨"]


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("DONGIL_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def service(clean_environment: None) -> Iterator[Service]:
    loaded = load_service(Settings(catalog=SAMPLE))
    assert loaded.living.settle()  # what the background writes meanwhile makes revisions, too
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def matcher(service: Service) -> Matcher:
    """The sample catalogue matched without a store, which the service must agree with."""
    items = read_items(SAMPLE)
    return Matcher.from_items(items.ids, items.titles, service.encoder, service.decision, device="cpu")


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with serving(service) as client:
        yield client


# Answers


def told(matches: Sequence[Match]) -> list[dict[str, Any]]:
    """Matches as JSON tells them; a score's last bits may differ with the batch that its title was encoded in."""
    return [asdict(match) | {"score": pytest.approx(match.score, abs=1e-6)} for match in matches]


@pytest.mark.parametrize("asked", [{}, {"k": 1}, {"k": 1000, "threshold": 0.5}, {"threshold": 0}, {"threshold": 1}])
def test_match_answers_what_the_matcher_answers(client: TestClient, matcher: Matcher, asked: dict[str, Any]) -> None:
    answer = client.post("/v1/match", json={"titles": TITLES, **asked}).json()
    expected = matcher.match(TITLES, **asked)
    assert [result["title"] for result in answer["results"]] == TITLES
    assert [result["matches"] for result in answer["results"]] == [told(found) for found in expected]
    assert answer["model"] == {
        "fingerprint": matcher.encoder.fingerprint,
        "decision": "threshold" if "threshold" in asked else "expected F1",
        "threshold": asked.get("threshold"),
    }
    assert answer["revision"] == client.get("/v1/model").json()["revision"] > 0


def test_near_misses_are_told_where_they_are_asked_for(client: TestClient, matcher: Matcher) -> None:
    asked = {"titles": TITLES, "k": 2}
    plain, explained = (client.post("/v1/match", json=asked | more).json() for more in ({}, {"explain": True}))
    expected = matcher.answer(TITLES, k=2, near_misses=3)
    for result, short, answer in zip(explained["results"], plain["results"], expected, strict=True):
        assert list(short) == ["title", "matches"]
        assert result["matches"] == short["matches"] == told(answer.matches)
        assert result["near_misses"] == told(answer.near_misses)
    assert any(result["near_misses"] for result in explained["results"])


PROMISE = Promise(0.9, 0.6, 0.7, "precision of at least 0.9 is proven with 95 % confidence: 95 of 100 pairs are right")


class Promising:
    """A living catalogue whose model has proven a precision of .9 from a probability of .6 on."""

    def __init__(self, living: LivingMatcher) -> None:
        self.living = living
        self.decision: Decision = replace(living.decision, promises=(PROMISE,))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.living, name)


@pytest.fixture(scope="module")
def proven(service: Service) -> Iterator[TestClient]:
    with serving(service, living=Promising(service.living)) as client:
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


def test_model_tells_what_answers(client: TestClient, service: Service, matcher: Matcher) -> None:
    config = matcher.encoder.bundle.config
    assert client.get("/v1/model").json() == {
        "fingerprint": matcher.encoder.fingerprint,
        "architecture": config.architecture,
        "dimensions": config.dimensions,
        "precision": config.precision,
        "threshold": matcher.decision.threshold,
        "cluster_threshold": matcher.cluster_threshold,
        "promises": [vars(promise) for promise in matcher.decision.promises],
        "items": len(read_items(SAMPLE)),
        "revision": service.living.snapshot.revision,
        "index": {"exact": True, "recall": 1.0, "search": "exact"},
    }


def test_model_tells_when_titles_are_searched_by_a_sketch(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = service.living.snapshot.base.scene.index
    width, codes = index.dimension, np.zeros((0, index.dimension // 4), np.uint8)
    monkeypatch.setattr(index, "_sketched", Sketch(np.zeros((width // 2, 16, 2), np.float32), codes, 0.9998))
    told = client.get("/v1/model").json()["index"]
    assert told == {"exact": False, "recall": 0.9998, "search": "sketch, re-scored exactly"}


def test_an_empty_catalogue_matches_nothing(clean_environment: None) -> None:
    empty = load_service(Settings())
    try:
        with serving(empty) as client:
            answer = client.post("/v1/match", json={"titles": TITLES}).json()
            assert [result["matches"] for result in answer["results"]] == [[], [], []]
            assert client.post("/v1/cluster", json={"items": ITEMS}).status_code == 200
            answer = client.get("/v1/model").json()
            assert (answer["items"], answer["index"]) == (0, {"exact": True, "recall": 1.0, "search": "exact"})
    finally:
        empty.close()


def test_a_request_is_answered_by_one_model(service: Service) -> None:
    class Leaving(Promising):
        """Another model takes over while this one answers."""

        @cached_property
        def snapshot(self) -> Any:
            standing = copy.copy(self.living.snapshot)

            def answers(asks: Sequence[Ask]) -> list[Answer]:
                shared.service.switch(service.living)
                return self.living.snapshot.answers(asks)

            vars(standing)["answers"] = answers
            return standing

    with serving(service, living=Leaving(service.living)) as client:
        shared = client.app.state.shared  # type: ignore[attr-defined]
        asked = {"titles": TITLES, "min_precision": 0.9}
        assert client.get("/v1/model").json()["promises"] == [vars(PROMISE)]
        assert client.post("/v1/match", json=asked).json()["model"]["proof"] == PROMISE.words
        assert client.get("/v1/model").json()["promises"] != [vars(PROMISE)]


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
    (fault,) = refused(client.post("/v1/match", json={"titles": [longest] * 101}), 422)["errors"]
    assert fault["expected"] == "titles of at most 1000000 bytes together"


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
