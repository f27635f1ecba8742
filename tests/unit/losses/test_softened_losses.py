"""A loss whose teachers are softened first is the loss of the softened teachers: streamed in blocks, over pools and
temperatures, with loops for the softening. Catches an operator that is applied after the temperature, to the pool, or
in no block but the first; the operators themselves are tested under aggregation."""

from __future__ import annotations

import math

import pytest
import torch

from reference.dense import dense_token_losses
from trivium.aggregation import POOLS
from trivium.aggregation.softening import make_softener
from trivium.errors import InputError, TeacherError
from trivium.losses import blocks, distillation_loss, token_losses

PRIOR = (0.5, 0.2, 0.0, 0.1, 0.2)


def softened(logits: list[float], name: str, amount: float) -> list[float]:
    """Logarithms of the softened distribution, entry by entry."""
    top = max(logits)
    power = 1 / amount if name == "temperature" else 1.0
    masses = [math.exp((z - top) * power) for z in logits]
    p = [mass / math.fsum(masses) for mass in masses]
    if name != "temperature":
        other = PRIOR if name == "prior" else [1 / len(p)] * len(p)
        p = [(1 - amount) * a + amount * b for a, b in zip(p, other, strict=True)]
    return [math.log(value) if value > 0 else -math.inf for value in p]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("name", "amount"), [("temperature", 2.5), ("uniform", 0.3), ("prior", 0.3)])
def test_the_loss_is_that_of_softened_teachers(
    pool: str, name: str, amount: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "WORKSPACE_BYTES", 9 * 5 * 8 * 3)  # three rows a block
    student = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    teachers = [3 * torch.randn(8, 5, dtype=torch.float64) for _ in range(2)]
    log_w = torch.randn(8, 2, dtype=torch.float64).log_softmax(-1)
    soft = make_softener(name, amount, PRIOR if name == "prior" else None)
    found = distillation_loss(student, teachers, log_w, temperature=1.7, pool=pool, softening=soft, normalizer=1.0)
    (slope,) = torch.autograd.grad(found, student)
    exact = [torch.tensor([softened(row, name, amount) for row in z.tolist()], dtype=torch.float64) for z in teachers]
    expected = dense_token_losses(student, exact, log_w, temperature=1.7, pool=pool)
    assert torch.allclose(slope, torch.autograd.grad(expected.sum(), student)[0], rtol=1e-9, atol=1e-12)
    rows = token_losses(student, teachers, log_w, temperature=1.7, pool=pool, softening=soft)
    assert torch.allclose(rows, expected.detach(), rtol=1e-9, atol=1e-12)


def test_softening_gives_mass_where_a_teacher_has_none_and_hides_no_broken_teacher() -> None:
    student = torch.zeros(1, 2, requires_grad=True)
    lacking = torch.tensor([[0.0, -math.inf]])
    one = torch.zeros(1)
    with pytest.raises(InputError, match="needs mass in the teachers"):
        distillation_loss(student, [lacking], one, divergence="reverse_kl")
    soft = make_softener("uniform", 0.5)
    assert math.isfinite(distillation_loss(student, [lacking], one, divergence="reverse_kl", softening=soft).item())
    with pytest.raises(TeacherError, match="teacher 0"):
        distillation_loss(student, [torch.tensor([[0.0, math.nan]])], one, softening=soft)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("unifrom", 0.1), "Did you mean 'uniform'"),
        (("uniform", 1.5), "in \\[0, 1\\]"),
        (("uniform", math.nan), "in \\[0, 1\\]"),
        (("temperature", 0.0), "positive"),
        (("prior", 0.1), "probabilities of a prior; received none"),
        (("uniform", 0.1, (0.5, 0.5)), "Leave them out"),
        (("prior", 0.1, (0.5, 0.4)), "sum to one"),
    ],
)
def test_what_is_no_softening_is_refused(arguments: tuple[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        make_softener(*arguments)
