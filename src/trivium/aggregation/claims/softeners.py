"""What the softening operators claim, with the proofs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivium.aggregation.claims import moduli
from trivium.aggregation.claims.table import Broken, Cell, Claims, ClaimsTable, Holds, SofteningWitness
from trivium.aggregation.softening import PriorMixing, Temperature, UniformMixing
from trivium.axioms.softening import (
    SOFTENING_AXIOMS,
    EntropyMonotonicity,
    NeutralIdentity,
    RankPreservation,
    SharpEnd,
    SoftEnd,
    SofteningContinuity,
)
from trivium.axioms.softening.softening import SofteningModulus

#: The prior that the row ``prior`` is attacked and refuted with.
PRIOR = (0.1, 0.2, 0.7)
_THIRDS = (1 / 3, 1 / 3, 1 / 3)


def _row(softener: Any, cost: str, source: str, modulus: SofteningModulus, cells: Mapping[str, Cell]) -> Claims:
    every = (
        RankPreservation(),
        SofteningContinuity(modulus),
        EntropyMonotonicity(),
        NeutralIdentity(),
        SoftEnd(),
        SharpEnd(),
    )
    axioms = {axiom.id: axiom for axiom in every}
    return Claims(softener.name, softener.formula, cost, source, [softener], [axioms], cells)


_MIXING_MODULUS = "TV(q, q′) ≤ |ε − ε′|·TV(p, u) + (1 − ε′)·TV(p, p′)"

_TEMPERATURE = _row(
    Temperature(),
    "O(V)",
    "arXiv 1503.02531",
    moduli.temperature,
    {
        "F-R": Holds("x ↦ x^(1/T) rises"),
        "F-C": Holds("d_H(q, q′) ≤ |1/T − 1/T′|·d_H(p, uniform) + d_H(p, p′)/T′", "positive"),
        "F-E": Holds("dH/dT = Var_q(log p)/T³ ≥ 0"),
        "F-I": Holds("p^1 = p"),
        "F-U": Holds("TV(q, uniform) ≤ tanh(R/4T), R = log(max p/min p); a zero stays zero at any T", "positive"),
        "F-A": Holds("TV ≤ (V − n)/n·e^(−g/T) for n top entries with a lead of g nats"),
    },
)

_UNIFORM = _row(
    UniformMixing(),
    "O(V)",
    "arXiv 1512.00567, §7",
    moduli.mixing(),
    {
        "F-R": Holds("an increasing affine map of each p(i), the same for all"),
        "F-C": Holds(_MIXING_MODULUS),
        "F-E": Holds("entropy is concave on the segment from p to uniform, where it is greatest"),
        "F-I": Holds("ε = 0"),
        "F-U": Holds("ε = 1, zeros included"),
        "F-A": Broken("it never sharpens: at ε = 0 (.6, .4) stays itself", SofteningWitness((0.6, 0.4), 0.0, {})),
    },
)

_PRIOR = _row(
    PriorMixing(PRIOR),
    "O(V)",
    "arXiv 1512.00567, §7",
    moduli.mixing(PRIOR),
    {
        "F-R": Broken(
            "(.5, .3, .2) with the prior (.1, .2, .7) at ε = ½ becomes (.3, .25, .45)",
            SofteningWitness((0.5, 0.3, 0.2), 0.5, {}),
        ),
        "F-C": Holds(_MIXING_MODULUS),
        "F-E": Broken(
            "from (⅓, ⅓, ⅓) to the prior (.1, .2, .7) the entropy falls from 1.099 to .802",
            SofteningWitness(_THIRDS, 0.0, {"higher": 1.0}),
        ),
        "F-I": Holds("ε = 0"),
        "F-U": Broken(
            "at ε = 1 it is the prior (.1, .2, .7), TV .367 from uniform", SofteningWitness(_THIRDS, 1.0, {})
        ),
        "F-A": Broken(
            "it never sharpens: at ε = 0 (.5, .3, .2) stays itself", SofteningWitness((0.5, 0.3, 0.2), 0.0, {})
        ),
    },
)

SOFTENER_CLAIMS = ClaimsTable(
    "softening operators",
    {axiom.id: axiom.statement for axiom in SOFTENING_AXIOMS.values()},
    (_TEMPERATURE, _UNIFORM, _PRIOR),
)
