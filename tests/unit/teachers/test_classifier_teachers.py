"""Classifiers as teachers: outputs of every allowed form, one head a task, and whatever is no distribution named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, VocabularyError
from trivium.teachers.cache import cached_logits
from trivium.teachers.classes import match_classes
from trivium.teachers.classifier import Classifier, Heads, call
from trivium.teachers.live import LiveLogits
from trivium.teachers.transformers_classifier import load_classifier

TASKS = ("size", "sign")
TASK_OF_CLASS = torch.tensor([0, 0, 0, 1, 1])


@dataclass(frozen=True)
class Points:
    """Inputs of one tensor; counts as a table of rows."""

    x: Tensor
    task: Tensor

    @property
    def values(self) -> dict[str, Tensor | tuple[str, ...]]:
        return {"x": self.x}

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.x), 1

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Points:
        return Points(self.x[index], self.task[index])

    def to(self, device: torch.device) -> Points:
        return self

    def digest(self) -> str:
        return f"{float(self.x.sum())}"


def heads(*serves: int) -> Heads:
    return Heads(TASKS, TASK_OF_CLASS, serves or (0, 1))


def points(*tasks: int) -> Points:
    return Points(torch.arange(float(len(tasks))).unsqueeze(-1), torch.tensor(tasks))


def teacher(model: Callable[..., Any], *serves: int, **options: Any) -> Classifier:
    return Classifier("t", model, heads(*serves), "f", **options)


WHOLE = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])


@pytest.mark.parametrize(
    "output",
    [
        WHOLE,
        WHOLE.numpy().astype(np.float64),
        WHOLE.tolist(),
        {"size": WHOLE[:, :3], "sign": WHOLE[:, 3:]},
        {"sign": WHOLE[:, 3:].numpy(), "size": WHOLE[:, :3]},
        type("Output", (), {"logits": WHOLE})(),
    ],
    ids=["tensor", "array", "lists", "by task", "by task in another order", "an output with logits"],
)
def test_outputs_of_every_form_fill_the_space(output: Any) -> None:
    assert heads().spread(output, 1, "it").tolist() == WHOLE.tolist()


def test_a_task_that_is_not_served_has_no_numbers() -> None:
    assert heads(1).spread(WHOLE[:, 3:], 1, "it").tolist() == [[-math.inf] * 3 + [4.0, 5.0]]


@pytest.mark.parametrize(
    ("output", "part"),
    [
        (WHOLE[:, :4], "one number for each of 5 classes"),
        (WHOLE[0], "one number for each of 5 classes"),
        (torch.zeros(2, 5), "shape \\[2, 3\\] for 1 examples"),
        ({"size": WHOLE}, "each of the 3 classes of task 'size'"),
        ({"sizes": WHOLE[:, :3]}, "received 'sizes'. Did you mean 'size'"),
        ({}, "must have a head"),
        ("text", "must return logits; received str"),
        ({"size": "text", "sign": WHOLE[:, :2]}, "must return logits; received str"),
        ({"size": [[1.0], [1.0, 2.0]], "sign": WHOLE[:, :2]}, "must return logits; received list"),
        (WHOLE + 1j, "must return real numbers; received torch.complex64"),
        ({"size": WHOLE[:, :3] + 1j, "sign": WHOLE[:, :2]}, "must return real numbers"),
    ],
)
def test_an_output_that_does_not_fit_is_named(output: Any, part: str) -> None:
    with pytest.raises(InputError, match=part):
        heads().spread(output, 1, "it")


def test_one_input_goes_by_position_and_several_by_name() -> None:
    assert call(lambda x: x, {"anything": ("a", "b")}) == ["a", "b"]
    assert call(lambda *, left, right: (left, right), {"left": WHOLE, "right": ("a",)}) == (WHOLE, ["a"])


def test_logits_are_masked_to_the_examples_own_task() -> None:
    found = teacher(lambda x: WHOLE.expand(len(x), -1)).logits(points(0, 1))
    assert found.tolist() == [[[1, 2, 3, -math.inf, -math.inf]], [[-math.inf] * 3 + [4, 5]]]


def test_inside_a_task_that_it_does_not_serve_all_classes_are_alike() -> None:
    found = teacher(lambda x: WHOLE[:, :3].expand(len(x), -1), 0).logits(points(1, 0))
    assert found[0, 0].softmax(-1).tolist() == [0, 0, 0, 0.5, 0.5]
    assert found[1, 0].tolist() == [1, 2, 3, -math.inf, -math.inf]


def test_probabilities_may_lack_classes_and_sum_to_less_than_one() -> None:
    p = torch.tensor([[0.6, 0.0, 0.2, 0.5, 0.5]], dtype=torch.float64)
    found = teacher(lambda x: p.numpy(), probabilities=True).logits(points(0))
    torch.testing.assert_close(found.softmax(-1), torch.tensor([[[0.75, 0, 0.25, 0, 0]]]))
    assert found[0, 0, 1] == -math.inf


@pytest.mark.parametrize("probabilities", [True, False])
def test_smoothing_mixes_uniform_in_within_the_task(probabilities: bool) -> None:
    p = torch.tensor([[0.6, 0.0, 0.4, 0.5, 0.5]])
    made = teacher(lambda x: p if probabilities else p.log(), probabilities=probabilities, smoothing=0.3)
    expected = [0.7 * value + 0.1 for value in (0.6, 0.0, 0.4)]
    found = made.logits(points(0)).exp()[0, 0].tolist()
    assert found == pytest.approx([*expected, 0, 0], rel=1e-6)


def test_an_example_that_fits_no_class_is_smoothed_to_uniform_or_refused() -> None:
    nothing = torch.zeros(1, 5)
    found = teacher(lambda x: nothing, probabilities=True, smoothing=0.1).logits(points(0)).softmax(-1)
    torch.testing.assert_close(found[0, 0, :3], torch.full((3,), 1 / 3))
    with pytest.raises(TeacherError, match="'t' must give finite logits"):
        teacher(lambda x: nothing, probabilities=True).logits(points(0))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("probabilities", [True, False])
def test_nan_is_named_and_not_smoothed_away(probabilities: bool, smoothing: float) -> None:
    bad = torch.tensor([[0.1, math.nan, 0.1, 0.5, 0.5]])
    with pytest.raises(TeacherError, match="'t' must give finite logits"):
        teacher(lambda x: bad, probabilities=probabilities, smoothing=smoothing).logits(points(0))
    # In a head that the example does not use it is nobody's business.
    assert bool(teacher(lambda x: bad, probabilities=probabilities).logits(points(1)).logsumexp(-1).isfinite().all())


@pytest.mark.parametrize(
    ("p", "part"),
    [([[-0.1, 0.6, 0.5, 0.5, 0.5]], "must give probabilities"), ([[0.6, 0.6, 0.1, 0.5, 0.5]], "sum to at most one")],
)
def test_what_is_no_probability_is_refused(p: list[list[float]], part: str) -> None:
    with pytest.raises(TeacherError, match=part):
        teacher(lambda x: torch.tensor(p), probabilities=True).logits(points(0))


def test_cached_and_live_logits_agree_and_the_cache_is_by_rows_and_fingerprint(tmp_path: Path) -> None:
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.cat([x, x + 1, x * 2, -x, x], -1)

    made, rows = teacher(model), points(0, 1, 0, 1, 0)
    index = torch.tensor([4, 1])
    [live] = LiveLogits([made], rows).logits(index)
    calls.clear()
    [cached] = cached_logits([made], rows, tmp_path, batch=2).logits(index)
    assert calls == [2, 2, 1]
    torch.testing.assert_close(cached.float().log_softmax(-1), live.log_softmax(-1), atol=1e-3, rtol=1e-3)
    cached_logits([made], rows, tmp_path)
    assert len(calls) == 3
    cached_logits([made], rows[torch.tensor([0, 1, 2])], tmp_path)
    cached_logits([Classifier("t", model, heads(), "another")], rows, tmp_path)
    assert calls[3:] == [3, 5]


class Named:
    """A model that says what its outputs mean."""

    def __init__(self, **names: Any) -> None:
        vars(self).update(names)


@pytest.mark.parametrize(
    "model",
    [
        Named(),
        Named(classes=["a", "b"]),
        Named(classes=np.array(["a", "b"])),
        Named(id2label={1: "b", 0: "a"}),
        Named(config=Named(id2label={0: "LABEL_0", 1: "LABEL_1"})),
    ],
)
def test_the_same_classes_or_none_named_pass(model: Named) -> None:
    assert match_classes(model, ["a", "b"], "it") == (None, None)


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (Named(classes=["b", "c"]), "2 that differ, the first 0: 'b' for it, 'a' in the recipe"),
        (Named(classes=["a", "a"]), "1 that differ, the first 1: 'a' for it"),
        (Named(config=Named(id2label={"0": "a", "1": "c"})), "1 that differ, the first 1: 'c' for it"),
        (Named(id2label={0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}), "must have the 2 classes.*received 3"),
    ],
)
def test_other_classes_are_refused(model: Named, part: str) -> None:
    with pytest.raises(VocabularyError, match=part):
        match_classes(model, ["a", "b"], "it")


def tiny_image_classifier(folder: Path, **names: Any) -> Any:
    from transformers import AutoModelForImageClassification, ViTConfig

    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=4, patch_size=2,
        num_channels=1, initializer_range=0.5, **names,
    )  # fmt: skip
    model = AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(folder)
    return model


def test_an_image_classifier_reads_pixels(tmp_path: Path) -> None:
    model = tiny_image_classifier(tmp_path / "m", id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1})
    loaded = load_classifier(tmp_path / "m", ["cat", "dog"], "it")
    pixels = torch.randn(3, 1, 4, 4)
    expected = model(pixel_values=pixels).logits
    for values in ({"x": pixels}, {"pixel_values": pixels}):
        torch.testing.assert_close(call(loaded, values), expected)  # type: ignore[arg-type]
    torch.testing.assert_close(loaded(pixel_values=pixels), expected)
    assert match_classes(loaded, ["dog", "cat"], "it")[0] == (1, 0)
    with pytest.raises(VocabularyError, match="the first 1: 'dog' for it, 'cow'"):
        load_classifier(tmp_path / "m", ["cat", "cow"], "it")
    with pytest.raises(InputError, match="a classifier of texts must have a tokenizer"):
        loaded(["a text"])
    assert loaded.identity() == load_classifier(tmp_path / "m", ["cat", "dog"], "it").identity()
    assert loaded.identity() != load_classifier(tmp_path / "m", ["cat", "dog"], "it", window=8).identity()


def test_a_text_is_cut_to_the_shortest_limit(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, BertConfig

    from tiny_world import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<end>"
    config = BertConfig(
        vocab_size=300, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=12,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    long = "the cat sees a dog. " * 20
    for window in (256, 8):
        loaded = load_classifier(tmp_path / "m", ["a", "b"], "it", window)
        assert loaded.window == min(window, 12)
        assert loaded([long, "a dog."]).shape == (2, 2)
    cut = tokenizer.decode(tokenizer(long)["input_ids"][:8])
    torch.testing.assert_close(loaded([long]), loaded([cut]))


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="must hold a sequence or image classifier; received LlamaForCausalLM"):
        load_classifier(tmp_path / "m", ["a", "b"], "it")
    with pytest.raises(InputError, match="must exist"):
        load_classifier(tmp_path / "gone", ["a", "b"], "it")
