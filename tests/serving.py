"""What tests of the service share: an app that is lent what another one has loaded, and problems read from answers."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import ROOT
from starlette.testclient import TestClient

import api.app
from api.app import create_app
from api.batching import Batcher
from api.line import Line
from api.problems import MEDIA_TYPE, Problem
from api.service import Service
from api.settings import Settings

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"
KEY = "0123456789abcdef"
JSON = {"content-type": "application/json"}
ITEMS = [
    {"id": "b", "title": "농심 너구리 120g 5개입"},
    {"id": "🎉", "title": "🎉"},
    {"id": "c", "title": "Nintendo Switch OLED"},
    {"id": "a", "title": "농심 너구리 120g 5개입 [무료배송]"},
]


def lent(service: Service, settings: Settings, *, living: Any = None) -> Service:
    """A service on the same catalogue with threads of its own, which alone end when it is closed."""
    given = copy.copy(service)
    given.settings = settings
    given.batcher = Batcher(settings.max_concurrency, settings.max_titles)
    given.line, given.desk = Line(settings.max_concurrency, settings.max_queue), Line(1, settings.max_queue)
    if living is not None:
        given.switch(living)

    def close() -> None:
        given.batcher.close()
        given.line.close()
        given.desk.close()

    vars(given)["close"] = close
    return given


@contextmanager
def serving(
    service: Service, *, living: Any = None, settings: Settings | None = None, **how: Any
) -> Iterator[TestClient]:
    """A client of an app that is lent what another one has loaded; ``how`` is the client's."""
    settings = settings or service.settings
    given = lent(service, settings, living=living)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.app, "load_service", lambda *_: given)
        with TestClient(create_app(settings), raise_server_exceptions=False, **how) as client:
            until_ready(client)
            patch.undo()
            yield client


def until_ready(client: TestClient) -> None:
    """Wait until the app has loaded."""
    deadline = time.monotonic() + 20
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def refused(response: Any, status: int) -> dict[str, Any]:
    """The problem in an answer, which must be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    content: dict[str, Any] = response.json()
    problem = Problem.model_validate(content, strict=True, extra="forbid")
    assert (problem.type, problem.status) == ("about:blank", status)
    assert len(response.text) < 8_000
    return content
