"""The axioms watched while the student trains: every batch, before the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trivium.axioms import BoundedInfluence, Normalization, OrdinalSafety, ParetoCompatibility, Positivity
from trivium.axioms.base import Axiom
from trivium.errors import AxiomViolation
from trivium.scheme import Scheme
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.geometry import log_normalize
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.simplex.restriction import restrict
from trivium.training.recipe import MonitorSection

Action = Literal["raise", "repair", "record"]
#: What a breach of W-C does. No projection of weights mends it, so it is not repaired.
OnPareto = Literal["record", "raise", "off"]
_PAST = {"repair": "repaired", "record": "recorded"}


@dataclass(frozen=True)
class MonitoredBounds:
    """The bounds that are watched besides W-N and W-P: a conforming set, already known to be non-empty (T1); and one
    on critical inputs."""

    conforming: ConformingSet
    trusted: ConformingSet | None = None

    @classmethod
    def of(cls, scheme: Scheme, section: MonitorSection) -> MonitoredBounds:
        """Return the recipe's own bounds where it states them, else what the scheme's projection promises."""
        promised = scheme.conforming or ConformingSet(len(scheme.teacher_names))
        order = Order.parse(section.order, scheme.teacher_names) if section.order is not None else promised.order
        return cls(
            ConformingSet(
                len(scheme.teacher_names),
                promised.floor if section.floor is None else section.floor,
                promised.cap if section.cap is None else section.cap,
                order,
                promised.order_margin if order is not None else 0.0,
            ),
            scheme.trusted,
        )


class Monitor:
    """Evaluates W-N, W-P, W-B and W-S on the weights of every batch, and W-C where the scheme reads gradients.

    On a violation it raises, repairs (the conforming projection, T6) or records, as the recipe says. In every case
    weights that are no distribution never reach the optimizer: under ``record`` they are normalized, and a NaN,
    which nothing can repair, raises.

    Where a row is served by some teachers alone, its weights are restricted to those and judged among them: against
    the set into which restriction maps the one above, so that an absent teacher's weight, zero or not, is no matter.

    Cost: a few passes over B·T·K numbers, none over the vocabulary; as many for each set of serving teachers.
    """

    def __init__(self, bounds: MonitoredBounds, on_violation: Action, pareto: OnPareto = "record") -> None:
        c = bounds.conforming
        self.conforming, self.on_violation, self.pareto = c, on_violation, pareto
        self.axioms: dict[str, Axiom] = {"W-N": Normalization(), "W-P": Positivity()}
        if c.floor > 0.0 or c.cap < 1.0:
            self.axioms["W-B"] = BoundedInfluence(c.floor, c.cap)
        if c.order is not None:
            self.axioms["W-S"] = OrdinalSafety(c.order, c.order_margin)
        self.worst: dict[str, float] = {}
        self.violations: list[dict[str, Any]] = []
        self.parts: dict[tuple[int, ...], Monitor] = {}
        self.critical = None if bounds.trusted is None else Monitor(MonitoredBounds(bounds.trusted), on_violation)

    @torch.no_grad()
    def watch(self, log_weights: Tensor, mask: Tensor, teacher_mask: Tensor | None = None) -> Tensor:
        """Return the weights to use, [B, T, K]: those given, or repaired ones.

        Args:
            log_weights: [B, T, K].
            mask: [B, T], the positions that count; others are not judged.
            teacher_mask: bool [B, K], the teachers that serve each row; others get −inf. None: all serve.

        Raises:
            AxiomViolation: under ``raise``, and for NaN, or no weight at all on the teachers that serve, always.
        """
        if teacher_mask is None:
            return self._watch(log_weights, mask, self.axioms)
        # That the rules' weights sum to one is asked before they are restricted, which would hide it.
        self._watch(log_weights, mask, {"W-N": self.axioms["W-N"]})
        restricted = restrict(log_weights, teacher_mask.unsqueeze(1))
        if bool(restricted[mask].isnan().any()):
            raise AxiomViolation(
                "the teachers that serve a row must have weight (W-P)", "none on all of them", "Certify the scheme."
            )
        found = torch.full_like(log_weights, -torch.inf)
        patterns, which = teacher_mask.unique(dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows, present = (which == number).nonzero().squeeze(-1), pattern.nonzero().squeeze(-1)
            part = self._among(tuple(present.tolist()))
            block = found[rows]
            block[..., present] = part.watch(restricted[rows][..., present], mask[rows])
            found[rows] = block
            for axiom, worst in part.take_worst().items():
                self.worst[axiom] = max(self.worst.get(axiom, -math.inf), worst)
            self.violations += part.take_violations()
        return found

    @torch.no_grad()
    def watch_critical(self, log_weights: Tensor, mask: Tensor, teacher_mask: Tensor | None = None) -> Tensor:
        """The same for the order that holds on critical inputs; ``mask`` [B, T] is where these are predicted."""
        if self.critical is None:
            return log_weights
        found = self.critical.watch(log_weights, mask, teacher_mask)
        for axiom, worst in self.critical.take_worst().items():
            self.worst[axiom] = max(self.worst.get(axiom, -math.inf), worst)
        self.violations += self.critical.take_violations()
        return found

    def _among(self, teachers: tuple[int, ...]) -> Monitor:
        if teachers not in self.parts:
            everybody = len(teachers) == self.conforming.num_teachers
            bounds = self.conforming if everybody else self.conforming.among(teachers)
            self.parts[teachers] = Monitor(MonitoredBounds(bounds), self.on_violation)
        return self.parts[teachers]

    def _watch(self, log_weights: Tensor, mask: Tensor, axioms: Mapping[str, Axiom]) -> Tensor:
        chosen = log_weights[mask]
        if chosen.numel() == 0:
            return log_weights
        broken = self._judge(chosen, axioms)
        for axiom, residual in broken.items():
            if self.on_violation == "raise":
                raise AxiomViolation(
                    f"the weights must keep {axiom}, {self.axioms[axiom].name}",
                    f"a residual of {residual + 0.0:.3g}",
                    "Give the scheme a floor or a budget, or set monitor.on_violation to repair or record.",
                )
            self.violations.append({"axiom": axiom, "residual": residual, "action": _PAST[self.on_violation]})
        if broken and self.on_violation == "repair":
            return log_weights.masked_scatter(mask.unsqueeze(-1), conforming_projection(chosen, self.conforming))
        if "W-N" in broken:
            return log_normalize(log_weights)
        return log_weights

    @torch.no_grad()
    def watch_gradients(self, log_weights: Tensor, mask: Tensor, gram: Tensor) -> None:
        """W-C of the batch: −min_k ⟨ḡ_k, Σ_j w̄_j ḡ_j⟩ for the mean weights w̄ over its predicted positions.

        Where weights vary by position this is W-C of their mean, not of the direction that they take together.

        Args:
            log_weights: [B, T, K], those that are used.
            mask: [B, T].
            gram: the feature, K·K numbers.

        Raises:
            AxiomViolation: under ``pareto: raise``.
        """
        chosen = log_weights[mask]
        if self.pareto == "off" or chosen.numel() == 0:
            return
        axiom, num_teachers = ParetoCompatibility(), chosen.shape[-1]
        inner = gram.reshape(num_teachers, num_teachers)
        weights = chosen.double().exp().mean(0).to(gram.dtype)
        residual = float(axiom.residual_of_gram(weights, inner))
        self.worst[axiom.id] = max(self.worst.get(axiom.id, -math.inf), residual)
        if residual <= axiom.tolerance_of_gram(gram.dtype, num_teachers, float(inner.diagonal().max())):
            return
        if self.pareto == "raise":
            raise AxiomViolation(
                f"the weights must keep {axiom.id}, {axiom.name}",
                f"a residual of {residual:.3g}",
                "Set monitor.pareto to record to go on; aekd with cap 1 and nash_mtl keep it by themselves.",
            )
        self.violations.append({"axiom": axiom.id, "residual": residual, "action": _PAST["record"]})

    def _judge(self, chosen: Tensor, axioms: Mapping[str, Axiom]) -> Mapping[str, float]:
        # All that is asked of the batch is read at once: on a GPU each number read by itself waits for the queue.
        asked = [chosen.isnan().any().double()]
        for axiom in axioms.values():
            residual = axiom.residual(chosen)  # type: ignore[attr-defined]
            asked += [residual.max().double(), axiom.holds(residual, chosen.shape[-1]).all().double()]
        undefined, *answers = torch.stack(asked).tolist()
        if undefined:
            raise AxiomViolation("the weights must be numbers (W-N)", "NaN", "Run `trivium certify` on the scheme.")
        broken = {}
        for name, worst, holds in zip(axioms, answers[::2], answers[1::2], strict=True):
            self.worst[name] = max(self.worst.get(name, -math.inf), worst)
            if not holds:
                broken[name] = worst
        return broken

    def take_worst(self) -> dict[str, float]:
        """Return worst residual of each axiom since the last call."""
        worst, self.worst = self.worst, {}
        return worst

    def take_violations(self) -> list[dict[str, Any]]:
        """Return violations since the last call, in the shape of trace lines."""
        violations, self.violations = self.violations, []
        return violations

    def state(self) -> dict[str, Any]:
        """Return what has been seen and not been taken yet, for a checkpoint."""
        return {"worst": dict(self.worst), "violations": list(self.violations)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state back: the inverse of :meth:`state`."""
        self.worst, self.violations = dict(state["worst"]), list(state["violations"])
