"""A study: trials of settings one after another, each chosen by those before it, kept in a file that survives a kill.

Optuna chooses (tree-structured Parzen estimators: Bergstra et al. 2011) and stops trials that are worse than the median
of the others at the same report. The file is a journal of JSON lines that one process holds at a time. Every choice is
drawn by a seed of its own, so that a study that was stopped goes on as one that was not. It knows settings and scores;
it does not know what a trial does.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from embedder.errors import InputError

NAME = "dongil"
FREE_TRIALS = 4  # that are never pruned: a median of fewer says little
FREE_REPORTS = 1  # of a trial: scores of the first are mostly chance
_OF = "of"  # attribute of the study: what it is a study of
_ERROR = "error"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
_MARK = b'{"op_code"'  # how each line of a journal begins


@dataclass(frozen=True)
class Limits:
    """How long to search: ``trials`` in all, those of earlier runs counted; no new one after ``timeout`` seconds."""

    trials: int = 30
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"trials is {self.trials}; expected at least 1")
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"timeout is {self.timeout:g} s; expected more than 0")


@dataclass(frozen=True)
class Studied:
    """What a study has come to.

    Attributes:
        best: the trials that came to their end, best first; of equals the earlier.
        pruned: how many were stopped before it, those that could not be run among them.
        importance: setting -> its share in the differences of the scores (fANOVA: Hutter et al. 2014), greatest first;
            empty where there are too few trials to tell.
    """

    best: tuple[FrozenTrial, ...]
    pruned: int
    importance: dict[str, float]


def search(
    storage: Path,
    of: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    first: Mapping[str, Any],
    attempt: Callable[[Trial], float],
    limits: Limits,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Studied:
    """Run the trials that a study lacks, and tell what all of them came to.

    Args:
        storage: the journal; made where there is none, and gone on with where there is one.
        of: what is studied, as JSON; a journal of something else is refused.
        space: setting -> what it may be.
        first: the settings of the first trial.
        attempt: makes a trial of ``trial.params`` and returns its score, higher is better; reports on the way with
            ``trial.report`` and raises ``optuna.TrialPruned`` when ``trial.should_prune()``. Settings that cannot be
            run raise ``InputError``: the trial counts as pruned.
        limits: when to end.
        seed: of the choices.
        say: is told of each trial in a sentence.

    Raises:
        InputError: the journal is another study's, no journal, in use or not writable; or no trial came to its end.
    """
    begun = time.monotonic()
    with _quiet(), _journal(storage) as kept:
        study = _opened(storage, kept, of)
        while (ended := _ended(study)) < limits.trials:
            if limits.timeout is not None and time.monotonic() - begun > limits.timeout:
                break
            _one(study, space, first if not ended else None, attempt, seed * 100_003 + ended, say)
        return _studied(study, storage, seed)


def _one(
    study: optuna.Study,
    space: Mapping[str, BaseDistribution],
    first: Mapping[str, Any] | None,
    attempt: Callable[[Trial], float],
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Choose and run one trial. One that is broken off leaves no trace in later choices."""
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    if first is not None and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(dict(first))
    trial = study.ask(dict(space))
    try:
        score = attempt(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        say(f"trial {trial.number}: stopped, worse than the median so far")
    except InputError as error:
        trial.set_user_attr(_ERROR, str(error))
        study.tell(trial, state=TrialState.PRUNED)
        say(f"trial {trial.number}: {error}")
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, score)
        say(f"trial {trial.number}: {score:.4f}, the best so far is {study.best_value:.4f}")


def _ended(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=_ENDED))


def _studied(study: optuna.Study, storage: Path, seed: int) -> Studied:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    if not done:
        errors = [trial.user_attrs[_ERROR] for trial in pruned if _ERROR in trial.user_attrs]
        why = f"the last was stopped by: {errors[-1]}" if errors else "expected more trials, or more time"
        raise InputError(f"no trial came to its end; {why}", file=str(storage))
    best = sorted(done, key=lambda trial: (-(trial.value or 0.0), trial.number))
    importance: dict[str, float] = {}
    if len({trial.value for trial in done}) > 1:
        importance = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return Studied(tuple(best), len(pruned), importance)


def _opened(storage: Path, kept: JournalStorage, of: Mapping[str, Any]) -> optuna.Study:
    """The study of a journal, without the trials that a kill broke off."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=FREE_TRIALS, n_warmup_steps=FREE_REPORTS + 1)
    study = optuna.create_study(
        storage=kept, study_name=NAME, direction="maximize", pruner=pruner, load_if_exists=True
    )  # fmt: skip
    was = study.user_attrs.get(_OF)
    if was is None:
        study.set_user_attr(_OF, dict(of))
    elif other := sorted(name for name in {*was, *of} if was.get(name) != of.get(name)):
        told = "; ".join(f"{name} was {was.get(name)!r}, is {of.get(name)!r}" for name in other)
        raise InputError(f"a study of something else ({told}); expected the same, or another file", file=str(storage))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


class _Held(JournalFileOpenLock):
    """No lock a line: the process holds the whole file, and a lock file would outlive a kill."""

    def acquire(self) -> bool:
        """Nothing to do."""
        return True

    def release(self) -> None:
        """Nothing to do."""


@contextmanager
def _journal(path: Path) -> Iterator[JournalStorage]:
    """The journal, held by this process for as long as the block lasts."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("in use by another run; expected one at a time", file=str(path)) from None
        _mend(path)
        yield JournalStorage(JournalFileBackend(str(path), lock_obj=_Held(str(path))))


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left half written, in a file that is a journal."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:whole].splitlines(), 1):
        if not (line.startswith(_MARK) and _is_json(line)):
            raise InputError(
                "no line of a study's journal; expected a file that dongil tune wrote", file=str(path), line=number
            )
    rest = data[whole:]
    if not (rest.startswith(_MARK) or _MARK.startswith(rest)):
        raise InputError("no study's journal; expected a file that dongil tune wrote", file=str(path))
    if rest:
        os.truncate(path, whole)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its log, which is put back as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
