"""Rounds: contenders run in turns, A B C A B C, so that whatever else the machine does falls on all of them.

Ratios are taken within a round and told as a median with the least and the most. It does not know what is run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.worker import Contender, Measured, NoResult, Worker


@dataclass(frozen=True)
class Spread:
    """A median with the least and the most of several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values))

    def told(self, form: str = ".2f") -> str:
        """Such as "1.25 (1.20-1.31)"."""
        return f"{self.median:{form}} ({self.least:{form}}-{self.most:{form}})"


@dataclass
class Runs:
    """The runs of one contender: seconds of each, its last peak memory and result; or why there are none."""

    name: str
    status: str = "ok"
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every one of its runs ended well, and there is one."""
        return self.status == "ok" and bool(self.seconds)

    def add(self, measured: Measured) -> None:
        """Keep one run."""
        self.seconds.append(measured.seconds)
        self.peak_mb, self.result = measured.peak_mb, measured.result


def ratio(over: Runs, under: Runs) -> Spread:
    """Seconds of one by seconds of the other, round by round."""
    return Spread.of([a / b for a, b in zip(over.seconds, under.seconds, strict=False)])


def take_turns(
    contenders: Sequence[Contender],
    *,
    rounds: int = 5,
    least_rounds: int = 2,
    budget_s: float = 240.0,
    limit_s: float = 600.0,
    say: Callable[[str], None] | None = None,
) -> dict[str, Runs]:
    """Start all contenders, then run them in turns; by name, in their order.

    A contender that is not installed, fails or takes too long drops out with its reason; the others go on.

    Args:
        contenders: with different names.
        rounds: at most.
        least_rounds: run even when the budget is spent.
        budget_s: seconds after which no further round is begun.
        limit_s: seconds that loading, and one run, may take.
        say: called with a line after each round.
    """
    runs = {contender.name: Runs(contender.name) for contender in contenders}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contender in contenders:
            try:
                workers[contender.name] = stack.enter_context(Worker(contender, limit_s=limit_s))
                runs[contender.name].versions = workers[contender.name].versions
            except NoResult as reason:
                runs[contender.name].status = str(reason)
        start = time.monotonic()
        for number in range(rounds):
            if number >= least_rounds and time.monotonic() - start > budget_s:
                break
            for name, worker in list(workers.items()):
                try:
                    runs[name].add(worker.run())
                except NoResult as reason:
                    runs[name].status = str(reason)
                    del workers[name]
            if say:
                say(f"round {number + 1}: " + ", ".join(f"{name} {runs[name].seconds[-1]:.2f} s" for name in workers))
    return runs
