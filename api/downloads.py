"""Downloads: what jobs have made, handed out as files to keep, and never as pages to be opened here.

A spreadsheet runs cells that look like formulas, and what sellers write may look like one. So text of CSV and TSV files
that would be run has a backtick before it, and the mark of UTF-8 stands first, unless the exact file is asked for.

It knows files and their names. It does not know which jobs there are.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse

from api.labels import no_formula

TYPES: Mapping[str, str] = MappingProxyType({
    ".csv": "text/csv", ".tsv": "text/tab-separated-values", ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet", ".json": "application/json", ".png": "image/png",
    ".html": "text/html", ".md": "text/markdown",
})  # fmt: skip
_DELIMITERS: Mapping[str, str] = MappingProxyType({".csv": ",", ".tsv": "\t"})
_ROWS = 1_000  # written at once
_SHEET = "\ufeff"  # without it a spreadsheet takes Korean for something else
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def download(path: Path, *, exact: bool) -> Response:
    """A file to keep; ``exact`` leaves cells that look like formulas as they are."""
    kind = TYPES.get(path.suffix, "application/octet-stream")
    headers = {"Content-Disposition": f'attachment; filename="{path.name}"', "X-Content-Type-Options": "nosniff",
               "Cache-Control": "private, no-cache", "Content-Security-Policy": "sandbox"}  # fmt: skip
    if exact or path.suffix not in _DELIMITERS:
        return FileResponse(path, headers=headers, media_type=kind)
    return StreamingResponse(_harmless(path), headers=headers, media_type=kind)


def _harmless(path: Path) -> Iterator[bytes]:
    """The rows of a file that was written here, without formulas, some at a time."""
    text = io.StringIO(newline="")
    text.write(_SHEET)
    delimiter = _DELIMITERS[path.suffix]
    with path.open(encoding="utf-8", newline="") as file:
        write = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        careful = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for number, row in enumerate(csv.reader(file, delimiter=delimiter), start=1):
            # As `index.formats` does: a bare carriage return would end the row.
            (careful if any("\r" in cell for cell in row) else write).writerow(_cells(row))
            if number % _ROWS == 0:
                yield text.getvalue().encode()
                text.seek(text.truncate(0))
    yield text.getvalue().encode()


def _cells(row: Sequence[str]) -> list[str]:
    return [cell if _NUMBER.fullmatch(cell) else no_formula(cell) for cell in row]
