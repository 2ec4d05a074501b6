"""Spans, where the environment asks for them and the SDK is there, and nothing otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from api.door import Door
from api.line import Line
from api.metrics import Metrics
from api.settings import Settings
from api.state import Shared
from api.tracing import Tracer, make_tracer
from embedder.errors import InputError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACES_EXPORTER", "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT", "SDK_DISABLED"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)


def test_nothing_happens_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_tracer() is None
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert make_tracer() is None
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert make_tracer() is None


def test_serving_imports_no_opentelemetry() -> None:
    code = "import sys, api.server; api.app.make_tracer(); print('opentelemetry.sdk' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_without_the_sdk_a_line_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    monkeypatch.setattr("api.tracing.find_spec", lambda _: None)
    assert make_tracer() is None
    assert "opentelemetry-sdk is missing" in caplog.text


def test_an_exporter_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(InputError, match="asks for 'pigeon', which is not installed"):
        make_tracer()


def test_a_request_is_a_span_of_its_callers_trace() -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider, line = InMemorySpanExporter(), TracerProvider(), Line(1, 0)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    seen: list[int] = []

    async def work(request: Request) -> Response:
        await line.run(lambda: seen.append(trace.get_current_span().get_span_context().trace_id))
        if request.path_params["id"] == "fail":
            raise RuntimeError
        return PlainTextResponse("done")

    settings, tracer = Settings(), Tracer(provider)
    door = Door(Starlette(routes=[Route("/items/{id}", work)]), settings, Metrics(Shared(settings)), tracer)
    client = TestClient(door, raise_server_exceptions=False)
    of = "0af7651916cd43dd8448eb211c80319c"
    assert client.get("/items/a", headers={"traceparent": f"00-{of}-b7ad6b7169203331-01"}).status_code == 200
    assert client.get("/items/fail").status_code == 500
    tracer.close()
    line.close()
    first, second = spans.get_finished_spans()
    assert (first.name, first.kind) == ("GET /items/{id}", trace.SpanKind.SERVER)
    assert first.context is not None and f"{first.context.trace_id:032x}" == f"{seen[0]:032x}" == of
    assert dict(first.attributes or {}) == {
        "http.request.method": "GET", "http.route": "/items/{id}", "http.response.status_code": 200,
    }  # fmt: skip
    assert second.status.status_code is trace.StatusCode.ERROR
