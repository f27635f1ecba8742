"""The evidence of the last tokens: against a plain loop, and that no token weighs itself. No other file looks at it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trivium.errors import InputError
from trivium.scheme import compose
from trivium.training.build import build_scheme
from trivium.training.collect import Batch, collect_features
from trivium.training.recipe import parse_recipe
from trivium.weighting import Scores
from trivium.weighting.evidence import recent_log_prob
from trivium.weighting.features import BUILT_IN, DECAYS

F64 = torch.float64
B, T, V, K = 2, 300, 7, 3


def plain(log_p: Tensor, decay: float, mask: Tensor) -> Tensor:
    """By the recursion, in Python floats."""
    found = torch.zeros_like(log_p)
    for b in range(log_p.shape[0]):
        for k in range(log_p.shape[2]):
            value = 0.0
            for t in range(log_p.shape[1]):
                found[b, t, k] = value
                value = decay * value + (max(-30.0, float(log_p[b, t, k])) if mask[b, t] else 0.0)
    return found


@given(
    seed=st.integers(0, 2**31),
    tokens=st.sampled_from([1, 2, 9, 127, 128, 129, 300]),
    decay=st.sampled_from([1e-3, 0.5, 0.9, 0.99, 1 - 1e-6]),
    masked=st.booleans(),
)
def test_it_is_the_recursion_whatever_the_length(seed: int, tokens: int, decay: float, masked: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    log_p = -9.0 * torch.rand(B, tokens, K, generator=draw, dtype=F64)
    mask = torch.rand(B, tokens, generator=draw) < (0.5 if masked else 2.0)
    log_p[..., 0] = torch.where(mask, log_p[..., 0], torch.nan)  # what is not predicted may hold anything
    got = recent_log_prob(log_p, decay, mask)
    torch.testing.assert_close(got, plain(log_p, decay, mask), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("t", [0, 1, 127, 128, 200])
def test_a_token_and_what_follows_it_change_no_bit_of_its_own_evidence(name: str, t: int) -> None:
    torch.manual_seed(t)
    scheme = compose(("a", "b", "c"), context=[Scores({name: 1.0}, scale="context")])
    logits = [3 * torch.randn(B, T, V) for _ in range(K)]
    logits[0][:, :, 0] = -torch.inf  # a teacher that rules a token out
    labels = torch.randint(V, (B, T))
    other = labels.clone()
    other[:, t:] = (labels[:, t:] + torch.randint(1, V, (B, T - t))) % V
    other[0, t] = 0

    def evidence(given: Tensor) -> Tensor:
        batch = Batch(given, logits, torch.zeros(B), torch.zeros(B), {})
        return collect_features(scheme, batch, None, torch.zeros(1, K))[name]

    before, after = evidence(labels), evidence(other)
    assert torch.equal(before[:, : t + 1], after[:, : t + 1])
    assert not torch.equal(before[:, t + 1], after[:, t + 1])
    assert bool((before >= BUILT_IN[name].low).all())
    assert bool((before <= 0).all())


@pytest.mark.parametrize("name", DECAYS)
def test_a_ruled_out_token_is_forgotten_and_the_range_is_met(name: str) -> None:
    decay = DECAYS[name]
    log_p = torch.zeros(1, 4000, 1)
    log_p[0, 0] = -torch.inf
    got = recent_log_prob(log_p, decay)
    assert float(got[0, 1, 0]) == -30.0
    assert abs(float(got[0, -1, 0])) < 1e-12
    worst = recent_log_prob(torch.full((1, 4000, 1), -torch.inf, dtype=F64), decay)
    assert float(worst.min()) == pytest.approx(BUILT_IN[name].low, rel=1e-9)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, math.nan])
def test_a_decay_is_a_share(decay: float) -> None:
    with pytest.raises(InputError, match=r"in \(0, 1\)"):
        recent_log_prob(torch.zeros(1, 1, 1), decay)


def test_labelled_examples_have_no_last_tokens() -> None:
    recipe = parse_recipe(
        {
            "student": {"model": "m.py:make"},
            "teachers": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}],
            "data": {
                "kind": "examples",
                "tasks": {"t": ["x", "y"]},
                "domains": [{"name": "d", "task": "t", "train": "x", "validation": "x"}],
            },
            "scheme": {"context": [{"rule": "scores", "options": {"weights": {"recent_log_prob_90": 1.0}}}]},
        }
    )
    with pytest.raises(InputError, match="recent_log_prob_90"):
        build_scheme(recipe)
