"""Everything that a run's student depends on: what a resumed run must share with the one it goes on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.scheme import Scheme
from trivium.scheme.files import rule_files
from trivium.scheme.tree import leaves
from trivium.store.code import source_files
from trivium.store.identity import Identity, of_tensor
from trivium.store.modules import of_module
from trivium.teachers.fingerprint import fingerprint, folder_files
from trivium.teachers.live import Reader
from trivium.teachers.probes import identified
from trivium.teachers.references import resolve
from trivium.training.build import build_scheme
from trivium.training.processes import in_bfloat16, world_size
from trivium.training.recipe import Recipe
from trivium.training.tasks import Tables, task_files
from trivium.weighting.base import UserRule
from trivium.weighting.features import Range

#: What a part of an identity is called where it differs.
WORDS = {
    "rules": "answers of rules",
    "student": "student to begin with",
    "processes": "number of processes",
    "bfloat16": "precision",
}
_PROBES = 32


def run_identity(
    recipe: Recipe, base: Path, teachers: Sequence[Reader], tables: Tables, student: Any, scheme: Scheme
) -> Identity:
    """Return the identity of a run.

    ===============  =================================================================================================
    part             of what
    ===============  =================================================================================================
    ``recipe``       the recipe with every default filled in
    ``teachers``     :func:`trivium.teachers.probes.identified` on the training rows, by name
    ``data``         the rows of each split as they are read: tokens or inputs, labels, columns, domains, documents
    ``files``        the files of the user's rules, student and task, and what they import beside them
    ``rules``        what each user's rule answers at a few points: it may read files that no import names
    ``student``      its folder's files, structure and, unless a user's code makes it, initial weights
    ``processes``    each takes a batch of its own
    ``bfloat16``     whether the student is trained in it, which ``precision: auto`` leaves to the device
    ===============  =================================================================================================
    """
    reference = recipe.student.model or ""
    return Identity(
        {
            "recipe": recipe.digest(),
            "teachers": {teacher.name: identified(teacher, tables.train.inputs) for teacher in teachers},
            "data": data_parts(tables),
            "files": rule_files(scheme, base) | own_files(recipe, base),
            "rules": rule_answers(scheme, recipe, base),
            "student": student_part(reference, base, student),
            "processes": world_size(),
            "bfloat16": in_bfloat16(recipe.train.precision),
        }
    )


def data_parts(tables: Tables) -> dict[str, str]:
    """Return a digest of each split that the recipe has."""
    return {name: table.digest() for name, table in tables.splits().items()}


def own_files(recipe: Recipe, base: Path) -> dict[str, str]:
    """Return hashes of the files of a user's student, task and classifier of critical inputs, and of what they import
    beside them."""
    found = task_files(recipe, base)
    classifier = recipe.safety.critical.classifier if recipe.safety else None
    for reference in (recipe.student.model, classifier):
        path, _, _ = (reference or "").rpartition(":")
        found |= source_files(base / path, base) if path.endswith(".py") else {}
    return found


def student_part(reference: str, base: Path, student: torch.nn.Module) -> str:
    """Return the identity of a student before its first step. What a user's code makes may be drawn anew each time, so
    there it is the structure alone: the weights are those of the checkpoint."""
    if ".py:" in reference:
        return of_module(student, values=False)
    return fingerprint(student, folder_files(resolve(reference, base)) if reference else None)


def rule_answers(scheme: Scheme, recipe: Recipe, base: Path) -> dict[str, str]:
    """Return what each user's rule answers at points drawn from its box, by name; of a rule that answers differently
    twice, that it does.

    The rules are loaded anew, so those of the run remember nothing of it.
    """
    if not any(isinstance(leaf, UserRule) for leaf in leaves(scheme)):
        return {}
    first, second = (_answers(build_scheme(recipe, base)) for _ in range(2))
    return {name: answer if answer == second.get(name) else "differ" for name, answer in first.items()}


def _answers(scheme: Scheme) -> dict[str, str]:
    rules = [leaf for leaf in leaves(scheme) if isinstance(leaf, UserRule)]
    return {f"{number}. {rule.name}": _answer(rule, len(scheme.teacher_names)) for number, rule in enumerate(rules, 1)}


@torch.no_grad()
def _answer(rule: UserRule, num_teachers: int) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = {name: _drawn(interval, num_teachers) for name, interval in rule.ranges.items()}
        try:
            return of_tensor(rule.log_weights(features))
        except Exception as error:  # what a rule makes of a point is its own affair; here it only has to be the same
            return type(error).__name__


def _drawn(interval: Range, num_teachers: int) -> Tensor:
    """[probes, 1, width] points of a feature's range."""
    width = interval.width(num_teachers)
    if interval.pairwise:  # a Gram matrix of unit vectors
        vectors = torch.nn.functional.normalize(torch.randn(_PROBES, 1, num_teachers, num_teachers), dim=-1)
        return (vectors @ vectors.transpose(-1, -2)).flatten(-2)
    drawn = interval.low + (interval.high - interval.low) * torch.rand(_PROBES, 1, width)
    return torch.zeros_like(drawn) if interval.integer else drawn


def told(changed: Sequence[str]) -> str:
    """Return parts that differ, in words: ``teachers (tales), data (train)``.

    >>> told(["teachers.tales", "data.train", "recipe", "files.mine.py"])
    'teachers (tales), data (train), recipe, files (mine.py)'
    """
    found: dict[str, list[str]] = {}
    for name in changed:
        part, _, inner = name.partition(".")
        found.setdefault(part, []).extend([inner] if inner else [])
    return ", ".join(
        f"{WORDS.get(p, p)} ({', '.join(inner)})" if inner else WORDS.get(p, p) for p, inner in found.items()
    )


def different_libraries(begun: Mapping[str, Any], now: Mapping[str, str]) -> str | None:
    """Return what to tell of a run that goes on under other releases: its numbers may differ from those of one that was
    not interrupted; None where they are the same."""
    moved = [f"{name} {begun.get(name, 'none')} then, {v} now" for name, v in now.items() if begun.get(name) != v]
    return None if not moved else f"begun with other releases ({'; '.join(moved)}): numbers may move a little"
