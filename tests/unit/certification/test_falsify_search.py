"""``falsify`` and ``replay`` as their callers see them."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch
from torch import Tensor

from tiers import first
from trivium.certification.falsify import falsify, replay
from trivium.certification.specification import Specification, Witness
from trivium.errors import InputError
from trivium.scheme.clamp_influence import ClampInfluence
from trivium.scheme.product import Product
from trivium.scheme.scheme import compose
from trivium.simplex.constants import bounded
from trivium.simplex.order import Order
from trivium.weighting.base import Operator, Rule, rule
from trivium.weighting.context.domain_map import DomainMap
from trivium.weighting.context.posterior import PrefixPosterior
from trivium.weighting.task.skill import Skill
from trivium.weighting.task.static import Static
from trivium.weighting.token.entropy import Entropy
from trivium.weighting.token.gap import Gap

ENTROPY = {"entropy": (0.0, 12.0)}
FAST = 0.5


@rule(scale="token", features=ENTROPY)
def plain(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy, dim=-1)


@rule(scale="token", features=ENTROPY)
def stepped(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy + 0.5 * (entropy > 4.75), dim=-1)


def stored(witness: Witness | None) -> Witness:
    assert witness is not None
    return Witness.from_json(json.loads(json.dumps(witness.to_json())))


def test_a_finding_for_each_axiom_asked_and_no_other() -> None:
    asked = Specification(2, floor=1e-6, lipschitz=2.0, order=Order(((0, 1),)))
    found = falsify(plain, asked, seconds=FAST)
    assert tuple(found) == ("W-F", "W-N", "W-P", "W-B", "W-R", "W-S")
    assert {result.verdict for result in found.values()} == {"NOT FALSIFIED"}
    for result in found.values():
        # An order of one tier has no pairs, so nothing could be computed for it.
        assert (result.residual is None) == (result.axiom == "W-S")
        assert result.residual is None or result.residual <= result.tolerance
        assert "rows in" in result.search
        assert "seed 0" in result.search


@pytest.mark.deep
def test_same_seed_same_findings_and_no_trace_in_the_random_state() -> None:
    torch.manual_seed(11)
    random.seed(11)
    before, python = torch.get_rng_state(), random.getstate()
    asked = Specification(3, lipschitz=2.0)
    one, two = (falsify(stepped, asked, seconds=FAST, seed=4) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())
    assert python == random.getstate()


def test_witness_of_a_jump_is_simple_and_replays_to_the_bit() -> None:
    result = falsify(stepped, Specification(2, lipschitz=2.0), seconds=FAST)["W-R"]
    assert result.verdict == "VIOLATED"
    assert result.residual == pytest.approx(1.0, abs=1e-6)  # one teacher up, the other down
    witness = stored(result.witness)
    assert replay(stepped, witness) == witness.residual > 0
    assert max(len(repr(x)) for x in witness.features["entropy"][0]) <= 6
    assert "are allowed" in witness.note


def test_witness_no_longer_breaks_a_repaired_rule() -> None:
    witness = falsify(stepped, Specification(2, lipschitz=2.0), seconds=FAST)["W-R"].witness
    assert witness is not None
    assert replay(plain, witness) <= 0


BUILT_IN: list[Rule] = [
    Entropy(),
    Gap(budget=2.0),
    Skill(strength=0.5),
    Static((3.0, 2.0, 1.0)),
    DomainMap((2, 0, -1), budget=3.0),
    PrefixPosterior(budget=4.0, prior=(0.5, 0.3, 0.2)),
]


@pytest.mark.parametrize("operator", first(BUILT_IN, 2), ids=lambda operator: operator.name)
def test_built_in_rules_keep_what_they_declare(operator: Rule) -> None:
    declared = operator.constants(3)
    assert declared is not None
    found = falsify(operator, Specification(3), seconds=FAST, constants=declared)
    assert list(found)[-3:] == ["constants.influence", "constants.log_ratio", "constants.lipschitz"]
    assert {axiom: f.witness for axiom, f in found.items() if f.verdict != "NOT FALSIFIED"} == {}


def test_a_scheme_keeps_floor_cap_and_order() -> None:
    scheme = compose(
        ["a", "b", "c"], token=[Entropy()], context=[DomainMap((0, 1, 2))], floor=0.05, cap=0.8, order="a>b>c"
    )
    asked = Specification(3, floor=0.05, cap=0.8, order=Order(((0,), (1,), (2,))))
    found = falsify(scheme, asked, seconds=FAST)
    assert {axiom: f.witness for axiom, f in found.items() if f.verdict != "NOT FALSIFIED"} == {}


@pytest.mark.parametrize(
    ("operator", "constants", "broken"),
    [
        (Entropy(budget=3.0), bounded(3, 2.9, {"entropy": 2.0}), {"constants.influence", "constants.log_ratio"}),
        (Entropy(budget=3.0), bounded(3, 3.0, {"entropy": 1.9}), {"constants.lipschitz"}),
        (Product((Entropy(), Gap())), bounded(3, 14.0, {"entropy": 2.0}), {"constants.lipschitz"}),
        (ClampInfluence(Entropy(), 1.0), bounded(3, 1.0, {"entropy": 2.0}), set()),
    ],
)
def test_wrong_constants_are_refuted(operator: Operator, constants: object, broken: set[str]) -> None:
    found = falsify(operator, Specification(3), seconds=FAST, constants=constants)  # type: ignore[arg-type]
    assert {axiom for axiom, result in found.items() if result.verdict == "VIOLATED"} == broken
    for axiom in broken:
        assert replay(operator, stored(found[axiom].witness), constants) > 0  # type: ignore[arg-type]


def test_replay_takes_a_rules_own_constants() -> None:
    witness = falsify(Entropy(), Specification(2), seconds=FAST, constants=bounded(2, 1.0, {"entropy": 2.0}))
    against = stored(witness["constants.influence"].witness)
    assert replay(Entropy(), against) <= 1e-9
    with pytest.raises(InputError, match="declared constants"):
        replay(plain, against)


def test_replay_refuses_what_it_cannot_evaluate() -> None:
    witness = falsify(stepped, Specification(2, lipschitz=2.0), seconds=FAST)["W-R"].witness
    assert witness is not None
    with pytest.raises(InputError, match="features"):
        replay(Gap(), witness)
    with pytest.raises(InputError, match="question"):
        replay(stepped, Witness("W-N", witness.features, None, "float64", 2, 1.0, ""))


def test_a_rule_that_always_raises_is_defined_nowhere() -> None:
    @rule(scale="token", features=ENTROPY)
    def broken(entropy: Tensor) -> Tensor:
        raise KeyError("no such teacher")

    found = falsify(broken, Specification(3, lipschitz=1.0, floor=0.1), seconds=0.1)
    assert found["W-N"].verdict == "VIOLATED"
    witness = stored(found["W-N"].witness)
    assert "KeyError" in witness.note
    assert witness.breaks(replay(broken, witness))
    assert found["W-R"].verdict == "NOT FALSIFIED"


def test_a_rule_over_fewer_teachers_is_no_rule_for_three() -> None:
    @rule(scale="context", features={"domain": (0, 3, True, True)})
    def two(domain: Tensor) -> Tensor:
        return torch.cat([domain * 0 + 0.5, domain * 0 + 0.5], dim=-1)

    assert falsify(two, Specification(3), seconds=0.1)["W-N"].verdict == "VIOLATED"
    assert falsify(two, Specification(2), seconds=0.1)["W-N"].verdict == "NOT FALSIFIED"


def test_other_numbers_of_teachers_are_asked_unless_told_otherwise() -> None:
    @rule(scale="token", features=ENTROPY)
    def spread(entropy: Tensor) -> Tensor:
        return torch.softmax(-(entropy - entropy.mean(-1, keepdim=True)) / (1 + entropy.std(-1, keepdim=True)), dim=-1)

    result = falsify(spread, Specification(3), seconds=FAST)["W-N"]
    witness = stored(result.witness)
    assert (witness.num_teachers, witness.residual) == (1, math.inf)
    assert witness.breaks(replay(spread, witness))
    assert falsify(spread, Specification(3), seconds=FAST, other_teachers=False)["W-N"].verdict == "NOT FALSIFIED"


@pytest.mark.deep
def test_sixteen_teachers_and_one() -> None:
    for num_teachers in (1, 16):
        found = falsify(plain, Specification(num_teachers, lipschitz=2.0), seconds=FAST)
        assert {result.verdict for result in found.values()} == {"NOT FALSIFIED"}


def test_a_rule_without_features_is_refuted_with_a_witness_that_replays() -> None:
    fixed, specification = Static((8.0, 1.0)), Specification(2, floor=0.2)
    result = falsify(fixed, specification, seconds=0.2)["W-B"]
    assert result.verdict == "VIOLATED"
    assert result.witness is not None
    assert replay(fixed, result.witness) == pytest.approx(0.2 - 1 / 9)


def test_a_replay_shows_again_what_the_rows_beside_do_to_a_rule_without_a_graph() -> None:
    """Without a capture only rows put beside each other show it; catches a replay that asks the graph alone."""

    @rule(scale="token", features=ENTROPY)
    def coupled(entropy: Tensor) -> Tensor:
        strength = 1.0 if float(entropy.reshape(-1)[0]) < 0 else 1.0 + float(entropy.mean())
        return torch.softmax(-strength * entropy, dim=-1)

    found = falsify(coupled, Specification(3), seconds=FAST)["W-F"]
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert found.witness.breaks(replay(coupled, found.witness))
