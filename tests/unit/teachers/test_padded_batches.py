"""A classifier of texts answers each text as it answers it alone, whatever pads it and whoever stands beside it.

No other test holds a batch of texts against each text by itself; a decoder that was padded with an id that its config
does not know was right on every text alone and at chance in a batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_world import make_tokenizer
from trivium.data.examples import Inputs
from trivium.errors import InputError
from trivium.teachers.classifier import Classifier
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.tasks.classifiers import admit_classifier_student, build_classifier_student, build_classifiers

TEXTS = ("the cat sees a dog. " * 3, "a.", "12+7=19;", "the bird likes a cat.", "the dog")
LABELS = ("calm", "loud")
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}
#: model type → a tiny config: decoders, of rotary and of learned positions; encoders; one that pads on the left; one
#: whose every position is mixed with every other, padding included.
TYPES: dict[str, dict[str, Any]] = {
    "llama": SMALL | {"num_key_value_heads": 2},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.5},
    "bert": SMALL,
    "roberta": SMALL | {"max_position_embeddings": 80},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "initializer_range": 0.5},
    "fnet": {name: value for name, value in SMALL.items() if name != "num_attention_heads"},
}
DECODERS = ("llama", "gpt2")


def saved(folder: Path, model_type: str, side: str, pad: int | None, **changes: Any) -> Any:
    """A classifier with sharp opinions; its tokenizer pads with ``<end>``, id 0, its config names ``pad``."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    options = TYPES[model_type] | {"vocab_size": 300, "id2label": dict(enumerate(LABELS))} | changes
    config = AutoConfig.for_model(model_type, **options, label2id={name: n for n, name in enumerate(LABELS)})
    config.pad_token_id = pad
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<end>"
    tokenizer.init_kwargs["padding_side"] = tokenizer.padding_side = side  # else it would not be saved
    tokenizer.save_pretrained(folder)
    return model


def recipe_for(folder: Path, **changes: Any) -> Recipe:
    lines = [json.dumps({"text": TEXTS[n % len(TEXTS)] + "!" * n, "label": LABELS[n % 2]}) for n in range(16)]
    (folder / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    content: dict[str, Any] = {
        "student": {"model": "m"},
        "teachers": [{"name": "one", "model": "m"}],
        "data": {
            "kind": "examples",
            "tasks": {"tone": list(LABELS)},
            "window": 64,
            "domains": [{"name": "t", "task": "tone", "train": "t.jsonl", "validation": "t.jsonl"}],
        },
        "train": {"steps": 1, "batch_size": 4, "threads": 1, "tracker": "none"},
    }
    return parse_recipe(content | changes)


def inputs(*texts: str) -> Inputs:
    return Inputs({"text": texts or TEXTS}, torch.zeros(len(texts or TEXTS), dtype=torch.long))


def by_itself(model: Any, text: str) -> torch.Tensor:
    """What the model of transformers says of one text that nothing pads."""
    ids = make_tokenizer()(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits
    return found


def teacher(folder: Path, told: list[str] | None = None) -> Classifier:
    [made] = build_classifiers(
        recipe_for(folder), torch.device("cpu"), folder, inputs(), (told if told is not None else []).append
    )
    return made


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("model_type", list(TYPES))
def test_a_text_is_answered_in_a_batch_as_it_is_alone(tmp_path: Path, model_type: str, side: str) -> None:
    model = saved(tmp_path / "m", model_type, side, pad=7)
    expected = torch.cat([by_itself(model, text) for text in TEXTS])
    assert float((expected[0] - expected[1:]).abs().max()) > 0.1  # else nothing could be mixed up
    found = teacher(tmp_path).logits(inputs())[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    classifier_student = admit_classifier_student(
        build_classifier_student(recipe_for(tmp_path), tmp_path), inputs()
    ).eval()
    with torch.no_grad():
        torch.testing.assert_close(classifier_student(inputs()).logits[:, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pad", [None, 0, 7, -1, 299])
@pytest.mark.parametrize("model_type", DECODERS)
def test_a_decoder_pools_its_last_token_whatever_pads(tmp_path: Path, model_type: str, pad: int | None) -> None:
    model = saved(tmp_path / "m", model_type, "right", pad)
    expected = torch.cat([by_itself(model, text) for text in TEXTS])
    torch.testing.assert_close(teacher(tmp_path).logits(inputs())[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_a_text_that_ends_in_the_padding_token_keeps_its_end(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", "llama", "right", pad=None)
    tokenizer = make_tokenizer()
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A <end>", special_tokens=[("<end>", 0)])
    tokenizer.save_pretrained(tmp_path / "m")
    ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in TEXTS]
    assert all(int(found[0, -1]) == 0 for found in ids)
    with torch.no_grad():
        expected = torch.cat([model(input_ids=found).logits for found in ids])
    torch.testing.assert_close(teacher(tmp_path).logits(inputs())[:, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pad", [None, 7])
def test_a_saved_student_is_right_in_anyones_padded_batch(tmp_path: Path, pad: int | None) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    saved(tmp_path / "m", "llama", "right", pad)
    classifier_student = admit_classifier_student(
        build_classifier_student(recipe_for(tmp_path), tmp_path), inputs()
    ).eval()
    classifier_student.save_pretrained(tmp_path / "student")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert model.config.pad_token_id == tokenizer.pad_token_id
    with torch.no_grad():
        together = model(**tokenizer(list(TEXTS), padding=True, return_tensors="pt")).logits
        torch.testing.assert_close(together, classifier_student(inputs()).logits[:, 0], rtol=1e-4, atol=1e-4)


def test_what_is_done_about_padding_is_said(tmp_path: Path) -> None:
    said = {}
    kinds = (("gpt2", "left"), ("xlnet", "right"), ("fnet", "right"), ("bert", "right"), ("llama", "left"))
    for model_type, side in kinds:
        folder = tmp_path / model_type
        folder.mkdir()
        saved(folder / "m", model_type, side, pad=7)
        told: list[str] = []
        teacher(folder, told)
        said[model_type] = told
    assert said["gpt2"] == [
        "note: texts of teacher 'one' are padded on the right, since its answers change by padding on the left"
    ]
    assert said["xlnet"] == [
        "note: texts of teacher 'one' are padded on the left, since its answers change by padding on the right"
    ]
    assert said["fnet"] == [
        "note: teacher 'one' reads texts of one length at a time, since padding changes its answers"
    ]
    assert said["bert"] == said["llama"] == []


@pytest.mark.parametrize("model_type", ["gpt2", "xlnet"])
def test_the_side_that_a_student_is_padded_on_is_saved_with_it(tmp_path: Path, model_type: str) -> None:
    from transformers import AutoTokenizer

    wrong, right = ("left", "right") if model_type == "gpt2" else ("right", "left")
    saved(tmp_path / "m", model_type, wrong, pad=7)
    admit_classifier_student(build_classifier_student(recipe_for(tmp_path), tmp_path), inputs()).save_pretrained(
        tmp_path / "student"
    )
    assert AutoTokenizer.from_pretrained(tmp_path / "student").padding_side == right


@pytest.mark.parametrize(
    ("model_type", "changes", "most"),
    [
        ("bert", {"max_position_embeddings": 12}, 12),
        ("roberta", {"max_position_embeddings": 16}, 8),  # its positions begin after the padding, id 7
        ("llama", {"max_position_embeddings": 12}, 12),  # rotary: it would go on, where it was not trained
        ("gpt2", {"n_positions": 12}, 12),
    ],
)
def test_a_text_is_cut_to_the_positions_that_there_are_and_that_is_said_once(
    tmp_path: Path, model_type: str, changes: dict[str, Any], most: int
) -> None:
    model = saved(tmp_path / "m", model_type, "right", 7, **changes)
    told: list[str] = []
    made = teacher(tmp_path, told)
    assert told == [f"note: teacher 'one' reads the first {most} tokens of a text, fewer than the 64 of data.window"]
    ids = make_tokenizer()(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model(input_ids=ids[:, :most]).logits
    torch.testing.assert_close(made.logits(inputs())[:1, 0], expected, rtol=1e-4, atol=1e-4)
    told.clear()
    admit_classifier_student(
        build_classifier_student(recipe_for(tmp_path), tmp_path, told.append), inputs(), told.append
    )
    assert told == [f"note: the student reads the first {most} tokens of a text, fewer than the 64 of data.window"]


def test_texts_without_a_token_are_answered(tmp_path: Path) -> None:
    saved(tmp_path / "m", "llama", "right", 7)
    made = teacher(tmp_path)
    alone = made.logits(inputs("", ""))
    torch.testing.assert_close(made.logits(inputs("the cat", ""))[1], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"problem_type": "multi_label_classification"}, r"'multi_label_classification': one yes or no a class"),
        ({"problem_type": "regression"}, r"'regression': numbers, not classes"),
        ({"num_labels": 1}, "a number for each of 2 classes; received one output, which is a regression"),
    ],
)
def test_what_gives_no_distribution_over_classes_is_refused_for_that(
    tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model("bert", **SMALL, vocab_size=300, **changes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "m")
    make_tokenizer().save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="teacher 'one' must give.*" + part):
        build_classifiers(recipe_for(tmp_path), torch.device("cpu"), tmp_path)
    with pytest.raises(InputError, match="the student must give.*" + part):
        build_classifier_student(recipe_for(tmp_path), tmp_path)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_fresh_student_of_another_problem_is_refused(tmp_path: Path, problem: str) -> None:
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    student = {"config": {"model_type": "bert", "problem_type": problem}, "tokenizer": "tokenizer"}
    with pytest.raises(InputError, match=f"the student must give one distribution over classes.*{problem}"):
        build_classifier_student(recipe_for(tmp_path, student=student), tmp_path)
