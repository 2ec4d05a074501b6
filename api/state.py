"""State: what the routes of one app share, and how a route gets at it.

It knows that loading takes a while. It does not know what is loaded, nor any route.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from api.disk import Disk
from api.service import Service
from api.settings import Settings


@dataclass
class Shared:
    """What the routes of one app share; loading fills it in."""

    settings: Settings
    stage: str = "starting"
    service: Service | None = None
    stopping: bool = False
    disk: Disk | None = None


def shared_of(request: Request) -> Shared:
    """What the app of a request shares."""
    shared: Shared = request.app.state.shared
    return shared


async def loaded(request: Request) -> Service:
    """The service of a request's app.

    Raises:
        HTTPException: 503, it is not loaded yet.
    """
    shared = shared_of(request)
    if shared.service is None:
        raise HTTPException(503, f"not ready ({shared.stage})", {"Retry-After": "5"})
    return shared.service


Loaded = Annotated[Service, Depends(loaded)]


async def caller(request: Request) -> str:
    """Who asks: the name of the key, as the guard has noted it; "anonymous" where no keys are asked for."""
    return str(getattr(request.state, "who", "anonymous"))


Who = Annotated[str, Depends(caller)]
