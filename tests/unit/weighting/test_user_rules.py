from __future__ import annotations

import functools
import math

import pytest
import torch

import trivium as tv
from trivium.errors import InputError, RuleError
from trivium.weighting import UserRule, rule
from trivium.weighting.features import BUILT_IN, Range, check_ranges

F64 = torch.float64


@tv.rule(scale="token", features={"entropy": (0.0, 12.0), "length": (0.0, 100.0)})
def by_both(entropy, length):
    """Doc of the function."""
    return torch.softmax(-entropy - length / 100, dim=-1)


def made(function, features=("entropy",), scale="token") -> UserRule:
    return rule(scale, list(features))(function)


def test_the_rule_is_the_function_with_a_name():
    assert isinstance(by_both, UserRule)
    assert (by_both.name, by_both.scale, by_both.__doc__) == ("by_both", "token", "Doc of the function.")
    assert by_both.ranges == {"entropy": Range(0.0, 12.0), "length": Range(0.0, 100.0)}
    assert by_both.formula() == str(by_both) == "by_both(entropy, length)"
    assert by_both.source == __file__
    assert by_both.constants(3) is None
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(by_both(x, length=x), torch.softmax(-x - x / 100, dim=-1))


def test_weights_see_clipped_features_and_are_not_normalized():
    x = {"entropy": torch.tensor([13.0, -1.0, math.inf]), "length": torch.zeros(3), "unused": torch.tensor(math.nan)}
    assert torch.equal(by_both.weights(x), torch.softmax(-torch.tensor([12.0, 0.0, 12.0]), dim=-1))
    doubled = made(lambda entropy: 2 * torch.softmax(-entropy, dim=-1))
    w = doubled.log_weights({"entropy": torch.zeros(2, dtype=F64)})
    assert w.tolist() == pytest.approx([0.0, 0.0], abs=1e-15)  # 2·½: W-N is for the axioms to find


def test_negative_and_zero_weights_are_zero_in_logs():
    signed = made(lambda entropy: entropy - 1.0)
    w = signed.log_weights({"entropy": torch.tensor([0.0, 1.0, 2.0])})
    assert w.tolist() == [-math.inf, -math.inf, 0.0]
    assert signed.weights({"entropy": torch.tensor([0.0, 1.0, 2.0])}).tolist() == [-1.0, 0.0, 1.0]


def test_nan_weights_are_refused():
    broken = made(lambda entropy: entropy / 0.0 * 0.0)
    with pytest.raises(RuleError, match=r"'<lambda>' must return numbers; received NaN. Run `trivium certify` on it"):
        broken.log_weights({"entropy": torch.ones(2)})


@pytest.mark.parametrize(
    ("function", "received"),
    [
        (lambda entropy: entropy.sum(-1), r"\(5,\)"),
        (lambda entropy: entropy[..., :2], r"\(5, 2\)"),
        (lambda entropy: entropy.tolist(), "list"),
        (lambda entropy: None, "NoneType"),
        (lambda entropy: 0.5, "float"),
    ],
)
def test_weights_of_another_shape_or_type_are_refused(function, received):
    line = rf"must return weights of shape \(5, 3\); received {received}. Reduce over dim=-1 only"
    with pytest.raises(RuleError, match=line):
        made(function).log_weights({"entropy": torch.ones(5, 3)})


def test_features_broadcast_to_the_shape_of_the_weights():
    w = by_both.log_weights({"entropy": torch.zeros(2, 7, 3), "length": torch.ones(2, 1, 3)})
    assert w.shape == (2, 7, 3)
    by_one = made(lambda entropy, gap: torch.softmax(gap, -1), ("entropy", "gap"))
    assert by_one.log_weights({"entropy": torch.zeros(2, 7, 3), "gap": torch.ones(2, 1, 3)}).shape == (2, 7, 3)


def test_a_transposed_batch_is_refused():
    """Of one row a transpose is the row itself."""
    with pytest.raises(RuleError, match=r"the same on one row .*received weights of another shape"):
        made(lambda entropy: entropy.T).log_weights({"entropy": torch.ones(5, 3)})


def test_a_rule_of_shared_features_alone_says_itself_how_many_teachers_there_are():
    by_domain = made(lambda domain: torch.softmax(torch.cat([domain, -domain, 0 * domain], -1), -1), ("domain",))
    assert by_domain.log_weights({"domain": torch.ones(4, 6, 1)}).shape == (4, 6, 3)
    with pytest.raises(RuleError, match=r"shape \(4, 3\); received \(5, 3\)"):
        made(lambda domain: torch.ones(5, 3), ("domain",)).log_weights({"domain": torch.ones(4, 1)})
    with pytest.raises(RuleError, match=r"shape \(1,\); received \(\)"):
        made(lambda domain: domain.sum(), ("domain",)).log_weights({"domain": torch.ones(1)})
    with pytest.raises(RuleError, match=r"received list"):
        made(lambda domain: [1.0], ("domain",)).log_weights({"domain": torch.ones(1)})


def test_what_the_function_raises_comes_through():
    def fails(entropy):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match=r"mine"):
        made(fails).log_weights({"entropy": torch.ones(2)})


@pytest.mark.parametrize("scale", ["tokens", "Task", "", None])
def test_the_scale_is_one_of_three(scale):
    with pytest.raises(InputError, match=r"the scale of a rule must be known; received"):
        rule(scale, ["entropy"])
    with pytest.raises(InputError, match=r"received 'tokens'. Did you mean 'token'"):
        rule("tokens", ["entropy"])  # type: ignore[arg-type]


def positional(entropy, /):
    return entropy


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (lambda entropi: entropi, "entropi"),
        (lambda: torch.ones(2), ""),
        (lambda entropy, temperature: entropy, "entropy, temperature"),
        (lambda entropy, *, temperature: entropy, "entropy, temperature"),
        (lambda temperature, **features: temperature, "temperature, features"),
        (positional, "entropy"),
        (lambda *features: features[0], "features"),
    ],
)
def test_parameters_are_the_features(function, parameters):
    line = rf"must take its features by name: \(entropy\); received \({parameters}\). Rename the parameters"
    with pytest.raises(InputError, match=line):
        made(function)


class Callable:
    def __call__(self, entropy):
        return torch.softmax(-entropy, dim=-1)


@pytest.mark.parametrize(
    "function",
    [
        lambda entropy, temperature=2.0: torch.softmax(-entropy, dim=-1),
        lambda **features: torch.softmax(-features["entropy"], dim=-1),
        lambda *rest, entropy: torch.softmax(-entropy, dim=-1),
        functools.partial(lambda entropy, t: torch.softmax(-t * entropy, dim=-1), t=1.0),
        Callable(),
        Callable().__call__,
    ],
)
def test_whatever_takes_the_features_by_name_is_a_rule(function):
    w = made(function).log_weights({"entropy": torch.tensor([0.0, math.log(2)], dtype=F64)})
    assert w.exp().tolist() == pytest.approx([2 / 3, 1 / 3])


def test_what_has_no_parameters_is_no_rule():
    with pytest.raises(InputError, match=r"a rule must be made of a Python function; received no signature found"):
        made(torch.softmax)
    with pytest.raises(InputError, match=r"Wrap it in a `def`"):
        made(3)


# Ranges


def test_a_list_takes_the_built_in_ranges_and_a_mapping_keeps_their_kind():
    assert check_ranges(["entropy", "domain"]) == {"entropy": BUILT_IN["entropy"], "domain": BUILT_IN["domain"]}
    assert check_ranges(("gap",)) == {"gap": BUILT_IN["gap"]}
    assert check_ranges({"domain": (0, 4)}) == {"domain": Range(0.0, 4.0, True, True)}
    assert check_ranges({"domain": (0, 4, False)}) == {"domain": Range(0.0, 4.0, False, False)}
    assert check_ranges({"age": [1, 2]}) == {"age": Range(1.0, 2.0)}
    assert check_ranges({"age": (1, 2, True, True)}) == {"age": Range(1.0, 2.0, True, True)}


@pytest.mark.parametrize("features", [{}, [], ()])
def test_a_rule_reads_something(features):
    with pytest.raises(InputError, match=r"must name at least one feature; received none. Give features="):
        check_ranges(features)


def test_a_single_name_is_not_a_list_of_letters():
    with pytest.raises(InputError, match=r"must be a mapping or a list; received 'entropy'. Put it in a list"):
        check_ranges("entropy")  # type: ignore[arg-type]


def test_a_feature_without_a_range_is_built_in():
    with pytest.raises(InputError) as caught:
        check_ranges(["entropi"])
    assert str(caught.value) == (
        "a feature given without a range must be built in; received 'entropi'. Did you mean 'entropy'? "
        "For your own feature give its range: {'entropi': (low, high)}."
    )


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (-math.inf, 0.0), (math.nan, 1.0)])
def test_a_range_is_finite_and_has_a_width(bounds):
    with pytest.raises(InputError, match=r"'age' must be finite with low < high; received \(.*\). Give the smallest"):
        check_ranges({"age": bounds})


@pytest.mark.parametrize("bounds", [(1.0,), (), ("a", "b"), (0, None), 3, (0, 1, True, True, True, 0, True)])
def test_a_range_is_two_numbers(bounds):
    with pytest.raises(InputError, match=r"range of feature 'age' must be two numbers; received .* Write .low, high"):
        check_ranges({"age": bounds})
    with pytest.raises(InputError, match=r"range of feature 'domain' must be two numbers"):
        check_ranges({"domain": bounds})


def test_the_built_in_ranges_are_ranges():
    for name, interval in BUILT_IN.items():
        assert check_ranges({name: interval[:2]}) == {name: interval}
