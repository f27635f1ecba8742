"""The likelihood that is maximized: its gradient, and that what is fitted is what runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reference import mixtures as reference
from seen import CONTEXT, TOKEN, observed
from trivium.errors import InfeasibleError, InputError
from trivium.fitting import Family, Observations
from trivium.fitting.judging import mixed, weighed
from trivium.fitting.likelihood import Likelihood
from trivium.fitting.optimize import maximize
from trivium.fitting.threads import one_thread

BOUNDS: dict[str, dict[str, Any]] = {
    "free": {},
    "floor and cap": {"floor": 0.08, "cap": 0.55},
    "order": {"order": "t0 > t1 = t2", "order_margin": 0.0},
    "order, margin and floor": {"floor": 0.02, "order": "t0 > t1 = t2", "order_margin": 0.3},
}
BUDGETS = {"shared": 4.0, "by scale": {"token": 1.0, "task": 2.0, "context": 3.0}}


def likelihood(data: Observations, budget: Any = 4.0, **bounds: Any) -> Likelihood:
    return Likelihood(Family(TOKEN, CONTEXT, True, budget, **bounds), data)


def point(size: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("absent", [pytest.param(False, marks=pytest.mark.deep), True])
def test_the_gradient_is_that_of_the_value(bounds: str, budget: str, absent: bool) -> None:
    found = likelihood(observed(absent=absent), BUDGETS[budget], **BOUNDS[bounds])
    x, size = point(found.shape.size), found.shape.size
    value, slope = found.gradient(x, 0.01)
    assert value == pytest.approx(found.value(x) - 0.005 * float(x @ x), abs=1e-12)
    for place in range(size):
        step = torch.zeros(size, dtype=torch.float64)
        step[place] = 1e-6
        difference = (found.gradient(x + step, 0.01)[0] - found.gradient(x - step, 0.01)[0]) / 2e-6
        assert float(slope[place]) == pytest.approx(difference, abs=2e-8), place
    by_document, sizes = found.by_document(x)
    assert sizes.tolist() == torch.bincount(found.data.document).tolist()
    torch.testing.assert_close(by_document.sum(0) / len(found.data) - 0.01 * x, slope, rtol=0, atol=1e-13)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("absent", [False, True])
def test_what_is_fitted_is_what_runs(bounds: str, absent: bool) -> None:
    """The scheme that a recipe states, with its six digits, by the code that trains."""
    data = observed(absent=absent)
    found = likelihood(data, BUDGETS["by scale"], **BOUNDS[bounds])
    x = point(found.shape.size, 1)
    scheme = found.family.scheme(data.teacher_names, found.shape.rules(x))
    runs, fitted = weighed(scheme, data), found.log_weights(x)
    teacher_mask = torch.ones_like(runs, dtype=torch.bool) if data.teacher_mask is None else data.teacher_mask
    torch.testing.assert_close(runs[teacher_mask], fitted[teacher_mask], rtol=0, atol=2e-4)
    torch.testing.assert_close(mixed(runs, data), found.token_log_likelihood(x), rtol=0, atol=2e-4)


def test_shared_budgets_sum_to_the_whole_and_are_rounded_down() -> None:
    found = likelihood(observed(), 5.0)
    for seed in range(20):
        x = point(found.shape.size, seed, 5.0)
        tiny = likelihood(observed(), 1e-7).shape.rules(x)
        assert 0 < sum(rule.budget for rule in tiny.values()) <= 1e-7
        assert sum(found.shape.budgets(x).values()) == pytest.approx(5.0, abs=1e-12)
        rules = found.shape.rules(x)
        assert 5.0 * (1 - 2e-4) < sum(rule.budget for rule in rules.values()) <= 5.0


def test_an_absent_teacher_has_the_bias_of_its_stand_in() -> None:
    """Else its bias could be the largest, from which the budget of those that serve is counted."""
    data = observed(absent=True)
    found = likelihood(data)
    rows = found.shape.rules(point(found.shape.size))["task"].rule.bias
    assert rows[1][0] == rows[1][1]
    assert rows[0][0] != rows[0][1]


def test_the_skill_alone_is_the_teachers_mean_log_probability() -> None:
    data = observed()
    found = likelihood(data)
    x = torch.zeros(found.shape.size, dtype=torch.float64)
    x[found.shape.slices()["task"].start] = 1.0
    rows = torch.tensor(found.shape.rules(x)["task"].rule.bias, dtype=torch.float64)
    for task in range(2):
        skill = data.label_log_prob[data.task == task].mean(0)
        ratio = (rows[task] / (skill - skill.mean())).tolist()
        assert ratio == pytest.approx([ratio[0]] * 3, rel=1e-4)
        assert ratio[0] > 0


def independent(found: Likelihood, penalty: float) -> Any:
    """The penalized objective by the reference alone, from the same numbers x; the layout of x is the library's."""
    data, family, shape = found.data, found.family, found.shape
    features = {name: value.numpy() for name, value in data.features.items()}
    places, log_p = shape.slices(), data.label_log_prob.numpy()

    def objective(x: np.ndarray) -> float:
        token = sum(
            x[i] / float(shape.units["token"][i]) * features[name] for i, name in enumerate(family.read_at("token"))
        )
        place = places["context"].start
        context = x[place] / float(shape.units["context"][0]) * features["recent_log_prob_90"]
        bias = (shape.bias.numpy() @ x[places["task"]]).reshape(2, -1)[data.task.numpy()]
        logits = np.exp(x[places["shares"]] - x[places["shares"]].max())
        shares = 0.9 * logits / logits.sum() + 0.1 / 3
        scales = [(found, share * family.whole) for found, share in zip((token, bias, context), shares, strict=True)]
        value = reference.log_likelihood(scales, log_p, family.floor, family.cap)
        return value - penalty / 2 * float(x @ x)

    return objective


def problem(seed: int) -> tuple[Likelihood, float]:
    num_teachers = 2 + seed % 4
    bounds = [{}, {"floor": 0.05}, {}, {"floor": 0.02, "cap": 0.8}][seed % 4]
    data = observed(seed, 60, num_teachers, documents=6)
    return likelihood(data, (1.0, 4.0, 8.0)[seed % 3], **bounds), (1e-2, 1e-3, 1e-4)[seed % 3]


def test_the_value_is_the_references() -> None:
    for seed in range(4):
        found, penalty = problem(seed)
        x = point(found.shape.size, seed)
        assert found.gradient(x, penalty)[0] == pytest.approx(independent(found, penalty)(x.numpy()), abs=1e-9)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(20))
def test_no_start_of_another_optimizer_ends_higher(seed: int) -> None:
    """An ascent that stops at a kink of the squash or of the projection; the slopes are held to differences above, and
    what is found is judged by the reference."""
    found, penalty = problem(seed)
    mine = independent(found, penalty)(maximize(found, penalty).numpy())

    def quick(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = found.gradient(torch.from_numpy(x), penalty)
        return value, slope.numpy()

    with one_thread():
        assert mine >= reference.best_of(quick, found.shape.size, 20, seed) - 1e-6


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"token": ["entrpy"]}, "entropy"),
        ({"token": ["label_log_prob"]}, "sees the label"),
        ({"token": ["gap"]}, "sees the student"),
        ({"token": ["entropy"], "context": ["entropy"]}, "one scale"),
        ({"token": [], "context": [], "task": False}, "something to fit"),
        ({"budget": 0.0}, "positive number of nats"),
        ({"budget": {"token": 1.0}}, "each scale"),
    ],
)
def test_what_no_family_is(given: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Family(**given)


def test_bounds_that_no_weights_meet_are_refused() -> None:
    with pytest.raises(InfeasibleError, match="floor"):
        likelihood(observed(), floor=0.5)
