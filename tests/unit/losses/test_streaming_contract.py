"""What the streaming loss promises beside its value: memory, one backward pass, masks, and clear refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from reference.dense import dense_distillation_loss
from trivium.aggregation import POOLS
from trivium.errors import InputError, TeacherError
from trivium.losses import DIVERGENCES, blocks, distillation_loss, token_losses

CASES = list(itertools.product(POOLS, DIVERGENCES))


def draw(rows=4, vocabulary=7, teachers=3):
    student = torch.randn(rows, vocabulary).requires_grad_()
    return student, [torch.randn(rows, vocabulary) * 2 for _ in range(teachers)], uniform(teachers)


def uniform(teachers):
    return torch.full((teachers,), -math.log(teachers))


def peak_bytes(run) -> int:
    """The most that was allocated at one time while ``run`` ran, beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    held = itertools.accumulate(event.nbytes() for event in recorded.profiler.kineto_results.events() if event.nbytes())
    return max(held)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("pool", "divergence"), CASES)
def test_memory_is_the_gradient_and_a_workspace_whatever_k(pool, divergence, masked):
    rows, vocabulary, num_teachers = 128, 8192, 6
    student = torch.randn(rows, vocabulary).requires_grad_()
    logits = [torch.randn(rows, vocabulary) * 60 for _ in range(num_teachers)]  # wide enough to need the log-space pass
    mask = torch.arange(rows) % 3 > 0 if masked else None

    def run():
        distillation_loss(student, logits, uniform(num_teachers), pool=pool, divergence=divergence, mask=mask)

    assert peak_bytes(run) <= rows * vocabulary * 4 + blocks.WORKSPACE_BYTES + 2**20


@pytest.mark.parametrize(("pool", "divergence"), CASES)
@pytest.mark.parametrize("mask", [None, torch.arange(23) % 5 != 1, torch.arange(23) > 6])
def test_blocks_do_not_show(pool, divergence, mask, monkeypatch):
    student, logits, _ = draw(23, 13)
    log_w = torch.log_softmax(torch.randn(23, 3), -1)
    options = {"temperature": 1.3, "pool": pool, "divergence": divergence, "mask": mask}
    whole = distillation_loss(student, logits, log_w, **options)
    (gradient,) = torch.autograd.grad(whole, student)
    monkeypatch.setattr(blocks, "WORKSPACE_BYTES", 9 * 13 * 4 * 4)
    assert blocks.block_rows(13, torch.float32) == 4
    pieces = distillation_loss(student, logits, log_w, **options)
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-7)
    assert torch.equal(torch.autograd.grad(pieces, student)[0], gradient)


def test_a_row_larger_than_the_workspace_is_a_block_of_its_own():
    assert blocks.block_rows(10**9, torch.float32) == 1


def test_masked_rows_are_never_read():
    student, logits, log_w = draw()
    mask = torch.tensor([True, False, False, True])
    clean = distillation_loss(student, logits, log_w, mask=mask).item()
    with torch.no_grad():
        student[1] = math.nan
    logits[1][2] = math.inf
    weights = log_w.repeat(4, 1)
    weights[1:3] = math.nan
    loss = distillation_loss(student, logits, weights, mask=mask)
    loss.backward()
    assert loss.item() == pytest.approx(clean, rel=1e-7)
    assert (student.grad[1:3] == 0).all()
    assert (student.grad[[0, 3]].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("normalizer", [None, 5.0, torch.tensor(0)])
def test_nothing_unmasked_is_a_zero_loss_with_a_zero_gradient(normalizer):
    student, logits, log_w = draw()
    loss = distillation_loss(student, logits, log_w, mask=torch.zeros(4, dtype=torch.bool), normalizer=normalizer)
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()


def test_no_rows_at_all_is_a_zero_loss():
    student, logits, log_w = draw(rows=0)
    loss = distillation_loss(student, logits, log_w)
    loss.backward()
    assert loss.item() == 0
    assert student.grad.shape == (0, 7)


def test_normalizer_divides_value_and_gradient():
    student, logits, log_w = draw()
    mean = distillation_loss(student, logits, log_w)
    (slope,) = torch.autograd.grad(mean, student)
    for normalizer in (16.0, torch.tensor(16)):
        scaled = distillation_loss(student, logits, log_w, normalizer=normalizer)
        assert scaled.item() == pytest.approx(mean.item() / 4, rel=1e-6)
        assert torch.allclose(torch.autograd.grad(scaled, student)[0], slope / 4, rtol=1e-6)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="normalizer"):
            distillation_loss(student, logits, log_w, normalizer=bad)


def test_the_loss_composes_with_other_terms():
    """Through a linear head, scaled, and with a second term on the same logits."""
    hidden, head = torch.randn(6, 5), torch.randn(5, 7)
    _, logits, log_w = draw(6)
    gradients = []
    for loss_of in (distillation_loss, dense_distillation_loss):
        weight = head.clone().requires_grad_()
        student = hidden @ weight
        (0.3 * loss_of(student, logits, log_w, temperature=2.0) + student.logsumexp(-1).mean()).backward()
        gradients.append(weight.grad)
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7)


def test_float16_gradients_survive_a_large_normalizer_under_a_loss_scale():
    student = torch.randn(4, 7, dtype=torch.float16).requires_grad_()
    _, logits, log_w = draw()
    (distillation_loss(student, logits, log_w, normalizer=1e6) * 1e6).backward()
    exact = student.detach().double().requires_grad_()
    dense_distillation_loss(exact, [z.double() for z in logits], log_w.double(), normalizer=1.0).backward()
    assert torch.allclose(student.grad.double(), exact.grad, rtol=2e-3, atol=1e-4)


def test_autocast_changes_nothing():
    student, logits, log_w = draw()
    plain = distillation_loss(student, logits, log_w, temperature=1.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = distillation_loss(student, logits, log_w, temperature=1.5)
    assert inside.item() == plain.item()
    assert torch.equal(torch.autograd.grad(inside, student)[0], torch.autograd.grad(plain, student)[0])


def test_inputs_are_left_alone_and_weights_and_teachers_are_constants():
    student, logits, log_w = draw()
    log_w = log_w.repeat(4, 1).requires_grad_()
    logits = [z.requires_grad_() for z in logits]
    before = [x.detach().clone() for x in (student, log_w, *logits)]
    for divergence in DIVERGENCES:
        for pool in POOLS:
            distillation_loss(student, logits, log_w, temperature=3.0, pool=pool, divergence=divergence).backward()
    assert all(torch.equal(x.detach(), y) for x, y in zip((student, log_w, *logits), before, strict=True))
    assert log_w.grad is None
    assert all(z.grad is None for z in logits)


def test_one_row_of_weights_serves_all_rows():
    student, logits, log_w = draw()
    every = distillation_loss(student, logits, log_w.repeat(4, 1)).item()
    assert distillation_loss(student, logits, log_w).item() == every
    assert distillation_loss(student, logits, log_w.unsqueeze(0)).item() == every


def test_strided_logits_are_read_in_place():
    whole, logits, log_w = draw(8)
    shifted = [z[::2] for z in logits]
    loss = distillation_loss(whole[::2], shifted, log_w)
    assert loss.item() == distillation_loss(whole[::2].contiguous(), [z.contiguous() for z in shifted], log_w).item()
    loss.backward()
    assert (whole.grad[1::2] == 0).all()
    assert (whole.grad[::2] != 0).all()


def test_a_second_backward_pass_and_a_second_derivative_raise():
    student, logits, log_w = draw()
    loss = distillation_loss(student, logits, log_w)
    loss.backward(retain_graph=True)
    with pytest.raises(InputError, match="second backward pass"):
        loss.backward()
    loss = distillation_loss(student, logits, log_w)
    (slope,) = torch.autograd.grad(loss * student.sum(), student, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize(("pool", "divergence"), CASES)
@pytest.mark.parametrize(("value", "fault"), [(math.nan, "NaN"), (math.inf, r"\+inf")])
def test_a_broken_teacher_is_named(pool, divergence, value, fault):
    student, logits, log_w = draw()
    logits[1][2, 3] = value
    with pytest.raises(TeacherError, match=f"teacher 1 .*{fault} in row 2"):
        distillation_loss(student, logits, log_w, pool=pool, divergence=divergence)
    with pytest.raises(TeacherError, match=f"teacher code .*{fault} in row 2"):
        token_losses(student, logits, log_w, pool=pool, divergence=divergence, teacher_names=["prose", "code", "cpp"])
    silent = torch.tensor([0.5, 0.0, 0.5]).log()
    with pytest.raises(TeacherError, match="teacher 1"):
        distillation_loss(student, logits, silent, temperature=1.5, pool=pool, divergence=divergence)


@pytest.mark.parametrize(("pool", "divergence"), CASES)
def test_a_row_without_any_mass_is_refused(pool, divergence):
    student, logits, log_w = draw()
    empty = student.detach().clone()
    empty[3] = -math.inf
    with pytest.raises(InputError, match=r"student's logits .*only -inf in row 3"):
        distillation_loss(empty.requires_grad_(), logits, log_w, pool=pool, divergence=divergence)
    logits[0][1] = -math.inf
    with pytest.raises(TeacherError, match=r"teacher 0 .*only -inf in row 1"):
        distillation_loss(student, logits, log_w, pool=pool, divergence=divergence)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_log_pool_of_teachers_that_share_nothing_is_refused(divergence):
    student = torch.randn(1, 2).requires_grad_()
    logits = [torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])]
    with pytest.raises(InputError, match=r"logarithmic pool needs an entry .* none in row 0"):
        distillation_loss(student, logits, uniform(2), pool="log", divergence=divergence)
    alone = torch.tensor([0.0, -math.inf])  # a teacher without weight has no veto
    assert math.isfinite(distillation_loss(student, logits, alone, pool="log").item())


@pytest.mark.parametrize("pool", POOLS)
def test_an_infinite_divergence_is_reported_as_such_and_never_trained_on(pool):
    student, logits, log_w = draw()
    for z in logits:
        z[2, 5] = -math.inf
    assert math.isfinite(distillation_loss(student, logits, log_w, pool=pool).item())
    assert math.isfinite(distillation_loss(student, logits, log_w, pool=pool, divergence="js").item())
    values = token_losses(student, logits, log_w, pool=pool, divergence="reverse_kl")
    assert values.isinf().tolist() == [False, False, True, False]
    with torch.no_grad():
        value = distillation_loss(student, logits, log_w, pool=pool, divergence="reverse_kl")
    assert value.item() == math.inf
    assert not value.requires_grad
    with pytest.raises(InputError, match=r"reverse_kl needs mass in the teachers wherever .* in the student.* row 2"):
        distillation_loss(student, logits, log_w, pool=pool, divergence="reverse_kl")
    narrow = student.detach().clone()
    narrow[1, 0] = -math.inf
    with pytest.raises(InputError, match=r"forward_kl needs mass in the student wherever .* in the teachers.* row 1"):
        distillation_loss(narrow.requires_grad_(), logits, log_w, pool=pool)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_logits": torch.zeros(4, 2, 7)}, "Flatten the batch"),
        ({"student_logits": torch.zeros(4, 7, dtype=torch.long)}, "must be a floating"),
        ({"teacher_logits": []}, "at least one teacher"),
        ({"teacher_logits": [torch.zeros(4, 7), torch.zeros(4, 7), torch.zeros(4, 8)]}, "teacher 2 .*one vocabulary"),
        ({"log_weights": torch.zeros(4, 2)}, r"shaped \[4, 3\]"),
        ({"log_weights": torch.zeros(3, 3)}, r"shaped \[4, 3\]"),
        ({"log_weights": torch.zeros(4, 3)}, "sum to one .* a sum of 3 in row 0"),
        ({"log_weights": torch.full((3,), math.log(1.01 / 3))}, "sum to one .* a sum of 1.01 in row 0"),
        ({"log_weights": torch.full((3,), math.nan)}, "sum to one .* nan in row 0"),
        ({"log_weights": torch.full((3,), -math.inf)}, "sum to one .* a sum of 0 in row 0"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": math.inf}, "temperature must be positive"),
        ({"pool": "logarithm"}, "pool must exist"),
        ({"divergence": "backward_kl"}, "Did you mean"),
        ({"mask": torch.ones(4)}, r"bool \[4\]"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, r"bool \[4\]"),
    ],
)
def test_bad_arguments_are_one_clear_line(change, message):
    student, logits, log_w = draw()
    arguments = {"student_logits": student, "teacher_logits": logits, "log_weights": log_w} | change
    with pytest.raises(InputError, match=message) as caught:
        distillation_loss(**arguments)
    assert "\n" not in str(caught.value)


def test_weights_that_miss_one_in_a_masked_row_do_not_matter_but_elsewhere_name_the_row():
    student, logits, log_w = draw()
    weights = log_w.repeat(4, 1)
    weights[2] += 0.1
    mask = torch.tensor([False, True, True, True])
    with pytest.raises(InputError, match=r"a sum of 1\.10517 in row 2"):
        distillation_loss(student, logits, weights, mask=mask)
