"""Try: titles looked up in the catalogue, with the reasons for what was accepted and for what nearly was.

It knows a form and an address that leads back to it. It does not know how titles are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response

from api.page_frame import add_pages, first, form_of, is_part, show
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from embedder.errors import InputError
from index.answers import Answer
from index.decision import Decision
from index.items import MAX_TITLE_BYTES

_TITLES = 50  # looked up at once by hand
_MATCHES, _NEAR_MISSES = 20, 5
_SHOWN_ADDRESS = 1_800  # characters of an address that leads back to an answer
Mode = Literal["best", "threshold", "precision"]


@dataclass(frozen=True)
class Asked:
    """What a visitor asks: titles, and from where on two are one product."""

    titles: tuple[str, ...]
    mode: Mode
    threshold: str
    precision: str

    @classmethod
    def of(cls, form: Mapping[str, list[str]]) -> Asked:
        """Read a form, or the query of an address."""
        lines = (line.strip() for line in first(form, "q").replace("\0", " ").splitlines())
        mode = first(form, "mode", "best")
        known: Mode = "threshold" if mode == "threshold" else "precision" if mode == "precision" else "best"
        return cls(tuple(filter(None, lines)), known, first(form, "threshold"), first(form, "precision"))

    def check(self) -> None:
        """Refuse more than can be shown, or a title that is too long.

        Raises:
            InputError: it is.
        """
        if len(self.titles) > _TITLES:
            raise InputError(f"{len(self.titles):,} titles; expected at most {_TITLES} here: use a job for more")
        for title in self.titles:
            if len(title.encode(errors="replace")) > MAX_TITLE_BYTES:
                raise InputError(f"a title of {len(title):,} characters; expected at most {MAX_TITLE_BYTES} bytes")

    def limit(self, decision: Decision) -> float | None:
        """The threshold that holds; None for the best set of each title.

        Raises:
            InputError: no number, out of range, or a precision that is not proven.
        """
        if self.mode == "threshold":
            return _number(self.threshold or str(decision.threshold), "threshold")
        if self.mode == "precision":
            return decision.promised(_number(self.precision, "precision")).threshold
        return None

    def address(self) -> str:
        """Where this stands answered."""
        said = {"q": "\n".join(self.titles)}
        if self.mode != "best":
            said |= {"mode": self.mode, self.mode: self.threshold if self.mode == "threshold" else self.precision}
        return "/?" + urlencode(said, errors="replace")


@dataclass(frozen=True)
class Looked:
    """What the catalogue said to each title, and from which probability on it accepted."""

    answers: list[tuple[str, Answer]]
    threshold: float | None
    revision: int


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{name} is {text[:40]!r}; expected a number between 0 and 1") from None
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise InputError(f"{name} is {value:g}; expected a number between 0 and 1")
    return value


def look_up(service: Service, asked: Asked) -> Looked:
    """Ask the catalogue."""
    living = service.living
    threshold = asked.limit(living.decision)
    reply = living.answer(asked.titles, k=_MATCHES, threshold=threshold, near_misses=_NEAR_MISSES)
    return Looked(list(zip(asked.titles, reply.answers, strict=True)), threshold, reply.revision)


async def try_page(request: Request, service: Loaded) -> Response:
    """The form, and the answer to what an address asks."""
    query = request.query_params
    return await _answered(request, service, Asked.of({name: query.getlist(name) for name in query}))


async def try_titles(request: Request, service: Loaded) -> Response:
    """The answer to the form."""
    asked = Asked.of(await form_of(request))
    if not is_part(request):
        return await _answered(request, service, asked)
    asked.check()
    looked = await service.line.run(lambda: look_up(service, asked)) if asked.titles else None
    address = asked.address()
    headers = {"HX-Push-Url": address if len(address) <= _SHOWN_ADDRESS else "/"}
    return show(request, "_matches.html", headers=headers, asked=asked, looked=looked)


async def _answered(request: Request, service: Service, asked: Asked) -> Response:
    looked, wrong = None, None
    if asked.titles:
        try:
            asked.check()
            looked = await service.line.run(lambda: look_up(service, asked))
        except InputError as error:
            wrong = error.message
    return show(
        request, "try.html", status=422 if wrong else 200, asked=asked, looked=looked, wrong=wrong,
        decision=service.living.decision, samples=await service.desk.run(lambda: _samples(service)),
    )  # fmt: skip


def _samples(service: Service) -> list[str]:
    """A few titles of the catalogue, to begin with: of its largest clusters."""
    found = []
    for cluster in service.catalog.clusters.page("largest", limit=3)[0]:
        found += [item.title for item in service.catalog.page(None, 1, cluster=cluster.id).items]
    return [title for title in found if len(title) <= 80]


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    add_pages(app, settings, "read", {"/": try_page})
    add_pages(app, settings, "read", {"/": try_titles}, method="POST")
