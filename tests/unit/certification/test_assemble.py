"""Which word is given: that of the proof only where the search agrees with it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from trivium.certification import Result, Specification, certify, claims, recheck
from trivium.certification.assemble import judge
from trivium.certification.calculus import derive
from trivium.errors import InputError, RuleError
from trivium.scheme import Project, compose
from trivium.scheme.words import least, most
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.constants import Constants, bounded
from trivium.weighting import DomainMap, Entropy, Margin, PrefixPosterior, Rule, Skill, Static, rule
from trivium.weighting.features import Range


def found(specification: Specification, **verdicts: str) -> dict[str, Result]:
    asked = {axiom: Result(axiom, "NOT FALSIFIED", -1.0, search="stub") for axiom in specification.axioms}
    given = {axiom.replace("_", "-"): verdict for axiom, verdict in verdicts.items()}
    return {**asked, **{a: Result(a, v, 1.0, search="stub") for a, v in given.items()}}  # type: ignore[arg-type]


def words(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.axiom: result.verdict for result in results}


def test_proved_where_the_calculus_proves_and_the_search_agrees() -> None:
    specification = Specification(3, floor=0.1)
    assert set(words(judge(derive(Margin(), 3), specification, found(specification))).values()) == {"PROVED"}


def test_a_breach_that_was_seen_outweighs_a_proof() -> None:
    specification = Specification(3, floor=0.1)
    results = judge(derive(Margin(), 3), specification, found(specification, W_B="VIOLATED"))
    assert words(results)["W-B"] == "VIOLATED"
    assert "declared constants" in results[-1].derivation[-1]
    assert words(results)["W-N"] == "PROVED"


def test_a_broken_constant_is_a_finding_and_takes_every_proof_back() -> None:
    specification = Specification(3, floor=0.1)
    broken = {"constants.log_ratio": Result("constants.log_ratio", "VIOLATED", 1.0)}
    results = words(judge(derive(Margin(), 3), specification, {**found(specification), **broken}))
    assert results["constants.log_ratio"] == "VIOLATED"
    assert "PROVED" not in results.values()


def test_a_loose_bound_leaves_the_word_to_the_search_and_says_what_was_derived() -> None:
    specification = Specification(3, floor=0.2)
    result = judge(derive(Margin(), 3), specification, found(specification))[-1]
    assert result.verdict == "NOT FALSIFIED"
    assert "derived floor 0.1553 < 0.2" in result.derivation[0]


def test_the_condition_under_which_a_projection_holds_is_written_down() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def mine(entropy: Tensor) -> Tensor:
        return entropy + 1

    specification = Specification(2, floor=0.1)
    result = judge(derive(Project(mine, ConformingSet(2, 0.1)), 2), specification, found(specification))[-1]
    assert result.verdict == "PROVED"
    assert "wherever mine(entropy) returns numbers" in result.where


class Boastful(Rule):
    """Declares an influence of 1 nat and reaches 3."""

    name, scale, ranges = "boastful", "token", {"entropy": Range(0.0, 1.0)}

    def log_weights(self, features: Mapping[str, Tensor]) -> Tensor:
        return torch.log_softmax(-3.0 * features["entropy"], dim=-1)

    def formula(self) -> str:
        return "boastful"

    def constants(self, num_teachers: int) -> Constants:
        return bounded(num_teachers, 1.0, {"entropy": 6.0})


def test_false_declared_constants_are_found_and_nothing_is_proved_from_them() -> None:
    certificate = certify(Boastful(), Specification(3, influence=1.0), seconds=0.3)
    assert "PROVED" not in words(certificate.results).values()
    assert words(certificate.results)["W-B"] == "VIOLATED"
    assert {axiom for axiom in words(certificate.results) if axiom.startswith("constants.")}
    assert recheck(certificate, Boastful(), seconds=0.3) == []


@pytest.mark.parametrize(
    "operator",
    [Entropy(), Margin(), Skill(), Static((1.0, 2.0, 3.0)), PrefixPosterior(), DomainMap((0, 1, 2))],
    ids=lambda operator: operator.name,
)
def test_built_in_rules_are_proved_to_keep_what_they_claim(operator: Rule) -> None:
    certificate = certify(operator, claims(operator, 3), seconds=0.2)
    assert set(words(certificate.results).values()) == {"PROVED"}
    assert {"W-B", "W-R"} <= set(certificate.specification.axioms)


def test_a_whole_scheme_is_proved_to_keep_what_it_claims() -> None:
    scheme = compose(
        ["python", "prose", "cpp"],
        token=[Entropy(budget=1.0), (Margin(), 0.5)],
        task=[Skill()],
        context=[PrefixPosterior()],
        budget={"token": 1.0, "task": 1.0, "context": 4.0},
        floor=0.02,
        cap=0.95,
        order="python>prose=cpp",
    )
    certificate = certify(scheme, claims(scheme, 3, scheme.teacher_names), seconds=0.3)
    assert words(certificate.results) == dict.fromkeys(["W-F", "W-N", "W-P", "W-B", "W-R", "W-S"], "PROVED")
    assert certificate.kind == "scheme"
    assert certificate.specification.floor == 0.02
    assert any("T3: influence adds: 1 + 1 + 4 = 6 nats" in line for line in certificate.derivation)
    assert recheck(certificate, scheme) == []


def test_a_rule_that_declares_nothing_claims_nothing() -> None:
    @rule(scale="token", features={"margin": (0.0, 1.0)})
    def mine(margin: Tensor) -> Tensor:
        return torch.softmax(margin, dim=-1)

    for num_teachers in (1, 2):
        assert claims(mine, num_teachers).axioms == ("W-F", "W-N", "W-P")
    assert claims(Project(mine, ConformingSet(2, 0.1)), 2).axioms == ("W-F", "W-N", "W-P", "W-B")


def test_a_rule_that_raises_is_named_with_its_reason() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def two_only(entropy: Tensor) -> Tensor:
        first, second = entropy.unbind(-1)
        return torch.stack([first, second], -1)

    with pytest.raises(RuleError, match=r"two_only.*3 teachers.*too many values") as caught:
        certify(two_only, Specification(3), seconds=0.1)
    assert "\n" not in str(caught.value)


def test_checking_again_notices_another_operator_and_a_stronger_word() -> None:
    certificate = certify(Margin(), Specification(3, floor=0.1), seconds=0.1)
    assert any("formula" in reason for reason in recheck(certificate, Margin(strength=2.0)))

    @rule(scale="token", features={"margin": (0.0, 1.0)})
    def mine(margin: Tensor) -> Tensor:
        return torch.softmax(margin, dim=-1)

    searched = certify(mine, Specification(3), seconds=0.1)
    forged = searched.model_copy(
        update={"results": tuple(Result(f.axiom, "PROVED", f.residual) for f in searched.results)}
    )
    reasons = recheck(forged, mine)
    assert sum("says PROVED, checked again it is VERIFIED" in reason for reason in reasons) == 2
    assert "W-F: its derivation is not as computed again" in reasons


def test_checking_again_notices_a_witness_that_breaks_nothing_and_a_missing_one() -> None:
    @rule(scale="token", features={"margin": (0.0, 1.0)})
    def short(margin: Tensor) -> Tensor:
        return 0.9 * torch.softmax(margin, dim=-1)

    @rule(scale="token", features={"margin": (0.0, 1.0)})
    def fine(margin: Tensor) -> Tensor:
        return torch.softmax(margin, dim=-1)

    fine.name = "short"
    certificate = certify(short, Specification(2), seconds=0.1)
    assert recheck(certificate, short) == []
    assert any("the program of short(margin) is not as captured now" in r for r in recheck(certificate, fine))
    assert any("breaks nothing" in reason for reason in recheck(certificate, fine))
    bare = certificate.model_copy(update={"results": (Result("W-N", "VIOLATED", 0.1), *certificate.results[1:])})
    assert any("without a witness" in reason for reason in recheck(bare, short))


def test_a_denormal_number_is_still_printed() -> None:
    assert most(1e-320)
    assert least(5e-324) is not None


def test_a_question_and_bounds_beside_it_are_refused() -> None:
    with pytest.raises(InputError, match="ready made"):
        certify(Margin(), Specification(2), floor=0.2)
