"""Fitting the scheme of a recipe, or of teachers in memory, and its headroom."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from trivium.errors import require
from trivium.fitting import Family, Fitted, Headroom, Observations, headroom, weighed
from trivium.fitting import fit as fit_observations
from trivium.former import renamed
from trivium.scheme import Scheme
from trivium.scheme.tree import leaves
from trivium.simplex.typed import typed
from trivium.training.build import build_scheme
from trivium.training.distiller import Distiller
from trivium.training.observing import Observer, family_of, numbered, observe, others_of
from trivium.training.recipe import Recipe, RuleSection, SchemeSection, present_keys
from trivium.training.run import PreparedRun
from trivium.weighting import FittedScores
from trivium.weighting.features import NEEDS_LABEL, NEEDS_STUDENT, SCALES

#: Nats of the whole that a fit may spend where nobody says: one teacher may outweigh another 2,981 to 1.
BUDGET = 8.0


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe with fitted strengths, and what is known of it.

    Attributes:
        headroom: on the documents that judged, with the fitted scheme and the recipe's own beside the bounds.
        judged: the split that judged, never fitted: ``test``, or ``validation`` where a quarter of its documents did.
        notes: what a reader has to know.
    """

    recipe: Recipe
    fitted: Fitted
    headroom: Headroom
    judged: str
    notes: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return plain numbers, for fit.json; ``scheme`` is the section that they are of."""
        more = {"headroom": self.headroom.to_data(), "judged": self.judged, "notes": list(self.notes)}
        return self.fitted.to_data() | more | {"scheme": self.recipe.scheme.model_dump(mode="json")}


@renamed(workshop="prepared_run")
def fit_recipe(
    recipe: Recipe,
    prepared_run: PreparedRun,
    *,
    budget: float | None = None,
    features: Sequence[str] | None = None,
    penalty: float | None = None,
    seed: int = 0,
) -> FittedRecipe:
    """Fit the recipe's scheme to its validation rows; test rows judge, or a quarter of the validation documents.

    The fitted scheme keeps the recipe's floor, cap, order and margin, and spends at most its budget.

    Args:
        budget: nats of the whole; None: the recipe's, else :data:`BUDGET`.
        features: those that may be read; None: all that are computed of teachers, and the scheme's own columns.
        penalty: λ; None chooses it by cross-validation.

    Raises:
        InputError: a feature that is not at hand; a single document.
    """
    scheme = build_scheme(recipe, prepared_run.base)
    limit = budget if budget is not None else budget_of(recipe)
    family = family_of(scheme, limit, prepared_run.tables.validation.labels.shape[-1] > 1, features)
    others, notes = _compared(scheme)
    data, judged, split = _observed(prepared_run, family, others)
    found = fit_observations(family, data, judged, limit=limit, penalty=penalty, others=others_of(judged), seed=seed)
    if recipe.loss.pool != "linear":
        notes.append(f"the fit is of the linear pool; this recipe's is {recipe.loss.pool}")
    named = {"fitted": weighed(found.scheme, judged), **others_of(judged)}
    section = section_of(recipe, found)
    fitted = recipe.model_copy(update={"name": f"{recipe.name}-fitted", "scheme": section})
    return FittedRecipe(fitted, found, headroom(judged, named), split, tuple(notes))


@renamed(workshop="prepared_run")
def headroom_of(recipe: Recipe, prepared_run: PreparedRun) -> tuple[Headroom, str]:
    """(bounds for the recipe's teachers on its test rows, or validation rows where it has none; the split).

    Beside the bounds stand the recipe's own scheme and each of its scales alone.
    """
    scheme = build_scheme(recipe, prepared_run.base)
    family = Family((), (), True)
    others, _ = _compared(scheme)
    split = "test" if prepared_run.tables.test is not None else "validation"
    rows, source = prepared_run.held_out
    names, losses = recipe.teacher_names, prepared_run.validation_loss
    data, differing = observe(rows, source, names, family, others, losses, differ=True)
    return headroom(data, others_of(data), differing), split


def fit_record(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """Return what the fit.json of a folder says of this recipe's scheme; None where it is not a fitted one.

    One number edited by hand, and the record is of another scheme: then ``missing`` says so in its place.
    """
    if not any(entry.rule == FittedScores.name for scale in SCALES for entry in getattr(recipe.scheme, scale)):
        return None
    try:
        found = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"missing": "The scheme has fitted scores, and no fit.json lies beside its recipe."}
    if not isinstance(found, dict) or _scheme_in(found) != recipe.scheme:
        return {"missing": "The fit.json beside the recipe is of another scheme than the one that ran."}
    return found


def _scheme_in(found: Mapping[str, Any]) -> SchemeSection | None:
    """The scheme that a fit.json is of; read, so that keys which came or were renamed since make no other of it."""
    told = found.get("scheme")
    try:
        return SchemeSection.model_validate(present_keys(told, "scheme")) if isinstance(told, dict) else None
    except ValidationError:
        return None


def section_of(recipe: Recipe, found: Fitted) -> SchemeSection:
    """Return the scheme section that states the fitted rules."""
    tasks = list(recipe.data.tasks or dict.fromkeys(domain.task for domain in recipe.data.domains))
    entries: dict[str, list[RuleSection]] = {}
    for scale in SCALES:
        if scale not in found.rules:
            continue
        rule, nats = found.rules[scale]
        options: dict[str, Any] = {"strengths": dict(rule.strengths)}
        if rule.bias:
            rows = zip(tasks, rule.bias, strict=True)
            options["bias"] = {task: dict(zip(recipe.teacher_names, row, strict=True)) for task, row in rows}
        if rule.columns:
            options["columns"] = {name: list(bounds) for name, bounds in rule.columns.items()}
        entries[scale] = [RuleSection.model_validate({"rule": rule.name, "squash": nats, "options": options})]
    kept = {name: value for name, value in dict(recipe.scheme).items() if name not in (*SCALES, "budget")}
    return SchemeSection.model_validate({**kept, **entries})


def budget_of(recipe: Recipe) -> float:
    """Return the nats of the whole that a recipe grants; :data:`BUDGET` where it grants no number."""
    given = recipe.scheme.budget
    if isinstance(given, Mapping):
        return sum(given.values()) or BUDGET
    return BUDGET if given is None or given <= 0 else float(given)


@typed(leave=("teachers", "validation", "judged"))
def fit(
    scheme: Scheme,
    teachers: Any,
    validation: Iterable[Mapping[str, Any]],
    *,
    budget: float = BUDGET,
    features: Sequence[str] | None = None,
    penalty: float | None = None,
    judged: Iterable[Mapping[str, Any]] | None = None,
    tasks: Sequence[str] = (),
    domains: Sequence[str] = (),
    shift: bool | None = None,
    vocabulary: int | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit strengths to what teachers say of validation batches, before any student exists.

    Args:
        scheme: names the teachers and states floor, cap, order and the columns of your data that may be read.
        teachers: as of :class:`trivium.Distiller`, by name.
        validation: batches, as of a distiller; ``document`` may give a number or name for each row, by which rows are
            held out together, else each row is a document.
        budget: nats of the whole, at most.
        features, penalty, seed: as of :func:`fit_recipe`.
        judged: batches that are never fitted; None holds out a quarter of the documents.
        tasks, domains, shift, vocabulary: as of the distiller: how batches are read.

    Returns:
        What was fitted; ``.scheme`` is ready for a distiller, and certified as any.

    Raises:
        InputError: batches that lack something, a feature that is not at hand, a single document.
    """
    require(math.isfinite(budget) and budget > 0, "a budget must be a positive number of nats", budget, "Try 4.")
    distiller = Distiller(scheme, teachers, tasks=tasks, domains=domains, shift=shift, vocabulary=vocabulary)
    kept = _batches(validation, "validation")
    losses = distiller.measure(kept)
    others, _ = _compared(scheme)
    prefix = distiller.read(kept[0]).labels.shape[-1] > 1
    family = family_of(scheme, budget, prefix, features)
    data = _of_batches(distiller, kept, family, others, losses)
    if judged is None:
        data, other = data.held_out()
    else:
        other = _of_batches(distiller, _batches(judged, "judged"), family, others, losses)
    return fit_observations(family, data, other, limit=budget, penalty=penalty, others=others_of(other), seed=seed)


def _batches(given: Any, what: str) -> list[Mapping[str, Any]]:
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) else []
    mapped = bool(listed) and all(isinstance(batch, Mapping) for batch in listed)
    require(mapped, f"{what} of fit must be batches, each a mapping", type(given).__name__, "Give a loader or a list.")
    return listed


def _of_batches(
    distiller: Distiller,
    batches: Sequence[Mapping[str, Any]],
    family: Family,
    others: Mapping[str, Scheme],
    losses: Tensor,
) -> Observations:
    tasks = distiller.reader.tasks or [str(number) for number in range(len(losses))]
    contents = [distiller.read(batch) for batch in batches]
    most = max(int(content.domain.max()) for content in contents) + 1
    domains = distiller.reader.domains or [str(number) for number in range(most)]
    names: list[object] = []
    for number, (batch, content) in enumerate(zip(batches, contents, strict=True)):
        rows = len(content.labels)
        given = batch.get("document")
        listed = given.tolist() if isinstance(given, Tensor) else given
        mine = [(number, row) for row in range(rows)] if listed is None else list(listed)
        require(len(mine) == rows, "a batch must give every row its document", f"{len(mine)} for {rows}", "Or none.")
        names += mine
    document = numbered(names)
    observer = Observer(distiller.scheme.teacher_names, domains, tasks, family, others, losses)
    start = 0
    for content in contents:
        observer.add(content, document[start : start + len(content.labels)])
        start += len(content.labels)
    return observer.found()


def _observed(
    prepared_run: PreparedRun, family: Family, others: Mapping[str, Scheme]
) -> tuple[Observations, Observations, str]:
    names = [teacher.name for teacher in prepared_run.teachers]
    losses, tables, sources = prepared_run.validation_loss, prepared_run.tables, prepared_run.sources
    data, _ = observe(tables.validation, sources["validation"], names, family, others, losses)
    if tables.test is not None:
        return data, observe(tables.test, sources["test"], names, family, others, losses)[0], "test"
    return (*data.held_out(), "validation")


def _compared(scheme: Scheme) -> tuple[dict[str, Scheme], list[str]]:
    """Return the recipe's scheme and each of its scales alone, where they predict; why they are left out where not."""
    found, notes = {}, []
    seen = sorted(set(scheme.ranges) & (NEEDS_LABEL | NEEDS_STUDENT))
    if seen:
        notes.append(f"the recipe's own scheme is not compared: it reads {', '.join(seen)}")
    elif _learns(scheme):
        notes.append("the recipe's own scheme is not compared: its rules learn while a student trains")
    else:
        found["the recipe's scheme"] = scheme
    for scale, operator in scheme.scales.items():
        alone = Scheme(scheme.teacher_names, {scale: operator}, operator, None)
        readable = not set(alone.ranges) & (NEEDS_LABEL | NEEDS_STUDENT)
        if readable and len(scheme.scales) > 1 and not _learns(alone):
            found[f"its {scale} scale"] = alone
    return found, notes


def _learns(scheme: Scheme) -> bool:
    return any(rule.learns for rule in leaves(scheme))
