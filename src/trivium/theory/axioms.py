"""T0: which axioms are needed."""

from __future__ import annotations

from trivium.theory import implications, independence
from trivium.theory.rows import Report

TITLE = "Positivity and the cap follow from the floor; W-F, W-N, W-B, W-R and W-S do not follow from one another"


def examine() -> Report:
    """T0: implications proved, independence by witnesses."""
    return Report("T0", TITLE, (*implications.rows(), *independence.rows()), implications.ARGUMENT)
