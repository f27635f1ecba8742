"""From batches that teachers have read to the observations that weights are fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import InputError, require
from trivium.fitting import Counting, Differing, Family, Observations
from trivium.fitting.family import CONTEXT, TOKEN
from trivium.scheme import Product, Scheme
from trivium.simplex.order import Order
from trivium.teachers.live import LogitSource
from trivium.training.collect import Batch, collect_features, weigh
from trivium.training.evaluate import batch_of, indices, is_predictor
from trivium.weighting import FittedScores, Static
from trivium.weighting.features import BUILT_IN, NEEDS_LABEL, NEEDS_STUDENT

#: What stands before the name of a scheme among features: its log-weights, to be compared with.
WEIGHTS = "log-weights of "


def family_of(
    scheme: Scheme, budget: float, prefix: bool, features: Sequence[str] | None = None, start: float = 4.0
) -> Family:
    """Return all that can be fitted in place of a scheme: what is computed of teachers, and the scheme's own columns,
    under its floor, cap, order and margin.

    Args:
        budget: nats that the whole may have; the search begins at ``start``, if that is less.
        prefix: whether a token has others before it; a labelled example has not.
        features: of these alone.
    """
    own = {
        name: (box.low, box.high)
        for name, box in scheme.ranges.items()
        if name not in BUILT_IN and not (box.shared or box.pairwise or box.integer or box.numbers)
    }
    token = TOKEN if len(scheme.teacher_names) > 1 else TOKEN[:3]
    context = (*(CONTEXT if prefix else ()), *own)
    known = (*token, *context)
    for name in features or ():
        seen = "label" if name in NEEDS_LABEL else "student" if name in NEEDS_STUDENT else ""
        require(
            not seen,
            "strengths are fitted on the mixture, by what is known before the token",
            f"{name!r}, which sees the {seen}",
            "There it would cheat; judge its strength by a student's validation loss.",
        )
        if name not in known:
            raise InputError("what is fitted must be at hand", repr(name), f"One of {', '.join(known)}.")
    goal = scheme.conforming
    return Family(
        tuple(name for name in token if features is None or name in features),
        tuple(name for name in context if features is None or name in features),
        True,
        min(start, budget),
        0.0 if goal is None else goal.floor,
        1.0 if goal is None else goal.cap,
        None if goal is None or goal.order is None else _written(goal.order, scheme.teacher_names),
        0.0 if goal is None else goal.order_margin,
        {name: bounds for name, bounds in own.items() if features is None or name in features},
    )


def _written(order: Order, teacher_names: Sequence[str]) -> str:
    return " > ".join(" = ".join(teacher_names[k] for k in tier) for tier in order.tiers)


@dataclass
class Observer:
    """Adds up what teachers say of batches.

    Attributes:
        family: whose features are kept.
        others: schemes whose log-weights are kept too, under :data:`WEIGHTS` and their name.
        validation_loss: the teachers' losses a task, [tasks, K], where one of these reads it.
        counting: adds up how the teachers differ; None where that is not asked.
    """

    teacher_names: Sequence[str]
    domains: Sequence[str]
    tasks: Sequence[str]
    family: Family
    others: Mapping[str, Scheme]
    validation_loss: Tensor
    counting: Counting | None = None
    _parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, scheme in self.others.items():
            seen = not is_predictor(scheme) or bool(set(scheme.ranges) & NEEDS_STUDENT)
            require(
                not seen, "what is compared must be a predictor", f"{name}, which sees label or student", "Leave it."
            )
        boxes = self.family.ranges()
        columns = {name: (box.low, box.high) for name, box in boxes.items() if name not in BUILT_IN}
        own = FittedScores(dict.fromkeys(boxes, 1.0), (), columns) if boxes else Static()
        whole = Product((own, *(scheme.root for scheme in self.others.values())))
        self._reading = Scheme(tuple(self.teacher_names), {}, whole, None)

    @torch.no_grad()
    def add(self, batch: Batch, document: Tensor) -> None:
        """Add one batch, and the number of each row's document, [B]; unique over all domains."""
        features = collect_features(self._reading, batch, None, self.validation_loss)
        shape = (*batch.labels.shape, len(self.teacher_names))
        mask, logs = batch.mask.cpu(), [z.float().log_softmax(-1) for z in batch.teacher_logits]
        chosen = batch.labels.clamp_min(0).unsqueeze(-1)
        label = torch.stack([values.gather(-1, chosen).squeeze(-1) for values in logs], -1)
        wide = {name: features[name] for name in self.family.features}
        for name, scheme in self.others.items():
            read = {n: features[n] for n in scheme.ranges} or {"teachers": label.new_zeros(shape[-1])}
            # What a hard choice gives to others is zero, which no array of features may hold.
            wide[WEIGHTS + name] = weigh(scheme, read).clamp_min(-700.0)
        kept = {"label": label.clamp_max(0.0), **{f"feature {name}": value for name, value in wide.items()}}
        for name, value in kept.items():
            self._keep(name, value.expand(shape).cpu()[mask].double())
        for name, rows in (("document", document), ("domain", batch.domain), ("task", batch.task)):
            self._keep(name, rows.cpu().view(-1, 1).expand(mask.shape)[mask])
        if batch.teacher_mask is not None:
            self._keep("teacher_mask", batch.teacher_mask.cpu().unsqueeze(1).expand(shape)[mask])
        if self.counting is not None:
            self._count(self.counting, logs, batch, mask)

    def _count(self, counting: Counting, logs: Sequence[Tensor], batch: Batch, mask: Tensor) -> None:
        domain = batch.domain.cpu().view(-1, 1).expand(mask.shape)
        teacher_mask = batch.teacher_mask
        patterns = [None] if teacher_mask is None else list(teacher_mask.cpu().unique(dim=0))
        for pattern in patterns:
            rows = (
                mask
                if pattern is None or teacher_mask is None
                else mask & (teacher_mask.cpu() == pattern).all(-1, keepdim=True)
            )
            present = list(range(len(self.teacher_names))) if pattern is None else pattern.nonzero().flatten().tolist()
            counting.add([logs[k].cpu()[rows] for k in present], domain[rows], present)

    def _keep(self, name: str, value: Tensor) -> None:
        self._parts.setdefault(name, []).append(value)

    def found(self) -> Observations:
        """Return all that was added.

        Raises:
            InputError: nothing was, or no token that a teacher finds possible.
        """
        require(bool(self._parts), "there must be something to fit to", "no batch", "Give validation data.")
        joined = {name: torch.cat(values) for name, values in self._parts.items()}
        return Observations(
            joined["label"],
            {name.removeprefix("feature "): value for name, value in joined.items() if name.startswith("feature ")},
            joined["document"],
            joined["domain"],
            joined["task"],
            tuple(self.teacher_names),
            tuple(self.domains),
            tuple(self.tasks),
            joined.get("teacher_mask"),
        )


def observe(
    rows: Table,
    source: LogitSource,
    teacher_names: Sequence[str],
    family: Family,
    others: Mapping[str, Scheme],
    validation_loss: Tensor,
    differ: bool = False,
) -> tuple[Observations, Differing | None]:
    """Return one pass over the teachers' logits on a table of rows.

    Args:
        differ: whether to look at how the teachers differ from one another, without labels.
    """
    counting = None
    if differ:
        vocabulary = source.logits(torch.tensor([0]))[0].shape[-1]
        counting = Counting(teacher_names, rows.domains, int(rows.mask.sum()), vocabulary)
    observer = Observer(teacher_names, rows.domains, rows.tasks, family, others, validation_loss, counting)
    named: dict[tuple[int, str], int] = {}
    keys = zip(rows.domain.tolist(), rows.document, strict=True)
    document = torch.tensor([named.setdefault(key, len(named)) for key in keys])
    for index in indices(rows):
        observer.add(batch_of(rows, index, source), document[index])
    return observer.found(), None if counting is None else counting.found()


def others_of(data: Observations) -> dict[str, Tensor]:
    """Return the log-weights of the schemes that were observed, by name."""
    return {n.removeprefix(WEIGHTS): value for n, value in data.features.items() if n.startswith(WEIGHTS)}


def numbered(documents: Iterable[object]) -> Tensor:
    """Return a number for each different name, in order of appearance."""
    named: dict[object, int] = {}
    return torch.tensor([named.setdefault(name, len(named)) for name in documents])
