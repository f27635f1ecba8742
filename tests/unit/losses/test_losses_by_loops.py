"""The streamed loss in float64 against plain loops, row by row: value, closed form of the gradient, mask.

Catches a formula that is wrong in both tensor forms alike; the other tests of the loss compare tensors with tensors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import losses as reference
from reference import pools
from trivium.aggregation import POOLS
from trivium.errors import InputError
from trivium.losses import DIVERGENCES, distillation_loss, token_losses

LOOPS = {"forward_kl": reference.kl, "reverse_kl": lambda q, s: reference.kl(s, q), "js": reference.jensen_shannon}
POOL_LOOPS = {"linear": pools.linear, "log": pools.logarithmic, "power": lambda p, w: pools.power(p, w, 0.5)}
CASES = list(itertools.product(POOLS, DIVERGENCES))


def draw(seed, rows, vocabulary, teachers, scale, hole=False):
    torch.manual_seed(seed)
    logits = [(torch.randn(rows, vocabulary, dtype=torch.float64) * scale) for _ in range(teachers + 1)]
    if hole and vocabulary > 1:
        for z in logits:
            z[:, 1] = -math.inf
    return logits[0], logits[1:], torch.log_softmax(torch.randn(rows, teachers, dtype=torch.float64) * 2, -1)


@pytest.mark.parametrize(("pool", "divergence"), CASES)
@given(
    seed=st.integers(0, 2**31 - 1),
    vocabulary=st.integers(1, 9),
    teachers=st.integers(1, 4),
    scale=st.sampled_from([0.0, 0.3, 3.0]),
    temperature=st.sampled_from([0.5, 1.0, 3.7]),
    hole=st.booleans(),
)
def test_every_row_equals_the_loop(pool, divergence, seed, vocabulary, teachers, scale, temperature, hole):
    student, logits, log_w = draw(seed, 3, vocabulary, teachers, scale, hole)
    got = token_losses(student, logits, log_w, temperature=temperature, pool=pool, divergence=divergence)
    for row in range(3):
        p = [pools.softmax(z[row].tolist(), temperature) for z in logits]
        q = POOL_LOOPS[pool](p, log_w[row].exp().tolist())
        expected = LOOPS[divergence](q, pools.softmax(student[row].tolist(), temperature)) * temperature**2
        assert got[row].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("pool", "divergence"), CASES)
def test_gradient_is_the_closed_form_also_with_masked_vocabulary(pool, divergence):
    student, logits, log_w = draw(1, 2, 6, 3, 1.5, hole=True)
    student.requires_grad_()
    options = {"temperature": 2.5, "pool": pool, "divergence": divergence}
    distillation_loss(student, logits, log_w, normalizer=1.0, **options).backward()
    kept = [0, 2, 3, 4, 5]
    for row in range(2):
        p = [pools.softmax(z[row, kept].tolist(), 2.5) for z in logits]
        q = POOL_LOOPS[pool](p, log_w[row].exp().tolist())
        expected = reference.gradient(divergence, q, pools.softmax(student[row, kept].tolist(), 2.5))
        assert student.grad[row, kept].tolist() == pytest.approx([2.5 * g for g in expected], rel=1e-9, abs=1e-12)
        assert student.grad[row, 1] == 0


def test_forward_gradient_is_t_times_student_minus_target():
    student, logits, _ = draw(2, 4, 5, 1, 2.0)
    student.requires_grad_()
    one = torch.zeros(4, 1, dtype=torch.float64)
    distillation_loss(student, logits, one, temperature=3.0, normalizer=1.0).backward()
    expected = 3.0 * (torch.softmax(student / 3, -1) - torch.softmax(logits[0] / 3, -1))
    assert torch.allclose(student.grad, expected, atol=1e-13)


def test_jensen_shannon_is_symmetric_and_reaches_log_two():
    one, other = torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])
    w = torch.zeros(1, 1)
    assert token_losses(one, [other], w, divergence="js").item() == pytest.approx(math.log(2), rel=1e-6)
    a, (b,), w = draw(3, 3, 7, 1, 2.0)
    there = token_losses(a, [b], w, divergence="js")
    assert torch.allclose(there, token_losses(b, [a], w, divergence="js"), atol=1e-14)


def test_mask_and_normalizer_select_and_scale():
    student, logits, log_w = draw(4, 4, 5, 2, 1.0)
    mask = torch.tensor([True, False, True, False])
    rows = token_losses(student, logits, log_w)
    assert token_losses(student, logits, log_w, mask=mask).tolist() == [rows[0], 0, rows[2], 0]
    assert distillation_loss(student, logits, log_w, mask=mask).item() == pytest.approx(rows[[0, 2]].mean().item())
    scaled = distillation_loss(student, logits, log_w, mask=mask, normalizer=10)
    assert scaled.item() == pytest.approx(rows[[0, 2]].sum().item() / 10)


def test_unknown_names_are_answered_with_the_nearest():
    student, logits, log_w = draw(5, 2, 3, 2, 1.0)
    with pytest.raises(InputError, match="Did you mean 'forward_kl'"):
        token_losses(student, logits, log_w, divergence="forward")
    with pytest.raises(InputError, match="Did you mean 'linear'"):
        token_losses(student, logits, log_w, pool="liner")
