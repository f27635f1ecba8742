"""A quantity of a rule, bounded over many sub-boxes of its features at once.

:class:`Bounds` stands in for a tensor [..., M] while a user's function runs. It holds an enclosure of the quantity and
of its derivatives for each of N sub-boxes. What it cannot bound it refuses with :class:`Unsupported`, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.aliases import ALIASES
from trivium.certify.verify.form import Form
from trivium.certify.verify.interval import Interval, magnitude, mean_value, meet
from trivium.certify.verify.single import FREE, magnitude_of, of_total, rounding, widened
from trivium.certify.verify.trace import Shape, Trace, Unsupported

#: Operations by the name that torch gives them: (trace, *args, **kwargs) → Bounds.
OPERATIONS: dict[str, Callable[..., Any]] = {}


class Bounds:
    """Enclosures over N sub-boxes with D coordinates.

    Attributes:
        lo, hi: [2N, M] (or [1, M] for a constant): rows 0…N−1 over the sub-box, rows N…2N−1 at its centre.
        axis: True for shape [..., M]; False for one number a row, of shape [...] (M = 1); None for a plain scalar.
        total: Σ over the M entries as a sum of numbers a row, where that is known exactly.
        modulo: an equal quantity but for a term common to the row's entries, where one is known.
        logarithm: gives log x with better slopes than those of x over x, for x > 0, where known.
        scores: gives Bounds s with log x_m = s_m + a term common to the row, for x > 0, where known.
        dominant: Bounds whose rows move at least as far in Hilbert's metric.
        limited: Bounds s for a score max(s, max s − B), which moves by no more than s (T6).
        exponential: gives e^x, where that is known better than from x alone.
        source: the Bounds whose row sums this is.
        normalizer: the Bounds whose log-sum-exp this is.
        extreme: the number of the Bounds whose row maxima (True) or minima (False) this is.
        lead: Bounds x, where this is the distance of x to its row's maximum or minimum.
        offset: such an extreme, and a constant that was added to it.
        boolean: whether it is a comparison: 0, 1, or undecided.
    """

    def __init__(
        self, trace: Trace, value: Interval, slopes: Callable[[], Interval | None], axis: bool | None = True
    ) -> None:
        self.trace, self.axis = trace, axis
        self.lo, self.hi = value
        self._slopes: Callable[[], Interval | None] | None = slopes
        self._jacobian: Interval | None = None
        self.number = trace.next_number()
        self.total: Form | None = None
        self.modulo: Bounds | None = None
        self.logarithm: Callable[[], Bounds] | None = None
        self.scores: Callable[[], Bounds] | None = None
        self.dominant: Bounds | None = None
        self.limited: Bounds | None = None
        self.exponential: Callable[[], Bounds] | None = None
        self.source: Bounds | None = None
        self.normalizer: Bounds | None = None
        self.extreme: tuple[int, bool] | None = None
        self.lead: Bounds | None = None
        self.offset: tuple[Bounds, Bounds] | None = None
        self.boolean = False

    @property
    def jacobian(self) -> Interval | None:
        """Enclosure [N, M, D + 1] of Clarke's generalized partial derivatives over each sub-box; None: constant.

        The last column bounds what rounding in float32 adds, see :mod:`~trivium.certify.verify.single`.
        """
        if self._slopes is not None:
            slopes, self._slopes = self._slopes(), None
            if slopes is not None:
                shape = (self.trace.count, self.width, self.trace.columns)
                self._jacobian = slopes[0].expand(shape), slopes[1].expand(shape)
        return self._jacobian

    def add_rounding(self, amount: Tensor) -> None:
        """Adds ±amount [N or 1, M] of rounding, also to what it is equal to but for a common term."""
        if not self.constant:
            inner = self.jacobian if self._slopes is None else None
            slopes = self._slopes if self._slopes is not None else lambda: inner
            self._slopes = lambda: widened(slopes(), amount)
        if self.modulo is not None and not self.modulo.constant:
            core = self.modulo
            self.modulo = Bounds(core.trace, core.value, lambda: widened(core.jacobian, amount), core.axis)
            self.modulo.limited, self.modulo.lead = core.limited, core.lead

    @property
    def core(self) -> Bounds:
        """``modulo``, or itself."""
        return self if self.modulo is None else self.modulo

    @property
    def value(self) -> Interval:
        """[2N or 1, M]."""
        return self.lo, self.hi

    @property
    def box(self) -> Interval:
        """Rows over the sub-boxes, [N or 1, M]."""
        n = self.trace.count
        return (self.lo, self.hi) if len(self.lo) == 1 else (self.lo[:n], self.hi[:n])

    @property
    def width(self) -> int:
        """M."""
        return int(self.lo.shape[-1])

    @property
    def constant(self) -> bool:
        """Whether it depends on no feature."""
        return len(self.lo) == 1

    @property
    def form(self) -> Form:
        """Itself, one number a row, as a :class:`Form`; or the sum of a constant."""
        if self.total is None and self.constant:
            self.total = Form.between(self.lo.flatten().tolist(), self.hi.flatten().tolist())
        elif self.total is None:
            self.total = Form.symbol(self.number)
            self.trace.symbols[self.number] = float(magnitude(self.value).max())
        return self.total

    def tightened(self) -> Bounds:
        """With what the mean value theorem adds: f(u) ∈ f(c) + Σ_i [∂f/∂u_i]·(u_i − c_i)."""
        jacobian, n = self.jacobian, self.trace.count
        if jacobian is None:
            return self
        centre = self.lo[n:], self.hi[n:]
        low, high = meet((self.lo[:n], self.hi[:n]), mean_value(centre, jacobian, self.trace.radius))
        self.lo, self.hi = torch.cat([low, centre[0]]), torch.cat([high, centre[1]])
        return self

    # What a tensor has besides operations.

    @property
    def shape(self) -> Shape:
        """Only the last entry is known."""
        return Shape(self.width if self.axis else None)

    def size(self, dim: int | None = None) -> Any:
        """``size(-1)``."""
        return self.shape if dim is None else self.shape[dim]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of this run; a second run has another."""
        return self.trace.dtype

    @property
    def device(self) -> torch.device:
        """Where verification runs."""
        return torch.device("cpu")

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return apply(func.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name in OPERATIONS or name in ALIASES:
            return partial(_call, name, self)
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(f"{name} is not among the operations that the verifier bounds")


def _call(name: str, *args: Any, **kwargs: Any) -> Any:
    return apply(name, args, kwargs)


def _method(name: str) -> Callable[..., Any]:
    return lambda *args: apply(name, args, {})


def _refused(name: str, why: str) -> Callable[..., Any]:
    def refuse(*args: Any) -> Any:
        raise Unsupported(f"{name}: {why}")

    return refuse


for _name in [name for name in ALIASES if name.startswith("__") and name not in ("__div__", "__rdiv__")]:
    setattr(Bounds, _name, _method(_name))
_WHY = {
    "a feature or what comes of it is changed in place": "iadd isub imul itruediv ipow iand ior setitem",
    "not among the operations that the verifier bounds": "eq ne floordiv rfloordiv mod rmod float int index contains "
    "str format hash",
    "control flow that depends on the features": "bool",
    "iterating over a tensor of features, or len() of it": "iter len",
}
for _why, _names in _WHY.items():
    for _name in _names.split():
        setattr(Bounds, f"__{_name}__", _refused(f"__{_name}__", _why))


def apply(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation on arguments of which at least one is Bounds; equal operations give the same object.

    Raises:
        Unsupported: an operation, or a use of one, that cannot be bounded.
    """
    name = ALIASES.get(name, name)
    if name not in OPERATIONS:
        raise Unsupported(f"{name} is not among the operations that the verifier bounds")
    if kwargs.get("out") is not None:
        raise Unsupported(f"{name} with out=")
    kwargs = {key: value for key, value in kwargs.items() if key not in ("_stacklevel", "out")}
    trace = first_of((args, kwargs)).trace
    key = trace.key(name, args, kwargs)
    if key not in trace.results:
        try:
            with torch._C.DisableTorchFunction():  # bounding is not part of the rule
                result = OPERATIONS[name](trace, *args, **kwargs)
        except (TypeError, RuntimeError, IndexError) as error:
            raise Unsupported(f"{name} as it is called here: {error}") from error
        if isinstance(result, Bounds):
            trace.check(name, result.box)
            if name not in FREE:
                with torch._C.DisableTorchFunction():
                    operand, largest = first_of((args, kwargs)).box, magnitude_of((*args, *kwargs.values()))
                    amount = rounding(name, result.box, operand, largest)
                    result.add_rounding(amount)
                    if result.total is not None:
                        result.total = result.total.rounded(of_total(name, result.total, result.width, amount, largest))
        trace.record(key)
        if isinstance(result, Tensor):  # a constant, which the rule may change
            return result
        trace.results[key] = result
    return trace.results[key]


def first_of(nested: Any) -> Any:
    """The first Bounds in nested arguments, or None."""
    if isinstance(nested, Bounds):
        return nested
    items = nested.values() if isinstance(nested, dict) else nested if isinstance(nested, tuple | list) else ()
    return next((found for item in items if (found := first_of(item)) is not None), None)
