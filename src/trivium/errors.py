"""Every exception of Trivium. A message states the invariant, the value received and the fix.

The command line turns any :class:`TriviumError` into one line on stderr and exit code 2, so raise one
of these, and not a bare ``ValueError``, wherever the cause is something the user can change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TriviumError(Exception):
    """Base class. ``str(error)`` is one readable line."""

    def __init__(self, invariant: str, received: object = None, fix: str = "") -> None:
        self.invariant, self.received, self.fix = invariant, received, fix
        parts = [invariant.rstrip(".")]
        if received is not None:
            parts.append(f"received {received}")
        line = "; ".join(parts)
        if not line.endswith("."):  # what another library says may be a sentence already
            line += "."
        super().__init__(f"{line} {fix}" if fix else line)


class InputError(TriviumError, ValueError):
    """An argument, recipe or file that cannot be used as it stands."""


class InfeasibleError(InputError):
    """A conforming set C(a, b, order, m) with no element (T1). ``fix`` names the least relaxation."""


class VocabularyError(InputError):
    """Two models whose token ids do not mean the same strings."""


class RuleError(TriviumError):
    """A weighting rule that could not be evaluated, or returned something that is not a weight vector."""


class TeacherError(TriviumError):
    """A teacher whose distribution is unusable, for example NaN logits. Raised before the optimizer step."""


class AxiomViolation(TriviumError):
    """Raised by the monitor under ``on_violation: raise``: axiom, residual and step are in the message."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest allowed one, or all of them.

    >>> nearest("entorpy", ["entropy", "margin"])
    "Did you mean 'entropy'?"
    """
    options = list(allowed)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return "Allowed: " + ", ".join(sorted(set(options))) + "."


def require(condition: bool, invariant: str, received: object, fix: str = "") -> None:
    """Raise :class:`InputError` unless ``condition`` holds."""
    if not condition:
        raise InputError(invariant, received, fix)
