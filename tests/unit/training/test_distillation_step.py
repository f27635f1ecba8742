"""One step against the dense reference: loss, label loss, gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.losses import gradient, jensen_shannon, kl
from reference.pools import linear, logarithmic, power, softmax
from trivium.losses import distillation_loss
from trivium.scheme import Scheme, compose
from trivium.training.collect import Batch
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import LossSection, MonitorSection
from trivium.training.step import StepOutput, distillation_step
from trivium.weighting import Entropy, Gap, PrefixPosterior, Static

B, T, V, K = 2, 4, 6, 2
VALIDATION = torch.tensor([[1.0, 2.0]])
ADAPTIVE = compose(["a", "b"], token=[Entropy(0.7)], context=[PrefixPosterior(budget=2.0)], floor=0.05)


def make_batch() -> Batch:
    labels = torch.randint(V, (B, T))
    labels[1, 2:] = -100
    return Batch(
        labels=labels,
        teacher_logits=[2 * torch.randn(B, T, V) for _ in range(K)],
        domain=torch.zeros(B, dtype=torch.long),
        task=torch.zeros(B, dtype=torch.long),
        columns={},
    )


def step(student: Tensor, batch: Batch, scheme: Scheme = ADAPTIVE, normalizer: Any = None, **loss: Any) -> StepOutput:
    section = MonitorSection()
    monitor = Monitor(MonitoredBounds.of(scheme, section), section.on_violation)
    return distillation_step(student, batch, scheme, LossSection(**loss), VALIDATION, monitor, normalizer)


REFERENCE = {
    "forward_kl": kl,
    "reverse_kl": lambda q, s: kl(s, q),
    "js": jensen_shannon,
}
POOL_LOOPS = {"linear": linear, "log": logarithmic, "power": lambda p, w: power(p, w, -1.5)}


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("pool", list(POOL_LOOPS))
@pytest.mark.parametrize("divergence", list(REFERENCE))
def test_loss_and_gradient_equal_the_dense_reference(divergence: str, pool: str, temperature: float) -> None:
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    chosen = {"pool": pool} if pool != "power" else {"pool": pool, "exponent": -1.5}
    output = step(student, batch, **chosen, divergence=divergence, temperature=temperature, distillation=0.5)
    output.loss.backward()
    weights = output.log_weights.double().exp()
    tokens, total = int(batch.mask.sum()), 0.0
    expected = torch.zeros(B, T, V)
    for b, t in torch.nonzero(batch.mask).tolist():
        p = [softmax(z[b, t].double().tolist(), temperature) for z in batch.teacher_logits]
        q = POOL_LOOPS[pool](p, weights[b, t].tolist())
        s = softmax(student[b, t].double().tolist(), temperature)
        total += REFERENCE[divergence](q, s)
        # T²·∂D/∂z = T·∂D/∂(z/T), averaged over tokens
        expected[b, t] = 0.5 * temperature / tokens * torch.tensor(gradient(divergence, q, s))
    assert float(output.distillation) == pytest.approx(temperature**2 * total / tokens, rel=2e-5)
    assert output.loss.item() == pytest.approx(0.5 * float(output.distillation), rel=1e-6)
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-7)


def test_teachers_are_softened_before_they_are_pooled() -> None:
    """With all of a uniform mixture every teacher is uniform, and the target with them, whatever they said."""
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    output = step(student, batch, softening="uniform", softness=1.0)
    log_s = student.detach()[batch.mask].log_softmax(-1)
    assert float(output.distillation) == pytest.approx(float((-log_s.mean(-1) - math.log(V)).mean()), rel=1e-5)
    some = step(student, batch, softening="temperature", softness=2.0)
    hotter = [z / 2 for z in batch.teacher_logits]
    weights = step(student, batch).log_weights  # the rules see the teachers as they are
    assert torch.equal(some.log_weights, weights)
    expected = distillation_loss(
        student.flatten(0, 1), [z.flatten(0, 1) for z in hotter], weights.flatten(0, 1), mask=batch.mask.flatten()
    )
    assert float(some.distillation) == pytest.approx(expected.item(), rel=1e-5)


def test_the_forward_gradient_is_temperature_times_student_minus_target() -> None:
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    output = step(student, batch, temperature=3.0)
    output.loss.backward()
    assert student.grad is not None
    q = sum(
        w.unsqueeze(-1) * (z / 3.0).softmax(-1)
        for w, z in zip(output.log_weights.exp().unbind(-1), batch.teacher_logits, strict=True)
    )
    expected = 3.0 * ((student.detach() / 3.0).softmax(-1) - q) / batch.mask.sum()
    torch.testing.assert_close(student.grad[batch.mask], expected[batch.mask], rtol=1e-4, atol=1e-7)
    assert bool((student.grad[~batch.mask] == 0).all())


def test_the_label_loss_is_cross_entropy_a_token() -> None:
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    output = step(student, batch, distillation=0.0, label=0.25)
    kept = batch.mask
    expected = torch.nn.functional.cross_entropy(student[kept].detach(), batch.labels[kept])
    torch.testing.assert_close(output.label, expected)
    torch.testing.assert_close(output.loss.detach(), 0.25 * expected)
    output.loss.backward()
    assert student.grad is not None
    assert bool((student.grad[kept] != 0).any())
    assert bool((student.grad[~kept] == 0).all())


def test_without_label_mass_no_label_loss_is_computed() -> None:
    output = step(torch.randn(B, T, V, requires_grad=True), make_batch())
    assert float(output.label) == 0.0


def test_losses_of_parts_add_up_over_the_tokens_of_the_whole() -> None:
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    whole = step(student, batch, label=0.5)
    parts = []
    for b in range(B):
        row = slice(b, b + 1)
        part = Batch(batch.labels[row], [z[row] for z in batch.teacher_logits], batch.domain[row], batch.task[row], {})
        parts.append(step(student[row], part, normalizer=batch.mask.sum(), label=0.5).loss)
    torch.testing.assert_close(sum(parts), whole.loss)


def test_weights_are_constants_to_the_student() -> None:
    """T15: under a rule that reads the student the update is that of fixed weights."""
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    output = step(student, batch, compose(["a", "b"], token=[Gap(3.0)]))
    output.loss.backward()
    assert not output.log_weights.requires_grad
    frozen = student.detach().clone().requires_grad_()
    q = sum(
        w.unsqueeze(-1) * z.softmax(-1)
        for w, z in zip(output.log_weights.exp().unbind(-1), batch.teacher_logits, strict=True)
    )
    kept = batch.mask
    loss = -(q[kept] * frozen[kept].log_softmax(-1)).sum() / kept.sum()
    loss.backward()
    torch.testing.assert_close(student.grad, frozen.grad, rtol=1e-4, atol=1e-7)


def test_all_weight_on_one_teacher_is_plain_distillation() -> None:
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    output = step(student, batch, compose(["a", "b"], task=[Static((1.0, 1e-12))]))
    kept = batch.mask
    expected = torch.nn.functional.kl_div(
        student[kept].log_softmax(-1), batch.teacher_logits[0][kept].log_softmax(-1), reduction="sum", log_target=True
    )
    torch.testing.assert_close(output.distillation, expected.detach() / kept.sum(), rtol=1e-4, atol=1e-6)
