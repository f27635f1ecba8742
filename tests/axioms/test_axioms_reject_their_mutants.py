"""Every axiom accepts a conforming operator in every dtype and rejects at least one mutant of it."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping

import pytest
import torch

from trivium.axioms import (
    AXIOMS,
    BoundedInfluence,
    FunctionOfItsRow,
    Normalization,
    OrdinalSafety,
    ParetoCompatibility,
    Positivity,
    Regularity,
)
from trivium.simplex import ConformingSet, Order
from trivium.simplex.projection import conforming_projection

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
CHAIN = Order(((0,), (1,), (2,)))
BOX = ConformingSet(3, 0.1, 0.5, CHAIN, 0.1)
Features = Mapping[str, torch.Tensor]


def by_entropy(features: Features) -> torch.Tensor:
    return torch.log_softmax(-features["entropy"], dim=-1)


def conforming(features: Features) -> torch.Tensor:
    return conforming_projection(by_entropy(features), BOX)


def entropies(dtype: torch.dtype = torch.float64, rows: int = 40, num_teachers: int = 3) -> dict[str, torch.Tensor]:
    return {"entropy": (12 * torch.rand(rows, num_teachers)).to(dtype)}


# What conforms is accepted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("num_teachers", [1, 2, 3, 16])
def test_a_softmax_is_normalized_positive_and_a_function(dtype: torch.dtype, num_teachers: int) -> None:
    features = entropies(dtype, num_teachers=num_teachers)
    log_w = by_entropy(features)
    for axiom in (Normalization(), Positivity(), BoundedInfluence()):
        assert axiom.holds(axiom.residual(log_w), num_teachers).all()
    assert FunctionOfItsRow().holds(FunctionOfItsRow().residual(by_entropy, features), num_teachers).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_weights_made_by_division_are_normalized(dtype: torch.dtype) -> None:
    w = torch.rand(2000, 16).to(dtype) + 0.01
    log_w = (w / w.sum(dim=-1, keepdim=True)).log()
    assert Normalization().holds(Normalization().residual(log_w)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_projected_rule_conforms(dtype: torch.dtype) -> None:
    log_w = conforming(entropies(dtype, rows=500))
    for axiom in (Normalization(), Positivity(), BoundedInfluence(0.1, 0.5)):
        assert axiom.holds(axiom.residual(log_w), num_teachers=3).all()
    assert OrdinalSafety(CHAIN, 0.1).holds(OrdinalSafety(CHAIN, 0.1).residual(log_w)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_softmax_is_regular_with_its_constant(dtype: torch.dtype) -> None:
    """softmax(−x): moving x by δ in the sup norm moves log-ratios by at most 2δ, and some pair of rows attains it."""
    x = entropies(dtype, rows=500)["entropy"]
    y = (x + 0.25 * torch.tensor([1.0, -1.0, 1.0])).to(dtype)  # representable steps
    distance = (y.double() - x.double()).abs().amax(dim=-1)
    sides = (by_entropy({"entropy": x}), by_entropy({"entropy": y}))
    assert Regularity(2.0).holds(Regularity(2.0).residual(*sides, distance)).all()
    if dtype != torch.bfloat16:
        assert not Regularity(1.999).holds(Regularity(1.999).residual(*sides, distance)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tiny_weights_in_exact_order_are_not_a_breach(dtype: torch.dtype) -> None:
    log_w = torch.tensor([[0.0, -699.91, -700.11], [0.0, -69.99, -70.09]], dtype=torch.float64)
    axiom = OrdinalSafety(Order(((0,), (1,), (2,))), order_margin=0.1)
    assert axiom.holds(axiom.residual(log_w.to(dtype))).all()


def test_pareto_compatibility_of_the_minimum_norm_weights() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    w0 = ((gradients[1] - gradients[0]) @ gradients[1] / (gradients[1] - gradients[0]).square().sum()).item()
    axiom = ParetoCompatibility()
    for dtype in (torch.float64, torch.float32):
        residual = axiom.residual(torch.tensor([w0, 1 - w0], dtype=dtype), gradients.to(dtype))
        assert axiom.holds(residual, num_teachers=2, scale=1.25).item()


# What does not is rejected ------------------------------------------------------------------------------------------


def scaled(log_w: torch.Tensor, factor: float) -> torch.Tensor:
    return (log_w.double() + math.log(factor)).to(log_w.dtype)


def clipped_and_renormalized(log_w: torch.Tensor) -> torch.Tensor:
    w = log_w.exp().clamp(0.1, 0.5)
    return (w / w.sum(dim=-1, keepdim=True)).log()


def floor_missed(log_w: torch.Tensor, by: float) -> torch.Tensor:
    w = log_w.double().exp()
    w[..., 2] = 0.1 - by
    w[..., 0] = 0.5
    w[..., 1] = 0.4 + by
    return w.log().to(log_w.dtype)


MUTANTS: list[tuple[str, Callable[[], torch.Tensor]]] = []


def mutant(axiom: str) -> Callable[[Callable[[], torch.Tensor]], Callable[[], torch.Tensor]]:
    """Register a function that returns ``axiom.holds(...)`` of a mutant; every entry must be False."""

    def register(build: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        MUTANTS.append((axiom, build))
        return build

    return register


@mutant("W-N")
def nine_tenths_of_the_mass() -> torch.Tensor:
    return Normalization().holds(Normalization().residual(scaled(by_entropy(entropies()), 0.9)))


@mutant("W-N")
def mass_wrong_by_a_millionth_in_float64() -> torch.Tensor:
    return Normalization().holds(Normalization().residual(scaled(by_entropy(entropies()), 1 + 1e-6)))


@mutant("W-N")
def mass_wrong_by_a_hundred_thousandth_in_float32() -> torch.Tensor:
    return Normalization().holds(Normalization().residual(scaled(by_entropy(entropies(torch.float32)), 1 - 1e-5)))


@mutant("W-N")
def entropy_rule_whose_weights_sum_to_k_minus_one() -> torch.Tensor:
    h = entropies()["entropy"]
    return Normalization().holds(Normalization().residual((1 - h / h.sum(dim=-1, keepdim=True)).log()))


@mutant("W-N")
def nan_weights() -> torch.Tensor:
    return Normalization().holds(Normalization().residual(torch.full((2, 3), math.nan)))


@mutant("W-P")
def one_hot() -> torch.Tensor:
    return Positivity().holds(Positivity().residual(torch.tensor([[0.0, -math.inf, -math.inf]])))


@mutant("W-P")
def nan_in_one_teacher() -> torch.Tensor:
    return Positivity().holds(Positivity().residual(torch.tensor([[0.0, math.nan]])))


@mutant("W-B")
def clip_and_renormalize_posing_as_projection() -> torch.Tensor:
    log_w = torch.tensor([[0.98, 0.01, 0.01]], dtype=torch.float64).log()
    axiom = BoundedInfluence(0.1, 0.5)
    assert axiom.residual(clipped_and_renormalized(log_w)).item() == pytest.approx(0.214, abs=5e-4)
    return axiom.holds(axiom.residual(clipped_and_renormalized(log_w)), num_teachers=3)


@mutant("W-B")
def floor_missed_by_a_hundred_thousandth_in_float32() -> torch.Tensor:
    log_w = floor_missed(by_entropy(entropies(torch.float32)), 1e-5)
    return BoundedInfluence(0.1, 0.5).holds(BoundedInfluence(0.1, 0.5).residual(log_w))


@mutant("W-B")
def floor_missed_by_a_millionth_in_float64() -> torch.Tensor:
    log_w = floor_missed(by_entropy(entropies()), 1e-6)
    return BoundedInfluence(0.1, 0.5).holds(BoundedInfluence(0.1, 0.5).residual(log_w))


@mutant("W-B")
def unbounded_scores() -> torch.Tensor:
    log_w = by_entropy({"entropy": torch.tensor([[0.0, 12.0, 12.0]])})
    return BoundedInfluence(0.1).holds(BoundedInfluence(0.1).residual(log_w))


@mutant("W-R")
def hard_switch() -> torch.Tensor:
    x = torch.tensor([[1.0, 1.0 + 1e-7, 2.0], [3.0, 3.0 - 1e-7, 4.0]], dtype=torch.float64)
    y = x.clone()
    y[:, 1] = x[:, 0] + (x[:, 0] - x[:, 1])

    def switch(h: torch.Tensor) -> torch.Tensor:
        return (0.1 + 0.7 * torch.nn.functional.one_hot(h.argmin(dim=-1), 3).double()).log()

    axiom = Regularity(100.0)
    return axiom.holds(axiom.residual(switch(x), switch(y), (x - y).abs().amax(dim=-1)))


@mutant("W-R")
def a_constant_understated_by_a_millionth() -> torch.Tensor:
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    y = x + torch.tensor([0.5, -0.5])
    axiom = Regularity(2.0 - 1e-6)
    return axiom.holds(axiom.residual(by_entropy({"entropy": x}), by_entropy({"entropy": y}), 0.5))


@mutant("W-S")
def anti_ordered_scores() -> torch.Tensor:
    log_w = torch.log_softmax(torch.arange(3.0), dim=-1).expand(4, 3)
    return OrdinalSafety(CHAIN).holds(OrdinalSafety(CHAIN).residual(log_w))


@mutant("W-S")
def a_margin_missed_by_a_millionth() -> torch.Tensor:
    axiom = OrdinalSafety(CHAIN, 0.5)
    return axiom.holds(axiom.residual(torch.tensor([[0.0, -0.5 + 1e-6, -1.0]], dtype=torch.float64)))


@mutant("W-S")
def the_safest_teacher_silenced() -> torch.Tensor:
    return OrdinalSafety(CHAIN).holds(OrdinalSafety(CHAIN).residual(torch.tensor([[-math.inf, 0.0, -1.0]])))


@mutant("W-S")
def nan_in_the_middle() -> torch.Tensor:
    return OrdinalSafety(CHAIN).holds(OrdinalSafety(CHAIN).residual(torch.tensor([[0.0, math.nan, -1.0]])))


@mutant("W-C")
def the_mean_of_conflicting_gradients() -> torch.Tensor:
    gradients = torch.tensor([[4.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    axiom = ParetoCompatibility()
    return axiom.holds(
        axiom.residual(torch.tensor([0.5, 0.5], dtype=torch.float64), gradients), num_teachers=2, scale=16.0
    )


def function_of_its_row(
    operator: Callable[[Features], torch.Tensor], dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return FunctionOfItsRow().holds(FunctionOfItsRow().residual(operator, entropies(dtype)), num_teachers=3)


@mutant("W-F")
def biased_by_the_rows_index() -> torch.Tensor:
    def biased(features: Features) -> torch.Tensor:
        h = features["entropy"]
        return torch.log_softmax(-h + 1e-3 * torch.arange(len(h))[:, None] * torch.tensor([1.0, 0.0, 0.0]), dim=-1)

    # Row 0 has no bias where it stands, but gets one where it is moved to.
    return function_of_its_row(biased)


@mutant("W-F")
def coupled_through_the_batch_mean() -> torch.Tensor:
    return function_of_its_row(
        lambda f: torch.log_softmax(-f["entropy"] * (1 + 1e-3 * f["entropy"].mean()), dim=-1), torch.float32
    )


@mutant("W-F")
def coupled_to_the_batch_size() -> torch.Tensor:
    return function_of_its_row(lambda f: torch.log_softmax(-f["entropy"] / len(f["entropy"]) ** 0.01, dim=-1))[:1]


@mutant("W-F")
def leaning_on_the_previous_row() -> torch.Tensor:
    return function_of_its_row(lambda f: torch.log_softmax(-f["entropy"] - 1e-6 * f["entropy"].roll(1, dims=0), dim=-1))


@mutant("W-F")
def noisy() -> torch.Tensor:
    return function_of_its_row(
        lambda f: torch.log_softmax(-f["entropy"] + 1e-3 * torch.randn_like(f["entropy"]), dim=-1)
    )


@mutant("W-F")
def remembering() -> torch.Tensor:
    calls = itertools.count()
    return function_of_its_row(
        lambda f: torch.log_softmax(-f["entropy"] * (1 + 1e-3 * next(calls)), dim=-1), torch.float32
    )


@mutant("W-F")
def dropping_the_batch_axis_of_one_row() -> torch.Tensor:
    return function_of_its_row(lambda f: torch.log_softmax(-f["entropy"], dim=-1).squeeze())[:1]


@mutant("W-F")
def not_a_number() -> torch.Tensor:
    return function_of_its_row(lambda f: torch.full_like(f["entropy"], math.nan))


@pytest.mark.parametrize(("axiom", "build"), MUTANTS, ids=[build.__name__ for _, build in MUTANTS])
def test_the_mutant_is_rejected(axiom: str, build: Callable[[], torch.Tensor]) -> None:
    verdict = build()
    assert verdict.dtype == torch.bool
    assert verdict.numel() > 0
    assert not verdict.any()


def test_every_axiom_has_a_mutant_and_a_statement() -> None:
    assert set(AXIOMS) == {axiom for axiom, _ in MUTANTS} == {"W-F", "W-N", "W-P", "W-B", "W-R", "W-S", "W-C"}
    for name, axiom in AXIOMS.items():
        assert axiom.id == name
        assert axiom.name
        assert axiom.statement
        assert "\n" not in axiom.statement
        assert inspect.getdoc(axiom)
