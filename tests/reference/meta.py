"""The three steps of a bilevel update for a linear student, written out by hand in NumPy, and finite differences."""

from __future__ import annotations

import numpy as np


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def outer_loss(
    theta: np.ndarray,
    network: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    teachers: np.ndarray,
    hard_x: np.ndarray,
    hard_y: np.ndarray,
    rate: float,
) -> float:
    """Cross-entropy on the hard rows after two matching steps and one of cross-entropy.

    theta [D, V] is the student z = x θ; teachers [K, N, V] are probabilities; network is (W1, b1, W2, b2).
    """
    first, first_bias, last, last_bias = network
    for _ in range(2):
        s = softmax(x @ theta)
        seen = np.concatenate([np.log(p) for p in teachers] + [np.log(s)], axis=-1)
        hidden = np.maximum(seen @ first.T + first_bias, 0.0)
        w = softmax(hidden @ last.T + last_bias)
        target = sum(w[:, k : k + 1] * teachers[k] for k in range(len(teachers)))
        # d/dz of Σ_k w_k·KL(p_k‖softmax z) is softmax(z) − Σ_k w_k·p_k, as the weights sum to one (T9).
        theta = theta - rate * x.T @ (s - target) / len(x)
    s = softmax(x @ theta)
    theta = theta - rate * x.T @ (s - np.eye(s.shape[1])[y]) / len(x)
    s = softmax(hard_x @ theta)
    return float(-np.log(s[np.arange(len(hard_y)), hard_y]).mean())
