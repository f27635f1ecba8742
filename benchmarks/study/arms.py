"""What is compared: a list of ways to weigh, each a scheme for the setting's teachers.

The rules come from the library's catalogue, so a rule that is added there is an arm here; a rule that a setting cannot
hold is left out with its reason. What needs the setting's own numbers (routing, static weights, the schemes) is below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import torch

from benchmarks.study.setting import Setting, losses
from trivium.scheme import Conform, Product, Scheme, compose
from trivium.simplex.conforming import ConformingSet
from trivium.training.arms import HARD
from trivium.training.recipe import LossSection
from trivium.weighting import RULES, DomainMap, Entropy, PrefixPosterior, Rule, Skill, Static, rule
from trivium.weighting.base import Operator
from trivium.weighting.features import NEEDS_LABEL

Kind = Literal["baseline", "reference", "ours", "published", "conforming"]

#: The demo's budgets, chosen before any of these settings was run and the same in all of them.
BUDGETS: Mapping[str, float] = {"token": 1.5, "task": 1.5, "context": 4.0}
FLOOR, CAP = 0.0005, 0.999
#: Catalogue rows whose numbers belong to the catalogue's three teachers; the study has its own of them.
OWN = frozenset({"uniform", "static", "domain_map", "mopd", "three scales"})


@dataclass(frozen=True)
class Arm:
    """One way to weigh.

    Attributes:
        kind: ``reference`` arms know what no rule may know and are not ranked.
        by_group: the scheme's domain is the example's group, which the oracle alone may see.
        labels: whether it reads the labels of the training examples.
    """

    name: str
    kind: Kind
    scheme: Scheme
    loss: LossSection = field(default_factory=LossSection)
    by_group: bool = False

    @property
    def labels(self) -> bool:
        return self.loss.label > 0 or bool(set(self.scheme.ranges) & NEEDS_LABEL) or self.by_group


@rule(scale="context", features={"context_loss": (0.0, 12.0)})
def context_skill(context_loss: torch.Tensor) -> torch.Tensor:
    """Validation skill again, in the example's own context: a column of the data, as a user would add one."""
    return torch.softmax(-context_loss, dim=-1)


@lru_cache(maxsize=16)
def arms(setting: Setting) -> tuple[dict[str, Arm], dict[str, str]]:
    """The arms of a setting by name, and why what is missing is missing."""
    found, missing = {}, {}
    makers: dict[str, tuple[Kind, Callable[[Setting], Scheme]]] = {
        "uniform": ("baseline", lambda s: compose(s.teachers)),
        "single best": ("baseline", _single),
        "routing": ("published", _routing),
        "static": ("published", _static),
        "oracle": ("reference", _oracle),
        "token scale": ("ours", lambda s: _full(s, ["token"])),
        "task scale": ("ours", lambda s: _full(s, ["task"])),
        "context scale": ("ours", lambda s: _full(s, ["context"])),
        "three scales, no budgets": ("ours", lambda s: compose(s.teachers, **_terms(s))),
        "three scales, conforming": ("conforming", _full),
    }
    for name, (kind, make) in makers.items():
        found[name] = Arm(name, kind, make(setting), by_group=name == "oracle")
    if setting.hard_labels:
        found["hard labels"] = Arm("hard labels", "reference", compose(setting.teachers), HARD_LABELS)
    for entry in _catalogue():
        if entry.name in OWN:
            continue
        if setting.splits["train"].labels.shape[-1] == 1 and "prefix_log_prob" in entry.operator.ranges:
            missing[entry.key] = "one label an example has no prefix: the rule is uniform"
            continue
        try:
            operator = for_teachers(entry.operator, len(setting.teachers))
            constants = getattr(operator, "constants", None)
            if constants is not None:
                constants(len(setting.teachers))
            scheme = Scheme(setting.teachers, {entry.scale: operator}, operator, None)
            found[entry.key] = Arm(entry.key, entry.form, scheme)
        except Exception as error:  # a row of the catalogue may be about three teachers; that is its right
            missing[entry.key] = f"{type(error).__name__}: {error}"
    return found, missing


HARD_LABELS = LossSection(distillation=0.0, label=1.0)


def _catalogue() -> tuple:
    try:
        from trivium.catalogue import ENTRIES
    except ImportError:
        return ()
    return ENTRIES


def for_teachers(operator: Operator, teachers: int) -> Operator:
    """The operator of a catalogue row for another number of teachers: bounds of its projection, if any, restated."""
    if isinstance(operator, Conform):
        c = operator.conforming
        floor = min(c.floor, 0.5 / teachers)
        bounds = ConformingSet(teachers, floor, max(c.cap, 1.5 / teachers) if teachers > 1 else 1.0)
        return Conform(for_teachers(operator.part, teachers), bounds)
    if isinstance(operator, Product):
        return Product(tuple(for_teachers(part, teachers) for part in operator.parts))
    if dataclasses.is_dataclass(operator) and hasattr(operator, "part"):
        return dataclasses.replace(operator, part=for_teachers(operator.part, teachers))
    return operator


def _mean_loss(setting: Setting) -> torch.Tensor:
    split = setting.splits["validation"]
    return losses(split, "task", len(setting.tasks)).mean(0)


def _single(setting: Setting) -> Scheme:
    best = int(_mean_loss(setting).argmin())
    return compose(setting.teachers, context=[DomainMap((best,) * len(setting.domains), budget=HARD)])


def _routing(setting: Setting) -> Scheme:
    """Each domain to the teacher with the least validation loss there, and no other is heard."""
    split = setting.splits["validation"]
    best = tuple(losses(split, "domain", len(setting.domains)).argmin(-1).tolist())
    if "mopd" in RULES:
        return compose(setting.teachers, context=[RULES["mopd"](best)])
    return compose(setting.teachers, context=[DomainMap(best, budget=HARD)])


def _static(setting: Setting) -> Scheme:
    """softmax(τ · share of right labels) on all validation data, with τ = 4."""
    split = setting.splits["validation"]
    known = split.labels >= 0
    right = [((z.argmax(-1) == split.labels) & known).sum() / known.sum() for z in split.logits]
    return compose(setting.teachers, task=[Static(tuple(torch.softmax(4 * torch.stack(right), 0).tolist()))])


def _oracle(setting: Setting) -> Scheme:
    """Each group to its best teacher, both known from the labels of all training examples."""
    split = setting.splits["train"]
    best = losses(split, "group", len(setting.groups)).argmin(-1).tolist()
    return compose(setting.teachers, context=[DomainMap(tuple(best), budget=HARD)])


def _terms(setting: Setting) -> dict[str, list[Rule]]:
    sequences = setting.splits["train"].labels.shape[-1] > 1
    context = PrefixPosterior(budget=None) if sequences else context_skill
    return {"token": [Entropy(strength=0.5)], "task": [Skill()], "context": [context]}


def _full(setting: Setting, scales: list[str] | None = None) -> Scheme:
    terms = {scale: rules for scale, rules in _terms(setting).items() if scales is None or scale in scales}
    budgets = {scale: BUDGETS[scale] for scale in terms}
    return compose(setting.teachers, **terms, budget=budgets, floor=FLOOR, cap=CAP)
