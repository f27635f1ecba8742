"""One tiny world a session: making a tokenizer and teachers takes longer than training on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_world import World
from trivium.training.recipe import Recipe
from trivium.training.run import PreparedRun


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def recipe(world: World) -> Recipe:
    return world.recipe()


@pytest.fixture(scope="session")
def prepared_run(world: World, recipe: Recipe) -> PreparedRun:
    """Teachers, rows and cached logits of the plain recipe; tests only read it."""
    return world.prepared_run(recipe)


@pytest.fixture(scope="session")
def plain_run(recipe: Recipe, prepared_run: PreparedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of the plain recipe; tests only read it."""
    from trivium.training.run import distill

    folder = tmp_path_factory.mktemp("runs") / "plain"
    distill(recipe, prepared_run, folder)
    return folder
