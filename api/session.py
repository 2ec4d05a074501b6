"""Sessions: a browser that has shown a key once carries a signed cookie instead of it.

The cookie says whose key it was and until when it holds; the key is not in it. It is signed with the key's digest, so
that another key, or one that was taken away, ends every session of the old one. That a request comes from the page
itself, and not from another site's, is seen to at the door (``api.door``).

It knows cookies and keys. It does not know what is shown.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request, Response

from api.keys import NOBODY, Key, KeyScope
from api.settings import Settings

COOKIE = "dongil_session"
LASTS = 12 * 3_600  # seconds: a working day
Clock = Callable[[], float]


@dataclass(frozen=True)
class Visitor:
    """Who looks at the page.

    Attributes:
        who: the name of the key, or "anonymous" where no keys are asked for.
        key: None where none are asked for; then everything is allowed.
    """

    who: str
    key: Key | None

    def may(self, scope: KeyScope) -> bool:
        """Whether something of this scope is allowed."""
        return self.key is None or self.key.allows(scope)


def visitor_of(request: Request, settings: Settings, clock: Clock = time.time) -> Visitor | None:
    """Who sent a request; None for somebody without a session, where one is needed."""
    if not settings.closed:
        return Visitor(NOBODY, None)
    name, until, signature = (*request.cookies.get(COOKIE, "").split("~"), "", "", "")[:3]
    key = settings.keyring.named(name)
    if key is None or not (until.isascii() and until.isdecimal() and len(until) < 16):
        return None
    signed = hmac.compare_digest(signature.encode(errors="replace"), _signature(key, until).encode())
    return Visitor(name, key) if signed and clock() < int(until) else None


def log_in(response: Response, settings: Settings, presented: str, *, secure: bool, clock: Clock = time.time) -> bool:
    """Give a session to who presents a key; whether it was one.

    Args:
        response: gets the cookie.
        settings: of the deployment.
        presented: the key, perhaps.
        secure: whether the browser came by https, and must never show the cookie elsewhere.
        clock: tells the time.
    """
    key = settings.keyring.find(presented.strip())
    if key is None:
        return False
    until = str(int(clock()) + LASTS)
    value = f"{key.name}~{until}~{_signature(key, until)}"
    response.set_cookie(COOKIE, value, max_age=LASTS, httponly=True, samesite="strict", secure=secure)
    return True


def log_out(response: Response) -> None:
    """End the session of a browser."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def _signature(key: Key, until: str) -> str:
    return hmac.digest(key.digest, f"page session|{key.name}|{until}".encode(), "sha256").hex()
