"""The feature box as flat points, so that every search is written once for any number of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.simplex.semidefinite import nearest_psd
from trivium.weighting.base import Operator
from trivium.weighting.features import Range


@dataclass(frozen=True, eq=False)
class Box:
    """Points of the box as rows [N, D] float64: the K entries of each feature in turn, one entry for a shared one.

    Attributes:
        ranges: the range of each feature.
        num_teachers: K.
        low, high: bounds [D] float64.
        integer: which coordinates hold whole numbers only, bool [D].
        feature: index of the feature that each coordinate belongs to, int64 [D].
    """

    ranges: Mapping[str, Range]
    num_teachers: int
    low: Tensor
    high: Tensor
    integer: Tensor
    feature: Tensor

    @classmethod
    def of(cls, operator: Operator, num_teachers: int) -> Box:
        """Return the box of an operator over K teachers."""
        ranges = dict(operator.ranges)
        widths = torch.tensor([r.width(num_teachers) for r in ranges.values()], dtype=torch.int64)
        rows = torch.tensor([[r.low, r.high, float(r.integer)] for r in ranges.values()], dtype=torch.float64)
        rows = rows.reshape(-1, 3).repeat_interleave(widths, dim=0)
        index = torch.arange(len(ranges)).repeat_interleave(widths)
        return cls(ranges, num_teachers, rows[:, 0], rows[:, 1], rows[:, 2] > 0, index)

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.low)

    @property
    def span(self) -> Tensor:
        """high − low [D]."""
        return self.high - self.low

    @property
    def center(self) -> Tensor:
        """The middle of the box [D]."""
        return self.snap((self.low + self.high) / 2)

    @property
    def groups(self) -> list[Tensor]:
        """The coordinates of each feature."""
        return [torch.nonzero(self.feature == f).flatten() for f in range(len(self.ranges))]

    def snap(self, points: Tensor) -> Tensor:
        """Return the nearest points of the box: clipped, whole numbers where asked."""
        inside = torch.minimum(torch.maximum(points, self.low), self.high)
        return torch.where(self.integer, inside.round(), inside)

    def cast(self, points: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the points in ``dtype``; whole numbers stay in the box, as 299 must, of which bfloat16 makes 300."""
        cast = points.to(dtype)
        if dtype is torch.float64 or not bool(self.integer.any()):
            return cast
        over, under = cast > self.high, cast < self.low
        inward = torch.nextafter(cast, torch.where(over, -torch.inf, torch.inf).to(dtype))
        return torch.where(self.integer & (over | under), inward, cast)

    def split(self, points: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return features [..., K] or [..., 1] by name. Operators that read no feature learn K from ``teachers``."""
        cast = self.cast(points, dtype)
        widths = [r.width(self.num_teachers) for r in self.ranges.values()]
        features = {name: part.clone() for name, part in zip(self.ranges, cast.split(widths, dim=-1), strict=True)}
        features["teachers"] = cast.new_zeros((*points.shape[:-1], self.num_teachers))
        return features

    @property
    def has_gram(self) -> bool:
        """Whether the inner products of the teachers' gradients are among the features."""
        return self.ranges.get("gram", Range(0.0, 1.0)).pairwise

    @property
    def gram_places(self) -> Tensor:
        """The coordinates of ``gram``."""
        return self.groups[list(self.ranges).index("gram")]

    def flag(self, name: str) -> int | None:
        """Return the coordinate of a feature of one number; None where the operator does not read it."""
        if name not in self.ranges:
            return None
        return int(self.groups[list(self.ranges).index(name)][0])

    def gram(self, points: Tensor) -> Tensor:
        """Return the Gram matrices [N, K, K] that a rule sees at points [N, D]: the nearest positive
        semidefinite ones."""
        interval = self.ranges["gram"]
        flat = points[:, self.gram_places].clamp(interval.low, interval.high)
        return nearest_psd(flat).view(-1, self.num_teachers, self.num_teachers)

    def nested(self, points: Tensor, dtype: torch.dtype) -> dict[str, list[list[float]]]:
        """Return rows as lists of floats, which JSON keeps to the bit; the values are those that ``dtype`` holds."""
        features = self.split(points.reshape(-1, self.dimension), dtype) if self.ranges else {}
        return {name: features[name].double().tolist() for name in self.ranges}

    def join(self, features: Mapping[str, list[list[float]]], rows: int | None = None) -> Tensor:
        """Return the inverse of :meth:`nested`: [N, D] float64."""
        if not self.ranges:
            return torch.zeros(rows or 1, 0, dtype=torch.float64)
        return torch.cat([torch.tensor(features[name], dtype=torch.float64) for name in self.ranges], dim=-1)

    def distances(self, u: Tensor, v: Tensor) -> Tensor:
        """‖u_f − v_f‖_∞ for each feature: [N, F] for points [N, D]."""
        gaps = (u - v).abs()
        if not self.ranges:
            return gaps.new_zeros(len(gaps), 1)
        return torch.stack([gaps[:, group].amax(dim=-1) for group in self.groups], dim=-1)

    def describe(self, point: Tensor) -> str:
        """Return a point for a person: ``entropy = (0, 12, 12)``."""
        parts = []
        for name, group in zip(self.ranges, self.groups, strict=True):
            values = ", ".join(f"{value:.8g}" for value in point[group].tolist())
            parts.append(f"{name} = ({values})" if len(group) > 1 else f"{name} = {values}")
        return "; ".join(parts) or "any input"
