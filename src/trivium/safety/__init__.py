"""What a student must not do: unsafe sets, what weights and targets guarantee of them, and how to measure a student.

Pure mathematics: numbers and tensors in, numbers and tensors out. What a run does with it is
:mod:`trivium.training.safety`.
"""

from trivium.safety.audit import AuditedDocument, audit
from trivium.safety.automaton import Automaton, Boundaries, build_automaton
from trivium.safety.bounds import (
    attacked_mass,
    binary_kl,
    largest_mass,
    least_mass,
    order_holds,
    student_mass,
    uniform_mass,
)
from trivium.safety.feasibility import Feasibility, feasibility
from trivium.safety.intervals import (
    Interval,
    betting,
    clopper_pearson,
    draws_needed,
    empirical_bernstein,
    least_limit,
)
from trivium.safety.rare import RareEvents, Sampler, rare_events, survival
from trivium.safety.target import safe_projection
from trivium.safety.tokens import resolve_tokens, token_bytes
from trivium.safety.unsafe import UnsafeClasses, UnsafeSet, UnsafeTokens

__all__ = [
    "AuditedDocument",
    "Automaton",
    "Boundaries",
    "Feasibility",
    "Interval",
    "RareEvents",
    "Sampler",
    "UnsafeClasses",
    "UnsafeSet",
    "UnsafeTokens",
    "attacked_mass",
    "audit",
    "betting",
    "binary_kl",
    "build_automaton",
    "clopper_pearson",
    "draws_needed",
    "empirical_bernstein",
    "feasibility",
    "largest_mass",
    "least_limit",
    "least_mass",
    "order_holds",
    "rare_events",
    "resolve_tokens",
    "safe_projection",
    "student_mass",
    "survival",
    "token_bytes",
    "uniform_mass",
]
