"""``trivium replay``: evaluate a recorded counterexample again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    file: Annotated[Path, typer.Argument(help="A certificate with a violation, as `trivium certify` wrote it.")],
) -> None:
    """Load the rule again, evaluate every witness, and compare it with what the certificate says: its axiom, the
    question that it answers, and the residual.

    Exit code 0: each reproduces. 1: one does not, or answers something else than was asked. 2: bad input, such as a
    rule that changed since. 3: anything else.
    """
    from trivium.certification.certificate import load
    from trivium.cli import work

    certificate = load(file)
    effort = certificate.search.get("seconds", 0.0)
    found = work.run("replay", {"file": str(file)}, work.from_a_user(certificate), effort)
    for reason in found["refusals"]:
        typer.echo(f"refused: {reason}")
    same = not found["refusals"]
    for told in found["witnesses"]:
        witness, now, reasons = told["witness"], float(told["now"]), told["reasons"]
        same &= not reasons
        typer.echo(f"{witness['axiom']}: {witness['note']}")
        for name, values in witness["features"].items():
            typer.echo(f"  {name} = {values}")
        for name, values in (witness["other"] or {}).items():
            typer.echo(f"  and {name} = {values}")
        end = "NOT reproduced" if reasons else "reproduced"
        typer.echo(f"  recorded {float(witness['residual']):.6g}, now {now:.6g}: {end}")
        for reason in reasons:
            typer.echo(f"  {reason}")
    if not same:
        raise typer.Exit(1)
