"""Do a teacher's token ids mean the student's strings? Compared by content, never by size."""

from __future__ import annotations

from typing import Protocol

from trivium.errors import VocabularyError


class HasVocabulary(Protocol):
    """What is needed of a tokenizer."""

    def get_vocab(self) -> dict[str, int]: ...


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
