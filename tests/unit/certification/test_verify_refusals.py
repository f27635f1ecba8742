"""What the verifier must not vouch for: what is not in its table, or not as it is called, is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trivium.certification.specification import Specification
from trivium.certification.verify import verify
from trivium.scheme.clamp_influence import ClampInfluence
from trivium.weighting.base import UserRule
from trivium.weighting.features import Range
from trivium.weighting.token.entropy import Entropy

Function = Callable[[Tensor], Tensor]


def refusal(function: Function) -> str:
    """Why nothing is VERIFIED; fails if anything is."""
    rule = UserRule(function, "token", {"x": Range(0.0, 1.0)}, "rule")
    found = verify(rule, Specification(3), seconds=0.2)
    assert {result.verdict for result in found.values()} == {"NOT FALSIFIED"}
    text = {result.search for result in found.values()}
    assert len(text) == 1, text
    (reason,) = text
    assert reason.startswith("not bounded: ")
    return reason


def uniform(x: Tensor) -> Tensor:
    return torch.full_like(x, 1 / 3)


REFUSED = {
    "chance": (lambda x: uniform(x) + 0 * torch.rand(3), "left to chance"),
    "branch": (lambda x: x if (x > 0.5).all() else 1 - x, "branches on values"),
    "numpy": (lambda x: torch.from_numpy(x.numpy()), "out of PyTorch"),
    "power of features": (lambda x: uniform(x) + x**x, "pow.Tensor_Tensor is not among"),
    "modulo": (lambda x: uniform(x) + x % 0.3, "remainder.Scalar is not among"),
    "decimals": (lambda x: torch.softmax(x.round(decimals=1), -1), "round.decimals is not among"),
    "tanh form of gelu": (lambda x: torch.softmax(functional.gelu(x, approximate="tanh"), -1), "approximate=tanh"),
    "scaled elu": (lambda x: torch.softmax(functional.selu(x), -1), "elu.default with scale"),
    "infinite mask": (lambda x: torch.softmax(x.masked_fill(x > 0.5, -math.inf), -1), "not finite"),
    "infinite constant": (lambda x: torch.softmax(x + torch.tensor([0.0, -math.inf, 0.0]), -1), "not finite"),
    "a norm of order three": (lambda x: torch.softmax(x / (1 + x.norm(p=3, dim=-1, keepdim=True)), -1), "of order 3"),
    "other bits": (lambda x: uniform(x) + 0 * x.view(torch.int32), "view.dtype is not among"),
    "strides": (lambda x: uniform(x) + 0 * x.as_strided((3,), (0,)), "as_strided.default is not among"),
    "weights of whole numbers": (lambda x: (x > 0.5).long(), "it returns int64 numbers"),
    "two whole rows": (lambda x: uniform(x) + 0 * torch.zeros_like(x).scatter(-1, (x * 2).long(), x), "scatter.src"),
    "complex": (lambda x: uniform(x) + 0 * torch.fft.fft(x).real, "complex"),
    "median of shared memory": (
        lambda x: uniform(x) + 0 * x.unsqueeze(-1).expand(-1, 2).median(-1).values,
        "median.dim of an expanded tensor",
    ),
    "too many": (lambda x: uniform(x) + 0 * x.repeat(2000).sum(-1, keepdim=True), "more than 4096"),
    "small weights of another kind": (lambda x: uniform(x) + 0 * x.to(torch.float8_e4m3fn).to(x), "float8"),
}


@pytest.mark.parametrize(("function", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_in_the_table_is_refused_by_name(function: Function, why: str) -> None:
    assert why in refusal(function)


def test_only_plain_functions_are_bounded() -> None:
    found = verify(ClampInfluence(Entropy(), 2.0), Specification(3))
    assert {result.search for result in found.values()} == {
        "not bounded: it bounds rules that are one function of features"
    }


def test_a_rule_whose_methods_were_replaced_is_refused() -> None:
    rule = UserRule(uniform, "token", {"x": Range(0.0, 1.0)}, "rule")
    rule.weights = lambda features: 2 * features["x"]  # type: ignore[method-assign]
    assert all("one function of features" in result.search for result in verify(rule, Specification(3)).values())


def test_what_means_something_else_on_a_batch_is_refused() -> None:
    assert "on a batch" in refusal(lambda x: torch.softmax(x - x.mean(0), -1) * (0.5 + 0.5 * x.mean()))


def test_helpers_closures_and_tables_are_accepted() -> None:
    scale, steps = {"by": [2.0, 1.0]}, torch.tensor([2.0, 1.0, 0.0])

    def rule(x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for step in range(2):
            total = total + scale["by"][step] * x
        return torch.softmax(total + steps.to(x), dim=-1)

    found = verify(UserRule(rule, "token", {"x": Range(0.0, 1.0)}, "rule"), Specification(3), seconds=0.5)
    assert {found[axiom].verdict for axiom in ("W-N", "W-P")} == {"VERIFIED"}
