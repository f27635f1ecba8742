"""W-F: an operator is a function of one row: the same at every call, whatever the other rows are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor

from trivium.axioms.base import Axiom
from trivium.errors import require
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack

Evaluate = Callable[[Mapping[str, Tensor]], Tensor]

#: Rows that are also evaluated alone: the first, the last and evenly spaced ones between.
ALONE = 16


@final
class FunctionOfItsRow(Axiom):
    """W-F.

    >>> features = {"entropy": torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)}
    >>> FunctionOfItsRow().residual(lambda f: torch.log_softmax(-f["entropy"], dim=-1), features).tolist()
    [0.0, 0.0]
    """

    id, name = "W-F", "a function of its row"
    statement = "max |w(u) − w(u | other rows changed, or called again)| ≤ 0"

    def residual(self, evaluate: Evaluate, features: Mapping[str, Tensor]) -> Tensor:
        """Return the largest change of any of a row's weights, per row [N].

        Args:
            evaluate: the operator, {name: [N, ...]} → log weights [N, K].
            features: tensors that share their first axis N ≥ 1. The operator gets copies, so one that writes
                into its input is found by its answers, not by a changed argument.

        The operator is called again on the same input; with rows reversed; with rows rotated; with all rows but the
        even (then the odd) ones replaced by the batch's extremes; on up to 16 rows alone; and at the end on the same
        input once more, for state left behind. NaN weights, and weights of another shape, count as a change of +inf.
        Cost: about 9 + min(N, 16) evaluations.
        """
        counts = {name: feature.shape[0] if feature.ndim else 0 for name, feature in features.items()}
        require(
            bool(counts) and len(set(counts.values())) == 1 and min(counts.values()) >= 1,
            "features must share a first axis of at least one row",
            counts,
        )
        rows = next(iter(counts.values()))
        first = _call(evaluate, features)
        require(first.ndim == 2 and first.shape[0] == rows, f"an operator must return [{rows}, K]", tuple(first.shape))
        reference = first.double().exp()
        worst = torch.where(reference.isnan().any(dim=-1), torch.inf, 0.0).to(reference)

        def compare(batch: Mapping[str, Tensor], places: Tensor, kept: Tensor) -> None:
            """Row ``kept[i]`` of the batch is row ``places[i]`` of the input."""
            again = _call(evaluate, batch).double().exp()
            if again.ndim != 2 or again.shape[1] != reference.shape[1] or again.shape[0] <= int(kept.max()):
                worst[places] = torch.inf
                return
            change = (again[kept] - reference[places]).abs().amax(dim=-1).nan_to_num(nan=torch.inf)
            worst[places] = torch.maximum(worst[places], change)

        every = torch.arange(rows, device=first.device)
        compare(features, every, every)
        for order in (every.flip(0), every.roll(1), every.roll(-(rows // 2))):
            compare({name: feature[order] for name, feature in features.items()}, order, every)
        for start in (0, 1):
            kept = every[start::2]
            if len(kept):
                for extreme in (torch.amin, torch.amax):
                    compare(_others_replaced(features, kept, extreme), kept, kept)
        for place in sorted({round(i * (rows - 1) / max(1, ALONE - 1)) for i in range(ALONE)}):
            compare({name: f[place : place + 1] for name, f in features.items()}, every[place : place + 1], every[:1])
        compare(features, every, every)
        return worst.to(first.dtype)

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """(K/2 + 6)·eps + 2·eps·(scale + 4).

        Kernels may sum in another order for another batch shape, which moves scores of magnitude ``scale`` by a few
        ulps, and a weight by no more than its score.
        """
        return weight_slack(dtype, num_teachers) + log_slack(dtype, scale)


def _call(evaluate: Evaluate, features: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return evaluate({name: feature.clone() for name, feature in features.items()})


def _others_replaced(features: Mapping[str, Tensor], kept: Tensor, extreme: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Every row but ``kept`` holds the batch's elementwise minimum or maximum."""
    changed = {}
    for name, feature in features.items():
        batch = extreme(feature, dim=0, keepdim=True).expand_as(feature).clone()
        batch[kept] = feature[kept]
        changed[name] = batch
    return changed
