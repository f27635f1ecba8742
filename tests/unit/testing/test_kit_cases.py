"""The points of the kit: inside the ranges, of the right shape, with the places where rules break among them."""

from __future__ import annotations

import pytest
import torch

from every_rule import ONE_OF_EACH
from trivium.errors import InputError
from trivium.testing import cases
from trivium.weighting import DomainMap, Entropy, Static


@pytest.mark.parametrize("num_teachers", [1, 2, 3, 16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_points_are_inside_their_ranges(num_teachers: int, dtype: torch.dtype) -> None:
    ranges = {"entropy": (0.0, 12.0), "label_log_prob": (-30.0, 0.0)}
    at = cases.points(ranges, num_teachers, dtype)
    assert {value.shape for value in at.values()} == {(len(at["entropy"]), num_teachers)}
    for name, (low, high) in ranges.items():
        assert at[name].dtype == dtype
        assert low <= at[name].min()
        assert at[name].max() <= high
        assert at[name].min() == low
        assert at[name].max() == high


def test_ties_near_one_hot_and_joint_extremes_are_among_them() -> None:
    at = cases.points({"a": (0.0, 2.0), "b": (-1.0, 1.0)}, 3)
    rows = {tuple(row) for row in torch.cat([at["a"], at["b"]], dim=-1).tolist()}
    assert (0.0, 0.0, 0.0, -1.0, -1.0, -1.0) in rows
    assert (1.0, 1.0, 1.0, 0.0, 0.0, 0.0) in rows
    assert (2.0, 0.0, 0.0, -1.0, 1.0, 1.0) in rows
    assert (0.0, 2.0, 2.0, 1.0, -1.0, -1.0) in rows
    near = at["a"].sort(dim=-1).values.diff(dim=-1)
    assert ((near > 0) & (near < 1e-8)).any()


def test_many_features_do_not_explode() -> None:
    at = cases.points({name: (0.0, 1.0) for name in "abcdef"}, 4)
    assert len(at["a"]) <= 3 * cases.LIMIT
    corner = torch.stack([at[name] for name in "abcdef"])
    assert (corner == 1).all(dim=0).all(dim=-1).any()
    assert (corner == 0).all(dim=0).all(dim=-1).any()


def test_whole_numbers_and_shared_features() -> None:
    at = cases.points(DomainMap((0, 1, 2)).ranges, 3)
    assert at["domain"].shape[1] == 1
    assert sorted(set(at["domain"].flatten().tolist())) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", sorted(set(ONE_OF_EACH) - {"static"}))
def test_a_rule_of_the_catalogue_is_defined_at_all_of_them(name: str) -> None:
    rule = ONE_OF_EACH[name]
    features = {**cases.points(rule.ranges, 3), "teachers": torch.zeros(3, dtype=torch.float64)}
    w = rule.log_weights(features).exp()
    assert torch.allclose(w.sum(dim=-1), torch.ones((), dtype=torch.float64))


def test_no_features_no_points() -> None:
    assert cases.points(Static().ranges, 3) == {}


@pytest.mark.parametrize("wrong", [{"a": (1.0, 0.0)}, {"a": (0.0, float("inf"))}])
def test_a_bad_range_is_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(InputError):
        cases.points(wrong, 2)


def test_no_teachers_are_refused() -> None:
    for make in (lambda: cases.points(Entropy().ranges, 0), lambda: cases.log_weights(0), lambda: cases.gradients(0)):
        with pytest.raises(InputError):
            make()


@pytest.mark.parametrize("num_teachers", [1, 2, 5])
def test_log_weights_are_normalized_with_zeros_and_tiny_ones(num_teachers: int) -> None:
    log_w = cases.log_weights(num_teachers)
    assert not log_w.isnan().any()
    assert torch.allclose(log_w.exp().sum(dim=-1), torch.ones(len(log_w), dtype=torch.float64))
    if num_teachers > 1:
        assert (log_w == -torch.inf).any()
        assert ((log_w < -600) & log_w.isfinite()).any()
        assert (log_w == log_w[:, :1]).all(dim=-1).any()


@pytest.mark.parametrize("num_teachers", [1, 2, 4])
def test_gradients_conflict_vanish_and_differ_in_length(num_teachers: int) -> None:
    named = cases.gradients(num_teachers)
    assert all(g.shape[0] == num_teachers for g in named.values())
    assert not named["all of them zero"].any()
    if num_teachers > 1:
        assert named["opposed"][0] @ named["opposed"][1] < 0
        assert named["in conflict"][0] @ named["in conflict"][1] < 0
        lengths = named["in conflict, lengths 1e3 and 1e-3"].norm(dim=-1)
        assert lengths.max() / lengths.min() > 1e5
