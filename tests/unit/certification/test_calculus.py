"""The constants that the calculus derives, attacked: nothing that is sampled may exceed them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from every_wrapper import KEYED, around, values
from trivium.certification import Specification, as_markdown, certify
from trivium.certification.calculus import derive, node
from trivium.errors import InfeasibleError, InputError
from trivium.scheme import ClampInfluence, FloorMix, MixUniform, PerEntry, Power, Product, Project, Squash, compose
from trivium.scheme.composition import Wrapper
from trivium.scheme.derivation import Derived
from trivium.scheme.tree import nodes
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.constants import Constants, bounded, uniform
from trivium.simplex.order import Order
from trivium.weighting import (
    CAMKD,
    EBKD,
    MOPD,
    AvgCE,
    Disagreement,
    DomainMap,
    Entropy,
    Gap,
    Hardness,
    Margin,
    MinCE,
    NemoRL,
    Operator,
    PrefixPosterior,
    Rule,
    ScoreRule,
    Scores,
    Skill,
    Static,
    rule,
)
from trivium.weighting.features import Range


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def anything(entropy: Tensor) -> Tensor:
    """Discontinuous, unnormalized and with zeros: what a wrapper must survive."""
    return torch.where(entropy > 6.0, torch.zeros_like(entropy), entropy + 0.5)


def leaves(num_teachers: int) -> st.SearchStrategy[Operator]:
    strengths = st.sampled_from([0.0, 0.3, 1.0, 2.5])
    budgets = st.sampled_from([None, 0.0, 0.7, 3.0])
    weights = st.lists(st.sampled_from([0.1, 1.0, 1.0, 7.0]), min_size=num_teachers, max_size=num_teachers).map(tuple)
    maps = st.lists(st.integers(-1, num_teachers - 1), min_size=1, max_size=3).map(tuple)
    return st.one_of(
        *(st.builds(kind, strengths, budgets) for kind in (Entropy, Margin, Disagreement, Skill)),
        st.builds(Gap, strengths, st.sampled_from(["near", "far"]), budgets),
        st.builds(Static, weights),
        st.builds(DomainMap, maps, st.sampled_from([0.0, 2.0])),
        st.builds(
            PrefixPosterior,
            st.sampled_from([0.1, 1.0]),
            st.sampled_from([0.0, 1.5, 4.0]),
            st.one_of(st.just(()), weights),
        ),
        st.builds(EBKD, st.booleans(), st.sampled_from([0.0, 0.2, 3.0])),
        st.builds(CAMKD, st.booleans()),
        st.builds(Hardness, strengths, st.sampled_from([0.1, 1.0]), st.sampled_from(["near", "far"]), budgets),
        st.builds(Scores, st.just({"entropy": -0.5, "label_log_prob": 1.0}), budgets),
        st.builds(NemoRL, st.sampled_from(["ce", "max_prob"]), strengths, st.just(True), budgets),
        st.builds(AvgCE, budgets),
        st.just(MinCE()),
        st.just(MOPD((0,))),
        st.just(anything),
    )


def orders(num_teachers: int) -> st.SearchStrategy[Order]:
    def tiers(permutation: list[int], cuts: list[bool]) -> Order:
        groups = [[permutation[0]]]
        for teacher, cut in zip(permutation[1:], cuts, strict=False):
            if cut:
                groups.append([teacher])
            else:
                groups[-1].append(teacher)
        return Order(tuple(tuple(group) for group in groups))

    cuts = st.lists(st.booleans(), min_size=num_teachers, max_size=num_teachers)
    return st.builds(tiers, st.permutations(list(range(num_teachers))), cuts)


@st.composite
def projections(draw: st.DrawFn, part: Operator, num_teachers: int) -> Operator:
    floor = draw(st.sampled_from([0.0, 0.01, 0.5 / num_teachers, 1.0 / num_teachers]))
    cap = draw(st.sampled_from([1.0, 0.97, 1.2 / num_teachers]))
    order = draw(st.one_of(st.none(), orders(num_teachers)))
    margin = draw(st.sampled_from([0.0, 0.1])) if order is not None else 0.0
    try:
        return Project(part, ConformingSet(num_teachers, floor, min(1.0, cap), order, margin))
    except InfeasibleError:
        return part


@st.composite
def expressions(draw: st.DrawFn, num_teachers: int, depth: int = 3) -> Operator:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(leaves(num_teachers))
    others = [pair for pair in KEYED if pair[0] is not FloorMix]  # whose values end at 1/K
    kind = draw(st.sampled_from(["product", "product", "project", "floor", "per entry", *others]))
    part = draw(expressions(num_teachers, depth - 1))
    if isinstance(kind, tuple):
        return around(kind[0], part, draw(st.sampled_from(values(kind[1]))))
    if kind == "project":
        return draw(projections(part, num_teachers))
    if kind == "floor":
        return FloorMix(part, draw(st.sampled_from([0.0, 0.01, 0.9 / num_teachers, 1.0 / num_teachers])))
    if kind == "per entry":
        return PerEntry(part)
    return Product((part, *draw(st.lists(expressions(num_teachers, depth - 1), min_size=1, max_size=2))))


def sample(
    ranges: Mapping[str, Range], num_teachers: int, rows: int, shrink: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Pairs of points: anywhere, at corners, with ties; the second near the first where ``shrink`` is small."""
    first, second = {}, {}
    for name, interval in ranges.items():
        width = interval.width(num_teachers)
        scale = interval.high - interval.low
        unit = torch.rand(rows, width, dtype=torch.float64)
        unit[::3] = unit[::3].round()
        unit[1::6] = unit[1::6, :1]
        # Most of the long range of a log-likelihood is beyond any budget: keep half of the points near its end.
        unit[::2] = 1 - (1 - unit[::2]) * min(1.0, 20.0 / scale)
        moved = (unit + shrink * min(1.0, 20.0 / scale) * (2 * torch.rand_like(unit) - 1)).clamp(0, 1)
        first[name], second[name] = (interval.low + scale * x for x in (unit, moved))
        if interval.integer:
            first[name], second[name] = first[name].round(), second[name].round()
    like = torch.zeros(rows, num_teachers, dtype=torch.float64)
    return {**first, "teachers": like}, {**second, "teachers": like}


def excess(operator: Operator, constants: Constants, num_teachers: int, shrink: float) -> float:
    """By how much sampled behaviour exceeds the constants, relative to 1 + the bound; ≤ 0 for a sound bound."""
    u, v = sample(operator.ranges, num_teachers, 60, shrink)
    log_w, log_v = (operator.log_weights(point).expand(60, num_teachers) for point in (u, v))
    usable = (log_w.isfinite().all(-1)) & (log_v.isfinite().all(-1))
    if not usable.any():
        return -math.inf
    log_w, log_v = log_w[usable], log_v[usable]
    ratio = log_w.unsqueeze(-1) - log_w.unsqueeze(-2)
    beyond = [(constants.log_ratio - ratio).max() / (1 + ratio.abs().max())]
    normalized = (log_w - log_w.logsumexp(-1, keepdim=True)).exp()
    beyond += [constants.floor - normalized.min(), normalized.max() - constants.cap]
    moved = log_w - log_v
    distance = moved.amax(-1) - moved.amin(-1)
    allowed = torch.zeros_like(distance)
    for name, constant in constants.lipschitz.items():
        step = (u[name] - v[name])[usable].abs().amax(-1)
        allowed = allowed + torch.where(step > 0, constant * step, torch.zeros_like(step))
    beyond.append(((distance - allowed) / (1 + log_w.abs().amax(-1))).max())
    return max(float(amount) for amount in beyond)


@given(data=st.data(), num_teachers=st.integers(1, 5), shrink=st.sampled_from([1.0, 0.1, 1e-3, 1e-6]))
def test_sampled_behaviour_never_exceeds_the_derived_constants(
    data: st.DataObject, num_teachers: int, shrink: float
) -> None:
    operator = data.draw(expressions(num_teachers))
    derived = derive(operator, num_teachers)
    try:
        beyond = excess(operator, derived.constants, num_teachers, shrink)
    except ValueError:  # a projection of a row without a positive weight: refused, so nothing is returned
        assert derived.unknown
        return
    assert beyond <= 1e-9


@given(data=st.data(), num_teachers=st.integers(1, 4))
def test_what_is_called_normalized_sums_to_one(data: st.DataObject, num_teachers: int) -> None:
    operator = data.draw(expressions(num_teachers))
    derived = derive(operator, num_teachers)
    if not derived.normalized or derived.unknown:
        return
    log_w = operator.log_weights(sample(operator.ranges, num_teachers, 60, 1.0)[0])
    assert (log_w.exp().sum(-1) - 1).abs().max() <= 1e-9


@pytest.mark.parametrize(
    "claimed",
    [
        bounded(3, 11.0, {"entropy": 2.0}),
        bounded(3, 12.0, {"entropy": 1.9}),
        Constants(bounded(3, 12.0, {}).log_ratio, {"entropy": 2.0}, known_floor=0.01),
        Constants(bounded(3, 12.0, {}).log_ratio, {"entropy": 2.0}, known_cap=0.9),
    ],
)
def test_the_attack_notices_constants_that_are_slightly_too_good(claimed: Constants) -> None:
    worst = max(excess(Entropy(), claimed, 3, shrink) for shrink in (1.0, 0.1) for _ in range(20))
    assert worst > 1e-3


def test_influence_adds_and_is_attained() -> None:
    operator = Product((Margin(), Disagreement(2.0)))
    constants = derive(operator, 3).constants
    features = {
        "margin": torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
        "disagreement": torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64),
    }
    log_w = operator.log_weights(features)
    assert constants.influence == 3.0
    assert float(log_w[0] - log_w[1]) == pytest.approx(3.0)
    assert float(log_w.exp().max()) == pytest.approx(constants.cap)


def test_regularity_adds_and_is_attained() -> None:
    operator = Product((Margin(), Disagreement(2.0)))
    constants = derive(operator, 2).constants
    assert constants.lipschitz == {"margin": 2.0, "disagreement": 4.0}
    assert constants.total_lipschitz == pytest.approx(6.0)
    there = {"margin": torch.tensor([1.0, 0.0]), "disagreement": torch.tensor([0.0, 1.0])}
    back = {"margin": torch.tensor([0.0, 1.0]), "disagreement": torch.tensor([1.0, 0.0])}
    moved = operator.log_weights(there) - operator.log_weights(back)
    assert float(moved.max() - moved.min()) == pytest.approx(6.0)


def test_one_scale_keeps_the_order_exactly_while_its_margin_covers_the_others() -> None:
    order = Order(((0,), (1,)))
    for others, holds in ((math.log(3.0), True), (math.log(3.0) + 1e-6, False)):
        operator = Product((Static((3.0, 1.0)), Margin(strength=others)))
        assert (derive(operator, 2).constants.order_margin(order) >= -1e-12) is holds


def test_a_projection_guarantees_its_set_whatever_its_part_does() -> None:
    order = Order(((2,), (0, 1)))
    derived = derive(Project(anything, ConformingSet(3, 0.05, 0.8, order, 0.1)), 3)
    assert derived.constants.floor == 0.05
    assert derived.constants.cap == 0.8
    assert derived.constants.order_margin(order) == pytest.approx(0.1)
    assert derived.constants.total_lipschitz == math.inf
    assert derived.normalized
    assert derived.pure, "its graph shows that it is a function of its row, which a projection leaves alone"
    assert derived.unknown == ("anything(entropy)",)


def test_a_budget_holds_whatever_the_part_does() -> None:
    derived = derive(ClampInfluence(anything, 1.5), 4)
    assert derived.constants.influence == 1.5
    assert derived.positive


@pytest.mark.parametrize("wrap", [lambda part: Power(part, 0.0), lambda part: Product((part, Entropy()))])
def test_what_may_divide_zero_by_zero_is_not_called_normalized(wrap: object) -> None:
    assert callable(wrap)
    derived = derive(wrap(anything), 3)
    assert not derived.normalized
    assert not derived.positive
    assert not derived.informative


def test_a_subclass_that_computes_weights_in_its_own_way_inherits_no_proof() -> None:
    class Sneaky(ClampInfluence):
        def log_weights(self, features: Mapping[str, Tensor]) -> Tensor:
            return self.part.log_weights(features)

    derived = derive(Sneaky(Entropy(), 1.0), 3)
    assert not derived.informative
    assert not derived.normalized


@dataclass(frozen=True)
class Doubled(Wrapper):
    """A composition of a user, which says of itself what is not so."""

    def log_weights(self, features: Mapping[str, Tensor]) -> Tensor:
        return torch.log_softmax(2.0 * self.part.log_weights(features), dim=-1)

    def formula(self) -> str:
        return f"doubled({self.part.formula()})"

    def constants(self, part: Constants) -> Constants:
        return part

    def after(self, part: Derived) -> Derived:
        return part.then("doubled {0}", self.constants(part.constants))


@pytest.mark.deep
def test_of_a_composition_that_is_not_the_librarys_only_the_constants_are_taken_and_attacked() -> None:
    derived = derive(Doubled(Entropy(budget=1.0)), 3)
    assert derived.constants.influence == 1.0
    assert not derived.normalized
    assert not derived.pure
    assert (
        derived.lines()[-1]
        == "[2] doubled [1]: β ≤ 1 nats, 0.1553 ≤ w ≤ 0.5762, L ≤ 2 in entropy (declared by Doubled)"
    )
    assert Doubled(Entropy()) in nodes(ClampInfluence(Doubled(Entropy()), 1.0))
    found = certify(Doubled(Entropy(budget=1.0)), Specification(3, lipschitz=2.0), seconds=0.5).results
    assert {result.axiom for result in found if result.verdict == "VIOLATED"} >= {"W-R", "constants.influence"}


def test_declared_constants_of_a_users_rule_are_used_but_its_form_is_not_trusted() -> None:
    class Half(Rule):
        name, scale, ranges = "half", "token", {"entropy": Range(0.0, 1.0)}

        def log_weights(self, features: Mapping[str, Tensor]) -> Tensor:
            return torch.full_like(features["entropy"], 0.5).log()

        def formula(self) -> str:
            return "half{1}"

        def constants(self, num_teachers: int) -> Constants:
            return uniform(num_teachers)

    derived = derive(Half(), 3)
    assert derived.constants.influence == 0.0
    assert not derived.normalized
    assert derived.culprits == ("half{1}",)
    assert derived.lines()[0].startswith("[1] half{1}: β ≤ 0 nats")


def test_a_users_score_rule_is_normalized_by_the_softmax_it_inherits() -> None:
    class Mine(ScoreRule):
        name, scale, ranges, budget = "mine", "token", {"entropy": Range(0.0, 1.0)}, None

        def score(self, features: Mapping[str, Tensor]) -> Tensor:
            return features["entropy"]

        def slopes(self) -> Mapping[str, float]:
            return {"entropy": 1.0}

        def formula(self) -> str:
            return "mine"

    derived = derive(Mine(), 3)
    assert derived.normalized
    assert not derived.pure


def test_a_new_kind_of_node_registers_its_own_step() -> None:
    @dataclass(frozen=True)
    class Reverse(Operator):
        part: Operator

        @property
        def ranges(self) -> Mapping[str, Range]:
            return self.part.ranges

        def log_weights(self, features: Mapping[str, Tensor]) -> Tensor:
            return self.part.log_weights(features).flip(-1)

        def formula(self) -> str:
            return f"reverse({self.part.formula()})"

    assert not derive(Reverse(Entropy()), 3).informative
    node.register(Reverse, lambda operator, teachers: derive(operator.part, teachers))
    assert derive(ClampInfluence(Reverse(Entropy()), 1.0), 3).constants.influence == 1.0


def test_a_derivation_cites_steps_by_number() -> None:
    scheme = compose(
        ["a", "b", "c"],
        token=[Entropy(budget=1.0), (Margin(), 0.5)],
        context=[PrefixPosterior()],
        floor=0.02,
        order="a>b=c",
    )
    lines = derive(scheme, 3).lines()
    steps = [line for line in lines if line.startswith("[")]
    assert [line.split("]")[0] for line in steps] == [f"[{n}" for n in range(1, len(steps) + 1)]
    assert any(line.startswith("[3] [2]^0.5") for line in steps)
    assert any(line.startswith("[4] [1] ⊗ [3]") for line in steps)
    assert any(line.startswith("[6] [4] ⊗ [5]") for line in steps)
    assert any("T3: influence adds: 1.5 + 4 = 5.5 nats" in line for line in lines)
    assert any("T6" in line and "floor 0.02" in line for line in lines)
    for theorem, number in itertools.product(("T2", "T3", "T4", "T5", "T6"), (1,)):
        assert sum(line.strip().startswith(theorem) for line in lines) >= number


@example(num_teachers=16)
@given(num_teachers=st.integers(1, 16))
def test_every_number_of_teachers_has_a_derivation(num_teachers: int) -> None:
    derived = derive(ClampInfluence(Product((Entropy(), Margin(), Static())), 4.0), num_teachers)
    assert derived.positive
    assert derived.constants.influence == (4.0 if num_teachers > 1 else 0.0)


@pytest.mark.parametrize(
    "inner",
    [Power(anything, 0.0), Product((anything, anything)), MixUniform(Power(anything, 0.0), 1.0)],
    ids=["zero to the power zero", "two that may be zero", "mixed afterwards"],
)
def test_no_wrapper_makes_a_distribution_of_what_is_no_number(inner: Operator) -> None:
    assert not derive(ClampInfluence(inner, 1.0), 3).normalized
    assert not derive(Squash(Project(inner, ConformingSet(3, 0.1)), 1.0), 3).normalized


def test_a_mixture_gives_a_floor_and_contracts() -> None:
    derived = derive(MixUniform(Margin(), 0.3), 3)
    assert derived.constants.floor == pytest.approx(0.7 / (1 + 2 * math.e) + 0.1)
    assert derived.constants.total_lipschitz == pytest.approx(2 * 2.1 / 2.7)
    assert any("Birkhoff" in line for line in derived.lines())
    assert derive(MixUniform(anything, 0.3), 3).constants.floor == pytest.approx(0.1)


def test_weights_by_vocabulary_entry_are_marked() -> None:
    operator = ClampInfluence(PerEntry(FloorMix(Margin(), 0.1)), 4.0)
    lines = derive(operator, 3).lines()
    assert any("T10" in line and "[K·a, K·b]" in line and "S1" in line for line in lines)
    certificate = certify(operator, Specification(3), seconds=0.1)
    assert certificate.per_entry
    assert "T10" in as_markdown(certificate)
    assert not certify(Margin(), Specification(3), seconds=0.1).per_entry


def test_a_rule_in_wrappers_stands_at_its_scale() -> None:
    scheme = compose(["a", "b"], token=[(MixUniform(Squash(Entropy(), 2.0), 0.1), 0.5), Margin()])
    assert scheme.formula() == "w = (mix(squash(softmax(−1·entropy) | β < 2) | 0.1 uniform))^0.5 ⊗ softmax(1·margin)"
    with pytest.raises(InputError, match="must be a task rule"):
        compose(["a", "b"], task=[MixUniform(Entropy(), 0.1)])
