"""The bank: user-style rules, each with the question asked and the axioms it breaks."""

from bank import broken, conforming, remote, subtle, traps
from bank.cases import BROKEN, CONFORMING, Case

__all__ = ["BROKEN", "CONFORMING", "Case", "broken", "conforming", "remote", "subtle", "traps"]
