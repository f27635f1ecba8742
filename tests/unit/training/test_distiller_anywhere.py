"""A distiller where people have it: any callable as a teacher, encoder-decoders, compiled and distributed students,
half precision, sparse batches, pickles.

What this catches that no other test does: what a user meets after attaching it to a loop that exists, as a raw error of
torch or transformers, or as a teacher that is handed something else than its author thinks.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tiny_models import V, gpt2, inputs, llama, text
from tiny_trainer import arguments
from trivium.errors import ForeignError, InputError, TriviumError
from trivium.scheme import Scheme, compose
from trivium.training.distiller import Distiller
from trivium.training.trainer import DistillationTrainer
from trivium.weighting import MMKD, Entropy, PrefixPosterior

NAMES = ("a", "b")
SCHEME = compose(NAMES, token=[Entropy(0.5)], context=[PrefixPosterior(budget=4.0)], floor=0.01)
MODELS: dict[str, Any] = {"a": llama(0), "b": llama(1)}


def loss_with(teachers: Any, student: Any = None, batch: Any = None, scheme: Scheme = SCHEME, **options: Any) -> float:
    batch = text() if batch is None else batch
    model = llama(9) if student is None else student
    return Distiller(scheme, teachers, **options)(model(**inputs(batch)).logits, batch).loss.item()


PLAIN = loss_with(MODELS)


def of_batch(batch: Any) -> Tensor:
    found: Tensor = MODELS["a"](input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return found


class OfBatch(nn.Module):
    """A module whose forward takes the batch, as those of training frameworks do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = llama(0)

    def forward(self, batch: Any) -> Any:
        return self.inner(**batch)


@pytest.mark.parametrize(
    "teacher",
    [
        of_batch,
        lambda batch: MODELS["a"](**batch),
        OfBatch(),
        lambda input_ids, attention_mask: MODELS["a"](input_ids, attention_mask),
        lambda **batch: MODELS["a"](**batch),
        lambda attention_mask, batch: MODELS["a"](batch["input_ids"], attention_mask),
    ],
    ids=["function", "lambda", "module", "names", "keywords", "both"],
)
def test_a_callable_gets_what_it_names_and_the_whole_batch_by_that_name(teacher: Any) -> None:
    """``lambda batch: …`` was given the token ids alone."""
    marks = {"domain": torch.zeros(4), "task": torch.zeros(4)}
    assert loss_with({**MODELS, "a": teacher}, batch=text() | marks) == pytest.approx(PLAIN, rel=1e-6)


def test_an_entry_named_batch_is_that_entry() -> None:
    seen: list[Any] = []
    teacher = lambda batch: (seen.append(batch), batch.sum(-1, keepdim=True) * torch.ones(3))[1]  # noqa: E731
    given = {"batch": torch.ones(4, 2), "labels": torch.zeros(4, dtype=torch.long)}
    Distiller(compose(["a"]), {"a": teacher})(torch.zeros(4, 3, requires_grad=True), given)
    assert isinstance(seen[-1], Tensor)


def test_an_argument_that_names_nothing_says_how_to_get_the_whole_batch() -> None:
    batch = text() | {"more": torch.zeros(4)}
    with pytest.raises(InputError, match=r"no 'x' among .* Name its arguments after entries, or one 'batch' to get"):
        loss_with({**MODELS, "a": lambda x: MODELS["a"](x)}, batch=batch)
    with pytest.raises(ForeignError, match="teacher 'a' must read a batch; received KeyError: 'nothing'"):
        loss_with({**MODELS, "a": lambda batch: batch["nothing"]})


@pytest.mark.parametrize(
    ("teacher", "line"),
    [
        (
            lambda input_ids: torch.zeros(4, 10, V),
            r"must give one answer a row; received shape \[4, 10, 29\] for 2 rows",
        ),
        (lambda input_ids: torch.zeros(()), r"must give one answer a row; received shape \[\] for 2 rows"),
        (
            lambda input_ids: torch.zeros(*input_ids.shape, V, dtype=torch.long),
            "must return logits, which are real numbers; received torch.int64",
        ),
        (
            lambda input_ids: torch.zeros(*input_ids.shape, V, dtype=torch.cfloat),
            "must return logits, which are real numbers; received torch.complex",
        ),
        (nn.Linear, "must be something to ask; received type"),
    ],
    ids=["constant", "number", "whole", "complex", "class"],
)
def test_an_answer_that_is_none_names_the_teacher(teacher: Any, line: str) -> None:
    """A teacher that answers for a batch of its own came out as torch's talk of expanded sizes."""
    with pytest.raises(TriviumError, match=f"teacher 'a' {line}") as caught:
        loss_with({**MODELS, "a": teacher})
    assert "\n" not in str(caught.value)


def test_a_loss_of_nothing_is_refused() -> None:
    """It trained to the end, on zeros."""
    with pytest.raises(InputError, match="distillation or label must count"):
        Distiller(SCHEME, MODELS, loss={"distillation": 0.0})


def t5(seed: int) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=V, **sizes, dropout_rate=0.0, initializer_factor=3.0))


def summaries(length: int = 6) -> dict[str, Any]:
    return {**text(), "labels": text(1)["labels"][:, :length].contiguous()}


@pytest.mark.parametrize("length", [6, 10])
def test_an_encoder_decoder_needs_labels_alone(length: int) -> None:
    """Without ``decoder_input_ids`` in the batch transformers raised a ValueError out of a forward; with them, what was
    decoded was taken for as long as the text that was read, and a good teacher was refused."""
    student, teachers = t5(9), {"a": t5(0), "b": t5(1)}
    batch = summaries(length)
    given = student(**inputs(batch), labels=batch["labels"])
    distiller = Distiller(SCHEME, teachers)
    out = distiller(given.logits, batch)
    ids = student.prepare_decoder_input_ids_from_labels(batch["labels"])
    told = Distiller(SCHEME, teachers)(given.logits, batch | {"decoder_input_ids": ids})
    assert out.loss.item() == pytest.approx(told.loss.item(), rel=1e-6)
    assert torch.equal(out.mask, batch["labels"] >= 0), "labels stand where they are predicted"
    alone = {name: value for name, value in batch.items() if name != "labels"}
    with pytest.raises(InputError, match=r"teacher 'a', an encoder-decoder, must find what its decoder reads; .*lab"):
        Distiller(SCHEME, teachers)(given.logits, alone)


def test_an_encoder_decoder_is_trained_and_taught(tmp_path: Path) -> None:
    rule = MMKD(num_teachers=2, classes=V, every=1, budget=4.0, lipschitz=8.0, rate=0.05, samples=2, slots=4)
    batch = summaries()
    rows = [{name: value[row] for name, value in batch.items()} for row in range(4)]
    made = DistillationTrainer(
        model=t5(9),
        args=arguments(tmp_path, max_steps=2),
        train_dataset=rows,
        eval_dataset=rows,
        teachers={"a": t5(0), "b": t5(1)},
        scheme=compose(NAMES, token=[rule]),
    )
    made.train()
    assert made.evaluate()["eval_loss"] > 0


WRAPPED = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "DataParallel": nn.DataParallel,
    "frozen copy": lambda model: copy.deepcopy(model).requires_grad_(False),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_model_is_the_model(name: str) -> None:
    wrap: Any = WRAPPED[name]
    teachers = {"a": wrap(llama(0)), "b": wrap(llama(1))}
    assert loss_with(teachers) == pytest.approx(PLAIN, rel=1e-5)
    if name != "frozen copy":
        student = llama(9)
        assert loss_with(MODELS, wrap(llama(9))) == pytest.approx(PLAIN, rel=1e-5)
        with pytest.raises(InputError, match="must be another model than the student"):
            Distiller(SCHEME, {**MODELS, "a": student}, student=wrap(student))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_any_precision_have_a_loss_with_gradient(kind: torch.dtype) -> None:
    batch = text()
    logits = llama(9)(**inputs(batch)).logits.detach().to(kind).requires_grad_()
    out = Distiller(SCHEME, MODELS, loss={"label": 0.5})(logits, batch)
    out.loss.backward()
    assert out.loss.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert logits.grad is not None
    assert logits.grad.dtype == kind
    assert bool(logits.grad.isfinite().all())
    exact = Distiller(SCHEME, MODELS, loss={"label": 0.5})(llama(9)(**inputs(batch)).logits, batch)
    assert out.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)


def test_a_batch_of_token_ids_alone_is_enough() -> None:
    """No attention mask, no labels: every position but the last predicts the next."""
    ids = torch.randint(1, V, (3, 7))
    out = Distiller(SCHEME, MODELS)(llama(9)(ids).logits, {"input_ids": ids})
    assert out.mask.sum() == 3 * 6
    assert out.loss.item() > 0


def test_one_teacher_is_a_teacher() -> None:
    scheme = compose(["a"], token=[Entropy(0.5)], context=[PrefixPosterior(budget=4.0)])
    batch = text()
    out = Distiller(scheme, {"a": llama(0)})(llama(9)(**inputs(batch)).logits, batch)
    assert out.shares == {"a": pytest.approx(1.0)}
    assert bool((out.log_weights == 0).all())


def pickled(made: Any) -> Any:
    return pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_a_distiller_is_copied_and_pickled_whole(again: Any) -> None:
    """As a process that is spawned gets it."""
    student, batch = gpt2(9, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0), text()
    made = Distiller(SCHEME, MODELS)
    first = made(student(**inputs(batch)).logits, batch)
    other = again(made)
    assert other(student(**inputs(batch)).logits, batch).loss.item() == pytest.approx(first.loss.item(), rel=1e-6)
    assert other.record()["positions"] == 2 * made.record()["positions"]


def test_a_state_goes_through_a_file_without_code(tmp_path: Path) -> None:
    batch, student = text(), llama(9)
    made = Distiller(SCHEME, MODELS)
    made(student(**inputs(batch)).logits, batch)
    torch.save(made.state_dict(), tmp_path / "state.pt")
    other = Distiller(SCHEME, MODELS)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.record() == made.record()
