"""Every exception of Trivium. A message states the invariant, the value received and the fix.

The command line turns any :class:`TriviumError` into one line on stderr and exit code 2, so raise one
of these, and not a bare ``ValueError``, wherever the cause is something the user can change. Code that is
not Trivium's is called inside :func:`calling`: what it raises becomes a :class:`ForeignError`, exit code 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


class ForeignError(TriviumError):
    """Code that is not Trivium's, a model's forward above all, raised; ``__cause__`` is what it raised."""

    @staticmethod
    def advice(error: BaseException) -> str:
        """Return what to do about an exception whose kind tells; empty where it does not.

        >>> ForeignError.advice(MemoryError())
        'Lower train.batch_size or data.window, or train on a machine with more memory.'
        """
        # PyTorch's class, which must not be imported here, is a RuntimeError; so is that of its CPU allocator.
        said = words_of(error)
        if isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said:
            return "Lower train.batch_size or data.window, or train on a machine with more memory."
        return ""


class AxiomViolation(TriviumError):
    """Raised by the monitor under ``on_violation: raise``: axiom, residual and step are in the message."""


def nearest(name: str, allowed: Iterable[object]) -> str:
    """Return the end of a message about an unknown name: the nearest allowed one, or all of them.

    >>> nearest("entorpy", ["entropy", "margin"])
    "Did you mean 'entropy'?"
    """
    options = [str(option) for option in allowed]
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return "Allowed: " + ", ".join(sorted(set(options))) + "."


def require(condition: bool, invariant: str, received: object, fix: str = "") -> None:
    """Raise :class:`InputError` unless ``condition`` holds."""
    if not condition:
        raise InputError(invariant, received, fix)


def words_of(error: BaseException) -> str:
    """``str(error)``, also of a foreign class whose own text raises."""
    try:
        return str(error)
    except Exception:
        return ""


def said_by(error: BaseException, most: int = 200) -> str:
    """Return an exception on one line: its type, and the first line of what it says, cut to ``most`` characters.

    >>> said_by(KeyError("loss"))
    "KeyError: 'loss'"
    """
    lines = [line.strip() for line in words_of(error).splitlines() if line.strip()]
    name = type(error).__name__
    return f"{name}: {lines[0][:most].rstrip('.')}" if lines else name


@contextmanager
def calling(invariant: str, fix: str = "", kind: type[TriviumError] | None = None) -> Iterator[None]:
    """Call code that is not Trivium's: what it raises, ``SystemExit`` included, becomes a :class:`ForeignError`.

    Args:
        invariant: who must be able to do what, such as ``"teacher 'a' must read a batch"``.
        fix: used where the exception itself does not tell what to do.
        kind: another class than ForeignError.

    A :class:`TriviumError` and an interruption from the keyboard pass as they are.

    >>> with calling("teacher 'a' must read a batch", "Run it by itself to see."):
    ...     {}["x"]
    Traceback (most recent call last):
    trivium.errors.ForeignError: teacher 'a' must read a batch; received KeyError: 'x'. Run it by itself to see.
    """
    try:
        yield
    except TriviumError:
        raise
    except (Exception, SystemExit) as error:
        raise (kind or ForeignError)(invariant, said_by(error), ForeignError.advice(error) or fix) from error
