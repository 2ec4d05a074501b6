"""An error says where, then what."""

from __future__ import annotations

import pytest

from embedder.errors import InputError


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "blank title; expected text"),
        ({"file": "c.csv"}, "c.csv: blank title; expected text"),
        ({"file": "c.csv", "line": 7, "column": "title"}, "c.csv, line 7, column title: blank title; expected text"),
        ({"line": 7}, "line 7: blank title; expected text"),
        ({"column": "title"}, "column title: blank title; expected text"),
    ],
)
def test_the_place_comes_first(place: dict[str, object], said: str) -> None:
    error = InputError("blank title; expected text", **place)  # type: ignore[arg-type]
    assert str(error) == said
    assert error.message == "blank title; expected text"
    assert (error.file, error.line, error.column) == (place.get("file"), place.get("line"), place.get("column"))


def test_it_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no such"):
        raise InputError("no such")
