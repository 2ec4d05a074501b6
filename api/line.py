"""A line: work that blocks, on a few threads, with a line of limited length before them and the door shut beyond.

It knows threads, places and JSON. It does not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from fastapi import HTTPException, Response
from pydantic import BaseModel

T = TypeVar("T")


class Line:
    """Threads that work while the event loop goes on.

    Args:
        at_once: pieces of work done at the same time.
        waiting: pieces that may wait for those.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="dongil")
        self._most = self._places = at_once + waiting

    @property
    def taken(self) -> int:
        """Pieces of work that wait or are being done."""
        return self._most - self._places

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns.

        Raises:
            HTTPException: 503, no place is left.
        """
        if not self._places:
            raise HTTPException(503, "too many requests are waiting; come again", {"Retry-After": "1"})
        self._places -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)
        finally:
            self._places += 1

    async def answer(self, work: Callable[[], BaseModel]) -> Response:
        """The work's result as JSON, which is written in the work's thread too: an answer may be long.

        Raises:
            HTTPException: 503, no place is left.
        """
        # What a route does not set, nobody asked for.
        body = await self.run(lambda: work().model_dump_json(exclude_unset=True))
        return Response(body, media_type="application/json")

    def close(self) -> None:
        """End the threads after what they are doing."""
        self._threads.shutdown(cancel_futures=True)
