"""Teachers of a loop of one's own: what each gets of a batch, where it comes from, what the first batch is asked."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tiny_models import T, V, bert, gpt2, inputs, llama, text
from trivium.errors import ForeignError, InputError, TeacherError, VocabularyError
from trivium.scheme import compose
from trivium.teachers.panel import InBatch
from trivium.training.distiller import Distiller
from trivium.weighting import Entropy

NAMES = ("a", "b")
SCHEME = compose(NAMES, token=[Entropy()])
ONE = compose(["a"])


def points() -> dict[str, Any]:
    return {"x": torch.randn(6, 5), "labels": torch.tensor([0, 1, 2, 0, 1, 2])}


def ask(teacher: Any, batch: dict[str, Any], **options: Any) -> Any:
    """One step with a single teacher."""
    student = llama(9)(**inputs(batch)) if "input_ids" in batch else nn.Linear(5, 3)(batch["x"])
    return Distiller(ONE, {"a": teacher}, **options)(student, batch)


def test_logits_that_are_in_the_batch_are_taken_from_it() -> None:
    models, batch = {"a": llama(0), "b": gpt2(1)}, text()
    logits = llama(9)(**inputs(batch)).logits
    live = Distiller(SCHEME, models)(logits, batch)
    with torch.no_grad():
        stored = {f"{n}_logits": model.eval()(**inputs(batch)).logits for n, model in models.items()}
    assert torch.equal(Distiller(SCHEME)(logits, {**batch, **stored}).loss, live.loss)
    given = {"a": models["a"], "b": InBatch("other")}
    mixed = Distiller(SCHEME, given)
    assert torch.equal(mixed(logits, {**batch, "other": stored["b_logits"]}).loss, live.loss)
    with pytest.raises(InputError, match=r"teacher 'b' must be in the batch; received no 'other'"):
        mixed(logits, batch)
    with pytest.raises(TeacherError, match=r"teacher 'b' must give logits for the \[4, 10\] positions"):
        mixed(logits, {**batch, "other": stored["b_logits"][:, 1:]})
    with pytest.raises(TeacherError, match="'b' must give finite logits"):
        Distiller(SCHEME, given)(logits, {**batch, "other": stored["b_logits"] * torch.nan})


class Picky(nn.Module):
    """Names what it reads; anything else would be an error."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.got: set[frozenset[str]] = set()

    def forward(self, x: Tensor, domain: Tensor | None = None, weight: Any = None) -> Tensor:
        self.got.add(frozenset(n for n, v in (("x", x), ("domain", domain), ("weight", weight)) if v is not None))
        return self.head(x)


class Open(Picky):
    """Takes whatever there is."""

    def forward(self, **given: Any) -> Any:  # type: ignore[override]
        self.got.add(frozenset(given))
        return {"logits": self.head(given["x"])}


def test_each_model_gets_what_its_forward_names() -> None:
    batch = points() | {"mask": torch.ones(6), "domain": torch.zeros(6), "a_logits": torch.zeros(6, 3)}
    picky, open_ = Picky(), Open()
    logits = nn.Linear(5, 3)(batch["x"])
    Distiller(compose(["a", "b", "c"]), {"a": InBatch("a_logits"), "b": picky, "c": open_})(logits, batch)
    assert picky.got == {frozenset({"x", "domain"})}
    assert open_.got == {frozenset({"x", "mask"})}


def test_a_callable_of_one_argument_gets_the_sole_input() -> None:
    batch, head = points(), nn.Linear(5, 3)
    torch.manual_seed(5)
    expected = ask(head, batch).loss
    for teacher in (lambda anything: head(anything), functools.partial(head), head.forward):
        torch.manual_seed(5)
        assert torch.equal(ask(teacher, batch).loss, expected)
    with pytest.raises(InputError, match=r"teacher 'a' must find what it takes in the batch; received no 'anything'"):
        ask(lambda anything: head(anything), batch | {"y": torch.zeros(6)})


def test_a_model_that_lacks_its_input_or_returns_none_is_named() -> None:
    with pytest.raises(InputError, match=r"no 'pixel' among \['pixels', 'x'\]\. Did you mean 'pixels'"):
        ask(lambda pixel, other: pixel, points() | {"pixels": torch.zeros(6)})
    with pytest.raises(TeacherError, match="teacher 'a' must return logits; received tuple"):
        ask(lambda x: (x,), points())
    with pytest.raises(ForeignError, match="teacher 'a' must read a batch; received KeyError: 'z'"):
        ask(lambda x: {}["z"], points())


def test_a_folder_is_loaded_as_the_model_that_its_config_names(tmp_path: Path) -> None:
    model, batch = llama(3), text()
    model.save_pretrained(tmp_path / "text")
    out = ask(str(tmp_path / "text"), batch)
    assert torch.equal(out.loss, ask(model, batch).loss)
    assert torch.equal(ask(tmp_path / "text", batch).loss, out.loss)
    bert(3).save_pretrained(tmp_path / "classes")
    batch["labels"] = torch.tensor([0, 1, 2, 0])
    student = bert(9).eval()(**inputs(batch))
    one = Distiller(ONE, {"a": str(tmp_path / "classes")})(student, batch)
    assert torch.equal(one.loss, Distiller(ONE, {"a": bert(3)})(student, batch).loss)
    with pytest.raises(InputError, match=r"teacher 'a' must be a folder, or a model of the hub; received 'no/such'.*"):
        ask("no/such", text())


def test_a_teacher_that_the_package_ships_is_loaded_by_its_name() -> None:
    from trivium.teachers.huggingface import load_model
    from trivium.teachers.references import resolve

    name = "trivium:first_light/teachers/python"
    model, batch = load_model(resolve(name)), text()
    student = llama(9, model.config.vocab_size)(**inputs(batch))
    found = Distiller(ONE, {"a": name})(student, batch)
    assert torch.equal(found.loss, Distiller(ONE, {"a": model})(student, batch).loss)


@pytest.mark.deep
def test_the_id_of_a_hub_is_found_in_its_cache_where_the_hub_is_not_asked(tmp_path: Path) -> None:
    """In a process of its own: libraries read the place of the cache once."""
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    llama(3).save_pretrained(snapshot)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    code = """
import torch
from trivium.errors import InputError
from trivium.teachers.references import load_reference

model = load_reference("org/name", "a", torch.device("cpu"))
assert not model.training and not any(p.requires_grad for p in model.parameters())
torch.save(model.state_dict(), "found.pt")
try:
    load_reference("org/other", "a", torch.device("cpu"))
except InputError as error:
    assert "teacher 'a' must be a folder, or a model of the hub; received 'org/other'" in str(error), error
else:
    raise AssertionError
"""
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "found.pt")
    assert all(torch.equal(value, found[name]) for name, value in llama(3).state_dict().items())


def test_a_folder_with_a_tokenizer_must_mean_the_same_by_its_ids(tmp_path: Path) -> None:
    from tiny_world import make_tokenizer

    ours, theirs = make_tokenizer(280), make_tokenizer(290)
    llama(3, 290).save_pretrained(tmp_path / "other")
    theirs.save_pretrained(tmp_path / "other")
    batch = text()
    with pytest.raises(VocabularyError, match="teacher 'a' must share the student's vocabulary"):
        Distiller(ONE, {"a": str(tmp_path / "other")}, tokenizer=ours)(llama(9, 290)(**inputs(batch)), batch)
    Distiller(ONE, {"a": str(tmp_path / "other")}, tokenizer=theirs)(llama(9, 290)(**inputs(batch)), batch)


def test_an_image_classifier_reads_pixels() -> None:
    from transformers import ViTConfig, ViTForImageClassification

    def vit(seed: int) -> Any:
        torch.manual_seed(seed)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=3, **sizes))

    batch = {"pixel_values": torch.randn(5, 3, 8, 8), "labels": torch.tensor([0, 1, 2, 2, 1])}
    out = Distiller(ONE, {"a": vit(0)})(vit(1)(batch["pixel_values"]), batch)
    with torch.no_grad():
        log_p = vit(0).eval()(batch["pixel_values"]).logits.log_softmax(-1)
    log_s = vit(1)(batch["pixel_values"]).logits.log_softmax(-1)
    torch.testing.assert_close(out.loss, (log_p.exp() * (log_p - log_s)).sum(-1).mean(), rtol=1e-4, atol=1e-6)


class Restless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.head(x), 0.5, training=True)


class Batched(Restless):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x - x.mean(0))


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (Restless(), "teacher 'a' must answer the same when it is asked twice"),
        (Batched(), "teacher 'a' must give the same answer to a row alone and beside others"),
        (lambda x: torch.full((len(x), 3), torch.nan), "teacher 'a' must give finite logits"),
        (lambda x: x[:, :3].softmax(-1), "teacher 'a' must give logits; .*End it before its softmax"),
    ],
)
def test_the_first_batch_of_examples_is_asked_what_every_model_is(teacher: Any, said: str) -> None:
    batch = points()
    with pytest.raises(TeacherError, match=said):
        ask(teacher, batch)
    if "finite" not in said:
        ask(teacher, batch, admission=False)


def test_a_text_alone_is_answered_as_beside_others_and_their_padding() -> None:
    batch = text()
    ask(llama(0), batch)  # positions count from the first token, and the mask hides the padding behind it
    left = {name: value.flip(1) for name, value in batch.items()}
    with pytest.raises(TeacherError, match="a row alone and beside others"):
        ask(gpt2(0), left)  # learned positions begin in the padding
    places = (left["attention_mask"].cumsum(1) - 1).clamp_min(0)
    ask(gpt2(0), left | {"position_ids": places})

    def deaf(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return llama(0)(input_ids=input_ids.flip(1)).logits.flip(1)

    with pytest.raises(TeacherError, match="a row alone and beside others"):
        ask(deaf, batch)


def test_a_model_that_sees_what_it_predicts_is_refused() -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.4}
    torch.manual_seed(0)
    ahead = BertLMHeadModel(BertConfig(vocab_size=V, is_decoder=False, **sizes))
    with pytest.raises(TeacherError, match="must predict a token from what stands before it alone"):
        ask(ahead, text())
    torch.manual_seed(0)
    ask(BertLMHeadModel(BertConfig(vocab_size=V, is_decoder=True, **sizes)), text())
    ask(ahead, text(), shift=False)  # a tagger may look ahead


def test_a_model_that_labels_the_positions_it_reads_is_not_shifted() -> None:
    from transformers import BertConfig, BertForTokenClassification

    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    taggers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        taggers.append(
            BertForTokenClassification(BertConfig(vocab_size=V, num_labels=4, num_attention_heads=2, **sizes)).eval()
        )
    batch = text()
    batch["labels"] = torch.randint(4, (4, T)).masked_fill(batch["attention_mask"] == 0, -100)
    distiller = Distiller(ONE, {"a": taggers[0]})
    out = distiller(taggers[1](**inputs(batch)), batch)
    assert not distiller.shifts
    assert torch.equal(out.mask, batch["labels"] >= 0)
    assert Distiller(ONE, {"a": llama(0)}).shifts


def test_each_teacher_is_asked_once() -> None:
    calls = [0]
    head = nn.Linear(5, 3)

    def counted(x: Tensor) -> Tensor:
        calls[0] += 1
        return head(x)

    batch, student = points(), nn.Linear(5, 3)
    distiller = Distiller(ONE, {"a": counted})
    distiller(student(batch["x"]), batch)
    asked = calls[0]
    assert asked > 5
    distiller(student(batch["x"]), batch)
    assert calls[0] == asked + 1
