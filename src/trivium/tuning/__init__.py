"""Search over conforming schemes: which rules at each scale, how strong, how much influence each scale may have.

Every candidate is proved by the calculus of :mod:`trivium.certification` before anything is computed for it. The room
sees both certify and training, which never meet; it writes files, and :mod:`trivium.report` reads them.
"""

from trivium.tuning.mixture import MixtureObjective
from trivium.tuning.outcome import conclude
from trivium.tuning.proof import Proof, prove, specification_of
from trivium.tuning.records import TrialRecord
from trivium.tuning.search import Limits, search
from trivium.tuning.space import Space, build_space
from trivium.tuning.student import StudentObjective

__all__ = [
    "Limits",
    "MixtureObjective",
    "Proof",
    "Space",
    "StudentObjective",
    "TrialRecord",
    "build_space",
    "conclude",
    "prove",
    "search",
    "specification_of",
]
