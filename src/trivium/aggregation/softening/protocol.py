"""The interface of a softening operator."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Softener(Protocol):
    """A family of maps p ↦ q with one parameter that says how much is softened.

    The family, not one member of it, is what the axioms are about: entropy may not fall as the parameter rises, and
    ``neutral`` must be the identity.
    """

    @property
    def name(self) -> str: ...

    @property
    def formula(self) -> str: ...

    @property
    def neutral(self) -> float:
        """The parameter at which the operator is the identity."""
        ...

    @property
    def sharpest(self) -> float:
        """The least parameter."""
        ...

    @property
    def softest(self) -> float:
        """The greatest parameter, possibly infinite."""
        ...

    def soften(self, log_p: Tensor, parameter: float) -> Tensor:
        """log q [..., V] from log p [..., V], in nats."""
        ...
