"""W-C asked of operators: proved of the shortest mean, refuted with gradients of everything else, and replayed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trivium.axioms import ParetoCompatibility
from trivium.certification import Certificate, Specification, as_markdown, certify, claims, load, recheck
from trivium.certification.calculus import derive
from trivium.certification.decisions import decide
from trivium.certification.falsify import falsify, replay
from trivium.certification.page import asked, rows
from trivium.certification.specification import Result, Witness
from trivium.certification.verify import verify
from trivium.scheme import ClampInfluence, Power, Product, compose
from trivium.simplex.min_norm import min_norm_weights
from trivium.simplex.semidefinite import nearest_psd
from trivium.testing import parametrize_with_axioms
from trivium.testing.checks import Check, checks
from trivium.weighting import AEKD, Entropy, Operator, Static, TorchJD, rule

SECONDS = 0.3


@pytest.fixture(scope="module")
def capped() -> Certificate:
    """Of the published AEKD, which W-C refutes."""
    return certify(AEKD(), Specification(2, pareto=True), seconds=SECONDS)


def result(certificate: Certificate, axiom: str = "W-C") -> Result:
    return next(found for found in certificate.results if found.axiom == axiom)


def ask(operator: Operator, num_teachers: int, **bounds: float) -> Result:
    return result(certify(operator, Specification(num_teachers, pareto=True, **bounds), seconds=SECONDS))  # type: ignore[arg-type]


def slope(witness: Witness, weights: torch.Tensor) -> float:
    """min_k ⟨g_k, Σ_j w_j g_j⟩ at the gradients of a witness, from scratch."""
    k = witness.num_teachers
    flat = torch.tensor(witness.features["gram"][witness.row], dtype=torch.float64)
    return float((nearest_psd(flat.clamp(-2, 2)).view(k, k) @ weights.double()).min())


def test_it_is_asked_last_and_only_when_wanted() -> None:
    assert "W-C" not in Specification(3).axioms
    assert Specification(3, floor=0.1, pareto=True).axioms == ("W-F", "W-N", "W-P", "W-B", "W-C")


@pytest.mark.parametrize("num_teachers", [2, 3])
def test_the_shortest_mean_keeps_it_and_no_search_breaks_it(num_teachers: int) -> None:
    found = ask(AEKD(cap=1.0), num_teachers)
    assert found.verdict == "PROVED"
    assert "⟨ḡ_k, ḡ⟩ ≥ ‖ḡ‖²" in found.derivation[0]


def test_a_cap_breaks_it_with_gradients_that_replay(capped: Certificate) -> None:
    operator, found = AEKD(cap=0.6), result(capped)
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert found.witness.residual > 0.01
    assert replay(operator, found.witness) == pytest.approx(found.witness.residual, rel=1e-6)
    gram = torch.tensor(found.witness.features["gram"], dtype=torch.float64)
    weights = operator.log_weights({"gram": gram})[0].exp()
    assert slope(found.witness, weights) == pytest.approx(-found.witness.residual, rel=1e-6)


def test_a_budget_over_the_shortest_mean_loses_it_and_keeps_the_rest() -> None:
    operator = ClampInfluence(AEKD(cap=1.0), 4.0)
    certificate = certify(operator, Specification(2, influence=4.0, pareto=True), seconds=SECONDS)
    assert {f.axiom: f.verdict for f in certificate.results} == {
        **dict.fromkeys(("W-F", "W-N", "W-P", "W-B"), "PROVED"),
        "W-C": "VIOLATED",
    }


def test_no_wrapper_claims_it() -> None:
    part = AEKD(cap=1.0)
    assert decide(derive(part, 3), Specification(3, pareto=True))["W-C"].proved
    for operator in (ClampInfluence(part, 3.0), Power(part, 2.0), Product((part, part))):
        assert not decide(derive(operator, 3), Specification(3, pareto=True))["W-C"].proved


@pytest.mark.parametrize("operator", [Entropy(budget=2.0), Static((3.0, 1.0))])
def test_an_operator_that_reads_no_gradients_breaks_it_beside_some(operator: Operator) -> None:
    found = ask(operator, 2)
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert set(found.witness.features) == {*operator.ranges, "gram"}
    assert replay(operator, found.witness) == pytest.approx(found.witness.residual, rel=1e-6)
    assert "⟨g_j, g_k⟩" in found.witness.note


def test_one_teacher_cannot_break_it() -> None:
    assert ask(Entropy(), 1).verdict == "PROVED"
    assert ask(Static(), 1).verdict == "PROVED"


def test_asking_it_does_not_weaken_the_other_answers() -> None:
    with_it = certify(Entropy(budget=2.0), Specification(3, influence=2.0, pareto=True), seconds=SECONDS)
    assert {f.verdict for f in with_it.results if f.axiom != "W-C"} == {"PROVED"}

    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def mixed(entropy: torch.Tensor) -> torch.Tensor:
        return 0.85 * torch.softmax(-entropy.clamp(max=4.0), dim=-1) + 0.05

    certificate = certify(mixed, Specification(3, floor=0.05, pareto=True), seconds=1.0)
    assert result(certificate, "W-B").verdict == "VERIFIED"
    assert result(certificate).verdict == "VIOLATED"
    assert verify(mixed, Specification(3, pareto=True))["W-C"].verdict == "NOT FALSIFIED"


def test_a_rule_of_gradients_that_a_user_wrote_is_searched() -> None:
    @rule(scale="task", features=["gram"])
    def shortest_of_two(gram: torch.Tensor) -> torch.Tensor:
        return min_norm_weights(gram.unflatten(-1, (2, 2))).to(gram)

    @rule(scale="task", features=["gram"])
    def longest(gram: torch.Tensor) -> torch.Tensor:
        return torch.softmax(5 * gram[..., [0, 3]], dim=-1)

    specification = Specification(2, pareto=True)
    assert falsify(longest, specification, seconds=SECONDS)["W-C"].verdict == "VIOLATED"
    assert falsify(shortest_of_two, specification, seconds=SECONDS)["W-C"].verdict == "NOT FALSIFIED"


@pytest.mark.deep
def test_torchjd_misses_its_promise_by_its_regularization_and_says_so() -> None:
    # A solver in Python is opaque and costs 0.2 ms a row.
    found = result(certify(TorchJD("dualproj"), Specification(2, pareto=True), seconds=2.0))
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert 0 < found.witness.residual < 1e-3  # 1e-4·tr G·max v, with tr G of about 4


def test_a_scheme_asks_of_its_whole() -> None:
    alone = compose(["a", "b"], task=[AEKD(cap=1.0)])
    assert decide(derive(alone, 2), Specification(2, pareto=True))["W-C"].proved
    assert claims(alone, 2).pareto
    bounded = compose(["a", "b"], task=[AEKD(cap=1.0)], floor=0.1)
    assert not claims(bounded, 2).pareto
    assert falsify(bounded, Specification(2, pareto=True), seconds=SECONDS)["W-C"].verdict == "VIOLATED"


def test_the_certificate_keeps_and_rechecks_it(capped: Certificate, tmp_path: object) -> None:
    path = f"{tmp_path}/c.json"
    capped.write(path)
    again = load(path)
    assert again.specification.pareto
    assert again.results == capped.results
    moved = dataclasses.replace(result(again).witness, features={"gram": [[1.0, 0.0, 0.0, 1.0]]})  # type: ignore[type-var]
    tampered = dataclasses.replace(result(again), witness=moved)
    others = tuple(f for f in again.results if f.axiom != "W-C")
    broken = again.model_copy(update={"results": (*others, tampered)})
    assert recheck(broken, AEKD()) == ["W-C: the witness breaks nothing (residual -0.5)"]


def test_the_page_tells_it(capped: Certificate) -> None:
    row = next(row for row in rows(capped) if row.axiom == "W-C")
    assert row.verdict == "VIOLATED"
    assert row.asked == asked("W-C", capped.specification) == "raises no teacher's loss to first order"
    assert "| W-C |" in as_markdown(capped)
    silent = next(row for row in rows(certify(Entropy(), Specification(2), seconds=SECONDS)) if row.axiom == "W-C")
    assert (silent.asked, "--pareto" in silent.where) == ("not asked", True)


def test_float32_rounding_is_no_breach() -> None:
    axiom = ParetoCompatibility()
    for seed in range(200):
        g = torch.randn(3, 1 + seed % 3, generator=torch.Generator().manual_seed(seed))
        gram = g @ g.T / g.square().sum(-1).max()
        weights = AEKD(cap=1.0).log_weights({"gram": gram.flatten()}).exp()
        residual = float(axiom.residual_of_gram(weights, gram))
        assert residual <= axiom.tolerance_of_gram(torch.float32, 3, 1.0)


@parametrize_with_axioms([AEKD(cap=1.0)], num_teachers=2, seconds=SECONDS)
def test_the_kit_asks_it_of_a_rule_that_claims_it(check: Check) -> None:
    if check.axiom != "W-P":  # a weight may be zero, see the catalogue
        check()


@pytest.mark.deep
def test_the_kit_asks_it_when_told() -> None:
    assert "entropy-W-C" in [check.id for check in checks([Entropy()], num_teachers=2, pareto=True)]
    broken = next(c for c in checks([Entropy()], num_teachers=2, pareto=True, seconds=SECONDS) if c.axiom == "W-C")
    with pytest.raises(AssertionError, match="W-C"):
        broken()
