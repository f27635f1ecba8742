"""Safety by other means: strings by regular expressions, bounds by linear programs, projections by a conic solver."""

from __future__ import annotations

import re
from collections.abc import Sequence

import cvxpy as cp
import numpy as np
from scipy.optimize import linprog

_WORD = b"A-Za-z0-9_"


def completions(
    text: bytes, string: str, whole_words: bool, not_after: str, ignore_case: bool, ended: bool
) -> set[int]:
    """The places in ``text`` behind the byte that completes each occurrence; ``len(text) + 1`` is its end."""
    pattern = string.encode()
    head = tail = b""
    starts = bool(re.match(rb"[" + _WORD + rb"]", pattern))
    barred = b"".join(re.escape(bytes([byte])) for byte in not_after.encode())
    if whole_words and starts:
        barred += _WORD
    if barred:
        head = rb"(?<![" + barred + rb"])"
    wordy = bool(re.search(rb"[" + _WORD + rb"]\Z", pattern)) and whole_words
    if wordy:
        tail = rb"(?![" + _WORD + rb"])"
    expression = re.compile(rb"(?=" + head + rb"(" + re.escape(pattern) + rb")" + tail + rb")",
                            re.IGNORECASE if ignore_case else 0)  # fmt: skip
    # A look-ahead finds overlapping occurrences, but its look-behind must stand before it.
    expression = re.compile(head + rb"(?=(" + re.escape(pattern) + rb")" + tail + rb")",
                            re.IGNORECASE if ignore_case else 0)  # fmt: skip
    found = set()
    for match in expression.finditer(text):
        end = match.start() + len(pattern) + (1 if wordy else 0)
        if end <= len(text) or ended:
            found.add(end)
    return found


def completes(before: bytes, token: bytes | None, strings: Sequence[str], **rules: object) -> bool:
    """Whether a token completes a forbidden string after a text; None is the end of the text."""
    whole = before + (token or b"")
    ended = token is None
    return any(
        any(end > len(before) for end in completions(whole, string, ended=ended, **rules))  # type: ignore[arg-type]
        for string in strings
    )


def conforming_matrix(
    num_teachers: int, floor: float, cap: float, tiers: Sequence[Sequence[int]] | None, margin: float
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """A in A·w ≤ 0 for the order, and the box."""
    rows = []
    places = list(tiers or [])
    for number, safer in enumerate(places):
        for steps, less in enumerate(places[number + 1 :], start=1):
            for j in safer:
                for k in less:
                    row = np.zeros(num_teachers)
                    row[k], row[j] = np.exp(margin * steps), -1.0
                    rows.append(row)
    return (np.array(rows) if rows else np.zeros((0, num_teachers))), [(floor, cap)] * num_teachers


def extreme_mass(
    u: np.ndarray, floor: float, cap: float, tiers: Sequence[Sequence[int]] | None, margin: float, sign: float
) -> float:
    """max (sign +1) or min (−1) of Σ w u over conforming weights, by linear programming."""
    matrix, box = conforming_matrix(len(u), floor, cap, tiers, margin)
    found = linprog(
        -sign * u,
        A_ub=matrix if len(matrix) else None,
        b_ub=np.zeros(len(matrix)) if len(matrix) else None,
        A_eq=np.ones((1, len(u))),
        b_eq=[1.0],
        bounds=box,
        method="highs",
    )
    assert found.status == 0, found.message
    return float(u @ found.x)


def safe_projection(q: np.ndarray, unsafe: np.ndarray, limit: float) -> np.ndarray:
    """argmin KL(y‖q) with y(U) ≤ limit, by Clarabel."""
    y = cp.Variable(len(q))
    problem = cp.Problem(
        cp.Minimize(cp.sum(cp.kl_div(y, q))), [cp.sum(y) == 1, y[unsafe] @ np.ones(unsafe.sum()) <= limit]
    )
    problem.solve(solver=cp.CLARABEL)
    return np.asarray(y.value)
