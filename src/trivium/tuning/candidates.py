"""What may stand at a scale: the rules of the catalogue, and the recipe's own, each with the options to search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

from trivium.training.recipe import Recipe, RuleSection
from trivium.weighting import RULES, LearnableRule, Rule
from trivium.weighting.features import Scale


class Chooser(Protocol):
    """Where values come from: a sampler, or a fixed answer."""

    def choice(self, name: str, options: Sequence[str]) -> str:
        """One of ``options``."""
        ...

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        """A number in [low, high], uniform or log-uniform."""
        ...


@dataclass(frozen=True)
class Real:
    """A range of numbers."""

    low: float
    high: float
    log: bool = True

    def take(self, name: str, choose: Chooser) -> float:
        """A value, with four digits: more would only lengthen recipes."""
        return float(f"{choose.real(name, self.low, self.high, self.log):.4g}")


@dataclass(frozen=True)
class Categorical:
    """A few words, each with the value it stands for."""

    values: tuple[Any, ...]

    def take(self, name: str, choose: Chooser) -> Any:
        """One of the values."""
        return {str(value): value for value in self.values}[choose.choice(name, [str(v) for v in self.values])]


#: How much a score counts. A tenth of the least is uniform for all purposes; beyond the largest the budget decides.
DOSES = {"strength": Real(0.05, 10.0), "alpha": Real(0.05, 10.0), "tau": Real(0.02, 2.0)}
#: The exponent α of a rule that has no dose of its own.
EXPONENT = Real(0.1, 4.0)
#: Fixed weights: teachers up to twenty times apart before the budget.
WEIGHT = Real(0.05, 1.0)


@dataclass(frozen=True)
class Candidate:
    """One rule at one scale.

    Attributes:
        rule: a catalogued name, or ``FILE.py:NAME``.
        fixed: options that are not searched.
        knobs: options that are; an option written ``a.b`` is entry ``b`` of the mapping ``a``.
        exponent: whether α is searched.
    """

    rule: str
    scale: Scale
    fixed: dict[str, Any]
    knobs: dict[str, Real | Categorical]
    exponent: bool

    def entry(self, choose: Chooser) -> RuleSection:
        """The rule with every option chosen."""
        options = dict(self.fixed)
        for name, knob in self.knobs.items():
            value = knob.take(f"{self.scale}.{self.rule}.{name}", choose)
            option, nested, key = name.partition(".")
            if nested:
                options[option] = {**options.get(option, {}), key: value}
            else:
                options[option] = value
        alpha = EXPONENT.take(f"{self.scale}.{self.rule}.α", choose) if self.exponent else 1.0
        return RuleSection.model_validate({"rule": self.rule, "strength": alpha, "options": options})


def catalogued(name: str, recipe: Recipe, budget: float) -> Candidate | str:
    """A rule of the catalogue as a candidate, or the reason why it is none.

    Numbers that are a dose, words and switches are searched. A budget of its own is opened as far as the whole may
    go, so that the scale's share of it decides alone. Other options keep their defaults.
    """
    rule: type[Rule] = RULES[name]
    if issubclass(rule, LearnableRule):
        return "it learns while a student trains, which the trials of a search would each begin anew"
    hints, fixed, knobs = get_type_hints(rule), dict[str, Any](), dict[str, Real | Categorical]()
    dosed = False
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]
        option, kind = field.name, hints[field.name]
        if option == "scale":
            continue
        if option in DOSES:
            knobs[option], dosed = DOSES[option], True
        elif option == "budget":
            if field.default is not None:
                fixed[option] = budget
        elif option == "weights" and kind == tuple[float, ...]:
            knobs.update({f"weights.{teacher}": WEIGHT for teacher in recipe.teacher_names})
            dosed = True
        elif option == "teacher_of":
            teachers = Categorical(tuple(recipe.teacher_names))
            knobs.update({f"map.{domain.name}": teachers for domain in recipe.data.domains})
            dosed = True
        elif get_origin(kind) is Literal:
            knobs[option] = Categorical(get_args(kind))
        elif kind is bool:
            knobs[option] = Categorical((False, True))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            return f"its option {option!r} has no default and no known range; write it in the recipe"
    return Candidate(name, rule.scale, fixed, knobs, exponent=not dosed)


def narrowed(candidate: Candidate, fits: Callable[[Candidate], bool]) -> Candidate:
    """The candidate with those words and switches that fit in some combination; as it is where none does."""
    words = {n: knob.values for n, knob in candidate.knobs.items() if isinstance(knob, Categorical) and "." not in n}
    fixed = [dict(zip(words, values, strict=True)) for values in product(*words.values())]

    def single(chosen: dict[str, Any]) -> Candidate:
        return replace(candidate, knobs={**candidate.knobs, **{n: Categorical((v,)) for n, v in chosen.items()}})

    good = [chosen for chosen in fixed if fits(single(chosen))]
    if not good:
        return candidate
    kept = {n: Categorical(tuple(v for v in values if any(c[n] == v for c in good))) for n, values in words.items()}
    return replace(candidate, knobs={**candidate.knobs, **kept})


def from_file(reference: str, scale: Scale) -> Candidate:
    """A user's rule: its exponent is searched, as nothing is known of its inside."""
    return Candidate(reference, scale, {}, {}, exponent=True)
