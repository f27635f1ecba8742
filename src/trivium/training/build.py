"""From a recipe to its scheme."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trivium.errors import InputError, TriviumError, nearest, require
from trivium.former import former_names, keyed
from trivium.scheme import Scheme, compose
from trivium.scheme.scheme import Term
from trivium.training.names import bias_of, every_teacher, require_each_domain, teachers_of
from trivium.training.recipe import Recipe, RuleSection
from trivium.training.tasks import task_of
from trivium.weighting import RULES, LearnableRule, Rule
from trivium.weighting.features import Scale
from trivium.weighting.loading import load_rule


def build_scheme(recipe: Recipe, base: Path = Path()) -> Scheme:
    """Return the recipe's scheme; user rules (``FILE.py:NAME``) are loaded from beside the recipe.

    Raises:
        InputError: an unknown rule or option, a rule under the wrong scale, a map or weights that name no teacher.
        InfeasibleError: bounds that no weights meet (T1).
    """
    section = recipe.scheme

    def terms(scale: Scale) -> list[Term]:
        return [entry.around(_rule(entry, scale, recipe, base)) for entry in getattr(section, scale)]

    scheme = compose(
        recipe.teacher_names,
        token=terms("token"),
        task=terms("task"),
        context=terms("context"),
        budget=section.budget,  # type: ignore[arg-type]  # its keys are checked by compose
        floor=section.floor,
        cap=section.cap,
        order=section.order,
        order_margin=section.order_margin,
        critical_order=recipe.safety.trust if recipe.safety else None,
        critical_margin=recipe.safety.order_margin if recipe.safety and recipe.safety.trust else 0.0,
    )
    task_of(recipe, base).admit(scheme)
    return scheme


def restricted_cap(recipe: Recipe, scheme: Scheme, base: Path = Path()) -> float:
    """Return the cap that weights keep on every row, also where teachers are absent (:meth:`ConformingSet.among`); 1
    for none.

    Restriction keeps the scheme's floor, order, influence and regularity, and can only raise its cap.
    """
    conforming, present = scheme.conforming, task_of(recipe, base).serves(recipe)
    if conforming is None:
        return 1.0
    if present is None:
        return conforming.cap
    return max(
        conforming.cap if row.all() else conforming.among(row.nonzero().flatten().tolist()).cap for row in present
    )


def cap_note(recipe: Recipe, scheme: Scheme, base: Path = Path()) -> str | None:
    """Return what to tell of a cap that absent teachers raise; None where it holds as it stands."""
    cap = 1.0 if scheme.conforming is None else scheme.conforming.cap
    raised = restricted_cap(recipe, scheme, base)
    return None if raised == cap else f"cap {cap:g} is {raised:.4g} on rows that not all teachers serve"


def _rule(entry: RuleSection, scale: Scale, recipe: Recipe, base: Path) -> Rule:
    if ".py:" in entry.rule:
        require(not entry.options, "a rule from a file takes no options", entry.options, "Set them in the file.")
        return load_rule(entry.rule, base)
    if entry.rule not in RULES:
        raise InputError("a rule must be built in, or FILE.py:NAME", repr(entry.rule), nearest(entry.rule, RULES))
    rule = RULES[entry.rule]
    options = keyed(entry.options, former_names(rule), f"rule {entry.rule!r}")
    types = {field.name: str(field.type) for field in dataclasses.fields(rule)}  # type: ignore[arg-type]
    fields = set(types)
    if "scale" in fields:
        options.setdefault("scale", scale)
    recipe_map = "map" in options and "teacher_of" in fields
    if recipe_map:
        options["teacher_of"] = teachers_of(options.pop("map"), recipe)
    if "bias" in fields and isinstance(options.get("bias"), Mapping):
        options["bias"] = bias_of(options["bias"], recipe)
    if issubclass(rule, LearnableRule):
        sizes = {"num_teachers": lambda: len(recipe.teachers), **task_of(recipe, base).sizes(recipe, base)}
        for name, sized in sizes.items():
            if name not in fields:
                continue
            size = sized()
            given = options.setdefault(name, size)
            require(given == size, f"option {name!r} of rule {entry.rule!r} must be the run's", given, f"It is {size}.")
    if "teacher_of" in options and not recipe_map:
        require_each_domain(options["teacher_of"], recipe)
    for name, value in list(options.items()):
        if name not in fields:
            raise InputError(f"an option of rule {entry.rule!r} must exist", repr(name), nearest(name, fields))
        if isinstance(value, Mapping) and not types[name].startswith("Mapping"):  # then its keys are teachers
            options[name] = [value[teacher] for teacher in every_teacher(value, recipe, name)]
    built = _validated(rule, entry.rule, options, fields)
    built.constants(len(recipe.teachers))  # a list as long as K, an index that exists, a budget ≥ 0: checked there
    return built


def _validated(rule: type[Rule], name: str, options: Mapping[str, Any], fields: set[str]) -> Rule:
    """Return the rule with these options, each of its declared type."""
    try:
        built: Rule = TypeAdapter(rule).validate_python(options)
    except ValidationError as error:
        problem: Any = error.errors()[0]
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, TriviumError):
            raise cause from None
        path = ".".join(str(part) for part in problem["loc"])
        raise InputError(
            f"the options of rule {name!r} must fit", f"{path!r}: {problem['msg']}", f"It takes {sorted(fields)}."
        ) from None
    return built
