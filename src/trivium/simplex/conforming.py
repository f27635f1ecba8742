"""The conforming set C(a, b, ≽, m): every weight vector that W-N, W-B and W-S allow, and whether there is one (T1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import InfeasibleError, require
from trivium.former import renamed
from trivium.simplex.order import Order
from trivium.simplex.rounding import deep_slack, log_slack, weight_slack
from trivium.simplex.typed import Typed


@renamed(teachers="num_teachers", margin="order_margin")
@dataclass(frozen=True)
class ConformingSet(Typed):
    """{w : Σ w = 1, a ≤ w_k ≤ b, log w_j ≥ log w_k + m for every j safer than k}.

    Feasibility (T1, with ties). Let tier r = 0 … R−1, least safe first, hold n_r teachers and S = Σ_r n_r·e^{mr}.
    The set has an element iff a ≤ 1/S and b ≥ e^{m(R−1)}/S, and then w_k = e^{m·r_k}/S is one. *Necessary:* the least
    safe teachers have at least a, so each tier r at least a·e^{mr} a teacher, and a·S ≤ Σ w = 1; likewise the
    safest have at most b, tier r at most b·e^{−m(R−1−r)}, and 1 ≤ b·e^{−m(R−1)}·S. *Sufficient:* that w satisfies
    all of them. Without an order R = 1, S = K: a ≤ 1/K ≤ b. A chain has S = (e^{mK} − 1)/(e^m − 1).

    Args:
        num_teachers: K ≥ 1.
        floor: a in [0, 1], a probability.
        cap: b in [0, 1], a probability.
        order: the safety order over the same K teachers, or none.
        order_margin: m ≥ 0 in nats between neighbouring tiers; needs an order.

    Raises:
        InputError: a value outside its range, or an order over another number of teachers.
        InfeasibleError: no element; the message names the least relaxation of each constraint that must give way.

    >>> ConformingSet(3, floor=0.4)
    Traceback (most recent call last):
    trivium.errors.InfeasibleError: floor and cap leave no weight vector. floor 0.4 with 3 teachers: lower it to 0.333
    """

    num_teachers: int
    floor: float = 0.0
    cap: float = 1.0
    order: Order | None = None
    order_margin: float = 0.0

    def __post_init__(self) -> None:
        require(self.num_teachers >= 1, "there must be at least one teacher", self.num_teachers)
        require(0.0 <= self.floor <= 1.0, "a floor must lie in [0, 1]", self.floor)
        require(0.0 <= self.cap <= 1.0, "a cap must lie in [0, 1]", self.cap)
        require(0.0 <= self.order_margin < math.inf, "a safety margin must be a number of nats ≥ 0", self.order_margin)
        if self.order is None:
            require(
                self.order_margin == 0.0,
                "a safety margin needs a safety order",
                self.order_margin,
                "Give order='a>b>…'",
            )
        else:
            require(
                self.order.num_teachers == self.num_teachers,
                f"the safety order must be over the same {self.num_teachers} teachers",
                self.order.num_teachers,
            )
        if not self._feasible(self.order_margin):
            subject = "floor, cap, order and margin" if self.order_margin > 0 else "floor and cap"
            raise InfeasibleError(f"{subject} leave no weight vector", fix=self._relaxation())

    @property
    def ranks(self) -> tuple[int, ...]:
        """r_k per teacher, 0 = least safe; all 0 without an order."""
        return (0,) * self.num_teachers if self.order is None else self.order.ranks(self.num_teachers)

    def element(self) -> Tensor:
        """log of w_k = e^{m·r_k}/S [K] float64: the element from the proof of T1, uniform where m = 0."""
        return torch.log_softmax(self.order_margin * torch.tensor(self.ranks, dtype=torch.float64), dim=-1)

    def among(self, teachers: Sequence[int]) -> ConformingSet:
        """Return a set that holds the restriction (:func:`trivium.simplex.restrict`) of every element to these m
        teachers.

        Floor a, cap b/(b + (m − 1)·a), the order among them with the same margin; it is not empty when this is not.
        """
        m, b, a = len(teachers), self.cap, self.floor
        order = None if self.order is None else self.order.among(teachers)
        return ConformingSet(m, a, b / (b + (m - 1) * a), order, self.order_margin)

    def contains(self, log_w: Tensor) -> Tensor:
        """Return whether each row of log weights [..., K] is an element, up to the rounding of its dtype: bool [...].

        A row with NaN is not. Cost O(K) a row plus O(1) an ordered pair.
        """
        require(
            log_w.shape[-1] == self.num_teachers,
            f"weights must be over {self.num_teachers} teachers",
            tuple(log_w.shape),
        )
        slack = weight_slack(log_w.dtype, self.num_teachers)
        margin_slack = log_slack(log_w.dtype) + deep_slack(log_w)
        exact = log_w.double()
        w = exact.exp()
        inside = (w.sum(dim=-1) - 1).abs() <= slack
        inside &= w.amin(dim=-1) >= self.floor - slack
        inside &= w.amax(dim=-1) <= self.cap + slack
        for j, k in self.order.pairs() if self.order is not None else ():
            # Written without a subtraction: two zero weights (-inf) satisfy w_j ≥ e^m·w_k.
            inside &= exact[..., j] >= exact[..., k] + self.order_margin - margin_slack
        return inside

    def __str__(self) -> str:
        parts = [f"{self.floor:g} ≤ w ≤ {self.cap:g}"]
        if self.order is not None:
            chain = ">".join("=".join(str(teacher) for teacher in tier) for tier in self.order.tiers)
            parts.append(f"order {chain}, margin {self.order_margin:g} nats")
        return f"C({', '.join(parts)})"

    def _range(self, order_margin: float) -> tuple[float, float]:
        """(1/S, e^{m(R−1)}/S): the largest feasible floor and the smallest feasible cap at this margin."""
        top = max(self.ranks)
        smallest_cap = 1.0 / sum(math.exp(-order_margin * (top - rank)) for rank in self.ranks)
        return smallest_cap * math.exp(-order_margin * top), smallest_cap

    def _feasible(self, order_margin: float) -> bool:
        largest_floor, smallest_cap = self._range(order_margin)
        slack = 1 + (self.num_teachers / 2 + 2) * 2.0**-52  # floor = 1/K must pass whatever K·(1/K) rounds to
        return self.floor <= largest_floor * slack and self.cap * slack >= smallest_cap

    def _relaxation(self) -> str:
        largest_floor, smallest_cap = self._range(self.order_margin)
        crowd = f"{self.num_teachers} teacher{'s' if self.num_teachers > 1 else ''}"
        if self.order_margin > 0:
            crowd += f" and margin {self.order_margin:g}"
        changes = []
        if self.floor > largest_floor:
            changes.append(f"floor {self.floor:g} with {crowd}: lower it to {_rounded(largest_floor, up=False)}")
        if self.cap < smallest_cap:
            changes.append(f"cap {self.cap:g} with {crowd}: raise it to {_rounded(smallest_cap, up=True)}")
        advice = " and ".join(changes)
        if self.order_margin > 0 and self._feasible(0.0):
            # Both conditions are monotone in m, so bisection finds the largest feasible margin.
            low, high = 0.0, self.order_margin
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (middle, high) if self._feasible(middle) else (low, middle)
            advice += f"; or keep the rest and lower the margin to {_rounded(low, up=False)}"
        return advice


def _rounded(value: float, *, up: bool) -> str:
    """Return three significant digits, rounded to the feasible side, so that the advice itself works."""
    if value == 0.0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    # 1e-9 keeps values like 0.2/0.001 = 200.00000000000003 from being pushed a whole unit away.
    steps = math.ceil(value / unit - 1e-9) if up else math.floor(value / unit + 1e-9)
    return f"{steps * unit:.3g}"
