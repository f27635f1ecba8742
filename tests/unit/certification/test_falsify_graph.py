"""What is searched is the graph of a row, in each dtype its own; what is opaque is searched as it is written."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from tiers import first
from trivium.certification.falsify import falsify, replay
from trivium.certification.falsify.box import Box
from trivium.certification.falsify.probe import Probe
from trivium.certification.specification import Result, Specification, Witness
from trivium.scheme import ClampInfluence
from trivium.simplex.constants import bounded
from trivium.weighting import Features, UserRule, rule
from trivium.weighting.base import RawRule
from trivium.weighting.features import Range, Scale

BOX = {"entropy": (0.0, 12.0)}
FAST = 0.5


def made(function: Callable[..., Tensor], features: Mapping[str, tuple[float, ...]] = BOX) -> UserRule:
    return rule(scale="token", features=features)(function)


def replays(make: Callable[[], UserRule], result: Result) -> Witness:
    assert result.verdict == "VIOLATED"
    assert result.witness is not None
    witness = Witness.from_json(result.witness.to_json())
    assert witness.breaks(replay(make(), witness))
    return witness


def batch_mean() -> UserRule:
    return made(lambda entropy: torch.softmax(-(entropy - entropy.mean(0)), dim=-1))


def test_what_means_something_else_on_a_batch_is_a_witness_of_it() -> None:
    witness = replays(batch_mean, falsify(batch_mean(), Specification(3), seconds=FAST)["W-F"])
    assert "line " in witness.note
    assert "as written, on a batch of" in witness.note
    assert len(witness.features["entropy"]) <= 8  # of up to 257 on which it was met


def test_a_scheme_around_it_shows_it_too() -> None:
    found = falsify(ClampInfluence(batch_mean(), 2.0), Specification(3, influence=2.0), seconds=FAST)
    assert found["W-F"].witness is not None
    assert replay(ClampInfluence(batch_mean(), 2.0), found["W-F"].witness) > 1e-3
    assert found["W-B"].verdict == "NOT FALSIFIED"


def test_of_a_graph_there_is_nothing_to_search_but_that() -> None:
    calls = [0]

    def counted(entropy: Tensor) -> Tensor:
        calls[0] += 1
        return torch.softmax(-entropy, dim=-1)

    result = falsify(made(counted), Specification(3), seconds=FAST)["W-F"]
    assert (result.verdict, result.where, result.residual) == ("NOT FALSIFIED", "a graph of one row", 0.0)
    assert calls[0] < 60  # captures, comparisons with them and other numbers of teachers, but no search


def only_in_single(change: Callable[[Tensor], Tensor]) -> Callable[[], UserRule]:
    def make() -> UserRule:
        def switching(entropy: Tensor) -> Tensor:
            x = change(entropy) if entropy.dtype is torch.float32 else entropy
            return torch.softmax(-x, dim=-1)

        return made(switching)

    return make


SINGLE: dict[str, tuple[str, Callable[[], UserRule]]] = {
    "half a nat": ("W-R", only_in_single(lambda x: x + 0.5 * (x > 5.0))),
    "a hundredth": ("W-R", only_in_single(lambda x: x + 0.01 * (x > 7.77))),
    "a steeper slope": ("W-R", only_in_single(lambda x: 1.05 * x)),
    "noise": ("W-F", only_in_single(lambda x: x + 0.01 * torch.rand_like(x))),
    "the mean of the batch": ("W-F", only_in_single(lambda x: x - x.mean(0))),
    "a number as Python": ("W-F", only_in_single(lambda x: x * (0.5 if float(x.amax()) > 11.0 else 1.0))),
}


@pytest.mark.parametrize(("axiom", "make"), first(SINGLE.values(), 2), ids=SINGLE)
def test_what_breaks_in_float32_alone_is_found_there(axiom: str, make: Callable[[], UserRule]) -> None:
    found = falsify(make(), Specification(3, lipschitz=2.0), seconds=1.0)
    assert replays(make, found[axiom]).dtype == "float32"
    assert found["W-N"].verdict == "NOT FALSIFIED"


def test_the_search_names_the_dtypes_of_each_axiom() -> None:
    found = falsify(made(lambda entropy: torch.softmax(-entropy, -1)), Specification(2, lipschitz=2.0), seconds=0.2)
    assert "float64, float32, bfloat16" in found["W-N"].search
    assert "float64, float32;" in found["W-R"].search


@pytest.mark.parametrize("size", [300, 65_536])
def test_every_cell_of_a_table_is_called_and_no_other(size: int) -> None:
    table = torch.rand(size, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
    box = {"domain": (0, size - 1, True, True)}

    def cell(domain: Tensor) -> Tensor:
        return table[domain.squeeze(-1).long()]

    found = falsify(made(cell, box), Specification(3), seconds=FAST)
    assert {axiom: f.witness for axiom, f in found.items() if f.verdict != "NOT FALSIFIED"} == {}
    last = made(lambda domain: torch.where(domain < size - 1, cell(domain), 0.5), box)
    assert falsify(last, Specification(3), seconds=FAST)["W-N"].verdict == "VIOLATED"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whole_numbers_stay_in_their_range_in_every_dtype(dtype: torch.dtype) -> None:
    box = Box.of(made(lambda domain: domain, {"domain": (1, 299, True)}), 2)
    points = torch.arange(1, 300, dtype=torch.float64)[:, None].expand(-1, 2)
    cast = box.cast(points, dtype).double()
    assert bool(((cast >= 1) & (cast <= 299) & (cast == cast.round())).all())


ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "complex": lambda entropy: torch.softmax(-entropy, -1) + 0j,
    "boolean": lambda entropy: entropy > 5,
    "meta": lambda entropy: torch.softmax(-entropy, -1).to("meta"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_real_number_is_refused_by_name(name: str) -> None:
    found = falsify(made(ODD[name]), Specification(3), seconds=FAST)["W-N"]
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert "real numbers" in found.witness.note
    assert name[:4] in found.witness.note or name == "boolean"


def test_whole_weights_are_numbers() -> None:
    found = falsify(made(lambda x: (x.cumsum(-1) < -1).long() + 1, {"x": (0.0, 1.0)}), Specification(1), seconds=FAST)
    assert found["W-N"].verdict == "NOT FALSIFIED"


class Averaging(RawRule):
    """A rule of one's own class, which runs as it is written; its graph would be another function."""

    scale: Scale = "token"
    name: ClassVar[str] = "averaging"  # type: ignore[misc]

    @property
    def ranges(self) -> Mapping[str, Range]:
        return {"entropy": Range(0.0, 12.0)}

    def weights(self, features: Features) -> Tensor:
        entropy = self.admit(features)["entropy"]
        return torch.softmax(-entropy + entropy.reshape(-1, entropy.shape[-1]).mean(0), dim=-1)

    def log_weights(self, features: Features) -> Tensor:
        return self.weights(features).log()

    def formula(self) -> str:
        return "averaging"


def test_a_class_of_ones_own_is_searched_as_it_runs() -> None:
    assert not Probe(Averaging(), Box.of(Averaging(), 3)).captured(torch.float64)
    found = falsify(Averaging(), Specification(3), seconds=1.0)["W-F"]
    assert found.witness is not None
    assert replay(Averaging(), found.witness) > 1e-3


def test_the_users_module_is_as_it_was() -> None:
    module = types.ModuleType("counted_rules")
    module.__dict__.update(torch=torch, calls=0, seen=[])
    code = """
def weigh(entropy):
    global calls
    calls += 1
    seen.append(len(entropy))
    return torch.softmax(-entropy, -1)
"""
    exec(code, module.__dict__)
    sys.modules["counted_rules"] = module
    try:
        operator, calls = made(module.weigh), 0
        for _ in range(2):
            falsify(operator, Specification(3, lipschitz=2.0), seconds=0.2)
            assert module.calls == len(module.seen) >= calls  # what was called was counted, and nothing was taken back
            calls = module.calls
        assert calls > 0
    finally:
        del sys.modules["counted_rules"]


@pytest.mark.parametrize("seed", first(range(4)))
def test_rounding_of_products_of_scores_is_no_breach(seed: int) -> None:
    """1.1e-13 nats between features 8.9e-16 apart once lowered a proof."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.rand(4, generator=generator) * 6
    names = [f"x{k}" for k in range(4)]
    strength = {name: float(s) for name, s in zip(names, size, strict=True)}

    def product(**x: Tensor) -> Tensor:
        w = torch.ones_like(x["x0"])
        for name, s in strength.items():
            w = w * torch.softmax(-s * x[name], -1)
        return w / w.sum(-1, keepdim=True)

    # Each x0 … x3 moves log w_j − log w_k by at most 2·s a unit.
    declared = bounded(3, sum(12.0 * s for s in strength.values()), {name: 2 * s for name, s in strength.items()})
    operator = made(product, dict.fromkeys(names, (0.0, 12.0)))
    found = falsify(operator, Specification(3, lipschitz=2 * sum(strength.values())), seconds=1.0, constants=declared)
    for axiom in ("W-R", "constants.lipschitz"):
        assert found[axiom].verdict == "NOT FALSIFIED", found[axiom].witness
