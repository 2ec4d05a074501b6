"""Asking: many titles looked up in the catalogue of one revision, giving way to whoever waits for an answer.

It knows snapshots and threads. It does not know where titles come from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from index.answers import Answer, Ask

if TYPE_CHECKING:
    from api.service import Service

_LOOK = 0.005  # seconds between two looks whether requests are being answered


class Asking:
    """The catalogue as it is now, asked as a job's request says; it stays so, whatever is written meanwhile.

    Attributes:
        revision: of the catalogue.
        fingerprint: of the model.
    """

    def __init__(self, service: Service, request: Mapping[str, Any]) -> None:
        self._service, living = service, service.living
        self._snapshot = living.snapshot
        self.revision, self.fingerprint = self._snapshot.revision, living.encoder.fingerprint
        threshold = request.get("threshold")
        if request.get("min_precision") is not None:
            threshold = living.decision.promised(request["min_precision"]).threshold
        self._how = (request["k"], threshold, request["near_misses"])

    def answers(self, titles: Sequence[str]) -> list[Answer]:
        """What the catalogue has to say to each title; then it waits a little while requests are being answered."""
        started = time.monotonic()
        answers = self._snapshot.answers([Ask(title, *self._how) for title in titles])
        # At most thrice as long as these titles took: a busy service gets most of the time, and not all of it.
        until = time.monotonic() + 3 * (time.monotonic() - started)
        while self._service.busy and time.monotonic() < until:
            time.sleep(_LOOK)
        return answers
