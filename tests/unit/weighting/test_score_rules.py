from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from every_rule import ONE_OF_EACH, rule_of
from reference import rules as reference
from trivium import weighting
from trivium.errors import InputError, RuleError
from trivium.simplex.rounding import log_slack, weight_slack
from trivium.weighting import RULES, Disagreement, Entropy, Gap, Margin, PrefixPosterior, Skill
from trivium.weighting.base import Rule, ScoreRule
from trivium.weighting.features import BUILT_IN, SCALES

F64 = torch.float64

#: Each rule's maker, from (strength, budget), with its feature and the sign of its slope.
MAKERS: dict[str, tuple[Callable[..., ScoreRule], str, int]] = {
    "entropy": (Entropy, "entropy", -1),
    "margin": (Margin, "margin", +1),
    "disagreement": (Disagreement, "disagreement", -1),
    "gap near": (lambda s, b: Gap(s, "near", b), "gap", -1),
    "gap far": (lambda s, b: Gap(s, "far", b), "gap", +1),
    "skill": (Skill, "validation_loss", -1),
    "prefix_posterior": (PrefixPosterior, "prefix_log_prob", +1),
}
each_rule = pytest.mark.parametrize("kind", MAKERS)
BUDGETS = [None, 0.0, 0.7, 4.0, 1e7]


def points(kind: str, seed: int, rows: int, num_teachers: int) -> torch.Tensor:
    """Feature rows in the box: corners, ties, near-ties and interior points."""
    low, high, *_ = BUILT_IN[MAKERS[kind][1]]
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(rows, num_teachers, generator=generator, dtype=F64)
    style = torch.randint(4, (rows, 1), generator=generator)
    share = torch.where(style == 0, share.round(), share)
    share = torch.where(style == 1, share.mean(-1, keepdim=True), share)
    share = torch.where(style == 2, 0.5 + 1e-5 * share, share)
    return low + (high - low) * share


@each_rule
@given(
    seed=st.integers(0, 2**31),
    teachers=st.integers(1, 5),
    strength=st.sampled_from([0.3, 1.0, 3.0]),
    budget=st.sampled_from(BUDGETS),
)
def test_weights_are_the_formula(kind, seed, teachers, strength, budget):
    make, feature, sign = MAKERS[kind]
    low, high, *_ = BUILT_IN[feature]
    x = points(kind, seed, 4, teachers)
    x = x + (torch.rand_like(x) - 0.5) * (high - low) * 0.1  # some of it outside the range, where it counts as the end
    got = make(strength, budget).log_weights({feature: x})
    for row, weights in zip(x.tolist(), got.tolist(), strict=True):
        assert weights == pytest.approx(
            reference.by_score(row, sign * strength, budget, low, high), rel=1e-12, abs=1e-10
        )


@each_rule
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("teachers", [1, 2, 5])
def test_declared_influence_is_never_exceeded_and_is_attained(kind, budget, teachers):
    make, feature, _ = MAKERS[kind]
    rule = make(1.7, budget)
    declared = rule.constants(teachers)
    w = rule.log_weights({feature: points(kind, 1, 400, teachers)})
    seen = (w.unsqueeze(-1) - w.unsqueeze(-2)).amin(dim=0)
    assert bool((seen >= declared.log_ratio - 1e-9 * (1 + declared.log_ratio.abs())).all())
    low, high, *_ = BUILT_IN[feature]
    for k in range(teachers if teachers > 1 else 0):
        corner = torch.full((teachers,), low, dtype=F64)
        corner[k] = high
        w = rule.log_weights({feature: corner})
        assert float(w.max() - w.min()) == pytest.approx(declared.influence, rel=1e-12, abs=1e-9)


@each_rule
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("span", [1e-3, 0.1, 1.0])
def test_declared_regularity_is_never_exceeded_and_is_attained(kind, budget, span):
    make, feature, _ = MAKERS[kind]
    rule = make(1.7, budget)
    constant = rule.constants(3).lipschitz[feature]
    low, high, *_ = BUILT_IN[feature]
    u = points(kind, 2, 300, 3)
    v = (u + (torch.rand_like(u) * 2 - 1) * span * (high - low)).clamp(low, high)
    moved = (u - v).abs().amax(-1)
    for a, b, size in zip(
        rule.log_weights({feature: u}).tolist(), rule.log_weights({feature: v}).tolist(), moved.tolist(), strict=True
    ):
        assert reference.distance(a, b) <= constant * size + 1e-9 * (1 + constant * size)
    middle = (low + high) / 2
    # Half of d_H is on either side of a tie: both sides must be within the budget.
    step = min(0.3, 0.4 * (high - low), math.inf if budget is None else budget / (2 * 1.7))
    up, down = ([middle + s * step, middle - s * step, middle - s * step] for s in (1, -1))
    a, b = (rule.log_weights({feature: torch.tensor(x, dtype=F64)}).tolist() for x in (up, down))
    assert reference.distance(a, b) == pytest.approx(constant * 2 * step, rel=1e-9, abs=1e-9)


@each_rule
def test_the_better_teacher_weighs_more_and_ties_weigh_the_same(kind):
    make, feature, sign = MAKERS[kind]
    low, high, *_ = BUILT_IN[feature]
    near = low + (high - low) / 2
    w = make(1.0, None).log_weights({feature: torch.tensor([near, near + 0.01, near], dtype=F64)})
    assert float(w[0]) == float(w[2])
    assert math.copysign(1, float(w[1] - w[0])) == sign


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_one_teacher_has_all_the_weight_and_weights_sum_to_one(kind, dtype):
    make, feature, _ = MAKERS[kind]
    rule = make(2.0, 4.0)
    alone = rule.log_weights({feature: points(kind, 3, 5, 1).to(dtype)})
    assert alone.dtype == dtype
    assert alone.tolist() == [[0.0]] * 5
    w = rule.log_weights({feature: points(kind, 3, 50, 6).to(dtype).view(5, 10, 6)})
    assert w.shape == (5, 10, 6)
    assert float((w.exp().sum(-1) - 1).abs().max()) <= weight_slack(dtype, 6)
    assert float((w.amax(-1) - w.amin(-1)).max()) <= 4.0 + log_slack(dtype)


@each_rule
def test_a_feature_outside_its_range_counts_as_the_end_of_it(kind):
    make, feature, _ = MAKERS[kind]
    low, high, *_ = BUILT_IN[feature]
    rule = make(1.0, None)
    outside = torch.tensor([-math.inf, math.inf, low - 3.0, high + 3.0], dtype=F64)
    ends = torch.tensor([low, high, low, high], dtype=F64)
    assert torch.equal(rule.log_weights({feature: outside}), rule.log_weights({feature: ends}))


def test_a_budget_keeps_its_digits_beside_a_large_score():
    """s − max s is taken first: at −3·10⁵ a float32 holds steps of 0.03 nats, and 4.1 nats would come out as 4.094."""
    rule = PrefixPosterior(budget=4.1)
    w = rule.log_weights({"prefix_log_prob": torch.tensor([-300_000.0, -900_000.0])})
    assert float(w[0] - w[1]) == pytest.approx(4.1, abs=1e-6)


@each_rule
def test_what_a_rule_misses_is_named(kind):
    make, feature, _ = MAKERS[kind]
    rule = make(1.0, None)
    with pytest.raises(RuleError) as caught:
        rule.log_weights({"length": torch.zeros(2), "age": torch.zeros(2)})
    assert str(caught.value).startswith(f"rule {rule.name!r} needs the feature {feature!r}; received only age, length.")
    with pytest.raises(RuleError, match=r"Add it as a column of the data"):
        rule.log_weights({})
    with pytest.raises(RuleError) as caught:
        rule.log_weights({feature: torch.tensor([0.0, math.nan])})
    assert f"feature {feature!r} of rule {rule.name!r} must be a number; received NaN. Check its source." in str(
        caught.value
    )


def test_a_misspelt_feature_is_suggested():
    with pytest.raises(RuleError, match=r"Did you mean 'entropi'"):
        Entropy().log_weights({"entropi": torch.zeros(2)})


@each_rule
@pytest.mark.parametrize("budget", [-0.1, -math.inf, math.nan])
def test_a_budget_that_is_none_is_refused(kind, budget):
    make, _, _ = MAKERS[kind]
    with pytest.raises(InputError, match=r"must be a number of nats ≥ 0; received (-0.1|-inf|nan)\. 4 nats let"):
        make(1.0, budget)


@each_rule
@pytest.mark.parametrize("strength", [math.inf, math.nan])
def test_a_strength_that_is_no_number_is_refused(kind, strength):
    make, _, _ = MAKERS[kind]
    with pytest.raises(InputError, match=r"strength of rule .* must be a finite number|exponent tau must be positive"):
        make(strength, None)


def test_gap_prefers_near_or_far_only():
    with pytest.raises(InputError, match=r"must be 'near' or 'far'; received 'nearest'\. Did you mean 'near'"):
        Gap(prefer="nearest")  # type: ignore[arg-type]


def test_formulas_read_as_the_source_does():
    assert str(Entropy(0.5)) == "softmax(−0.5·entropy)"
    assert str(Entropy(0.5, 2.0)) == "softmax(−0.5·entropy | β ≤ 2)"
    assert str(Margin(2.0, 1.0)) == "softmax(2·margin | β ≤ 1)"
    assert str(Disagreement(3.0)) == "softmax(−3·disagreement)"
    assert str(Gap()) == "softmax(−1·gap)"
    assert str(Gap(2.0, "far", 1.5)) == "softmax(2·gap | β ≤ 1.5)"
    assert str(Skill(1.5)) == "softmax(−1.5·validation_loss)"


def test_the_catalogue_holds_every_built_in_rule_by_its_own_name():
    exported = [getattr(weighting, name) for name in weighting.__all__ if isinstance(getattr(weighting, name), type)]
    abstract = {
        weighting.Operator,
        weighting.Rule,
        weighting.RawRule,
        weighting.ScoreRule,
        weighting.UserRule,
        weighting.LearnableRule,
    }
    assert set(RULES.values()) == {cls for cls in exported if issubclass(cls, Rule)} - abstract
    for name, cls in RULES.items():
        made = rule_of(ONE_OF_EACH[name])
        assert type(made) is cls
        assert made.name == name
        assert made.scale in SCALES
        assert set(made.ranges) <= set(BUILT_IN)


def test_a_rule_declares_nothing_unless_it_says_so():
    class Silent(Rule):
        scale = "token"
        name = "silent"
        ranges = {}  # noqa: RUF012

        def log_weights(self, features):
            return next(iter(features.values()))

        def formula(self):
            return "silent"

    assert Silent().constants(3) is None
    assert str(Silent()) == "silent"
