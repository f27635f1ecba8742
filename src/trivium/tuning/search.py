"""The loop: a sampler proposes, the calculus proves, the objective judges, a journal remembers.

Trial n depends on the seed, on n and on the trials before it, and on nothing else: the sampler is seeded anew for each
trial, and a trial is written when it is judged. A search that was killed and resumed therefore has the trials of one
that was not; only the one that was running is run again. What the clock decides (``minutes``) is how many there are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trivium.certification.specification import Specification
from trivium.errors import ForeignError, TeacherError, TriviumError, require
from trivium.store.code import sha256_of
from trivium.training.build import build_scheme
from trivium.training.checkpoints import alone
from trivium.training.recipe import SchemeSection
from trivium.training.run import Progress, silent
from trivium.tuning.mixture import Watch
from trivium.tuning.proof import Proof, prove
from trivium.tuning.records import Outcome, TrialRecord, best_of, records_of
from trivium.tuning.space import Space
from trivium.tuning.storage import SearchIdentity, Store, load_optuna

#: Trials drawn at random before the sampler learns, the two starts among them.
STARTUP = 10
#: Completed trials before one may be stopped against their median.
_BEFORE_STOPPING = 4


class SchemeObjective(Protocol):
    """What judges a scheme; lower is better."""

    def value(self, section: SchemeSection, watch: Watch | None = None) -> float:
        """Mean of the domains on validation data."""
        ...

    def keep(self, sections: list[SchemeSection]) -> None:
        """Free what is stored for other schemes."""
        ...


class StoppedSearch(Exception):
    """A candidate that lags behind the median of those before it."""


@dataclass(frozen=True)
class Limits:
    """When to stop: at ``trials`` in all, or after ``seconds`` of this call; the first trials are always run."""

    trials: int
    seconds: float | None = None


def search(
    space: Space,
    specification: Specification,
    objective: SchemeObjective,
    identity: SearchIdentity,
    folder: Path,
    limits: Limits,
    *,
    resume: bool = False,
    progress: Progress = silent,
    after: Callable[[list[TrialRecord]], None] | None = None,
) -> tuple[list[TrialRecord], Any]:
    """Run trials until a limit is reached.

    Args:
        identity: what a resumed search must share with the one it goes on; its ``seed`` draws the trials.
        folder: ``study.journal`` lives there, an Optuna journal that dashboards can read.
        after: sees all records after every trial.

    Returns:
        All trials, those of earlier calls included, and the Optuna study in memory.

    Raises:
        InputError: optuna is not installed; the folder holds a search and ``resume`` is false, or another search than
            ``identity`` names; a file of it was edited meanwhile. TeacherError: from the objective.
    """
    with alone(folder):
        store = Store(folder, identity, resume)
        if store.note is not None:
            progress(store.note, 1, 1)
        if not store.trials:  # what an earlier search left, whose journal was taken away, is not this one's
            objective.keep([])
        return _searched(store, space, specification, objective, identity, limits, progress, after)


def _searched(
    store: Store,
    space: Space,
    specification: Specification,
    objective: SchemeObjective,
    identity: SearchIdentity,
    limits: Limits,
    progress: Progress,
    after: Callable[[list[TrialRecord]], None] | None,
) -> tuple[list[TrialRecord], Any]:
    optuna, study = load_optuna(), store.study
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_STOPPING)
    starts, begun = space.starts(), time.monotonic()
    files = _hashes(identity, space.base)
    while True:
        done = len(store.trials)
        out_of_time = limits.seconds is not None and time.monotonic() - begun >= limits.seconds
        if done >= max(limits.trials, len(starts)) or (out_of_time and done >= len(starts)):
            return records_of(store.trials, list(starts)), study
        study.sampler = optuna.samplers.TPESampler(seed=seed_of(identity.seed, done), n_startup_trials=STARTUP)
        if done < len(starts):
            study.enqueue_trial(list(starts.values())[done])
        _one(study, optuna, space, specification, objective)
        moved = [path for path, sha256 in _hashes(identity, space.base).items() if files.get(path) != sha256]
        require(
            not moved,
            "the files of a search must stay as they are while it runs",
            f"{', '.join(moved)}, which changed",
            "Put back what it began with and add --resume: the trials before this one are kept.",
        )
        store.write()
        records = records_of(store.trials, list(starts))
        best = best_of(records)
        needed = [record for record in records if record.name or record is best]
        objective.keep([record.section for record in needed if record.section is not None])
        progress("searching", len(records), limits.trials)
        if after is not None:
            after(records)


def _hashes(identity: SearchIdentity, base: Path) -> dict[str, str]:
    """The files that every trial loads anew, as they are now."""
    return {path: sha256_of(base / path) if (base / path).is_file() else "gone" for path in identity.files}


def _one(study: Any, optuna: Any, space: Space, specification: Specification, objective: SchemeObjective) -> None:
    """Propose, prove, judge, remember."""
    states = optuna.trial.TrialState
    trial = study.ask()
    begun = time.monotonic()

    def watch(step: int, value: float) -> None:
        if step == 0:  # the student's initial weights, the same for all
            return
        trial.report(value, step)
        if trial.should_prune():
            raise StoppedSearch(f"behind the median of earlier trials at step {step}")

    def dismiss(outcome: Outcome, reason: str) -> None:
        trial.set_user_attr("outcome", outcome)
        trial.set_user_attr("reason", reason)
        trial.set_user_attr("seconds", round(time.monotonic() - begun, 3))
        study.tell(trial, state=states.PRUNED)

    try:
        section = space.section(_Sampled(trial))
        trial.set_user_attr("scheme", section.model_dump())
        proof = _proof(space, section, specification)
        trial.set_user_attr("influence", proof.influence)
        if not proof.proved:
            dismiss("not proved", proof.reason)
            return
        value = objective.value(section, watch)
    except StoppedSearch as stop:
        dismiss("stopped", str(stop))
    except (TeacherError, ForeignError):
        study.tell(trial, state=states.FAIL)  # a model's fault and not the scheme's: no other trial would do better
        raise
    except TriviumError as error:
        dismiss("failed", str(error))
    else:
        trial.set_user_attr("outcome", "complete")
        trial.set_user_attr("seconds", round(time.monotonic() - begun, 3))
        study.tell(trial, value)


def _proof(space: Space, section: SchemeSection, specification: Specification) -> Proof:
    try:
        scheme = build_scheme(space.with_section(section), space.base)
    except TriviumError as error:
        return Proof(False, float("inf"), f"it cannot be built: {error}")
    return prove(scheme, specification)


@dataclass(frozen=True)
class _Sampled:
    """An Optuna trial as the chooser of a space."""

    trial: Any

    def choice(self, name: str, options: Sequence[str]) -> str:
        return str(self.trial.suggest_categorical(name, list(options)))

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        return float(self.trial.suggest_float(name, low, high, log=log))


def seed_of(seed: int, number: int) -> int:
    """The sampler's seed for one trial, 32 bits.

    >>> seed_of(0, 1) == seed_of(0, 1) != seed_of(0, 2)
    True
    """
    require(seed >= 0, "a seed must be ≥ 0", seed)
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
