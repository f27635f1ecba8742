"""Checkpoints that survive a kill at any instant, and the identity a resumed run must share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trivium.errors import InputError, require, said_by
from trivium.jsontext import json_text, read_json, write_json
from trivium.store.files import replace_text, take_turns
from trivium.store.identity import Identity, versions
from trivium.training.identity import different_libraries, told
from trivium.training.recipe import Recipe

_COMPLETE = "complete"
_IDENTITY = "identity.json"


def mark_complete(folder: Path) -> None:
    """Say that every file of a checkpoint is on disk, and how long it is; an unmarked one may have been cut off while
    written."""
    replace_text(folder / _COMPLETE, json_text(_sizes(folder)) + "\n")


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _COMPLETE)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def latest_complete(folder: Path) -> Path | None:
    """Return the newest marked checkpoint below ``folder``; unmarked ones are removed.

    Raises:
        InputError: the newest lacks a file, or holds one that is not as long as it was.
    """
    found = []
    for path in folder.glob("checkpoint-*"):
        if not (path.is_dir() and path.name.removeprefix("checkpoint-").isdecimal()):
            continue  # none of the trainer's
        if (path / _COMPLETE).exists():
            found.append(path)
        else:
            shutil.rmtree(path)
    newest = max(found, key=step_of, default=None)
    if newest is not None:
        written, now = _own_json(newest / _COMPLETE), _sizes(newest)
        differ = [f"{name}: {now.get(name, 'none')} of {size} bytes" for name, size in written.items()
                  if now.get(name) != size]  # fmt: skip
        fix = f"Remove {newest}, and --resume goes on from the one before, or anew."
        require(not differ, f"{newest} must be as it was written", ", ".join(differ[:3]), fix)
    return newest


def _own_json(path: Path) -> dict[str, Any]:
    """Return an object that this module wrote; raises InputError where something else stands there now."""
    try:
        found = read_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} must be as it was written", said_by(error), "Begin in another folder.") from error
    require(isinstance(found, dict), f"{path} must be as it was written", type(found).__name__, "Begin anew.")
    return dict(found)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer steps that a checkpoint has behind it."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def refuse_overwrite(folder: Path, resume: bool) -> None:
    """Raise InputError if ``folder`` holds a run that is not resumed, or cannot be one; asked before anything is
    computed for it."""
    require_place(folder)
    require(
        resume or not (folder / _IDENTITY).exists(),
        "a run must not overwrite another",
        f"{folder}, which holds one",
        "Add --resume, or name another folder.",
    )


def require_place(folder: Path) -> None:
    """Raise InputError unless ``folder`` is a folder that can be written to, or could be made."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    fits = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    why = f"{place} cannot be written to" if place.is_dir() else f"{place} is no folder"
    require(fits, "a run's folder must be one that can be written to", f"{folder}, where {why}", "Name another.")


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
    begun = _own_json(path)
    libraries = begun.pop("libraries", {})
    require(isinstance(libraries, dict), f"{path} must be as it was written", libraries, "Begin in another folder.")
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
