"""One check for each rule and axiom: certify the rule once, and say all that is known where an axiom breaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from trivium.certification.ask import ask
from trivium.certification.assemble import certify, claims
from trivium.certification.calculus import known
from trivium.certification.certificate import Certificate
from trivium.certification.page import asked, number
from trivium.certification.specification import STATEMENTS, VERDICTS, Result, Specification, Verdict
from trivium.errors import InputError, require
from trivium.former import renamed
from trivium.scheme.scheme import Scheme
from trivium.simplex.order import Order
from trivium.testing.gradients import GradientRule, breach
from trivium.testing.hint import replay_hint
from trivium.weighting.base import Operator

#: The id of the check of what a rule declares about itself.
CONSTANTS = "constants"


class RuleUnderTest:
    """A rule under test with the question asked of it; certified when the first check needs it, and only once."""

    def __init__(self, operator: Operator, specification: Specification, seconds: float, seed: int) -> None:
        self.operator, self.specification, self.seconds, self.seed = operator, specification, seconds, seed

    @cached_property
    def certificate(self) -> Certificate:
        """The certificate that every check of this rule reads."""
        return certify(self.operator, self.specification, seconds=self.seconds, seed=self.seed)


@dataclass(frozen=True)
class Check:
    """One axiom of one rule, as a function without arguments.

    Attributes:
        name: of the rule.
        axiom: its id, or ``constants`` for what the rule declares about itself.
        subject: what is certified; None for a rule of gradients.
        rule: the rule itself.
        num_teachers: K.
        at_least: the weakest verdict that passes.
    """

    name: str
    axiom: str
    subject: RuleUnderTest | None
    rule: Operator | GradientRule
    num_teachers: int
    at_least: Verdict = "NOT FALSIFIED"

    @property
    def id(self) -> str:
        """What pytest calls it, such as ``entropy-W-B``."""
        return f"{self.name}-{self.axiom}"

    @property
    def results(self) -> tuple[Result, ...]:
        """The findings that decide: one, or those about declared constants; none for a rule of gradients."""
        if self.subject is None:
            return ()
        found = self.subject.certificate.results
        if self.axiom == CONSTANTS:
            return tuple(result for result in found if result.axiom.startswith("constants."))
        return tuple(result for result in found if result.axiom == self.axiom)

    def __call__(self) -> None:
        """Raise unless the axiom holds.

        Raises:
            AssertionError: it is violated, or the verdict is weaker than asked. The message has verdict, residual,
                witness, and how to see it again.
            RuleError: the rule cannot be evaluated at all.
        """
        __tracebackhide__ = True
        if isinstance(self.rule, GradientRule):
            said = breach(self.rule, self.num_teachers)
            if said is not None:
                raise AssertionError(f"{self.name} breaks W-C ({STATEMENTS['W-C']})\nverdict   VIOLATED\n{said}")
            return
        for result in self.results:
            if VERDICTS.index(result.verdict) > VERDICTS.index(self.at_least):
                raise AssertionError(self.report(result))

    def report(self, result: Result) -> str:
        """Return what a failing test says."""
        assert self.subject is not None
        subject, broken = self.subject, result.verdict == "VIOLATED"
        what = asked(result.axiom, subject.specification)
        head = f"{self.name} breaks {result.axiom} ({what})"
        if not broken:
            head = f"{self.name}: {result.axiom} ({what}) is not {self.at_least}"
        lines = [
            head,
            f"rule      {subject.operator.formula()}",
            f"verdict   {result.verdict}",
            f"residual  {number(result.residual)} (rounding explains at most {result.tolerance:.2g})",
        ]
        if result.witness is not None:
            lines += [f"witness   {result.witness.note}", f"          {result.where}"]
            hint = replay_hint(subject.operator, subject.certificate, result.witness)
            lines += [f"replay    {hint[0]}", *(f"          {line}" for line in hint[1:])]
        else:
            lines += [f"searched  {result.search}", *(f"          {line}" for line in result.derivation)]
        return "\n".join(lines)


@renamed(teachers="num_teachers", margin="order_margin")
def checks(
    rules: Iterable[Operator | GradientRule],
    *,
    num_teachers: int | None = None,
    floor: float | None = None,
    cap: float | None = None,
    influence: float | None = None,
    lipschitz: float | None = None,
    order: str | Order | None = None,
    order_margin: float = 0.0,
    pareto: bool = False,
    seconds: float = 1.0,
    seed: int = 0,
    at_least: Verdict = "NOT FALSIFIED",
) -> list[Check]:
    """Return a :class:`Check` for each rule and axiom; :func:`parametrize_with_axioms` has the arguments.

    W-F, W-N and W-P are always asked. For W-B, W-R and W-S what is not given is what the rule claims by itself, and a
    rule that declares constants is also checked to be right about them.

    >>> from trivium.weighting import Entropy
    >>> [check.id for check in checks([Entropy(budget=2.0)], num_teachers=3, floor=0.05)]
    ['entropy-W-F', 'entropy-W-N', 'entropy-W-P', 'entropy-W-B', 'entropy-W-R', 'entropy-constants']
    """
    require(at_least in VERDICTS[:-1], "the weakest verdict that passes must be one of the first three", at_least)
    made: list[Check] = []
    rules = list(rules)
    require(len(rules) > 0, "there must be a rule to check", "none", "Give a list of rules.")
    for rule, name in zip(rules, _names(rules), strict=True):
        if isinstance(rule, GradientRule):
            made.append(Check(name, "W-C", None, rule, num_teachers or 3, at_least))
            continue
        own = rule.teacher_names if isinstance(rule, Scheme) else ()
        specification = ask(
            partial(claims, rule),
            own,
            num_teachers=num_teachers or len(own) or 3,
            floor=floor,
            cap=cap,
            influence=influence,
            lipschitz=lipschitz,
            order=order,
            order_margin=order_margin,
            pareto=pareto,
            words=("the number of teachers ", "names"),
        )
        subject = RuleUnderTest(rule, specification, seconds, seed)
        asked_of_it = (
            [*specification.axioms, CONSTANTS]
            if known(rule, specification.num_teachers) is not None
            else specification.axioms
        )
        made += [Check(name, axiom, subject, rule, specification.num_teachers, at_least) for axiom in asked_of_it]
    return made


def _names(rules: Sequence[Operator | GradientRule]) -> list[str]:
    """Return the rules' own names; the second of a name is ``name-2``."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for rule in rules:
        if not isinstance(rule, Operator | GradientRule):
            fix = "Decorate a function with @trivium.rule(...), or make an instance of a class."
            raise InputError("what is checked must be a rule or a scheme", repr(rule), fix)
        name = getattr(rule, "name", None) or type(rule).__name__.lower()
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names
