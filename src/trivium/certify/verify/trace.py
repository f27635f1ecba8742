"""One run of a rule on a batch of sub-boxes: what all its quantities share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.interval import Interval

#: Beyond this a float32 overflows, below the other it loses digits or vanishes.
OVERFLOW, UNDERFLOW = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


class Unsupported(Exception):
    """The program leaves the operations that can be bounded soundly; the message says where, in a phrase."""


class Shape:
    """The shape [..., M]: only ``shape[-1]`` can be asked, so that nothing can depend on the batch."""

    def __init__(self, last: int | None) -> None:
        self._last = last

    def __getitem__(self, key: Any) -> int:
        if isinstance(key, int) and key == -1 and self._last is not None:
            return self._last
        raise Unsupported("the shape of the batch is read")

    def _read(self, *args: Any) -> Any:
        raise Unsupported("the shape of the batch is read")

    __iter__ = __len__ = __eq__ = __ne__ = __hash__ = __bool__ = __add__ = __radd__ = __contains__ = _read
    numel = index = count = _read


class Trace:
    """The sub-boxes of a run and what happened in it.

    Attributes:
        low, high, centre: [N, D]. radius: [N, D + 1].
        columns: D + 1, of a Jacobian.
        dtype: what the rule is told its features are.
        bad: [N], sub-boxes where an operation may be undefined, or overflow in float32; ``reason`` names the first.
        log: each operation with its constants, to compare runs.
        symbols: magnitude of the quantities that a :class:`~trivium.certify.verify.form.Form` names.
    """

    def __init__(self, low: Tensor, high: Tensor, dtype: torch.dtype = torch.float64) -> None:
        self.low, self.high, self.dtype = low, high, dtype
        self.centre = torch.minimum(torch.maximum(low / 2 + high / 2, low), high)
        reach = torch.maximum(high - self.centre, self.centre - low)
        reach = torch.where(reach > 0, torch.nextafter(reach, torch.full_like(reach, torch.inf)), reach)
        self.count, self.columns = low.shape[0], low.shape[1] + 1
        # Values are those of real arithmetic: rounding, the last column, does not move them.
        self.radius = torch.cat([reach, reach.new_zeros(self.count, 1)], dim=1)
        self.bad = torch.zeros(self.count, dtype=torch.bool)
        self.reason = ""
        self.log: list[tuple[Any, ...]] = []
        self.results: dict[tuple[Any, ...], Any] = {}
        self.symbols: dict[int, float] = {}
        self._numbers = 0

    def next_number(self) -> int:
        """A number for the next quantity."""
        self._numbers += 1
        return self._numbers

    def mark(self, rows: Tensor, reason: str) -> None:
        """Sub-boxes ([N] or [1] bool) over which no statement can be made."""
        if bool(rows.any()):
            self.reason = self.reason or reason
            self.bad = self.bad | rows

    def check(self, name: str, box: Interval) -> None:
        """Marks sub-boxes where a result may overflow."""
        beyond = ((box[0] < -OVERFLOW) | (box[1] > OVERFLOW)).any(dim=-1)
        self.mark(beyond, f"{name} may overflow or be undefined")

    def key(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """What an operation is: its name, its operands by number, its constants by value."""
        return (name, _describe(args), _describe(sorted(kwargs.items())))

    def record(self, key: tuple[Any, ...]) -> None:
        """Note an operation."""
        self.log.append(key)


def _describe(item: Any) -> Any:
    if isinstance(item, Tensor):
        return ("tensor", tuple(item.shape), tuple(float(value) for value in item.detach().flatten().tolist()))
    if isinstance(item, tuple | list):
        return tuple(_describe(part) for part in item)
    if isinstance(item, int | float) and not isinstance(item, bool):
        return float(item)
    number = getattr(item, "number", None) if type(item).__name__ == "Bounds" else None
    return f"#{number}" if number is not None else repr(item)
