"""What a teacher of a loop of one's own is asked when padding stands between, or when it writes into the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tiny_models import inputs, llama, text
from trivium.errors import TeacherError
from trivium.scheme import compose
from trivium.teachers.panel import InBatch
from trivium.training.distiller import Distiller

ONE = compose(["a"])


def ask(teacher: Any, batch: dict[str, Any], **options: Any) -> Any:
    return Distiller(ONE, {"a": teacher}, **options)(llama(9)(**inputs(batch)), batch)


def test_probabilities_are_told_beside_padding() -> None:
    model, batch = llama(0).eval(), text()

    def softened(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return model(input_ids=input_ids, attention_mask=attention_mask).logits.softmax(-1)

    said = "teacher 'a' must give logits; .*End it before its softmax, or give the logarithms"
    with pytest.raises(TeacherError, match=said):
        ask(softened, batch)
    ask(softened, batch, admission=False)


@pytest.mark.parametrize("masked", [True, False])
def test_probabilities_in_the_batch_are_told_too(masked: bool) -> None:
    batch = text()
    with torch.no_grad():
        logits = llama(0).eval()(**inputs(batch)).logits
    stored = logits.softmax(-1).masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, -7.0 if masked else 0.0)
    given = batch | {"z": stored}
    student = llama(9)(**inputs(batch)).logits
    if not masked:
        del given["attention_mask"]
    with pytest.raises(TeacherError, match="teacher 'a' must give logits; "):
        Distiller(ONE, {"a": InBatch("z")})(student, given)
    assert Distiller(ONE, {"a": InBatch("z")})(student, given | {"z": stored.clamp_min(1e-9).log()}).loss.isfinite()


@pytest.mark.parametrize("admission", [True, False])
def test_a_teacher_that_writes_into_the_batch_is_named(admission: bool) -> None:
    model, batch = llama(0).eval(), text()

    def writes(input_ids: Tensor) -> Tensor:
        found: Tensor = model(input_ids=input_ids).logits
        input_ids.zero_()
        return found

    kept = batch["input_ids"].clone()
    with pytest.raises(TeacherError, match=r"teacher 'a' must leave the batch as it is; .* 'input_ids'.*clone\(\)"):
        ask(writes, batch, admission=admission)
    assert torch.equal(batch["input_ids"], kept) == admission
    with torch.inference_mode():
        ask(model, {name: value.clone() for name, value in text().items()})
