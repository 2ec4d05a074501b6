"""What people see: one plain line for what can go wrong, and a bar for each phase."""

from __future__ import annotations

import errno

import pytest
import typer

from api.console import PHASES, PhaseBars, plain_failures
from embedder.errors import InputError

FAILURES: dict[str, tuple[BaseException, str]] = {
    "bad input": (InputError("id '[7]' twice", file="a.csv", line=3), "error: a.csv, line 3: id '[7]' twice"),
    "Ctrl-C": (KeyboardInterrupt(), "error: interrupted; nothing was written"),
    "memory": (MemoryError(), "error: not enough memory; try fewer rows, or a machine with more"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device", "o.csv"), "error: o.csv: no space left on the disk"),
    "another": (PermissionError(errno.EACCES, "Permission denied"), "error: Permission denied"),
    "a reader that left": (BrokenPipeError(), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_what_can_go_wrong_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    failure, said = FAILURES[name]
    with pytest.raises(typer.Exit) as caught, plain_failures():
        raise failure
    assert caught.value.exit_code == 1
    told = capsys.readouterr()
    assert (told.out, told.err.strip()) == ("", said)


def test_a_bug_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), plain_failures():
        raise ZeroDivisionError


def test_every_phase_has_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with PhaseBars() as bars:
        for phase in (*PHASES, "knit"):
            bars(phase, 1, 3)
            bars(phase, 3, 3)
    told = capsys.readouterr()
    assert told.out == ""
    for name in (*PHASES.values(), "knit"):
        assert name in told.err
    assert {"encode", "search", "blend", "judge", "match"} <= set(PHASES)
