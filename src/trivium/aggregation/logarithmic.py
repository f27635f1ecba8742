"""The logarithmic pool: the teachers' probabilities multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor


@final
class LogarithmicPool:
    r"""q(i) ∝ Π_k p_k(i)^{w_k}, as log q = log_softmax(Σ_k w_k log p_k).

    It commutes with a common temperature (A-T), is the target that the weighted sum of reverse losses
    Σ_k w_k KL(s‖p_k) trains toward (T7), and gives every teacher a veto: where one with positive weight has no mass,
    q has none. A weight of exactly zero is no voice at all (p^0 = 1, also for p = 0).

    Cost: O(K·V) a row, one running row of V numbers beside the inputs.

    >>> import torch
    >>> log_p = [torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.1, 0.9]]).log()]
    >>> LogarithmicPool().pool(log_p, torch.tensor([[0.75, 0.25]]).log()).exp()
    tensor([[0.7500, 0.2500]])
    """

    name: ClassVar[str] = "log"
    formula: ClassVar[str] = "q ∝ Π_k p_k^{w_k}"

    def pool(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """Return the pooled log-probabilities.

        Args:
            log_p: K tensors [..., V] of log-probabilities in nats; −inf marks an impossible entry. Logits that
                differ from them by a constant in V give the same q.
            log_w: [..., K] natural logs of weights that sum to one over K; −inf is the weight 0.

        Returns:
            log q, [..., V], in the dtype of the inputs; all NaN in a row where the teachers share no entry,
            because no distribution is proportional to zero.
        """
        weights = log_w.exp()
        pooled = torch.zeros_like(log_p[0])
        for k, entry in enumerate(log_p):
            weight = weights[..., k : k + 1]
            # 0·(−inf) is 0 here: a teacher without weight must not veto an entry.
            pooled = pooled + torch.where(weight > 0, weight * entry, torch.zeros_like(entry))
        return torch.log_softmax(pooled, dim=-1)
