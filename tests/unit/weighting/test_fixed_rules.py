from __future__ import annotations

import math

import pytest
import torch

from reference import rules as reference
from trivium.errors import InputError, RuleError
from trivium.weighting import DomainMap, Static

F64 = torch.float64


def test_static_weights_are_their_shares():
    w = Static((1.0, 2.0, 5.0)).log_weights({"entropy": torch.zeros(4, 3, dtype=F64)})
    assert w.exp().tolist() == pytest.approx([0.125, 0.25, 0.625], rel=1e-15)


@pytest.mark.parametrize("teachers", [1, 2, 7])
def test_static_is_uniform_without_weights(teachers):
    w = Static().log_weights({"domain": torch.zeros(2, 1), "entropy": torch.zeros(2, teachers)})
    assert w.dtype == torch.float32
    assert w.tolist() == pytest.approx([-math.log(teachers)] * teachers)
    assert Static().constants(teachers).influence == 0.0
    assert Static().constants(teachers).floor == Static().constants(teachers).cap == 1 / teachers


@pytest.mark.parametrize("weights", [(), (3.0, 1.0)])
def test_static_is_not_rounded_to_the_integers_of_a_domain_index(weights):
    w = Static(weights).log_weights({"domain": torch.tensor([[1]]), "x": torch.zeros(2)})
    assert w.dtype == torch.get_default_dtype()
    assert w.exp().tolist() == pytest.approx([0.75, 0.25] if weights else [0.5, 0.5])


def test_static_keeps_weights_that_float32_cannot_hold():
    w = Static((1e-60, 1.0, 1e60)).log_weights({"x": torch.zeros(3)})
    assert w.tolist() == pytest.approx([-120 * math.log(10), -60 * math.log(10), 0.0], rel=1e-6, abs=1e-6)


def test_static_constants_are_its_own_ratios():
    weights = (0.3, 7.0, 1.0)
    declared = Static(weights).constants(3)
    w = Static(weights).log_weights({"x": torch.zeros(3, dtype=F64)})
    for j in range(3):
        for k in range(3):
            exact = math.log(weights[j]) - math.log(weights[k])
            assert exact - 1e-15 * 8 <= float(declared.log_ratio[j, k]) <= exact + 1e-16
            assert float(w[j] - w[k]) == pytest.approx(float(declared.log_ratio[j, k]), abs=1e-14)
    assert declared.lipschitz == {}
    assert declared.influence == pytest.approx(math.log(7.0 / 0.3), abs=1e-14)


def test_static_weights_are_one_a_teacher():
    line = "static weights must be one a teacher; received 2 weights for 3 teachers. Write them in the order"
    with pytest.raises(InputError, match=line):
        Static((1.0, 2.0)).log_weights({"x": torch.zeros(3)})
    with pytest.raises(InputError, match=line):
        Static((1.0, 2.0)).constants(3)


@pytest.mark.parametrize("weight", [0.0, -2.0, math.inf, math.nan])
def test_static_weights_are_positive(weight):
    with pytest.raises(InputError, match=rf"positive and finite \(W-P\); received {weight}. Use a small positive"):
        Static((1.0, weight))


def test_static_formula_and_scale():
    assert str(Static()) == "uniform"
    assert str(Static((3.0, 0.5))) == "(3, 0.5)"
    assert Static().scale == "task"
    assert Static(scale="context").scale == "context"


# Domain map


def spread(budget: float, chosen: int | None, num_teachers: int) -> list[float]:
    return reference.normalized([0.0 if chosen in (None, k) else -budget for k in range(num_teachers)])


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.long])
@pytest.mark.parametrize("budget", [0.0, 2.0, 16.0])
def test_each_domain_has_its_teacher(dtype, budget):
    rule = DomainMap((2, -1, 0), budget)
    domain = torch.tensor([0, 1, 2, 1], dtype=dtype).view(-1, 1, 1)
    w = rule.log_weights({"domain": domain, "entropy": torch.zeros(4, 5, 3)})
    assert w.shape == (4, 1, 3)
    assert w.dtype == (dtype if dtype.is_floating_point else torch.get_default_dtype())
    for row, chosen in zip(w[:, 0].tolist(), [2, None, 0, None], strict=True):
        assert row == pytest.approx(spread(budget, chosen, 3), rel=1e-6, abs=1e-6)


def test_a_hard_map_in_float32_keeps_every_weight_positive():
    w = DomainMap((1,), budget=16.0).log_weights({"domain": torch.zeros(1), "x": torch.zeros(3)})
    assert w.exp().tolist() == pytest.approx([1.125e-7, 1.0, 1.125e-7], rel=1e-3)


@pytest.mark.parametrize("teacher_of", [(0,), (0, 1), (1, -1, 0), (2, 2, 2)])
@pytest.mark.parametrize("budget", [0.0, 3.3])
def test_map_constants_hold_and_are_attained(teacher_of, budget):
    rule = DomainMap(teacher_of, budget)
    declared = rule.constants(3)
    domains = torch.arange(len(teacher_of), dtype=F64).view(-1, 1)
    w = rule.log_weights({"domain": domains, "x": torch.zeros(3, dtype=F64)})
    seen = (w.unsqueeze(-1) - w.unsqueeze(-2)).amin(dim=0)
    torch.testing.assert_close(seen, declared.log_ratio, rtol=0, atol=1e-12)
    distances = [reference.distance(u, v) for u in w.tolist() for v in w.tolist()]
    steps = [abs(i - j) for i in range(len(w)) for j in range(len(w))]
    constant = declared.lipschitz["domain"]
    assert constant == 2 * budget
    assert all(d <= constant * step + 1e-12 for d, step in zip(distances, steps, strict=True))
    if teacher_of == (0, 1):  # neighbours with different teachers attain it
        assert max(distances) == pytest.approx(constant, abs=1e-12)


def test_a_map_of_one_teacher_is_uniform():
    w = DomainMap((0, 0)).log_weights({"domain": torch.tensor([[0.0], [1.0]])})
    assert w.tolist() == [[0.0], [0.0]]
    assert DomainMap((0, 0)).constants(1).influence == 0.0


def test_a_domain_past_the_map_counts_as_the_last():
    rule = DomainMap((0, 1))
    w = rule.log_weights({"domain": torch.tensor([[1.0], [7.0], [-3.0], [0.0]]), "x": torch.zeros(2)})
    assert torch.equal(w[0], w[1])
    assert torch.equal(w[2], w[3])
    assert rule.ranges["domain"][:2] == (0.0, 1.0)
    assert DomainMap((0,)).ranges["domain"][:2] == (0.0, 1.0)  # a range needs two ends
    assert DomainMap((0,) * 5).ranges["domain"][:4] == (0.0, 4.0, True, True)


def test_map_errors():
    with pytest.raises(InputError, match=r"must map at least one domain; received none. List the domains"):
        DomainMap(())
    line = "must name existing teachers; received index 2 with 2 teachers. Indices count from 0"
    with pytest.raises(InputError, match=line):
        DomainMap((0, 2)).constants(2)
    with pytest.raises(InputError, match=line):
        DomainMap((0, 2)).log_weights({"domain": torch.zeros(1), "x": torch.zeros(2)})
    with pytest.raises(RuleError, match=r"rule 'domain_map' needs the feature 'domain'; received only x"):
        DomainMap((0,)).log_weights({"x": torch.zeros(2)})


@pytest.mark.parametrize("budget", [-1.0, math.nan, math.inf])
def test_map_budget_is_finite(budget):
    with pytest.raises(InputError, match=f"must be a number of nats ≥ 0; received {budget}. Use 4 when in doubt"):
        DomainMap((0,), budget)


def test_map_formula():
    assert str(DomainMap((1, -1), 2.5)) == "map(0→1, 1→any | β ≤ 2.5)"


def test_a_domain_map_holds_indices_or_minus_one():
    assert DomainMap((0, -1)).teacher_of == (0, -1)
    with pytest.raises(InputError, match="-1 for none"):
        DomainMap((0, -3))
