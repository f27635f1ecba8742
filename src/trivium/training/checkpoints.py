"""Checkpoints that survive a kill at any instant, and the identity a resumed run must share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from trivium.errors import InputError, require
from trivium.jsontext import json_text
from trivium.teachers.live import Reader
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


def claim(folder: Path, recipe: Recipe, teachers: Sequence[Reader], resume: bool) -> None:
    """Make ``folder`` this run's own, or check that it already is.

    Raises:
        InputError: the folder holds a run and ``resume`` is false (nothing is overwritten), or ``resume`` is true
            and recipe or teachers differ from those it was begun with.
    """
    refuse_overwrite(folder, resume)
    fingerprints = {teacher.name: teacher.fingerprint for teacher in teachers}
    identity = {"recipe": recipe.digest(), "teachers": fingerprints}
    path = folder / _IDENTITY
    if path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        if begun["teachers"] != fingerprints:
            changed = sorted(n for n, f in fingerprints.items() if begun["teachers"].get(n) != f)
            raise InputError(
                "a resumed run must have the teachers it began with", f"others for {changed}", "Start a new run."
            )
        if begun["recipe"] != identity["recipe"]:
            raise InputError(
                "a resumed run must have the recipe it began with",
                f"a changed one; see {folder}/recipe.yaml",
                "Start a new run.",
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    partial = path.with_suffix(".partial")
    partial.write_text(json_text(identity, indent=1), encoding="utf-8")
    partial.replace(path)
