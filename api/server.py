"""The server: listens for an app, bounds what connections may cost, and ends in good order.

The first signal to end turns /readyz to 503, after a while closes the door, and lets what was taken come to its end.
A second Ctrl-C ends the process at once: what was acknowledged stands on the disk by then.

It knows sockets, signals and uvicorn. It does not know what is served.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.app import create_app
from api.door import CROWDED
from api.logs import set_up
from api.settings import Settings
from api.state import Shared

_STALLED = 30.0  # seconds without room for more of an answer, until a client that does not read it is left
_CTRL_C = 128 + signal.SIGINT  # how a shell calls a process that ended by it


def serve(settings: Settings) -> None:
    """Serve until a signal ends it; requests that are being answered are given time to end.

    Raises:
        InputError: the model or the catalogue cannot be loaded.
        SystemExit: the address cannot be listened on; the log says why.
        KeyboardInterrupt: after a graceful end by Ctrl-C.
    """
    failures: list[BaseException] = []

    def stop(error: BaseException) -> None:
        failures.append(error)
        server.leave()

    set_up(settings.log_format, settings.log_level)
    app = create_app(settings, on_failure=stop)
    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=wire(settings),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.grace_seconds,
        ),
        app.state.shared,
    )
    server.run()
    if failures:
        raise failures[0]


class Server(uvicorn.Server):
    """uvicorn that goes on for ``drain_seconds`` after the signal to end, and ends at once at a second Ctrl-C.

    Args:
        config: of uvicorn.
        shared: what the app's routes share.
    """

    def __init__(self, config: uvicorn.Config, shared: Shared) -> None:
        super().__init__(config)
        self._shared = shared
        self._until = 0.0

    def leave(self) -> None:
        """End without waiting for anybody."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if self.should_exit and sig == signal.SIGINT:
            _leave_at_once(self._shared)
        if not self.should_exit:
            self._shared.stopping = True
            self._until = time.monotonic() + self._shared.settings.drain_seconds
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to close the door now."""
        return await super().on_tick(counter) and time.monotonic() >= self._until


def _leave_at_once(shared: Shared) -> None:
    if shared.service is not None and shared.settings.data is None:
        shutil.rmtree(shared.service.catalog.folder, ignore_errors=True)
    os.write(2, b"stopped at once\n")
    os._exit(_CTRL_C)


def wire(settings: Settings) -> type[H11Protocol]:
    """The class of connections that cost no more than the settings allow.

    Beyond ``max_connections`` requests are marked as too many, and beyond twice as many a connection is not taken at
    all. Whoever takes too long over the head of a request, or does not read the answer, is left.
    """

    class Wire(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._timer: asyncio.TimerHandle | None = None
            self._stall: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * settings.max_connections:
                transport.abort()
            elif len(self.connections) > settings.max_connections:
                self.app_state = {**self.app_state, CROWDED: True}
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # The rest of a body whose answer has been given is waited for no longer than a head.
            answered = self.cycle is not None and self.cycle.response_complete
            if self.conn.their_state is h11.IDLE or (answered and self.conn.their_state is h11.SEND_BODY):
                self._expect_head()
            else:
                _cancel(self._timer)
                self._timer = None

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            _cancel(self._timer)
            _cancel(self._stall)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stall = self.loop.call_later(_STALLED, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._stall)

        def _expect_head(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(settings.header_seconds, self.transport.abort)

    return Wire


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
