"""The disk: whether a store's folder can be written just now.

It knows a folder and its faults. It does not know what is kept there.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

_FRESH = 1.0  # seconds that the answer is taken for
_PIECE = bytes(4_096)


class Disk:
    """Tells whether a folder can be written, by writing a little into it; asked often, it does not try each time.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.Lock()
        self._trouble: str | None = None
        self._until = 0.0

    def trouble(self) -> str | None:
        """Why the folder cannot be written; None when it can."""
        with self._turn:
            if time.monotonic() >= self._until:
                try:
                    with tempfile.TemporaryFile(dir=self._folder) as file:
                        file.write(_PIECE)
                        file.flush()
                        os.fsync(file.fileno())
                    self._trouble = None
                except OSError as error:
                    self._trouble = error.strerror or "it cannot be written"
                self._until = time.monotonic() + _FRESH
            return self._trouble
