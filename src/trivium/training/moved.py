"""A recipe written into another folder: the paths in it are rewritten, so that it reads the same files from there."""

from __future__ import annotations

import os
from pathlib import Path

from trivium.training.recipe import Recipe, RuleSection
from trivium.weighting.features import SCALES


def moved(recipe: Recipe, base: Path, folder: Path) -> Recipe:
    """``recipe``, whose relative paths count from ``base``, with paths that count from ``folder``.

    Absolute paths and what the package ships (``trivium:…``) stay. The part of a text (``#train``) stays too: which
    documents it holds goes by the file's name alone.
    """

    def path(reference: str) -> str:
        if reference.startswith("trivium:") or Path(reference.partition("#")[0]).is_absolute():
            return reference
        location, mark, part = reference.partition("#")
        return Path(os.path.relpath(base / location, folder)).as_posix() + mark + part

    def entry(rule: RuleSection) -> RuleSection:
        if ".py:" not in rule.rule:
            return rule
        file, _, name = rule.rule.rpartition(":")
        return rule.model_copy(update={"rule": f"{path(file)}:{name}"})

    student, data, cache = recipe.student, recipe.data, recipe.cache
    domains = [
        domain.model_copy(
            update={
                "train": path(domain.train),
                "validation": path(domain.validation),
                "test": None if domain.test is None else path(domain.test),
            }
        )
        for domain in data.domains
    ]
    return recipe.model_copy(
        update={
            "student": student.model_copy(
                update={
                    "model": None if student.model is None else path(student.model),
                    "tokenizer": None if student.tokenizer is None else path(student.tokenizer),
                }
            ),
            "teachers": [teacher.model_copy(update={"model": path(teacher.model)}) for teacher in recipe.teachers],
            "data": data.model_copy(update={"domains": domains}),
            "scheme": recipe.scheme.model_copy(
                update={scale: [entry(rule) for rule in getattr(recipe.scheme, scale)] for scale in SCALES}
            ),
            "cache": cache.model_copy(update={"folder": None if cache.folder is None else path(cache.folder)}),
        }
    )
