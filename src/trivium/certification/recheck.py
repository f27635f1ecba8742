"""Check a certificate again: nobody edited it, and deriving, bounding and searching anew give no other answer.

All that can be computed is compared: source, box, programs, constants, derivation, and of each finding its word, its
numbers, its domain, its argument, what was searched and its witness, with the axiom and the question that the witness
answers. :data:`FREE` names what is left.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from trivium.certification.assemble import certify
from trivium.certification.calculus import known
from trivium.certification.certificate import BEFORE, Certificate, digest_of
from trivium.certification.falsify import replay
from trivium.certification.function_form import differs
from trivium.certification.listing import changes, recorded
from trivium.certification.run import TRACE, read_run
from trivium.certification.safety import SAFETY, safety_inconsistent
from trivium.certification.source import Source
from trivium.certification.specification import VERDICTS, Result, Specification, Witness
from trivium.scheme import derivation
from trivium.scheme.scheme import Scheme
from trivium.weighting.base import Operator

#: Another processor or thread count may round differently; a breach as recorded is far larger.
RELATIVE = 1e-3

#: What no check can compute again, by its place in the file, and why.
FREE: Final = {
    "name": "what it is called",
    "created": "when it was made",
    "versions.*": "of the programs it was made with",
    "run.folder": "where the run lay; its trace is compared wherever it is found",
    "specification.names.*": "labels of the teachers of a rule, where no order is asked and no witness repeats them",
    "results.*.witness.features.*": "another input with the same breach is as good a witness",
    "results.*.witness.other.*": "the second input of a pair, or the other batch: likewise",
    "results.*.witness.row": "where another row breaks the axiom as far",
}

#: In the account of a search that time cut short: how far it came is then no matter of the seed alone.
BY_THE_CLOCK = re.compile(r"time limit|left out|time was left|slow rule|out of time")


@dataclass(frozen=True)
class Rechecked:
    """The results of checking a certificate again.

    Attributes:
        refusals: every way in which the certificate is not what is computed now, a line each; none where it holds.
        confirmed: the axioms whose words stand.
        left: what was not compared, and why, a line each.
    """

    refusals: tuple[str, ...]
    confirmed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def agrees(witness: Witness, residual: float, steady: bool = False) -> bool:
    """Return whether a witness breaks its axiom as it is recorded, up to rounding.

    How far a rule moves that draws random numbers differs from call to call; of W-F that it moves is the breach, unless
    it is ``steady``: the same at every call.
    """
    same = residual == witness.residual or math.isclose(residual, witness.residual, rel_tol=RELATIVE)
    return witness.breaks(residual) and (same or (witness.axiom == "W-F" and not steady))


def edited(data: dict[str, Any]) -> list[str]:
    """Return why the file is not as it was written: empty when its digest fits."""
    recorded, now = data.get("digest"), digest_of(data)
    if recorded is None:
        return ["the certificate has no digest"]
    return [] if recorded == now else [f"the certificate was edited: digest {now[:12]}, not {str(recorded)[:12]}"]


def trace_changed(certificate: Certificate, beside: Path | None = None) -> Rechecked:
    """Return whether the run section is still that of the run, whose trace lies in its folder or ``beside`` the
    file."""
    run = certificate.run
    if run is None:
        return Rechecked(())
    folders = [Path(run.folder), *([] if beside is None else [beside])]
    found = next((folder for folder in folders if Path(folder, TRACE).is_file()), None)
    if found is None:
        return Rechecked((), left=(f"what its monitor saw: {Path(run.folder, TRACE)} is not here",))
    now = read_run(found).model_copy(update={"folder": run.folder})
    if now.safety != run.safety:
        return Rechecked((f"{Path(found, SAFETY)} is not the audit that was certified",))
    return Rechecked(() if now == run else (f"{Path(found, TRACE)} is not the trace that was certified",))


def inconsistent(certificate: Certificate) -> list[str]:
    """Return what contradicts itself in a certificate: findings that are doubled, out of place or without what they
    need, and witnesses that answer another question."""
    asked, specification = certificate.specification.axioms, certificate.specification
    seen = [result.axiom for result in certificate.results]
    reasons = [f"{axiom} is found {seen.count(axiom)} times" for axiom in dict.fromkeys(seen) if seen.count(axiom) > 1]
    reasons += [f"{axiom} is asked and not answered" for axiom in asked if axiom not in seen]
    reasons += [f"{axiom} is answered and not asked" for axiom in seen if axiom not in asked and "." not in axiom]
    if (certificate.kind == "run") != (certificate.run is not None):
        reasons.append(f"it is of the kind {certificate.kind!r} {'with' if certificate.run else 'without'} a run")
    if certificate.run is not None and certificate.run.safety is not None:
        reasons += safety_inconsistent(certificate.run.safety)
    for result in certificate.results:
        witness = result.witness
        if (result.verdict == "VIOLATED") != (witness is not None):
            reasons.append(f"{result.axiom}: {result.verdict} {'with' if witness else 'but without'} a witness")
        if witness is not None:
            reasons += [f"{result.axiom}: {reason}" for reason in _slanders(result, witness, specification)]
    return reasons


def _slanders(result: Result, witness: Witness, specification: Specification) -> Iterator[str]:
    """Yield how a witness answers something else than its finding and its certificate."""
    if witness.axiom != result.axiom:
        yield f"its witness is one of {witness.axiom}"
    if witness.specification is None:
        yield "its witness holds no question"
    elif witness.specification != specification and not _gradients_alone(witness, specification):
        yield "its witness answers another question than the certificate"
    if witness.num_teachers != specification.num_teachers and result.axiom != "W-N":
        yield f"its witness is of {witness.num_teachers} teachers, not {specification.num_teachers}"


def _gradients_alone(witness: Witness, specification: Specification) -> bool:
    """W-C of an operator that reads no gradients is asked by itself, with gradients beside its features."""
    return (
        witness.axiom == "W-C"
        and specification.pareto
        and witness.specification == Specification(specification.num_teachers, specification.names, pareto=True)
    )


def reproduced(certificate: Certificate, operator: Operator) -> list[tuple[Witness, float, list[str]]]:
    """Return each witness of a certificate, its residual now, and why it is not as certified."""
    found = []
    for result in certificate.violated:
        witness = result.witness
        if witness is None:  # which is a refusal of its own
            continue
        # How far a rule as it is written is from its graph is a matter of neither chance nor search.
        parted = differs(operator, witness) if witness.axiom == "W-F" else 0.0
        residual = parted or replay(operator, witness, known(operator, witness.num_teachers))
        found.append((witness, residual, list(_breach(result, witness, residual, parted > 0))))
    return found


def _breach(result: Result, witness: Witness, residual: float, steady: bool) -> Iterator[str]:
    if not witness.breaks(residual):
        yield f"{result.axiom}: the witness breaks nothing (residual {residual:.3g})"
    elif not agrees(witness, residual, steady):
        said = f"{witness.residual:.6g} recorded, {residual:.6g} now"
        yield f"{result.axiom}: the residual of the witness is not as certified: {said}"
    elif not residual > result.tolerance and witness.axiom != "W-P":
        yield f"{result.axiom}: the witness lies within the tolerance"


def recheck(
    certificate: Certificate, operator: Operator, seconds: float | None = None, source: Source | None = None
) -> list[str]:
    """Return every way in which the operator is not what the certificate says, as one line each: :func:`checked`'s
    refusals.

    Cost: one search.
    """
    return list(checked(certificate, operator, seconds, source).refusals)


def checked(
    certificate: Certificate, operator: Operator, seconds: float | None = None, source: Source | None = None
) -> Rechecked:
    """Certify again and compare.

    Args:
        certificate: as it was read.
        operator: what it is about, as it is now.
        seconds: for the search; as recorded by default. With others what a search came to is not compared, and a
            stronger word than the recorded one is no contradiction.
        source: where the operator was loaded from just now, to be compared as well.

    Of a certificate from before rules were captured (schema 1) the words are confirmed or not, and the witnesses; its
    derivations and numbers were made in another way and are not compared. Of one whose derivations have an earlier text
    (:data:`trivium.scheme.derivation.TEXT`) all is compared but their lines; under one text a line that differs is
    refused, so that nothing stays certified by a calculus that has changed.
    """
    given, refusals = certificate.search, inconsistent(certificate)
    if set(given) != {"seconds", "seed"} or not float(given["seed"]).is_integer():
        return Rechecked((*refusals, "its search must name its seconds, and its seed as a whole number"))
    same_effort = seconds is None or seconds == given["seconds"]
    budget = given["seconds"] if seconds is None else seconds
    again = certify(
        operator, certificate.specification, seconds=budget, seed=int(given["seed"]), source=certificate.source
    )
    refusals += [reason for _, _, reasons in reproduced(certificate, operator) for reason in reasons]
    if source is not None and _plain(source) != _plain(certificate.source):
        refusals.append("source is not as certified")
    old = certificate.schema_ == BEFORE
    if certificate.text > again.text:
        refusals.append(
            f"its derivations have text {certificate.text}, which is later than this version's {again.text}"
        )
    refusals += _wholes(certificate, again, operator)
    left: list[str] = []
    if certificate.text < again.text and not old:
        left.append(f"the lines of derivations: they have text {certificate.text}, this version writes {again.text}")
    if old:
        left.append(f"derivation, numbers and programs: the file is of {BEFORE}, from before rules were captured")
    elif not same_effort:
        left.append(f"what the searches came to: {budget:g} s now, {given['seconds']:g} s then")
    now = {result.axiom: result for result in again.results}
    confirmed = []
    for result in certificate.results:
        reasons, rest = _compared(result, now.get(result.axiom), certificate, old, same_effort)
        refusals += reasons
        left += rest
        confirmed += [result.axiom] * (not reasons)
    missing = [axiom for axiom in now if axiom not in {result.axiom for result in certificate.results}]
    refusals += [f"{axiom} is {now[axiom].verdict} now and missing from the certificate" for axiom in missing]
    return Rechecked(tuple(dict.fromkeys(refusals)), tuple(confirmed), tuple(left))


def _plain(source: Source) -> Any:
    """As a file holds it: a tuple is then a list."""
    return json.loads(source.model_dump_json())


def _wholes(certificate: Certificate, again: Certificate, operator: Operator) -> list[str]:
    """Return what is said of the operator as a whole and is not as certified."""
    names = ["formula", "description", "box", "per_entry"]
    if certificate.schema_ != BEFORE:
        names += ["constants"] + ["derivation"] * (certificate.text == again.text)
    reasons = [f"{n} is not as certified" for n in names if getattr(again, n) != getattr(certificate, n)]
    if certificate.kind != "run" and again.kind != certificate.kind:
        reasons.append("kind is not as certified")
    if isinstance(operator, Scheme) and operator.teacher_names != certificate.specification.names:
        reasons.append("the names of the teachers are not those of the scheme")
    if certificate.programs is not None:
        reasons += programs_changed(certificate, operator)
    return reasons


def programs_changed(certificate: Certificate, operator: Operator) -> list[str]:
    """Return what of the recorded programs is not as captured now."""
    then, now = certificate.programs or (), recorded(operator, certificate.specification.num_teachers)
    if len(then) != len(now):
        return [f"it holds {len(then)} programs, the operator has {len(now)} rules of a user"]
    by = f" (by torch {certificate.versions.torch} then, {torch.__version__} now)"
    by = by if certificate.versions.torch != torch.__version__ else ""
    return [
        f"the program of {b.rule} is not as captured now{by}: {', '.join(parts)}"
        for a, b in zip(then, now, strict=True)
        if (parts := changes(a, b))
    ]


def _compared(
    then: Result, now: Result | None, certificate: Certificate, old: bool, same_effort: bool
) -> tuple[list[str], list[str]]:
    """Return why one finding is not as it comes out now, and what of it was not compared."""
    axiom = then.axiom
    if now is None:
        return [f"{axiom}: not among the axioms asked"], []
    if then.verdict != now.verdict:
        stronger = VERDICTS.index(now.verdict) < VERDICTS.index(then.verdict)
        if old and then.verdict != "VIOLATED" and stronger:
            return [], [f"{axiom}: {now.verdict} now, more than was certified"]
        by_clock = BY_THE_CLOCK.search(then.search) or BY_THE_CLOCK.search(now.search)
        if then.verdict != "VIOLATED" and stronger and (not same_effort or by_clock):
            return [], [f"{axiom}: {now.verdict} now, more than was certified"]
        if then.verdict == "VIOLATED" and (old or not same_effort or by_clock):
            return [], [f"{axiom}: this search did not find the breach, which its witness shows"]
        return [f"{axiom}: the certificate says {then.verdict}, checked again it is {now.verdict}"], []
    if old:
        return [], []
    return _details(then, now, certificate, same_effort)


def _details(then: Result, now: Result, certificate: Certificate, same_effort: bool) -> tuple[list[str], list[str]]:
    """Of two findings with one word."""
    differ: list[str] = []
    left: list[str] = []
    by_clock = BY_THE_CLOCK.search(then.search) or BY_THE_CLOCK.search(now.search)
    comparable = same_effort and not by_clock
    if then.derivation != now.derivation and certificate.text == derivation.TEXT:
        differ.append("derivation")
    if then.verdict in ("PROVED", "VERIFIED"):
        differ += [name for name in ("where",) if getattr(then, name) != getattr(now, name)]
        differ += [name for name in ("residual", "tolerance") if not _same(getattr(then, name), getattr(now, name))]
    elif comparable:
        differ += [name for name in ("residual", "tolerance") if not _close(then, now, name)]
        if then.witness is None or (now.witness is not None and then.witness.features == now.witness.features):
            differ += ["where"] * (then.where != now.where)
    if comparable:
        differ += ["search"] * (then.search != now.search)
    elif same_effort:
        cut = (
            "time cut it short"
            if BY_THE_CLOCK.search(now.search)
            else "it says that time cut it short, as it did not now"
        )
        left.append(f"{then.axiom}: what its search came to, since {cut}")
    if then.witness is not None and now.witness is not None and then.witness.features == now.witness.features:
        differ += [f"witness ({name})" for name in ("note", "dtype", "row", "other") if _other(then, now, name)]
    return [f"{then.axiom}: its {name} is not as computed again" for name in differ], left


def _other(then: Result, now: Result, name: str) -> bool:
    assert then.witness is not None
    assert now.witness is not None
    return bool(getattr(then.witness, name) != getattr(now.witness, name))


def _same(then: float | None, now: float | None) -> bool:
    if then is None or now is None:
        return then is now
    return then == now or (math.isnan(then) and math.isnan(now)) or math.isclose(then, now, rel_tol=1e-9)


def _close(then: Result, now: Result, name: str) -> bool:
    """Return what a search came to: the same up to rounding by another processor."""
    a, b = getattr(then, name), getattr(now, name)
    if a is None or b is None:
        return a is b
    return _same(a, b) or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=now.tolerance if name == "residual" else 0.0)
