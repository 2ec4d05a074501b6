"""Upkeep: what the background does for clusters between two clusterings of everything, and how it is stopped.

It knows the web of the base that stands, and what was not mended yet. It does not know when it is called.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence

from index.catalog import Catalog
from index.joining import place
from index.mending import mend
from index.scene import Progress
from index.snapshot import Snapshot
from index.ties import Sayings
from index.web import Web


class Stopped(Exception):  # noqa: N818 - it is no error
    """The background was asked to stop."""


def unless(stopping: Callable[[], bool], progress: Progress | None = None) -> Progress:
    """A ``progress`` that ends what it is told of as soon as it is to stop.

    Raises:
        Stopped: it is to stop already.
    """

    def told(phase: str, done: int, total: int) -> None:
        if stopping():
            raise Stopped
        if progress:
            progress(phase, done, total)

    if stopping():
        raise Stopped
    return told


def give_back() -> None:
    """Hand memory that was freed back to the system, where the C library would keep it in pieces.

    Each new base at 100,000 items left some 500 MiB behind that no program object held.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


class Upkeep:
    """The clusters of a catalogue between two clusterings of everything. For one thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._ties = catalog, Sayings(catalog)
        self._web: Web | None = None
        self._stale: set[int] = set()  # nodes to be clustered anew, with what hangs together with them

    def join(self, snapshot: Snapshot, ids: Sequence[str], again: Sequence[str]) -> None:
        """Put items into clusters; see ``index.joining.place``."""
        place(self._catalog, snapshot, ids, self._ties(), again=again)

    def mend(self, snapshot: Snapshot) -> None:
        """Cluster anew what items that came or went since the base hang together with, once its pairs are judged."""
        base = snapshot.base
        if base.pairs is None or not snapshot.strayed:
            return
        if self._web is None or self._web.base is not base:
            self._web, self._stale = Web(base, base.pairs, snapshot.cluster_threshold), set()
            give_back()  # the web before held the base before
        self._stale.update(self._web.take_up(snapshot).tolist())
        mend(self._catalog, snapshot, self._web, self._stale, self._ties)
        self._stale.clear()
