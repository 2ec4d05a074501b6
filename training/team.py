"""The team: several processes that learn one model together, each on its share of every batch.

``torchrun`` and ``accelerate launch`` start one process for each GPU and tell it by the environment which one it is.
All draw the same batch; each encodes its chunks of it, what they pooled is put together, and everybody works out the
whole loss: a contrast is over all titles of a batch, however many processes there are. Gradients of the encoder are
then summed, so that a step is that of one process but for the order of sums. The first process judges and writes.

It knows processes and tensors; it does not know losses or stages. One process alone is a team too, and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from embedder.errors import InputError

_PATIENCE = timedelta(days=7)  # the others wait while the first one asks teachers, judges and packs
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """Which of how many processes this one is; a team of one by default.

    Attributes:
        rank: of this process, from 0.
        size: processes.
        local: of this process on its machine, which is the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @classmethod
    def of_environment(cls) -> Team:
        """The team that a launcher has told of; alone where there was none. Call ``leave`` at the end.

        Raises:
            InputError: what the launcher told cannot be.
        """
        told = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        if not told["WORLD_SIZE"] or told["WORLD_SIZE"] == "1":
            return cls()
        wrong = next((name for name, value in told.items() if not value.isdecimal()), None)
        if wrong:
            raise InputError(f"{wrong} is {told[wrong]!r}; expected a number, as torchrun and accelerate launch set it")
        team = cls(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"]))
        if torch.cuda.is_available():
            if team.local >= torch.cuda.device_count():
                message = f"process {team.local + 1} of this machine, with {torch.cuda.device_count()} GPUs"
                raise InputError(f"{message}; expected one process for each GPU at most")
            torch.cuda.set_device(team.local)
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
        return team

    @property
    def leads(self) -> bool:
        """Whether this process is the one that judges, writes and tells."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device("cuda", self.local) if torch.cuda.is_available() else torch.device("cpu")

    def share(self, parts: Sequence[T]) -> list[T]:
        """This process's parts of a batch: every ``size``-th, so that long and short ones are spread evenly."""
        return list(parts[self.rank :: self.size])

    def gather(self, own: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """The rows of all parts, in the parts' order; gradients come back to this process's own rows.

        Args:
            own: the rows of this process's parts, one after the other, shape (rows, dimension).
            lengths: rows of each part of the whole batch.
        """
        if self.size == 1:
            return own
        counts = [sum(lengths[rank :: self.size]) for rank in range(self.size)]
        rows = cast(torch.Tensor, cast(Any, _Gathered).apply(own, counts, self.rank))
        by_process = [part for rank in range(self.size) for part in range(rank, len(lengths), self.size)]
        parts = dict(zip(by_process, torch.split(rows, [lengths[part] for part in by_process]), strict=True))
        return torch.cat([parts[part] for part in range(len(lengths))])

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of all processes, where any of them has one."""
        if self.size == 1:
            return
        every = list(parameters)
        has = torch.tensor([one.grad is not None for one in every], dtype=torch.int32, device=self.device)
        dist.all_reduce(has, dist.ReduceOp.MAX)
        for parameter, some in zip(every, has.tolist(), strict=True):
            if some:  # one that nobody learns keeps none, and so does not decay
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, without gradients."""
        value = value.detach().clone()
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def told(self, value: float) -> float:
        """What the first process says."""
        if self.size == 1:
            return value
        word = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(word, 0)
        return float(word)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def after_first(self, work: Callable[[], T]) -> T:
        """What the work returns, done by the first process before the others: they find what it wrote."""
        if not self.leads:
            self.wait()
        done = work()
        if self.leads:
            self.wait()
        return done

    def reseed(self, *numbers: int) -> None:
        """Draw dropout anew, other in each process, by some numbers; alone it goes on as it was."""
        if self.size > 1:
            torch.manual_seed(hash((*numbers, self.rank)) % 2**63)

    def leave(self) -> None:
        """End what ``of_environment`` began."""
        if self.size > 1:
            dist.destroy_process_group()


class _Gathered(torch.autograd.Function):
    """Rows of all processes, one after the other. Each works out the whole loss: its own rows' gradients are whole."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, counts: list[int], rank: int) -> torch.Tensor:
        ctx.place = (sum(counts[:rank]), counts[rank])
        padded = own.new_zeros((max(counts), own.shape[1]))
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        start, count = ctx.place
        return gradient[start : start + count], None, None
