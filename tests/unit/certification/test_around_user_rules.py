"""Schemes around a user's rule: its code is bounded, the calculus goes on from there, and no word is too strong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bank.verified import VERIFIED, Bounded
from tiers import first
from trivium.certification import Specification, certify, recheck
from trivium.certification.around import derive_around
from trivium.certification.calculus import derive
from trivium.certification.verify import bounded_leaf
from trivium.scheme import ClampInfluence, Product, Project, compose
from trivium.simplex.conforming import ConformingSet
from trivium.training.build import build_scheme
from trivium.training.recipe import load_recipe
from trivium.weighting import Margin, UserRule, rule

ROOT = Path(__file__).resolve().parents[3]


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def gentle(entropy: Tensor) -> Tensor:
    return torch.softmax(-0.3 * entropy, dim=-1)


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def sorted_out(entropy: Tensor) -> Tensor:
    return torch.softmax(-0.3 * torch.fft.fft(entropy).real, dim=-1)


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def silent(entropy: Tensor) -> Tensor:
    return torch.where(entropy > 11.0, torch.zeros_like(entropy), entropy + 1.0)


def verdicts(operator: object, specification: Specification) -> dict[str, str]:
    return {f.axiom: f.verdict for f in certify(operator, specification, seconds=0.3).results}  # type: ignore[arg-type]


def test_the_bounds_of_a_softmax_are_exact() -> None:
    known = bounded_leaf(gentle, 3)
    assert known is not None
    assert known.influence == pytest.approx(3.6)
    assert known.total_lipschitz == pytest.approx(0.6)


@pytest.mark.parametrize("leaf", [sorted_out, silent], ids=lambda leaf: leaf.name)
def test_a_rule_that_is_not_bounded_and_positive_gives_none(leaf: UserRule) -> None:
    assert bounded_leaf(leaf, 3) is None
    assert derive_around(ClampInfluence(leaf, 1.0), 3) is None


def test_what_follows_from_bounded_code_is_verified_and_not_proved() -> None:
    scheme = compose(["a", "b", "c"], token=[gentle, Margin()], floor=0.01)
    assert verdicts(scheme, Specification(3, floor=0.01, lipschitz=2.7)) == {
        "W-F": "PROVED",
        "W-N": "PROVED",
        "W-P": "PROVED",
        "W-B": "PROVED",
        "W-R": "VERIFIED",
    }


def test_a_product_without_a_projection_is_verified_by_its_bounds() -> None:
    operator = Product((gentle, Margin()))
    assert not derive(operator, 3).informative
    found = verdicts(operator, Specification(3, influence=4.7, lipschitz=2.7))
    assert found == {a: "PROVED" if a == "W-F" else "VERIFIED" for a in found}
    assert verdicts(operator, Specification(3, influence=4.5))["W-B"] == "VIOLATED"


def test_a_rule_that_cannot_be_bounded_keeps_the_weaker_word() -> None:
    found = certify(ClampInfluence(sorted_out, 2.0), Specification(3, influence=2.0), seconds=0.3)
    by_axiom = {f.axiom: f for f in found.results}
    assert by_axiom["W-F"].verdict == "NOT FALSIFIED"
    assert by_axiom["W-B"].verdict == "PROVED"
    assert "wherever sorted_out(entropy)" in by_axiom["W-B"].where


def test_coupling_inside_a_scheme_is_found() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def by_rank_in_batch(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy / (1 + entropy.std()), dim=-1)

    scheme = Project(ClampInfluence(by_rank_in_batch, 3.0), ConformingSet(3, 0.01))
    assert verdicts(scheme, Specification(3, floor=0.01))["W-F"] == "VIOLATED"


@pytest.mark.parametrize("case", first(VERIFIED, 5), ids=lambda case: case.name)
def test_sampled_rows_never_exceed_the_bounds_of_a_leaf(case: Bounded) -> None:
    leaf, teachers = case.make(), case.specification.num_teachers
    known = bounded_leaf(leaf, teachers)
    if known is None:
        pytest.skip("not positive on its whole box, or not bounded")
    generator = torch.Generator().manual_seed(0)
    rows, u, v = 4000, {}, {}
    for name, interval in leaf.ranges.items():
        width, span = interval.width(teachers), interval.high - interval.low
        unit = torch.rand(rows, width, generator=generator, dtype=torch.float64)
        unit[::3] = unit[::3].round()
        step = 10 ** (-6 * torch.rand(rows, 1, generator=generator, dtype=torch.float64))
        moved = (unit + step * (2 * torch.rand(rows, width, generator=generator, dtype=torch.float64) - 1)).clamp(0, 1)
        u[name], v[name] = interval.low + span * unit, interval.low + span * moved
        if interval.integer:
            u[name], v[name] = u[name].round(), v[name].round()
    log_u, log_v = leaf.log_weights(u), leaf.log_weights(v)
    ratio = log_u.unsqueeze(-1) - log_u.unsqueeze(-2)
    assert (known.log_ratio - ratio).max() <= 1e-9 * (1 + ratio.abs().max())
    moved = log_u - log_v
    apart = torch.stack([(u[name] - v[name]).abs().amax(-1) for name in u]).amax(0)
    steepest = max(known.lipschitz.values())
    assert ((moved.amax(-1) - moved.amin(-1)) <= steepest * apart + 1e-9).all()


@pytest.mark.deep
def test_the_example_around_a_users_rule_leaves_nothing_searched_only() -> None:
    folder = ROOT / "examples" / "own_rule"
    scheme = build_scheme(load_recipe(folder / "recipe.yaml"), folder)
    certificate = certify(scheme, Specification(3, scheme.teacher_names, floor=0.001), seconds=0.3)
    assert {f.verdict for f in certificate.results} <= {"PROVED", "VERIFIED"}
    assert certificate.constants is not None
    assert certificate.constants.influence == pytest.approx(6.6)
    assert recheck(certificate, scheme) == []
