"""What a run trains and is evaluated on, whatever a row holds."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from trivium.data.census import Count


class Table(Protocol):
    """N rows of T positions, each with a label among V classes: text, labelled examples, or another task's rows.

    Attributes:
        labels: [N, T], −100 where nothing is predicted; ``mask`` is where something is.
        domain, task: indices into ``domains`` and ``tasks``, [N].
        document: what rows belong to, unique within a domain: those of one are drawn together.
        columns: user features, each [N, K].
        census: what became of each domain's data.
        serving: which teachers serve each row, bool [N, K]; None where all do.
        inputs: what teachers read: N of anything that is indexed and moved like a tensor; what is none has a
            ``digest()``.
        size: what losses are reported by, [N]; ``nats_a_unit`` times their sum is a number of ``unit``.
    """

    @property
    def labels(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...
    @property
    def domain(self) -> Tensor: ...
    @property
    def task(self) -> Tensor: ...
    @property
    def document(self) -> tuple[str, ...]: ...
    @property
    def domains(self) -> tuple[str, ...]: ...
    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> dict[str, Tensor]: ...
    @property
    def census(self) -> tuple[Count, ...]: ...
    @property
    def teacher_mask(self) -> Tensor | None: ...
    @property
    def inputs(self) -> Any: ...
    @property
    def size(self) -> Tensor: ...
    @property
    def unit(self) -> str: ...
    @property
    def nats_a_unit(self) -> float: ...
    def __len__(self) -> int: ...
    def digest(self) -> str:
        """Of everything in the table but the census, 32 hex digits."""
        ...

    def arguments(self, index: Tensor, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Return what a student's forward takes for the rows numbered ``index``."""
        ...
