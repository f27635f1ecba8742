"""What a weighting rule may look at: the built-in features, each with its range.

A certificate speaks about every point of the box that the ranges span, so ranges are enforced: before a
rule sees a feature it is clipped to its range (:meth:`trivium.weighting.base.Rule.admit`).

==================  ========  ===================================================================
feature             range     value at teacher k
==================  ========  ===================================================================
``entropy``         0 … 12    H(p_k), nats; log V ≤ 12 for every V ≤ 162,754
``max_prob``        0 … 1     max_i p_k(i)
``margin``          0 … 1     largest minus second largest probability
``disagreement``    0 … 1     total variation between p_k and the mean of the other teachers
``gap``             0 … 1     Hellinger distance between p_k and the student
``label_log_prob``  −30 … 0   log p_k(label), nats; not for prediction, it sees the label
``sequence_loss``   0 … 30    mean of −log p_k(label) over the example's sequence, nats a token; it sees the labels
``validation_loss`` 0 … 12    teacher k's mean loss on its task's validation text, nats a token
``gram``            −2 … 2    ⟨ḡ_j, ḡ_k⟩, inner products of the teachers' mean logit gradients (K·K numbers, row by row)
``prefix_log_prob`` −1e6 … 0  Σ_{s<t} log p_k(x_s | x_<s), nats; 0 at the first token
``recent_log_prob`` below     Σ_{s<t} d^{t−1−s} log p_k(x_s | x_<s), nats, for five decays d
``domain``          0 … 255   index of the example's domain (one number, not one a teacher)
``task``            0 … 255   index of the example's task (one number)
``critical``        0 … 1     whether the input is safety-critical, 0 or 1 (one number)
``logits``          −50 … 50  log p_1(·), …, log p_K(·), log s(·), one after the other: (K + 1)·V numbers
==================  ========  ===================================================================

The evidence of the last tokens fades by the decay d in its name, ``recent_log_prob_50`` by d = .5 a token, and so
``_80``, ``_90``, ``_97`` and ``_99``; its range is −30/(1 − d) … 0. It is
:func:`trivium.weighting.evidence.recent_log_prob`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from torch import Tensor

from trivium.errors import InputError, nearest, require

Scale = Literal["token", "task", "context"]
SCALES: tuple[Scale, ...] = get_args(Scale)


class Range(NamedTuple):
    """The closed interval a feature lives in.

    ``integer``: only whole numbers. ``shared``: last axis 1, not K. ``pairwise``: last axis K·K, a symmetric positive
    semidefinite matrix row by row; what a rule sees is the nearest one in the Frobenius norm. ``numbers``: last axis of
    this length, whatever K is; 0 for none of that.
    """

    low: float
    high: float
    integer: bool = False
    shared: bool = False
    pairwise: bool = False
    numbers: int = 0

    def width(self, num_teachers: int) -> int:
        """Return the last axis of the feature for K teachers."""
        if self.numbers:
            return self.numbers
        return 1 if self.shared else num_teachers**2 if self.pairwise else num_teachers


#: Evidence of the last tokens, by name: the decay a token.
DECAYS = {f"recent_log_prob_{round(100 * decay)}": decay for decay in (0.5, 0.8, 0.9, 0.97, 0.99)}

BUILT_IN: dict[str, Range] = {
    "entropy": Range(0.0, 12.0),
    "max_prob": Range(0.0, 1.0),
    "margin": Range(0.0, 1.0),
    "disagreement": Range(0.0, 1.0),
    "gap": Range(0.0, 1.0),
    "label_log_prob": Range(-30.0, 0.0),
    "sequence_loss": Range(0.0, 30.0),
    "validation_loss": Range(0.0, 12.0),
    "gram": Range(-2.0, 2.0, pairwise=True),
    "prefix_log_prob": Range(-1e6, 0.0),
    **{name: Range(-30.0 / (1.0 - decay), 0.0) for name, decay in DECAYS.items()},
    "domain": Range(0.0, 255.0, integer=True, shared=True),
    "task": Range(0.0, 255.0, integer=True, shared=True),
    "critical": Range(0.0, 1.0, integer=True, shared=True),
    "logits": Range(-50.0, 50.0, numbers=1),  # until a rule knows how many
}

#: Features computed at every position from the teachers' distributions by ``token_statistics``.
FROM_DISTRIBUTIONS = ("entropy", "max_prob", "margin", "disagreement", "gap", "label_log_prob")
#: Features that cannot be known before the token they weight: no predictor may use them.
#: ``gram`` averages over the whole batch: distributions further on in the text have read the token.
NEEDS_LABEL = frozenset({"label_log_prob", "sequence_loss", "gram"})
#: Features of what stands before a token: constant where an example is one label.
NEEDS_PREFIX = frozenset({"prefix_log_prob", *DECAYS})
NEEDS_STUDENT = frozenset({"gap", "gram", "logits"})


def count_teachers(features: Mapping[str, Tensor]) -> int:
    """K, for a rule that reads nothing to learn it from: the last axis of ``teachers``, which every scheme gives; else
    the longest last axis of the features that are not known to be of another length.

    >>> import torch
    >>> count_teachers({"gram": torch.zeros(9), "teachers": torch.zeros(3)})
    3
    """
    if "teachers" in features:
        return features["teachers"].shape[-1]
    others = {name for name, interval in BUILT_IN.items() if interval.pairwise or interval.numbers}
    return max(value.shape[-1] for name, value in features.items() if name not in others)


def check_ranges(features: Mapping[str, tuple[float, ...]] | list[str] | tuple[str, ...]) -> dict[str, Range]:
    """Ranges by feature name, from what a user wrote: a mapping, or a list of built-in names.

    Raises:
        InputError: a list that names a feature which is not built in, no feature at all, or a range that is not two
            finite numbers with low < high.
    """
    require(not isinstance(features, str), "features must be a mapping or a list", repr(features), "Put it in a list.")
    listed = isinstance(features, Mapping | list | tuple | set | frozenset)
    texts = listed and all(isinstance(name, str) for name in features)
    require(texts, "features must be a mapping or a list, by name", repr(features), "Give {'entropy': (0, 12)}.")
    require(len(features) > 0, "a rule must name at least one feature", "none", "Give features={'entropy': (0, 12)}.")
    if not isinstance(features, Mapping):
        for name in features:
            if name not in BUILT_IN:
                raise InputError(
                    "a feature given without a range must be built in",
                    repr(name),
                    f"{nearest(name, BUILT_IN)} For your own feature give its range: {{'{name}': (low, high)}}.",
                )
        return {name: BUILT_IN[name] for name in features}
    ranges = {}
    for name, bounds in features.items():
        usual = BUILT_IN.get(name)
        try:
            low, high, *shape = bounds
            interval = Range(float(low), float(high), *(usual[2:] if usual and not shape else shape))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the range of feature {name!r} must be two numbers", bounds, "Write (low, high)."
            ) from error
        finite = math.isfinite(interval.low) and math.isfinite(interval.high)
        require(
            finite and interval.low < interval.high,
            f"the range of feature {name!r} must be finite with low < high",
            tuple(bounds),
            "Give the smallest and the largest value the feature can take.",
        )
        ranges[name] = interval
    return ranges
