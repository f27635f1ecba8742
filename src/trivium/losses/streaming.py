r"""The distillation loss that never holds K·N·V numbers and writes its gradient while it computes its value.

Rows are visited in blocks whose buffers take 8 MiB whatever N and K; in a block the teachers are visited one at a
time. Since ∂(T²·D)/∂z_s is known in closed form (T9 and :mod:`trivium.losses.kernels`), the forward pass leaves the
finished gradient behind, N·V numbers in the student's dtype, and the backward pass only scales it.

The weights are constants here (stop-gradient), also when they were computed from the student. Such an update is not
the gradient of any function; T15 says when it still converges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trivium.aggregation.softening import FixedSoftener
from trivium.errors import InputError, require
from trivium.losses.blocks import Rows, Workspace, block_rows, blocks, probabilities, tempered
from trivium.losses.inputs import check_inputs, explain, normalized_log_weights
from trivium.losses.kernels import KERNELS
from trivium.losses.targets import Target, target_of
from trivium.simplex.typed import typed


@typed()
def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    log_weights: Tensor,
    *,
    temperature: float = 1.0,
    pool: str = "linear",
    divergence: str = "forward_kl",
    mask: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    teacher_names: Sequence[str] | None = None,
    exponent: float | None = None,
    softening: FixedSoftener | None = None,
) -> Tensor:
    r"""Σ_rows T²·D(q, s) / normalizer, with q the pool of p_k = softmax(z_k/T) and s = softmax(z_s/T).

    The factor T² keeps the size of the gradient as T grows: for the forward KL it is T·(s − q) (T9).

    Args:
        student_logits: [N, V], any floating dtype. Computed in float32, or in float64 if this is float64.
        teacher_logits: K tensors [N, V], each of any floating dtype; −inf marks a vocabulary entry that a teacher
            lacks. No gradient flows to them.
        log_weights: [N, K] (or [K], the same for all rows), natural logs of weights that sum to one. Constants.
        temperature: T > 0.
        pool: ``"linear"``, ``"log"`` or ``"power"``, see :data:`trivium.aggregation.POOLS`.
        divergence: ``"forward_kl"`` KL(q‖s), ``"reverse_kl"`` KL(s‖q), or ``"js"`` (symmetric, at most T² log 2).
        mask: bool [N], True where a row counts. Other rows are never read and get a zero gradient.
        normalizer: a positive number, for example the rows of a whole accumulated batch; by default the number of
            rows that count. Without any such row the loss is 0 with a zero gradient.
        teacher_names: K names for error messages.
        exponent: ρ of the power pool, by default ½.
        softening: what flattens each teacher first: p_k = softmax(log soft(softmax(z_k))/T), see
            :func:`trivium.aggregation.softening.make_softener`. None: nothing.

    Returns:
        A scalar in nats, float32 (float64 for a float64 student). One backward pass per call: a second one, and a
        second derivative, raise.

    Raises:
        InputError: arguments that do not fit together; weights that do not sum to one; student logits that are NaN;
            an infinite loss while a gradient is wanted, which is a KL divergence from an entry that the other side
            rules out (without gradients it is returned as ``inf``).
        TeacherError: NaN, +inf, or a whole row of −inf in a teacher's logits; names the teacher.

    Cost: time O(K·N·V): K + 2 exponentials or logarithms an entry (linear pool), 3 (log pool) or about 6·K (power
    pool), one more for JS.
    Memory: the gradient and 8 MiB (or one row's buffers, if that is more). Probabilities below the dtype's range on
    the side that a KL divides by cost their block a second pass in log space. Softening takes two exponentials more an
    entry and teacher, and at most four more buffers of a block.

    >>> import torch
    >>> student = torch.zeros(2, 3, requires_grad=True)
    >>> teachers = [torch.tensor([[0.0, 1.0, 2.0]]).repeat(2, 1), torch.zeros(2, 3)]
    >>> loss = distillation_loss(student, teachers, torch.tensor([0.5, 0.5]).log())
    >>> loss.backward()
    >>> round(loss.item(), 4), [round(g, 4) for g in student.grad[0].tolist()]
    (0.0644, [0.0608, 0.0222, -0.083])
    """
    check_inputs(student_logits, teacher_logits, log_weights, temperature, pool, divergence, mask, exponent)
    settings = _Settings(temperature, target_of(pool, exponent), divergence, mask, teacher_names, softening)
    apply: Callable[..., Tensor] = _StreamingLoss.apply
    return apply(student_logits, tuple(teacher_logits), log_weights, settings, normalizer, torch.is_grad_enabled())


@typed()
@torch.no_grad()
def token_losses(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    log_weights: Tensor,
    *,
    temperature: float = 1.0,
    pool: str = "linear",
    divergence: str = "forward_kl",
    mask: Tensor | None = None,
    teacher_names: Sequence[str] | None = None,
    exponent: float | None = None,
    softening: FixedSoftener | None = None,
) -> Tensor:
    """T²·D of every row, [N] in nats, 0 on masked rows; the terms of :func:`distillation_loss`, without gradients."""
    check_inputs(student_logits, teacher_logits, log_weights, temperature, pool, divergence, mask, exponent)
    settings = _Settings(temperature, target_of(pool, exponent), divergence, mask, teacher_names, softening)
    values, selected = _stream(student_logits, teacher_logits, log_weights, settings, None, 1.0)
    if selected is None:
        return values
    return values.new_zeros(student_logits.shape[0]).index_copy_(0, selected, values)


@dataclass(frozen=True)
class _Settings:
    temperature: float
    target: Target
    divergence: str
    mask: Tensor | None
    teacher_names: Sequence[str] | None
    softening: FixedSoftener | None


class _StreamingLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student_logits: Tensor,
        teacher_logits: tuple[Tensor, ...],
        log_weights: Tensor,
        settings: _Settings,
        normalizer: float | Tensor | None,
        grad_enabled: bool,
    ) -> Tensor:
        rows = student_logits.shape[0] if settings.mask is None else int(settings.mask.sum())
        if isinstance(normalizer, Tensor):
            require(normalizer.numel() == 1, "the normalizer must be one number", list(normalizer.shape), "Sum it.")
        total = float(max(rows, 1) if normalizer is None else normalizer)
        if rows == 0 and total == 0:
            total = 1.0  # a count over a batch without any row that counts
        require(total > 0 and math.isfinite(total), "the normalizer must be positive and finite", total)
        gradient = None
        if grad_enabled and ctx.needs_input_grad[0]:
            everywhere = rows == student_logits.shape[0]
            make = torch.empty if everywhere else torch.zeros
            gradient = make(student_logits.shape, dtype=student_logits.dtype, device=student_logits.device)
        # Divided by the normalizer before a loss scale is applied, a float16 gradient would underflow.
        late = student_logits.dtype == torch.float16
        factor = settings.temperature if late else settings.temperature / total
        values, _ = _stream(student_logits, teacher_logits, log_weights, settings, gradient, factor)
        ctx.gradient, ctx.pending = gradient, 1.0 / total if late else 1.0
        return (values.sum(dtype=torch.float64) / total).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise InputError(
                "the streaming loss gives its gradient away in the first backward pass, to keep memory at N·V",
                "a second backward pass",
                "Compute the loss again, or add losses up before calling backward once.",
            )
        factor = float(grad_output) * ctx.pending
        return (gradient if factor == 1.0 else gradient.mul_(factor)), None, None, None, None, None


def _stream(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    log_weights: Tensor,
    settings: _Settings,
    gradient: Tensor | None,
    factor: float,
) -> tuple[Tensor, Tensor | None]:
    """T²·D of the rows that count and their indices (None for all); ``factor``·∂D/∂u goes into ``gradient``."""
    rows, vocabulary = student_logits.shape
    dtype = torch.float64 if student_logits.dtype == torch.float64 else torch.float32
    selected = None
    if settings.mask is not None and not bool(settings.mask.all()):
        selected = settings.mask.nonzero().squeeze(-1)
    count = rows if selected is None else len(selected)
    log_w = normalized_log_weights(log_weights, rows, selected)
    values = student_logits.new_empty(count, dtype=dtype)
    size = min(block_rows(vocabulary, dtype), max(count, 1))
    buffers = Workspace.allocate(size, student_logits, dtype)
    for where, place in blocks(rows, selected, size):
        block = _Block(student_logits, teacher_logits, log_w[where], where, settings)
        work = buffers.head(place.stop - place.start)
        value, slope = block.evaluate(work, gradient is not None)
        values[place] = value
        if gradient is not None:
            _store(gradient, where, slope, factor)
    # An infinite value is an honest answer, but no gradient goes with it. NaN is never one.
    refused = torch.isnan(values) if gradient is None else ~torch.isfinite(values)
    if bool(refused.any()):
        first = int(refused.nonzero()[0, 0])
        row = first if selected is None else int(selected[first])
        names = settings.teacher_names or [str(k) for k in range(len(teacher_logits))]
        teachers = dict(zip(names, teacher_logits, strict=True))
        raise explain(row, student_logits, teachers, log_w, settings.target.vetoes, settings.divergence)
    return values.mul_(settings.temperature**2), selected


class _Block:
    """Some rows of the logits; finds their probabilities and, when a kernel asks, the logarithms."""

    def __init__(
        self, student: Tensor, teachers: Sequence[Tensor], log_w: Tensor, where: Rows, settings: _Settings
    ) -> None:
        self.student, self.teachers, self.log_w, self.where = student, teachers, log_w, where
        self.settings, self.target = settings, settings.target

    def evaluate(self, work: Workspace, gradient: bool) -> tuple[Tensor, Tensor]:
        temperature = self.settings.temperature
        probabilities(self.student[self.where], temperature, work.student)
        self.target.pooled(self._rows(), self.log_w, temperature, work.target, work.scratch)

        def log_s() -> Tensor:
            out = torch.empty_like(work.student)
            return torch.log_softmax(tempered(self.student[self.where], temperature, out), dim=-1, out=out)

        def log_q() -> Tensor:
            return self.target.log_pooled(self._rows(), self.log_w, temperature, torch.empty_like(work.target))

        return KERNELS[self.settings.divergence](work, log_s, log_q, gradient)

    def _rows(self) -> Iterator[Tensor]:
        """Yield the teachers' rows, one teacher at a time: where rows are masked in between, each is a copy."""
        soften = self.settings.softening
        if soften is None:
            return (logits[self.where] for logits in self.teachers)
        wide = torch.float64 if self.student.dtype == torch.float64 else torch.float32
        return (soften(torch.log_softmax(logits[self.where].to(wide), dim=-1)) for logits in self.teachers)


def _store(gradient: Tensor, where: Rows, slope: Tensor, factor: float) -> None:
    slope.mul_(factor)
    if isinstance(where, slice):
        gradient[where].copy_(slope)
    else:
        gradient.index_copy_(0, where, slope.to(gradient.dtype))
