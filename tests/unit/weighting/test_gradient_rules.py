"""AEKD and TorchJD's weightings: their formulas, what they promise about gradients, and their edges."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.gradients import bargain, dual_cone, least_norm
from trivium.errors import InfeasibleError, InputError
from trivium.simplex.semidefinite import nearest_psd
from trivium.weighting import AEKD, DomainMap, NashMTL, Rule, Static, TorchJD
from trivium.weighting.features import count_teachers
from trivium.weighting.task.torchjd import METHODS, normalized, weighting

KEEPS = ("upgrad", "dualproj", "mgda")


def gradients(num_teachers: int, width: int = 4, seed: int = 0) -> Tensor:
    """[K, P] of norm at most one, so that no inner product is clipped."""
    rows = torch.randn(num_teachers, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=-1).max()


def feature(rows: Tensor) -> dict[str, Tensor]:
    return {"gram": (rows @ rows.mT).flatten(-2)}


@pytest.mark.parametrize("cap", [1.0, 0.6, 0.4])
def test_aekd_is_the_shortest_mean_under_its_cap(cap: float) -> None:
    for seed in range(8):
        g = gradients(4, 6, seed)
        w = AEKD(cap).log_weights(feature(g)).exp()
        expected, _ = least_norm(g.numpy(), cap)
        assert w.tolist() == pytest.approx(expected.tolist(), abs=2e-5)


def test_aekd_gives_weights_of_zero_and_of_the_cap() -> None:
    g = torch.tensor([[0.1, 0.0], [1.0, 0.1], [1.0, -0.1]], dtype=torch.float64)
    assert AEKD(1.0).log_weights(feature(g)).tolist() == pytest.approx([0.0, -torch.inf, -torch.inf], abs=1e-15)
    assert AEKD(0.6).log_weights(feature(g)).exp().tolist() == pytest.approx([0.6, 0.2, 0.2])


def test_aekd_keeps_dtype_and_leading_axes() -> None:
    g = gradients(3).float().expand(2, 5, 3, 4)
    found = AEKD().log_weights(feature(g))
    assert found.shape == (2, 5, 3)
    assert found.dtype == torch.float32


def test_aekd_without_room_is_refused_when_built_and_when_called() -> None:
    for call in (lambda: AEKD(0.3).constants(3), lambda: AEKD(0.3).log_weights(feature(gradients(3)))):
        with pytest.raises(InfeasibleError, match=r"at least 0\.3333"):
            call()
    assert AEKD(0.3).constants(4).influence == torch.inf
    for cap in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="cap"):
            AEKD(cap)


def test_aekd_claims_w_c_only_where_no_cap_binds() -> None:
    assert AEKD(1.0).pareto(3).startswith("W-C")
    assert AEKD(0.6).pareto(3) == ""
    assert AEKD(0.6).pareto(1) != ""


def test_a_cap_breaks_w_c_where_the_docstring_says() -> None:
    def least(r: float) -> float:  # opposed gradients of lengths 1 and r
        g = torch.tensor([[1.0], [-r]], dtype=torch.float64) / r
        w = AEKD(0.6).log_weights(feature(g)).exp()
        return float((g @ g.T @ w).min())

    threshold = 0.6 / 0.4  # r/(1 + r) = 0.6
    assert least(0.99 * threshold) >= -1e-15
    assert least(1.01 * threshold) < -1e-3


def test_nash_mtl_is_the_bargain_over_the_step() -> None:
    for seed in range(8):
        g = gradients(3, 4, seed)
        w = NashMTL().log_weights(feature(g)).exp()
        step = (w @ g).numpy()
        assert (step / np.linalg.norm(step)).tolist() == pytest.approx(bargain(g.numpy()).tolist(), abs=1e-4)


def test_nash_mtl_gives_weights_to_matrices_that_are_semidefinite_only_in_float32() -> None:
    odd = torch.tensor([-2.0, 0.0, 2.0, -2.0, 0.0, -2.0, 2.0, 0.0, 0.0])
    assert NashMTL().log_weights({"gram": odd}).exp().sum().item() == pytest.approx(1.0)
    assert NashMTL().constants(1).influence == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_a_method_weighs_as_torchjd_does(method: Any) -> None:
    rows = torch.stack([gradients(3, 5, seed) for seed in range(4)])
    raw = TorchJD(method, raw=True).weights(feature(rows))
    grams = nearest_psd(feature(rows)["gram"]).unflatten(-1, (3, 3))  # a product of one matrix may round otherwise
    for gram, v in zip(grams, raw, strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            assert torch.equal(v, weighting(method)(gram))
    w = TorchJD(method).log_weights(feature(rows)).exp()
    assert torch.allclose(w.sum(-1), torch.ones(4, dtype=torch.float64))
    positive = raw.clamp_min(0.0)
    assert torch.allclose(w, positive / positive.sum(-1, keepdim=True))  # nowhere is nothing left


def test_upgrad_and_dualproj_are_projections_on_the_dual_cone() -> None:
    for seed in range(5):
        g = gradients(3, 4, seed)
        mean = [1 / 3] * 3
        dual = TorchJD("dualproj", raw=True).weights(feature(g)).numpy()
        assert np.linalg.norm(g.numpy().T @ (dual - dual_cone(g.numpy(), mean))) < 2e-3
        parts = [dual_cone(g.numpy(), [mean[k] if k == j else 0.0 for k in range(3)]) for j in range(3)]
        up = TorchJD("upgrad", raw=True).weights(feature(g)).numpy()
        assert np.linalg.norm(g.numpy().T @ (up - np.sum(parts, axis=0))) < 2e-3


def test_mgda_comes_near_the_exact_minimum() -> None:
    for seed in range(5):
        g = gradients(3, 4, seed)
        length = [float((rule.log_weights(feature(g)).exp() @ g).norm()) for rule in (TorchJD("mgda"), AEKD(1.0))]
        assert length[1] - 1e-12 <= length[0] <= length[1] + 0.02


@pytest.mark.parametrize("method", KEEPS)
def test_no_loss_rises_beyond_what_the_solver_leaves(method: Any) -> None:
    for seed in range(30):
        g = gradients(3, 2 + seed % 3, seed)
        gram = g @ g.T
        w = TorchJD(method).log_weights(feature(g)).exp()
        raw = TorchJD(method, raw=True).weights(feature(g))
        # (G/tr G + 1e-4·I) v ≥ 0 for the projections; 1/(iterations) of Frank and Wolfe for the mean
        allowed = 2e-4 * float(gram.trace() * raw.max() / raw.sum()) if method != "mgda" else 0.03
        assert float((gram @ w).min()) >= -allowed


def test_pcgrad_is_a_function_and_leaves_the_random_state_alone() -> None:
    g = feature(torch.stack([gradients(5, 3, seed) for seed in range(6)]))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = TorchJD("pcgrad").log_weights(g)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(TorchJD("pcgrad").log_weights(g), first)
    flipped = TorchJD("pcgrad").log_weights({"gram": g["gram"].flip(0)}).flip(0)
    assert torch.equal(flipped, first)
    assert not torch.equal(TorchJD("pcgrad", seed=7).log_weights(g), first)


@pytest.mark.parametrize("num_teachers", [2, 3, 5, 7, 9, 17])
@pytest.mark.parametrize("rule", [NashMTL(), AEKD(1.0), TorchJD("imtl_g"), TorchJD("aligned_mtl")], ids=Rule.formula)
def test_singular_matrices_weigh_the_same_in_every_place_of_a_batch(rule: Rule, num_teachers: int) -> None:
    rows = torch.stack([gradients(num_teachers, 3, seed) for seed in range(24)])
    rows[:, 1] = -rows[:, 0]
    for dtype in (torch.float32, torch.float64):
        features = {name: value.to(dtype) for name, value in feature(rows).items()}
        found = rule.log_weights(features)
        for shift in (1, 3):
            moved = rule.log_weights({name: value.roll(shift, 0) for name, value in features.items()})
            assert torch.equal(moved.roll(-shift, 0), found)
        assert torch.equal(rule.log_weights({"gram": features["gram"][7]}), found[7])


def test_the_radius_of_cagrad_matters() -> None:
    g = feature(gradients(3, 2, 1))
    assert TorchJD("cagrad", radius=0.0).log_weights(g).exp().tolist() == pytest.approx([1 / 3] * 3, abs=1e-6)
    assert not torch.allclose(TorchJD("cagrad", radius=1.0).log_weights(g).exp(), torch.full((3,), 1 / 3).double())


def test_normalization_has_no_dead_ends() -> None:
    rows = torch.tensor([[2.0, -1.0, 2.0], [-1.0, -2.0, 0.0], [torch.nan, 1, 1], [torch.inf, 1, 1], [1e-45] * 3])
    other = torch.tensor([0.2, 0.3, 0.5])
    found = normalized(rows, other)
    assert found[0].tolist() == [0.5, 0.0, 0.5]
    for row in found[1:4]:
        assert row.tolist() == pytest.approx(other.tolist())
    assert found[4].tolist() == pytest.approx([1 / 3] * 3)


def residual(method: Any, gram: list[float], **options: Any) -> float:
    """−min_k ⟨g_k, Σ_j w_j g_j⟩"""
    flat = torch.tensor(gram, dtype=torch.float64)
    w = TorchJD(method, **options).log_weights({"gram": flat}).exp()
    return -float((flat.view(len(w), -1) @ w).min())


def test_methods_that_promise_less_break_w_c_at_these_gradients() -> None:
    a, b = 0.46, -1.0  # two opposed gradients on a line
    assert residual("cagrad", [a * a, a * b, a * b, b * b], radius=0.5) > 0.04
    a, b = 1.0, -0.883
    for method in ("imtl_g", "aligned_mtl"):
        assert residual(method, [a * a, a * b, a * b, b * b]) > 0.1
    three = [1.0, -0.232, -0.458, -0.232, 0.883, -0.385, -0.458, -0.385, 0.501]
    assert residual("pcgrad", three) > 0.05


def test_cagrad_with_radius_one_keeps_w_c_on_the_front_as_well() -> None:
    for seed in range(40):
        g = gradients(2 + seed % 2, 1 + seed % 3, seed)
        assert residual("cagrad", (g @ g.T).flatten().tolist(), radius=1.0) < 2e-3


def test_pcgrad_of_two_keeps_w_c() -> None:
    for seed in range(100):
        g = gradients(2, 1 + seed % 3, seed)
        assert residual("pcgrad", (g @ g.T).flatten().tolist()) < 1e-14


@pytest.mark.parametrize("method", METHODS)
def test_gradients_that_vanish_give_weights(method: Any) -> None:
    assert TorchJD(method).log_weights({"gram": torch.zeros(2, 9)}).exp().sum(-1).tolist() == pytest.approx([1, 1])


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="upgrad"):
        TorchJD("upgrd")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="radius"):
        TorchJD(radius=-1.0)


def test_without_torchjd_the_rule_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "torchjd":
            raise ImportError("No module named 'torchjd'")
        return original(name, *args, **kwargs)

    weighting.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'trivium\[gradients\]'"):
        TorchJD().constants(3)


def test_without_its_solver_a_method_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchjd import aggregation

    def refuse(**_: Any) -> None:
        raise ImportError("needs cvxpy")

    weighting.cache_clear()
    monkeypatch.setattr(aggregation, "CAGradWeighting", refuse)
    with pytest.raises(InputError, match="cagrad needs"):
        TorchJD("cagrad").constants(3)


@pytest.mark.deep
def test_the_rule_is_there_without_importing_torchjd() -> None:
    code = "import sys, trivium.weighting; print('torchjd' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_rules_that_count_teachers_are_not_misled_by_a_gram_matrix() -> None:
    features = {"gram": torch.zeros(2, 9), "teachers": torch.zeros(3), "domain": torch.zeros(2, 1)}
    assert Static((3.0, 2.0, 1.0)).log_weights(features).exp().tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert DomainMap((0, 1)).log_weights(features).shape == (2, 3)
    assert count_teachers({"gram": torch.zeros(9), "entropy": torch.zeros(3)}) == 3
