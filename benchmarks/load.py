"""Load: a server asked by several clients at once, and what they got.

Clients wait for one answer before they ask again, share the machine with the server, and are bounded in requests and
in seconds. It knows how a request with titles is written. It does not know what an answer means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.server import run_child


@dataclass(frozen=True)
class Load:
    """What one number of clients got.

    Attributes:
        clients: asking at once.
        requests: answered well.
        titles: in those.
        failures: answered otherwise or not at all.
        seconds: from the first request to the last answer.
        p50_ms, p99_ms, worst_ms: latency of the requests answered well; None where there is none.
    """

    clients: int
    requests: int
    titles: int
    failures: int
    seconds: float
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None

    @property
    def per_second(self) -> float:
        """Requests answered well a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def titles_per_second(self) -> float:
        """Titles answered well a second."""
        return self.titles / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Asked:
    """What clients ask: the path, bodies of JSON with so many titles each, what a good answer holds, and headers."""

    path: str
    bodies: tuple[str, ...]
    titles: int
    good: str
    headers: Mapping[str, str]


def asking(
    titles: Sequence[str], *, at_once: int = 1, path: str = "/v1/match", field: str = "titles", good: str = '"results"',
    headers: Mapping[str, str] | None = None, **more: Any,
) -> Asked:  # fmt: skip
    """Requests with so many titles each.

    Args:
        titles: all are asked once, then again.
        at_once: in one request.
        path: where to.
        field: that the titles go in.
        good: text that a good answer holds.
        headers: of every request.
        more: fields beside.
    """
    each = [titles[start : start + at_once] for start in range(0, len(titles) - at_once + 1, at_once)] or [titles]
    bodies = tuple(json.dumps({field: list(some), **more}, ensure_ascii=False) for some in each)
    return Asked(path, bodies, len(each[0]), good, dict(headers or {}))


def ask(port: int, asked: Asked, clients: int, *, most: int, seconds: float) -> Load:
    """Ask from several clients at once, in a process of their own.

    Args:
        port: of a server that is ready.
        asked: in turn; each client starts at another.
        clients: at once, each on one connection of its own.
        most: requests in all, at most.
        seconds: after which no further request is begun.
    """
    job = {
        "port": port, "path": asked.path, "bodies": asked.bodies, "good": asked.good, "headers": dict(asked.headers),
        "clients": clients, "most": most, "seconds": seconds,
    }  # fmt: skip
    told = json.loads(run_child("benchmarks.clients", json.dumps(job), limit_s=seconds + 120))
    times = 1000 * np.array(told["times"])
    p50, p99, worst = (float(v) for v in np.percentile(times, [50, 99, 100])) if len(times) else (None, None, None)
    good, failed = len(times), sum(told["failures"].values())
    return Load(clients, good, good * asked.titles, failed, told["seconds"], p50, p99, worst)
