"""Labels: what people say of pairs, kept, listed and handed out; and the pairs that are most worth asking about.

Thin: routes pass the work on to the service's threads. It does not know what is learnt from a label.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from api.guard import guarded_route
from api.labels_schemas import (
    DeleteLabelsRequest,
    DeleteLabelsResponse,
    Exact,
    LabelledPair,
    LabelsPage,
    OfVerdict,
    PutLabel,
    PutLabelsRequest,
    PutLabelsResponse,
    Review,
    ReviewLimit,
    ReviewPair,
    Seed,
    StoredLabel,
)
from api.problems import documented
from api.schemas import Cursor, PageLimit
from api.service import Service
from api.settings import Settings
from api.state import Loaded, Who
from index.catalog import Catalog
from index.items import MAX_TITLE_BYTES
from index.ledger import Label
from index.review import suggest

_COLUMNS = ("title_a", "title_b", "label")  # as `dongil train` knows them
_PAGE = 1_000
_GUARD = "`"  # cleaning drops it
_FORMULA = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠]")
_SHEET = "\ufeff"  # without it a spreadsheet takes Korean for something else


class CsvResponse(StreamingResponse):
    """A table that is written while it is read."""

    media_type = "text/csv"


async def put_labels(asked: PutLabelsRequest, service: Loaded, who: Who) -> PutLabelsResponse:
    """Keep what somebody says of pairs, all of it or nothing. A label takes the place of the pair's earlier one.

    Items that are the same share a cluster from the next clustering on, and different ones do not; labels of titles
    only teach the model.
    """
    return await service.desk.run(lambda: put(service, asked.labels, who))


async def list_labels(
    service: Loaded, limit: PageLimit = 100, cursor: Cursor = None, verdict: OfVerdict = None
) -> Response:
    """The labels in the order of their pairs. Those that stay are seen once, whatever is written between two pages."""
    return await service.desk.answer(lambda: _page(service.catalog, cursor, limit, verdict))


async def download_labels(service: Loaded, exact: Exact = False) -> Response:
    """All labels but the skipped ones as CSV: title_a, title_b, label. `dongil train` and `dongil relearn` take it.

    It is safe to open as a spreadsheet: a title that one would take for a formula has a backtick before it. Titles
    are cleaned before they teach anything, and cleaning drops the backtick, so that both forms teach the same.
    """
    rows = label_rows(service.catalog, exact)
    first = await service.desk.run(lambda: next(rows))
    return CsvResponse(chain([first], rows), headers={"Content-Disposition": 'attachment; filename="labels.csv"'})


async def delete_labels(asked: DeleteLabelsRequest, service: Loaded) -> DeleteLabelsResponse:
    """Take labels back; pairs that have none are passed over."""
    return await service.desk.run(lambda: delete(service, asked.labels))


async def review(service: Loaded, limit: ReviewLimit = 20, seed: Seed = 0) -> Response:
    """The pairs whose labels would teach most: label them by `PUT /v1/labels`, and ask again.

    It looks at a draw of the catalogue, so that it takes no longer for a large one. The same seed tells the same pairs
    until they are labelled.
    """
    return await service.line.answer(lambda: suggested(service, limit, seed))


def put(service: Service, labels: Sequence[PutLabel], who: str) -> PutLabelsResponse:
    """Keep labels.

    Raises:
        InputError: an item that there is not.
    """
    kept = [Label(one.left, one.right, one.verdict, who, one.of) for one in labels]
    revision = service.catalog.labels.put(kept)
    service.living.follow()
    return PutLabelsResponse(kept=len(kept), revision=revision)


def delete(service: Service, pairs: Sequence[LabelledPair]) -> DeleteLabelsResponse:
    """Take labels back."""
    with service.catalog.transaction() as revision:
        deleted = sum(service.catalog.labels.delete(one.left, one.right, one.of) for one in pairs)
    service.living.follow()
    return DeleteLabelsResponse(deleted=deleted, revision=revision)


def suggested(service: Service, limit: int = 20, seed: int = 0) -> Review:
    """The review queue."""
    return Review(items=[ReviewPair.of(one) for one in suggest(service.living, service.catalog, limit, seed=seed)])


def label_rows(catalog: Catalog, exact: bool = False) -> Iterator[bytes]:
    """The labels as CSV, some at a time, with their titles as they were when the label was given.

    Args:
        catalog: that holds them.
        exact: leave titles as they are, and the mark of UTF-8 away, which spreadsheets need.
    """
    text, cursor = io.StringIO(newline=""), None
    write = csv.writer(text, quoting=csv.QUOTE_ALL)
    text.write("" if exact else _SHEET)
    write.writerow(_COLUMNS)
    while True:
        labels, cursor = catalog.labels.page(cursor, _PAGE)
        for label in labels:
            if label.verdict != "skip":
                titles = (label.left_title, label.right_title)
                write.writerow((*(titles if exact else map(no_formula, titles)), label.verdict))
        yield text.getvalue().encode()
        if cursor is None:
            return
        text.seek(text.truncate(0))


def no_formula(title: str) -> str:
    """The title as a spreadsheet may open it: one that it would take for a formula begins with a backtick."""
    if not _FORMULA.match(title):
        return title
    return (_GUARD + title).encode()[:MAX_TITLE_BYTES].decode(errors="ignore")


def _page(catalog: Catalog, cursor: str | None, limit: int, verdict: OfVerdict) -> LabelsPage:
    labels, more = catalog.labels.page(cursor, limit, verdict=verdict)
    return LabelsPage(items=[StoredLabel.of_label(label) for label in labels], next_cursor=more)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    read = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "read"))
    write = partial(app.router.add_api_route, route_class_override=guarded_route(settings, "write"))
    write(
        "/v1/labels",
        put_labels,
        methods=["PUT"],
        summary="Label pairs",
        response_description="How many labels were kept",
        responses=documented(401, 403, 413, 415, 422, 500, 503, 507),
    )
    read(
        "/v1/labels",
        list_labels,
        summary="List labels",
        response_model=LabelsPage,
        response_description="A page of labels",
        responses=documented(401, 403, 422, 500, 503),
    )
    read(
        "/v1/labels.csv",
        download_labels,
        summary="Download labels",
        response_class=CsvResponse,
        response_description="A row for each labelled pair",
        responses=documented(401, 403, 422, 500, 503) | {200: {"content": {"text/csv": {"example": _csv_example()}}}},
    )
    write(
        "/v1/labels/delete",
        delete_labels,
        methods=["POST"],
        summary="Take labels back",
        response_description="How many there were",
        responses=documented(401, 403, 413, 415, 422, 500, 503, 507),
    )
    read(
        "/v1/review",
        review,
        summary="Suggest pairs to label",
        response_model=Review,
        response_description="Pairs, the first to ask first",
        responses=documented(401, 403, 422, 500, 503),
    )


def _csv_example() -> str:
    rows = [_COLUMNS, ("농심 신라면 120g 5개입", "농심 신라면 120g 20개입", "different")]
    return "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)
