"""``trivium verify``: check a certificate again, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    file: Annotated[Path, typer.Argument(help="A certificate.")],
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Time for the search; as recorded by default.")] = None,
) -> None:
    """Check the digest, the hash of rule or recipe, every derivation and every counterexample again.

    Exit code 0: it holds as written. 1: refused, with the reason. 2: the file is no certificate. 3: anything else.
    """
    from trivium.certify.certificate import parse, read_json
    from trivium.certify.recheck import edited, recheck, trace_changed
    from trivium.cli.subject import reload
    from trivium.errors import InputError

    data = read_json(file)
    certificate = parse(data, str(file))
    refusals = edited(data)
    if not refusals:
        try:
            operator = reload(certificate.source).operator
        except InputError as error:
            refusals = [str(error)]
        else:
            refusals = [*trace_changed(certificate), *recheck(certificate, operator, seconds)]
    for reason in refusals:
        typer.echo(f"refused: {reason}")
    if refusals:
        raise typer.Exit(1)
    typer.echo(
        f"{file} holds: the digest fits, the {certificate.source.kind} is as it was certified, and asking again gives "
        "the same constants, derivation and verdicts."
    )
