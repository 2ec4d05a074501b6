"""The Python client: every use of the service as a function with types, over httpx.

    from api.client import Client

    with Client("http://127.0.0.1:8000", key="...") as dongil:
        for result in dongil.match(["농심 신라면 120g 5개입"]).results:
            print(result.title, [match.id for match in result.matches])

A request that the service is too busy for is sent again when it says so, and so is one that got no answer, where that
is safe; writes of items and jobs carry an ``Idempotency-Key``, which makes them so. A client may be used by several
threads; from asyncio call it by ``asyncio.to_thread``. It needs dongil[client], and none of what serving needs.

It knows paths. Shapes stand in ``api.client_answers``, how a call is repeated in ``api.client_calls``, jobs and models
in ``api.client_jobs``. It does not know what answers mean.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self

import httpx2 as httpx

from api.client_answers import (
    Cluster,
    Clustered,
    Deleted,
    Event,
    Item,
    Kept,
    Label,
    Matched,
    Put,
    ReviewPair,
    Verdict,
    read,
)
from api.client_calls import PAGE, Calls, in_path
from api.client_jobs import Background

Order = Literal["id", "largest", "loosest"]


class Client(Background):
    """The service at an address. Use it in a ``with`` block, or close it.

    Args:
        url: of the service, without a path of its API.
        key: API key, where the service asks for one.
        timeout: seconds until an answer, of each attempt.
        patience: seconds for which a request is tried again, at most.
        http: sends the requests, in place of one that the client makes; it is the caller's to close.

    Raises (all functions):
        ProblemError: the service refuses the request; ``faults`` say which values.
        httpx.TransportError: it cannot be reached, or did not answer in time.
        ValueError: what answers is not dongil.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        timeout: float = 60.0,
        patience: float = 60.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._lent = http is not None
        http = http or httpx.Client(base_url=url, timeout=timeout)
        if key is not None:
            http.headers["authorization"] = f"Bearer {key}"
        self._calls = Calls(http, patience=patience)

    def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if not self._lent:
            self._calls.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ready(self) -> bool:
        """Whether the service has loaded its model and catalogue."""
        return self._calls.http.get("/readyz").is_success

    def match(
        self,
        titles: Sequence[str],
        *,
        k: int = 10,
        threshold: float | None = None,
        min_precision: float | None = None,
        explain: bool = False,
    ) -> Matched:
        """The catalogue's items that are the same product as each title, best first."""
        asked = _given(titles=list(titles), k=k, threshold=threshold, min_precision=min_precision, explain=explain)
        return self._calls.post(Matched, "/v1/match", asked)

    def cluster(
        self, items: Iterable[Item], *, threshold: float | None = None, min_precision: float | None = None
    ) -> Clustered:
        """Group items among themselves, at once; the catalogue plays no part. For many, use a job."""
        each = [{"id": item.id, "title": item.title} for item in items]
        return self._calls.post(
            Clustered, "/v1/cluster", _given(items=each, threshold=threshold, min_precision=min_precision)
        )

    def embeddings(self, titles: Sequence[str]) -> list[list[float]]:
        """The vector of each title, of length 1."""
        answer = self._calls.ask("POST", "/v1/embeddings", json={"input": list(titles), "model": "dongil"}).json()
        return [one["embedding"] for one in answer["data"]]

    def model(self) -> Mapping[str, Any]:
        """The model that answers, its thresholds and proofs, and how many items can be found."""
        told: Mapping[str, Any] = self._calls.ask("GET", "/v1/model").json()
        return told

    # Items

    def put_items(self, items: Iterable[Item], *, wait: bool = False, idempotency_key: str | None = None) -> Put:
        """Add or replace items, all of them or none, in one request.

        Args:
            items: with distinct ids.
            wait: until they can be found.
            idempotency_key: a name for this write, which is then done once however often it is asked for; by default
                one is made for this call and its repetitions.
        """
        each = [
            _given(id=i.id, title=i.title, seller=i.seller, category=i.category, extra=dict(i.extra)) for i in items
        ]
        answer = self._calls.ask(
            "PUT",
            "/v1/items",
            json={"items": each},
            params={"wait": "true" if wait else None},
            headers={"idempotency-key": idempotency_key or uuid.uuid4().hex},
        )
        return read(Put, answer.json())

    def put_all(self, items: Iterable[Item], *, batch: int = 1_000) -> Iterator[Put]:
        """Add or replace any number of items, so many in a request; each request is done whole or not at all."""
        left = iter(items)
        while some := list(islice(left, batch)):
            yield self.put_items(some)

    def get_item(self, id: str) -> Item:
        """The item of an id, with its cluster; one that there is not is a problem of status 404."""
        return self._calls.get(Item, f"/v1/items/{in_path(id)}")

    def items(
        self, *, seller: str | None = None, category: str | None = None, cluster: str | None = None, page: int = PAGE
    ) -> Iterator[Item]:
        """All items in the order of their ids, fetched as they are asked for."""
        return self._calls.pages(Item, "/v1/items", page, seller=seller, category=category, cluster=cluster)

    def delete_items(self, ids: Iterable[str]) -> Deleted:
        """Remove items, all at once; ids that there are none of are passed over."""
        return self._calls.post(Deleted, "/v1/items/delete", {"ids": list(ids)})

    # Clusters

    def clusters(self, *, order: Order = "id", page: int = PAGE) -> Iterator[Cluster]:
        """All clusters, by id, the largest or the loosest first; some titles stand for each."""
        return self._calls.pages(Cluster, "/v1/clusters", page, order=order)

    def find_clusters(self, words: str, *, limit: int = 20) -> list[Cluster]:
        """Clusters that a title or a few words lead to, best first."""
        answer = self._calls.ask("GET", "/v1/clusters", params={"q": words, "limit": limit}).json()
        return read(list[Cluster], answer["items"])

    def get_cluster(self, id: str) -> Cluster:
        """A cluster with its first items and its last events; all items of it are ``items(cluster=id)``."""
        return self._calls.get(Cluster, f"/v1/clusters/{in_path(id)}")

    def merge(self, into: str, others: Sequence[str]) -> Event:
        """Move everything that stands in other clusters into one."""
        return self._calls.post(Event, "/v1/clusters/merge", {"into": into, "others": list(others)}, repeatable=False)

    def split(self, items: Sequence[str]) -> Event:
        """Move some items of one cluster into a new one, whose id is in ``into``."""
        return self._calls.post(Event, "/v1/clusters/split", {"items": list(items)}, repeatable=False)

    def undo(self, event: int) -> Event:
        """Put back what an entry of the trail moved."""
        return self._calls.post(Event, f"/v1/events/{event}/undo", repeatable=False)

    def accept(self, event: int) -> Event:
        """Do the merge that an entry of the trail proposes."""
        return self._calls.post(Event, f"/v1/events/{event}/accept", repeatable=False)

    def events(
        self, *, kind: str | None = None, item: str | None = None, cluster: str | None = None, page: int = PAGE
    ) -> Iterator[Event]:
        """The trail, newest first."""
        return self._calls.pages(Event, "/v1/events", page, kind=kind, item=item, cluster=cluster)

    def get_event(self, id: int) -> Event:
        """An entry of the trail, with what it moved."""
        return self._calls.get(Event, f"/v1/events/{id}")

    # Labels and review

    def put_labels(self, labels: Iterable[Label]) -> Kept:
        """Keep what somebody says of pairs, all of it or nothing; a pair's last label counts."""
        each = [{"left": one.left, "right": one.right, "of": one.of, "verdict": one.verdict} for one in labels]
        return read(Kept, self._calls.ask("PUT", "/v1/labels", json={"labels": each}).json())

    def labels(self, *, verdict: Verdict | None = None, page: int = PAGE) -> Iterator[Label]:
        """All labels, in the order of their pairs."""
        return self._calls.pages(Label, "/v1/labels", page, verdict=verdict)

    def delete_labels(self, labels: Iterable[Label]) -> Deleted:
        """Take the labels of pairs back; pairs that have none are passed over."""
        pairs = [{"left": one.left, "right": one.right, "of": one.of} for one in labels]
        return self._calls.post(Deleted, "/v1/labels/delete", {"labels": pairs})

    def review(self, *, limit: int = 20, seed: int = 0) -> list[ReviewPair]:
        """The pairs whose labels would teach most."""
        answer = self._calls.ask("GET", "/v1/review", params={"limit": limit, "seed": seed}).json()
        return read(list[ReviewPair], answer["items"])


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
