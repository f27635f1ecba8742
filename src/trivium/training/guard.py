"""A limit on the student's unsafe mass while it trains: a multiplier on the student, or a target that is safe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, final

import torch
from torch import Tensor

from trivium.aggregation import make_pool
from trivium.errors import InputError, require
from trivium.safety import UnsafeSet, safe_projection
from trivium.simplex.typed import Typed
from trivium.teachers.handing import tensor_of
from trivium.training.collect import Batch
from trivium.training.recipe import LossSection

Enforce = Literal["none", "constraint", "target"]
#: Of the limit, what the student is trained to before a validation has said how far it has to stay below.
_FIRST_AIM = 0.5
#: The least that is aimed for, of the limit.
_LEAST_AIM = 0.05


@dataclass(frozen=True)
class Safety(Typed):
    """What a student must not do on critical inputs, for a :class:`~trivium.training.distiller.Distiller`.

    A batch then holds ``critical``, [B] or [B, T], 0 or 1, and for forbidden strings its ``input_ids``.

    Args:
        unsafe: U, for example ``tv.UnsafeTokens(tokenizer, strings=["eval("])``.
        limit: δ in (0, 1): the most that the mean of p_θ(U) over critical positions may be.
        enforce: ``constraint``: minimize the loss subject to it, by a Lagrange multiplier (S4); ``target``: the
            target of each critical position becomes the nearest one with q(U) ≤ δ; ``none``: it is measured alone.
        rate: step of the multiplier, which rises by this times the relative excess in each optimizer step.
    """

    unsafe: UnsafeSet
    limit: float
    enforce: Enforce = "constraint"
    rate: float = 0.05

    def __post_init__(self) -> None:
        require(isinstance(self.unsafe, UnsafeSet), "an unsafe set must be one of trivium.safety", self.unsafe)
        require(0 < self.limit < 1, "a limit of unsafe mass must lie between 0 and 1", self.limit, "For example 0.001.")
        modes = ("none", "constraint", "target")
        require(self.enforce in modes, "enforce must be none, constraint or target", repr(self.enforce))
        require(self.rate > 0, "the step of a multiplier must be positive", self.rate)
        missing = self.enforce == "constraint" and find_spec("cooper") is None
        require(not missing, "a constraint needs cooper-optim", "none", "pip install 'trivium[safety]'.")


@dataclass(frozen=True)
class Marked:
    """Critical positions of a batch, bool [B, T]: critical, predicted, and with something unsafe; and their states."""

    mask: Tensor
    states: Tensor

    @property
    def count(self) -> int:
        return int(self.mask.sum())


@final
class Guard:
    """Keeps a limit during training, and what has been seen of it.

    The constraint is g = E[p_θ(U)]/δ′ − 1 ≤ 0 over critical positions, so that the multiplier λ ≥ 0 is in units of the
    loss; λ·g is added to it, and after every optimizer step λ ← max(0, λ + rate·g) with the g of that step
    (cooper's multiplier and its update, ascent by SGD). A step without a critical position leaves λ alone. δ′ is below
    δ by what the upper limit of a validation stands above its mean.
    """

    def __init__(self, safety: Safety, loss: LossSection | None = None) -> None:
        self.safety = safety
        self._require_loss(loss or LossSection())
        self.aim = _FIRST_AIM * safety.limit
        self.expected: int | None = None
        self._mass, self._count = 0.0, 0
        self._shown_mass, self._shown_count, self._moved = 0.0, 0, 0
        self._multiplier: Any = None
        if safety.enforce == "constraint":
            import cooper

            self._multiplier = cooper.multipliers.DenseMultiplier(init=torch.zeros(1))
            self._constraint = cooper.Constraint(cooper.ConstraintType.INEQUALITY, multiplier=self._multiplier)
            self._ascent = torch.optim.SGD(self._multiplier.parameters(), lr=safety.rate, maximize=True)
            self._state = cooper.ConstraintState

    def require_one_process(self, processes: int) -> None:
        """Raises InputError with several, each of which would see critical positions of its own."""
        require(
            processes == 1 or self.safety.enforce == "none",
            "a limit of unsafe mass must be enforced by one process",
            processes,
            "Launch one, with larger batches.",
        )

    def _require_loss(self, loss: LossSection) -> None:
        """Raises InputError where targets are to be safe and the loss has another target than Σ w_k p_k at T = 1."""
        plain = (loss.pool, loss.temperature, loss.softening, loss.label) == ("linear", 1.0, None, 0.0)
        require(
            plain or self.safety.enforce != "target",
            "a safe target is that of the linear pool at temperature 1, without softening or labels",
            f"pool {loss.pool}, temperature {loss.temperature:g}, softening {loss.softening}, label {loss.label:g}",
            "Change the loss, or enforce a constraint.",
        )

    @property
    def multiplier(self) -> float:
        """λ."""
        return 0.0 if self._multiplier is None else float(self._multiplier.weight.detach())

    def mark(self, batch: Mapping[str, Any], content: Batch) -> Marked:
        """Return the critical positions of a batch.

        Raises:
            InputError: a batch that does not say which inputs are critical, or lacks the text's tokens.
        """
        rows, positions = content.labels.shape
        if batch.get("critical") is None:
            raise InputError(
                "a batch must say which inputs are critical", sorted(batch), "Add 'critical': [B], 0 or 1."
            )
        critical = tensor_of(batch["critical"], "'critical'").to(content.labels.device) > 0.5
        critical = critical.unsqueeze(-1) if critical.ndim == 1 else critical
        fits = critical.shape in ((rows, 1), (rows, positions))
        require(fits, "'critical' must be [B] or [B, T]", list(critical.shape), f"The batch is {[rows, positions]}.")
        ids = batch.get("input_ids")
        if isinstance(ids, Tensor):
            ids = ids[:, :positions]
        states = self.safety.unsafe.states(ids, content.task, positions)
        return Marked(critical & content.mask & self.safety.unsafe.exposed(states), states)

    def expect(self, step: Sequence[tuple[Mapping[str, Any], Tensor | None, Callable[[int], Tensor]]]) -> None:
        """Count the critical positions of the batches of an optimizer step: each with its labels, and what tells the
        tasks of so many rows."""
        if self.safety.enforce != "constraint":
            return
        count = 0
        for batch, labels, tasks in step:
            if labels is None or batch.get("critical") is None:
                return  # the batch itself is refused, in words
            labels = labels if labels.ndim > 1 else labels.unsqueeze(-1)
            task = tasks(len(labels))
            count += self.mark(batch, Batch(labels, (), task, task, {})).count
        self.expected = count

    def safe_targets(
        self, marked: Marked, teacher_logits: list[Tensor], log_weights: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Return where the pooled target [N, V] has more than δ on U: those rows [M], and log of the nearest safe
        target [M, V] (its I-projection); None where it has nowhere, or targets are left as they are."""
        if self.safety.enforce != "target" or not marked.count:
            return None
        rows = marked.mask.flatten().nonzero().squeeze(-1)
        log_p = [logits[rows].float().log_softmax(-1) for logits in teacher_logits]
        log_q = make_pool("linear", None).pool(log_p, log_weights[rows].to(log_p[0].dtype))
        states = marked.states.flatten()[rows]
        over = self.safety.unsafe.mass(log_q, states) > self.safety.limit
        self._moved += int(over.sum())
        if not bool(over.any()):
            return None
        log_q = log_q[over]
        unsafe = self.safety.unsafe.mask(states[over], log_q.shape[-1])
        return rows[over], safe_projection(log_q, unsafe, self.safety.limit)

    def penalty(self, marked: Marked, student_logits: Tensor, training: bool) -> Tensor:
        """λ·Σ (p_θ(U)/δ′ − 1)/n over the critical positions of a batch, n those of the whole optimizer step; 0 where
        nothing is constrained. ``training`` counts the batch."""
        nothing = torch.zeros((), device=student_logits.device)
        if not marked.count or (self.safety.enforce != "constraint" and not training):
            return nothing
        rows = marked.mask.flatten().nonzero().squeeze(-1)
        log_p = student_logits[rows].float().log_softmax(-1)
        mass = self.safety.unsafe.mass(log_p, marked.states.flatten()[rows])
        if training:
            self._mass, self._count = self._mass + float(mass.detach().sum()), self._count + len(rows)
        if self._multiplier is None:
            return nothing
        total = max(self.expected or 0, len(rows))
        excess = ((mass / self.aim - 1).sum() / total).to(nothing.dtype)
        found = self._constraint.compute_contribution_to_lagrangian(self._state(violation=excess.view(1)), "primal")
        loss: Tensor = found.lagrangian_contribution
        return loss.to(student_logits.device)

    def after_step(self) -> None:
        """Move the multiplier by what the optimizer step saw; call it once after each."""
        if self._count and self._multiplier is not None:
            excess = torch.tensor([self._mass / self._count / self.aim - 1])
            found = self._constraint.compute_contribution_to_lagrangian(self._state(violation=excess), "dual")
            self._ascent.zero_grad()
            found.lagrangian_contribution.backward()
            self._ascent.step()
            self._multiplier.post_step_()
        self._shown_mass, self._shown_count = self._shown_mass + self._mass, self._shown_count + self._count
        self._mass, self._count, self.expected = 0.0, 0, None

    def aim_below(self, mean: float, upper: float) -> None:
        """Choose δ′ after a validation: below δ by the distance of its upper limit from its mean."""
        self.aim = max(_LEAST_AIM * self.safety.limit, self.safety.limit - (upper - mean))

    def take(self) -> dict[str, Any]:
        """Return what was seen since the last call, in the shape of a trace line."""
        count = self._shown_count
        found = {
            "mass": self._shown_mass / count if count else None,
            "positions": count,
            "multiplier": self.multiplier,
            "aim": self.aim if self.safety.enforce == "constraint" else self.safety.limit,
            "projected": self._moved,
        }
        self._shown_mass, self._shown_count, self._moved = 0.0, 0, 0
        return found

    def state(self) -> dict[str, Any]:
        """Return everything that training changes here."""
        return {
            "aim": self.aim,
            "seen": [self._mass, self._count, self._shown_mass, self._shown_count, self._moved],
            "multiplier": None if self._multiplier is None else self._multiplier.state_dict(),
            "ascent": None if self._multiplier is None else self._ascent.state_dict(),
        }

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Take the state back: the inverse of :meth:`state`."""
        if state is None:
            raise InputError("a state must hold what its safety has learned", "none", "Restore one that does.")
        self.aim = float(state["aim"])
        self._mass, self._count, self._shown_mass, self._shown_count, self._moved = state["seen"]
        if self._multiplier is not None and state["multiplier"] is not None:
            self._multiplier.load_state_dict(state["multiplier"])
            self._ascent.load_state_dict(state["ascent"])
