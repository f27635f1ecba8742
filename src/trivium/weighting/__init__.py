"""Rules: what decides the teachers' weights at the three scales.

One rule a file, under ``token/``, ``task/`` and ``context/``; :data:`RULES` is the catalogue.
"""

from trivium.weighting.base import Features, Operator, Rule, ScoreRule, UserRule, rule
from trivium.weighting.context.domain_map import DomainMap
from trivium.weighting.context.posterior import PrefixPosterior
from trivium.weighting.task.skill import Skill
from trivium.weighting.task.static import Static
from trivium.weighting.token.disagreement import Disagreement
from trivium.weighting.token.entropy import Entropy
from trivium.weighting.token.gap import Gap
from trivium.weighting.token.margin import Margin

#: Every built-in rule by the name that recipes and the command line use.
RULES: dict[str, type[Rule]] = {
    rule_class.name: rule_class
    for rule_class in (Entropy, Margin, Disagreement, Gap, Skill, Static, PrefixPosterior, DomainMap)
}

__all__ = [
    "RULES",
    "Disagreement",
    "DomainMap",
    "Entropy",
    "Features",
    "Gap",
    "Margin",
    "Operator",
    "PrefixPosterior",
    "Rule",
    "ScoreRule",
    "Skill",
    "Static",
    "UserRule",
    "rule",
]
