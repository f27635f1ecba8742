"""Headroom: the optimum of constant weights with its certificate, and that no constant rule beats it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import mixtures as reference
from seen import observed
from trivium.errors import InputError
from trivium.fitting import Counting, best_constant, differences, headroom
from trivium.fitting.judging import mixed

F64 = torch.float64


def drawn(seed: int, tokens: int, num_teachers: int, tie: float) -> torch.Tensor:
    """Teachers as different as may be, or ``tie`` nats from one another."""
    draw = torch.Generator().manual_seed(seed)
    own = -1 - 3 * torch.rand(tokens, num_teachers, generator=draw, dtype=F64)
    return own if tie == 0 else own[:, :1] + tie * torch.randn(tokens, num_teachers, generator=draw, dtype=F64)


@given(
    seed=st.integers(0, 2**31),
    tokens=st.sampled_from([2, 3, 20, 400]),
    num_teachers=st.sampled_from([1, 2, 3, 8, 16]),
    tie=st.sampled_from([0.0, 1.0, 1e-2, 1e-4, 1e-8]),
    twins=st.booleans(),
)
def test_the_gap_certifies_the_optimum_near_ties_too(
    seed: int, tokens: int, num_teachers: int, tie: float, twins: bool
) -> None:
    log_p = drawn(seed, tokens, num_teachers, tie).clamp_max(0)
    if twins:
        log_p[:, -1] = log_p[:, 0]
    found = best_constant(log_p)
    assert found.duality_gap < 1e-6
    assert float(found.weights.min()) >= 0
    assert float(found.weights.sum()) == pytest.approx(1.0, abs=1e-12)
    mean = (log_p + found.weights.log()).logsumexp(-1)
    assert found.value == pytest.approx(float(mean.mean()), abs=1e-12)
    ratios = (log_p - mean.unsqueeze(-1)).exp().mean(0)
    assert max(0.0, float(ratios.max()) - 1) == pytest.approx(found.duality_gap, abs=1e-9)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(20):
        other = torch.rand(num_teachers, generator=draw, dtype=F64) ** 3 + 1e-9
        value = float((log_p + (other / other.sum()).log()).logsumexp(-1).mean())
        assert value <= found.value + found.duality_gap + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_another_solver_finds_nothing_better(seed: int) -> None:
    log_p = drawn(seed, 100, 4, (0.0, 1.0, 1e-2, 1e-3)[seed])
    assert best_constant(log_p).value >= reference.best_constant(log_p.numpy(), 20, seed) - 1e-7


def test_a_teacher_that_rules_out_a_token_is_no_trouble() -> None:
    log_p = torch.tensor([[0.0, -math.inf], [-math.inf, -1.0], [-2.0, -2.0], [0.0, -math.inf]], dtype=F64)
    found = best_constant(log_p)
    # w is 2/3: of the three tokens that decide, two are the first teacher's.
    assert found.weights.tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
    assert found.duality_gap < 1e-6


def test_one_token_takes_its_best_teacher() -> None:
    found = best_constant(torch.tensor([[-3.0, -1.0, -2.0]]))
    assert found.weights.tolist() == [0, 1, 0]
    assert (found.value, found.duality_gap) == (-1.0, 0.0)


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_rule_that_is_constant_on_a_scale_gains_more(seed: int, absent: bool) -> None:
    data = observed(seed, 400, 3, absent=absent)
    cells = {
        "everything": torch.zeros(len(data), dtype=torch.long),
        "task": data.task,
        "domain": data.domain,
        "document": data.document,
        "token": torch.arange(len(data)),
    }
    draw = torch.Generator().manual_seed(seed)
    rules = {
        f"{name} {number}": (number * torch.randn(int(cell.max()) + 1, 3, generator=draw, dtype=F64))[cell].log_softmax(
            -1
        )
        for name, cell in cells.items()
        for number in (0.1, 1.0, 8.0)
    }
    found = headroom(data, rules)
    for name, table in found.rules.items():
        bound = found.bounds[name.split()[0]]
        assert table["all"].mean <= bound.gain.mean + bound.duality_gap + 1e-12, name
        assert bound.duality_gap < 1e-6
    order = [found.bounds[name].gain.mean for name in cells]
    assert order == sorted(order)
    assert order[-1] <= math.log(3)
    if not absent:
        assert [bound.cells for bound in found.bounds.values()] == [1, 2, 2, 12, 400]


def test_intervals_are_over_documents() -> None:
    """Doubling every token of a document tells nothing new: the interval stays."""
    data = observed(0, 240, 3)
    twice = data.where(torch.arange(len(data)).repeat_interleave(2))
    once, again = (headroom(found).bounds["domain"].gain for found in (data, twice))
    assert (again.low, again.mean, again.high) == pytest.approx((once.low, once.mean, once.high), abs=1e-6)
    assert once.low < once.mean < once.high


def test_mixed_cells_of_absent_teachers_are_refused() -> None:
    with pytest.raises(InputError, match="one set of serving teachers"):
        best_constant(torch.zeros(2, 2), torch.tensor([[True, True], [True, False]]))


def test_differences_are_those_of_plain_sums() -> None:
    torch.manual_seed(0)
    logits = [2 * torch.randn(5, 7) for _ in range(3)]
    logits[1][2, 3] = -math.inf
    information, variation = differences([z.log_softmax(-1) for z in logits])
    p = np.stack([z.double().softmax(-1).numpy() for z in logits])
    mean = p.mean(0)
    for row in range(5):
        kl = [sum(a * math.log(a / b) for a, b in zip(p[k, row], mean[row], strict=True) if a > 0) for k in range(3)]
        assert float(information[row]) == pytest.approx(sum(kl) / 3, abs=1e-6)
        expected = [0.5 * abs(p[j, row] - p[k, row]).sum() for j, k in ((0, 1), (0, 2), (1, 2))]
        assert variation[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_counting_means_by_domain_at_spaced_positions() -> None:
    torch.manual_seed(0)
    logs = [torch.randn(40, 5).log_softmax(-1) for _ in range(2)]
    domain = torch.arange(40) % 2
    whole = Counting(("a", "b"), ("x", "y"), 40, 5)
    for part in (slice(0, 13), slice(13, 40)):
        whole.add([z[part] for z in logs], domain[part], (0, 1))
    information, variation = differences(logs)
    found = whole.found()
    assert found.positions == {"x": 20, "y": 20}
    assert found.information["y"] == pytest.approx(float(information[1::2].mean()), abs=1e-12)
    assert found.variation["x"]["a, b"] == pytest.approx(float(variation[::2, 0].mean()), abs=1e-12)
    some = Counting(("a", "b"), ("x", "y"), 40, 5, work=4 * 5 * 13.5)  # every third or fourth position
    for part in (slice(0, 13), slice(13, 40)):
        some.add([z[part] for z in logs], domain[part], (0, 1))
    chosen = torch.arange(0, 40, 4)
    assert sum(some.found().positions.values()) == len(chosen)


def test_advice_names_where_teachers_do_not_differ() -> None:
    data = observed(0, 300, 3)
    log_p = data.label_log_prob.clone()
    log_p[data.domain == 1] = -1.0
    same = observed(0, 300, 3, label_log_prob=log_p)
    found = headroom(same, {"mine": torch.zeros(3, dtype=F64).log_softmax(-1)})
    assert "mine gains 0.000" in found.advice
    assert found.advice.endswith("the teachers hardly differ on second.")
    assert mixed(torch.zeros(3, dtype=F64).log_softmax(-1), same).tolist() == pytest.approx(same.uniform().tolist())
