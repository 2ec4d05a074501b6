"""Studies: chosen by the seed alone, kept whatever happens, gone on with as if they had never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", reason="tuning needs dongil[train]")

from conftest import ROOT  # noqa: E402
from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: E402
from optuna.trial import Trial  # noqa: E402

from embedder.errors import InputError  # noqa: E402
from training.study import Limits, Studied, search  # noqa: E402

SPACE = {"x": FloatDistribution(-2, 2), "way": CategoricalDistribution(("up", "down"))}
FIRST = {"x": 1.5, "way": "down"}


def score(trial: Trial) -> float:
    return float(-((trial.params["x"] - 0.5) ** 2) + (trial.params["way"] == "up"))


def run(path: Path, attempt: Callable[[Trial], float] = score, trials: int = 14, **options: Any) -> Studied:
    return search(path, options.pop("of", {"labels": "a"}), SPACE, FIRST, attempt, Limits(trials), **options)


def told(found: Studied) -> list[tuple[float | None, dict[str, Any]]]:
    return [(trial.value, trial.params) for trial in found.best]


def test_the_best_comes_first_and_the_start_is_among_the_trials(tmp_path: Path) -> None:
    found = run(tmp_path / "s.journal")
    assert len(found.best) == 14
    values = [trial.value for trial in found.best]
    assert values == sorted(values, reverse=True)
    assert found.best[0].params["way"] == "up"
    assert [trial.params for trial in found.best if trial.number == 0] == [FIRST]
    assert set(found.importance) == {"x", "way"}
    assert sum(found.importance.values()) == pytest.approx(1)


def test_the_seed_decides(tmp_path: Path) -> None:
    one, same, other = (run(tmp_path / name, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    assert told(one) == told(same)
    assert one.importance == same.importance
    assert told(one) != told(other)


@pytest.mark.parametrize("stop_at", [0, 1, 5, 11])
def test_an_interrupted_study_ends_as_one_that_was_not(tmp_path: Path, stop_at: int) -> None:
    calls = 0

    def interrupted(trial: Trial) -> float:
        nonlocal calls
        calls += 1
        if calls > stop_at:
            raise KeyboardInterrupt
        return score(trial)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "s.journal", interrupted)
    assert told(run(tmp_path / "s.journal")) == told(run(tmp_path / "whole.journal"))


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from test_study import run, score
count = 0
def slow(trial):
    global count
    count += 1
    print(count, flush=True)
    if count == 8:
        time.sleep(600)
    return score(trial)
run(Path(sys.argv[1]), slow)
"""


def test_a_killed_study_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.stdout is not None
    with child, child.stdout as lines:
        assert next(line for line in lines if line.strip() == "8")
        with pytest.raises(InputError, match="in use by another run"):
            run(path)
        child.send_signal(signal.SIGKILL)
    with path.open("ab") as file:  # as a kill in the middle of a write leaves it
        file.write(b'{"op_code":6,"worker')
    begun = time.monotonic()
    assert told(run(path)) == told(run(tmp_path / "whole.journal"))
    assert time.monotonic() - begun < 20, "no lock is waited for"
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ".journal"] == []


def test_trials_that_are_worse_are_stopped(tmp_path: Path) -> None:
    steps: list[int] = []

    def attempt(trial: Trial) -> float:
        bad = trial.number >= 5
        for step in range(1, 6):
            steps.append(trial.number)
            trial.report(0.1 if bad else 0.5 + trial.number / 100, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return score(trial)

    found = run(tmp_path / "s.journal", attempt, 8)
    assert (len(found.best), found.pruned) == (5, 3)
    assert steps.count(2) == 5
    assert steps.count(7) == 2, "not by the first report alone"


def test_settings_that_cannot_be_run_do_not_end_the_study(tmp_path: Path) -> None:
    heard: list[str] = []

    def attempt(trial: Trial) -> float:
        if trial.number % 2:
            raise InputError("the gradient is not finite")
        return score(trial)

    found = run(tmp_path / "s.journal", attempt, 6, say=heard.append)
    assert (len(found.best), found.pruned) == (3, 3)
    assert "trial 1: the gradient is not finite" in heard
    assert any(line.startswith("trial 2: ") and "the best so far is" in line for line in heard)


def test_no_trial_that_ends_is_an_error(tmp_path: Path) -> None:
    def attempt(trial: Trial) -> float:
        raise InputError("too large")

    with pytest.raises(InputError, match="no trial came to its end; the last was stopped by: too large"):
        run(tmp_path / "s.journal", attempt, 2)


def test_trials_count_over_runs_and_time_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    assert len(run(path, trials=3).best) == 3
    assert len(run(path, trials=5).best) == 5
    assert len(run(path, trials=2).best) == 5
    late = search(path, {"labels": "a"}, SPACE, FIRST, score, Limits(50, timeout=1e-9))
    assert len(late.best) == 5
    assert run(tmp_path / "one.journal", trials=1).importance == {}


def test_another_study_is_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path / "s.journal", trials=1)
    with pytest.raises(InputError, match=r"a study of something else \(labels was 'a', is 'b'\)"):
        run(tmp_path / "s.journal", of={"labels": "b"})


@pytest.mark.parametrize(
    "content", [b"title,cluster_id\na,1\n", b"precious", b'{"op_code":0}\nnot json\n', b"\x00\xff"]
)
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(InputError, match="study's journal"):
        run(tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_bytes() == content


def test_the_journal_is_lines_of_json(tmp_path: Path) -> None:
    run(tmp_path / "s.journal", trials=2)
    for line in (tmp_path / "s.journal").read_text(encoding="utf-8").splitlines():
        assert "op_code" in json.loads(line)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"trials": 0}, "trials is 0"), ({"timeout": 0.0}, "timeout is 0 s"), ({"timeout": float("nan")}, "nan")],
)
def test_limits_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Limits(**options)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: No such file"):
        run(tmp_path / "no" / "s.journal")
