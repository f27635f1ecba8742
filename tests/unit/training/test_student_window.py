"""Rows longer than the student has positions: refused before anything is computed, or told where they do no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_world import WINDOW, World, student_config
from trivium.errors import InputError
from trivium.teachers.admission import admit_language_model
from trivium.training.recipe import parse_recipe
from trivium.training.run import PreparedRun, distill, prepare
from trivium.training.tasks.text import build_student

ENCODER: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
#: model_type → (a tiny config of it, how its length is called, how many it takes beyond what that says).
ENDING: dict[str, tuple[dict[str, Any], str, int]] = {
    "gpt2": ({"n_embd": 16, "n_layer": 1, "n_head": 2}, "n_positions", 0),
    "opt": (
        {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "word_embed_proj_dim": 16},
        "max_position_embeddings",
        0,
    ),
    "gptj": ({"n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 4}, "n_positions", 0),
    "mpt": ({"d_model": 16, "n_layers": 1, "n_heads": 2}, "max_seq_len", 0),
    "roberta": (ENCODER | {"is_decoder": True, "pad_token_id": 0}, "max_position_embeddings", -1),
}
ENDLESS: dict[str, dict[str, Any]] = {
    "llama": {name: value for name, value in student_config().items() if name != "model_type"},
    "gpt_neox": ENCODER | {"max_position_embeddings": 64},
    "bloom": {"hidden_size": 16, "n_layer": 1, "n_head": 2},
}


def student(world: World, model_type: str, options: dict[str, Any], window: int = WINDOW) -> Any:
    content = world.content(data={"window": window})
    content["student"]["config"] = {"model_type": model_type, **options}
    return build_student(parse_recipe(content), world.tokenizer, world.folder)


@pytest.mark.parametrize("model_type", list(ENDING))
def test_a_student_whose_positions_end_is_refused_and_one_position_more_is_enough(
    world: World, model_type: str
) -> None:
    options, length, fewer = ENDING[model_type]
    enough = WINDOW - fewer
    built = student(world, model_type, options | {length: enough})
    assert built.training
    assert built(input_ids=torch.ones(1, WINDOW, dtype=torch.long)).logits.shape[1] == WINDOW
    with pytest.raises(InputError, match=r"rows of data\.window tokens; received 32.*Lower data\.window") as caught:
        student(world, model_type, options | {length: enough - 1})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model_type", list(ENDLESS))
def test_positions_without_an_end_take_any_window(world: World, model_type: str) -> None:
    built = student(world, model_type, ENDLESS[model_type], window=100)
    assert built(input_ids=torch.ones(1, 100, dtype=torch.long)).logits.shape[1] == 100


def test_the_limit_that_the_config_states_is_named(world: World) -> None:
    options, length, _ = ENDING["gpt2"]
    with pytest.raises(InputError, match=r"at most its max_position_embeddings = 16"):
        student(world, "gpt2", options | {length: 16})


def test_asking_changes_neither_the_weights_nor_what_is_drawn_next(world: World) -> None:
    options, length, _ = ENDING["gpt2"]
    built = student(world, "gpt2", options | {length: WINDOW})
    before = {name: value.clone() for name, value in built.state_dict().items()}
    state = torch.random.get_rng_state()
    for training in (True, False):
        built.train(training)
        admit_language_model(built, world.tokenizer, WINDOW, "the student")
        assert built.training is training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_a_student_that_cannot_read_the_rows_is_refused_before_the_teachers_read_them(
    world: World, tmp_path: Path
) -> None:
    options, length, _ = ENDING["gpt2"]
    content = world.content()
    content["student"]["config"] = {"model_type": "gpt2", **options, length: WINDOW // 2}
    with pytest.raises(InputError, match=r"data\.window"):
        prepare(parse_recipe(content), world.folder, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.deep
def test_longer_rows_than_the_config_foresees_are_told_in_the_runs_progress(
    world: World, prepared_run: PreparedRun, tmp_path: Path
) -> None:
    told: list[str] = []
    for name, most in (("short", WINDOW - 1), ("long", WINDOW)):
        recipe = world.recipe(student={"config": student_config(max_position_embeddings=most)}, train={"steps": 1})
        distill(recipe, prepared_run, tmp_path / name, progress=lambda stage, done, total: told.append(stage))
    notes = [stage for stage in told if stage.startswith("note")]
    assert notes == ["note: rows of 32 tokens are longer than the max_position_embeddings of the student, 31"]


def test_no_note_where_the_config_states_no_limit(world: World) -> None:
    told: list[str] = []
    admit_language_model(student(world, "bloom", ENDLESS["bloom"]), world.tokenizer, 200, "the student", told.append)
    assert told == []
