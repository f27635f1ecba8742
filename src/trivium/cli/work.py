"""The part of the commands that runs a user's code: plain values in, plain values out, in whichever process.

``certify``, ``verify`` and ``replay`` call it through :func:`run`: in a child process (:mod:`trivium.cli.supervise`)
where a user's file is loaded, and in this one for what the library itself defines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from trivium.certification import assemble
from trivium.certification.ask import ask
from trivium.certification.certificate import Certificate, parse, read_json
from trivium.certification.recheck import (
    Rechecked,
    checked,
    edited,
    inconsistent,
    programs_changed,
    reproduced,
    trace_changed,
)
from trivium.certification.run import add_run, read_run
from trivium.certification.specification import Specification
from trivium.cli.subject import Subject, reload, resolve
from trivium.cli.supervise import supervised
from trivium.errors import InputError


def run(work: str, arguments: Mapping[str, Any], users: str | None, seconds: float) -> Any:
    """Call one of :data:`WORK`: in a watched child where ``users`` names the user's file that it runs, else here."""
    return WORK[work](**arguments) if users is None else supervised(work, arguments, users, seconds)


def of_a_user(target: str) -> str | None:
    """Return the file that a target of ``certify`` runs, as errors name it; None for a rule of the library."""
    path, separator, _ = target.rpartition(":")
    if (separator and path.endswith(".py")) or target.endswith((".yaml", ".yml")):
        return target
    return None


def from_a_user(certificate: Certificate) -> str | None:
    """Return the file that a certificate loads again, as errors name it; None where the library defines what is
    certified."""
    source = certificate.source
    if source.kind == "file":
        return f"{source.path}:{source.name}"
    return source.path if source.kind == "recipe" else None


def certified(
    target: str,
    options: Mapping[str, Any],
    asked: Mapping[str, Any],
    run: str | None,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """Return the certificate of a target, as plain JSON; ``asked`` holds the options of ``trivium certify`` by name."""
    subject = resolve(target, options)
    specification = specification_of(subject, **asked)
    seen = None if run is None else read_run(run)
    certificate = assemble.certify(
        subject.operator, specification, seconds=seconds, seed=seed, source=subject.source, name=subject.name
    )
    if seen is not None:
        certificate = add_run(certificate, seen)
    return certificate.to_data()


def verified(file: str, seconds: float | None, run: str | None) -> dict[str, list[str]]:
    """Return everything in a certificate computed again: ``refusals``, ``confirmed`` words, and what was
    ``left`` out."""
    data = read_json(file)
    certificate = parse(data, file)
    refusals = edited(data) + inconsistent(certificate)
    found, seen = Rechecked(tuple(refusals)), Rechecked(())
    if not refusals:
        try:
            subject = reload(certificate.source)
        except InputError as error:
            found = Rechecked((str(error),))
        else:
            seen = trace_changed(certificate, Path(run) if run else Path(file).resolve().parent)
            found = checked(certificate, subject.operator, seconds, subject.source)
    return {
        "refusals": [*found.refusals, *seen.refusals],
        "confirmed": list(found.confirmed),
        "left": [*found.left, *seen.left],
    }


def replayed(file: str) -> dict[str, Any]:
    """Return each witness of a certificate evaluated again, and why it does not show what the certificate says."""
    data = read_json(file)
    certificate = parse(data, file)
    if not any(result.witness is not None for result in certificate.violated):
        raise InputError(f"{file} must hold a violation to replay", "none", "Nothing was violated.")
    refusals = edited(data) + inconsistent(certificate)
    if refusals:
        return {"refusals": refusals, "witnesses": []}
    operator = reload(certificate.source).operator
    refusals = programs_changed(certificate, operator) if certificate.programs is not None else []
    seen = reproduced(certificate, operator)
    told = [{"witness": witness.to_json(), "now": str(now), "reasons": reasons} for witness, now, reasons in seen]
    return {"refusals": refusals, "witnesses": told}


def specification_of(
    subject: Subject,
    num_teachers: int | None,
    names: str | None,
    floor: float | None,
    cap: float | None,
    influence: float | None,
    lipschitz: float | None,
    order: str | None,
    order_margin: float,
    pareto: bool,
) -> Specification:
    """Return what the user asks; for an axiom about which nothing is asked, what the operator claims."""
    return ask(
        subject.claims,
        subject.teacher_names,
        num_teachers=num_teachers,
        names=tuple(name.strip() for name in names.split(",")) if names else (),
        floor=floor,
        cap=cap,
        influence=influence,
        lipschitz=lipschitz,
        order=order,
        order_margin=order_margin,
        pareto=pareto,
        words=("--teachers ", "--names"),
    )


#: By the name under which a child process is asked for it.
WORK: Final[Mapping[str, Callable[..., Any]]] = {"certify": certified, "verify": verified, "replay": replayed}
