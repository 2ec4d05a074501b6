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


STATUSES = {
    "match": {200, 401, 409, 413, 415, 422, 500, 503},
    "cluster": {200, 401, 413, 415, 422, 500, 503},
    "model": {200, 401, 500, 503},
    "health": {200},
    "ready": {200, 503},
}


def test_every_operation_is_described_with_examples_and_problems(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]
    assert {o["operationId"]: {int(status) for status in o["responses"]} for o in operations} == STATUSES
    for operation in operations:
        assert operation["summary"] and operation["description"]
        for status, response in operation["responses"].items():
            assert response["description"] not in {"", "Successful Response"}
            ((media_type, content),) = response["content"].items()
            if status == "200":
                assert media_type == "application/json" and _resolve(openapi, content["schema"])["examples"]
            else:
                assert media_type == MEDIA_TYPE and content["schema"]["$ref"].endswith("/Problem")
                assert Problem.model_validate(content["example"]).status == int(status)
    assert {openapi["components"]["schemas"][ref.rpartition("/")[2]] is not None for ref in _references(openapi)} == {
        True
    }
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


def test_the_key_is_described_where_it_is_needed() -> None:
    openapi = create_app(Settings(api_key=SecretStr(KEY))).openapi()
    (name,) = openapi["components"]["securitySchemes"]
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == ([{name: []}] if path.startswith("/v1/") else None)
    assert KEY not in json.dumps(openapi)
