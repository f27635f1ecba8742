"""The losses with a power pool of any exponent: float32, streamed, against float64, dense, as the other pools are."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from reference.dense import dense_distillation_loss
from trivium.aggregation import PowerPool
from trivium.errors import InputError, TeacherError
from trivium.losses import DIVERGENCES, blocks, distillation_loss, token_losses

EXPONENTS = [1e-6, -1e-6, 0.3, 1.0, 4.0, 50.0, -0.3, -1.0, -4.0, -50.0]
#: Over thirty pairs of exponent and divergence.
EXAMPLES = max(200, settings().max_examples)
SEEDS = st.integers(0, 2**31 - 1)


def both(student, teachers, log_w, **options):
    """(value, gradient) of the streamed float32 loss and of the dense float64 one."""
    found = []
    for loss_of, dtype in ((distillation_loss, torch.float32), (dense_distillation_loss, torch.float64)):
        leaf = student.detach().to(dtype).requires_grad_()
        loss = loss_of(leaf, [z.to(dtype) for z in teachers], log_w.to(dtype), pool="power", **options)
        loss.backward()
        found.append((loss.item(), leaf.grad))
    return found


@settings(max_examples=EXAMPLES)
@given(
    exponent=st.sampled_from(EXPONENTS),
    divergence=st.sampled_from(DIVERGENCES),
    seed=SEEDS,
    rows=st.integers(1, 40),
    vocabulary=st.integers(2, 300),
    teachers=st.integers(1, 6),
    temperature=st.floats(0.5, 10.0),
    scale=st.floats(0.5, 10.0),
    offset=st.sampled_from([0.0, 150.0]),
)
def test_float32_is_within_1e_5(exponent, divergence, seed, rows, vocabulary, teachers, temperature, scale, offset):
    torch.manual_seed(seed)
    student = torch.randn(rows, vocabulary) * scale + offset
    logits = [torch.randn(rows, vocabulary) * scale - offset for _ in range(teachers)]
    log_w = torch.log_softmax(torch.randn(rows, teachers) * 2, -1)
    log_p = [torch.log_softmax(z.double() / temperature, -1) for z in logits]
    s = torch.softmax(student.double() / temperature, -1)
    q = PowerPool(exponent).pool(log_p, torch.log_softmax(log_w.double(), -1)).exp()
    assume((s - q).norm() >= 0.05 * s.norm())
    options = {"temperature": temperature, "divergence": divergence, "exponent": exponent}
    (loss, gradient), (loss64, gradient64) = both(student, logits, log_w, **options)
    assume(gradient64.norm() >= 1e-6)
    assert loss == pytest.approx(loss64, rel=1e-5)
    assert (gradient - gradient64).norm() <= 1e-5 * gradient64.norm()
    assert (gradient - gradient64).abs().max() <= 1e-5 * gradient64.abs().max()


@settings(max_examples=EXAMPLES)
@given(
    exponent=st.sampled_from(EXPONENTS),
    divergence=st.sampled_from(DIVERGENCES),
    seed=SEEDS,
    rows=st.integers(1, 9),
    vocabulary=st.integers(1, 40),
    teachers=st.integers(1, 4),
    temperature=st.floats(0.2, 50.0),
    scale=st.sampled_from([0.0, 0.01, 1.0, 30.0, 300.0]),
    hole=st.booleans(),
)
def test_ties_one_hot_rows_masked_vocabulary_and_wide_scales(
    exponent, divergence, seed, rows, vocabulary, teachers, temperature, scale, hole
):
    torch.manual_seed(seed)
    student = torch.randn(rows, vocabulary) * scale
    logits = [(torch.randn(rows, vocabulary) * scale).round() for _ in range(teachers)]
    if hole:
        for z in [student, *logits]:
            z[:, 1:] = torch.where(torch.arange(1, vocabulary) % 3 == 0, z[:, 1:], -math.inf)
    log_w = torch.log_softmax(torch.randn(rows, teachers) * 6, -1)
    options = {"temperature": temperature, "divergence": divergence, "exponent": exponent}
    (loss, gradient), (loss64, gradient64) = both(student, logits, log_w, **options)
    largest = max(float(z[torch.isfinite(z)].abs().max()) for z in [student, *logits])
    blur = torch.finfo(torch.float32).eps * (4 + largest / temperature) * temperature
    assert loss == pytest.approx(loss64, rel=1e-5, abs=blur * (2 * math.sqrt(max(loss64, 0.0)) + blur))
    assert (gradient - gradient64).norm() <= 1e-5 * gradient64.norm() + blur * math.sqrt(rows)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_exponent_one_is_the_linear_loss(divergence):
    student, *logits = (torch.randn(9, 31, dtype=torch.float64) * 2 for _ in range(4))
    log_w = torch.log_softmax(torch.randn(9, 3, dtype=torch.float64), -1)
    linear = token_losses(student, logits, log_w, divergence=divergence)
    power = token_losses(student, logits, log_w, divergence=divergence, pool="power", exponent=1.0)
    assert torch.allclose(linear, power, rtol=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_memory_is_the_gradient_and_a_workspace_whatever_k(divergence):
    rows, vocabulary, num_teachers = 128, 8192, 6
    student = torch.randn(rows, vocabulary).requires_grad_()
    logits = [torch.randn(rows, vocabulary) * 60 for _ in range(num_teachers)]
    log_w = torch.full((num_teachers,), -math.log(num_teachers))
    mask = torch.arange(rows) % 3 > 0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        distillation_loss(student, logits, log_w, pool="power", exponent=-1.0, divergence=divergence, mask=mask)
    events = recorded.profiler.kineto_results.events()
    held = max(itertools.accumulate(event.nbytes() for event in events if event.nbytes()))
    assert held <= rows * vocabulary * 4 + blocks.WORKSPACE_BYTES + 2**20


def test_a_negative_exponent_needs_a_shared_entry_and_says_so():
    student = torch.randn(1, 2).requires_grad_()
    logits = [torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])]
    log_w = torch.tensor([0.5, 0.5]).log()
    with pytest.raises(InputError, match=r"power .*needs an entry .* none in row 0"):
        distillation_loss(student, logits, log_w, pool="power", exponent=-1.0)
    assert math.isfinite(distillation_loss(student, logits, log_w, pool="power", exponent=0.5).item())
    alone = torch.tensor([0.0, -math.inf])
    assert math.isfinite(distillation_loss(student, logits, alone, pool="power", exponent=-1.0).item())


@pytest.mark.parametrize("silent", [0, 1])
@pytest.mark.parametrize("exponent", [-1.0, 0.5])
def test_a_broken_teacher_without_weight_is_named(exponent, silent):
    student, *logits = (torch.randn(4, 7) for _ in range(3))
    logits[silent][2, 3] = math.nan
    log_w = torch.tensor([-math.inf if k == silent else 0.0 for k in range(2)])
    with pytest.raises(TeacherError, match=f"teacher {silent} .*NaN in row 2"):
        distillation_loss(student.requires_grad_(), logits, log_w, pool="power", exponent=exponent)


@pytest.mark.parametrize("loss_of", [distillation_loss, token_losses])
def test_an_exponent_is_for_the_power_pool_alone(loss_of):
    arguments = torch.zeros(2, 3), [torch.zeros(2, 3)], torch.zeros(1)
    with pytest.raises(InputError, match="only the pool 'power' has an exponent"):
        loss_of(*arguments, pool="linear", exponent=0.5)
    with pytest.raises(InputError, match="exponent of a power pool"):
        loss_of(*arguments, pool="power", exponent=0.0)
