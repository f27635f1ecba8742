"""From a recipe and the catalogue to a space of schemes, every one of which keeps the budget by construction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trivium.certification.specification import Specification
from trivium.errors import InputError, TriviumError, nearest, require
from trivium.training.build import build_scheme
from trivium.training.recipe import Recipe, RuleSection, SchemeSection
from trivium.tuning.budget import LEAST_SHARE, default_budget, down, room_under, shares_of
from trivium.tuning.candidates import Candidate, Chooser, catalogued, from_file, narrowed
from trivium.tuning.proof import prove, specification_of
from trivium.weighting import RULES
from trivium.weighting.features import NEEDS_LABEL, NEEDS_STUDENT, SCALES, Scale

Goal = Literal["mixture", "student"]

#: At a scale: no rule, or the recipe's own rules as they are written.
OFF, OWN = "off", "recipe"


class _Middle:
    """Answers that make one plain instance of a candidate."""

    def choice(self, name: str, options: Sequence[str]) -> str:
        return options[0]

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        return math.sqrt(low * high) if log else (low + high) / 2


@dataclass(frozen=True)
class Space:
    """Schemes of at most one rule a scale, or the recipe's own rules there, under one budget.

    Each scale with rules asks for a share x_s of the room B and gets B·x_s/max(1, Σx): the budgets never sum to more
    than B, so β ≤ B by T3. Floor, cap and order are kept as asked.

    Attributes:
        budget: influence that the whole may have. room: what of it rules may use; an order's margin uses the rest.
        bare: floor, cap, order and margin without a rule: uniform weights.
        candidates: by scale.
        own: the recipe's rules, by scale; empty where it has none or they cannot be evaluated.
        own_shares: the share of the budget that each of these asks for as written; None where the recipe's scheme
            cannot be evaluated as a whole.
        left_out: a sentence for every rule that is not searched.
    """

    recipe: Recipe
    base: Path
    budget: float
    room: float
    bare: SchemeSection
    candidates: Mapping[Scale, tuple[Candidate, ...]]
    own: Mapping[Scale, tuple[RuleSection, ...]]
    own_shares: Mapping[Scale, float] | None
    left_out: tuple[str, ...]

    @property
    def specification(self) -> Specification:
        """What every scheme of the space must be proved to keep."""
        return specification_of(self.recipe.teacher_names, self.bare, self.budget)

    def options(self, scale: Scale) -> list[str]:
        """What may stand at a scale, by name."""
        own = [OWN] if self.own.get(scale) else []
        return [OFF, *own, *(candidate.rule for candidate in self.candidates.get(scale, ()))]

    def section(self, choose: Chooser) -> SchemeSection:
        """The scheme that the answers of ``choose`` describe."""
        rules: dict[str, Any] = {}
        asked: dict[str, float] = {}
        for scale in SCALES:
            options = self.options(scale)
            chosen = choose.choice(scale, options) if len(options) > 1 else OFF
            if chosen == OFF:
                continue
            asked[scale] = choose.real(f"{scale}.share", LEAST_SHARE, 1.0, False)
            if chosen == OWN:
                rules[scale] = list(self.own[scale])
            else:
                candidate = next(c for c in self.candidates[scale] if c.rule == chosen)
                rules[scale] = [candidate.entry(choose)]
        whole = max(1.0, sum(asked.values()))
        budgets = {scale: down(self.room * share / whole) for scale, share in asked.items()}
        return self.bare.model_copy(update={**rules, "budget": budgets or None})

    def starts(self) -> dict[str, dict[str, Any]]:
        """The answers for the recipe's own scheme, held to the budget, and for uniform weights: the first trials."""
        found: dict[str, dict[str, Any]] = {}
        searched = [scale for scale in SCALES if len(self.options(scale)) > 1]
        if self.own_shares is not None:
            own: dict[str, Any] = {scale: OWN if self.own.get(scale) else OFF for scale in searched}
            found["recipe"] = own | {f"{scale}.share": share for scale, share in self.own_shares.items()}
        return found | {"uniform": dict.fromkeys(searched, OFF)}

    def with_section(self, section: SchemeSection) -> Recipe:
        """The recipe under another scheme."""
        return self.recipe.model_copy(update={"scheme": section})

    def everything(self) -> Recipe:
        """The recipe with every rule of the space at once: it reads every feature that a trial may read."""
        rules: dict[str, Any] = {
            scale: [*self.own.get(scale, ()), *(c.entry(_Middle()) for c in self.candidates.get(scale, ()))]
            for scale in SCALES
        }
        return self.with_section(self.bare.model_copy(update={**rules, "budget": None}))


def build_space(
    recipe: Recipe,
    base: Path = Path(),
    *,
    goal: Goal = "mixture",
    budget: float | None = None,
    floor: float | None = None,
    rules: Sequence[str] = (),
) -> Space:
    """The space of a recipe.

    Args:
        base: the folder that the recipe's paths count from.
        goal: ``mixture`` leaves out rules that see the label or the student.
        budget: influence of the whole, nats; None takes the recipe's, else 4.
        floor: least weight; None takes the recipe's.
        rules: only these, besides the recipe's own scheme; none given: all.

    Raises:
        InputError: a budget that is no positive number, an unknown rule, or nothing to choose.
        InfeasibleError: a floor, cap and order that no weights meet (T1).
    """
    section = recipe.scheme
    total = default_budget(section) if budget is None else budget
    require(math.isfinite(total) and total > 0, "--budget must be a number of nats > 0", total, "4 is a good start.")
    bare = SchemeSection(
        floor=section.floor if floor is None else floor,
        cap=section.cap,
        order=section.order,
        order_margin=section.order_margin,
    )
    uniform = recipe.model_copy(update={"scheme": bare})
    room = room_under(total, build_scheme(uniform, base))
    written = {scale: tuple(getattr(section, scale)) for scale in SCALES if getattr(section, scale)}
    build_scheme(recipe, base)
    probe = _Probe(recipe, base, bare, total, room, goal)
    found, sentences = _candidates(probe, rules)
    own, whole = {}, True
    for scale, entries in written.items():
        reason = probe.unfit(scale, entries)
        if reason:
            whole = False
            sentences.append(f"The recipe's own {scale} rules are left out: {reason}.")
        else:
            own[scale] = entries
    if not whole:
        sentences.append("So the recipe's own scheme is not among the trials.")
    shares = shares_of(build_scheme(recipe, base), room) if whole else None
    space = Space(recipe, base, total, room, bare, found, own, shares, tuple(sentences))
    choices = sum(len(space.options(scale)) - 1 for scale in SCALES)
    require(choices > 0, "a search must have a rule to choose", "; ".join(sentences) or "none", "Name other --rules.")
    return space


@dataclass(frozen=True)
class _Probe:
    """What a rule must pass before it is searched."""

    recipe: Recipe
    base: Path
    bare: SchemeSection
    budget: float
    room: float
    goal: Goal

    def unfit(self, scale: Scale, entries: Sequence[RuleSection]) -> str:
        """Why these rules, alone under the whole budget, cannot be searched; empty where they can."""
        alone = self.bare.model_copy(update={scale: list(entries), "budget": {scale: down(self.room)}})
        try:
            scheme = build_scheme(self.recipe.model_copy(update={"scheme": alone}), self.base)
        except TriviumError as error:
            return str(error).rstrip(".")
        reads = set(scheme.ranges)
        if self.goal == "mixture" and reads & NEEDS_STUDENT:
            return "it looks at the student, which --objective mixture does not train; --objective student can"
        if self.goal == "mixture" and reads & NEEDS_LABEL:
            return "what sees the label predicts nothing, so it has no mixture to measure; --objective student can"
        proof = prove(scheme, specification_of(self.recipe.teacher_names, self.bare, self.budget))
        return "" if proof.proved else f"it cannot be proved ({proof.reason})"


def _candidates(probe: _Probe, rules: Sequence[str]) -> tuple[dict[Scale, tuple[Candidate, ...]], list[str]]:
    """The candidates by scale, and a sentence for each rule that is none."""
    recipe = probe.recipe
    files: dict[str, Scale] = {}
    for scale in SCALES:
        files |= {entry.rule: scale for entry in getattr(recipe.scheme, scale) if ".py:" in entry.rule}
    for name in rules:
        if name not in RULES and name not in files:
            known = [*RULES, *files]
            raise InputError("--rules must name rules of the catalogue or the recipe", repr(name), nearest(name, known))
    found: dict[Scale, list[Candidate]] = {scale: [] for scale in SCALES}
    sentences = []
    for name in [*RULES, *files]:
        if rules and name not in rules:
            continue
        made = from_file(name, files[name]) if name in files else catalogued(name, recipe, probe.room)
        if isinstance(made, str):
            sentences.append(f"{name} is left out: {made}.")
            continue
        made = narrowed(made, lambda one: not probe.unfit(one.scale, [one.entry(_Middle())]))
        reason = probe.unfit(made.scale, [made.entry(_Middle())])
        if reason:
            sentences.append(f"{name} is left out: {reason}.")
        else:
            found[made.scale].append(made)
    return {scale: tuple(candidates) for scale, candidates in found.items() if candidates}, sentences
