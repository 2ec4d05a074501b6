"""Every error is a problem, says where it stands, and tells nothing of the inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from api.guard import guarded_route
from api.problems import LISTED, MEDIA_TYPE, Problem, add_schemas, documented, handlers
from api.schemas import MAX_ID_LENGTH, MAX_ITEMS, ClusterRequest, MatchRequest
from api.settings import Settings
from embedder.errors import InputError

JSON = {"content-type": "application/json"}
ERRORS = {
    "failure": RuntimeError("secret"),
    "own": InputError("secret", file="/secret/model.onnx"),
    "callers": InputError("k is 0; expected at least 1"),
    "teapot": HTTPException(418, "short and stout", {"x-pot": "tea"}),
    "gone": HTTPException(404, "no item 'a'"),
    "again": HTTPException(503, "too many"),
    "slower": HTTPException(429, "too many"),
    "later": HTTPException(503, "too many", {"Retry-After": "60"}),
}


async def match(asked: MatchRequest) -> MatchRequest:
    return asked


async def cluster(asked: ClusterRequest) -> ClusterRequest:
    return asked


async def fail(error: str) -> None:
    raise ERRORS[error]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI(exception_handlers=handlers(), redirect_slashes=False)
    for endpoint in (match, cluster):
        path = f"/v1/{endpoint.__name__}"
        app.router.add_api_route(path, endpoint, methods=["POST"], route_class_override=guarded_route(Settings()))
    app.add_api_route("/fail/{error}", fail)
    with TestClient(app, raise_server_exceptions=False) as client:
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


@pytest.mark.parametrize(
    ("body", "location", "value", "expected"),
    [
        (b"", "#", "None", "required"),
        (b"{", "#", "''", "JSON in UTF-8; Expecting property name"),
        (b'{"titles": oops}', "#", "'oops}'", "JSON in UTF-8; Expecting value at character 11"),
        (b'{"titles": ["\xff"]}', "#", "'\ufffd\"]}'", "JSON in UTF-8; not UTF-8 at character 13"),
        (b"[" * 100_000, "#", "'[[[", "nested too deeply"),
        (b'{"titles": ["a"], "k": ' + b"1" * 5_000 + b"}", "#", "'{", "too many digits"),
        (b"[]", "#", "[]", "a JSON object"),
        (b"{}", "#/titles", "{}", "required"),
        (b'{"titles": "a"}', "#/titles", "'a'", "a valid list"),
        (b'{"titles": []}', "#/titles", "[]", "at least 1 item"),
        (b'{"titles": [1]}', "#/titles/0", "1", "a valid string"),
        (b'{"titles": ["a", ""]}', "#/titles/1", "''", "at least 1 character"),
        (b'{"titles": ["a", " \\u3000\\t"]}', "#/titles/1", "' \\u3000\\t'", "text that is not blank"),
        (b'{"titles": ["a\\u0000b"]}', "#/titles/0", "'a\\x00b'", "text without a NUL character"),
        (b'{"titles": ["a\\ud800b"]}', "#/titles/0", "'a\\ud800b'", "surrogate"),
        (b'{"titles": ["a"], "\\udfff": 1}', "#", "'\\udfff'", "surrogate"),
        (b'{"titles": ["a"], "x~/y": 1}', "#/x~0~1y", "1", "no field of this name"),
        (b'{"titles": ["a"], "k": 0}', "#/k", "0", "greater than or equal to 1"),
        (b'{"titles": ["a"], "k": 1001}', "#/k", "1001", "less than or equal to 1000"),
        (b'{"titles": ["a"], "k": "7"}', "#/k", "'7'", "a valid integer"),
        (b'{"titles": ["a"], "k": true}', "#/k", "True", "a valid integer"),
        (b'{"titles": ["a"], "k": 1.5}', "#/k", "1.5", "a valid integer"),
        (b'{"titles": ["a"], "k": NaN}', "#/k", "nan", "a valid integer"),
        (b'{"titles": ["a"], "k": null}', "#/k", "None", "a valid integer"),
        (b'{"titles": ["a"], "threshold": NaN}', "#/threshold", "nan", "a finite number"),
        (b'{"titles": ["a"], "threshold": -Infinity}', "#/threshold", "-inf", "a finite number"),
        (b'{"titles": ["a"], "threshold": 1e400}', "#/threshold", "inf", "a finite number"),
        (b'{"titles": ["a"], "threshold": 1.01}', "#/threshold", "1.01", "less than or equal to 1"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(
    client: TestClient, body: bytes, location: str, value: str, expected: str
) -> None:
    (fault,) = refused(client.post("/v1/match", content=body, headers=JSON), 422)["errors"]
    assert fault["location"] == location
    assert fault["value"].startswith(value)
    assert expected in fault["expected"]


@pytest.mark.parametrize(
    ("items", "location", "value", "expected"),
    [
        ([{"id": "", "title": "a"}], "#/items/0/id", "''", "at least 1 character"),
        ([{"id": " ", "title": "a"}], "#/items/0/id", "' '", "not blank"),
        ([{"id": "a\0", "title": "a"}], "#/items/0/id", "'a\\x00'", "NUL"),
        ([{"id": 7, "title": "a"}], "#/items/0/id", "7", "a valid string"),
        ([{"id": "i" * (MAX_ID_LENGTH + 1), "title": "a"}], "#/items/0/id", "'iii", f"at most {MAX_ID_LENGTH}"),
        ([{"id": "x", "title": "\n"}], "#/items/0/title", "'\\n'", "not blank"),
        ([{"id": "x"}], "#/items/0/title", "{'id': 'x'}", "required"),
        ([{"id": "x", "title": "a"}, {"id": "x", "title": "b"}], "#/items/1/id", "'x'", "distinct ids; item 0 has"),
        ([], "#/items", "[]", "at least 1 item"),
        ([{"id": str(n), "title": "a"} for n in range(MAX_ITEMS + 1)], "#/items", "[", f"at most {MAX_ITEMS} items"),
    ],
)
def test_items_that_cannot_be_used_are_told_with_their_place(
    client: TestClient, items: list[Any], location: str, value: str, expected: str
) -> None:
    (fault,) = refused(client.post("/v1/cluster", json={"items": items}), 422)["errors"]
    assert (fault["location"], fault["value"].startswith(value)) == (location, True)
    assert expected in fault["expected"]


def test_only_the_first_of_many_faults_are_listed(client: TestClient) -> None:
    content = refused(client.post("/v1/match", json={"titles": [1] * 900, "x" * 9_000: [["y" * 9_000] * 9] * 9}), 422)
    assert content["detail"] == f"901 faults in the request; the first {LISTED} are listed"
    assert len(content["errors"]) == LISTED
    (fault,) = refused(client.post("/v1/match", json={"titles": ["a"], "x" * 9_000: "y" * 9_000}), 422)["errors"]
    assert len(fault["location"]) + len(fault["value"]) < 200


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    assert refused(client.get("/nope"), 404)["detail"].startswith("nothing at '/nope'")
    refused(client.post("/v1/match/", json={"titles": ["a"]}), 404)
    refused(client.get("/" + "x" * 9_000), 404)
    response = client.get("/v1/match")
    assert refused(response, 405)["detail"] == "method 'GET'; expected POST"
    assert response.headers["allow"] == "POST"


def test_titles_are_those_of_the_standard(client: TestClient) -> None:
    assert refused(client.post("/v1/match", json={}), 422)["title"] == "Unprocessable Content"
    assert refused(client.get("/nope"), 404)["title"] == "Not Found"


@pytest.mark.parametrize(("error", "seconds"), [("again", "5"), ("slower", "5"), ("later", "60")])
def test_whoever_is_to_come_again_is_told_when(client: TestClient, error: str, seconds: str) -> None:
    assert client.get(f"/fail/{error}").headers["retry-after"] == seconds


@pytest.mark.parametrize("error", ["failure", "own"])
def test_a_failure_tells_nothing_of_the_inside(client: TestClient, error: str) -> None:
    response = client.get(f"/fail/{error}")
    assert refused(response, 500)["detail"] == "the service failed; its log says why"
    assert "secret" not in response.text


def test_an_input_error_of_the_core_is_the_callers(client: TestClient) -> None:
    assert refused(client.get("/fail/callers"), 422)["detail"] == "k is 0; expected at least 1"


def test_what_a_route_says_is_kept(client: TestClient) -> None:
    response = client.get("/fail/teapot")
    assert refused(response, 418)["detail"] == "short and stout"
    assert response.headers["x-pot"] == "tea"
    assert refused(client.get("/fail/gone"), 404)["detail"] == "no item 'a'"


def test_what_is_documented_is_what_is_sent(client: TestClient) -> None:
    openapi: dict[str, Any] = {}
    add_schemas(openapi)
    schemas = openapi["components"]["schemas"]
    assert set(schemas) == {"Problem", "Fault"}
    sent = refused(client.post("/v1/match", json={"titles": [" "]}), 422)
    assert sent.keys() | {"request_id"} == schemas["Problem"]["properties"].keys()  # the door gives that
    assert sent["errors"][0].keys() == schemas["Fault"]["properties"].keys()
    ((status, described),) = documented(503).items()
    assert status == 503 and set(described["headers"]) == {"Retry-After"}
    assert Problem.model_validate(described["content"][MEDIA_TYPE]["example"]).status == 503
