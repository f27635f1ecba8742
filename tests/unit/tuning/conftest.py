"""One tiny world a session, the space of its recipe, and its teachers' logits."""

from __future__ import annotations

import pytest

from tiny_world import World
from trivium.training.run import PreparedRun
from trivium.tuning.space import Space, build_space


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="session")
def space(world: World) -> Space:
    return build_space(world.recipe(), world.folder, budget=4.0)


@pytest.fixture(scope="session")
def prepared_run(world: World, space: Space) -> PreparedRun:
    return world.prepared_run(space.everything())
