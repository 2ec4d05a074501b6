"""Tracing: a span for each request, where the OpenTelemetry SDK is installed and its environment variables ask for it.

Nothing happens, and nothing is imported, unless ``OTEL_TRACES_EXPORTER`` or an ``OTEL_EXPORTER_OTLP_`` endpoint is set.
It knows OpenTelemetry. It does not know requests beyond their headers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from embedder.errors import InputError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracer:
    """Makes spans and sends them on. Make one with ``make_tracer``.

    Args:
        provider: of OpenTelemetry's SDK.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("dongil")

    def request(self, method: str, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
        """The span of a request, a child of the one that its headers tell of (W3C trace context)."""
        from opentelemetry import propagate, trace

        around = propagate.extract(dict(headers))
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            method, around, kind=trace.SpanKind.SERVER, attributes={"http.request.method": method}
        )
        return span

    def tell(self, route: str, status: int) -> None:
        """Say of the present span what it was about and how it ended."""
        from opentelemetry import trace

        span = trace.get_current_span()
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        span.update_name(f"{getattr(span, 'name', '')} {route}")
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.shutdown()


def make_tracer() -> Tracer | None:
    """A tracer as the environment describes it, if it asks for one.

    Raises:
        InputError: it asks for an exporter that is not installed.
    """
    names = os.environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(os.environ.get, _ENDPOINTS)) else "none")
    if names == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        logging.getLogger("dongil").warning("no traces: the environment asks for some, opentelemetry-sdk is missing")
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "dongil"}
    provider = TracerProvider(resource=Resource.create(own))
    for name in names.split(","):
        provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())))
    return Tracer(provider)


def _exporter(name: str) -> Any:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if name == "otlp":
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = [point for point in entry_points(group="opentelemetry_traces_exporter") if point.name == name]
    if not found:
        raise InputError(
            f"OTEL_TRACES_EXPORTER asks for {name!r}, which is not installed; expected its package, or none"
        )
    return found[0].load()()
