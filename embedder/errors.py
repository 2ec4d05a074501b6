"""The one error that bad input raises, whatever the room it is found in.

It knows how to say where a value stands. It does not know files, formats or HTTP: the edges (command line,
service) decide what an error looks like to their users.
"""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used: what is wrong, where it stands, and what was expected instead.

    Args:
        message: the value and the expectation, in one sentence without a full stop.
        file: the file's name as the user gave it.
        line: the physical line in that file, counted from 1 (the header is line 1).
        column: the column's name.
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, column: str | None = None
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        where = [part for part in (file, line and f"line {line}", column and f"column {column}") if part]
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
