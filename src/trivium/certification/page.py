"""A certificate as a page: rows for a table, and a section for a model card."""

from __future__ import annotations

from typing import NamedTuple

from trivium.certification.certificate import Certificate, ObservedRun
from trivium.certification.safety import safety_line
from trivium.certification.specification import STATEMENTS, Result, Specification

MEANING = {
    "PROVED": "follows from the form of the rule or from declared constants of its parts, which a search did not break",
    "VERIFIED": "bounded at every point of the feature box",
    "NOT FALSIFIED": "searched as stated, without a counterexample",
    "VIOLATED": "broken by a stored input",
}


PER_ENTRY = (
    "The weights differ by vocabulary entry: what stands below holds entry by entry, the pool is renormalized over the "
    "vocabulary, and T7, T8 and S1 do not hold (T10)."
)


class PageRow(NamedTuple):
    """One line of the table of findings, as text."""

    axiom: str
    asked: str
    verdict: str
    residual: str
    where: str


def rows(certificate: Certificate) -> list[PageRow]:
    """Return the table: an axiom a row, those not asked last."""
    specification = certificate.specification
    table = [
        PageRow(f.axiom, asked(f.axiom, specification), f.verdict, number(f.residual), _where(f))
        for f in certificate.results
    ]
    for axiom in STATEMENTS:
        if axiom not in specification.axioms:
            why = "asked with --pareto, and of runs that read gradients" if axiom == "W-C" else ""
            if certificate.run is not None and axiom in certificate.run.worst:
                table.append(
                    PageRow(axiom, "watched", "", number(certificate.run.worst[axiom]), "worst batch of the run")
                )
                continue
            table.append(PageRow(axiom, "not asked", "", "", why))
    return table


def asked(axiom: str, specification: Specification) -> str:
    """Return what was asked of an axiom, in words.

    >>> asked("W-B", Specification(3, floor=0.05, influence=4.0))
    'floor 0.05, influence 4 nats'
    """
    if axiom == "W-B":
        bounds = {"floor": specification.floor, "cap": specification.cap, "influence": specification.influence}
        given = [f"{name} {value:.10g}" for name, value in bounds.items() if value is not None]
        return ", ".join(given) + (" nats" if specification.influence is not None else "")
    if axiom == "W-R":
        return f"L = {specification.lipschitz:.10g}"
    if axiom == "W-S" and specification.order is not None:
        text = specification.order.text(specification.names)
        text += f" by {specification.order_margin:g} nats" if specification.order_margin else ""
        return f"{text}, on critical inputs" if specification.critical else text
    return STATEMENTS.get(axiom, "a constant that a part declares")


def number(value: float | None) -> str:
    """Return a residual for people: three digits, with its sign."""
    if value is None:
        return ""
    return f"{value + 0.0:.3g}".replace("-", "−").replace("inf", "∞").replace("nan", "not a number")


def summary(certificate: Certificate) -> str:
    """Return one sentence: how many axioms with each word.

    The words stand from the strongest to the one that matters most.
    """
    verdicts = [result.verdict for result in certificate.results]
    counts = [f"{verdicts.count(word)} {word}" for word in MEANING if word in verdicts]
    return f"{certificate.name}, {certificate.specification.num_teachers} teachers: {', '.join(counts)}."


def as_markdown(certificate: Certificate, heading: str = "## What its weighting guarantees") -> str:
    """Return a section for a model card or a README."""
    box = "; ".join(
        f"`{name}` from {i.low:g} to {i.high:g}{' (whole numbers)' if i.integer else ''}"
        for name, i in certificate.box.items()
    )
    lines = [
        heading,
        "",
        f"`{certificate.formula}`",
        "",
        f"Teachers: {', '.join(certificate.specification.names)}. Feature box: {box or 'no features'}.",
        "",
        "| axiom | asked | verdict | residual | where |",
        "|---|---|---|---|---|",
    ]
    if certificate.per_entry:
        lines[4:4] = [PER_ENTRY, ""]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows(certificate)]
    used = dict.fromkeys(result.verdict for result in certificate.results)
    lines += ["", *(f"- {word}: {MEANING[word]}." for word in used)]
    if certificate.derivation:
        lines += ["", "Derivation:", "", "```", *certificate.derivation]
        lines += [line for result in certificate.results for line in result.derivation]
        lines += ["```"]
    if certificate.run is not None:
        lines += ["", *run_lines(certificate.run)]
    v = certificate.versions
    lines += ["", f"Made {certificate.created} with trivium {v.trivium}, torch {v.torch}, Python {v.python}."]
    return "\n".join(lines) + "\n"


def run_lines(run: ObservedRun) -> list[str]:
    """Return what the monitor saw, a line a fact."""
    worst = ", ".join(f"{axiom} {number(value)}" for axiom, value in sorted(run.worst.items())) or "none recorded"
    lines = [f"Worst residual over {run.steps} training steps (≤ 0 holds, up to rounding): {worst}."]
    for breach in run.violations:
        times = "once" if breach.count == 1 else f"{breach.count} times"
        lines.append(f"Violated while training: {breach.axiom}, {breach.action} {times}, worst {number(breach.worst)}.")
    if run.safety is not None:
        lines.append(safety_line(run.safety))
    return lines


def _where(result: Result) -> str:
    return result.witness.note if result.witness is not None else result.where
