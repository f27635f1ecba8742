"""What the verifier must not vouch for: every way out of the operations on one row is refused, by name."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.certify.question import Question
from trivium.certify.verify import verify
from trivium.scheme.limit import Limit
from trivium.weighting.base import UserRule
from trivium.weighting.features import Range
from trivium.weighting.token.entropy import Entropy

Function = Callable[[Tensor], Tensor]


def refusal(function: Function) -> str:
    """Why nothing is VERIFIED; fails if anything is."""
    rule = UserRule(function, "token", {"x": Range(0.0, 1.0)}, "rule")
    found = verify(rule, Question(3), seconds=0.2)
    assert {finding.verdict for finding in found.values()} == {"NOT FALSIFIED"}
    text = {finding.search for finding in found.values()}
    assert len(text) == 1
    (reason,) = text
    assert reason.startswith("not bounded: ")
    return reason


def uniform(x: Tensor) -> Tensor:
    return torch.full_like(x, 1 / 3)


COUNT = [0]
TENSOR = torch.zeros(())


def counts_calls(x: Tensor) -> Tensor:
    COUNT[0] += 1
    return uniform(x) if COUNT[0] < 1_000_000 else 2 * uniform(x)


def writes_a_tensor(x: Tensor) -> Tensor:
    TENSOR.add_(1.0)
    return uniform(x)


def leaves_an_attribute(x: Tensor) -> Tensor:
    leaves_an_attribute.last = 1  # type: ignore[attr-defined]
    return uniform(x)


def default_that_grows(x: Tensor, cache: list[int] = []) -> Tensor:  # noqa: B006
    cache.append(1)
    return uniform(x)


def rebinds_a_global(x: Tensor) -> Tensor:
    global TENSOR
    TENSOR = torch.zeros(())
    return uniform(x)


def catches(x: Tensor) -> Tensor:
    try:
        return uniform(x) * x.mean().item()
    except Exception:
        return uniform(x)


STATE = {
    "catches": (catches, "it handles exceptions"),
    "asks_for_the_type": (lambda x: uniform(x) if isinstance(x, Tensor) else x, "isinstance()"),
    "asks_for_a_tensor": (lambda x: x if torch.is_tensor(x) else uniform(x), ".is_tensor"),
    "counts_calls": (counts_calls, "a call changes what the function holds"),
    "writes_a_tensor": (writes_a_tensor, "a call changes what the function holds"),
    "leaves_an_attribute": (leaves_an_attribute, "it writes last, outside of itself"),
    "default_that_grows": (default_that_grows, "a call changes what the function holds"),
    "rebinds_a_global": (rebinds_a_global, "it writes TENSOR, outside of itself"),
    "clock": (lambda x: uniform(x) * (time.time() > 0), "the module time"),
    "random_module": (lambda x: uniform(x) * (random.random() < 1.0), ".random"),
    "numpy": (lambda x: uniform(x) * np.float64(1.0), "the module numpy"),
    "chance": (lambda x: uniform(x) + 0 * torch.rand(3), "rand, whose result is left to chance"),
    "empty": (lambda x: uniform(x) + 0 * torch.empty(3), "empty"),
    "dropout": (lambda x: torch.nn.functional.dropout(x), "dropout"),
    "gradient_mode": (lambda x: uniform(x) if torch.is_grad_enabled() else x, ".is_grad_enabled"),
    "print": (lambda x: (print("called"), uniform(x))[1], "print()"),
    "attributes_by_name": (lambda x: getattr(torch, "softmax")(x, -1), "getattr()"),  # noqa: B009
}


@pytest.mark.parametrize(("function", "why"), STATE.values(), ids=STATE)
def test_state_clocks_and_chance_are_refused(function: Function, why: str) -> None:
    assert why in refusal(function)


ROWS = {
    "sum of everything": (lambda x: uniform(x) + 0 * x.sum(), "sum over all rows"),
    "max of everything": (lambda x: uniform(x) + 0 * x.max(), "max over all rows"),
    "first axis": (lambda x: torch.softmax(x, dim=0), "softmax over dim=0"),
    "second axis": (lambda x: torch.softmax(x, dim=1), "softmax over dim=1"),
    "no axis": (lambda x: x / x.norm(), "norm over all rows"),
    "axis of the rows": (lambda x: uniform(x) + x.sum(-1).sum(-1), "the axis of the rows"),
    "first row": (lambda x: uniform(x) + 0 * x[0], "indexing"),
    "entries by mask": (lambda x: uniform(x) + 0 * x[x > 0.5].sum(-1), "indexing"),
    "misaligned": (lambda x: x - x.sum(-1), "keepdim=True"),
    "transposed": (lambda x: uniform(x) + 0 * x.T, "T is not among"),
    "size of the batch": (lambda x: uniform(x) / x.shape[0], "the shape of the batch is read"),
    "length": (lambda x: uniform(x) / len(x), "len()"),
    "number of axes": (lambda x: uniform(x) if x.ndim == 2 else x, "ndim"),
    "new tensor of that shape": (lambda x: torch.ones(x.shape) / 3, "not Shape"),
    "two rows at once": (lambda x: x.flip(0), "flip"),
    "roll": (lambda x: x.roll(1, -1), "roll is not among"),
    "loop over rows": (lambda x: torch.stack([torch.softmax(row, -1) for row in x]), "iterating"),
    "matrix of constants": (lambda x: uniform(x) + torch.zeros(1, 3), "a constant of shape (1, 3)"),
    "table": (lambda x: torch.eye(3)[x.argmax(-1)], "argmax is not among"),
    "indices": (lambda x: torch.eye(3)[x.max(-1).indices], "Indices"),
}


@pytest.mark.parametrize(("function", "why"), ROWS.values(), ids=ROWS)
def test_whatever_may_reach_another_row_is_refused(function: Function, why: str) -> None:
    assert why in refusal(function)


def in_place(x: Tensor) -> Tensor:
    x += 1.0
    return torch.softmax(x, dim=-1)


def assigned(x: Tensor) -> Tensor:
    weights = torch.zeros(3)
    weights[0] = x[..., 0]
    return weights


OTHER = {
    "branch": (lambda x: x if (x > 0.5).all() else 1 - x, "all is not among"),
    "if": (lambda x: x if x[..., 0] > 0.5 else 1 - x, "control flow that depends on the features"),
    "item": (lambda x: uniform(x) * x[..., 0].item(), "item is not among"),
    "float()": (lambda x: uniform(x) * float(x[..., 0]), "__float__"),
    "math": (lambda x: uniform(x) * math.exp(x[..., 0]), "__float__"),
    "string": (lambda x: uniform(x) * len(f"{x}"), "__format__"),
    "equality": (lambda x: uniform(x) * (x == 0.5), "__eq__"),
    "rounding": (lambda x: x.round(), "round is not among"),
    "floor division": (lambda x: x // 0.3, "__floordiv__"),
    "in place": (in_place, "changed in place"),
    "method in place": (lambda x: x.clamp_(0.1), "clamp_ is not among"),
    "assignment": (assigned, "__setitem__"),
    "half precision": (lambda x: torch.softmax(x.half(), -1), "half is not among"),
    "whole numbers": (lambda x: uniform(x) + x.to(torch.int64), "a cast to torch.int64"),
    "by dtype": (lambda x: uniform(x) * (1 if x.dtype is torch.float64 else 2), "something else in float32"),
    "power of features": (lambda x: x**x, "a power whose exponent"),
    "infinite mask": (lambda x: torch.softmax(x.masked_fill(x > 0.5, -math.inf), -1), "not finite"),
    "custom gradient": (lambda x: torch.gather(x, -1, x), "gather is not among"),
    "too few weights": (lambda x: torch.softmax(x, -1)[..., :2], "something else than K weights"),
    "a constant": (lambda x: torch.ones(3) / 3, "something else than K weights"),
    "raises": (lambda x: 1 / 0, "ZeroDivisionError"),
    "width": (lambda x: x + x[..., :2], "add as it is called here"),
    "out": (lambda x: torch.exp(x, out=torch.empty_like(x)), "empty_like"),
}


@pytest.mark.parametrize(("function", "why"), OTHER.values(), ids=OTHER)
def test_other_operations_are_refused_by_name(function: Function, why: str) -> None:
    assert why in refusal(function)


class Remembers:
    def __init__(self) -> None:
        self.last = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return uniform(x) * self.last


def test_objects_are_refused() -> None:
    assert "which may keep state" in refusal(Remembers())
    layer = torch.nn.Linear(3, 3)
    assert "layer, a Linear, which may keep state" in refusal(lambda x: torch.softmax(layer(x), -1))


def test_a_variable_kept_between_calls_is_refused() -> None:
    calls = 0

    def nonlocal_counter(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return uniform(x)

    assert "it writes calls, outside of itself" in refusal(nonlocal_counter)


def test_helpers_closures_and_tables_that_do_not_change_are_accepted() -> None:
    scale, steps = {"by": [2.0, 1.0]}, torch.tensor([2.0, 1.0, 0.0])

    def helper(x: Tensor) -> Tensor:
        return scale["by"][0] * x

    def rule(x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for step in range(2):
            total = total + scale["by"][step] * helper(x)
        return torch.softmax(total + steps.to(x), dim=-1)

    found = verify(UserRule(rule, "token", {"x": Range(0.0, 1.0)}, "rule"), Question(3), seconds=0.5)
    assert {finding.verdict for finding in found.values()} == {"VERIFIED"}


def test_only_plain_functions_are_bounded() -> None:
    found = verify(Limit(Entropy(), 2.0), Question(3))
    assert {finding.search for finding in found.values()} == {
        "not bounded: it bounds rules that are one plain function of features"
    }
