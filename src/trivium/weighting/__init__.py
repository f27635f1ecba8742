"""Rules: what decides the teachers' weights at the three scales.

One rule a file, under ``token/``, ``task/`` and ``context/``; :data:`RULES` is the catalogue.
"""

from trivium.weighting.base import Features, Operator, RawRule, Rule, ScoreRule, UserRule, rule
from trivium.weighting.context.avg_ce import AvgCE
from trivium.weighting.context.domain_map import DomainMap
from trivium.weighting.context.fitted_scores import FittedScores
from trivium.weighting.context.min_ce import MinCE
from trivium.weighting.context.mopd import MOPD
from trivium.weighting.context.posterior import PrefixPosterior
from trivium.weighting.learnable import LearnableRule, TrainingState
from trivium.weighting.task.aekd import AEKD
from trivium.weighting.task.amtss import AMTSS
from trivium.weighting.task.nash_mtl import NashMTL
from trivium.weighting.task.skill import Skill
from trivium.weighting.task.static import Static
from trivium.weighting.task.torchjd import TorchJD
from trivium.weighting.token.ca_mkd import CAMKD
from trivium.weighting.token.disagreement import Disagreement
from trivium.weighting.token.ebkd import EBKD
from trivium.weighting.token.entropy import Entropy
from trivium.weighting.token.gap import Gap
from trivium.weighting.token.hardness import Hardness
from trivium.weighting.token.margin import Margin
from trivium.weighting.token.mmkd import MMKD
from trivium.weighting.token.nemo_rl import NemoRL
from trivium.weighting.token.scores import Scores

#: Every built-in rule by the name that recipes and the command line use.
RULES: dict[str, type[Rule]] = {
    rule_class.name: rule_class
    for rule_class in (
        *(Entropy, Margin, Disagreement, Gap, Hardness, Scores, EBKD, CAMKD, NemoRL, MMKD),
        *(Skill, Static, AEKD, NashMTL, TorchJD, AMTSS),
        *(PrefixPosterior, FittedScores, DomainMap, MOPD, MinCE, AvgCE),
    )
}

__all__ = [
    "AEKD",
    "AMTSS",
    "CAMKD",
    "EBKD",
    "MMKD",
    "MOPD",
    "RULES",
    "AvgCE",
    "Disagreement",
    "DomainMap",
    "Entropy",
    "Features",
    "FittedScores",
    "Gap",
    "Hardness",
    "LearnableRule",
    "Margin",
    "MinCE",
    "NashMTL",
    "NemoRL",
    "Operator",
    "PrefixPosterior",
    "RawRule",
    "Rule",
    "ScoreRule",
    "Scores",
    "Skill",
    "Static",
    "TorchJD",
    "TrainingState",
    "UserRule",
    "rule",
]
