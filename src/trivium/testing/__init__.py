"""The conformance kit: axioms as tests in a user's own pytest, the points where rules break, and mutants.

.. code-block:: python

    from trivium.testing import parametrize_with_axioms

    @parametrize_with_axioms([my_rule, tv.Entropy(budget=2.0)], num_teachers=3, floor=0.05)
    def test_my_rules(check): check()

is one test for each rule and axiom. :mod:`~trivium.testing.cases` has the points for tests of one's own, and
:mod:`~trivium.testing.mutants` operators that break one axiom each, for testing the tests.
"""

from trivium.testing import cases, mutants
from trivium.testing.checks import Check, checks
from trivium.testing.gradients import GradientRule
from trivium.testing.parametrize import parametrize_with_axioms

__all__ = ["Check", "GradientRule", "cases", "checks", "mutants", "parametrize_with_axioms"]
