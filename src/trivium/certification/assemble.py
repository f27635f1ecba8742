"""One certificate from three sources: the calculus, the search, and where the operator came from."""

from __future__ import annotations

import dataclasses
import math
import platform
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch

from trivium.axioms import FunctionOfItsRow, ParetoCompatibility
from trivium.certification.around import derive_around, verified_around
from trivium.certification.ask import ask
from trivium.certification.calculus import derive, known
from trivium.certification.certificate import SCHEMA, Certificate, CertifiedConstants, FeatureRange, Versions
from trivium.certification.decisions import Decision, decide
from trivium.certification.falsify import falsify
from trivium.certification.function_form import breach
from trivium.certification.listing import recorded
from trivium.certification.source import BuiltInSource, FileSource, ObjectSource, RecipeSource, source_of
from trivium.certification.specification import Result, Specification
from trivium.certification.verify import strengthen
from trivium.errors import RuleError, TriviumError, require, words_of
from trivium.former import renamed
from trivium.scheme import derivation
from trivium.scheme.derivation import Derived
from trivium.scheme.on_critical import OnCritical
from trivium.scheme.per_entry import PerEntry
from trivium.scheme.project import Project
from trivium.scheme.scheme import Scheme
from trivium.scheme.tree import nodes
from trivium.simplex.constants import Constants
from trivium.simplex.order import Order
from trivium.simplex.rounding import log_slack, weight_slack
from trivium.simplex.typed import typed
from trivium.weighting.base import Operator, RawRule, Rule
from trivium.weighting.features import BUILT_IN

#: Seconds of the processor that searching and bounding may take together, however few are asked for.
_LEAST = 5.0


@renamed(question="specification", margin="order_margin")
@typed()
def certify(
    operator: Operator,
    specification: Specification | None = None,
    *,
    num_teachers: int | None = None,
    names: Sequence[str] = (),
    floor: float | None = None,
    cap: float | None = None,
    influence: float | None = None,
    lipschitz: float | None = None,
    order: str | Order | None = None,
    order_margin: float = 0.0,
    pareto: bool = False,
    seconds: float = 5.0,
    seed: int = 0,
    source: FileSource | BuiltInSource | RecipeSource | ObjectSource | None = None,
    name: str | None = None,
) -> Certificate:
    """Certify an operator: prove what the calculus proves, and search for a breach of everything asked.

    An axiom is PROVED where it follows from constants that the parts declare or that hold by the form of the
    operator, and the search, which attacks those constants too, found no counterexample. That a user's rule is a
    function of its row follows from its form: it runs as a captured graph on one row. Where that leaves an axiom of
    a captured rule open and nothing broke, its graph is bounded over the box: VERIFIED if that settles it. In a
    composition the graph of each user's rule is bounded, and what the calculus makes of these bounds is VERIFIED too.
    Otherwise the word is that of the search, as it always is for an opaque rule by itself. A rule that means something
    else on a batch than on a row breaks W-F. A declared constant that breaks is a finding of its own, VIOLATED.

    Args:
        operator: a rule, a scheme or any composition.
        question: the axioms asked and their parameters, ready made; else it is made of the next arguments, and an
            axiom about which they say nothing is asked as the operator claims it.
        num_teachers, names: how many, and what they are called; a scheme says so itself.
        floor, cap, influence: bounds on weights, and on log(max w / min w) in nats (W-B).
        lipschitz: nats a unit of the features (W-R).
        order, order_margin: safest first, ``"a > b = c"`` or an :class:`~trivium.simplex.order.Order`, with nats
            between two tiers (W-S).
        pareto: whether no teacher's loss may rise to first order (W-C).
        seconds: for the search, about, and as many again for bounding.
        seed: of the search.
        source: where the operator came from; by default what the object itself tells.
        name: what to call it; by default its own name.

    Raises:
        RuleError: the operator raises or exits, or returns something of another shape or that is no real number.
        InputError: a leaf that cannot weight this number of teachers; a question that cannot be asked.

    >>> from trivium.weighting.token.margin import Margin
    >>> certificate = certify(Margin(), num_teachers=2, floor=0.2, seconds=0.2)
    >>> [result.verdict for result in certificate.results]
    ['PROVED', 'PROVED', 'PROVED', 'PROVED', 'PROVED']
    """
    if specification is None:
        known = operator.teacher_names if isinstance(operator, Scheme) else ()
        specification = ask(
            partial(claims, operator),
            known,
            num_teachers=num_teachers,
            names=names,
            floor=floor,
            cap=cap,
            influence=influence,
            lipschitz=lipschitz,
            order=order,
            order_margin=order_margin,
            pareto=pareto,
        )
    else:
        bounds = (num_teachers, floor, cap, influence, lipschitz, order)
        said = any(bound is not None for bound in bounds) or bool(names) or order_margin != 0.0 or pareto
        require(
            not said, "a question must be ready made, or be made of the bounds beside it", "both", "Give one of them."
        )
    require(0.0 <= seconds < math.inf, "the seconds of a search must be a number ≥ 0", seconds, "5 is the default.")
    try:
        return _certified(operator, specification, seconds, seed, source, name)
    except SystemExit as error:
        must = f"{operator.formula()} must evaluate for {specification.num_teachers} teachers"
        raise RuleError(must, f"it exits with {error.code!r}", "Raise an error instead.") from error


def _certified(
    operator: Operator,
    specification: Specification,
    seconds: float,
    seed: int,
    source: FileSource | BuiltInSource | RecipeSource | ObjectSource | None,
    name: str | None,
) -> Certificate:
    start = time.process_time()
    derived = derive(operator, specification.num_teachers)
    parted = breach(operator, specification)
    if parted is None:
        _try(operator, specification.num_teachers)
    claimed = derived.constants if derived.informative else None
    found = falsify(operator, specification, seconds=seconds, seed=seed, constants=claimed)
    if parted is not None:
        found["W-F"] = parted
    proved = [axiom for axiom, decision in decide(derived, specification).items() if decision.proved]
    over = max(2 * seconds, _LEAST)
    found = strengthen(operator, specification, found, proved, seconds, lambda: time.process_time() - start > over)
    broken = any(result.verdict == "VIOLATED" for result in found.values())
    around = None if broken else derive_around(operator, specification.num_teachers)
    if around is not None:
        found = verified_around(around, specification, found, proved)
    shown = around or derived
    constants = shown.constants if shown.informative else None
    return Certificate(
        schema_=SCHEMA,
        kind="rule" if isinstance(operator, Rule) else "scheme",
        name=name or getattr(operator, "name", None) or type(operator).__name__.lower(),
        formula=operator.formula(),
        description=str(operator),
        source=source or source_of(operator),
        versions=Versions(trivium=_version(), torch=torch.__version__, python=platform.python_version()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        specification=specification,
        search={"seconds": seconds, "seed": seed},
        box={key: FeatureRange(**interval._asdict()) for key, interval in operator.ranges.items()},
        per_entry=any(isinstance(node, PerEntry) for node in nodes(operator)),
        constants=None if constants is None else _bounds(constants),
        text=derivation.TEXT,
        derivation=shown.lines(),
        programs=recorded(operator, specification.num_teachers),
        results=judge(derived, specification, found, bounded=set(derived.unknown) - set(shown.unknown)),
    )


def judge(
    derived: Derived, specification: Specification, found: Mapping[str, Result], bounded: Collection[str] = ()
) -> tuple[Result, ...]:
    """Return the strongest word earned for each axiom asked, then each declared constant that the search broke.

    ``bounded``: unknown leaves whose code was bounded over the whole box, so that they do return positive numbers.
    """
    decisions = decide(derived, specification)
    broken = [f for f in found.values() if f.axiom.startswith("constants.") and f.verdict == "VIOLATED"]
    where = "the whole box"
    rest = [name for name in derived.unknown if name not in bounded]
    if rest:
        where += f", wherever {' and '.join(rest)} returns numbers, one of them positive"
    if bounded:
        where += f"; {' and '.join(sorted(bounded))}: VERIFIED to return positive numbers"
    # What a row's weights depend on does not depend on whether they are numbers.
    covers = dict.fromkeys(specification.axioms, where) | {"W-F": "the whole box"}
    words = [
        _word(derived, specification, decisions[axiom], found[axiom], covers[axiom] if not broken else None)
        for axiom in specification.axioms
    ]
    return (*words, *broken)


def claims(operator: Operator, num_teachers: int, names: tuple[str, ...] = ()) -> Specification:
    """Return what an operator promises by itself: the bounds and order it is projected to, the influence and the
    regularity that its parts declare. The question to ask when the user asks none.

    >>> from trivium.weighting.token.margin import Margin
    >>> asked = claims(Margin(), 3)
    >>> asked.influence, asked.lipschitz
    (1.0, 2.0)
    """
    derived = derive(operator, num_teachers)
    constants = derived.constants
    influence = constants.influence if known(operator, num_teachers) is not None else math.inf
    root = operator.root if isinstance(operator, Scheme) else operator
    trusted = root.conforming if isinstance(root, OnCritical) else None
    root = root.part if isinstance(root, OnCritical) else root
    goal = root.conforming if isinstance(root, Project) else None
    ordered = goal if trusted is None else trusted
    bounded = goal is not None and (goal.floor > 0 or goal.cap < 1)
    return Specification(
        num_teachers,
        names,
        floor=goal.floor if goal is not None and goal.floor > 0 else None,
        cap=goal.cap if goal is not None and goal.cap < 1 else None,
        influence=influence if not bounded and influence < math.inf else None,
        lipschitz=constants.total_lipschitz if constants.total_lipschitz < math.inf else None,
        order=ordered.order if ordered is not None else None,
        order_margin=ordered.order_margin if ordered is not None else 0.0,
        pareto=bool(derived.pareto),
        critical=trusted is not None,
    )


def _try(operator: Operator, num_teachers: int) -> None:
    """One call in the middle of the box: a rule that fails there cannot be searched."""
    features = {"teachers": torch.zeros(2, num_teachers)}
    for name, interval in operator.ranges.items():
        middle = (interval.low + interval.high) / 2
        middle = float(round(middle)) if interval.integer else middle
        features[name] = torch.full((2, interval.width(num_teachers)), middle)
    evaluate = operator.weights if isinstance(operator, RawRule) else operator.log_weights
    try:
        evaluate(features)
    except TriviumError:
        raise
    except Exception as error:  # a user's function may raise anything; the cause is kept
        must = f"{operator.formula()} must evaluate for {num_teachers} teachers"
        said = f"{type(error).__name__}: {' '.join(words_of(error).split())}"
        raise RuleError(must, said, "Features come as [..., K] with any leading axes.") from error


def _word(
    derived: Derived, specification: Specification, decision: Decision, found: Result, where: str | None
) -> Result:
    """``where`` the proof holds; None if a declared constant that it rests on is broken."""
    if found.verdict == "VIOLATED" or where is None or not decision.proved:
        # Where nothing is known of the parts there is nothing to say of the whole.
        said = (derived.informative or decision.proved) and found.verdict != "VERIFIED"
        lines = [*(decision.lines if said else ()), *found.derivation]
        if decision.proved:
            lines.append("This follows from the declared constants, but a search broke them: they are wrong.")
        return dataclasses.replace(found, derivation=tuple(lines))
    return Result(
        axiom=found.axiom,
        verdict="PROVED",
        residual=decision.residual,
        tolerance=_tolerance(found.axiom, specification.num_teachers),
        where=where,
        derivation=decision.lines,
        search=found.search,
    )


def _tolerance(axiom: str, num_teachers: int) -> float:
    """A proof is about real numbers; this is what weights computed in float32 may add."""
    if axiom == "W-C":
        return ParetoCompatibility().tolerance_of_gram(torch.float32, num_teachers, BUILT_IN["gram"].high)
    if axiom == "W-F":
        return FunctionOfItsRow().tolerance(torch.float32, num_teachers)
    return log_slack(torch.float32) if axiom in ("W-R", "W-S") else weight_slack(torch.float32, num_teachers)


def _bounds(constants: Constants) -> CertifiedConstants:
    return CertifiedConstants(
        influence=constants.influence,
        floor=constants.floor,
        cap=constants.cap,
        total_lipschitz=constants.total_lipschitz,
        lipschitz=dict(constants.lipschitz),
        log_ratio=tuple(tuple(row) for row in constants.log_ratio.tolist()),
    )


def _version() -> str:
    try:
        return version("trivium")
    except PackageNotFoundError:
        return "not installed"
