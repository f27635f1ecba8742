"""What a captured graph shows of W-F, and what a certificate says of it.

Catches a line that says more than the graph holds: an operation that is taken for exact and is rounded by the batch, a
comparison of rounded numbers that is not named, a rule that is one function on a row and another on a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.certification import Specification, certify, derive
from trivium.certification.function_form import DTYPES, exact, form_of, packet
from trivium.certification.listing import SHOWN, recorded
from trivium.errors import RuleError
from trivium.scheme import ClampInfluence, Project, compose
from trivium.simplex.conforming import ConformingSet
from trivium.weighting import EBKD, Margin, MinCE, Operator, Rule, TorchJD, rule
from trivium.weighting.program import Program, capture

E = {"entropy": (0.0, 4.0)}
SCALE = torch.tensor([1.0, 2.0, 3.0])
TABLE = torch.linspace(0.0, 1.0, SHOWN + 1)


@rule(scale="token", features=E)
def plain(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy * SCALE, dim=-1)


@rule(scale="token", features=E)
def switched(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy + (entropy.mean(-1, keepdim=True) > 2), dim=-1)


@rule(scale="token", features=E)
def raw_switch(entropy: Tensor) -> Tensor:
    return torch.softmax((entropy > 2).to(entropy.dtype), dim=-1)


@rule(scale="token", features=E)
def branching(entropy: Tensor) -> Tensor:
    if float(entropy.sum()) > 1.0:
        return torch.softmax(-entropy, dim=-1)
    return torch.softmax(-0.5 * entropy, dim=-1)


@rule(scale="token", features=E)
def by_numpy(entropy: Tensor) -> Tensor:
    powers = np.exp(-entropy.double().numpy())
    return torch.from_numpy(powers / powers.sum(-1, keepdims=True)).to(entropy.dtype)


@rule(scale="token", features=E)
def across(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy - entropy.mean(0), dim=-1)


@rule(scale="token", features=E)
def tabled(entropy: Tensor) -> Tensor:
    return torch.softmax(TABLE[: entropy.shape[-1]] - entropy + TABLE.sum(), dim=-1)


def test_a_captured_rule_is_a_function_by_its_form() -> None:
    form = form_of(plain, 3)
    assert form.pure
    said = " ".join(form.lines)
    assert "closed over 1 constant" in said
    assert "softmax" in said
    assert "exact in real arithmetic" in said
    assert all(name in said for name in DTYPES)
    assert "threshold" not in said


def test_a_comparison_of_rounded_numbers_is_named_and_one_of_the_features_is_not() -> None:
    assert any("gt" in line and "either side" in line for line in form_of(switched, 3).lines)
    assert not any("either side" in line for line in form_of(raw_switch, 3).lines)


def test_an_opaque_rule_says_why_and_where() -> None:
    form = form_of(branching, 3)
    assert not form.pure
    assert "opaque: it branches on values" in form.why_not
    text = Path(__file__).read_text(encoding="utf-8").splitlines()
    line = next(number for number, told in enumerate(text, 1) if "if float(" in told)
    assert f"line {line}" in form.why_not


def test_an_opaque_rule_earns_no_word_above_a_search_and_what_is_around_it_keeps_its_own() -> None:
    alone = certify(by_numpy, Specification(3), seconds=0.05)
    assert {result.verdict for result in alone.results} == {"NOT FALSIFIED"}
    assert alone.programs is not None
    assert alone.programs[0].opaque is not None
    assert alone.programs[0].listing == ()
    around = certify(Project(by_numpy, ConformingSet(3, 0.05)), Specification(3, floor=0.05), seconds=0.05)
    words = {result.axiom: result.verdict for result in around.results}
    assert words == {"W-F": "NOT FALSIFIED", "W-N": "PROVED", "W-P": "PROVED", "W-B": "PROVED"}


@pytest.mark.parametrize("operator", [across, ClampInfluence(across, 1.0)], ids=["alone", "in a scheme"])
def test_a_rule_that_means_something_else_on_a_batch_is_violated_and_refused(operator: Operator) -> None:
    found = {f.axiom: f for f in certify(operator, Specification(3), seconds=0.05).results}
    assert found["W-F"].verdict == "VIOLATED"
    witness = found["W-F"].witness
    assert witness is not None
    assert "batch" in witness.note
    with pytest.raises(RuleError, match="mean the same on one row"):
        operator.log_weights({"entropy": torch.rand(5, 3)})


def test_a_scheme_around_a_users_rule_is_proved_to_be_a_function() -> None:
    assert derive(compose(["a", "b", "c"], token=[switched, Margin()], floor=0.01), 3).pure
    assert not derive(compose(["a", "b", "c"], token=[branching, Margin()], floor=0.01), 3).pure


def test_a_certificate_holds_the_graph_its_constants_and_its_environment() -> None:
    (held,) = recorded(plain, 3)
    program = plain.program(3)
    assert isinstance(program, Program)
    assert held.listing == program.listing
    assert held.digests["float32"] == program.digest
    assert len(set(held.digests.values())) == 3
    (constant,) = held.constants.values()
    assert constant.values == (1.0, 2.0, 3.0)
    assert held.environment["default dtype"] == "float32"
    (long,) = recorded(tabled, 3)
    assert any(c.values is None and c.shape == (SHOWN + 1,) and len(c.sha256) == 64 for c in long.constants.values())
    assert len(recorded(compose(["a", "b", "c"], token=[plain, switched, (plain, 0.5)], floor=0.01), 3)) == 2


ROUNDED_BY_THE_BATCH: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(-1, keepdim=True) + x,
    "mm": lambda x: x @ torch.arange(9.0).reshape(3, 3),
    "exp": torch.exp,
    "softmax": lambda x: torch.softmax(x, -1),
    "alpha": lambda x: torch.add(x, x, alpha=3),
}
ROUNDED_ONCE: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda x: x + 1.5,
    "div": lambda x: x / 3.0,
    "amax": lambda x: x - x.amax(-1, keepdim=True),
    "where": lambda x: torch.where(x > 1, x, -x),
    "sort": lambda x: x.sort(dim=-1, stable=True).values,
    "count": lambda x: x + (x > 1).sum(-1, keepdim=True),
}


@pytest.mark.parametrize("name", [*ROUNDED_BY_THE_BATCH, *ROUNDED_ONCE])
def test_what_a_batch_may_round_is_told_from_what_is_rounded_once(name: str) -> None:
    function = {**ROUNDED_BY_THE_BATCH, **ROUNDED_ONCE}[name]
    program = capture(lambda features: (function(features["x"]),), {"x": torch.zeros(3)})
    assert isinstance(program, Program)
    rounded = [packet(node) for node in program.graph.graph.nodes if packet(node) and not exact(node)]
    assert bool(rounded) is (name in ROUNDED_BY_THE_BATCH)
    batch = torch.rand(2_053, 3) * 4
    together = program({"x": batch})[0]
    for row in range(0, len(batch), 97):
        alone = program({"x": batch[row : row + 1]})[0][0]
        if name in ROUNDED_ONCE:
            assert torch.equal(alone, together[row])
        else:
            assert torch.allclose(alone, together[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kept", "pure"), [(MinCE(), True), (EBKD(), True), (TorchJD("upgrad", raw=True), False)])
def test_a_rule_of_the_library_without_constants_is_captured_or_named_opaque(kept: Rule, pure: bool) -> None:
    assert kept.constants(3) is None
    derived = derive(kept, 3)
    assert derived.pure is pure
    assert ("opaque" in " ".join(derived.lines())) is not pure
