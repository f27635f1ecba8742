"""The parts of the falsifier, each on a case whose answer is known."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trivium.certification.falsify.ascent import ascend, climb
from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import TimeUp
from trivium.certification.falsify.function import Changes, Coupling, drop
from trivium.certification.falsify.guide import Guide
from trivium.certification.falsify.lipschitz import Allowance, Pairs, noise, steepness, stretch, zoom
from trivium.certification.falsify.objectives import Worst, objectives
from trivium.certification.falsify.points import Points
from trivium.certification.falsify.probe import Probe, one_line, quiet
from trivium.certification.falsify.scan import lines, scan
from trivium.certification.falsify.shrink import keeps, shrink
from trivium.certification.falsify.sites import Sites, branch_form, numbers
from trivium.certification.specification import Specification
from trivium.weighting.base import UserRule, rule
from trivium.weighting.program import Program

HIDDEN = 3.25
F64 = torch.float64


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def plain(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy, dim=-1)


@rule(scale="token", features={"entropy": (0.0, 12.0), "domain": (0, 7, True, True)})
def jumping(entropy: Tensor, domain: Tensor) -> Tensor:
    return torch.softmax(-entropy - 0.1 * (entropy[..., :1] > HIDDEN) * domain, dim=-1)


@pytest.fixture
def box() -> Box:
    return Box.of(jumping, 3)


def test_box_lays_features_out_and_back(box: Box) -> None:
    assert box.dimension == 4
    assert box.integer.tolist() == [False, False, False, True]
    points = torch.tensor([[0.1, 1 / 3, 12.0, 5.0]], dtype=F64)
    assert torch.equal(box.join(box.nested(points, F64)), points)
    assert box.snap(torch.tensor([-1.0, 13.0, 2.0, 3.4], dtype=F64)).tolist() == [0.0, 12.0, 2.0, 3.0]
    assert box.distances(points, points + torch.tensor([0.0, 1.0, -2.0, 3.0])).tolist() == [[2.0, 3.0]]
    assert box.describe(points[0]) == "entropy = (0.1, 0.33333333, 12); domain = 5"


def test_box_of_no_features() -> None:
    from trivium.weighting.task.static import Static

    box = Box.of(Static(), 2)
    assert box.dimension == 0
    assert box.describe(torch.zeros(0)) == "any input"
    weights, _ = Probe(Static(), box)(torch.zeros(5, 0, dtype=F64))
    assert weights.tolist() == [[0.5, 0.5]] * 5


def test_points_stay_in_the_box_and_repeat_for_a_seed(box: Box) -> None:
    one, two = Points(box, 7).pool(512), Points(box, 7).pool(512)
    assert torch.equal(one, two)
    assert not torch.equal(one, Points(box, 8).pool(512))
    assert torch.equal(one, box.snap(one))
    corners = torch.where(torch.rand(4) < 0.5, box.low, box.high)
    assert bool((one == corners).all(dim=-1).any())
    tied = one[:, :3].amax(dim=-1) == one[:, :3].amin(dim=-1)
    assert 0.02 < float(tied.double().mean()) < 0.9


def test_many_coordinates_have_a_sample_of_corners() -> None:
    box = Box.of(plain, 16)
    corners = Points(box, 0).corners()
    assert len(corners) < 5000
    assert bool(((corners == box.low) | (corners == box.high)).all())
    assert bool(((corners == box.high).sum(dim=-1) == 1).any())


def test_numbers_are_read_from_the_graph_wherever_they_were_written() -> None:
    inside = torch.tensor([0.625])

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([0.375]))

        def forward(self, x: Tensor) -> Tensor:
            return x * 0.15625 * self.scale

    module = Module()

    def helper(x: Tensor, step: float = 8.5) -> Tensor:
        return x + step

    partial = functools.partial(helper, step=9.75)

    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def written(entropy: Tensor) -> Tensor:
        later = lambda x: x - 6.125 + HIDDEN + math.sqrt(2)  # noqa: E731
        return torch.softmax(module(later(helper(partial(entropy)))) * inside, dim=-1)

    program = written.program(3, F64)
    assert isinstance(program, Program)
    assert {0.625, 0.375, 0.15625, 8.5, 9.75, 6.125, HIDDEN, math.sqrt(2)} <= set(numbers(program))


def test_probe_keeps_rows_on_which_a_rule_raises() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def picky(entropy: Tensor) -> Tensor:
        if bool((entropy > 11).any()):
            raise ValueError("too much\nof it")
        return torch.softmax(-entropy, dim=-1)

    probe = Probe(picky, Box.of(picky, 2))
    points = torch.tensor([[1.0, 2.0], [11.5, 0.0], [3.0, 3.0]], dtype=F64)
    weights, log_weights = probe(points)
    assert weights.isnan().any(dim=-1).tolist() == [False, True, False]
    assert log_weights[1].isnan().all()
    (point, message, _), *_ = probe.raised
    assert point.tolist() == [11.5, 0.0]
    assert message == "ValueError: too much"
    assert one_line(KeyError()) == "KeyError"


def test_quiet_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    with quiet(3):
        torch.rand(5)
    assert torch.equal(before, torch.get_rng_state())


def sites_of(operator: UserRule, num_teachers: int = 3) -> tuple[Sites, Points]:
    box = Box.of(operator, num_teachers)
    probe = Probe(operator, box)
    program = probe.program(F64)
    assert isinstance(program, Program)
    return Sites(probe, program, F64), Points(box, 0)


def test_sites_see_branches_and_bisection_meets_them() -> None:
    sites, points = sites_of(jumping)
    pool = points.uniform(512)
    seen = sites(pool)
    assert seen.keys.shape == seen.distances.shape
    found = Guide(sites, points).boundaries(pool, seen, pairs=8)
    at = (found.low[:, 0] - HIDDEN).abs() < 1e-12
    assert bool(at.any())
    assert float((found.high - found.low)[at].abs().amax()) <= math.ulp(HIDDEN)
    assert any(abs(level - HIDDEN) < 1e-9 for level in found.levels[0])


def test_approach_enters_a_window_that_sampling_misses() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def window(entropy: Tensor) -> Tensor:
        inside = ((entropy[..., :1] - entropy[..., 1:2]).abs() < 1e-6) & (entropy[..., 2:].exp() > 162_000)
        return torch.softmax(-entropy + 5.0 * inside, dim=-1)

    sites, points = sites_of(window)
    pool = points.uniform(1024)
    near = Guide(sites, points).approach(pool, sites(pool), generations=25)
    inside = ((near[:, 0] - near[:, 1]).abs() < 1e-6) & (near[:, 2].exp() > 161_000)
    assert bool(inside.any())
    assert not bool(((pool[:, 0] - pool[:, 1]).abs() < 1e-6).any())


BRANCHES: dict[str, Callable[[Tensor], Tensor]] = {
    "comparison": lambda x: (x > 5.0).to(x),
    "equality": lambda x: (x == 5.0).to(x),
    "clamp": lambda x: x.clamp(2.0, 5.0),
    "relu": lambda x: torch.relu(x - 5.0),
    "where": lambda x: torch.where(x < 5.0, x, 2 * x),
    "maximum": lambda x: torch.maximum(x, 5.0 + 0 * x),
    "floor": lambda x: torch.floor(x / 5),
    "round": torch.round,
    "sign": lambda x: torch.sign(x - 5.0),
    "remainder": lambda x: x % 5.0,
    "peak": lambda x: x.amax(-1, keepdim=True) + 0 * x,
    "order": lambda x: x.sort(dim=-1, stable=True).values,
    "whole numbers": lambda x: x.long().to(x),
    "a cell of a table": lambda x: torch.arange(13, dtype=x.dtype)[x.long()],
}


@pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
def test_each_kind_of_branch_is_a_site_whose_sides_differ(branch: Callable[[Tensor], Tensor]) -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def branching(entropy: Tensor) -> Tensor:
        return torch.softmax(-branch(entropy), dim=-1)

    sites, points = sites_of(branching)
    seen = sites(torch.cat([points.uniform(256), points.picks(256), torch.full((1, 3), 5.0, dtype=F64)]))
    assert seen.keys.shape[1] > 0
    assert bool((seen.keys != seen.keys[0]).any())


def test_form_is_what_is_computed_whatever_the_dtype() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2])

    def made(switch: bool) -> UserRule:
        @rule(scale="token", features={"entropy": (0.0, 12.0)})
        def weighing(entropy: Tensor) -> Tensor:
            steep = 2.0 if switch and entropy.dtype is torch.float32 else 1.0
            return torch.softmax(-steep * entropy + prior.to(entropy), dim=-1)

        return weighing

    for switch in (False, True):
        wide, narrow = (made(switch).program(3, dtype) for dtype in (F64, torch.float32))
        assert isinstance(wide, Program)
        assert isinstance(narrow, Program)
        assert (branch_form(wide) == branch_form(narrow)) is not switch


@pytest.mark.parametrize(("values", "dtype"), [([2.0, 0.5], F64), ([0.3, 0.7], torch.float32)])
def test_precision_is_lost_by_inexact_constants_alone(values: list[float], dtype: torch.dtype) -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def tilted(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * torch.tensor(values), dim=-1)

    box = Box.of(tilted, 2)
    probe = Probe(tilted, box)
    probe.read_precision(Points(box, 0).uniform(16), F64)
    assert probe.rounding[F64] is dtype


def test_climbing_reaches_a_corner() -> None:
    box = Box.of(plain, 3)
    points, probe = Points(box, 0), Probe(plain, box)
    target = torch.tensor([12.0, 0.0, 12.0], dtype=F64)
    reached = climb(lambda x: -(x - target).abs().sum(-1), points.uniform(4), points, generations=60, children=24)
    assert float((reached - target).abs().amax(dim=-1).min()) < 0.05
    visited = ascend(lambda _, w, log_w: w[:, 1], points.uniform(4), probe, steps=12)
    assert float(probe(visited)[0][:, 1].max()) > 0.99


def test_gradients_are_optional() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def detached(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy.detach(), dim=-1)

    box = Box.of(detached, 2)
    visited = ascend(lambda _, w, log_w: w[:, 0], Points(box, 0).uniform(4), Probe(detached, box), steps=3)
    assert len(visited) == 0


def one_jump(size: float, dtype: torch.dtype = F64) -> UserRule:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def stepped(entropy: Tensor) -> Tensor:
        x = entropy.to(dtype)
        return torch.softmax(-x / 2 + size * (x > math.pi), dim=-1).to(entropy.dtype)

    return stepped


@pytest.mark.parametrize("against", [False, True])
def test_zoom_reaches_both_sides_of_a_jump(against: bool) -> None:
    stepped = one_jump(1e-4 if against else -1e-4)
    box = Box.of(stepped, 2)
    probe, pairs = Probe(stepped, box), Pairs(Allowance("W-R", lipschitz=1.0), Box.of(stepped, 2), F64)
    u, v = torch.tensor([[0.0, 5.0]], dtype=F64), torch.tensor([[12.0, 5.0]], dtype=F64)
    a, b = zoom(u, v, probe, pairs, bends=against)
    assert float(a[0, 0]) <= math.pi < float(b[0, 0])
    assert float((b - a).abs().max()) < 1e-11
    assert pairs.worst == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(("dtype", "low", "high"), [(F64, 0.0, 1e-13), (torch.float32, 1e-8, 1e-6)])
def test_noise_is_what_rounding_does(dtype: torch.dtype, low: float, high: float) -> None:
    stepped = one_jump(0.0, dtype)
    box = Box.of(stepped, 2)
    points = Points(box, 0)
    pairs = Pairs(Allowance("W-R", lipschitz=1.0), box, F64)
    measured = noise(points.uniform(24), points.uniform(24), Probe(stepped, box), pairs)
    assert low <= measured < high


def test_steepest_direction_of_a_softmax_moves_teachers_apart() -> None:
    box = Box.of(plain, 3)
    probe, pairs = Probe(plain, box), Pairs(Allowance("W-R", lipschitz=1.9), box, F64)
    slope, base, direction = steepness(Points(box, 0).uniform(8), probe, pairs, 1e-6)
    assert slope == pytest.approx(torch.full((8,), 2.0), rel=1e-4)
    stretch(base, direction, probe, pairs)
    assert pairs.worst > 0.1 * 5


def test_allowance_by_feature_names_what_is_declared(box: Box) -> None:
    from trivium.simplex.constants import bounded

    allowance = Allowance.declared(bounded(3, 1.0, {"entropy": 2.0}), box)
    assert allowance(torch.tensor([[0.5, 3.0]], dtype=F64)).tolist() == [1.0]
    assert Allowance("W-R", lipschitz=2.0)(torch.tensor([[0.5, 3.0]], dtype=F64)).tolist() == [6.0]


def test_lines_pass_through_their_base_and_scans_point_at_a_jump() -> None:
    stepped = one_jump(1e-3)
    box = Box.of(stepped, 2)
    points, probe = Points(box, 0), Probe(stepped, box)
    start, end = lines(points, points.uniform(1))
    assert len(start) == 2 + 2
    low, high = scan(start[:1], end[:1], 4096, probe, box)
    assert bool(((low[:, 0] <= math.pi) & (high[:, 0] > math.pi)).any())


def test_worst_keeps_the_highest_beyond_rounding() -> None:
    worst = Worst(objectives(Specification(2, floor=0.4)))
    points = torch.tensor([[0.0], [1.0], [2.0]], dtype=F64)
    weights = torch.tensor([[0.5, 0.5], [0.1, 0.9], [0.6, 0.6]], dtype=F64)
    worst.observe(points, weights, weights.log(), F64, F64)
    names = [objective.name for objective in worst.objectives]
    floor, sums = worst.best[names.index("floor")][0], worst.best[names.index("normalization")][0]
    assert (floor.point.item(), floor.residual) == (1.0, pytest.approx(0.3))
    assert (sums.point.item(), sums.residual) == (2.0, pytest.approx(0.2))


def test_not_a_number_is_a_matter_of_normalization_alone() -> None:
    weights = torch.tensor([[math.nan, 1.0]], dtype=F64)
    values = {o.axiom: float(o.value(weights, weights, weights)[0]) for o in objectives(Specification(2, floor=0.1))}
    assert values == {"W-N": math.inf, "W-P": -math.inf, "W-B": -math.inf}


def test_negative_weights_that_sum_to_one_break_positivity_alone() -> None:
    weights = torch.tensor([[1.5, -0.5]], dtype=F64)
    values = {
        o.axiom: float(o.value(weights, weights, weights.clamp(min=0).log())[0]) for o in objectives(Specification(2))
    }
    assert values == {"W-N": 0.0, "W-P": 0.5}


def test_shrinking_ends_at_round_numbers() -> None:
    box = Box.of(plain, 3)
    rows = torch.tensor([[3.70143, 9.8812, 0.4442]], dtype=F64)
    simple, last = shrink(rows, box, lambda r: float(r[0, 1]), 7.0)
    assert (simple.tolist(), last) == ([[0.0, 12.0, 0.0]], 12.0)
    window, _ = shrink(rows, box, lambda r: float(3.700 < float(r[0, 0]) < 3.71 and float(r[0, 1]) > 7), 0.5)
    assert window[0, 0].item() == 3.701
    assert set(window[0, 1:].tolist()) <= {0.0, 12.0}
    assert keeps(0.3, 0.1) == pytest.approx(0.2)


def test_shrinking_keeps_what_it_has_when_the_time_is_up() -> None:
    left = [3]

    def measure(rows: Tensor) -> float:
        if left[0] == 0:
            raise TimeUp
        left[0] -= 1
        return float(rows[0, 1])

    rows = torch.tensor([[3.70143, 9.8812, 0.4442]], dtype=F64)
    simple, _ = shrink(rows, Box.of(plain, 3), measure, 7.0)
    assert float(simple[0, 1]) > 7


def test_coupling_is_reduced_to_the_two_rows_that_show_it() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def coupled(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * (0.5 if bool((entropy > 11.9).any()) else 1.0), dim=-1)

    box = Box.of(coupled, 2)
    changes = Changes(Probe(coupled, box), F64)
    pool = torch.cat([Points(box, 0).uniform(300) * 0.9, torch.tensor([[12.0, 0.0]], dtype=F64)])
    coupling = Coupling(changes, pool, 1e-12, 0)
    coupling.run(rounds=1, calls=3)
    _, row, batch, _ = next(found for found in coupling.ranked() if changes.beside(found[2], found[1]) > 1e-12)
    row, batch = drop(row, batch, lambda rows, row: changes.beside(rows, row) > 1e-12)
    assert len(batch) == 2
    assert changes.beside(batch, row) > 1e-3
    assert float(batch[row].max()) < 11.9
