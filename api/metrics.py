"""Metrics: what an operator watches, in the words of Prometheus.

Who may read them: anybody where only this machine can reach the service, else who has a key that allows "read".
Requests are counted as they end. What stands in the catalogue and what waits is looked up when somebody asks. It knows
names, labels and where figures stand. It does not know how they come about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from api.guard import guarded_route
from api.settings import Settings
from api.state import Shared

if TYPE_CHECKING:
    from api.service import Service

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SECONDS = (0.002, 0.004, 0.008, 0.016, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXT = {"text/plain": {"schema": {"type": "string"}, "example": "dongil_requests_in_flight 1.0\n"}}


class Metrics:
    """The figures of one app.

    Attributes:
        registry: all of them.
        in_flight: requests that are being answered.

    Args:
        shared: what the app's routes share.
    """

    def __init__(self, shared: Shared) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Standing(shared))
        self.in_flight = Gauge("dongil_requests_in_flight", "Requests being answered.", registry=self.registry)
        self._requests = Counter(
            "dongil_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self._matched = Counter("dongil_titles_matched", "Titles that were matched.", registry=self.registry)
        self._seconds = Histogram(
            "dongil_request_seconds", "Time from a request's head to the end of its answer.", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip

    def count(self, method: str, route: str, status: int, seconds: float, titles: int = 0) -> None:
        """Take down a request that has ended, and how many titles it had matched."""
        known = method if method in _METHODS else "other"  # callers must not make labels
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._matched.inc(titles)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All figures, and the media type that they come in."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class _Standing(Collector):
    """Figures that stand somewhere already."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def describe(self) -> list[Metric]:
        """Nothing: asking for the figures at the start would be too early."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures of the service, once it is loaded."""
        service = self._shared.service
        yield GaugeMetricFamily("dongil_loaded", "Whether model and catalogue are loaded.", value=service is not None)
        if service is not None and not self._shared.stopping:
            yield from _of_work(service)
            yield from _of_catalogue(service)


def _of_work(service: Service) -> Iterator[Metric]:
    what = "Pieces of work, or titles to match, that wait or are being done."
    waiting = GaugeMetricFamily("dongil_queue_length", what, labels=["line"])
    waiting.add_metric(["match"], service.batcher.titles)
    waiting.add_metric(["compute"], service.line.taken)
    waiting.add_metric(["store"], service.desk.taken)
    yield waiting
    jobs = GaugeMetricFamily("dongil_jobs", "Jobs.", labels=["state"])
    for state, number in service.catalog.jobs.tally().items():
        jobs.add_metric([state], number)
    yield jobs
    trouble = service.living.trouble is not None
    yield GaugeMetricFamily(
        "dongil_background_trouble", "Whether work in the background fails just now.", value=trouble
    )


def _of_catalogue(service: Service) -> Iterator[Metric]:
    living = service.living
    encoder, snapshot = living.encoder, living.snapshot
    yield GaugeMetricFamily("dongil_items", "Items that can be found.", value=len(snapshot))
    yield GaugeMetricFamily("dongil_revision", "Revision of the catalogue that answers.", value=snapshot.revision)
    info = GaugeMetricFamily("dongil_model_info", "The model that answers.", labels=["fingerprint", "architecture"])
    info.add_metric([encoder.fingerprint, encoder.bundle.config.architecture], 1)
    yield info
    encoded = CounterMetricFamily("dongil_titles_encoded", "Titles encoded.", labels=["fingerprint"])
    encoded.add_metric([encoder.fingerprint], encoder.encoded)
    yield encoded


async def metrics(request: Request) -> Response:
    """Figures for Prometheus: requests, waiting work, the catalogue, the model and the process."""
    figures: Metrics = request.app.state.metrics
    body, media_type = await asyncio.to_thread(figures.text, request.headers.get("accept", ""))
    return Response(body, media_type=media_type)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the route of this room to an app."""
    app.router.add_api_route(
        "/metrics",
        metrics,
        summary="Tell figures to Prometheus",
        response_class=Response,
        response_description="Figures as text",
        responses={200: {"content": _TEXT}},
        route_class_override=APIRoute if settings.local else guarded_route(settings, "read"),
    )
