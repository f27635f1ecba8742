"""The feature `gram` against loops in Python floats, over blocks, precisions and faults."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reference.gradients import gram as plain_gram
from reference.gradients import mean_gradients
from trivium.errors import InputError, TeacherError
from trivium.weighting import gram as module
from trivium.weighting.gram import gradient_gram


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(student: Tensor, teachers: list[Tensor], mask: Tensor) -> Tensor:
    rows = mean_gradients(student.tolist(), [t.tolist() for t in teachers], mask.tolist())
    return torch.tensor(plain_gram(rows), dtype=torch.float64)


@pytest.mark.parametrize(("positions", "vocabulary", "num_teachers"), [(1, 1, 1), (7, 5, 3), (40, 11, 2), (3, 2, 5)])
def test_it_is_what_loops_give(positions: int, vocabulary: int, num_teachers: int) -> None:
    student = logits(positions, vocabulary, seed=9)
    others = [logits(positions, vocabulary, seed=k, scale=6.0) for k in range(num_teachers)]
    mask = torch.arange(positions) % 3 != 1
    found = gradient_gram(student, others, mask)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), plain(student, others, mask), rtol=0, atol=3e-7)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    student, others = logits(50, 13, seed=1), [logits(50, 13, seed=k) for k in (2, 3)]
    mask = torch.ones(50, dtype=torch.bool)
    whole = gradient_gram(student, others, mask)
    monkeypatch.setattr(module, "_WORKSPACE_BYTES", 12 * 13 * 4)  # blocks of four positions, and a rest of two
    assert torch.allclose(gradient_gram(student, others, mask), whole, rtol=0, atol=1e-7)


def test_a_student_close_to_its_teachers_keeps_its_digits() -> None:
    student = logits(20, 9, seed=4)
    others = [student + 1e-3 * logits(20, 9, seed=k) for k in (5, 6)]
    mask = torch.ones(20, dtype=torch.bool)
    expected = plain(student, others, mask)
    found = gradient_gram(student, others, mask).double()
    assert float(expected.max()) < 1e-6
    assert torch.allclose(found, expected, rtol=2e-3, atol=0)


def test_it_is_symmetric_semidefinite_and_within_its_range() -> None:
    one_hot = torch.tensor([[30.0, -30.0]] * 4)
    found = gradient_gram(-one_hot, [one_hot, -one_hot], torch.ones(4, dtype=torch.bool))
    assert found.tolist() == [[2.0, 0.0], [0.0, 0.0]]  # ‖s − p‖² = 2 is attained
    spread = gradient_gram(logits(9, 4, seed=7), [logits(9, 4, seed=k) for k in range(4)], torch.ones(9).bool())
    assert torch.equal(spread, spread.T)
    assert float(torch.linalg.eigvalsh(spread.double())[0]) > -1e-7


def test_no_position_gives_zero_and_padding_is_not_read() -> None:
    student, teacher = logits(3, 4), logits(3, 4, seed=1)
    assert gradient_gram(student, [teacher], torch.zeros(3, dtype=torch.bool)).tolist() == [[0.0]]
    broken = teacher.clone()
    broken[2] = torch.nan
    mask = torch.tensor([True, True, False])
    assert torch.equal(gradient_gram(student, [broken], mask), gradient_gram(student, [teacher], mask))


def test_a_teacher_counts_only_where_it_serves() -> None:
    student, others = logits(8, 5, seed=1), [logits(8, 5, seed=k) for k in (2, 3, 4)]
    mask = torch.rand(8, 3, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[:, 2] = False
    rows = [mean_gradients(student.tolist(), [t.tolist()], mask[:, k].tolist())[0] for k, t in enumerate(others)]
    others[0][~mask[:, 0]] = torch.nan  # what does not count may hold anything
    others[2][:] = torch.nan
    found = gradient_gram(student, others, mask)
    assert found.tolist() == [pytest.approx(row, abs=3e-7) for row in plain_gram(rows)]
    assert found[2].tolist() == [0.0] * 3


def test_half_precision_is_read_as_float32() -> None:
    student, teacher = logits(6, 8).bfloat16(), logits(6, 8, seed=1).half()
    mask = torch.ones(6, dtype=torch.bool)
    assert torch.equal(gradient_gram(student, [teacher], mask), gradient_gram(student.float(), [teacher.float()], mask))


@pytest.mark.parametrize("fault", [torch.nan, torch.inf])
def test_a_teacher_without_a_distribution_is_named(fault: float) -> None:
    teachers = [logits(3, 4), logits(3, 4, seed=1)]
    teachers[1][1, 2] = fault
    with pytest.raises(TeacherError, match=r"teacher prose .* row 1"):
        gradient_gram(logits(3, 4), teachers, torch.ones(3).bool(), teacher_names=["code", "prose"])
    with pytest.raises(TeacherError, match="teacher 0"):
        gradient_gram(logits(3, 4), [torch.full((3, 4), -torch.inf)], torch.ones(3).bool())
    with pytest.raises(InputError, match="student"):
        gradient_gram(teachers[1], teachers[:1], torch.ones(3).bool())


def test_shapes_must_agree() -> None:
    for student, teacher, mask in (
        (logits(3, 4), logits(3, 5), torch.ones(3)),
        (logits(3, 4), logits(3, 4), torch.ones(2)),
        (logits(2, 3, 4), logits(2, 3, 4), torch.ones(2)),
    ):
        with pytest.raises(InputError):
            gradient_gram(student, [teacher], mask.bool())
    with pytest.raises(InputError):
        gradient_gram(logits(3, 4), [], torch.ones(3).bool())


def test_memory_does_not_grow_with_the_positions() -> None:
    """Beside its inputs: a block, and K·V accumulators."""
    largest = []
    for positions in (2_000, 8_000):
        student, teacher = logits(positions, 64), logits(positions, 64, seed=1)
        original = torch.softmax
        sizes: list[int] = []

        def counted(values: Tensor, dim: int, keep: list[int] = sizes, do: object = original) -> Tensor:
            keep.append(values.numel())
            return do(values, dim=dim)  # type: ignore[operator]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_WORKSPACE_BYTES", 12 * 64 * 500)
            patch.setattr(module.torch, "softmax", counted)
            gradient_gram(student, [teacher], torch.ones(positions).bool())
        largest.append(max(sizes))
    assert largest == [500 * 64, 500 * 64]
