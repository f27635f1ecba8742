"""Complete a specification: what the user does not name is asked as the operator claims it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trivium.certification.specification import Specification, default_names
from trivium.errors import InputError, require
from trivium.former import renamed
from trivium.simplex.order import Order

#: What an operator claims for K teachers of these names.
Claims = Callable[[int, tuple[str, ...]], Specification]

#: Beyond, tables of pairs of teachers do not fit the memory.
_MOST_TEACHERS = 4096


@renamed(teachers="num_teachers", margin="order_margin")
def ask(
    claims: Claims,
    known: Sequence[str] = (),
    *,
    num_teachers: int | None = None,
    names: Sequence[str] = (),
    floor: float | None = None,
    cap: float | None = None,
    influence: float | None = None,
    lipschitz: float | None = None,
    order: str | Order | None = None,
    order_margin: float = 0.0,
    pareto: bool = False,
    words: tuple[str, str] = ("num_teachers=", "names"),
) -> Specification:
    """Return what is asked, completed: an axiom about which nothing is said is asked as the operator claims it.

    Args:
        known: the teachers' names, where the operator fixes them.
        words: how the caller writes the number of teachers, and their names.

    Raises:
        InputError: no number of teachers, or numbers and names that do not agree; an order that cannot be read.
    """
    number, naming = words
    given, fixed = tuple(names), tuple(known) or tuple(names)
    if num_teachers is None and not fixed:
        raise InputError("the number of teachers must be given", "none", f"Add {number}3.")
    count = len(fixed) if num_teachers is None else num_teachers
    require(count >= 1, "the number of teachers must be at least one", count, f"Use {number}3.")
    require(count <= _MOST_TEACHERS, f"the number of teachers must be at most {_MOST_TEACHERS}", count)
    for source, listed in (("the scheme has", tuple(known)), (f"{naming} gives", given)):
        fits = not listed or len(listed) == count
        must = f"{number.rstrip(' =')} must agree with what {source}"
        require(fits, must, f"{count} and {len(listed)}", "Leave one out.")
    labels = given or tuple(known) or default_names(count)
    own = claims(count, labels)
    bounded = not floor == cap == influence is None
    return Specification(
        count,
        labels,
        floor=floor if bounded else own.floor,
        cap=cap if bounded else own.cap,
        influence=influence if bounded else own.influence,
        lipschitz=own.lipschitz if lipschitz is None else lipschitz,
        order=own.order if order is None else Order.parse(order, labels) if isinstance(order, str) else order,
        order_margin=own.order_margin if order is None and own.order is not None else order_margin,
        pareto=pareto or own.pareto,
        critical=own.critical and order is None,
    )
