"""Embeddings in the shape of OpenAI's API: the encoder's own vectors, as numbers or as base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from serving import JSON, refused, serving
from starlette.testclient import TestClient

from api.embeddings import MAX_INPUTS
from api.service import Service, load_service
from api.settings import Settings
from embedder.encoder import Encoder

TITLES = ["농심 신라면 120g 5개입", "🎉", "Nintendo Switch OLED White", "농심 신라면 120g 5개입"]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    loaded = load_service(Settings(threads=1))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with serving(service) as client:
        yield client


def embedded(client: TestClient, **asked: Any) -> dict[str, Any]:
    response = client.post("/v1/embeddings", json=asked)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def vectors(answer: dict[str, Any]) -> Any:
    assert [one["index"] for one in answer["data"]] == list(range(len(answer["data"])))
    assert {one["object"] for one in answer["data"]} == {"embedding"}
    rows = [one["embedding"] for one in answer["data"]]
    return np.array([np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row for row in rows])


def test_vectors_are_the_encoders(client: TestClient, encoder: Encoder) -> None:
    answer = embedded(client, input=TITLES, model="dongil")
    assert (answer["object"], answer["model"]) == ("list", encoder.fingerprint)
    np.testing.assert_array_equal(vectors(answer).astype(np.float32), encoder.encode(TITLES))
    assert not vectors(answer)[1].any()  # nothing in it can be read


def test_base64_says_the_same(client: TestClient) -> None:
    # What the `openai` client asks for unless it is told otherwise.
    numbers, packed = (embedded(client, input=TITLES, encoding_format=form) for form in ("float", "base64"))
    np.testing.assert_array_equal(vectors(numbers), vectors(packed))
    assert numbers["usage"] == packed["usage"]


def test_one_title_need_not_be_a_list(client: TestClient) -> None:
    assert embedded(client, input=TITLES[0]) == embedded(client, input=[TITLES[0]])


def test_tokens_are_counted(client: TestClient, encoder: Encoder) -> None:
    tokens = sum(map(len, encoder.tokenize(TITLES)))
    assert embedded(client, input=TITLES)["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert tokens > 0


def test_model_and_dimensions_are_checked(client: TestClient, encoder: Encoder) -> None:
    sure = embedded(client, input="a", model=encoder.fingerprint, dimensions=encoder.dimension, user="somebody")
    assert sure == embedded(client, input="a")
    unknown = client.post("/v1/embeddings", json={"input": "a", "model": "text-embedding-3-small"})
    assert encoder.fingerprint in refused(unknown, 404)["detail"]
    cut = client.post("/v1/embeddings", json={"input": "a", "dimensions": encoder.dimension // 2})
    assert f"expected {encoder.dimension}" in refused(cut, 422)["detail"]


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"input": []}, "#/input"),
        ({"input": ""}, "#/input/0"),
        ({"input": ["a", " "]}, "#/input/1"),
        ({"input": [1, 2]}, "#/input/0"),
        ({"input": [[1, 2]]}, "#/input/0"),
        ({"input": "가" * 4_000}, "#/input/0"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "#/input"),
        ({"model": "dongil"}, "#/input"),
        ({"input": "a", "encoding_format": "hex"}, "#/encoding_format"),
        ({"input": "a", "dimensions": 0}, "#/dimensions"),
        ({"input": "a", "truncate": True}, "#/truncate"),
    ],
)
def test_what_cannot_be_encoded_is_refused(client: TestClient, asked: dict[str, Any], where: str) -> None:
    assert refused(client.post("/v1/embeddings", json=asked), 422)["errors"][0]["location"] == where


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=8,
)


@examples(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({"input": values}, optional={"model": values, "dimensions": values}) | values)
def test_no_json_makes_it_fail(client: TestClient, value: Any) -> None:
    response = client.post("/v1/embeddings", content=json.dumps(value).encode(), headers=JSON)
    assert response.status_code in {200, 404, 422}, response.text
