"""The search on disk: one Optuna journal in the run's folder, and what a resumed search must share with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trivium.errors import InputError, require, said_by
from trivium.scheme.files import rule_files
from trivium.store.identity import Identity as Shared
from trivium.store.identity import versions
from trivium.teachers.probes import identified
from trivium.training.build import build_scheme
from trivium.training.checkpoints import require_place
from trivium.training.identity import different_libraries, own_files, rule_answers, student_part, told
from trivium.training.processes import in_bfloat16
from trivium.training.run import PreparedRun
from trivium.tuning.mixture import rows_of
from trivium.tuning.space import Space

JOURNAL = "study.journal"
_STUDY = "trivium"


@dataclass(frozen=True)
class SearchIdentity:
    """What makes two searches the same: all that a trial's value depends on.

    Attributes:
        recipe: its digest. teachers: what they are known by, :func:`trivium.teachers.probes.identified`. rows: a hash
            of the validation rows; where students are trained, of the training rows too.
        files: hashes of the files of a user's rules and, where students are trained, of the student's own file, and of
            what each imports beside it.
        settings: budget, floor, objective, steps and rules as asked.
        rules: what each user's rule answers at a few points.
        student: where students are trained, what they begin with, and the precision.
    """

    recipe: str
    teachers: Mapping[str, str]
    rows: str
    files: Mapping[str, str]
    seed: int
    settings: Mapping[str, Any]
    rules: Mapping[str, str] = field(default_factory=dict)
    student: str = ""


def identity_of(
    space: Space, prepared_run: PreparedRun, seed: int, settings: Mapping[str, Any], trains: bool
) -> SearchIdentity:
    """The identity of a search over ``space``; ``trains``: whether its objective trains students."""
    recipe, base, everything = space.recipe, space.base, space.everything()
    validation = rows_of(prepared_run, "validation")
    teachers = {teacher.name: identified(teacher, validation.inputs) for teacher in prepared_run.teachers}
    scheme = build_scheme(everything, base)
    rules = rule_answers(scheme, everything, base)
    rows, files, student = validation.digest(), rule_files(scheme, base), ""
    if trains:
        rows += prepared_run.tables.train.digest()
        files |= own_files(recipe, base)
        made = prepared_run.task.student(recipe, base)
        precision = "bfloat16" if in_bfloat16(recipe.train.precision) else "float32"
        student = f"{student_part(recipe.student.model or '', base, made)} {precision}"
    return SearchIdentity(recipe.digest(), teachers, rows, files, seed, dict(settings), rules, student)


def load_optuna() -> Any:
    """The optuna module, which only a search needs."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("a search must have optuna", "none installed", "pip install trivium[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # progress is shown by the caller
    return optuna


def refuse_overwrite(folder: Path, resume: bool) -> None:
    """Raise InputError if ``folder`` holds a search that is not resumed, or cannot hold one; asked before anything is
    computed for it."""
    require_place(folder)
    require(
        resume or not (folder / JOURNAL).exists(),
        "a search must not overwrite another",
        f"{folder}, which holds one",
        "Add --resume, or name another --out.",
    )


class Store:
    """The journal of a search and a study in memory with the same trials.

    The sampler works in memory and a trial is written once, whole, when it is judged: a search that is killed leaves no
    half of one, and writing costs one flush to disk a trial where Optuna's own would be one a parameter.

    Attributes:
        study: the one in memory, to ask and to tell.
        note: what to tell of a search that goes on with other releases of the libraries; None for nothing.

    Raises:
        InputError: the folder holds a search that is not resumed, or not the one that ``identity`` names.
    """

    def __init__(self, folder: Path, identity: SearchIdentity, resume: bool) -> None:
        optuna = load_optuna()
        refuse_overwrite(folder, resume)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / JOURNAL
        _mend(path)
        journal = optuna.storages.journal
        backend = journal.JournalFileBackend(str(path), lock_obj=journal.JournalFileOpenLock(str(path)))
        try:
            self._journal = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=_STUDY,
                direction="minimize",
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # Optuna reads its lines as they stand
            said = said_by(error)
            raise InputError(f"{path} must be as it was written", said, "Begin in another folder.") from error
        self.note: str | None = None
        self._claim(identity)
        self.study: Any = optuna.create_study(direction="minimize")
        self.study.add_trials(self._journal.get_trials(deepcopy=False))

    def _claim(self, identity: SearchIdentity) -> None:
        found = self._journal.user_attrs
        begun, now = found.get("identity"), dataclasses.asdict(identity)
        libraries = versions() | {"optuna": str(load_optuna().__version__)}
        if begun is None:
            self._journal.set_user_attr("libraries", libraries)
            self._journal.set_user_attr("identity", now)
            return
        was, asked = begun.pop("settings", {}), now.pop("settings")
        changed = told(Shared(now).changed(begun))
        others = [f"{name} ({was.get(name)} then)" for name, value in asked.items() if was.get(name) != value]
        text = f"another {', '.join([*([changed] if changed else []), *others])}"
        require(not changed and not others, "a resumed search must be the one begun", text, "Name a new --out.")
        self.note = different_libraries(found.get("libraries", {}), libraries)

    @property
    def trials(self) -> list[Any]:
        """All judged trials, in order."""
        states = load_optuna().trial.TrialState
        found: list[Any] = self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
        return found

    def write(self) -> None:
        """Put the last judged trial into the journal."""
        self._journal.add_trial(self.trials[-1])


def _mend(path: Path) -> None:
    """Cut off a last line that was not written to its end: it would spoil the one after it."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
