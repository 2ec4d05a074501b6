"""Followers: at which revision of a catalogue each index stands, so that nothing is forgotten that one still needs.

It knows revisions. It does not know what an index is, nor what is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary


class _Held:
    """Stands for an index that is being made."""


class Followers:
    """Who follows, and from where on it must still be told of changes. Safe to use from several threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._at: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def note(self, follower: object, revision: int | None) -> None:
        """A follower stands at a revision by now; None when it follows no more. One that is gone needs not tell."""
        with self._turn:
            if revision is None:
                self._at.pop(follower, None)
            else:
                self._at[follower] = revision

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Whatever is known stays so while the block runs."""
        held = _Held()
        self.note(held, 0)
        try:
            yield
        finally:
            self.note(held, None)

    def passed(self) -> int:
        """The revision that all followers have reached; 0 where there are none."""
        with self._turn:
            return min(self._at.values(), default=0)
