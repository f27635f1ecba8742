"""Which labels go with which logits, whatever shape they come in and whatever the models are wrapped in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tiny_models import T, V, bert, inputs, llama, text
from trivium.errors import InputError
from trivium.scheme import compose
from trivium.teachers.panel import InBatch
from trivium.training.distiller import Distiller
from trivium.weighting import AMTSS, Entropy, rule

ONE = compose(["a"], token=[Entropy()])


def classified(**changes: Any) -> tuple[dict[str, Any], Tensor]:
    """A batch of texts in classes, and a student's logits."""
    batch = text() | {"labels": torch.tensor([0, 2, 1, 1])} | changes
    return batch, bert(9).eval()(**inputs(batch)).logits


def test_labels_of_examples_in_a_column_are_those_in_a_row() -> None:
    batch, logits = classified()
    expected = Distiller(ONE, {"a": bert(0)}, loss={"label": 0.5})(logits, batch)
    column = batch | {"labels": batch["labels"].unsqueeze(1)}
    distiller = Distiller(ONE, {"a": bert(0)}, loss={"label": 0.5})
    assert distiller.count(column) == 4
    assert torch.equal(distiller(logits, column).loss, expected.loss)
    assert distiller.count(column) == 4


@pytest.mark.parametrize("off", [0, 1])
def test_the_first_number_that_is_no_class_is_refused(off: int) -> None:
    """Catches a limit that is off by one, where the loss alone would raise from inside PyTorch, if it reads labels."""
    batch, logits = classified()
    batch["labels"] = torch.tensor([0, logits.shape[-1] - 1 + off, 1, 1])
    distiller = Distiller(ONE, {"a": bert(0)})
    if off:
        with pytest.raises(InputError, match="a label must be one of"):
            distiller(logits, batch)
    else:
        distiller(logits, batch)


def test_a_text_that_is_an_example_needs_labels_only_where_something_reads_them() -> None:
    batch, logits = classified()
    expected = Distiller(ONE, {"a": bert(0)})(logits, batch)
    del batch["labels"]
    assert torch.equal(Distiller(ONE, {"a": bert(0)})(logits, batch).loss, expected.loss)
    with pytest.raises(InputError, match="must hold labels for the loss"):
        Distiller(ONE, {"a": bert(0)}, loss={"label": 0.5})(logits, batch)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int32])
def test_labels_of_small_types_are_labels(kind: torch.dtype) -> None:
    batch = text()
    batch["labels"] = batch["input_ids"]
    logits = llama(9)(**inputs(batch)).logits
    expected = Distiller(ONE, {"a": llama(0)})(logits, batch).loss
    small = batch | {"labels": batch["labels"].to(kind)}
    assert torch.equal(Distiller(ONE, {"a": llama(0)})(logits, small).loss, expected)


class Wrapped(nn.Module):
    """As libraries for several processes wrap a model."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def tagger(seed: int) -> Any:
    from transformers import BertConfig, BertForTokenClassification

    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    torch.manual_seed(seed)
    return BertForTokenClassification(BertConfig(vocab_size=V, num_labels=4, num_attention_heads=2, **sizes)).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, when its compiler is imported
@pytest.mark.parametrize("wrap", [Wrapped, torch.compile, lambda model: Wrapped(torch.compile(model))])
def test_a_tagger_in_a_wrapper_is_a_tagger(wrap: Any) -> None:
    batch = text()
    batch["labels"] = torch.randint(4, (4, T)).masked_fill(batch["attention_mask"] == 0, -100)
    teacher, student = wrap(tagger(0)), tagger(1)
    logits = student(**inputs(batch)).logits
    with torch.compiler.set_stance("force_eager"):
        expected = Distiller(ONE, {"a": tagger(0)})(logits, batch).loss
        assert torch.equal(Distiller(ONE, {"a": teacher})(logits, batch).loss, expected)
        stored = batch | {"z": tagger(0)(**inputs(batch)).logits.detach()}
        assert torch.equal(Distiller(ONE, {"a": InBatch("z")}, student=wrap(student))(logits, stored).loss, expected)
    assert Distiller(ONE, {"a": wrap(llama(0))}, student=wrap(llama(1))).shifts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": 300}, "'task' must be indices from 0 to 255"),
        ({"task": [[0], [0, 1], [0], [0]]}, "'task' must be numbers"),
        ({"labels": [[1], [1, 2], [3], [4]]}, "'labels' must be numbers"),
        ({"trust": [[0.1], [0.1, 0.2], [0.3], [0.4]]}, "column 'trust' must be numbers"),
        ({"trust": ["a"] * 4}, "column 'trust' must be numbers"),
        ({"z": None}, "the logits of teacher 'a', column 'z', must be numbers"),
        ({"z": "much"}, "the logits of teacher 'a', column 'z', must be numbers"),
    ],
)
def test_what_is_no_table_of_numbers_is_named(changes: dict[str, Any], said: str) -> None:
    @rule(scale="context", features={"trust": (0.0, 1.0)})
    def trusting(trust: Tensor) -> Tensor:
        return torch.softmax(trust, dim=-1)

    batch, logits = classified(trust=torch.rand(4, 1), z=torch.randn(4, 3), task=1)
    distiller = Distiller(compose(["a"], context=[trusting]), {"a": InBatch("z")})
    assert distiller(logits, batch).loss.isfinite()
    with pytest.raises(InputError, match=said):
        distiller(logits, batch | changes)


def test_a_batch_without_rows_and_a_vocabulary_without_tokens_are_refused() -> None:
    batch, logits = classified()
    none = {name: value[:0] for name, value in batch.items()}
    with pytest.raises(InputError, match="a batch must have rows"):
        Distiller(ONE, {"a": bert(0)})(logits[:0], none)
    for size in (0, -1):
        with pytest.raises(InputError, match=f"a vocabulary must have tokens; received {size}"):
            Distiller(ONE, {"a": bert(0)}, vocabulary=size)


def test_a_state_of_another_distiller_is_refused() -> None:
    batch, logits = classified()
    distiller, two = Distiller(ONE, {"a": bert(0)}), Distiller(compose(["a", "b"]), {"a": bert(0), "b": bert(1)})
    two(logits.detach().requires_grad_(), batch)
    with pytest.raises(InputError, match=r"a state must be a distiller's; received one without \['batches'"):
        distiller.load_state_dict({})
    with pytest.raises(InputError, match=r"a state must be of the teachers \['a'\]; received \['a', 'b'\]"):
        distiller.load_state_dict(two.state_dict())
    learns = compose(["a", "b"], task=[AMTSS(num_teachers=2, rate=0.3, budget=4.0)])
    with pytest.raises(InputError, match="a state must be of the rules that learn here; received 0"):
        Distiller(learns, {"a": bert(0), "b": bert(1)}).load_state_dict(two.state_dict())
    two.load_state_dict(two.state_dict())


def test_an_evaluation_leaves_no_residuals_in_the_record() -> None:
    """Catches a monitor of training that watches evaluation too."""
    batch, logits = classified()
    distiller = Distiller(ONE, {"a": bert(0)})
    distiller(logits.detach(), batch)
    assert distiller.record()["axioms"] == {}
    distiller(logits, batch)
    assert distiller.record()["axioms"]
