"""Model folders that transformers would ask about, pass over in part, or fail at in its own way.

What this catches that no other test does: what stands beside a model's weights and config.
"""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tiny_world import make_model, make_tokenizer, student_config
from trivium.errors import InputError
from trivium.teachers.fingerprint import folder_files
from trivium.teachers.huggingface import load_model
from trivium.training.configs import fresh_config, fresh_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model(make_tokenizer(), 0).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_code_in_a_folder_is_neither_run_nor_asked_about(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the run stood still at a question of transformers; "y" ran the code."""
    asked: list[Any] = []
    monkeypatch.setattr(builtins, "input", lambda *words: asked.append(words) or "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.signal.alarm", lambda seconds: None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n", encoding="utf-8")
    with pytest.raises(InputError, match="must hold a model that transformers itself knows; received code of its own"):
        load_model(folder)
    assert not asked
    assert not (folder / "ran").exists()


def test_an_adapter_that_nothing_here_can_read_is_not_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model without its adapter was taken for the teacher."""
    monkeypatch.setattr("trivium.teachers.huggingface.find_spec", lambda name: None)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"must be read with its adapter.*pip install peft"):
        load_model(folder)


@pytest.mark.parametrize("name", ["source.spm", "merges.txt", "dict.yaml", "inner/tokenizer.model", "code.py"])
def test_files_that_decide_how_a_folder_is_read_are_known(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("one", encoding="utf-8")
    before = folder_files(tmp_path)
    assert list(before) == [name]
    (tmp_path / name).write_text("two", encoding="utf-8")
    assert folder_files(tmp_path) != before


SIZES: list[tuple[dict[str, Any], str]] = [
    ({"num_attention_heads": 0}, "must (make a|fit) llama"),
    ({"hidden_size": 16 * 10**8}, "must make a llama; received RuntimeError.*memory"),
    ({"hidden_size": -4}, "must (make a|fit) llama"),
    ({"vocab_size": -1}, "must (make a|fit) llama"),
]


@pytest.mark.parametrize(("changes", "part"), SIZES, ids=[str(changes) for changes, _ in SIZES])
def test_sizes_that_make_no_model_are_bad_input(changes: dict[str, Any], part: str) -> None:
    options = student_config(**changes)
    with pytest.raises(InputError, match=f"student.config {part}"):
        fresh_model(AutoModelForCausalLM, fresh_config(options, {"llama"}, "writes text", {"vocab_size": 8}))
