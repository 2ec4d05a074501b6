"""Review: one pair after the other, the same product or not; and what the model makes of the answers.

How probable the model thinks a pair is stays hidden until somebody has answered: who knows it tends to agree with it,
and the label would teach the model its own opinion.

It knows pairs, labels and the job that learns from them. It does not know how pairs are chosen, nor how labels teach.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response

from api.cluster_look import Pair, judged_pair
from api.labels import download_labels
from api.page_frame import add_pages, first, form_of, is_part, show, visitor
from api.page_jobs import Progress, progress_of, queue
from api.review_queue import ReviewQueue
from api.service import Service
from api.settings import Settings
from api.state import Loaded
from embedder.errors import InputError
from index.ledger import Label, Verdict
from index.listings import Item
from index.review import suggest

_VERDICTS: tuple[Verdict, ...] = ("same", "different", "skip")
_LATEST = 30  # jobs in which the last training is looked for


@dataclass(frozen=True)
class Card:
    """A pair to answer, without what the model thinks of it."""

    left: Item
    right: Item


@dataclass(frozen=True)
class Answered:
    """A pair that was just answered, with what the model thought of it; None where it cannot tell any more."""

    label: Label
    pair: Pair | None


@dataclass(frozen=True)
class Standing:
    """How far the labels have come.

    Attributes:
        tally: labels by verdict.
        fewest: of "same" and of "different" each, from which something can be learnt.
        training: the last job that learnt from labels; None where there was none.
        switching: the last one that put a model to work or took it back; None as well.
        active, before: names of the model that works, and of the one to go back to, if any.
    """

    tally: dict[Verdict, int]
    fewest: int
    training: Progress | None
    switching: Progress | None
    active: str
    before: str | None

    @property
    def enough(self) -> bool:
        """Whether there is enough to learn from."""
        return all(self.tally.get(verdict, 0) >= self.fewest for verdict in _VERDICTS[:2])

    @property
    def busy(self) -> bool:
        """Whether one of these jobs is under way."""
        return any(one is not None and not one.over for one in (self.training, self.switching))


def standing(service: Service) -> Standing:
    """How far the labels have come."""
    from training.relearn import FEWEST

    catalog = service.catalog
    with catalog.snapshot():
        jobs = [progress_of(service, job) for job in catalog.jobs.page(limit=_LATEST)[0]]
        active, before = catalog.activations.active(), catalog.activations.before()
        tally = catalog.labels.tally()
    trained = (one for one in jobs if one.job.kind == "train" and one.job.request.get("what") == "relearn")
    switched = (one for one in jobs if one.job.kind in ("activate", "rollback"))
    return Standing(
        tally, FEWEST, next(trained, None), next(switched, None), active.model.name if active else "",
        before.model.name if before else None,
    )  # fmt: skip


def queue_of(request: Request, service: Service) -> ReviewQueue:
    """The queue of a service; a new one when another model works."""
    kept: tuple[object, ReviewQueue] | None = getattr(request.app.state, "review", None)
    living = service.living
    if kept is None or kept[0] is not living:
        find = service.catalog.labels.get
        pairs = ReviewQueue(lambda limit, seed: suggest(living, service.catalog, limit, seed=seed), find)
        kept = request.app.state.review = living, pairs
    return kept[1]


async def review(request: Request, service: Loaded) -> Response:
    """The next pair."""
    return await _shown(request, service, "review.html")


async def answer(request: Request, service: Loaded) -> Response:
    """Keep what somebody said of a pair, and show the next one."""
    form = await form_of(request)
    left, right, said = (first(form, name) for name in ("left", "right", "verdict"))
    verdict = next((one for one in _VERDICTS if one == said), None)
    if verdict is None:
        raise InputError("no answer; expected same, different or skip")
    label = Label(left, right, verdict, visitor(request).who)

    def work() -> Answered:
        if any(service.catalog.get(id) is None for id in (left, right)):
            raise InputError("one of the two items is gone from the catalogue; its pair cannot be labelled any more")
        pair = judged_pair(service, left, right)
        service.catalog.labels.put([label])
        service.living.follow()
        return Answered(label, pair)

    answered = await service.line.run(work)
    return await _shown(request, service, "_review.html" if is_part(request) else "review.html", answered=answered)


async def take_back(request: Request, service: Loaded) -> Response:
    """Forget an answer, and show its pair again."""
    form = await form_of(request)
    left, right = first(form, "left"), first(form, "right")

    def work() -> Card:
        items = [service.catalog.get(id) for id in (left, right)]
        service.catalog.labels.delete(left, right)
        service.living.follow()
        if items[0] is None or items[1] is None:
            raise InputError("one of the two items is gone from the catalogue")
        return Card(items[0], items[1])

    card = await service.desk.run(work)
    return await _shown(request, service, "_review.html" if is_part(request) else "review.html", card=card)


async def retrain(request: Request, service: Loaded) -> Response:
    """Begin to learn from the labels."""
    who = visitor(request).who
    await service.desk.run(lambda: queue(service, {"kind": "train", "what": "relearn"}, who))
    return await _panel(request, service)


async def promote(request: Request, service: Loaded) -> Response:
    """Begin to put the model to work that learnt from the labels."""
    name, who = first(await form_of(request), "name"), visitor(request).who
    await service.desk.run(lambda: queue(service, {"kind": "activate", "model": name}, who))
    return await _panel(request, service)


async def roll_back(request: Request, service: Loaded) -> Response:
    """Begin to take the active model back."""
    who = visitor(request).who
    await service.desk.run(lambda: queue(service, {"kind": "rollback"}, who))
    return await _panel(request, service)


async def training(request: Request, service: Loaded) -> Response:
    """How far that is."""
    return await _panel(request, service)


async def _panel(request: Request, service: Service) -> Response:
    if is_part(request):
        return show(request, "_training.html", standing=await service.desk.run(lambda: standing(service)))
    return await _shown(request, service, "review.html")


async def _shown(request: Request, service: Service, template: str, **values: Any) -> Response:
    pairs = queue_of(request, service)
    if "card" not in values:
        pair = await service.line.run(pairs.next)
        values["card"] = Card(pair.left, pair.right) if pair else None
    told = await service.desk.run(lambda: standing(service))
    return show(request, template, **({"answered": None, "standing": told} | values))


async def labels_file(_: Request, service: Loaded) -> Response:
    """All labels as a table."""
    return await download_labels(service)


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app."""
    add = partial(add_pages, app, settings)
    add("read", {"/review": review, "/review/training": training, "/review/labels.csv": labels_file})
    add("write", {"/review": answer, "/review/undo": take_back}, method="POST")
    add(
        "admin",
        {"/review/retrain": retrain, "/review/promote": promote, "/review/rollback": roll_back},
        method="POST",
    )
