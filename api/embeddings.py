"""Embeddings: the vectors of titles, asked for and answered in the shape of OpenAI's API.

Clients of that API work with another base URL; errors alone have dongil's own shape. The vectors are those that
matching starts from, before neighbours are blended in. It does not know how a title is encoded.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, BeforeValidator, Field

from api.guard import guarded_route
from api.problems import documented
from api.schemas import Asked, Title, example
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from embedder.encoder import Encoder
from embedder.errors import InputError
from index.formats import shown

MAX_INPUTS = 2_048  # as OpenAI has it: clients cut longer lists at that
NAME = "dongil"
"""The model that answers, whichever it is; a fingerprint asks for that one alone."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Titles = Annotated[
    list[Title], Field(min_length=1, max_length=MAX_INPUTS, description="A title or several; no token ids")
]


class EmbeddingsRequest(Asked):
    """Titles to encode."""

    model_config = example({"input": ["농심 신라면 120g 5개입", "Nintendo Switch OLED White"], "model": NAME})

    input: Annotated[_Titles, BeforeValidator(_listed, json_schema_input_type=Title | _Titles)]
    model: Annotated[
        str, Field(min_length=1, max_length=256, description=f"{NAME}, or a model's fingerprint to be sure of it")
    ] = NAME
    encoding_format: Annotated[
        Literal["float", "base64"], Field(description="Numbers, or base64 of little-endian float32")
    ] = "float"
    dimensions: Annotated[
        int | None, Field(ge=1, le=65_536, description="Those that the model has; vectors are not cut")
    ] = None
    user: Annotated[str | None, Field(max_length=256, description="Taken, and put to no use")] = None


class Embedding(BaseModel):
    """The vector of a title."""

    object: Literal["embedding"]
    index: int = Field(description="Of the title in the request")
    embedding: list[float] | str = Field(
        description="Of length 1; all zeros for a title in which the model can read nothing"
    )


class Usage(BaseModel):
    """What the request cost."""

    prompt_tokens: int = Field(description="Tokens of the cleaned titles, as the model reads them")
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """The vectors of titles, in their order."""

    model_config = example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
            "model": "72f4288a701eff98",
            "usage": {"prompt_tokens": 11, "total_tokens": 11},
        }
    )

    object: Literal["list"]
    data: list[Embedding]
    model: str = Field(description="Fingerprint of the model: vectors of another one cannot be compared with these")
    usage: Usage


async def embeddings(asked: EmbeddingsRequest, service: Loaded) -> Response:
    """The vector of each title, as `openai.OpenAI(base_url=".../v1").embeddings.create` asks for it."""
    return await service.line.answer(lambda: embedded(service, asked))


def embedded(service: Service, asked: EmbeddingsRequest) -> EmbeddingsResponse:
    """The vectors.

    Raises:
        HTTPException: 404, there is no such model.
        InputError: other dimensions than the model has.
    """
    encoder = service.encoder
    _check(encoder, asked)
    vectors = encoder.encode(asked.input)
    tokens = sum(map(len, encoder.tokenize(asked.input)))
    if asked.encoding_format == "base64":
        told: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
    else:
        told = vectors.tolist()
    return EmbeddingsResponse(
        object="list",
        data=[Embedding(object="embedding", index=index, embedding=one) for index, one in enumerate(told)],
        model=encoder.fingerprint,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _check(encoder: Encoder, asked: EmbeddingsRequest) -> None:
    if asked.model not in (NAME, encoder.fingerprint):
        raise HTTPException(404, f"no model {shown(asked.model)}; expected {NAME} or {encoder.fingerprint}")
    if asked.dimensions not in (None, encoder.dimension):
        raise InputError(f"dimensions is {asked.dimensions}; expected {encoder.dimension}, which the model has")


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    read = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "read"))
    read(
        "/v1/embeddings",
        embeddings,
        methods=["POST"],
        summary="Encode titles",
        response_model=EmbeddingsResponse,
        response_description="The vector of each title",
        responses=documented(401, 403, 404, 413, 415, 422, 500, 503),
    )
