"""The description of the service: complete, with examples that are what they say, and every problem there may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from api.app import create_app
from api.problems import MEDIA_TYPE, Problem
from api.schemas import (
    MAX_ID_LENGTH,
    MAX_ITEMS,
    MAX_K,
    MAX_TITLES,
    ClusterRequest,
    ClusterResponse,
    Health,
    MatchRequest,
    MatchResponse,
    ModelResponse,
)
from api.settings import Settings

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def _resolve(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = openapi["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _references(part)


GUARDED = {401, 403, 421, 500, 503}
WITH_BODY = {408, 413, 415, 422}
STATUSES = {
    "match": {200} | GUARDED | WITH_BODY,
    "cluster": {200} | GUARDED | WITH_BODY,
    "model": {200} | GUARDED,
    "health": {200, 421},
    "ready": {200, 421, 503},
    "metrics": {200, 421},
}


def _operations(openapi: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            yield path, operation


def test_every_operation_has_a_name_of_its_own_and_says_what_may_come(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    told: dict[str, set[int]] = {}
    for path, operation in _operations(openapi):
        assert operation["summary"] and operation["description"] and operation["operationId"] not in told
        told[operation["operationId"]] = statuses = {int(status) for status in operation["responses"]}
        if path.startswith("/v1/"):
            assert GUARDED | (WITH_BODY if "requestBody" in operation else set()) <= statuses
    assert {name: told[name] for name in STATUSES} == STATUSES


def test_every_answer_is_described_with_an_example(openapi: dict[str, Any]) -> None:
    for _, operation in _operations(openapi):
        for status, response in operation["responses"].items():
            assert response["description"] not in {"", "Successful Response"}
            for media_type, content in response.get("content", {}).items():
                if int(status) >= 400:
                    assert media_type == MEDIA_TYPE and content["schema"]["$ref"].endswith("/Problem")
                    assert Problem.model_validate(content["example"]).status == int(status)
                elif media_type == "application/json":
                    shape = content["schema"]
                    examples = {"example", "examples"} & {*content}
                    assert examples or shape.get("format") == "binary" or _resolve(openapi, shape)["examples"], (
                        operation["operationId"]
                    )
    known = openapi["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in _references(openapi)} <= set(known)
    assert "securitySchemes" not in openapi["components"]


@pytest.mark.parametrize("model", [MatchRequest, MatchResponse, ClusterRequest, ClusterResponse, ModelResponse, Health])
def test_the_examples_are_what_they_say(openapi: dict[str, Any], model: type[BaseModel]) -> None:
    for example in openapi["components"]["schemas"][model.__name__]["examples"]:
        assert model.model_validate(example, strict=True).model_dump(exclude_unset=True) == example


def test_limits_are_described(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    match, cluster = schemas["MatchRequest"], schemas["ClusterRequest"]
    assert match["properties"]["titles"]["maxItems"] == MAX_TITLES
    assert (match["properties"]["k"]["maximum"], match["properties"]["k"]["default"]) == (MAX_K, 10)
    assert cluster["properties"]["items"]["maxItems"] == MAX_ITEMS
    for request in (match, cluster):
        threshold, precision = (request["properties"][name]["anyOf"][0] for name in ("threshold", "min_precision"))
        assert (threshold["minimum"], threshold["maximum"]) == (0, 1)
        assert (precision["exclusiveMinimum"], precision["exclusiveMaximum"]) == (0, 1)
    assert match["additionalProperties"] is cluster["additionalProperties"] is False


def test_items_are_taken_up_to_the_limit() -> None:
    items = [{"id": f"{n:0{MAX_ID_LENGTH}}", "title": "🎉"} for n in range(MAX_ITEMS)]
    assert len(ClusterRequest.model_validate({"items": items}).items) == MAX_ITEMS


def test_the_same_description_every_time() -> None:
    app = create_app(Settings())
    first = json.dumps(app.openapi())
    assert json.dumps(app.openapi()) == first == json.dumps(create_app(Settings()).openapi())


def test_the_key_and_its_scope_are_described_where_they_are_needed() -> None:
    openapi = create_app(Settings(api_key=SecretStr(KEY))).openapi()
    (name,) = openapi["components"]["securitySchemes"]
    for path, operation in _operations(openapi):
        if path.startswith("/v1/"):
            ((needed,),) = (one[name] for one in operation["security"])
            assert needed in {"read", "write", "admin"}
    assert openapi["paths"]["/v1/match"]["post"]["security"] == [{name: ["read"]}]
    assert "security" not in openapi["paths"]["/healthz"]["get"]
    assert "security" not in openapi["paths"]["/metrics"]["get"]
    assert KEY not in json.dumps(openapi)
    elsewhere = create_app(Settings(api_key=SecretStr(KEY), host="0.0.0.0")).openapi()  # noqa: S104
    assert elsewhere["paths"]["/metrics"]["get"]["security"] == [{name: ["read"]}]
