"""The console that tables are printed to, in any encoding."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata

from rich.console import Console

_WIDTH_OF_A_LOG = 120

#: What a sign of the formulas is on a terminal that lacks it; digits above or below the line are in Unicode's data.
ASCII = {
    "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "∘": "o", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∝": "~",
    "±": "+-", "∓": "-+", "→": "->", "←": "<-", "↦": "->", "⇒": "=>", "…": "...", "‖": "||", "⊗": "(x)", "⊕": "(+)",
    "⟨": "<", "⟩": ">", "∞": "inf", "∂": "d", "∇": "grad ", "√": "sqrt ", "Σ": "sum ", "Π": "prod ", "Δ": "Delta ",
    "∈": "in", "≻": ">", "≽": ">=", "“": '"', "”": '"', "‘": "'", "’": "'", "′": "'", "″": "''", "§": "sec. ",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "eps", "η": "eta", "θ": "theta", "λ": "lambda",
    "μ": "mu", "ν": "nu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ω": "omega", "ℓ": "l",
    "ḡ": "g", "\u0303": "", "\u0304": "", "∎": "QED", "\u00a0": " ", "\u2009": " ",
} | dict(zip("▁▂▃▄▅▆▇█", "_.-~=+*#", strict=True))  # fmt: skip
_MARKS = {"<super>": "^", "<sub>": "_", "<fraction>": ""}


class _Screen(Console):
    """A console that leaves a pipe which nobody reads to :mod:`trivium.cli.ending`."""

    def on_broken_pipe(self) -> None:
        """Raise what was raised: Rich would end the program with exit code 1, which means a violation."""
        raise  # Rich calls this where it has caught a BrokenPipeError


def console() -> Console:
    """Return the terminal at its own width; a file or pipe, which has none, at one that no table is cut to."""
    here = _Screen()
    return here if here.is_terminal else _Screen(width=max(here.width, _WIDTH_OF_A_LOG))


def print_in_any_encoding() -> None:
    """Let this process print every text: a sign that the terminal lacks becomes ASCII, any other its number.

    A process that was started without stdout or stderr gets one that nobody reads; else the next file that it opens
    would be taken for it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if vars(sys)[name] is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this stream's
            if null != number:
                os.dup2(null, number)
            mode = "r" if number == 0 else "w"
            vars(sys)[name] = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # for good
    codecs.register_error("trivium.ascii", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="trivium.ascii")


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Return what ASCII has for the signs that could not be encoded, and where to go on.

    >>> codecs.register_error("trivium.ascii", _in_ascii)
    >>> "w ≤ ½·x² of ü".encode("ascii", "trivium.ascii")
    b'w <= 1/2*x^2 of \\xfc'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(map(_form, signs)), error.end


def _form(sign: str) -> str:
    if sign in ASCII:
        return ASCII[sign]
    kind, _, codes = unicodedata.decomposition(sign).partition(" ")
    if kind in _MARKS:
        found = _MARKS[kind] + "".join(chr(int(code, 16)) for code in codes.split()).replace("\u2044", "/")
        return found.replace("−", "-")
    return sign.encode("ascii", "backslashreplace").decode("ascii")
