"""Paths: ids in paths may hold any text. The router's own kind of path ends at a line break, and would find another id.

It knows how a path is matched. It does not know what an id names.
"""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class Text(Convertor[str]):
    """Whatever stands in a path from here to its end, slashes and line breaks too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """The text."""
        return value

    def to_string(self, value: str) -> str:
        """The text."""
        return value


def allow_text() -> None:
    """Let paths say ``{id:text}``; twice is as good as once."""
    register_url_convertor("text", Text())
