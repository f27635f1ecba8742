"""What the number format of the cache must not change: large logits, and teachers kept in different formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tiny_world import World, make_model, weights_of
from trivium.store.codec import ERROR
from trivium.teachers.cache import cached_logits
from trivium.teachers.live import Reader
from trivium.training.run import PreparedRun, distill


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two teachers: one plain, one whose logits span hundreds."""
    made = World(tmp_path_factory.mktemp("sharp"))
    steep = make_model(made.tokenizer, 2, tie_word_embeddings=False)
    with torch.no_grad():
        steep.get_output_embeddings().weight *= 40
    made.add_model("tales", steep)
    return made


@dataclass(frozen=True)
class Shifted:
    """A teacher with a constant added to its logits."""

    inner: Reader
    shift: float
    name: str = "shifted"
    fingerprint: str = "shifted"

    @property
    def vocabulary_size(self) -> int:
        return self.inner.vocabulary_size

    @property
    def device(self) -> torch.device:
        return self.inner.device

    def logits(self, inputs: Any) -> Tensor:
        return self.inner.logits(inputs) + self.shift


def recipe_of(world: World, **changes: Any) -> Any:
    return world.recipe(**{"train": {"steps": 4, "save_every": 4, "evaluate_every": 4}, **changes})


def test_a_teacher_kept_in_float32_stands_beside_one_in_float16(sharp: World) -> None:
    prepared_run = sharp.prepared_run(recipe_of(sharp), sharp.folder / "kept")
    kinds = [found.dtype for found in prepared_run.sources["train"].logits(torch.tensor([0, 1]))]
    assert kinds == [torch.float16, torch.float32]


@pytest.mark.parametrize(
    "scheme",
    [
        {},
        {"token": [], "task": [{"rule": "aekd"}], "context": []},
        {"token": [{"rule": "mmkd"}], "task": [], "context": []},
        {"token": [], "task": [{"rule": "amtss"}], "context": []},
        {"token": [{"rule": "gap"}, {"rule": "disagreement"}, {"rule": "margin"}], "task": [], "context": []},
    ],
    ids=["plain", "aekd", "mmkd", "amtss", "token"],
)
def test_live_and_cached_agree_where_formats_are_mixed(sharp: World, scheme: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for name, enabled in (("cached", True), ("live", False)):
        changes = {"budget": 1.0} if scheme else {}
        recipe = recipe_of(sharp, scheme=scheme | changes, cache={"enabled": enabled})
        distill(recipe, sharp.prepared_run(recipe, sharp.folder / "kept"), tmp_path / name)
        found.append(weights_of(tmp_path / name / "student"))
    cached, live = found
    assert max(float((cached[name] - live[name]).abs().max()) for name in live) < 5e-3


@pytest.mark.parametrize("shift", [-90_000.0, 90_000.0, 3_000.0])
def test_a_constant_in_a_teachers_logits_is_not_seen(
    world: World, prepared_run: PreparedRun, shift: float, tmp_path: Path
) -> None:
    """Below −65,504 a true teacher was refused, above 65,504 its answer flipped, at 3,000 it was off by 2.1 nats."""
    rows = prepared_run.tables.validation.inputs
    exact = prepared_run.teachers[0].logits(rows).double().log_softmax(-1)
    [found] = cached_logits([Shifted(prepared_run.teachers[0], shift)], rows, tmp_path).logits(torch.arange(len(rows)))
    # float32 itself keeps a logit of 90,000 to 0.004.
    assert float((found.double().log_softmax(-1) - exact).abs().max()) <= ERROR
    right = np.mean((found.argmax(-1) == exact.argmax(-1)).numpy())
    assert right > 0.995
