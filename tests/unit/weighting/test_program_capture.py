"""A rule is its graph on one row. Catches what no other test does: that what runs is what was captured, whatever the
function does later; that mutation, views, masks and indices capture as what they mean; what is opaque and why."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trivium.errors import RuleError
from trivium.weighting.base import UserRule, program_of, rule
from trivium.weighting.program import Opaque, Program, capture
from trivium.weighting.token.entropy import Entropy

RANGE = {"entropy": (0.0, 10.0)}
POINTS = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(0)) * 10


def made(function: Callable[..., Tensor], features: Any = RANGE) -> UserRule:
    return rule("token", features)(function)


def written(entropy: Tensor) -> Tensor:
    out = torch.zeros_like(entropy)
    out[..., 0] = 1.0
    out += entropy
    tail = out[..., 1:]
    tail.mul_(2.0)
    return out / out.sum(-1, keepdim=True)


def masked(entropy: Tensor) -> Tensor:
    kept = entropy.clone()
    kept[entropy > 5] = 0.5
    return kept.masked_fill(entropy < 1, kept.mean())[..., :] if kept.ndim == 0 else kept


def nearest(entropy: Tensor) -> Tensor:
    best = entropy.min(-1, keepdim=True).indices
    return torch.softmax(-0.1 * entropy + 1.0 * (best == torch.arange(3)), dim=-1)


TABLE = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 1.0], [0.5, 0.2, 0.3]])
LAYER = nn.Linear(3, 3)


def layered(entropy: Tensor) -> Tensor:
    return torch.softmax(LAYER(entropy) * TABLE[0], dim=-1)


def in_half(entropy: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.softmax((entropy @ torch.eye(3)).float(), dim=-1)


@pytest.mark.parametrize("function", [written, masked, nearest, layered, in_half])
def test_the_graph_is_the_function_on_every_row(function: Callable[..., Tensor]) -> None:
    user = made(function)
    program = user.program(3)
    assert isinstance(program, Program), program
    assert user.difference(3) is None
    with torch.no_grad():
        assert torch.allclose(user.weights({"entropy": POINTS}), function(POINTS), atol=1e-6)
        assert torch.allclose(program.row({"entropy": POINTS[1, 3]})[0], function(POINTS[1, 3]), atol=1e-6)


def test_nothing_that_changes_after_capture_reaches_a_row() -> None:
    state = {"sign": -1.0, "calls": 0}

    def moody(entropy: Tensor) -> Tensor:
        state["calls"] += 1
        return torch.softmax(state["sign"] * entropy, dim=-1)

    user = made(moody)
    before = user.weights({"entropy": POINTS})
    state["sign"] = 1.0
    assert torch.equal(user.weights({"entropy": POINTS}), before)
    assert torch.equal(user.weights({"entropy": POINTS[:1, :2]}), before[:1, :2])


def test_parameters_and_tables_are_cloned_and_told() -> None:
    table = TABLE.clone()
    user = made(lambda entropy: torch.softmax(entropy * table[0], dim=-1))
    before = user.weights({"entropy": POINTS})
    table[0] = 0.0
    assert torch.equal(user.weights({"entropy": POINTS}), before)
    program = user.program(3)
    assert isinstance(program, Program)
    assert any("[1.0, 2.0, 3.0, 3.0" in line for line in program.listing)


def test_a_number_of_the_row_indexes_a_table() -> None:
    user = made(lambda domain: TABLE[domain.squeeze(-1).long()], {"domain": (0, 2, True, True)})
    domains = torch.tensor([[0.0], [2.0], [1.0]])
    program = user.program(3)
    assert isinstance(program, Program), program
    assert torch.equal(user.weights({"domain": domains, "teachers": torch.zeros(3)}), TABLE[[0, 2, 1]])


def test_whole_numbers_keep_to_their_range_in_bfloat16() -> None:
    table = torch.ones(300, 3)  # 299 is 300 in bfloat16, and no row of the table
    user = made(lambda place: table[place.squeeze(-1).long()], {"place": (0, 299, True, True)})
    assert user.weights({"place": torch.tensor([[299.0]], dtype=torch.bfloat16)}).tolist() == [[1.0, 1.0, 1.0]]


def branching(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy if entropy.sum() > 3 else -entropy, dim=-1)


def reading(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy * entropy.max().item(), dim=-1)


def by_numpy(entropy: Tensor) -> Tensor:
    return torch.as_tensor(np.exp(-entropy.numpy())) / 3


def noisy(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy + torch.rand_like(entropy), dim=-1)


def uninitialized(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy + torch.empty(3), dim=-1)


def writing(entropy: Tensor) -> Tensor:
    TABLE.add_(0.0)
    return torch.softmax(entropy * TABLE[0], dim=-1)


def elsewhere(entropy: Tensor) -> Tensor:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(torch.softmax(entropy, dim=-1)))
    thread.start()
    thread.join()
    return found[0]


def unstable(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy.argsort(dim=-1).float(), dim=-1)


def masking(entropy: Tensor) -> Tensor:
    return torch.softmax(entropy + entropy[entropy > 1].sum(), dim=-1)


CALLS = [0]


def counting(entropy: Tensor) -> Tensor:
    CALLS[0] += 1
    return torch.softmax(entropy * CALLS[0], dim=-1)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (branching, "branches on values"),
        (reading, "branches on values"),
        (by_numpy, "numpy"),
        (noisy, "left to chance"),
        (uninitialized, "use zeros"),
        (writing, "does not own"),
        (elsewhere, "another thread"),
        (unstable, "stable=True"),
        (masking, "shape depends"),
        (counting, "two captures of it differ"),
    ],
)
def test_what_is_no_function_of_a_row_is_opaque_and_named(function: Callable[..., Tensor], why: str) -> None:
    user = made(function)
    program = user.program(3)
    assert isinstance(program, Opaque)
    assert why in str(program)
    first = function.__code__.co_firstlineno
    assert program.line is None or first <= program.line <= first + 6
    assert user.weights({"entropy": POINTS}).shape == POINTS.shape  # it runs as it is written


@pytest.mark.parametrize(
    "function",
    [
        lambda entropy: torch.softmax(entropy - entropy.mean(0), dim=-1),
        lambda entropy: torch.softmax(entropy - entropy.max(), dim=-1) + 0.1 * entropy.sum(),
        lambda entropy: torch.softmax(entropy / len(entropy), dim=-1),
        lambda entropy: torch.softmax(entropy * entropy.shape[0], dim=-1),
    ],
    ids=["mean", "sum", "len", "shape"],
)
def test_what_means_something_else_on_a_batch_is_refused_with_the_rewrite(function: Callable[..., Tensor]) -> None:
    with pytest.raises(RuleError, match=r"the same on one row.*last axis only: x\.mean\(-1\)"):
        made(function).log_weights({"entropy": POINTS})


def test_the_line_is_named_where_row_and_batch_part(tmp_path: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features={'entropy': (0, 10)})\n"
        "def mine(entropy):\n"
        "    scaled = entropy * 2\n"
        "    centred = scaled - scaled.mean(0)\n"
        "    return torch.softmax(centred, -1)\n",
        encoding="utf-8",
    )
    from trivium.weighting.loading import load_rule

    with pytest.raises(RuleError, match=r"line 5"):
        load_rule(f"{file}:mine").log_weights({"entropy": POINTS})


def test_a_rule_that_exits_is_an_error_of_the_rule() -> None:
    def leaving(entropy: Tensor) -> Tensor:
        raise SystemExit(0)

    with pytest.raises(RuleError, match="it exits"):
        made(leaving).log_weights({"entropy": POINTS})
    assert os.getpid() > 0


@pytest.mark.parametrize("device", ["complex", "meta"])
def test_weights_must_be_real_numbers_where_the_features_are(device: str) -> None:
    def odd(entropy: Tensor) -> Tensor:
        w = torch.softmax(entropy, dim=-1)
        return w.to(torch.complex64) if device == "complex" else w.to("meta")

    with pytest.raises(RuleError, match="real numbers"):
        made(odd).log_weights({"entropy": POINTS})


def test_a_rows_and_no_rows_at_all() -> None:
    user = made(written)
    assert user.weights({"entropy": POINTS[0, 0]}).shape == (3,)
    assert user.weights({"entropy": POINTS[:0]}).shape == (0, 7, 3)


def test_rules_of_the_library_capture_too() -> None:
    program = program_of(Entropy(strength=0.5, budget=2.0), 3)
    assert isinstance(program, Program)
    expected = Entropy(strength=0.5, budget=2.0).log_weights({"entropy": POINTS})
    assert torch.equal(program({"entropy": POINTS, "teachers": torch.zeros(3)})[1], expected)


def test_another_dtype_is_another_program() -> None:
    def by_dtype(entropy: Tensor) -> Tensor:
        return torch.softmax(entropy if entropy.dtype == torch.float32 else -entropy, dim=-1)

    user = made(by_dtype)
    single, double = user.program(3), user.program(3, torch.float64)
    assert isinstance(single, Program)
    assert isinstance(double, Program)
    assert single.digest != double.digest


def test_a_capture_that_fails_says_so_once_and_logs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    user = made(lambda entropy: entropy * torch.ones(2))
    assert isinstance(user.program(3), Opaque)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("rows", [1, 5, 64, 65, 1000])
def test_a_row_has_the_same_bits_in_a_batch_of_any_size(rows: int) -> None:
    """Kernels round the last numbers of a tensor otherwise; what follows may magnify that."""
    user = made(lambda entropy: torch.softmax(9000 * (torch.nn.functional.gelu(entropy) - entropy.tanh()), dim=-1))
    batch = torch.rand(1000, 3, generator=torch.Generator().manual_seed(1)) * 10
    whole = user.weights({"entropy": batch})
    assert torch.equal(user.weights({"entropy": batch[:rows]}), whole[:rows])


ON_NUMBERS = {
    "where": lambda a, b: torch.where(b > 1, a, b),
    "clamp": lambda a, b: torch.clamp(b, min=a),
    "clamp of a number": lambda a, b: torch.clamp(a, max=b),
    "addcmul": lambda a, b: torch.addcmul(b, a, b),
    "addcdiv": lambda a, b: torch.addcdiv(b, a, b + 1),
    "power": lambda a, b: (b + 1) ** a,
    "remainder": lambda a, b: torch.remainder(b, a + 1),
    "stack": lambda a, b: b + torch.stack([a, b.sum()]).amax(),
}
KINDS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int8]


@pytest.mark.parametrize("name", ON_NUMBERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_row_and_several_are_computed_in_one_dtype(name: str) -> None:
    """A number [] beside a tensor [K] of another dtype promotes otherwise under vmap than on a row."""
    x = 3 * torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    taken = 0
    for of_number in KINDS:
        for of_tensor in KINDS:
            program = capture(
                lambda f, a=of_number, b=of_tensor: (
                    ON_NUMBERS[name](f["x"].mean().to(a), f["x"].to(b)).float().expand(3),
                ),
                {"x": torch.zeros(3)},
            )
            if not isinstance(program, Program):
                continue
            taken += 1
            alone = torch.stack([program.row({"x": row})[0] for row in x])
            # A power and a remainder round a number of one row later; in the same dtype, so within its rounding.
            kinds = [k for k in (of_number, of_tensor) if k.is_floating_point and name in ("power", "remainder")]
            eps = max([torch.finfo(k).eps for k in kinds], default=1e-6)
            torch.testing.assert_close(program({"x": x})[0], alone, rtol=eps, atol=eps)
    assert taken > 20


def test_a_table_that_lies_otherwise_in_memory_than_at_capture_is_flattened_all_the_same() -> None:
    """``reshape`` is captured as a view of a fake table; the real one lies otherwise, and the view used to raise."""
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    program = capture(
        lambda f: (((f["x"].unsqueeze(1) + f["y"].unsqueeze(0)).t() // (f["y"].abs() + 0.5)).reshape(-1)[:3],),
        {"x": torch.zeros(3), "y": torch.zeros(3)},
    )
    assert isinstance(program, Program)
    alone = torch.stack([program.row({"x": row, "y": row.flip(0)})[0] for row in x])
    assert torch.equal(program({"x": x, "y": x.flip(-1)})[0], alone)
