"""Logs: one line an event, plain or as JSON, with the id of the request that it belongs to.

The lines of uvicorn and of everybody else come out the same way. No line holds a title unless the settings ask for
it, but for the message of a failure that nobody foresaw, which is told as it is. It knows records and their fields. It
does not know what happens in a request.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from contextvars import ContextVar
from typing import Any, TextIO

REQUEST_ID: ContextVar[str | None] = ContextVar("dongil_request_id", default=None)
"""Of the request that is being answered here; its own threads know it too."""
_FIT = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def request_id(offered: str | None) -> str:
    """The id that a caller offers for a request, when it is fit for a log, or a new one."""
    return offered if offered is not None and _FIT.fullmatch(offered) else secrets.token_hex(8)


def set_up(style: str, level: str, stream: TextIO | None = None) -> None:
    """Send what anybody logs in this process to one place: standard error by default.

    Args:
        style: "plain" or "json".
        level: from where on, such as "info".
        stream: instead of standard error.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("uvicorn.access").disabled = True  # the door keeps the account


class JsonFormatter(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name,
                "message": record.getMessage(), **_fields(record)}  # fmt: skip
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()


class PlainFormatter(logging.Formatter):
    """A line for people: when, how bad, who, what, and its fields; a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = "".join(f" {name}={_word(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {_printable(record.getMessage())}{fields}"
        if record.exc_info:
            line += "\n" + "\n".join(map(_printable, self.formatException(record.exc_info).split("\n")))
        return line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its words; ``extra={"fields": {...}}`` adds to it."""
    own: dict[str, Any] = getattr(record, "fields", {})
    id = REQUEST_ID.get()
    return ({"request_id": id} if id else {}) | own


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _word(value: Any) -> str:
    text = _printable(str(value))
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    """The text without what would end a line, or turn its direction, in a log."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
