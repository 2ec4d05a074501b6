"""Options that several commands share, with the words that help prints. It knows names and ranges, not the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DeviceName = Literal["auto", "cpu", "gpu"]

Model = Annotated[Path | None, typer.Option(help="Folder of a model; the one that ships with dongil by default.")]
Out = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="File to write (CSV, TSV, JSON Lines or Parquet by suffix); - is standard output."
    ),
]
IdColumn = Annotated[str | None, typer.Option(help="Column of ids, when it has no name that dongil knows.")]
TitleColumn = Annotated[str | None, typer.Option(help="Column of titles, when it has no name that dongil knows.")]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of known products, when it has no name that dongil knows.")
]
TitleAColumn = Annotated[str | None, typer.Option(help="Column of a pair's first title; title_a.")]
TitleBColumn = Annotated[str | None, typer.Option(help="Column of a pair's second title; title_b.")]
Weight = Annotated[list[str] | None, typer.Option(help="SET=NUMBER: how much a set counts in choosing; 1 by default.")]
TestWhere = Annotated[str | None, typer.Option(help="COLUMN=VALUE: rows of a published test part.")]
Conflicts = Annotated[
    Literal["stop", "drop"],
    typer.Option(help="What to do about pairs called different that pairs called the same contradict."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Processors to use; all by default.")]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where to compute.")]


def named_value(text: str) -> tuple[str, str]:
    """NAME=VALUE in its two parts.

    Raises:
        BadParameter: it is not.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"{text!r}; expected NAME=VALUE")
    return name, value
