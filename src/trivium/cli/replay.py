"""``trivium replay``: evaluate a recorded counterexample again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    file: Annotated[Path, typer.Argument(help="A certificate with a violation, as `trivium certify` wrote it.")],
) -> None:
    """Load the rule again, evaluate every witness, and compare the residual with the recorded one.

    Exit code 0: each reproduces. 1: one does not. 2: bad input, such as a rule that changed since. 3: anything else.
    """
    from trivium.certify.calculus import known
    from trivium.certify.certificate import load
    from trivium.certify.falsify import replay as evaluate
    from trivium.certify.recheck import agrees
    from trivium.cli.subject import reload
    from trivium.errors import InputError

    certificate = load(file)
    witnesses = [finding.witness for finding in certificate.violated if finding.witness is not None]
    if not witnesses:
        raise InputError(f"{file} must hold a violation to replay", "none", "Nothing was violated.")
    operator = reload(certificate.source).operator
    same = True
    for witness in witnesses:
        seen = evaluate(operator, witness, known(operator, witness.teachers))
        reproduced = agrees(witness, seen)
        same &= reproduced
        typer.echo(f"{witness.axiom}: {witness.note}")
        for name, values in witness.features.items():
            typer.echo(f"  {name} = {values}")
        for name, values in (witness.other or {}).items():
            typer.echo(f"  and {name} = {values}")
        typer.echo(
            f"  recorded {witness.residual:.6g}, now {seen:.6g}: {'reproduced' if reproduced else 'NOT reproduced'}"
        )
    if not same:
        raise typer.Exit(1)
