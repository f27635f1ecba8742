"""What a user's rule can remember between calls, kept as it was, so that a search can ask again from the start."""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium.scheme.tree import leaves
from trivium.weighting import RULES
from trivium.weighting.base import Operator, UserRule

#: Objects at most that are looked into, and numbers at most that one tensor may hold.
_MOST, _LARGEST = 5000, 2_000_000
_LIBRARIES = ("site-packages", "dist-packages", str(Path(torch.__file__).parent), str(Path(types.__file__).parent))
#: Calls on other rows before the one that is compared, from a state that no call has touched.
HISTORIES = (1, 2, 4, 8, 20)


class Memory:
    """What the user's rules of an operator can reach and change: variables of closures and of their module, defaults,
    attributes, and the containers, arrays and tensors among them.

    Taken before the first call; :meth:`restore` puts it back in place. What lies in a library, a generator, a file or a
    process of its own is out of reach.
    """

    def __init__(self, operator: Operator) -> None:
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}
        for rule in leaves(operator):
            if type(rule) in RULES.values():
                continue
            self._attributes(rule)
            if isinstance(rule, UserRule):
                self._look(rule.function)

    @property
    def empty(self) -> bool:
        """Whether nothing was found that could remember anything."""
        return not self._undo

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()

    def _look(self, item: Any) -> None:
        if id(item) in self._seen or len(self._seen) > _MOST:
            return
        self._seen[id(item)] = item
        if isinstance(item, types.FunctionType):
            self._function(item)
        elif isinstance(item, types.MethodType):
            self._look(item.__func__)
            self._look(item.__self__)
        elif isinstance(item, list | set | dict | bytearray):
            self._container(item)
        elif isinstance(item, tuple | frozenset):
            for part in item:
                self._look(part)
        elif isinstance(item, deque):
            self._queue(item)
        elif isinstance(item, Tensor):
            self._tensor(item)
        elif isinstance(item, np.ndarray):
            kept = item.copy()
            self._undo.append(lambda: np.copyto(item, kept))
        elif isinstance(item, type):
            if _own(sys.modules.get(item.__module__)):
                self._attributes(item)
        elif isinstance(item, types.ModuleType):
            if _own(item):
                self._attributes(item)
        elif hasattr(item, "__dict__"):
            self._attributes(item)
            self._look(type(item))

    def _function(self, function: types.FunctionType) -> None:
        if not _own(sys.modules.get(function.__module__ or "")) and function.__closure__ is None:
            return
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self._undo.append(lambda cell=cell, value=value: setattr(cell, "cell_contents", value))  # type: ignore[misc]
            self._look(value)
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            self._look(part)
        for name in _names(function.__code__):
            if name in function.__globals__:
                value = function.__globals__[name]
                self._undo.append(
                    lambda where=function.__globals__, name=name, value=value: where.__setitem__(name, value)  # type: ignore[misc]
                )
                self._look(value)

    def _container(self, item: Any) -> None:
        kept = item.copy()

        def undo() -> None:
            if isinstance(item, list | bytearray):
                item[:] = kept
            else:
                item.clear()
                item.update(kept)

        self._undo.append(undo)
        for part in kept.values() if isinstance(kept, dict) else kept:
            self._look(part)

    def _queue(self, item: deque[Any]) -> None:
        kept = list(item)

        def undo() -> None:
            item.clear()
            item.extend(kept)

        self._undo.append(undo)
        for part in kept:
            self._look(part)

    def _tensor(self, item: Tensor) -> None:
        if item.numel() > _LARGEST:
            return
        kept = item.detach().clone()

        def undo() -> None:
            with torch.no_grad():
                if item.shape != kept.shape:
                    item.set_(kept.clone())  # type: ignore[call-overload]
                elif not torch.equal(item.detach(), kept):
                    item.copy_(kept)

        self._undo.append(undo)

    def _attributes(self, item: Any) -> None:
        """Attributes of an object, a class or a module of the user's own."""
        kept = {name: value for name, value in vars(item).items() if not name.startswith("__")}

        def undo() -> None:
            for name, value in kept.items():
                if vars(item).get(name) is not value:
                    (type.__setattr__ if isinstance(item, type) else object.__setattr__)(item, name, value)

        self._undo.append(undo)
        for value in kept.values():
            self._look(value)


def _own(module: types.ModuleType | None) -> bool:
    """Whether a module is the user's: neither a library nor built in."""
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return module is not None and module.__name__ == "__main__"
    return not module.__name__.startswith("trivium.") and not any(part in file for part in _LIBRARIES)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def first_calls(evaluate: Callable[[Tensor], Tensor | None], memory: Memory, batch: Tensor, before: Tensor) -> Tensor:
    """How far each row of ``batch`` [N, D] moves if the first calls were on ``before``, [N]; from a restored state.

    ``evaluate`` gives the weights of one call, or None where the operator refuses.
    """
    memory.restore()
    reference = evaluate(batch)
    worst = torch.zeros(len(batch), dtype=torch.float64)
    for calls in HISTORIES:
        memory.restore()
        for _ in range(calls):
            evaluate(before)
        later = evaluate(batch)
        if reference is not None and later is not None and later.shape == reference.shape:
            change = (later - reference).abs().amax(dim=-1).nan_to_num(nan=0.0)
            worst = torch.maximum(worst, change)
    memory.restore()
    return worst
