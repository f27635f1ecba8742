"""Rules that remember, pretend, or look where a function should not: none earns a word that it does not deserve."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.certification import Specification, Witness, certify
from trivium.certification.falsify import falsify, replay
from trivium.certification.verify import bounded_leaf, verify
from trivium.errors import InputError
from trivium.scheme import ClampInfluence, Product
from trivium.weighting import Entropy, Features, UserRule, rule
from trivium.weighting.features import Range
from trivium.weighting.program import Opaque

BOX = {"entropy": (0.0, 12.0)}
GLOBAL: list[float] = []


def made(function: Callable[..., Tensor], features: Mapping[str, tuple[float, ...]] = BOX) -> UserRule:
    return rule(scale="token", features=features)(function)


def calibrated() -> UserRule:
    scale: list[float] = []

    def by_first_batch(entropy: Tensor) -> Tensor:
        if not scale:
            scale.append(float(entropy.mean()))
        return torch.softmax(-entropy / (scale[0] + 0.1), dim=-1)

    return made(by_first_batch)


def by_global() -> UserRule:
    GLOBAL.clear()

    def by_first_batch(entropy: Tensor) -> Tensor:
        if not GLOBAL:
            GLOBAL.append(float(entropy.mean()))
        return torch.softmax(-entropy / (GLOBAL[0] + 0.1), dim=-1)

    return made(by_first_batch)


def warming_up(calls: int) -> UserRule:
    state = {"calls": 0}

    def warm(entropy: Tensor) -> Tensor:
        state["calls"] = min(state["calls"] + 1, calls + 1)
        return torch.softmax(3 * entropy if state["calls"] <= calls else -entropy / 4, dim=-1)

    return made(warm)


def nonlocal_counter() -> UserRule:
    calls = 0

    def counting(entropy: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.softmax(entropy if calls < 3 else -entropy, dim=-1)

    return made(counting)


def remembering_tensor() -> UserRule:
    mean = torch.zeros(1)

    def moving(entropy: Tensor) -> Tensor:
        if float(mean) == 0.0:
            mean.fill_(float(entropy.mean()) + 0.5)
        return torch.softmax(-entropy / mean.to(entropy), dim=-1)

    return made(moving)


def remembering_array() -> UserRule:
    mean = np.zeros(1)

    def moving(entropy: Tensor) -> Tensor:
        if mean[0] == 0.0:
            mean[0] = float(entropy.mean()) + 0.5
        return torch.softmax(-entropy / mean[0], dim=-1)

    return made(moving)


def remembering_queue() -> UserRule:
    seen: deque[float] = deque(maxlen=2)

    def moving(entropy: Tensor) -> Tensor:
        if len(seen) < 2:
            seen.append(float(entropy.mean()))
        return torch.softmax(-entropy / (1 + seen[0]), dim=-1)

    return made(moving)


class Attribute:
    def __init__(self) -> None:
        self.scale: float | None = None

    def __call__(self, entropy: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = float(entropy.mean()) + 0.1
        return torch.softmax(-entropy / self.scale, dim=-1)


REMEMBERING: dict[str, Callable[[], UserRule]] = {
    "closure": calibrated,
    "global": by_global,
    "one call": lambda: warming_up(1),
    "six calls": lambda: warming_up(6),
    "nonlocal": nonlocal_counter,
    "tensor": remembering_tensor,
    "array": remembering_array,
    "queue": remembering_queue,
    "attribute": lambda: made(Attribute()),
}


@pytest.mark.parametrize("make", REMEMBERING.values(), ids=REMEMBERING)
def test_what_remembers_is_no_function_by_its_form_or_has_forgotten_as_a_graph(make: Callable[[], UserRule]) -> None:
    operator = make()
    verdicts = {f.axiom: f.verdict for f in certify(operator, Specification(3, floor=0.01), seconds=0.3).results}
    graphs = [operator.program(3, dtype) for dtype in (torch.float64, torch.float32)]
    if any(isinstance(graph, Opaque) for graph in graphs):
        assert set(verdicts.values()) <= {"NOT FALSIFIED", "VIOLATED"}
        return
    features = {"entropy": torch.tensor([[12.0, 0.0, 3.0]])}
    first = operator.weights(features)
    for _ in range(20):
        operator(torch.rand(5, 3) * 12)
        assert torch.equal(operator.weights(features), first)


def test_a_search_takes_nothing_back_from_the_state() -> None:
    operator = warming_up(3)
    before = operator.function.__closure__
    assert before is not None
    seen = []
    for _ in range(2):
        certify(operator, Specification(3), seconds=0.1)
        state = next(cell.cell_contents for cell in before if isinstance(cell.cell_contents, dict))
        seen.append(state["calls"])
    assert 0 < seen[0] <= seen[1]


def test_around_such_a_rule_nothing_is_verified() -> None:
    found = certify(ClampInfluence(calibrated(), 4.0), Specification(3, influence=4.0, lipschitz=2.0), seconds=0.3)
    verdicts = {f.axiom: f.verdict for f in found.results}
    assert verdicts["W-F"] == "NOT FALSIFIED"  # its state was set by the first call of the search
    assert verdicts["W-B"] == "PROVED"  # a budget holds at every state
    assert verdicts["W-R"] in ("NOT FALSIFIED", "VIOLATED")


def test_a_rule_that_only_counts_its_calls_is_no_breach() -> None:
    calls = [0]

    def counted(entropy: Tensor) -> Tensor:
        calls[0] += 1
        return torch.softmax(-entropy / 4, dim=-1)

    verdicts = {f.axiom: f.verdict for f in certify(made(counted), Specification(3), seconds=0.1).results}
    assert verdicts["W-F"] == "PROVED"
    assert "VIOLATED" not in verdicts.values()
    assert calls[0] > 0


@pytest.mark.parametrize(("low", "high"), [(6.37, 6.38), (1.5, 1.501), (9.9, 10.4)])
def test_a_window_of_the_batch_mean_does_not_open_for_the_rows_beside(low: float, high: float) -> None:
    """Of a graph the mean is that of a row, so a window that no comparison with batches meets changes nothing."""

    def windowed(entropy: Tensor) -> Tensor:
        mean = entropy.mean()
        inside = ((mean > low) & (mean < high)).to(entropy.dtype)
        return torch.softmax(-entropy * (1 + 0.05 * inside), dim=-1)

    operator, middle = made(windowed), (low + high) / 2
    row, rest = torch.tensor([[0.0, 3.0, 6.0]]), torch.full((99, 3), (100 * middle - 3.0) / 99)
    difference = operator.difference(3)
    if difference is None:
        beside = operator.weights({"entropy": torch.cat([row, rest])})[0]
        assert torch.allclose(beside, operator.weights({"entropy": row})[0], atol=1e-6)
    else:
        assert falsify(operator, Specification(3), seconds=0.2)["W-F"].verdict == "VIOLATED"


@pytest.mark.deep
def test_whole_numbers_for_one_part_are_not_whole_for_another() -> None:
    def spiked(x: Tensor) -> Tensor:
        return torch.softmax(6 * (x - torch.round(x)).abs() * torch.tensor([1.0, 0, 0], dtype=x.dtype), dim=-1)

    def flat(x: Tensor) -> Tensor:
        return torch.softmax(-0.01 * x, dim=-1)

    a, b = made(spiked, {"x": (0.0, 12.0)}), made(flat, {"x": (0.0, 12.0, True)})
    for parts in ((a, b), (b, a)):
        product = Product(parts)
        assert not product.ranges["x"].integer
        found = falsify(product, Specification(3, influence=1.0), seconds=1.5)
        assert found["W-B"].verdict == "VIOLATED"


def test_a_rule_of_whole_numbers_never_sees_another() -> None:
    def looking(x: Tensor) -> Tensor:
        return torch.softmax(-x, dim=-1)

    w = made(looking, {"x": (0.0, 3.0, True)}).weights({"x": torch.tensor([0.4, 2.6, 9.0])})
    assert torch.equal(w, looking(torch.tensor([0.0, 3.0, 3.0])))


def test_parts_must_agree_on_what_a_feature_is() -> None:
    a = made(lambda x: torch.softmax(-x, dim=-1), {"x": (0.0, 1.0)})
    b = made(lambda x: torch.softmax(x.expand(*x.shape[:-1], 3), dim=-1), {"x": (0.0, 1.0, False, True)})
    with pytest.raises(InputError, match="'x' must agree"):
        _ = Product((a, b)).ranges


class Pretending(UserRule):
    calls: ClassVar[int] = 0

    def weights(self, features: Features) -> Tensor:
        type(self).calls += 1
        found = super().weights(features)
        return found if type(self).calls < 10**6 else found.flip(-1)


def plain(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy / 4, dim=-1)


def test_a_subclass_that_computes_otherwise_is_not_bounded() -> None:
    features = {"entropy": Range(0.0, 12.0)}
    pretending = Pretending(plain, "token", features)
    assert verify(pretending, Specification(3))["W-N"].verdict == "NOT FALSIFIED"
    assert bounded_leaf(pretending, 3) is None
    patched = made(plain)
    patched.weights = lambda features: plain(features["entropy"])  # type: ignore[method-assign]
    assert verify(patched, Specification(3))["W-N"].verdict == "NOT FALSIFIED"
    assert bounded_leaf(patched, 3) is None


def test_a_patched_or_overridden_rule_of_the_catalogue_inherits_no_proof() -> None:
    patched = Entropy(budget=2.0)
    object.__setattr__(patched, "log_weights", lambda features: torch.log_softmax(-9 * features["entropy"], -1))
    assert {f.verdict for f in certify(patched, Specification(3, influence=2.0), seconds=0.1).results} <= {
        "NOT FALSIFIED",
        "VIOLATED",
    }

    class Steeper(Entropy):
        def score(self, features: Features) -> Tensor:
            return -7 * features["entropy"]

    assert certify(Steeper(), Specification(3), seconds=0.1).constants is None


def test_what_a_rule_looks_at_elsewhere_is_fixed_when_it_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_environment(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy / (4 if torch.os.environ.get("MODE") is None else 1), -1)  # type: ignore[attr-defined]

    operator, points = made(by_environment), {"entropy": torch.tensor([1.0, 2.0, 3.0])}
    before = operator.weights(points)
    monkeypatch.setenv("MODE", "other")
    assert torch.equal(operator.weights(points), before)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float8"},
        {"row": 7},
        {"row": -5},
        {"num_teachers": 0},
        {"axiom": "W-Z"},
        {"features": {"entropy": []}},
        {"features": {"entropy": [[1.0, 2.0], [3.0]]}},
        {"features": {"entropy": [[1.0, 2.0]]}},
    ],
    ids=str,
)
def test_a_malformed_witness_costs_one_line(change: dict[str, Any]) -> None:
    operator = made(lambda entropy: torch.softmax(-entropy, dim=-1))
    witness = certify(operator, Specification(3, floor=0.05), seconds=0.1).violated[0].witness
    assert witness is not None
    with pytest.raises(InputError):
        replay(operator, Witness.from_json(witness.to_json() | change))
