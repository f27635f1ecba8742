"""Distributions as they are kept: in half the bytes where that is exact enough, with the error stated.

A distribution is kept as log(p / max p), its logits less the largest one. Logits themselves are known up to a constant
only, and a large constant uses up the digits of float16; log p of a flat distribution is one large constant too. This
way the likeliest entry is 0 exactly and stays the only one, and a difference of d nats from it loses 2⁻¹¹·d at most.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: How far log p may be off, in nats, after what is kept went through a softmax again: 2⁻¹¹·d ≤ 1/64 for an entry d nats
#: below the likeliest, plus the mean of that over the distribution, at most 2⁻¹¹·log V < 1/128 for V < 8 million.
#: In float32, beyond d = 2¹⁸, it is a unit in the last place, as in the logits themselves.
ERROR = 1 / 32
#: From 64 on the numbers of float16 are 1/16 apart, and half of that is too much.
_DEEPEST = -64.0

_KINDS = {np.dtype("float16"): torch.float16, np.dtype("float32"): torch.float32}


def relative(logits: Tensor) -> Tensor:
    """log(p / max p) over the last axis, float32; −∞ stays −∞.

    >>> relative(torch.tensor([70000.0, 70001.5, -torch.inf])).tolist()
    [-1.5, 0.0, -inf]
    """
    logits = logits.float()
    return logits - logits.amax(-1, keepdim=True)


def narrowest(log_ratio: Tensor) -> np.dtype:
    """float16 where it keeps every finite number to :data:`ERROR`, else float32.

    >>> narrowest(torch.tensor([-0.1, -20.0, -torch.inf])), narrowest(torch.tensor([0.0, -70.0]))
    (dtype('float16'), dtype('float32'))
    """
    finite = torch.where(torch.isneginf(log_ratio), 0.0, log_ratio)
    return np.dtype("float16" if log_ratio.numel() == 0 or float(finite.min()) > _DEEPEST else "float32")


def encoded(log_ratio: Tensor, kind: np.dtype) -> np.ndarray:
    """Return the numbers in ``kind``, on the CPU."""
    found: np.ndarray = log_ratio.to(_KINDS[kind]).cpu().numpy()
    return found
