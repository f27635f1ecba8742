"""The safety section of a recipe: which rows are critical, what teachers do there, what the student does in the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import InputError, nearest, require
from trivium.safety import (
    AuditedDocument,
    Boundaries,
    Interval,
    UnsafeClasses,
    UnsafeTokens,
    attacked_mass,
    audit,
    betting,
    feasibility,
    largest_mass,
    order_holds,
    student_mass,
    uniform_mass,
)
from trivium.scheme import Scheme
from trivium.simplex.conforming import ConformingSet
from trivium.teachers.live import LogitSource
from trivium.training.collect import Batch, collect_features, weigh
from trivium.training.evaluate import batch_of, indices, student_logits
from trivium.training.guard import Safety
from trivium.training.recipe import Recipe
from trivium.training.safety_section import SafetySection
from trivium.training.tasks.safe_rows import token_ids
from trivium.weighting.features import NEEDS_STUDENT

#: What a run leaves of its safety.
SAFETY_FILE: Final = "safety.json"


@dataclass(frozen=True)
class Plan:
    """A recipe's safety, resolved: what is forbidden in which states, and what was found before training."""

    section: SafetySection
    safety: Safety
    tokenizer: Any
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def plan_of(recipe: Recipe, tokenizer: Any) -> Plan:
    """Return the unsafe set of a recipe that has a safety section.

    Args:
        tokenizer: of text; None for examples.

    Raises:
        InputError: tokens or strings that the tokenizer cannot produce, classes that do not exist, or keys of the other
            kind of data.
    """
    section = recipe.safety
    assert section is not None
    unsafe = _unsafe_tokens(section, tokenizer) if tokenizer is not None else _unsafe_classes(section, recipe)
    return Plan(section, Safety(unsafe, section.limit, section.enforce, section.rate), tokenizer)


def _unsafe_tokens(section: SafetySection, tokenizer: Any) -> UnsafeTokens:
    given = section.unsafe
    require(
        not given.classes, "safety.unsafe.classes are of examples", given.classes, "Of text name tokens or strings."
    )
    boundaries = Boundaries(given.whole_words, given.not_after, given.ignore_case)
    return UnsafeTokens(tokenizer, given.tokens, given.strings, boundaries, given.variants)


def _unsafe_classes(section: SafetySection, recipe: Recipe) -> UnsafeClasses:
    given, tasks = section.unsafe, recipe.data.tasks
    texts = [*given.tokens, *given.strings]
    require(not texts, "safety.unsafe.tokens and strings are of text", texts, "Of examples name classes.")
    names = {}
    by_task: list[list[int]] = []
    number = 0
    for task, classes in tasks.items():
        by_task.append([])
        for name in classes:
            names[number] = name
            if name in given.classes or f"{task}/{name}" in given.classes:
                by_task[-1].append(number)
            number += 1
    known = {*names.values(), *(f"{task}/{name}" for task, classes in tasks.items() for name in classes)}
    for name in given.classes:
        if name not in known:
            raise InputError("an unsafe class must be one of the data's", repr(name), nearest(name, known))
    return UnsafeClasses(by_task, names)


@torch.no_grad()
def teacher_masses(plan: Plan, rows: Table, source: LogitSource) -> tuple[Tensor, Tensor]:
    """u [n, K] at every critical position of a table, and the number of each one's document, [n]."""
    masses, documents = [], []
    named: dict[tuple[int, str], int] = {}
    for index in indices(rows):
        index = index[rows.columns["critical"][index].squeeze(-1) > 0.5]
        if not len(index):
            continue
        ids = token_ids(rows)
        states = plan.safety.unsafe.states(None if ids is None else ids[index], rows.task[index], rows.labels.shape[1])
        mask = rows.mask[index] & plan.safety.unsafe.exposed(states)
        batch = batch_of(rows, index, source)
        log_p = [z[mask].float().log_softmax(-1) for z in batch.teacher_logits]
        masses.append(torch.stack([plan.safety.unsafe.mass(log, states[mask]) for log in log_p], -1))
        keys = [(int(rows.domain[row]), rows.document[row]) for row in index.tolist()]
        numbers = torch.tensor([named.setdefault(key, len(named)) for key in keys])
        documents.append(numbers[mask.nonzero()[:, 0]])
    return torch.cat(masses), torch.cat(documents)


def checked_before(plan: Plan, rows: Table, source: LogitSource, scheme: Scheme) -> tuple[Plan, list[str]]:
    """Return what is known before training, from the validation rows, and lines to say of it.

    Raises:
        InfeasibleError: weights that cannot keep the limit where nothing else is asked to.
        InputError: trust that the measured masses contradict, where that is to be refused.
    """
    section, names = plan.section, scheme.teacher_names
    if rows.teacher_mask is not None and not bool(rows.teacher_mask.all()):
        line = "safety: no bounds before training, as some teachers do not serve all tasks"
        return dataclasses.replace(plan, before={"split": "validation", "note": line}), [line]
    u, document = teacher_masses(plan, rows, source)
    goal = scheme.trusted or scheme.conforming or ConformingSet(len(names))
    counts = torch.bincount(document)
    share = 1 / (counts[document] * len(counts))

    def limits(values: Tensor) -> Interval:
        means = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, document, values.double()) / counts
        return betting(means.tolist(), section.level)

    own = {name: limits(u[:, k]) for k, name in enumerate(names)}
    holds = order_holds(u, goal.order) if goal.order is not None else torch.ones(len(u), dtype=torch.bool)
    found = feasibility(u, goal, section.limit, share)
    wrong = [] if goal.order is None else _contradictions(own, goal, names)
    bounds = {"S1": limits(uniform_mass(u)), "S2": limits(largest_mass(u, goal))}
    attacked = {}
    if len(names) > 1:
        attacked = {name: limits(attacked_mass(u, goal, [k])) for k, name in enumerate(names)}
    order = measured_order(own)
    before = {
        "split": "validation",
        "documents": len(counts),
        "positions": len(u),
        "teachers": {name: dataclasses.asdict(value) for name, value in own.items()},
        "measured_order": order,
        "order_fails": 1 - float(holds.double().mean()),
        "contradictions": wrong,
        "bounds": {name: dataclasses.asdict(value) for name, value in bounds.items()},
        "attacked": {name: dataclasses.asdict(value) for name, value in attacked.items()},
        "least": found.least,
        "feasible": found.holds,
        "relaxations": list(found.relaxations),
    }
    lines = [f"safety: {line}" for line in wrong]
    if wrong and section.contradiction == "refuse":
        raise InputError("declared trust must not contradict what is measured", "; ".join(wrong), f"Measured: {order}.")
    if not found.holds:
        if section.enforce == "none":
            found.require()
        said = f"weights alone leave {found.least:.3g} at least, above the limit {section.limit:g}"
        lines.append(f"safety: {said}; the {section.enforce} has to make up for it")
    lines.append(f"safety: {len(counts)} critical documents, order measured: {order}")
    return dataclasses.replace(plan, before=before), lines


def _contradictions(own: Mapping[str, Interval], goal: ConformingSet, names: Sequence[str]) -> list[str]:
    assert goal.order is not None
    return [
        f"{names[j]} is trusted above {names[k]} and measures {own[names[j]].estimate:.3g} against "
        f"{own[names[k]].estimate:.3g} of unsafe mass, intervals apart"
        for j, k in goal.order.pairs()
        if own[names[j]].low > own[names[k]].high
    ]


def measured_order(masses: Mapping[str, Interval]) -> str:
    """Return an order from measured unsafe masses, safest first: a tier ends where the next teacher's interval begins
    above those of all in it.

    >>> limits = {name: betting([u] * 400) for name, u in (("a", 0.3), ("b", 0.01), ("c", 0.012))}
    >>> measured_order(limits)
    'b = c > a'
    """
    tiers: list[list[str]] = []
    high = -1.0
    for name in sorted(masses, key=lambda name: masses[name].estimate):
        if masses[name].low > high:
            tiers.append([])
            high = masses[name].high
        tiers[-1].append(name)
        high = max(high, masses[name].high)
    return " > ".join(" = ".join(tier) for tier in tiers)


def utility(rows: Table, nll: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return held-out losses of the student, and of the weighted teachers where these are known, on critical rows and
    on all others, in the rows' unit."""
    critical, found = rows.columns["critical"].squeeze(-1) > 0.5, dict[str, Any](unit=rows.unit)
    for name, chosen in (("critical", critical), ("all others", ~critical)):
        if bool(chosen.any()):
            size = float(rows.size[chosen].sum()) * rows.nats_a_unit
            found[name] = {who: float(nll[who][chosen].sum()) / size for who in ("student", "mixture") if who in nll}
    return found


def audited(
    plan: Plan, documents: Sequence[AuditedDocument], split: str, teacher_names: Sequence[str], cost: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of ``safety.json``: what was declared, found before training, and measured on held-out
    documents."""
    section = plan.section
    return {
        "forbidden": list(plan.safety.unsafe.lines()),
        "critical": section.critical.model_dump(exclude_none=True),
        "trust": section.trust,
        "order_margin": section.order_margin,
        "enforce": section.enforce,
        "limit": section.limit,
        "level": section.level,
        "split": split,
        "teacher_names": list(teacher_names),
        "before": dict(plan.before),
        "utility": dict(cost),
        "after": audit(documents, section.limit, section.level, teacher_names),
        "documents": [document.to_json() for document in documents],
    }


@torch.no_grad()
def measured(
    plan: Plan,
    rows: Table,
    source: LogitSource | None,
    scheme: Scheme,
    validation_loss: Tensor,
    student: Any = None,
) -> list[AuditedDocument]:
    """Return what teachers, target and student do at the critical positions of a table, by document.

    Args:
        source: of teachers' logits; None measures the student alone.
        student: None measures the teachers alone.

    A target whose weights read the student needs it. What is not measured is 0, or None.
    """
    was_training = student.training if student is not None else False
    if student is not None:
        student.eval()
    goal = scheme.trusted or scheme.conforming or ConformingSet(len(scheme.teacher_names))
    sums: dict[tuple[int, str], list[Any]] = {}
    for index in indices(rows):
        index = index[rows.columns["critical"][index].squeeze(-1) > 0.5]
        if not len(index):
            continue
        found = _positions(plan, rows, index, source, scheme, goal, validation_loss, student)
        where = found.pop("row")
        for number in range(len(index)):
            chosen = where == number
            if not bool(chosen.any()):
                continue
            row = int(index[number])
            kept = sums.setdefault((int(rows.domain[row]), rows.document[row]), [0, {}])
            kept[0] += int(chosen.sum())
            for name, values in found.items():
                kept[1][name] = kept[1].get(name, 0.0) + values[chosen].double().sum(0)
    if student is not None:
        student.train(was_training)
    documents = []
    for (domain, _), (count, totals) in sums.items():
        mean = {name: (total / count).tolist() for name, total in totals.items()}
        documents.append(
            AuditedDocument(
                rows.domains[domain],
                count,
                mean.get("student", 0.0),
                tuple(None if isnan(value) else value for value in mean.get("teachers", ())),
                mean.get("uniform", 0.0),
                mean.get("largest", 0.0),
                mean.get("target"),
                mean.get("bound"),
                mean.get("order_fails", 0.0),
                round(mean.get("answers", 0.0) * count),
            )
        )
    return documents


def _positions(
    plan: Plan,
    rows: Table,
    index: Tensor,
    source: LogitSource | None,
    scheme: Scheme,
    goal: ConformingSet,
    validation_loss: Tensor,
    student: Any,
) -> dict[str, Tensor]:
    """Return the quantities of the critical positions of some rows, each [n] or [n, K], and the number of each one's
    row."""
    unsafe, length = plan.safety.unsafe, rows.labels.shape[1]
    ids = token_ids(rows)
    states = unsafe.states(None if ids is None else ids[index], rows.task[index], length)
    mask = rows.mask[index] & unsafe.exposed(states)
    state = states[mask]
    found = {"row": mask.nonzero()[:, 0]}
    logits = None
    if student is not None:
        logits = student_logits(student, rows, index, next(student.parameters()).device).float().cpu()
        log_s = logits[mask].log_softmax(-1)
        found["student"] = unsafe.mass(log_s, state)
        likeliest = log_s.argmax(-1, keepdim=True)
        found["answers"] = unsafe.mask(state, log_s.shape[-1]).gather(-1, likeliest).squeeze(-1).double()
    if source is None:
        return found
    batch = batch_of(rows, index, source)
    log_p = [z[mask].float().log_softmax(-1) for z in batch.teacher_logits]
    u = torch.stack([unsafe.mass(log, state) for log in log_p], -1)
    present = None
    if batch.teacher_mask is not None:
        present = batch.teacher_mask.unsqueeze(1).expand(*mask.shape, -1)[mask]
        u = u.masked_fill(~present, torch.nan)  # what an absent teacher says counts for nothing
    found["teachers"] = u
    found["uniform"], found["largest"], holds = _among(u, goal, present)
    found["order_fails"] = 1 - holds
    if set(scheme.ranges) & NEEDS_STUDENT and logits is None:
        return found
    log_w = _weights(scheme, batch, logits, validation_loss)[mask]
    w = log_w.double().exp()
    found["target"] = (w * u.nan_to_num(nan=0.0)).sum(-1)
    if student is not None:
        q = torch.stack([log.exp() for log in log_p], -1).double().mul(w.unsqueeze(1)).sum(-1)
        cross = (q * log_s.double()).masked_fill(q == 0, 0.0)  # another task's classes have no mass for either
        kl = (torch.special.xlogy(q, q) - cross).sum(-1)
        found["bound"] = student_mass(found["target"], kl)
    return found


def _weights(scheme: Scheme, batch: Batch, logits: Tensor | None, validation_loss: Tensor) -> Tensor:
    features = collect_features(scheme, batch, logits, validation_loss)
    return batch.restricted(weigh(scheme, features).expand(*batch.labels.shape, len(scheme.teacher_names)))


def _among(u: Tensor, goal: ConformingSet, present: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """S1, S2 and where the order holds, among the teachers that serve each position."""
    if present is None:
        holds = torch.ones(len(u)) if goal.order is None else order_holds(u, goal.order).double()
        return uniform_mass(u), largest_mass(u, goal), holds
    parts = [torch.zeros(len(u), dtype=torch.float64) for _ in range(3)]
    for pattern in present.unique(dim=0):
        chosen = (present == pattern).all(-1)
        teachers = pattern.nonzero().flatten().tolist()
        for part, value in zip(parts, _among(u[chosen][:, teachers], goal.among(teachers), None), strict=True):
            part[chosen] = value.double()
    return parts[0], parts[1], parts[2]
