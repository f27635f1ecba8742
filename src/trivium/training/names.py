"""Models, domains and teachers that a recipe names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.errors import InputError, nearest, require
from trivium.training.recipe import Recipe, StudentSection


def require_model_or_config(section: StudentSection, fix: str) -> None:
    """Raises InputError unless the student has a model to start from or a config for a fresh one."""
    given = "both" if section.model else "neither"
    require(
        (section.model is None) != (section.config is None),
        "a student must have either a model or a config",
        given,
        fix,
    )


def teachers_of(mapping: Any, recipe: Recipe) -> tuple[int, ...]:
    """Return the index of each domain's teacher, -1 where the mapping names none.

    Raises:
        InputError: no mapping, or one that names a domain or teacher that the recipe does not have.
    """
    names = recipe.teacher_names
    domains = [domain.name for domain in recipe.data.domains]
    require(
        isinstance(mapping, Mapping), "a domain map must map domains to teachers", mapping, "Write {domain: teacher}."
    )
    for domain, teacher in mapping.items():
        if domain not in domains:
            raise InputError("a domain map must name the data's domains", repr(domain), nearest(str(domain), domains))
        if teacher not in names:
            raise InputError(
                "a domain map must name the recipe's teachers", repr(teacher), nearest(str(teacher), names)
            )
    return tuple(names.index(mapping[domain]) if domain in mapping else -1 for domain in domains)


def every_teacher(mapping: Mapping[str, Any], recipe: Recipe, what: str) -> Sequence[str]:
    """Return the recipe's teachers in its order; raises InputError unless ``mapping`` names exactly these."""
    require(
        set(mapping) == set(recipe.teacher_names),
        f"{what} must give one number for every teacher",
        f"{sorted(mapping)}, teachers {recipe.teacher_names}",
        "Use the recipe's teacher names.",
    )
    return recipe.teacher_names


def bias_of(mapping: Any, recipe: Recipe) -> list[list[float]]:
    """Return the rows of a bias ``{TASK: {TEACHER: NATS}}`` in the order of the data's tasks.

    Raises:
        InputError: tasks or teachers other than the recipe's.
    """
    tasks = list(recipe.data.tasks or dict.fromkeys(domain.task for domain in recipe.data.domains))
    rows = mapping if isinstance(mapping, Mapping) else {}
    shaped = set(rows) == set(tasks) and all(isinstance(row, Mapping) for row in rows.values())
    require(
        shaped, f"a bias must give every task a number a teacher: {tasks}", mapping, "Write {TASK: {TEACHER: 0.1}}."
    )
    return [[rows[task][name] for name in every_teacher(rows[task], recipe, f"the bias of {task}")] for task in tasks]


def require_each_domain(teacher_of: Any, recipe: Recipe) -> None:
    """Raises InputError unless ``teacher_of`` is a list with one entry for each domain of the data."""
    domains = [domain.name for domain in recipe.data.domains]
    count = len(teacher_of) if isinstance(teacher_of, list) else 0
    require(count == len(domains), f"teacher_of must give one teacher a domain: {domains}", count, "Or give a `map`.")
