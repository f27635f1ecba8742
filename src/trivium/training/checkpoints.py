"""Checkpoints that survive a kill at any instant, and the identity a resumed run must share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trivium.errors import InputError, require
from trivium.jsontext import write_json
from trivium.store.files import replace_text, take_turns
from trivium.store.identity import Identity, versions
from trivium.training.identity import different_libraries, told
from trivium.training.recipe import Recipe

_COMPLETE = "complete"
_IDENTITY = "identity.json"


def mark_complete(folder: Path) -> None:
    """Say that every file of a checkpoint is on disk; an unmarked one may have been cut off while written."""
    (folder / _COMPLETE).write_text("", encoding="utf-8")


def latest_complete(folder: Path) -> Path | None:
    """The newest marked checkpoint below ``folder``; unmarked ones are removed."""
    found = []
    for path in folder.glob("checkpoint-*"):
        if (path / _COMPLETE).exists():
            found.append(path)
        else:
            shutil.rmtree(path)
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimizer steps that a checkpoint has behind it."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def refuse_overwrite(folder: Path, resume: bool) -> None:
    """Raise InputError if ``folder`` holds a run that is not resumed; asked before anything is computed for it."""
    require(
        resume or not (folder / _IDENTITY).exists(),
        "a run must not overwrite another",
        f"{folder}, which holds one",
        "Add --resume, or name another folder.",
    )


def require_same(folder: Path, identity: Identity) -> str | None:
    """Check that the run in ``folder``, if there is one, is the one that ``identity`` names.

    Returns:
        What to tell of a run that goes on with other releases of the libraries; None for nothing.

    Raises:
        InputError: it is another run; says in what.
    """
    path = folder / _IDENTITY
    if not path.exists():
        return None
    begun = json.loads(path.read_text(encoding="utf-8"))
    libraries = begun.pop("libraries", {})
    changed = identity.changed(begun)
    require(
        not changed,
        "a resumed run must be the one that was begun",
        f"another {told(changed)}",
        f"Put back what it began with (see {folder}/recipe.yaml), or start a new run in another folder.",
    )
    return different_libraries(libraries, versions())


def claim(folder: Path, recipe: Recipe, identity: Identity, resume: bool) -> str | None:
    """Make ``folder`` this run's own, or check that it already is; returns what :func:`require_same` does.

    Raises:
        InputError: the folder holds a run and ``resume`` is false (nothing is overwritten), or ``resume`` is true and
            it is another run.
    """
    refuse_overwrite(folder, resume)
    if (folder / _IDENTITY).exists():
        return require_same(folder, identity)
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "recipe.yaml", recipe.to_yaml())
    write_json(folder / _IDENTITY, {**identity.parts, "libraries": versions()})
    return None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder: of two runs that are started in it, the second is refused.

    Raises:
        InputError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def refuse() -> None:
        raise InputError(
            "a run must have its folder to itself", f"{folder}, where another is at work", "Wait, or name another."
        )

    with take_turns(folder / ".lock", refuse):
        yield
