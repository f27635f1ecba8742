"""Check that a teacher's token ids mean the student's strings, by content and not by size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from trivium.errors import InputError, VocabularyError

#: What tokenizers of one vocabulary may still cut in other places: words, numbers, code, spaces, other scripts.
_SAMPLE = (
    "The quick brown foxes weren't here in 1984; they'd cost 12,345.67 or 50 %.\n"
    "    def f(x, y=None):\n\treturn x**2 + y  # naïve, déjà vu: \u65e5\u672c\u8a9e Ünïcode \U0001f642\n\n"
    "  <b>Two  spaces</b>"
)


@runtime_checkable
class HasVocabulary(Protocol):
    """What is needed of a tokenizer."""

    def get_vocab(self) -> dict[str, int]: ...


def vocabulary_size(tokenizer: HasVocabulary) -> int:
    """V, the number of ids up to the largest that has a token. ``len(tokenizer)`` is less where ids are left out."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def require_every_id(tokenizer: HasVocabulary) -> None:
    """Raise unless every id below V has a token: a model that writes text would put mass on one that has none.

    Raises:
        InputError: names how many ids have no token, and the first.
    """
    ids = set(tokenizer.get_vocab().values())
    without = [number for number in range(vocabulary_size(tokenizer)) if number not in ids]
    if without:
        raise InputError(
            "a tokenizer must have a token for every id below its largest",
            f"{len(without)} ids without one, the first {without[0]}",
            "Name the ids that are left out, with tokens that no text holds.",
        )


def require_same_vocabulary(teacher: HasVocabulary, student: HasVocabulary, name: str) -> None:
    """Raise unless every token id means the same string to both.

    A teacher whose logits are padded beyond its tokenizer is fine: the surplus columns are cut off on loading.

    Raises:
        VocabularyError: names the teacher, how many ids differ and the first of them.
    """
    ours = {index: token for token, index in student.get_vocab().items()}
    theirs = {index: token for token, index in teacher.get_vocab().items()}
    every = ours.keys() | theirs.keys()
    differ = sorted(index for index in every if ours.get(index) != theirs.get(index))
    if differ:
        first = differ[0]
        raise VocabularyError(
            f"teacher {name!r} must share the student's vocabulary",
            f"{len(differ)} of {len(every)} ids that differ, the first {first}: "
            f"{theirs.get(first)!r} for the teacher, {ours.get(first)!r} for the student",
            "Distil from a teacher with the same tokenizer.",
        )


def tokenizer_notes(teacher: Any, student: Any, name: str) -> Iterator[str]:
    """Yield what to tell of two tokenizers of one vocabulary that still differ: rows are always the student's.

    Another token at a text's beginning or end means that the teacher's first and last predictions are about a token
    that the rows do not hold; other cuts mean that it reads sequences that it was not trained on.
    """
    for what, theirs, ours in (
        ("begins", teacher.bos_token, student.bos_token),
        ("ends", teacher.eos_token, student.eos_token),
    ):
        if theirs != ours:
            yield (
                f"note: teacher {name!r} {what} a text with {_told(theirs)}, the student with {_told(ours)}, "
                "which is what the rows hold"
            )
    cut_by_teacher = teacher(_SAMPLE, add_special_tokens=False)["input_ids"]
    cut_by_student = student(_SAMPLE, add_special_tokens=False)["input_ids"]
    if cut_by_teacher != cut_by_student:
        yield (
            f"note: the tokenizer of teacher {name!r} cuts text in other places than the student's, though their "
            "tokens are the same; the teacher reads the student's"
        )


def _told(token: str | None) -> str:
    return "no token" if token is None else repr(token)
