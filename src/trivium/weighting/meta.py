"""Learn weights through the student: hard samples, and a gradient backwards through three of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.weighting.learnable import Parameters, TrainingState

_LOWEST = -50.0


def joined_logits(teacher_logits: Sequence[Tensor], student_logits: Tensor) -> Tensor:
    """log p_1 ‖ … ‖ log p_K ‖ log s, [..., (K + 1)·V] of tensors [..., V], entries without mass at −50; float32."""
    parts = [logits.float().log_softmax(-1) for logits in (*teacher_logits, student_logits)]
    return torch.cat(parts, dim=-1).clamp_min(_LOWEST)


class HardSamples:
    """The rows with the largest loss of those seen, and a seeded generator to draw from them."""

    def __init__(self, slots: int, seed: int) -> None:
        self.slots = slots
        self.loss: dict[int, float] = {}
        self.generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def see(self, training_state: TrainingState) -> None:
        """Take in a batch: a row seen again gets its new loss; the rows with the least losses leave."""
        losses = cross_entropy(
            training_state.student_logits(training_state.parameters, training_state.rows),
            training_state.labels(training_state.rows),
        )
        self.loss.update(zip(training_state.rows.tolist(), losses.tolist(), strict=True))
        if len(self.loss) > self.slots:
            kept = sorted(self.loss.items(), key=lambda item: (-item[1], item[0]))[: self.slots]
            self.loss = dict(sorted(kept))

    def draw(self, count: int) -> Tensor:
        """Return numbers of at most ``count`` different rows."""
        rows = torch.tensor(sorted(self.loss))
        return rows[torch.randperm(len(rows), generator=self.generator)[:count]]

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        rows = torch.tensor(sorted(self.loss), dtype=torch.long)
        losses = torch.tensor([self.loss[row] for row in rows.tolist()], dtype=torch.float64)
        return {"rows": rows, "losses": losses, "generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state back: the inverse of :meth:`state`."""
        self.loss = dict(zip(state["rows"].tolist(), state["losses"].tolist(), strict=True))
        self.generator.set_state(state["generator"])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return mean −log s(label) over the labelled positions of each row: [N] of [N, T, V] and [N, T]."""
    mask = labels >= 0
    picked = logits.float().log_softmax(-1).gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return -torch.where(mask, picked, torch.zeros_like(picked)).sum(-1) / mask.sum(-1).clamp_min(1)


def matching_loss(log_w: Tensor, teacher_logits: Sequence[Tensor], student_logits: Tensor, mask: Tensor) -> Tensor:
    """Return mean over positions of Σ_k w_k·KL(p_k‖s), differentiable twice, in weights and student.

    Args:
        log_w: [N, T, K]. teacher_logits: K tensors [N, T, V]. student_logits: [N, T, V]. mask: [N, T].
    """
    log_s = student_logits.float().log_softmax(-1)
    total = torch.zeros_like(log_s[..., 0])
    for k, logits in enumerate(teacher_logits):
        log_p = logits.float().log_softmax(-1)
        p = log_p.exp()
        # An entry without mass adds nothing, whatever the student thinks of it; 0·(−inf) would be no number.
        terms = p * (log_p.masked_fill(p == 0, 0.0) - log_s.masked_fill(p == 0, 0.0))
        total = total + log_w[..., k].exp() * terms.sum(-1)
    return torch.where(mask, total, torch.zeros_like(total)).sum() / mask.sum().clamp_min(1)


def bilevel_gradient(
    weigh: Callable[[Tensor], Tensor], meta: Sequence[Tensor], training_state: TrainingState, hard: Tensor
) -> list[Tensor]:
    """d/dφ of the cross-entropy on rows ``hard`` after three steps of the student from where it is now.

    θ₁ = θ − η∇M(θ; φ), θ₂ = θ₁ − η∇M(θ₁; φ), θ₃ = θ₂ − η∇CE(θ₂), gradient of CE(θ₃; hard) in φ, where M is
    :func:`matching_loss` under the weights that ``weigh`` gives for detached logits. The student's own parameters are
    not touched: the steps are taken on copies.

    Args:
        weigh: joined logits [N, T, (K + 1)·V] ↦ log weights [N, T, K], with gradient in ``meta``.
        meta: φ.

    Cost: three forward and backward passes of the student, differentiated once more.
    """
    rows = training_state.rows
    labels, teachers = training_state.labels(rows), training_state.teacher_logits(rows)
    mask = labels >= 0
    parameters: Parameters = {n: v.detach().clone().requires_grad_() for n, v in training_state.parameters.items()}
    # Kernels of attention that are fused cannot be differentiated twice.
    with torch.enable_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for _ in range(2):
            logits = training_state.student_logits(parameters, rows)
            log_w = weigh(joined_logits(teachers, logits.detach()))
            parameters = _stepped(
                matching_loss(log_w, teachers, logits, mask), parameters, training_state.learning_rate
            )
        loss = cross_entropy(training_state.student_logits(parameters, rows), labels).mean()
        parameters = _stepped(loss, parameters, training_state.learning_rate)
        outer = cross_entropy(training_state.student_logits(parameters, hard), training_state.labels(hard)).mean()
        return list(torch.autograd.grad(outer, meta))


def _stepped(loss: Tensor, parameters: Parameters, rate: float) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
    pairs = zip(parameters.items(), gradients, strict=True)
    return {name: value if g is None else value - rate * g for (name, value), g in pairs}
