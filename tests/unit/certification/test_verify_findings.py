"""Words, residuals and statements of the verifier, and the cases at the edge of what it may say."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trivium.certification.specification import Result, Specification
from trivium.certification.verify import interval as iv
from trivium.certification.verify import strengthen, verify
from trivium.simplex.order import Order
from trivium.weighting.base import UserRule, rule
from trivium.weighting.features import Range

ENTROPY = {"entropy": (0.0, 12.0)}
FINITE = st.floats(-1e30, 1e30, allow_nan=False)


def user(function: object, low: float = 0.0, high: float = 1.0) -> UserRule:
    return UserRule(function, "token", {"x": Range(low, high)}, "rule")  # type: ignore[arg-type]


def words(function: object, specification: Specification, low: float = 0.0, high: float = 1.0) -> dict[str, str]:
    found = verify(user(function, low, high), specification, seconds=1.0)
    return {axiom: result.verdict for axiom, result in found.items() if axiom != "W-F"}


def test_a_verified_finding_says_what_was_bounded() -> None:
    @rule(scale="token", features=ENTROPY)
    def mixed(entropy: Tensor) -> Tensor:
        return 0.85 * torch.softmax(-entropy, dim=-1) + 0.05

    found = verify(mixed, Specification(3, floor=0.04, cap=0.95, lipschitz=2.0), seconds=1.0)
    assert list(found) == ["W-F", "W-N", "W-P", "W-B", "W-R"]
    bounds = found["W-B"]
    assert bounds.residual == pytest.approx(-0.01, abs=1e-5)
    slack = 7.5 * torch.finfo(torch.float32).eps
    assert slack <= bounds.tolerance <= 8 * slack
    assert bounds.derivation[0] == "W-B: w ≥ 0.05, 0.04 asked"
    assert "in real arithmetic" in bounds.derivation[-1]
    assert found["W-P"].tolerance == 0.0
    assert found["W-R"].residual == 0.0
    assert found.pop("W-F").verdict == "NOT FALSIFIED"  # a matter of form
    assert all(result.witness is None and result.where == "the whole box" for result in found.values())


def test_an_open_finding_tells_the_best_bound_reached_and_where() -> None:
    @rule(scale="token", features=ENTROPY)
    def plain(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy / 2, dim=-1)

    open_ = verify(plain, Specification(2, influence=5.0), seconds=0.5)["W-B"]
    assert (open_.verdict, open_.residual) == ("NOT FALSIFIED", None)
    assert "reached β ≤ 6 nats, 5 asked" in open_.search
    assert "entropy = (0, 12)" in open_.search


def test_a_search_is_the_same_every_time() -> None:
    def program(x: Tensor) -> Tensor:
        return torch.softmax(torch.sin(9 * x) * x.mean(-1, keepdim=True), dim=-1)

    specification = Specification(3, lipschitz=30.0, influence=1.9)
    assert verify(user(program), specification, seconds=0.3) == verify(user(program), specification, seconds=0.3)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_any_number_of_teachers(k: int) -> None:
    def program(x: Tensor) -> Tensor:
        w = 1 / (1 + x)
        return w / w.sum(-1, keepdim=True)

    low = 1 / (1 + (k - 1) * 2)
    asked = Specification(k, floor=low, lipschitz=2.0 if k > 1 else 0.0, influence=math.log(2.0))
    assert set(words(program, asked).values()) == {"VERIFIED"}


@pytest.mark.parametrize(
    ("function", "holds"),
    [
        # What is false of each is told by its truth, worked out by hand, in the comment.
        (lambda x: torch.softmax(-0.1 * x + 1.0 * (x.min(-1, keepdim=True).indices == torch.arange(3)), -1), False),
        (lambda x: torch.softmax(0.2 * x, -1, dtype=torch.float16), False),  # sums off by 3.7e-4
        (lambda x: torch.softmax(0.1 * ((x > 1) + (x > 2)), -1), True),  # `or` of two truths: β = 0.1
        (lambda x: torch.softmax(0.01 * (x - x.to(torch.bfloat16).float()), -1), False),  # rounding is all of it
        (lambda x: torch.softmax(0.1 * x + torch.full_like(x, 0.9, dtype=torch.int64), -1), True),  # adds zero
        (lambda x: torch.softmax(0.2 * torch.nn.functional.softplus(x, beta=2.0, threshold=1.0), -1), False),
        (lambda x: torch.softmax((x.bfloat16() + 256 - 256).float() * 0.1, -1), False),  # steps of two
        (
            lambda x: torch.softmax(0.3 * (x.sum(-1, True) - x.sum(-1, True, dtype=torch.int64)) * torch.arange(3), -1),
            False,
        ),
    ],
)
def test_dtypes_and_arguments_are_bounded_as_they_run(function: object, holds: bool) -> None:
    found = words(function, Specification(3, influence=1.0 + 1e-9), 0.0, 10.0)
    assert (found["W-N"] == found["W-B"] == "VERIFIED") is holds


def test_a_jump_keeps_its_bounds_but_is_not_regular() -> None:
    def hard(x: Tensor) -> Tensor:
        return torch.softmax(torch.where(x > 0.5, 1.0, 0.0), dim=-1)

    found = words(hard, Specification(3, influence=1.0, lipschitz=1e6))
    assert (found["W-B"], found["W-R"]) == ("VERIFIED", "NOT FALSIFIED")


def test_a_jump_of_a_scaled_comparison_is_not_regular() -> None:
    def hard(x: Tensor) -> Tensor:
        return torch.softmax(1e-9 * (x > 0.7331), dim=-1)

    assert words(hard, Specification(2, lipschitz=1.0))["W-R"] == "NOT FALSIFIED"


def test_the_jump_inside_softplus_is_seen() -> None:
    def bent(x: Tensor) -> Tensor:
        return torch.softmax(torch.nn.functional.softplus(x), dim=-1)

    assert words(bent, Specification(2, lipschitz=2.0), 10.0, 30.0)["W-R"] == "NOT FALSIFIED"
    assert words(bent, Specification(2, lipschitz=2.0), 10.0, 19.0)["W-R"] == "VERIFIED"


def test_an_infinite_slope_at_one_point_is_not_regular() -> None:
    def steep(x: Tensor) -> Tensor:
        return torch.softmax(torch.sqrt(x), dim=-1)

    assert words(steep, Specification(2, lipschitz=1e3, influence=1.0)) == {
        "W-N": "VERIFIED",
        "W-P": "VERIFIED",
        "W-B": "VERIFIED",
        "W-R": "NOT FALSIFIED",
    }


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True), 0.0, 100.0),  # e^100 is no float32
        (lambda x: x / x.sum(-1, keepdim=True), 0.0, 1.0),  # 0/0
        (lambda x: torch.softmax(torch.log(x), -1), 0.0, 1.0),
        (lambda x: torch.softmax(torch.sqrt(x - 0.1), -1), 0.0, 1.0),
        (lambda x: torch.softmax(torch.log(torch.softmax(x, -1)), -1), -100.0, 100.0),  # log of a weight of e^-200
        (lambda x: torch.softmax(1 / (x - 0.5), -1), 0.0, 1.0),
        (lambda x: torch.softmax((x - 0.5) ** 1.5, -1), 0.0, 1.0),
    ],
)
def test_nothing_holds_where_the_rule_may_be_undefined(function: object, low: float, high: float) -> None:
    found = words(function, Specification(2), low, high)
    assert (found["W-N"], found["W-P"]) == ("NOT FALSIFIED", "NOT FALSIFIED")


@pytest.mark.parametrize(("offset", "word"), [(0.5, "VERIFIED"), (300.0, "NOT FALSIFIED")])
def test_digits_that_float32_cancels_are_not_vouched_for(offset: float, word: str) -> None:
    def cancelling(x: Tensor) -> Tensor:
        return (0.85 * torch.softmax(-x, dim=-1) + 0.05 + offset) - offset

    found = verify(user(cancelling, 0.0, 12.0), Specification(3, floor=0.05), seconds=0.5)
    assert (found["W-N"].verdict, found["W-B"].verdict) == (word, word)
    assert found["W-P"].verdict == "VERIFIED"
    assert ("rounding in float32 may exceed 8 times" in found["W-B"].search) is (word != "VERIFIED")


def test_scores_whose_common_part_eats_their_digits_are_not_vouched_for() -> None:
    found = words(lambda x: torch.softmax(x + 1e4, dim=-1), Specification(3, influence=1.0))
    assert (found["W-N"], found["W-B"]) == ("VERIFIED", "NOT FALSIFIED")


def test_weights_below_what_a_float32_holds_are_not_verified_positive() -> None:
    found = words(lambda x: torch.softmax(-x, -1), Specification(2), 0.0, 90.0)
    assert (found["W-N"], found["W-P"]) == ("VERIFIED", "NOT FALSIFIED")
    assert words(lambda x: torch.softmax(-x, -1), Specification(2), 0.0, 80.0)["W-P"] == "VERIFIED"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 0.999999 * torch.softmax(x, -1),
        lambda x: x + 0.1,
        lambda x: torch.softmax(x, -1) + 1e-7,
        lambda x: (x + 1) / ((x + 1).sum(-1, keepdim=True) + 1e-8),
        lambda x: torch.sigmoid(x),
        lambda x: torch.where(x > 0.5, torch.softmax(x, -1), torch.softmax(-x, -1)),
    ],
)
def test_what_does_not_sum_to_one_is_not_verified(function: object) -> None:
    assert words(function, Specification(3))["W-N"] == "NOT FALSIFIED"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.lerp(torch.softmax(x, -1), torch.full_like(x, 1 / 3), x.mean(-1, keepdim=True)),
        lambda x: (g := torch.sigmoid(x[..., :1])) * torch.softmax(x, -1) + (1 - g) * torch.softmax(-x, -1),
        lambda x: torch.softmax(x, -1).sort(-1).values.flip(-1),
        lambda x: torch.exp(x - torch.logsumexp(x, -1, keepdim=True)),
        lambda x: torch.where(x[..., :1] > 0.5, torch.softmax(x, -1), torch.softmax(-x, -1)),
        lambda x: (w := torch.softmax(x, -1) * torch.softmax(-x * x, -1)) / w.sum(-1, keepdim=True),
        lambda x: torch.softmax(x, -1) / 2 + torch.softmax(-x, -1) * 0.5,
    ],
)
def test_sums_to_one_by_form(function: object) -> None:
    assert words(function, Specification(3))["W-N"] == "VERIFIED"


def test_a_pair_that_shares_one_sums_to_one() -> None:
    def pair(x: Tensor) -> Tensor:
        first = torch.sigmoid(x[..., 1] - x[..., 0])
        return torch.stack([first, 1 - first], dim=-1)

    assert set(words(pair, Specification(2, floor=0.26)).values()) == {"VERIFIED"}


def test_the_order_of_a_pair_of_jointly_extreme_features_is_seen() -> None:
    prior = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def risky(a: Tensor, b: Tensor) -> Tensor:
        both = torch.relu(a - 0.99) * torch.relu(b - 0.99)
        return torch.softmax(prior.to(a) - 20_000.0 * both * prior.to(a), dim=-1)

    found = verify(
        UserRule(risky, "context", {"a": Range(0.0, 1.0), "b": Range(0.0, 1.0)}, "risky"),
        Specification(2, order=Order(((0,), (1,)))),
        seconds=1.0,
    )
    assert found["W-S"].verdict == "NOT FALSIFIED"
    assert "the safer of two leads by at least −1 nats" in found["W-S"].search


def test_an_order_of_one_tier_asks_nothing() -> None:
    assert words(lambda x: torch.softmax(x, -1), Specification(2, order=Order(((0, 1),))))["W-S"] == "VERIFIED"


def test_a_breach_elsewhere_keeps_the_verifier_out() -> None:
    specification = Specification(2)
    held = {axiom: Result(axiom, "NOT FALSIFIED", 0.0, search="searched") for axiom in specification.axioms}
    program = user(lambda x: torch.softmax(x, -1))
    stronger = strengthen(program, specification, held, {"W-F"}, 1.0)
    assert [stronger[axiom].verdict for axiom in specification.axioms] == ["NOT FALSIFIED", "VERIFIED", "VERIFIED"]
    assert stronger["W-N"].search.startswith("searched; bounded in real arithmetic")
    held["W-F"] = Result("W-F", "VIOLATED", 1.0)
    assert strengthen(program, specification, held, (), 1.0) == held


@given(FINITE, FINITE, FINITE, FINITE)
def test_arithmetic_is_rounded_outward(a: float, b: float, c: float, d: float) -> None:
    x, y = (min(a, b), max(a, b)), (min(c, d), max(c, d))
    tensors = [tuple(torch.tensor([end], dtype=torch.float64) for end in pair) for pair in (x, y)]
    exact = {
        "add": (Fraction(x[0]) + Fraction(y[0]), Fraction(x[1]) + Fraction(y[1])),
        "sub": (Fraction(x[0]) - Fraction(y[1]), Fraction(x[1]) - Fraction(y[0])),
    }
    corners = [Fraction(p) * Fraction(q) for p in x for q in y]
    exact["mul"] = (min(corners), max(corners))
    if y[0] > 0 or y[1] < 0:
        corners = [Fraction(p) / Fraction(q) for p in x for q in y]
        exact["div"] = (min(corners), max(corners))
    for name, (low, high) in exact.items():
        got = getattr(iv, name)(*tensors)
        assert float(got[0]) == -math.inf or Fraction(float(got[0])) <= low
        assert float(got[1]) == math.inf or Fraction(float(got[1])) >= high
