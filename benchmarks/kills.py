"""Kills: ``dongil serve --data`` ended by ``kill -9`` again and again while it is written to, and what it kept.

Writers put and delete items, label pairs and ask for jobs over HTTP, one thing after the other each, and note what was
acknowledged. The service is killed at a random moment, one time in five while it starts, and started again. All that
was acknowledged must be there, once; of what was under way all or nothing; and what was not answered is asked for again
with the same key, which must do it once. It does not know how the service keeps things.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.server import Server, free_port, serve_command
from benchmarks.sockets import Answer, Connection, request, upload

SELLER = "kills"
_AFTER = 1.2  # seconds in which the service dies once it is at work
_EARLY = 0.2  # of the kills come while it starts
_TABLE = b"id,title\na,one thing\nb,another thing\n"
_PAGE = 1_000
_READY = 120.0  # seconds that a start may take before it counts as none


class Lost(Exception):  # noqa: N818 - a finding
    """The service does not hold what it acknowledged, or holds something twice."""


@dataclass
class Kept:
    """What must be there: items with their titles, verdicts by pair, and the numbers of jobs.

    Attributes:
        doubtful: requests that were not answered, each with what it would change.
    """

    items: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    doubtful: list[Write] = field(default_factory=list)
    acknowledged: Counter[str] = field(default_factory=Counter)
    refused: int = 0


@dataclass
class Write:
    """A request that changes something.

    Attributes:
        kind: items, labels or jobs.
        wire: as it is sent, and sent again.
        status: of a good answer.
        changes: what stands there afterwards; None for what is gone. Of a job its name.
    """

    kind: str
    wire: bytes
    status: int
    changes: dict[str, str | None]

    def done(self, kept: Kept, answer: Answer) -> None:
        """It was acknowledged."""
        kept.acknowledged[self.kind] += 1
        self.applied(kept, json.loads(answer.body).get("id", ""))

    def applied(self, kept: Kept, id: str = "") -> None:
        """It is done."""
        there = getattr(kept, self.kind)
        for name, value in self.changes.items():
            if value is None:
                there.pop(name, None)
            else:
                there[name] = id or value


@dataclass(frozen=True)
class Killed:
    """What came of many kills: the seconds of each start, what was acknowledged, and how jobs ended."""

    kills: int
    early: int
    start_seconds: list[float]
    acknowledged: dict[str, int]
    doubtful: int
    refused: int
    items: int
    jobs: dict[str, int]


class Killing:
    """A service in a folder that is killed and started again.

    Args:
        data: the folder.
        model: bundle; None for the one that ships with dongil.
        seed: of all that is drawn.
    """

    def __init__(self, data: Path, model: Path | None, *, seed: int = 0) -> None:
        self._data, self._model, self._draw = data, model, random.Random(seed)
        self._kept, self._number, self._starts = Kept(), 0, list[float]()
        self._kills = self._early = self._doubtful = 0
        self._ended: dict[str, int] = {}

    def run(self, kills: int, say: Callable[[str], None]) -> Killed:
        """Kill the service so many times.

        Raises:
            Lost: something that was acknowledged is not there, or is there twice.
            InputError: the service did not start.
        """
        for number in range(kills):
            with self._server(wait=False) as server:
                if self._starts and self._draw.random() < _EARLY:
                    self._early += 1
                    time.sleep(self._draw.uniform(0, max(self._starts)))
                else:
                    asyncio.run(self._round(server))
                server.kill()
            self._kills += 1
            if not (number + 1) % 10:
                say(f"{number + 1} kills, {sum(self._kept.acknowledged.values()):,} writes acknowledged and kept")
        with self._server() as server:
            self._ended = asyncio.run(self._last(server))
        return self.told()

    def told(self) -> Killed:
        """What came of it so far."""
        kept = self._kept
        return Killed(
            self._kills, self._early, self._starts, dict(kept.acknowledged), self._doubtful, kept.refused,
            len(kept.items), self._ended,
        )  # fmt: skip

    def _server(self, *, wait: bool = True) -> Server:
        port = free_port()
        return Server(serve_command(port, data=self._data, model=self._model), port, limit_s=_READY, wait=wait)

    async def _round(self, server: Server) -> None:
        """Wait, check, write, and die while writing."""
        await self._check(server)
        writers = [
            asyncio.create_task(self._write(server.port, draw))
            for draw in (self._items, self._items, self._labels, self._jobs)
        ]
        await asyncio.sleep(self._draw.uniform(0, _AFTER))
        server.kill()
        await asyncio.gather(*writers)

    async def _check(self, server: Server) -> None:
        """Wait until the service is ready, then look whether it has what it acknowledged."""
        await asyncio.to_thread(server.wait, _READY)
        self._starts.append(server.start_seconds)
        connection = await Connection.connect(server.port)
        there = await _found(connection)
        _settle(self._kept, there)
        for write in self._kept.doubtful:
            answer = await _patiently(connection, write.wire)
            if answer.status != write.status:
                raise Lost(f"{write.kind} asked for again: {answer.status} {answer.body[:300]!r}")
            write.applied(self._kept, json.loads(answer.body).get("id", ""))
        if self._kept.doubtful:
            self._doubtful += len(self._kept.doubtful)
            self._kept.doubtful.clear()
            _settle(self._kept, await _found(connection))
        await self._match_one(connection)
        connection.close()

    async def _match_one(self, connection: Connection) -> None:
        """An item that was acknowledged is matched by its title, at the latest when all titles are encoded."""
        if not self._kept.items:
            return
        id, title = self._draw.choice(sorted(self._kept.items.items()))
        body = json.dumps({"titles": [title], "k": 50, "threshold": 0.0}).encode()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            answer = await _patiently(connection, request("POST", "/v1/match", body))
            if any(match["id"] == id for match in json.loads(answer.body)["results"][0]["matches"]):
                return
            await asyncio.sleep(0.1)
        raise Lost(f"item {id!r} is not matched by its own title")

    async def _last(self, server: Server) -> dict[str, int]:
        """Check once more, and wait until all jobs have ended; how many ended how."""
        await self._check(server)
        connection, until = await Connection.connect(server.port), time.monotonic() + 600
        while True:
            states = Counter([job["state"] for job in await _pages(connection, "/v1/jobs")])
            if not (states["queued"] or states["running"]) or time.monotonic() > until:
                connection.close()
                return dict(states)
            await asyncio.sleep(0.5)

    async def _write(self, port: int, draw: Callable[[], Write]) -> None:
        """Write one thing after the other until the service is gone."""
        with contextlib.suppress(OSError):
            connection = await Connection.connect(port)
            while True:
                write = draw()
                self._kept.doubtful.append(write)
                answer = await connection.ask(write.wire)
                self._kept.doubtful.remove(write)
                if answer.status == write.status:
                    write.done(self._kept, answer)
                elif answer.status in (429, 503):
                    self._kept.refused += 1
                    await asyncio.sleep(0.05)
                else:
                    raise Lost(f"{write.kind}: {answer.status} {answer.body[:300]!r}")
                if write.kind == "jobs":
                    await asyncio.sleep(_AFTER)  # each takes a second to do

    def _items(self) -> Write:
        """New items, and some of those that stand there with another title; or items that go."""
        self._number += 1
        touched = {name for write in self._kept.doubtful for name in write.changes}
        free = sorted(self._kept.items.keys() - touched)
        if len(free) > 50 and self._draw.random() < 0.3:
            ids = self._draw.sample(free, self._draw.randint(1, 40))
            wire = request("POST", "/v1/items/delete", json.dumps({"ids": ids}).encode())
            return Write("items", wire, 200, dict.fromkeys(ids))
        new = [f"k{self._number}-{one}" for one in range(self._draw.randint(1, 20))]
        old = self._draw.sample(free, min(len(free), 3))
        put: dict[str, str | None] = {id: f"{id} 물건 {self._number}판" for id in [*new, *old]}
        items = [{"id": id, "title": title, "seller": SELLER} for id, title in put.items()]
        key = {"Idempotency-Key": f"put {self._number}"}
        return Write("items", request("PUT", "/v1/items", json.dumps({"items": items}).encode(), key), 200, put)

    def _labels(self) -> Write:
        self._number += 1
        pair = sorted([f"킬 {self._draw.randrange(300)}", f"다른 킬 {self._draw.randrange(10)}"])
        verdict = self._draw.choice(["same", "different", "skip"])
        labels = [{"left": pair[0], "right": pair[1], "of": "titles", "verdict": verdict}]
        wire = request("PUT", "/v1/labels", json.dumps({"labels": labels}).encode())
        return Write("labels", wire, 200, {"\n".join(pair): verdict})

    def _jobs(self) -> Write:
        self._number += 1
        name, key = f"{self._number}.csv", {"Idempotency-Key": f"job {self._number}"}
        return Write("jobs", upload("/v1/jobs/upload", b'{"kind": "cluster"}', name, _TABLE, key), 202, {name: ""})


async def _patiently(connection: Connection, wire: bytes) -> Answer:
    """An answer other than to come again."""
    until = time.monotonic() + 60
    while (answer := await connection.ask(wire)).status in (429, 503) and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return answer


async def _pages(connection: Connection, path: str) -> list[dict[str, Any]]:
    """All that a list holds."""
    rows, cursor = list[dict[str, Any]](), ""
    while True:
        sign = "&" if "?" in path else "?"
        answer = await _patiently(connection, request("GET", f"{path}{sign}limit={_PAGE}{cursor}"))
        told = json.loads(answer.body)
        rows += told["items"]
        if told["next_cursor"] is None:
            return rows
        cursor = f"&cursor={told['next_cursor']}"


async def _found(connection: Connection) -> Kept:
    """What the service holds.

    Raises:
        Lost: something stands there twice.
    """
    there = Kept()
    rows = {
        "items": [(one["id"], one["title"]) for one in await _pages(connection, f"/v1/items?seller={SELLER}")],
        "labels": [
            (f"{one['left']}\n{one['right']}", one["verdict"])
            for one in await _pages(connection, "/v1/labels")
            if "킬 " in one["left"]
        ],
        "jobs": [
            (one["request"]["upload"]["name"], one["id"])
            for one in await _pages(connection, "/v1/jobs")
            if "upload" in one["request"]
        ],
    }
    for kind, some in rows.items():
        if twice := [name for name, count in Counter(name for name, _ in some).items() if count > 1]:
            raise Lost(f"{kind} that stand there twice: {twice[:5]}")
        getattr(there, kind).update(some)
    return there


def _settle(kept: Kept, there: Kept) -> None:
    """Take what the service holds for what must be there, if it may be.

    Raises:
        Lost: it holds more or less than was acknowledged, or a part of a request.
    """
    for kind in ("items", "labels", "jobs"):
        must, found = getattr(kept, kind), getattr(there, kind)
        doubtful = [write for write in kept.doubtful if write.kind == kind]
        for write in doubtful:
            before = {name: must.get(name) for name in write.changes}
            now = {name: found.get(name) for name in write.changes}
            after = {name: now[name] or "no job" if kind == "jobs" else value for name, value in write.changes.items()}
            if now not in (before, after):
                raise Lost(f"a part of a request for {kind}: {now}, where {before} or {after} may stand")
        touched = {name for write in doubtful for name in write.changes}
        wrong = {name for name in must.keys() | found.keys() if must.get(name) != found.get(name)} - touched
        if wrong:
            first = sorted(wrong)[:5]
            told = {name: (must.get(name), found.get(name)) for name in first}
            raise Lost(f"{len(wrong)} {kind} are not what was acknowledged (expected, found): {told}")
