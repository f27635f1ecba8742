"""The checks of :mod:`trivium.teachers.admission`, made of a teacher on the first batch that it reads.

Are its answers numbers, the same when it is asked twice, the same for a row alone as beside others and their padding,
and, of a text, given by what stands before a token alone?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.errors import TeacherError
from trivium.teachers.admission import apart, asked, require_meaning, require_own_answers, tolerance, unsaid
from trivium.teachers.huggingface import check_logits
from trivium.teachers.reach import modules_of

#: Rows that a teacher is asked about: of texts the longest and the shortest, for each takes as long as a batch.
_EXAMPLES, _TEXTS = 8, 2
#: Positions of a text that are looked at for probabilities in the place of logits.
_POSITIONS = 64


@dataclass(frozen=True)
class SomeRows:
    """Some rows of a batch: every tensor and every list whose length is the batch's is one of rows."""

    entries: Mapping[str, Any]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Tensor | slice) -> SomeRows:
        numbers = torch.arange(self.count)[index]
        return SomeRows({name: self._taken(value, numbers) for name, value in self.entries.items()}, len(numbers))

    def _taken(self, value: Any, numbers: Tensor) -> Any:
        if isinstance(value, Tensor):
            return value[numbers.to(value.device)] if value.ndim and len(value) == self.count else value
        if isinstance(value, list | tuple) and len(value) == self.count:
            return [value[number] for number in numbers.tolist()]
        return value

    @property
    def mask(self) -> Tensor | None:
        """Which positions are real, bool [rows, T] on the CPU; None where nothing says."""
        found = self.entries.get("attention_mask")
        return found.bool().cpu() if isinstance(found, Tensor) and found.ndim == 2 else None

    @property
    def answered(self) -> Tensor | None:
        """Which positions of the answers are real; None where nothing says: a decoder reads another text than the mask
        is of."""
        decoded = any(self.entries.get(name) is not None for name in ("decoder_input_ids", "decoder_inputs_embeds"))
        return None if decoded else self.mask

    def trimmed(self) -> tuple[SomeRows, slice]:
        """Return the rows without the columns that are padding in all of them, and which columns are left."""
        mask = self.mask
        if mask is None or not bool(mask.any()):
            return self, slice(None)
        used = mask.any(0).nonzero().flatten()
        kept, shape = slice(int(used[0]), int(used[-1]) + 1), mask.shape
        parts = {
            name: value[:, kept]
            if isinstance(value, Tensor) and value.shape[:2] == shape and not name.startswith("decoder_")
            else value
            for name, value in self.entries.items()
        }
        return SomeRows(parts, self.count), kept


def admit(
    ask: Callable[[Mapping[str, Any]], Tensor], inputs: Mapping[str, Any], model: object, who: str, causal: bool
) -> None:
    """Ask a teacher about a few rows of a batch, in several ways.

    Args:
        ask: from inputs to logits, [B, T, V] or [B, C].
        inputs: what the batch holds for it.
        model: what answers, for its precision.
        causal: whether it must not look ahead.

    Raises:
        TeacherError: what its answers depend on besides the row.

    Cost: about five forward passes of two rows of text, or fifteen of eight examples.
    """
    sizes = [len(v) for v in inputs.values() if isinstance(v, Tensor) and v.ndim] or [
        len(v) for v in inputs.values() if isinstance(v, list | tuple)
    ]
    if not sizes:
        return
    whole = SomeRows(inputs, sizes[0])
    rows = whole[_chosen(whole)]
    module = next(iter(modules_of(model)), None)

    def answer(part: SomeRows) -> Tensor:
        """Return logits of the positions that are real, zeros elsewhere, whatever was trimmed off."""
        mask = part.answered
        trimmed, kept = part.trimmed()
        found = ask(trimmed.entries)
        if found.ndim == 0 or len(found) != len(part):
            rows = f"shape {list(found.shape)} for {len(part)} rows"
            raise TeacherError(f"{who} must give one answer a row", rows, "Read the batch that it is handed.")
        if mask is None or found.ndim < 3 or found.shape[1] != mask[:, kept].shape[1]:
            return found
        spread = found.new_zeros(len(part), mask.shape[1], found.shape[-1])
        spread[:, kept] = found
        return spread.masked_fill(~mask.to(spread.device).unsqueeze(-1), 0.0)

    with asked(module):
        answers = answer(rows)
        name = who.removeprefix("teacher ").strip("'")
        check_logits(answers, name)
    answers = require_own_answers(answer, rows, module, who, TeacherError)
    require_logits(answers, rows.answered, who)
    if causal and answers.ndim == 3:
        _ahead(answer, rows[:1], answers[:1], module, who)


def require_logits(answers: Tensor, mask: Tensor | None, who: str) -> None:
    """Refuse probabilities in the place of logits, [B, T, V] or [B, C], at the positions that are real.

    Raises:
        TeacherError: every row of numbers sums to one.
    """
    fits = mask is not None and mask.shape == answers.shape[:-1]
    rows = answers[mask.to(answers.device)] if mask is not None and fits else answers.flatten(0, -2)
    told = rows[(rows != 0).any(-1)]  # padding that no mask tells of is often zeros
    fix = "End it before its softmax, or give the logarithms of its probabilities."
    require_meaning([told[:_POSITIONS]], False, who, unsaid, TeacherError, fix)


def _chosen(rows: SomeRows) -> Tensor:
    """Return the numbers of the rows to ask about, the longest first so that they are in no order by length."""
    mask = rows.mask
    if mask is not None:
        lengths = mask.sum(-1)
        ends = [int(lengths.argmax()), int(torch.where(lengths > 0, lengths, lengths.max() + 1).argmin())]
        return torch.tensor(list(dict.fromkeys(ends)))
    tokens = rows.entries.get("input_ids")
    wide = isinstance(tokens, Tensor) and tokens.ndim == 2
    return torch.arange(min(rows.count, _TEXTS if wide else _EXAMPLES))


def _ahead(ask: Callable[[SomeRows], Tensor], row: SomeRows, answers: Tensor, model: object, who: str) -> None:
    """Refuse a model whose answers change with a token that stands further on."""
    ids, mask = row.entries.get("input_ids"), row.mask
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        return
    real = torch.arange(ids.shape[1]) if mask is None else mask[0].nonzero().flatten()
    others = ids[0][(ids[0] != ids[0, real[-1]])]
    if len(real) < 2 or len(others) == 0:
        return
    changed = ids.clone()
    changed[0, real[-1]] = others[0]
    with asked(model):
        found = ask(SomeRows({**row.entries, "input_ids": changed}, 1))
    before = real[:-1].to(answers.device)
    difference = apart(found[:, before], answers[:, before])
    if difference > tolerance(model, answers):
        raise TeacherError(
            f"{who} must predict a token from what stands before it alone",
            f"logits {difference:.2g} of their size apart when the text after it is another",
            "It sees what it predicts: an encoder needs is_decoder = true in its config.",
        )
