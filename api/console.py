"""The console: progress, summaries and errors as people see them, always on standard error.

Standard output is kept for data. It does not know what the work is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from embedder.errors import InputError

PHASES: Mapping[str, str] = MappingProxyType({
    "encode": "Encoding titles",
    "search": "Finding neighbours",
    "blend": "Blending neighbourhoods",
    "judge": "Judging pairs",
    "match": "Matching",
})  # fmt: skip


def stderr() -> Console:
    """A console on standard error."""
    return Console(stderr=True, highlight=False)


@contextmanager
def plain_failures(interrupted: str = "interrupted; nothing was written") -> Iterator[None]:
    """Turn what can go wrong into one line on standard error and exit code 1, without a traceback.

    Args:
        interrupted: what to say when the user presses Ctrl-C.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
    except KeyboardInterrupt:
        message = interrupted
    except BrokenPipeError:
        raise typer.Exit(1) from None  # whoever read us has left; there is nobody to tell
    except MemoryError:
        message = "not enough memory; try fewer rows, or a machine with more"
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f"{error.filename}: " if error.filename else ""
        message = where + ("no space left on the disk" if full else error.strerror or str(error))
    else:
        return
    stderr().print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)
    raise typer.Exit(1)


def tell_step(stage: str, step: int, steps: int, values: dict[str, float]) -> None:
    """Tell of a step of training, with its figures if there are any."""
    told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    stderr().print(f"{stage} {step:,}/{steps:,}" + (f": {told}" if told else ""))


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


class PhaseBars:
    """Progress bars of phases, made as each is first reported; use as a context manager and call it."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=stderr(),
        )  # fmt: skip
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> PhaseBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` of a phase is done."""
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(PHASES.get(phase, phase), total=total)
        self._progress.update(self._tasks[phase], completed=done, total=total)  # type: ignore[arg-type]
