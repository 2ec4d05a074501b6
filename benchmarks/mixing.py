"""Mixing: readers and writers of every kind at once, and a proof that no answer mixes two states of the catalogue.

Groups of items share one cleaned title and are written by one request each, so that a catalogue of one revision holds
all items of a group with one title, or none. Readers note which they saw at which revision. At the end that is held
against what was acknowledged: whatever was seen must be what stood there at the answer's revision, and once a write
that waited for its items was acknowledged, the next answer must show it.

A child process, which is told its work as JSON and tells what it found as JSON; it imports the standard library alone.
It does not know what is compared with what.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from benchmarks.sockets import Answer, Caller, request, upload

GROUP = 4  # items of a group
_WRAPPINGS = ("{}", "[무료배송] {}", "{} 당일발송", "(특가) {}")  # cleaning takes them away
_REFUSED = frozenset((429, 503))
_LONGEST = 1.0  # seconds that a client waits, whatever it is told
_SHOWN = 5  # of each kind of trouble
_JOB_PAUSE = 10.0


@dataclass
class Group:
    """What was acknowledged of a group.

    Attributes:
        history: revisions, rising, and the title that all items had from then on; None for no items.
        now: the title that can be found since the last write was acknowledged; "" while one is under way.
        last: the last title that there was.
        changes: how many writes were begun.
    """

    name: str
    history: list[tuple[int, str | None]] = field(default_factory=lambda: [(0, None)])
    now: str | None = None
    last: str = ""
    changes: int = 0

    def at(self, revision: int) -> str | None:
        """The title at a revision."""
        return self.history[bisect_right(self.history, revision, key=lambda entry: entry[0]) - 1][1]


@dataclass(frozen=True)
class Reading:
    """What an answer showed of a group: its title in each of the items found, and at which revision."""

    group: Group
    revision: int
    seen: tuple[str, ...]

    def torn(self) -> str | None:
        """Why no catalogue of one revision holds this; None where one does."""
        stood = self.group.at(self.revision)
        if not self.seen:
            return None  # a title is found once it is encoded
        told = f"{self.group.name} at revision {self.revision}: {Counter(self.seen)}, where {stood!r} stood"
        return None if self.seen == (stood,) * GROUP else told


class Mix:
    """Clients of one server, until a moment.

    Args:
        job: "port", "titles" that are asked, "clients", "seconds", "groups".
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.port, self.titles, self.clients = job["port"], job["titles"], job["clients"]
        self.start = time.perf_counter()
        self.until = self.start + float(job["seconds"])
        self.groups = [Group(f"g{number}") for number in range(job["groups"])]
        self.times: dict[str, list[float]] = {}
        self.refused, self.wrong = Counter[str](), list[str]()
        self.readings, self.stale, self.exact = list[Reading](), list[str](), 0

    def going(self) -> bool:
        """Whether there is time left."""
        return time.perf_counter() < self.until

    async def asks(self, kind: str, caller: Caller, wire: bytes, good: tuple[int, ...] = (200,)) -> Answer | None:
        """An answer of an expected status; None where the service was too busy, or something is wrong, and noted."""
        begun = time.perf_counter()
        try:
            answer = await caller.ask(wire)
        except OSError as error:
            self.wrong.append(f"{kind}: {error}")
            raise
        if answer.status in _REFUSED:
            self.refused[kind] += 1
            await asyncio.sleep(min(_LONGEST, answer.retry_after))
            return None
        if answer.status not in good:
            self.wrong.append(f"{kind}: {answer.status} {answer.body[:300].decode(errors='replace')}")
            return None
        self.times.setdefault(kind, []).append(time.perf_counter() - begun)
        return answer

    async def match(self, number: int, caller: Caller) -> None:
        """Look titles up, one after the other."""
        place = number
        while self.going():
            body = json.dumps({"titles": [self.titles[place % len(self.titles)]], "k": 10}).encode()
            await self.asks("match", caller, request("POST", "/v1/match", body))
            place += self.clients

    async def look(self, number: int, caller: Caller) -> None:
        """Look groups up, and note what is seen of them; by listing every fourth time."""
        place = number
        while self.going():
            group = self.groups[place % len(self.groups)]
            place += 1
            before, title = group.changes, group.now
            asked = group.last or group.name
            if place % 4:
                body = json.dumps({"titles": [asked], "k": 20, "threshold": 0.0}).encode()
                answer = await self.asks("look", caller, request("POST", "/v1/match", body))
            else:
                answer = await self.asks("list", caller, request("GET", f"/v1/items?seller={quote(group.name)}"))
            if answer is None:
                continue
            told = json.loads(answer.body)
            items = told["items"] if "items" in told else told["results"][0]["matches"]
            seen = tuple(plain(item["title"]) for item in items if item["id"].startswith(f"{group.name}-"))
            self.readings.append(Reading(group, told["revision"], seen))
            if group.changes == before and title != "":
                self.exact += 1
                if seen != ((title,) * GROUP if title else ()):
                    self.stale.append(f"{group.name}: {Counter(seen)} after {title!r} was acknowledged")

    async def write(self, number: int, caller: Caller, share: int) -> None:
        """Put and delete the groups that are this writer's, each whole."""
        turn = 0
        while self.going():
            for group in self.groups[number::share]:
                if self.going():
                    turn += 1
                    await self._change(group, turn, caller)

    async def _change(self, group: Group, turn: int, caller: Caller) -> None:
        ids = [f"{group.name}-{one}" for one in range(GROUP)]
        before, after = group.now, None if turn % 5 == 0 else f"소크 물건 {group.name} 제 {turn}판 {turn * 7 % 50}g"
        group.changes += 1
        group.now = ""
        if after is None:
            wire = request("POST", "/v1/items/delete", json.dumps({"ids": ids}).encode())
        else:
            items = [
                {"id": id, "title": wrapping.format(after), "seller": group.name}
                for id, wrapping in zip(ids, _WRAPPINGS, strict=True)
            ]
            wire = request("PUT", "/v1/items?wait=true", json.dumps({"items": items}).encode())
        answer = await self.asks("delete" if after is None else "put", caller, wire)
        if answer is None:  # nothing was done
            group.now = before
            return
        told = json.loads(answer.body)
        group.history.append((told["revision"], after))
        group.now = after if after is None or told["searchable"] else ""
        group.last = after or group.last

    async def label(self, number: int, caller: Caller) -> None:
        """Say something of pairs, of five hundred again and again."""
        place = number
        while self.going():
            place += 1
            pair = {"left": f"라벨 {place % 500}", "right": f"라벨 {place % 500} 다른 것", "of": "titles"}
            pair["verdict"] = ("same", "different", "skip")[place % 3]
            await self.asks("label", caller, request("PUT", "/v1/labels", json.dumps({"labels": [pair]}).encode()))

    async def browse(self, number: int, caller: Caller) -> None:
        """Turn pages, as people do."""
        paths = (
            "/v1/clusters?order=loosest&limit=50", "/v1/clusters?order=largest&limit=50", "/v1/items?limit=100",
            "/v1/review?limit=5", "/v1/events?limit=50", "/v1/labels?limit=100", "/v1/model", "/healthz",
        )  # fmt: skip
        place = number
        while self.going():
            await self.asks("browse", caller, request("GET", paths[place % len(paths)]))
            place += 1

    async def work(self, number: int, caller: Caller) -> None:
        """Have a small file clustered, watch that, take the result home and forget the job."""
        table = "id,title\n" + "".join(
            f"{row},{title}\n" for row, title in enumerate(self.titles[:50]) if "," not in title
        )
        wire = upload("/v1/jobs/upload", b'{"kind": "cluster"}', f"{number}.csv", table.encode())
        while self.going():
            if answer := await self.asks("job", caller, wire, (202,)):
                path = f"/v1/jobs/{json.loads(answer.body)['id']}"
                job = {"state": "queued"}
                while job["state"] in ("queued", "running") and self.going():
                    await asyncio.sleep(0.5)
                    if answer := await self.asks("job", caller, request("GET", path)):
                        job = json.loads(answer.body)
                if job["state"] == "done":
                    await self.asks("job", caller, request("GET", f"{path}/files/clusters.csv"))
                    await self.asks("job", caller, request("DELETE", path), (204,))
                elif self.going():
                    self.wrong.append(f"job: {job['state']}, {job['error']}")
            await asyncio.sleep(min(_JOB_PAUSE, max(0.0, self.until - time.perf_counter())))

    async def run(self) -> dict[str, Any]:
        """Let all go, and hold what was seen against what was acknowledged."""
        writers = max(1, self.clients // 10)
        some: list[Callable[[int, Caller], Awaitable[None]]] = [
            *[lambda number, caller: self.write(number, caller, writers)] * writers,
            *[self.look] * max(1, self.clients // 8), self.label, self.browse, self.work,
        ]  # fmt: skip
        some += [self.match] * max(1, self.clients - len(some))
        await asyncio.gather(*(self._client(number, one) for number, one in enumerate(some)))
        seconds = time.perf_counter() - self.start
        torn = [why for reading in self.readings if (why := reading.torn())]
        return {
            "seconds": seconds,
            "clients": len(some),
            "times": self.times,
            "refused": dict(self.refused),
            "wrong": {"count": len(self.wrong), "first": self.wrong[:_SHOWN]},
            "torn": {"count": len(torn), "first": torn[:_SHOWN]},
            "stale": {"count": len(self.stale), "first": self.stale[:_SHOWN]},
            "readings": len(self.readings),
            "readings_that_saw": sum(bool(reading.seen) for reading in self.readings),
            "exact": self.exact,
        }

    async def _client(self, number: int, does: Callable[[int, Caller], Awaitable[None]]) -> None:
        caller = Caller(self.port)
        while self.going():
            try:
                await does(number, caller)
            except OSError:  # it was noted
                await asyncio.sleep(0.1)
        caller.close()


def plain(title: str) -> str:
    """A group's title without its wrapping."""
    for wrapping in _WRAPPINGS[1:]:
        front, back = wrapping.split("{}")
        if title.startswith(front) and title.endswith(back):
            return title[len(front) : len(title) - len(back)]
    return title


def main() -> None:
    """Run as a child."""
    json.dump(asyncio.run(Mix(json.load(sys.stdin)).run()), sys.stdout)


if __name__ == "__main__":
    main()
