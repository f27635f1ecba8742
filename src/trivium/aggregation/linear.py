"""The linear pool, a mixture: the teachers' probabilities averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor


@final
class LinearPool:
    r"""q(i) = Σ_k w_k p_k(i), as log q = logsumexp_k(log w_k + log p_k).

    It keeps every teacher's support, is the target that the weighted sum of forward losses
    Σ_k w_k KL(p_k‖s) trains toward (T7), and obeys TV(q_w, q_v) ≤ TV(w, v)·max TV(p_j, p_k) (T8). It does not
    commute with a common temperature: it refutes A-T(a).

    Cost: O(K·V) a row, one running row of V numbers beside the inputs.

    >>> import torch
    >>> log_p = [torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.1, 0.9]]).log()]
    >>> LinearPool().pool(log_p, torch.tensor([[0.75, 0.25]]).log()).exp()
    tensor([[0.7000, 0.3000]])
    """

    name: ClassVar[str] = "linear"
    formula: ClassVar[str] = "q = Σ_k w_k·p_k"

    def pool(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """Return the pooled log-probabilities.

        Args:
            log_p: K tensors [..., V] of log-probabilities in nats; −inf marks an impossible entry.
            log_w: [..., K] natural logs of weights that sum to one over K; −inf is the weight 0.

        Returns:
            log q, [..., V], in the dtype of the inputs; −inf where no teacher with weight has mass.
        """
        pooled = log_p[0] + log_w[..., 0:1]
        for k in range(1, len(log_p)):
            pooled = torch.logaddexp(pooled, log_p[k] + log_w[..., k : k + 1])
        return pooled
