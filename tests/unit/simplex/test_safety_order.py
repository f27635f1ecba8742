from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.log_weights import orders
from trivium.errors import InputError
from trivium.simplex import Order

NAMES = ["alpha", "beta", "gamma"]


@pytest.mark.parametrize(
    ("text", "tiers", "ranks"),
    [
        ("alpha>beta>gamma", ((0,), (1,), (2,)), (2, 1, 0)),
        (" gamma > alpha = beta ", ((2,), (0, 1)), (0, 0, 1)),
        ("alpha=beta=gamma", ((0, 1, 2),), (0, 0, 0)),
    ],
)
def test_parse(text: str, tiers: tuple[tuple[int, ...], ...], ranks: tuple[int, ...]) -> None:
    order = Order.parse(text, NAMES)
    assert order.tiers == tiers
    assert order.ranks(3) == ranks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha>bet>gamma", "Did you mean 'beta'?"),
        ("alpha>beta>alpha", "'alpha' comes twice"),
        ("alpha>beta", "missing: gamma"),
        ("beta", "missing: alpha, gamma"),
        ("alpha>>beta=gamma", "both sides"),
        ("", "both sides"),
    ],
)
def test_a_bad_order_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Order.parse(text, NAMES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_must_be_distinct() -> None:
    with pytest.raises(InputError, match="distinct"):
        Order.parse("a>b", ["a", "b", "a"])


@pytest.mark.parametrize("tiers", [(), ((0,), ()), ((0,), (0,)), ((1,), (2,)), ((-1,), (0,))])
def test_tiers_hold_each_teacher_once(tiers: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError):
        Order(tiers)


def test_ranks_are_over_the_orders_own_teachers() -> None:
    with pytest.raises(InputError, match="2 teachers"):
        Order(((0,), (1,))).ranks(3)
    with pytest.raises(InputError, match="2 teachers"):
        Order(((0,), (1,))).text(NAMES)


@given(st.integers(1, 6).flatmap(orders))
def test_pairs_ranks_and_text_agree(tiers: tuple[tuple[int, ...], ...]) -> None:
    order = Order(tiers)
    ranks = order.ranks(order.num_teachers)
    teachers = range(order.num_teachers)
    assert sorted(order.pairs()) == [(j, k) for j in teachers for k in teachers if ranks[j] > ranks[k]]
    assert min(ranks) == 0
    assert max(ranks) == len(tiers) - 1
    names = [f"teacher {k}" for k in teachers]
    assert Order.parse(order.text(names), names) == order
