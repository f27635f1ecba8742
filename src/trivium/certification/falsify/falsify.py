"""The public entry of the falsifier."""

from __future__ import annotations

import dataclasses

from trivium.certification.falsify.pareto import with_gradients
from trivium.certification.falsify.probe import quiet
from trivium.certification.falsify.results import Results
from trivium.certification.falsify.search import Falsification
from trivium.certification.specification import Result, Specification
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator


def falsify(
    operator: Operator,
    specification: Specification,
    *,
    seconds: float = 5.0,
    seed: int = 0,
    constants: Constants | None = None,
    other_teachers: bool = True,
) -> dict[str, Result]:
    """Search the operator's feature box for a breach of every axiom asked.

    NOT FALSIFIED means that this search found nothing, VIOLATED comes with a witness that :func:`replay` reproduces.
    Where the operator can be captured it is the graph of one row that is searched, in each dtype the one captured
    there: its branches and numbers are read off its nodes, and its gradients are followed. What is opaque is called as
    it is written, in batches.

    Args:
        operator: a rule or scheme over features [..., K].
        question: the axioms with their parameters, and K.
        seconds: effort; the number of evaluations follows from it and not from the clock. It mostly takes a third of
            them on one core, of a captured operator at most twice (CPU time of this thread, which other jobs on the
            machine do not change), of an opaque one at most as many and one call (of CPU and wall-clock time the
            longer, since it may sleep). What was left out is said. The capture itself does not count.
        seed: of all random choices; the caller's random state is left as it was.
        constants: declared constants, searched as well under the ids ``constants.influence``, ``constants.gap`` and
            ``constants.lipschitz``.
        other_teachers: whether a rule that accepts other numbers of teachers, from 1 to 16, but gives NaN there breaks
            W-N (a division by K − 1, a deviation over one teacher).

    Returns:
        a finding for each id in ``question.axioms``, and for the constants when given.

    >>> import torch
    >>> from trivium.weighting.base import rule
    >>> @rule(scale="token", features={"entropy": (0.0, 12.0)})
    ... def hard(entropy):
    ...     return torch.softmax(-entropy - 2.0 * (entropy > 7.3), dim=-1)
    >>> found = falsify(hard, Specification(2, lipschitz=2.0), seconds=0.5)
    >>> found["W-N"].verdict, found["W-R"].verdict
    ('NOT FALSIFIED', 'VIOLATED')
    """
    if specification.pareto and with_gradients(operator) is not operator:
        rest = dataclasses.replace(specification, pareto=False)
        found = falsify(operator, rest, seconds=seconds, seed=seed, constants=constants, other_teachers=other_teachers)
        alone = Specification(specification.num_teachers, specification.names, pareto=True)
        brief = min(seconds, 0.25)  # almost any gradients break it
        beside = falsify(with_gradients(operator), alone, seconds=brief, seed=seed, other_teachers=False)
        return {**found, "W-C": beside["W-C"]}
    with quiet(seed):
        search = Falsification(operator, specification, seconds, seed, constants)
        search.run(other_teachers)
        return Results(search, specification).all()
