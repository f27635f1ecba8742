"""``trivium recipe``: a recipe to start from."""

from __future__ import annotations

import typer


def recipe() -> None:
    """Print a commented recipe with every key and its default."""
    from trivium.training.template import template

    typer.echo(template(), nl=False)
