"""A stored witness, evaluated again."""

from __future__ import annotations

import math

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.function import Changes, from_graph
from trivium.certification.falsify.lipschitz import Allowance, Pairs
from trivium.certification.falsify.objectives import objectives
from trivium.certification.falsify.pareto import with_gradients
from trivium.certification.falsify.probe import DTYPES, Probe, quiet
from trivium.certification.specification import STATEMENTS, Witness
from trivium.errors import InputError, nearest
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator, Rule

#: Calls after which a state that changes a rule's answer should have shown itself.
PATIENCE = 20_000


def replay(operator: Operator, witness: Witness, constants: Constants | None = None) -> float:
    """Return the residual of a witness, computed again in this process: > 0 where the axiom still breaks.

    Every row is evaluated in a batch of its own, except for W-F: there the batch is the point, and the residual is how
    far the function as it is written, on that batch, is from its graph at a row; of an opaque operator the largest
    change of any row with the rows beside it and the call. An exception or NaN weights give +inf for W-N.

    Args:
        operator: the rule or scheme, as it is now.
        witness: from a finding or a certificate.
        constants: the declared constants that a ``constants.…`` witness refutes; by default the rule's own.

    Raises:
        InputError: a witness without its question, over other features, or of constants that nobody declares.
    """
    if witness.specification is None:
        raise InputError("a witness must hold the question it answers", "none", "Write the certificate again.")
    operator = with_gradients(operator) if witness.axiom == "W-C" else operator
    box = Box.of(operator, witness.num_teachers)
    if set(box.ranges) != set(witness.features):
        raise InputError(
            "a witness must be over the operator's features",
            ", ".join(witness.features),
            f"It reads {list(box.ranges)}.",
        )
    dtype = DTYPES[witness.dtype]
    _check(witness, box)
    points = box.join(witness.features)
    other = None if witness.other is None else box.join(witness.other)
    probe = Probe(operator, box)
    with quiet(seed=0):
        if witness.axiom == "W-F":
            written = float(from_graph(operator, box, points, dtype).max())
            if probe.captured(dtype):
                return written
            return max(written, float(Changes(probe, dtype).of(points, other, PATIENCE).max()))
        if witness.axiom.startswith("constants.") and constants is None:
            constants = operator.constants(witness.num_teachers) if isinstance(operator, Rule) else None
            if constants is None:
                raise InputError("a witness against declared constants needs them", "none", "Pass constants=…")
        if other is not None:
            allowance = Allowance("W-R", lipschitz=witness.specification.lipschitz or 0.0)
            if witness.axiom == "constants.lipschitz" and constants is not None:
                allowance = Allowance.declared(constants, box)
            pairs = Pairs(allowance, box, dtype)
            log_u, log_v = probe.alone(points[0], dtype)[1], probe.alone(other[0], dtype)[1]
            return float(pairs.residual(points[:1], other[:1], log_u, log_v)[0])
        row = points[witness.row : witness.row + 1]
        weights, log_weights = probe.alone(row[0], dtype)
    asked = [o for o in objectives(witness.specification, constants, box=box) if o.axiom == witness.axiom]
    return max((float(o.value(row, weights, log_weights)[0]) for o in asked), default=-math.inf)


def _check(witness: Witness, box: Box) -> None:
    """Raises InputError for a witness that says nothing about these features or is no row of its own batch."""
    known = (*STATEMENTS, "constants.influence", "constants.log_ratio", "constants.lipschitz")
    if witness.axiom not in known:
        raise InputError("a witness must break an axiom", repr(witness.axiom), nearest(witness.axiom, known))
    for features in (witness.features, witness.other):
        counts = set()
        for name, interval in box.ranges.items() if features is not None else ():
            rows = (features or {}).get(name, [])
            width = interval.width(box.num_teachers)
            counts.add(len(rows))
            if not rows or any(len(row) != width for row in rows):
                must = f"each row of the feature {name!r} must hold {width} numbers for {box.num_teachers} teachers"
                raise InputError(must, [len(row) for row in rows], "Write the certificate again.")
        if len(counts) > 1:
            raise InputError("the features of a witness must have equally many rows", sorted(counts), "Write it again.")
    if box.ranges and witness.row >= len(next(iter(witness.features.values()))):
        raise InputError("a witness must name one of its rows", witness.row, "Rows count from 0.")
