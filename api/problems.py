"""Problems: every error as ``application/problem+json`` (RFC 9457), in answers and in the OpenAPI description.

It knows statuses and how to say where a value stands. It does not know routes, nor anything of the matcher but its
one error.
"""

from __future__ import annotations

import json
import logging
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api.logs import REQUEST_ID
from embedder.errors import InputError
from index.formats import shown
from index.store import ConflictError, StorageError

MEDIA_TYPE = "application/problem+json"
LISTED = 20  # faults told of one request; ten thousand would help nobody

_AGAIN = 5  # seconds until another attempt, where whoever refuses does not say
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # as RFC 9110 names them, before Python 3.13 too
_DESCRIBED = {
    401: ("The API key is missing or wrong.", "no valid API key; expected the header Authorization: Bearer KEY"),
    403: (
        "The API key does not allow this, or another site's page has sent it.",
        "the API key allows read; expected one that allows write",
    ),
    404: ("There is none of this name.", "no item 'a1'"),
    408: ("The body came too slowly.", "the body came too slowly: 100 bytes in 20 seconds"),
    409: ("It would do elsewhere, but not beside what stands in the catalogue.", "the job is done; expected running"),
    413: ("The body is larger than the service takes.", "the body is larger than 8388608 bytes"),
    415: ("The body is not declared as plain JSON.", "content type 'text/plain'; expected application/json"),
    421: (
        "Asked for by a name that is not the service's.",
        "asked for by another name than this machine's; expected localhost, or a name of the setting allowed_hosts",
    ),
    422: ("The body is not JSON, or a value in it cannot be used.", "1 fault in the request"),
    500: ("The service failed; its log says why.", "the service failed; its log says why"),
    507: ("The disk is full; nothing of the request was kept.", "no space is left"),
    503: (
        "Not loaded yet, too many requests are waiting, or the store fails just now.",
        "too many requests are waiting; come again",
    ),
}
_HEADERS = {
    401: ("WWW-Authenticate", "Bearer", "string"),
    503: ("Retry-After", "seconds to wait before the next attempt", "integer"),
}
_EXPECTED = {  # by pydantic's error types, where its own words are not a user's
    "missing": "a value; the field is required",
    "extra_forbidden": "no field of this name",
    "model_attributes_type": "a JSON object",
    "string_unicode": "text that UTF-8 can hold; this has half of a surrogate pair",
}


class Fault(BaseModel):
    """One value of a request that cannot be used."""

    location: str = Field(description="JSON Pointer into the body (RFC 6901)", examples=["#/titles/3"])
    value: str = Field(description="The value as it was read, cut to a readable length", examples=["'  '"])
    expected: str = Field(description="What was expected instead", examples=["text that is not blank"])


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(default="about:blank", description="about:blank: the status says what kind of problem it is")
    title: str = Field(description="The status in words", examples=["Unprocessable Content"])
    status: int = Field(description="The HTTP status", examples=[422])
    detail: str = Field(description="What is wrong, for a person", examples=["1 fault in the request"])
    errors: list[Fault] | None = Field(default=None, description=f"With status 422: the first {LISTED} faults")
    request_id: str | None = Field(default=None, description="As in the header X-Request-Id and in the service's log")


def problem(
    status: int, detail: str, *, faults: Sequence[Fault] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says what went wrong."""
    content = _problem(status, detail, faults, REQUEST_ID.get()).model_dump(exclude_none=True)
    # A request may hold half of a surrogate pair, which UTF-8 cannot say.
    body = json.dumps(content, ensure_ascii=False).encode(errors="replace")
    told = dict(headers or {})
    if status in (429, 503):
        told.setdefault("Retry-After", str(_AGAIN))
    return Response(body, status, told, media_type=MEDIA_TYPE)


def _problem(status: int, detail: str, faults: Sequence[Fault] | None, request_id: str | None = None) -> Problem:
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    errors = list(faults) if faults else None
    return Problem(title=title, status=status, detail=detail, errors=errors, request_id=request_id)


def handlers() -> dict[int | type[Exception], Any]:
    """What to answer to each kind of exception, as FastAPI takes it."""
    return {
        HTTPException: _on_http, RequestValidationError: _on_invalid, ConflictError: _on_conflict,
        InputError: _on_input, StorageError: _on_storage, Exception: _on_failure,
    }  # fmt: skip


async def _on_http(request: Request, error: HTTPException) -> Response:
    detail, headers = error.detail, dict(error.headers or {})
    if detail == HTTPStatus(error.status_code).phrase:  # raised by the router, which says no more
        if error.status_code == 404:
            detail = f"nothing at {shown(request.url.path)}; /openapi.json says what there is"
        elif error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(request))
            detail = f"method {shown(request.method)}; expected {headers['Allow']}"
    return problem(error.status_code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """What a path may be asked by. The router names the methods of the first of its routes alone."""
    routes = [one for one in request.app.routes if isinstance(one, Route)]
    return sorted({way for one in routes if one.path_regex.match(request.scope["path"]) for way in one.methods or ()})


async def _on_invalid(_: Request, error: RequestValidationError) -> Response:
    errors = error.errors()
    faults = [_fault(fault, error.body) for fault in errors[:LISTED]]
    detail = f"{len(errors):,} fault{'s' * (len(errors) > 1)} in the request"
    return problem(422, detail + (f"; the first {LISTED} are listed" if len(errors) > LISTED else ""), faults=faults)


async def _on_input(_: Request, error: InputError) -> Response:
    if error.file is not None:  # no request names a file: this one is the service's own
        raise error
    return problem(422, error.message)


async def _on_conflict(_: Request, error: ConflictError) -> Response:
    return problem(409, error.message)


async def _on_storage(_: Request, error: StorageError) -> Response:
    logging.getLogger("dongil").error("the store failed: %s", error)
    if error.full:
        return problem(507, _DESCRIBED[507][0])
    return problem(503, "the store cannot be written or read just now; come again")


async def _on_failure(*_: object) -> Response:
    return problem(500, _DESCRIBED[500][1])


def _fault(fault: Mapping[str, Any], body: Any) -> Fault:
    where, context = fault["loc"][1:], fault.get("ctx", {})
    if fault["type"] == "json_invalid":
        at = int(where[0])
        wanted = f"JSON in UTF-8; {context['error']} at character {at}"
        return Fault(location="#", value=shown(str(body)[at : at + 40]), expected=wanted)
    if fault["loc"][0] == "body":
        where = tuple(_standing(where, body, missing=fault["type"] == "missing"))
    where = (*where, *context.get("at", ()))
    names = (str(part)[:60].replace("~", "~0").replace("/", "~1") for part in where)
    # reprlib looks at a value's beginning only: the value may be eight megabytes.
    value = shown(context["value"]) if "value" in context else reprlib.repr(fault["input"])
    return Fault(location="/".join(("#", *names)), value=value, expected=expected(fault))


def expected(fault: Mapping[str, Any]) -> str:
    """What pydantic expected instead of a value, as a user may read it."""
    if fault["type"] == "union_tag_invalid":
        return f"one of {fault['ctx']['expected_tags']}"
    if fault["type"] == "union_tag_not_found":
        return f"the field {fault['ctx']['discriminator']}"
    return _EXPECTED.get(fault["type"]) or str(fault["msg"]).removeprefix("Input should be ")


def _standing(where: Sequence[Any], body: Any, *, missing: bool) -> Iterator[Any]:
    """The parts of a place that stand in the body; others, such as which of several kinds it was read as, do not."""
    for number, part in enumerate(where, start=1):
        if not isinstance(body, dict) or part in body:
            body = body.get(part) if isinstance(body, dict) else _part(body, part)
        elif not (missing and number == len(where)):
            continue
        yield part


def _part(body: Any, part: Any) -> Any:
    inside = isinstance(body, list) and isinstance(part, int) and part < len(body)
    return body[part] if inside else None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of these statuses as OpenAPI describes them; ``add_schemas`` adds what they refer to."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    description, detail = _DESCRIBED[status]
    fault = Fault(location="#/titles/3", value="'  '", expected="text that is not blank")
    example = _problem(status, detail, [fault] if status == 422 else None).model_dump(exclude_none=True)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    if status not in _HEADERS:
        return {"description": description, "content": content}
    name, meaning, kind = _HEADERS[status]
    return {
        "description": description, "content": content,
        "headers": {name: {"description": meaning, "schema": {"type": kind}}},
    }  # fmt: skip


def add_schemas(openapi: dict[str, Any]) -> None:
    """Add the schema of ``Problem`` to an OpenAPI description."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs")
    openapi.setdefault("components", {}).setdefault("schemas", {}).update(parts, Problem=schema)
