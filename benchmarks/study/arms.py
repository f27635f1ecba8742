"""What is compared: a list of ways to weigh, each a scheme for the setting's teachers.

The rules come from the library's catalogue, so a rule that is added there is an arm here; a rule that a setting cannot
hold is left out with its reason. What needs the setting's own numbers (routing, static weights, the schemes) is below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch

from benchmarks.study.setting import Setting, losses
from trivium.catalogue import ENTRIES
from trivium.fitting import Fitted
from trivium.scheme import Product, Project, Scheme, Squash, compose
from trivium.scheme.tree import leaves
from trivium.simplex.conforming import ConformingSet
from trivium.training.arms import HARD
from trivium.training.collect import Batch, collect_features
from trivium.training.fitting import fit
from trivium.training.recipe import LossSection
from trivium.weighting import MOPD, DomainMap, Entropy, PrefixPosterior, Rule, Scores, Skill, Static, rule
from trivium.weighting.base import Operator
from trivium.weighting.features import NEEDS_LABEL, NEEDS_PREFIX
from trivium.weighting.learnable import LearnableRule

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
        taught = any(isinstance(leaf, LearnableRule) for leaf in leaves(self.scheme))
        # The gradients' inner products stand there because they are those of the whole batch; they hold no label.
        reads = set(self.scheme.ranges) & NEEDS_LABEL - {"gram"}
        return self.loss.label > 0 or bool(reads) or self.by_group or taught


@rule(scale="context", features={"context_loss": (0.0, 12.0)})
def context_skill(context_loss: torch.Tensor) -> torch.Tensor:
    """Validation skill again, in the example's own context: a column of the data, as a user would add one."""
    return torch.softmax(-context_loss, dim=-1)


@lru_cache(maxsize=16)
def arms(setting: Setting) -> tuple[dict[str, Arm], dict[str, str]]:
    """The arms of a setting by name, and why what is missing is missing."""
    found, missing = {}, {}
    makers: dict[str, tuple[Kind, Callable[[Setting], Scheme]]] = {
        "uniform": ("baseline", lambda s: compose(s.teacher_names)),
        "single best": ("baseline", _single),
        "routing": ("published", _routing),
        "static": ("published", _static),
        "oracle": ("reference", _oracle),
        "token scale": ("ours", lambda s: _full(s, ["token"])),
        "task scale": ("ours", lambda s: _full(s, ["task"])),
        "context scale": ("ours", lambda s: _full(s, ["context"])),
        "three scales, no budgets": ("ours", lambda s: compose(s.teacher_names, **_terms(s))),
        "three scales, conforming": ("conforming", _full),
        "three scales with labels, conforming": ("conforming", lambda s: _full(s, labels=True)),
        "fitted, conforming": ("conforming", _fitted),
        "fitted with labels, conforming": ("conforming", lambda s: _fitted(s, labels=True)),
    }
    for name, (kind, make) in makers.items():
        found[name] = Arm(name, kind, make(setting), by_group=name == "oracle")
    if setting.hard_labels:
        found["hard labels"] = Arm("hard labels", "reference", compose(setting.teacher_names), HARD_LABELS)
    for entry in ENTRIES:
        if entry.name in OWN:
            continue
        try:
            operator = for_teachers(entry.operator, setting)
            scheme = Scheme(setting.teacher_names, {entry.scale: operator}, operator, None)
            missing[entry.key] = _unfit(setting, scheme)
        except Exception as error:  # a row may be about the catalogue's three teachers; the others go on
            missing[entry.key] = f"{type(error).__name__}: {error}"
        if not missing[entry.key]:
            del missing[entry.key]
            found[entry.key] = Arm(entry.key, entry.form, scheme)
    return found, missing


def _unfit(setting: Setting, scheme: Scheme) -> str:
    """Why a rule cannot be run in a setting; empty if it can."""
    labels = setting.splits["train"].labels
    if labels.shape[-1] == 1 and NEEDS_PREFIX & set(scheme.ranges):
        return "one label an example has no prefix: the rule is uniform"
    vocabulary = setting.splits["train"].logits[0].shape[-1]
    if "logits" in scheme.ranges and vocabulary * (1 + len(setting.teacher_names)) > 1000:
        return "it reads all logits at once, and learns through three steps of the student: too slow for two cores"
    lacking = set(scheme.ranges) - set(available(setting, scheme))
    return f"training does not give it {', '.join(sorted(lacking))}" if lacking else ""


def available(setting: Setting, scheme: Scheme) -> dict[str, torch.Tensor]:
    """The features that training collects for a scheme, on two examples."""
    split, validation = setting.splits["train"], setting.splits["validation"]
    logits = [z[:2] for z in split.logits]
    columns = {"context_loss": losses(validation, "domain", len(setting.domains))[split.domain[:2]]}
    batch = Batch(split.labels[:2], logits, split.domain[:2], split.task[:2], columns)
    return collect_features(scheme, batch, logits[0].float(), losses(validation, "task", len(setting.tasks)))


HARD_LABELS = LossSection(distillation=0.0, label=1.0)


def for_teachers(operator: Operator, setting: Setting) -> Operator:
    """The operator of a catalogue row with the setting's sizes: bounds restated, learned rules in their first state."""
    num_teachers = len(setting.teacher_names)
    if isinstance(operator, Project):
        c = operator.conforming
        bounds = ConformingSet(num_teachers, min(c.floor, 0.5 / num_teachers), max(c.cap, min(1.0, 1.5 / num_teachers)))
        return Project(for_teachers(operator.part, setting), bounds)
    if isinstance(operator, Product):
        return Product(tuple(for_teachers(part, setting) for part in operator.parts))
    if not dataclasses.is_dataclass(operator):
        return operator
    sizes: dict[str, Any] = {
        "teachers": num_teachers,
        "tasks": len(setting.tasks),
        "classes": setting.splits["train"].logits[0].shape[-1],
    }
    names = {field.name for field in dataclasses.fields(operator)}
    changed = {name: size for name, size in sizes.items() if name in names}
    if "part" in names:
        changed["part"] = for_teachers(operator.part, setting)
    return dataclasses.replace(operator, **changed) if changed else operator


def _mean_loss(setting: Setting) -> torch.Tensor:
    split = setting.splits["validation"]
    return losses(split, "task", len(setting.tasks)).mean(0)


def _single(setting: Setting) -> Scheme:
    best = int(_mean_loss(setting).argmin())
    return compose(setting.teacher_names, context=[DomainMap((best,) * len(setting.domains), budget=HARD)])


def _routing(setting: Setting) -> Scheme:
    """Each domain to the teacher with the least validation loss there, and no other is heard."""
    split = setting.splits["validation"]
    best = tuple(losses(split, "domain", len(setting.domains)).argmin(-1).tolist())
    return compose(setting.teacher_names, context=[MOPD(best)])


def _static(setting: Setting) -> Scheme:
    """softmax(τ · share of right labels) on all validation data, with τ = 4."""
    split = setting.splits["validation"]
    known = split.labels >= 0
    right = [((z.argmax(-1) == split.labels) & known).sum() / known.sum() for z in split.logits]
    return compose(setting.teacher_names, task=[Static(tuple(torch.softmax(4 * torch.stack(right), 0).tolist()))])


def _oracle(setting: Setting) -> Scheme:
    """Each group to its best teacher, both known from the labels of all training examples."""
    split = setting.splits["train"]
    best = losses(split, "group", len(setting.groups)).argmin(-1).tolist()
    return compose(setting.teacher_names, context=[DomainMap(tuple(best), budget=HARD)])


def _terms(setting: Setting) -> dict[str, list[Rule]]:
    context = PrefixPosterior(budget=None) if _sequences(setting) else context_skill
    return {"token": [Entropy(strength=0.5)], "task": [Skill()], "context": [context]}


def _full(setting: Setting, scales: list[str] | None = None, labels: bool = False) -> Scheme:
    """Ours under its budgets. With ``labels`` the token scale also weighs w_k ∝ p_k(label), the posterior of teachers
    given the label: evidence as a prefix is, and under its budget."""
    terms = {scale: rules for scale, rules in _terms(setting).items() if scales is None or scale in scales}
    budgets = {scale: BUDGETS[scale] for scale in terms}
    if labels:
        terms["token"].append(Scores({"label_log_prob": 1.0}))
        budgets["token"] = BUDGETS["context"]
    return compose(setting.teacher_names, **terms, budget=budgets, floor=FLOOR, cap=CAP)


def _fitted(setting: Setting, labels: bool = False) -> Scheme:
    """Strengths fitted to what the teachers say of the validation split, under the same sum of budgets, floor and cap.

    With ``labels`` the token scale also weighs by p_k(label), as in :func:`_full`: its strength, 1, and its budget were
    chosen before anything was run, since on the mixture a fit would take all of it. A column of the setting's own, the
    teachers' validation loss in the example's context, may be read where there is no prefix.
    """
    found = _strengths(setting)
    terms: dict[str, list[Operator]] = {scale: [Squash(*one)] for scale, one in found.rules.items()}
    if labels:
        terms.setdefault("token", []).append(Scores({"label_log_prob": 1.0}, budget=BUDGETS["context"]))
    return compose(setting.teacher_names, **terms, floor=FLOOR, cap=CAP)


@lru_cache(maxsize=16)
def _strengths(setting: Setting) -> Fitted:
    split, columns = setting.splits["validation"], {} if _sequences(setting) else {"context": [context_skill]}
    known = losses(split, "domain", len(setting.domains))
    scheme = compose(setting.teacher_names, **columns, floor=FLOOR, cap=CAP)

    def batch(rows: torch.Tensor) -> dict[str, Any]:
        found = {"inputs": split.inputs, "shift_labels": split.labels, "task": split.task, "domain": split.domain}
        found |= {f"{name}_logits": z for name, z in zip(setting.teacher_names, split.logits, strict=True)}
        read: dict[str, Any] = {name: value[rows] for name, value in found.items()}
        return read | {"context_loss": known[split.domain[rows]], "document": split.unit[rows]}

    batches = [batch(rows) for rows in torch.arange(len(split)).split(64)]
    names = {"tasks": setting.tasks, "domains": setting.domains}
    return fit(scheme, None, batches, budget=sum(BUDGETS.values()), **names)


def _sequences(setting: Setting) -> bool:
    return setting.splits["train"].labels.shape[-1] > 1
