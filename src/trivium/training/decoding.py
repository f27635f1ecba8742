"""The guard at decoding: what is forbidden is never drawn on critical inputs, whatever the student would do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import LogitsProcessor

from trivium.errors import InputError, require
from trivium.jsontext import read_json, write_json
from trivium.safety import Boundaries, UnsafeTokens
from trivium.simplex.typed import typed
from trivium.teachers.huggingface import load_tokenizer
from trivium.training.safety_section import SafetySection

#: Beside the student, what its decoding may leave out.
GUARD_FILE: Final = "unsafe.json"


class UnsafeLogits(LogitsProcessor):
    """Sets the logits of U to −∞: ``model.generate(..., logits_processor=[UnsafeLogits(unsafe)])``.

    The text so far is that of ``input_ids``, prompt included, so that a string begun in the prompt is not ended.

    Args:
        unsafe: U, of a text.
        tokenizer, regex: mask only rows in whose text so far the expression is found; None masks every row.

    Raises:
        InputError: in a call, a row where nothing but U is left.
    """

    def __init__(self, unsafe: UnsafeTokens, tokenizer: Any = None, regex: str | None = None) -> None:
        require(regex is None or tokenizer is not None, "an expression on text needs a tokenizer", "none", "Give it.")
        self.unsafe, self.tokenizer = unsafe, tokenizer
        self.pattern = None if regex is None else re.compile(regex)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        task = torch.zeros(len(input_ids), dtype=torch.int64)
        states = self.unsafe.states(input_ids, task, input_ids.shape[1])[:, -1]
        masked = self.unsafe.mask(states, scores.shape[-1])
        if self.pattern is not None:
            texts = self.tokenizer.batch_decode(input_ids)
            masked &= torch.tensor([self.pattern.search(text) is not None for text in texts]).unsqueeze(-1)
        found = scores.masked_fill(masked.to(scores.device), -torch.inf)
        if bool(found.isneginf().all(-1).any()):
            raise InputError("something must be left that may be written", "a row where all is unsafe", "End it there.")
        return found


def save_guard(section: SafetySection, folder: Path) -> None:
    """Write what :func:`load_guard` reads beside a student of text."""
    write_json(folder / GUARD_FILE, {**section.unsafe.model_dump(exclude={"classes"}), "regex": section.critical.regex})


@typed()
def load_guard(folder: str | Path) -> UnsafeLogits:
    """Return the guard of a student that a run with a safety section left in ``folder``.

    Where the section named critical inputs by an expression on their text, it masks texts so far in which that is
    found; those that a column, a domain or a classifier tells cannot be told at decoding: there it masks every text.

    Raises:
        InputError: no such file, or one that is none.
    """
    path = Path(folder, GUARD_FILE)
    require(path.is_file(), "a student's folder must hold its guard", str(path), "Train with a safety section.")
    try:
        found = read_json(path.read_bytes())
        boundaries = Boundaries(found["whole_words"], found["not_after"], found["ignore_case"])
        tokens, strings, variants, regex = (found[name] for name in ("tokens", "strings", "variants", "regex"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} must be as it was written", str(error), "Train again.") from error
    tokenizer = load_tokenizer(Path(folder))
    return UnsafeLogits(UnsafeTokens(tokenizer, tokens, strings, boundaries, variants), tokenizer, regex)
