"""Implications over the reals, proved by an SMT solver: the premises are satisfiable, premises and negation are not.

A ``sat`` of the premises keeps an implication from being true for nothing. Z3 decides linear and polynomial real
arithmetic exactly, so ``unsat`` is a proof for all real values and not for floats. Logarithms are outside its reach;
statements are put to it without them (a Hilbert distance of at most log r becomes u_j·v_k ≤ r·v_j·u_k).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from trivium.errors import InputError
from trivium.theory.rows import TheoremRow

#: Numbers of teachers for which statements over all weights are put to the solver.
TEACHERS = (2, 3, 4, 5, 6)
_MILLISECONDS = 60_000

Statement = tuple[Sequence[Any], Any]


def solver() -> Any:
    """Return the module ``z3``, loaded when it is first needed.

    Raises:
        InputError: it is not installed.
    """
    try:
        import z3
    except ImportError:
        raise InputError(
            "proofs of the implications need the SMT solver Z3", "no module z3", "pip install 'trivium[theory]'"
        ) from None
    return z3


def implies(premises: Sequence[Any], conclusion: Any) -> bool:
    """Return whether the solver proves premises ⇒ conclusion for all reals, and the premises can be met.

    False also where it gives up. Cost: polynomial statements in up to a dozen variables take well under a second here.

    >>> x = solver().Real("x")
    >>> implies([x > 1], x * x > x), implies([x > 0], x * x > x), implies([x > 1, x < 1], x > 2)
    (True, False, False)
    """
    z3 = solver()
    search = z3.Solver()
    search.set("timeout", _MILLISECONDS)
    search.add(*premises)
    if search.check() != z3.sat:
        return False
    search.add(z3.Not(conclusion))
    return bool(search.check() == z3.unsat)


def least_linear(slopes: Sequence[float], constraints: Callable[[Sequence[Any]], Iterable[Any]]) -> float:
    """min ⟨slopes, z⟩ over z in a polytope, solved exactly over the rationals; −inf where it is unbounded or empty."""
    z3 = solver()
    z = z3.RealVector("z", len(slopes))
    search = z3.Optimize()
    search.add(*constraints(z))
    least = search.minimize(z3.Sum([exact(slope) * z_k for slope, z_k in zip(slopes, z, strict=True)]))
    if search.check() != z3.sat:
        return -math.inf
    value = least.value()
    # A whole number comes back as an integer, and −∞ as an expression.
    return float(Fraction(value.as_string())) if z3.is_rational_value(value) or z3.is_int_value(value) else -math.inf


def exact(value: float) -> Any:
    """Return a double as the rational number that it is."""
    numerator, denominator = value.as_integer_ratio()
    return solver().Q(numerator, denominator)


def proved(claim: str, cases: Sequence[int], state: Callable[[int], Statement], how: str = "SMT") -> TheoremRow:
    """Return a row for a claim that is stated for each number of teachers in ``cases``; none for a claim about one
    pair."""
    done = {num_teachers: implies(*state(num_teachers)) for num_teachers in cases}
    numbers = {f"K={num_teachers}": float(valid) for num_teachers, valid in done.items()}
    open_cases = [str(num_teachers) for num_teachers, valid in done.items() if not valid]
    seen = "negation unsat" if not open_cases else f"not proved for K = {', '.join(open_cases)}"
    return TheoremRow(claim, "PROVED", f"{how}, K = {cases[0]}…{cases[-1]}", seen, not open_cases, numbers)


def proved_once(claim: str, statement: Statement, how: str) -> TheoremRow:
    """Return a row for a claim that does not depend on the number of teachers, such as one about a pair of them."""
    valid = implies(*statement)
    return TheoremRow(claim, "PROVED", how, "negation unsat" if valid else "not proved", valid, {"valid": float(valid)})
