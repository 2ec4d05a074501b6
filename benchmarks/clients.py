"""Clients: so many ask one server at once, each waiting for its answer before it asks again, in a child process.

The child is told its work as JSON on standard input and tells what it measured as JSON on standard output; it imports
the standard library alone, so that it starts at once and leaves the machine to the server. It knows requests that
were written elsewhere, and a piece of text that a good answer holds. It does not know what they mean.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.sockets import Caller, request


async def run_clients(job: dict[str, Any]) -> dict[str, Any]:
    """Ask until the requests or the seconds are used up.

    Args:
        job: "port", "path", "bodies" (asked in turn; each client starts at another), "headers", "good" (text of a good
            answer), "clients", "most" (requests in all), "seconds" (after which none is begun).

    Returns:
        "seconds" from the first request to the last answer, "times" in seconds of the requests answered well, and
        "failures": how often each status came instead, 0 for none at all.
    """
    posts = [request("POST", job["path"], body.encode(), job["headers"]) for body in job["bodies"]]
    good, clients, times, failures = job["good"].encode(), job["clients"], [], dict[str, int]()
    start = time.perf_counter()
    until = start + job["seconds"]

    async def client(number: int) -> None:
        caller = Caller(job["port"])
        for place in range(number, job["most"], clients):
            begun = time.perf_counter()
            if begun > until:
                break
            status = 0
            try:
                answer = await caller.ask(posts[place % len(posts)])
                status = answer.status
                if status == 200 and good in answer.body:
                    times.append(time.perf_counter() - begun)
                    continue
            except OSError:
                pass  # no answer at all is status 0
            failures[str(status)] = failures.get(str(status), 0) + 1
        caller.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return {"seconds": time.perf_counter() - start, "times": times, "failures": failures}


def main() -> None:
    """Run as a child."""
    json.dump(asyncio.run(run_clients(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
