from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from reference import losses as reference
from reference.pools import softmax
from trivium.errors import InputError, TeacherError
from trivium.weighting import statistics
from trivium.weighting.features import BUILT_IN, FROM_DISTRIBUTIONS
from trivium.weighting.statistics import token_statistics

ALL = list(FROM_DISTRIBUTIONS)


def loops(p: list[list[float]], s: list[float], label: int) -> dict[str, list[float]]:
    """Every statistic of one row, from K distributions, in Python floats."""
    found: dict[str, list[float]] = {name: [] for name in ALL}
    for k, row in enumerate(p):
        first, second, *_ = [*sorted(row, reverse=True), 0.0]
        others = [q for j, q in enumerate(p) if j != k]
        mean = [math.fsum(column) / len(others) for column in zip(*others, strict=True)] if others else row
        found["entropy"].append(float(stats.entropy(row)))
        found["max_prob"].append(first)
        found["margin"].append(first - second)
        found["label_log_prob"].append(0.0 if label == -100 else math.log(row[label]) if row[label] else -math.inf)
        found["disagreement"].append(reference.total_variation(row, mean))
        found["gap"].append(reference.hellinger(row, s))
    return found


@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(1, 4),
    vocabulary=st.one_of(st.integers(1, 12), st.integers(60, 150)),
    teachers=st.integers(1, 4),
    scale=st.sampled_from([0.0, 0.1, 1.0, 5.0, 40.0]),
    ties=st.booleans(),
    hole=st.booleans(),
)
@example(0, 2, 64, 2, 5.0, True, False)  # 64 = 8 · 8: no entry left over beside the groups
@example(0, 2, 99, 2, 5.0, False, False)  # 18 entries left over
def test_statistics_equal_the_loops(seed, rows, vocabulary, teachers, scale, ties, hole):
    torch.manual_seed(seed)
    logits = [torch.randn(rows, vocabulary) * scale for _ in range(teachers + 1)]
    if ties:
        logits = [z.round() for z in logits]
    if hole:
        for z in logits:
            z[:, torch.rand(vocabulary) < 0.4] = -math.inf
            z[:, 0] = 0.0
    labels = torch.randint(vocabulary, (rows,))
    labels[-1] = -100
    got = token_statistics(ALL, logits[1:], student_logits=logits[0], labels=labels)
    for row in range(rows):
        p = [softmax(z[row].tolist()) for z in logits[1:]]
        expected = loops(p, softmax(logits[0][row].tolist()), int(labels[row]))
        for name in ALL:
            assert got[name].dtype == torch.float32
            assert got[name][row].tolist() == pytest.approx(expected[name], rel=2e-5, abs=2e-6), name


@given(seed=st.integers(0, 2**31 - 1), scale=st.sampled_from([0.0, 1.0, 300.0]), teachers=st.integers(1, 3))
def test_values_stay_in_the_documented_ranges(seed, scale, teachers):
    torch.manual_seed(seed)
    logits = [torch.randn(5, 70) * scale for _ in range(teachers)]
    found = token_statistics(ALL, logits, student_logits=-logits[0], labels=torch.arange(5))
    for name in ALL:
        low = -math.inf if name == "label_log_prob" else BUILT_IN[name].low
        assert found[name].shape == (5, teachers)
        assert ((found[name] >= low) & (found[name] <= BUILT_IN[name].high)).all(), name


def test_second_largest_wherever_it_stands():
    """The two largest in one group, in two groups, among the left-over entries, and tied."""
    for first, second in [(0, 1), (0, 50), (50, 0), (0, 149), (149, 148), (148, 0), (12, 11)]:
        p = torch.full((1, 150), 0.001)
        p[0, first], p[0, second] = 0.5, 0.25
        assert token_statistics(["margin"], [p.log()])["margin"].item() == pytest.approx(
            0.25 / p.sum().item(), rel=1e-4
        )
        p[0, second] = 0.5
        assert token_statistics(["margin"], [p.log()])["margin"].item() == pytest.approx(0.0, abs=1e-6)


def test_only_what_is_asked_is_returned():
    assert token_statistics([], [torch.zeros(2, 3)]) == {}
    assert set(token_statistics({"entropy"}, [torch.zeros(2, 3)])) == {"entropy"}
    assert token_statistics(["gap"], [torch.zeros(0, 3)], student_logits=torch.zeros(0, 3))["gap"].shape == (0, 1)


def test_equal_distributions_have_no_gap_and_no_disagreement():
    z = torch.randn(4, 200) * 5
    found = token_statistics(["gap", "disagreement"], [z, z + 3.0], student_logits=z - 40.0)
    assert (found["gap"] < 1e-5).all()
    assert (found["disagreement"] < 1e-5).all()


def test_distributions_that_share_nothing_are_at_distance_one():
    one, other = torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])
    found = token_statistics(["gap", "disagreement", "label_log_prob"], [one, other], student_logits=one,
                             labels=torch.tensor([1]))  # fmt: skip
    assert found["gap"].tolist() == [[0.0, 1.0]]
    assert found["disagreement"].tolist() == [[1.0, 1.0]]
    assert found["label_log_prob"].tolist() == [[-math.inf, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_blocks_and_dtypes_do_not_show(dtype, monkeypatch):
    logits = [(torch.randn(11, 80) * 4).to(dtype) for _ in range(3)]
    labels = torch.randint(80, (11,), dtype=torch.int32)
    options = {"student_logits": logits[2], "labels": labels}
    whole = token_statistics(ALL, [z.float() for z in logits], **options)
    monkeypatch.setattr(statistics, "_WORKSPACE_BYTES", 4 * 80 * 6 * 3)
    pieces = token_statistics(ALL, [z.requires_grad_() for z in logits], **options)
    for name in ALL:
        assert not pieces[name].requires_grad
        assert torch.allclose(pieces[name], whole[name], rtol=1e-6, atol=1e-7), name


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("value", "fault"), [(math.nan, "NaN"), (math.inf, r"\+inf"), (-math.inf, "only -inf")])
def test_a_broken_teacher_is_named(name, value, fault):
    logits = [torch.zeros(5, 4) for _ in range(3)]
    logits[1][3, slice(None) if value == -math.inf else 2] = value
    options = {"student_logits": torch.zeros(5, 4), "labels": torch.zeros(5, dtype=torch.long)}
    with pytest.raises(TeacherError, match=f"teacher 1 .*{fault} in row 3"):
        token_statistics([name], logits, **options)
    with pytest.raises(TeacherError, match=f"teacher code .*{fault} in row 3"):
        token_statistics([name], logits, teacher_names=["prose", "code", "cpp"], **options)


def test_the_row_named_counts_from_the_start_of_the_batch(monkeypatch):
    monkeypatch.setattr(statistics, "_WORKSPACE_BYTES", 4 * 3 * 4 * 2)
    logits = torch.zeros(9, 3)
    logits[7, 0] = math.nan
    with pytest.raises(TeacherError, match="in row 7"):
        token_statistics(["entropy"], [logits])


def test_a_broken_student_is_no_teachers_fault():
    with pytest.raises(InputError, match=r"student's logits .* NaN in row 1"):
        token_statistics(["gap"], [torch.zeros(2, 3)], student_logits=torch.tensor([[0.0] * 3, [math.nan] * 3]))


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["entorpy"], {}, "Did you mean 'entropy'"),
        (["gap"], {}, "no student_logits"),
        (["gap"], {"student_logits": torch.zeros(2, 4)}, r"student logits must be shaped \[2, 3\]"),
        (["label_log_prob"], {}, "needs the labels"),
        (["label_log_prob"], {"labels": torch.zeros(3, dtype=torch.long)}, r"labels must be shaped \[2\]"),
        (["label_log_prob"], {"labels": torch.tensor([0, 3])}, "in 0…2; received 3"),
        (["entropy"], {"teacher_logits": []}, "at least one teacher"),
        (["entropy"], {"teacher_logits": [torch.zeros(2, 3, 4)]}, "Flatten"),
        (["entropy"], {"teacher_logits": [torch.zeros(2, 3), torch.zeros(2, 4)]}, "teacher 1"),
    ],
)
def test_bad_arguments_are_one_clear_line(names, options, message):
    arguments = {"teacher_logits": [torch.zeros(2, 3)]} | options
    with pytest.raises(InputError, match=message) as caught:
        token_statistics(names, **arguments)
    assert "\n" not in str(caught.value)
