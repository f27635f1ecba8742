"""What each composition makes of constants: where it is attained, and random expressions that try to exceed it.

Beside ``tests/unit/certification/test_calculus.py``, whose leaves are rules, the leaves here are functions with
constants that are barely true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.log_weights import scores
from trivium.errors import InfeasibleError, InputError
from trivium.scheme import ClampInfluence, FloorMix, MixUniform, Power, Product, Project, Squash
from trivium.scheme.composition import Composition
from trivium.simplex import ConformingSet, Constants, Order, hilbert, influence, influence_to_range, log_normalize
from trivium.simplex.constants import bounded, fixed, uniform
from trivium.weighting import Entropy, Operator, PrefixPosterior
from trivium.weighting.features import Range

FEATURES = ("entropy", "margin")
CHAIN = Order(((0,), (1,), (2,)))


@dataclass(frozen=True)
class Given(Operator):
    """Log weights as they are given, or as a function gives them."""

    function: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
    ranges: ClassVar[Mapping[str, Range]] = {}

    def log_weights(self, features: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.function(features["x"])

    def formula(self) -> str:
        return "given"


def limited(part: Constants, budget: float) -> Constants:
    return ClampInfluence(Given(), budget).constants(part)


def squashed(part: Constants, bound: float) -> Constants:
    return Squash(Given(), bound).constants(part)


def power(part: Constants, alpha: float) -> Constants:
    return Power(Given(), alpha).constants(part)


def mixed(part: Constants, epsilon: float) -> Constants:
    return MixUniform(Given(), epsilon).constants(part)


def lifted(part: Constants, floor: float) -> Constants:
    return FloorMix(Given(), floor).constants(part)


def projected(part: Constants, goal: ConformingSet) -> Constants:
    return Project(Given(), goal).constants(part)


def of(composition: Callable[[Operator], Composition], log_w: torch.Tensor) -> torch.Tensor:
    """The value at given log weights."""
    return composition(Given()).log_weights({"x": log_w})


product = Product.constants


def gaps(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# Random expressions -------------------------------------------------------------------------------------------------


def leaf(random: np.random.Generator, num_teachers: int) -> tuple[Callable[[torch.Tensor], torch.Tensor], Constants]:
    """β/2·sin(a·x + φ) scores, saturating ones, steep switches, or fixed weights."""
    if random.random() < 0.25:
        log_w = log_normalize(torch.tensor(random.normal(0, 2, num_teachers)))
        return (lambda x: log_w.expand(*x.shape[:-1], num_teachers)), fixed(log_w)
    beta = float(random.choice([0.3, 2.0, 8.0]))
    slope = torch.tensor(random.normal(0, random.choice([0.3, 3.0, 30.0]), (len(FEATURES), num_teachers)))
    phase = torch.tensor(random.uniform(-3, 3, num_teachers))
    squash = torch.sin if random.random() < 0.5 else torch.tanh
    lipschitz = {name: beta * float(slope[f].abs().max()) for f, name in enumerate(FEATURES)}
    return (lambda x: log_normalize(beta / 2 * squash(x @ slope + phase))), bounded(num_teachers, beta, lipschitz)


def random_set(random: np.random.Generator, num_teachers: int) -> ConformingSet:
    levels = random.integers(0, num_teachers, num_teachers)
    order = Order(tuple(tuple(np.flatnonzero(levels == level).tolist()) for level in np.unique(levels)))
    margin = float(random.choice([0.0, 0.2]))
    if random.random() < 0.3:
        order, margin = None, 0.0
    centre = ConformingSet(num_teachers, order=order, order_margin=margin).element().exp()
    floor = float(random.choice([0.0, 0.3, 0.9])) * float(centre.min())
    cap = float(centre.max()) + float(random.choice([1.0, 0.4, 0.05])) * (1 - float(centre.max()))
    return ConformingSet(num_teachers, floor, cap, order, margin)


def expression(random: np.random.Generator, num_teachers: int, depth: int) -> tuple[Operator, Constants]:
    kind = random.integers(0, 8) if depth else 0
    if kind == 0:
        function, declared = leaf(random, num_teachers)
        return Given(function), declared
    if kind == 1:
        parts = [expression(random, num_teachers, depth - 1) for _ in range(random.integers(2, 4))]
        return Product(tuple(part[0] for part in parts)), product([part[1] for part in parts])
    operator, constants = expression(random, num_teachers, depth - 1)
    whole = [
        lambda: Power(operator, float(random.choice([0.0, 0.5, 1.0, 2.5]))),
        lambda: ClampInfluence(operator, float(random.choice([0.0, 1.0, 3.0]))),
        lambda: Project(operator, random_set(random, num_teachers)),
        lambda: Squash(operator, float(random.choice([0.2, 2.0, 9.0]))),
        lambda: FloorMix(operator, float(random.choice([0.0, 0.3, 1.0])) / num_teachers),
        lambda: MixUniform(operator, float(random.choice([0.0, 0.01, 0.4, 1.0]))),
    ][kind - 2]()
    return whole, whole.constants(constants)


@pytest.mark.parametrize("block", range(10))
def test_sampled_behaviour_never_exceeds_the_constants(block: int) -> None:
    random = np.random.default_rng(block)
    for _ in range(60):
        num_teachers = int(random.integers(1, 6))
        operator, constants = expression(random, num_teachers, depth=int(random.integers(1, 5)))
        x = torch.tensor(random.uniform(-2, 2, (60, len(FEATURES))))
        log_w = operator.log_weights({"x": x})
        assert (log_w.exp().sum(-1) - 1).abs().max() < 1e-12
        ratios = log_w.unsqueeze(-1) - log_w.unsqueeze(-2)
        assert (ratios >= constants.log_ratio - 1e-10).all()
        assert (log_w.exp() >= constants.floors - 1e-12).all()
        assert (log_w.exp() <= constants.caps + 1e-12).all()
        assert log_w.exp().min() >= constants.floor - 1e-12
        assert log_w.exp().max() <= constants.cap + 1e-12
        for reach in (4.0, 1e-2, 1e-5):
            moved_x = x + reach * torch.tensor(random.uniform(-1, 1, x.shape))
            allowed = sum(
                (moved_x - x).abs()[:, f] * constants.lipschitz.get(name, 0.0) for f, name in enumerate(FEATURES)
            )
            moved = hilbert(log_w, operator.log_weights({"x": moved_x}))
            assert (moved <= allowed + 1e-10).all()
            assert (moved <= constants.total_lipschitz * (moved_x - x).abs().amax(-1) + 1e-10).all()


# Each formula where it is attained ----------------------------------------------------------------------------------


def test_uniform_is_exact() -> None:
    constants = uniform(3)
    assert (constants.floor, constants.cap, constants.influence, constants.total_lipschitz) == (1 / 3, 1 / 3, 0.0, 0.0)
    assert constants.order_margin(CHAIN) == 0.0
    assert constants.order_margin(Order(((0, 1, 2),))) == math.inf


def test_a_budget_gives_the_range_of_t3() -> None:
    constants = bounded(3, 2.0, {"entropy": 0.5, "margin": 0.25})
    floor, cap = influence_to_range(2.0, 3)
    assert constants.influence == 2.0
    assert constants.total_lipschitz == pytest.approx(0.75)
    # The gap form is the sharper of the two forms of T3: each bound with its own worst case.
    assert constants.floor == pytest.approx(floor)
    assert constants.cap == pytest.approx(cap)
    assert constants.floor <= floor
    assert constants.cap >= cap


def test_an_unlimited_influence_promises_nothing() -> None:
    constants = bounded(2, math.inf, {"x": math.inf})
    assert (constants.floor, constants.cap, constants.influence) == (0.0, 1.0, math.inf)
    assert power(constants, 0.0).influence == math.inf, "zero to the power zero is no number"
    assert limited(constants, 1.0).influence == 1.0
    assert projected(constants, ConformingSet(2, 0.2)).floor == 0.2
    assert mixed(constants, 0.1).floor == pytest.approx(0.05)


def test_fixed_weights_are_known_exactly() -> None:
    log_w = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    constants = fixed(log_w)
    assert constants.floors.tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert constants.caps.tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert constants.order_margin(CHAIN) == pytest.approx(math.log(1.5))
    with pytest.raises(InputError, match="finite"):
        fixed(torch.tensor([0.0, -math.inf]))


def test_a_product_adds_gaps_and_regularities() -> None:
    constants = product([bounded(3, 2.0, {"a": 1.0, "b": 2.0}), bounded(3, 0.5, {"b": 3.0}), uniform(3)])
    assert constants.influence == 2.5
    assert constants.lipschitz["a"] == 1.0
    assert constants.lipschitz["b"] == pytest.approx(5.0)
    assert constants.lipschitz["b"] >= 5.0


def test_a_floor_does_not_survive_a_product_unless_the_rest_is_uniform() -> None:
    part = projected(bounded(3, 9.0, {}), ConformingSet(3, 0.1, 0.8))
    assert (part.floor, part.cap) == (0.1, 0.8)
    assert product([part, uniform(3)]).floor == 0.1
    assert product([part, part]).floor < 0.02


@pytest.mark.parametrize(("alpha", "kept"), [(1.0, True), (0.5, True), (2.0, False)])
def test_a_power_scales(alpha: float, kept: bool) -> None:
    part = projected(bounded(3, 9.0, {"x": 2.0}), ConformingSet(3, 0.1, 0.8))
    scaled = power(part, alpha)
    assert scaled.influence == pytest.approx(alpha * part.influence)
    assert scaled.total_lipschitz == pytest.approx(2 * alpha)
    assert (scaled.known_floor == 0.1) == kept


@pytest.mark.parametrize(
    ("budget", "gap"),
    [
        # Teacher 0 leads by at least 1, and is at most 0.5 below the maximum, which teacher 1 can never be.
        (5.0, 1.0),
        (1.0, 0.5),
        (0.5, 0.0),
        (0.0, 0.0),
    ],
)
def test_a_margin_survives_as_far_as_the_budget_reaches(budget: float, gap: float) -> None:
    part = Constants(gaps([[0.0, 1.0, -0.5], [-3.0, 0.0, -3.5], [-2.0, -1.0, 0.0]]))
    assert limited(part, budget).log_ratio[0, 1].item() == pytest.approx(gap, abs=1e-12)
    # Attained by the vector where teacher 2 leads teacher 0 by 0.5 and teacher 0 leads teacher 1 by 1.
    attained = of(lambda part: ClampInfluence(part, budget), torch.tensor([-0.5, -1.5, 0.0], dtype=torch.float64))
    assert (attained[0] - attained[1]).item() == pytest.approx(gap, abs=1e-12)


def test_limiting_clips_negative_gaps() -> None:
    assert limited(bounded(3, 4.0, {"x": 1.0}), 1.5).influence == 1.5
    assert limited(bounded(3, 1.0, {"x": 1.0}), 1.5).influence == 1.0
    assert limited(bounded(3, 4.0, {"x": 1.0}), 1.5).total_lipschitz == 1.0


def test_a_projection_guarantees_its_set() -> None:
    part = bounded(3, 9.0, {"x": 7.0})
    conforming_set = ConformingSet(3, 0.05, 0.8, CHAIN, 0.3)
    constants = projected(part, conforming_set)
    assert (constants.floor, constants.cap, constants.total_lipschitz) == (0.05, 0.8, 7.0)
    assert constants.order_margin(CHAIN) >= 0.3
    assert constants.influence == pytest.approx(math.log(0.8 / 0.05))
    assert constants.log_ratio[0, 2] >= 0.6


def test_a_projection_keeps_what_conforms_already() -> None:
    part = fixed(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log())
    assert torch.equal(projected(part, ConformingSet(3, 0.1, 0.6, CHAIN, 0.2)).log_ratio, part.log_ratio)
    moved = projected(part, ConformingSet(3, 0.1, 0.6, CHAIN, 0.45))
    assert not torch.equal(moved.log_ratio, part.log_ratio)
    assert moved.order_margin(CHAIN) >= 0.45


def test_a_projection_without_floor_does_not_add_influence() -> None:
    assert projected(bounded(4, 2.0, {}), ConformingSet(4, cap=0.5)).influence == 2.0
    ordered = projected(bounded(2, 2.0, {}), ConformingSet(2, cap=0.99, order=Order(((0,), (1,))), order_margin=0.5))
    assert ordered.log_ratio.tolist() == [[0.0, 0.5], [-2.0, 0.0]]


def test_mixing_with_uniform_contracts_by_birkhoffs_coefficient() -> None:
    # Two teachers: the coefficient is 1 − ε, approached at w = 1/2, and the gap is attained at the cap.
    part, epsilon = bounded(2, 2.0, {"x": 1.0}), 0.3
    whole = mixed(part, epsilon)
    assert whole.total_lipschitz == pytest.approx(0.7)
    worst = (0.7 * torch.tensor([1.0, math.exp(2.0)], dtype=torch.float64).log().softmax(-1) + 0.15).log()
    assert whole.influence == pytest.approx((worst[1] - worst[0]).item())
    assert whole.floor == pytest.approx(worst.exp().min().item())
    assert mixed(part, 0.0) is part
    assert mixed(part, 1.0).influence == 0.0


def test_mixing_shrinks_a_margin_to_its_worst_case() -> None:
    part = fixed(torch.tensor([0.8, 0.2], dtype=torch.float64).log())
    whole = mixed(part, 0.5)
    assert whole.log_ratio[0, 1].item() == pytest.approx(math.log(0.65 / 0.35))
    assert whole.log_ratio[0, 1].item() <= math.log(0.65 / 0.35)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constants(torch.zeros(2, 3)), "K×K"),
        (lambda: Constants(gaps([[1.0]])), "diagonal"),
        (lambda: Constants(gaps([[0.0, math.nan], [0.0, 0.0]])), r"below \+inf"),
        (lambda: Constants(gaps([[0.0, 0.2], [0.1, 0.0]])), "both directions"),
        (lambda: bounded(2, 1.0, {"x": -1.0}), "'x'"),
        (lambda: bounded(2, -1.0, {}), "budget"),
        (lambda: Product(()), "at least one"),
        (lambda: product([uniform(2), uniform(3)]), "same teachers"),
        (lambda: power(uniform(2), -1.0), "strength"),
        (lambda: power(uniform(2), math.inf), "strength"),
        (lambda: limited(uniform(2), math.nan), "budget"),
        (lambda: projected(uniform(2), ConformingSet(3)), "2 teachers"),
        (lambda: mixed(uniform(2), 1.5), "share"),
        (lambda: uniform(2).order_margin(CHAIN), "2 teachers"),
    ],
)
def test_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_constants_do_not_follow_a_tensor_that_changes_later() -> None:
    gap = gaps([[0.0, -1.0], [-1.0, 0.0]])
    constants = Constants(gap)
    gap[0, 1] = -5.0
    assert constants.influence == 1.0


def test_squashed_influence_is_attained() -> None:
    constants = squashed(bounded(3, 3.0, {"entropy": 2.0}), 2.0)
    assert constants.influence == pytest.approx(2.0 * math.tanh(1.5))
    assert constants.lipschitz == {"entropy": 2.0}
    extreme = log_normalize(torch.tensor([0.0, -3.0, -3.0], dtype=torch.float64))
    reached = of(lambda part: Squash(part, 2.0), extreme)
    assert float(reached.max() - reached.min()) == pytest.approx(constants.influence, rel=1e-12)


def test_a_margin_survives_a_squash_as_far_as_the_leader_may_be_ahead() -> None:
    part = Constants(gaps([[0.0, 0.5, -3.0], [-3.0, 0.0, -3.0], [-3.0, -3.0, 0.0]]))
    gap = squashed(part, 2.0).log_ratio[0, 1]
    # Teacher 0 is 3 nats behind teacher 2 and half a nat ahead of teacher 1.
    reached = of(lambda part: Squash(part, 2.0), log_normalize(torch.tensor([-3.0, -3.5, 0.0], dtype=torch.float64)))
    assert 0 < float(gap) == pytest.approx(float(reached[0] - reached[1]), rel=1e-9)
    unbounded = Constants(gaps([[0.0, 0.5, -math.inf], [-math.inf, 0.0, -math.inf], [-math.inf, -math.inf, 0.0]]))
    assert squashed(unbounded, 2.0).log_ratio[0, 1] == 0.0
    assert squashed(unbounded, 2.0).influence == pytest.approx(2.0)


def test_a_floor_by_mixing_is_the_floor_exactly() -> None:
    constants = lifted(bounded(4, math.inf, {"entropy": math.inf}), 0.05)
    assert constants.floor == 0.05
    assert lifted(bounded(4, 2.0, {}), 0.25).influence == 0.0
    with pytest.raises(InfeasibleError, match=r"Lower it to 0\.25"):
        lifted(uniform(4), 0.26)


def rows(values: list[float]) -> torch.Tensor:
    return log_normalize(torch.tensor(values, dtype=torch.float64))


@given(st.integers(1, 5).flatmap(lambda k: scores(k, zeros=True)), st.sampled_from([0.0, 0.5, 3.0]))
def test_limiting_bounds_influence_and_keeps_order(values: list[float], budget: float) -> None:
    log_w = rows(values)
    limited = of(lambda part: ClampInfluence(part, budget), log_w)
    assert influence(limited) <= budget + 1e-12
    assert limited.exp().sum().item() == pytest.approx(1.0)
    for j in range(len(values)):
        for k in range(len(values)):
            assert not (log_w[j] >= log_w[k] and limited[j] < limited[k])
    if influence(log_w) <= budget:
        assert torch.allclose(limited, log_w, atol=1e-12)


@given(st.integers(1, 5).flatmap(lambda k: st.tuples(scores(k), scores(k))), st.floats(0.0, 6.0))
def test_limiting_is_non_expansive(pair: tuple[list[float], list[float]], budget: float) -> None:
    u, v = (of(lambda part: ClampInfluence(part, budget), rows(values)) for values in pair)
    assert hilbert(u, v) <= hilbert(rows(pair[0]), rows(pair[1])) + 1e-10


@pytest.mark.parametrize("tau", [1.0, 1e-6, 1e-7])
@pytest.mark.parametrize("budget", [0.0, 0.5, 2.0, 9.0])
def test_a_posterior_with_a_prior_limits_as_the_wrapper_does(tau: float, budget: float) -> None:
    # Its constants are written out, since rules stand below compositions; at 1e-7 the prior outweighs all evidence.
    prior = (0.7, 0.2, 0.1)
    inside = PrefixPosterior(tau, budget, prior).constants(3)
    around = ClampInfluence(Entropy(), budget).constants(PrefixPosterior(tau, None, prior).constants(3))
    assert torch.equal(inside.log_ratio, around.log_ratio)
    assert inside.lipschitz == around.lipschitz
    assert (inside.known_floor, inside.known_cap) == (around.known_floor, around.known_cap)
    assert torch.equal(
        PrefixPosterior(tau, math.inf, prior).constants(3).log_ratio,
        PrefixPosterior(tau, None, prior).constants(3).log_ratio,
    )
