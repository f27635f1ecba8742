"""What every language model is asked when it is loaded, and that logits beyond the vocabulary have no mass anywhere.

No other test has a vocabulary that is padded, a teacher that sees what it predicts, or one with too few positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tiers import first
from tiny_world import WINDOW, World, make_model, make_tokenizer, student_config, weights_of
from trivium.errors import InputError
from trivium.teachers.admission import admit_language_model
from trivium.training.recipe import parse_recipe
from trivium.training.run import distill, prepare
from trivium.training.tasks.text import build_student, build_teachers, build_tokenizer

CPU = torch.device("cpu")
PADDED = 320


def widened(model: Any, size: int = PADDED, bias: float = 3.0) -> Any:
    """The same model with rows for ids that no token has, whose logits are far above most of the others."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    options = model.config.to_dict() | {"vocab_size": size}
    wide = AutoModelForCausalLM.from_config(LlamaConfig(**options)).eval()
    state = model.state_dict()
    for name, value in wide.state_dict().items():
        if value.shape == state[name].shape:
            value.copy_(state[name])
        else:
            value[: len(state[name])].copy_(state[name])
            value[len(state[name]) :] = bias * state[name][1]
    return wide


def added(world: World, name: str, model: Any, tokenizer: Any = None) -> str:
    world.add_model(name, model, tokenizer)
    return name


def teachers_of(world: World, *names: str, told: list[str] | None = None, **changes: Any) -> Any:
    recipe = world.recipe(teachers=[{"name": n, "model": n} for n in names], **changes)
    return build_teachers(recipe, world.tokenizer, CPU, world.folder, (told if told is not None else []).append)


@pytest.mark.parametrize("divergence", first(["forward_kl", "reverse_kl", "js"]))
def test_a_padded_student_trains_as_one_that_was_never_padded(world: World, tmp_path: Path, divergence: str) -> None:
    plain = make_model(world.tokenizer, 5)
    added(world, "plain", plain)
    added(world, "padded", widened(plain))
    found, told = {}, []
    for name in ("plain", "padded"):
        content = world.content(student={"model": name, "config": None, "tokenizer": None}, train={"steps": 6})
        content["loss"] = {"divergence": divergence, "label": 0.5}
        recipe = parse_recipe(content)
        shop = prepare(recipe, world.folder, tmp_path / "cache")
        nll = distill(recipe, shop, tmp_path / name, progress=lambda line, *_: told.append(line))
        found[name] = nll["student"], weights_of(tmp_path / name / "student")
    torch.testing.assert_close(found["padded"][0], found["plain"][0], rtol=0, atol=0)
    assert found["padded"][1].keys() == found["plain"][1].keys()
    for key, value in found["plain"][1].items():
        assert torch.equal(found["padded"][1][key], value), key
    notes = [line for line in told if "vocabulary is cut" in line]
    size = len(world.tokenizer)
    assert notes == [
        f"note: the student's vocabulary is cut from {PADDED} to the tokenizer's {size} tokens; no id beyond has one"
    ]


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_student_has_no_mass_on_ids_without_a_token_and_generates_none(
    world: World, tmp_path: Path, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM

    size = len(world.tokenizer)
    wide = widened(make_model(world.tokenizer, 6, tie_word_embeddings=tied))
    wide.config.pad_token_id = wide.generation_config.pad_token_id = size + 3
    wide.generation_config.eos_token_id = [size + 1]
    ids = torch.tensor([[0, 40, 41, 42]])
    with torch.no_grad():
        assert float(wide(input_ids=ids).logits[0, -1].softmax(-1)[size:].sum()) > 0.02
    added(world, "wide", wide)
    content = world.content(student={"model": "wide", "config": None, "tokenizer": None}, train={"steps": 2})
    recipe = parse_recipe(content)
    distill(recipe, prepare(recipe, world.folder, tmp_path / "cache"), tmp_path / "run")
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "student").eval()
    assert student.config.vocab_size == size
    assert student.generation_config.eos_token_id == world.tokenizer.eos_token_id
    with torch.no_grad():
        assert student(input_ids=ids).logits.shape[-1] == size
    torch.manual_seed(0)
    drawn = student.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=5.0, max_new_tokens=40,
        num_return_sequences=16, pad_token_id=0,
    )  # fmt: skip
    assert int(drawn.max()) < size


def test_a_fresh_student_of_more_logits_than_tokens_is_cut(world: World) -> None:
    content = world.content(student={"config": student_config(vocab_size=PADDED)})
    built = build_student(parse_recipe(content), world.tokenizer, world.folder)
    assert built.get_output_embeddings().weight.shape[0] == built.config.vocab_size == len(world.tokenizer)
    content["student"]["config"]["vocab_size"] = 100
    with pytest.raises(InputError, match="the student must have a logit for every token; received 100 logits for 290"):
        build_student(parse_recipe(content), world.tokenizer, world.folder)


def test_a_padded_teacher_says_what_it_says_about_the_tokens(world: World) -> None:
    plain = make_model(world.tokenizer, 7)
    added(world, "narrow", plain)
    added(world, "padded_teacher", widened(plain))
    ids = torch.randint(1, 200, (2, 12), generator=torch.Generator().manual_seed(0))
    one, two = (teacher.logits(ids).log_softmax(-1) for teacher in teachers_of(world, "narrow", "padded_teacher"))
    torch.testing.assert_close(one, two)


def test_a_tokenizer_that_leaves_ids_out_is_refused(world: World) -> None:
    import json

    folder = world.folder / "gaps"
    make_tokenizer().save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    last = max(content["model"]["vocab"], key=content["model"]["vocab"].get)
    content["model"]["vocab"][last] += 5
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="a token for every id below its largest; received 5 ids without one"):
        build_tokenizer(world.recipe(student={"tokenizer": "gaps"}), world.folder)


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def causal(model_type: str, **options: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, vocab_size=len(make_tokenizer()), **options)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_that_sees_what_it_predicts_is_refused(world: World) -> None:
    added(world, "encoder", causal("bert", **SMALL))
    with pytest.raises(InputError, match="teacher 'encoder' must predict a token from what stands before it alone"):
        teachers_of(world, "sums", "encoder")
    added(world, "decoder", causal("bert", **SMALL, is_decoder=True))
    assert len(teachers_of(world, "sums", "decoder")) == 2
    content = world.content()
    content["student"]["config"] = {"model_type": "bert", **SMALL}
    with pytest.raises(InputError, match="the student must predict a token from what stands before it alone"):
        build_student(parse_recipe(content), world.tokenizer, world.folder)


@pytest.mark.parametrize(
    ("model_type", "options", "length"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2}, "n_positions"),
        ("roberta", SMALL | {"is_decoder": True, "pad_token_id": 0}, "max_position_embeddings"),
        ("gptj", {"n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 4}, "n_positions"),
    ],
)
def test_a_teacher_whose_positions_end_before_the_window_is_refused(
    world: World, model_type: str, options: dict[str, Any], length: str
) -> None:
    name = f"short-{model_type}"
    added(world, name, causal(model_type, **options, **{length: WINDOW - 1}))
    with pytest.raises(InputError, match=rf"teacher '{name}' must take rows of data\.window tokens; received 32"):
        teachers_of(world, "sums", name)


def test_a_teacher_of_rotary_positions_with_too_few_is_told_once(world: World, tmp_path: Path) -> None:
    added(world, "short", make_model(world.tokenizer, 3, max_position_embeddings=WINDOW - 1))
    told: list[str] = []
    recipe = world.recipe(teachers=[{"name": n, "model": n} for n in ("sums", "short")], train={"steps": 1})
    shop = prepare(recipe, world.folder, tmp_path / "cache", lambda line, *_: told.append(line))
    distill(recipe, shop, tmp_path / "run", progress=lambda line, *_: told.append(line))
    notes = [line for line in told if "max_position" in line]
    assert notes == ["note: rows of 32 tokens are longer than the max_position_embeddings of teacher 'short', 31"]


class Wrapped(torch.nn.Module):
    """A language model whose logits a function changes."""

    def __init__(self, model: Any, change: Any) -> None:
        super().__init__()
        self.model, self.change = model, change
        self.config, self.device = model.config, model.device

    def forward(self, input_ids: torch.Tensor) -> Any:
        found = self.model(input_ids=input_ids)
        found.logits = self.change(found.logits)
        return found


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda z: z + 0.1 * torch.rand(()), "must answer the same when it is asked twice"),
        (lambda z: torch.nn.functional.dropout(z, 0.1, True), "must answer the same when it is asked twice"),
        (lambda z: z - z.mean(0), "must give the same answer to a row alone and beside others"),
        (lambda z: z - z.mean(1, keepdim=True), "must predict a token from what stands before it alone"),
        (lambda z: z.softmax(-1), "must give logits, as its recipe says"),
        (lambda z: z[..., :200], "must give a logit for each of 290 tokens; received 200"),
    ],
    ids=["noise", "dropout", "batch", "ahead", "probabilities", "narrow"],
)
def test_logits_that_depend_on_something_else_are_refused_for_that(world: World, change: Any, part: str) -> None:
    model = Wrapped(make_model(world.tokenizer, 1), change)
    with pytest.raises(InputError, match=f"teacher 't' {part}") as caught:
        admit_language_model(model, world.tokenizer, WINDOW, "teacher 't'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_may_round(world: World, dtype: torch.dtype) -> None:
    model = make_model(world.tokenizer, 1, num_hidden_layers=4).to(dtype)
    admit_language_model(Wrapped(model, lambda z: z.log_softmax(-1)), world.tokenizer, WINDOW, "teacher 't'")


def test_tokenizers_of_one_vocabulary_that_still_differ_are_told(world: World) -> None:
    from transformers import PreTrainedTokenizerFast

    same = make_tokenizer()
    ends_otherwise = PreTrainedTokenizerFast(tokenizer_object=same.backend_tokenizer, eos_token=";")
    added(world, "ends", make_model(world.tokenizer, 1), ends_otherwise)
    cutting = make_tokenizer()
    from tokenizers.pre_tokenizers import ByteLevel

    cutting.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    added(world, "cuts", make_model(world.tokenizer, 1), cutting)
    told: list[str] = []
    teachers_of(world, "sums", "ends", "cuts", told=told)
    assert told == [
        "note: teacher 'ends' ends a text with ';', the student with '<end>', which is what the rows hold",
        "note: the tokenizer of teacher 'cuts' cuts text in other places than the student's, though their tokens are "
        "the same; the teacher reads the student's",
    ]


def test_a_teacher_of_other_ids_is_worse_than_a_guess_and_that_is_said(world: World, tmp_path: Path) -> None:
    told: list[str] = []
    prepare(world.recipe(), world.folder, tmp_path / "cache", lambda line, *_: told.append(line))
    warnings = [line for line in told if line.startswith("warning")]  # its teachers' opinions are arbitrary
    assert warnings[0].startswith("warning: teacher 'sums' is worse than a uniform guess on task 'sums': ")
    assert warnings[0].endswith("nats a token, the guess 5.67")
