"""The settings by name, loaded with or without a corrupted teacher."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from benchmarks.study.corruption import corrupted
from benchmarks.study.setting import Setting
from benchmarks.study.settings import digits, language_id, multitask, spam, text

#: The slow one last: what is quick is done first within each seed.
SETTINGS = {
    "language_id": language_id.load,
    "digits": digits.load,
    "multitask": multitask.load,
    "spam": spam.load,
    "text": text.load,
}


@lru_cache(maxsize=4)
def load(name: str, condition: str, work: Path, kind: str | None = None) -> Setting:
    """The setting; ``condition`` is ``clean`` or ``corrupted``, ``kind`` another corruption than its main one."""
    if condition == "clean":
        return SETTINGS[name](work)
    return corrupted(load(name, "clean", work), kind)
