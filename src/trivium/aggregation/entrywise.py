"""The linear pool whose weights depend on the vocabulary entry (T10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor

from trivium.errors import require


@final
class EntrywiseLinearPool:
    r"""q(i) = Σ_k w_k(i) p_k(i) / Z with Z = Σ_i Σ_k w_k(i) p_k(i), each w(i) a weight vector over the teachers.

    Without the division the sum is no distribution: p = (1, 0), (0, 1) with w(1) = (.9, .1), w(2) = (.1, .9) gives
    (.9, .9). Where all weights lie in [a, b], Z lies in [K·a, K·b], since each teacher's probabilities sum to one;
    both ends are attained (:meth:`log_mass`). What the linear pool is known for is lost (T10):

    * T7: Σ_i Σ_k w_k(i) p_k(i)·(−log s(i)) is Z times the cross-entropy to q, so the summed losses weight a position
      by its Z, up to K·b/(K·a) times as much as another.
    * T8: TV(q_w, q_v) can exceed max_i TV(w(i), v(i))·max TV(p_j, p_k). With the p above, w(1) = (.1, .9),
      w(2) = (.9, .1), v = w but v(1) = (.2, .8): q moves from (½, ½) to (⅔, ⅓), by 1/6 and not by at most 1/10.
    * S1: q(U) can exceed the teachers' mean although every w(i) favours the safer one. U = {1, 2},
      p = (.6, 0, .4, 0), (0, .5, 0, .5), w(1) = w(4) = (.5, .5), w(2) = w(3) = (0, 1): q(U) = .8/1.05, mean .55.

    With the same weights at every entry it is :class:`trivium.aggregation.LinearPool`.

    Cost: O(K·V) a row; the weights alone are K·V numbers a row.

    >>> import torch
    >>> log_p = [torch.tensor([1.0, 0.0]).log(), torch.tensor([0.0, 1.0]).log()]
    >>> log_w = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    >>> EntrywiseLinearPool().pool(log_p, log_w).exp()
    tensor([0.5000, 0.5000])
    >>> round(EntrywiseLinearPool().log_mass(log_p, log_w).exp().item(), 4)
    1.8
    """

    name: ClassVar[str] = "entrywise"
    formula: ClassVar[str] = "q(i) ∝ Σ_k w_k(i)·p_k(i)"

    def pool(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """Return the pooled log-probabilities.

        Args:
            log_p: K tensors [..., V] of log-probabilities in nats; −inf marks an impossible entry.
            log_w: [..., V, K] natural logs of weights that sum to one over K at each entry; −inf is the weight 0.

        Returns:
            log q, [..., V], in the dtype of the inputs; all NaN in a row where no weight meets any mass (Z = 0).

        Raises:
            InputError: weights of another shape.
        """
        return torch.log_softmax(self._masses(log_p, log_w), dim=-1)

    def log_mass(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """log Z [...], in [log(K·a), log(K·b)] for weights in [a, b]; arguments as for :meth:`pool`."""
        return torch.logsumexp(self._masses(log_p, log_w), dim=-1)

    def _masses(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        require(
            log_w.ndim >= 2 and log_w.shape[-2:] == (log_p[0].shape[-1], len(log_p)),
            f"entrywise weights must be [..., {log_p[0].shape[-1]}, {len(log_p)}], a row for each vocabulary entry",
            tuple(log_w.shape),
            "For one row of weights a position use the pool 'linear'.",
        )
        # A finite floor below any logarithm: logaddexp(−inf, −inf) has a derivative of NaN.
        floor = torch.finfo(log_p[0].dtype).min / 4
        terms = [entry + log_w[..., k] for k, entry in enumerate(log_p)]
        total = terms[0].clamp_min(floor)
        for term in terms[1:]:
            total = torch.logaddexp(total, term.clamp_min(floor))
        return total.masked_fill(total <= floor / 2, -torch.inf)
