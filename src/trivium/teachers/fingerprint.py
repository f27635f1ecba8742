"""Fingerprints of models, whatever their folders are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trivium.store.code import sha256_of
from trivium.store.identity import Identity
from trivium.store.modules import of_module

#: What decides how a model folder is read; weights are hashed as they were loaded.
_SETTINGS = {
    ".json",
    ".txt",
    ".model",
    ".py",
    ".jinja",
    ".tiktoken",
    ".bpe",
    ".vocab",
    ".spm",
    ".dict",
    ".yaml",
    ".yml",
}
#: Of a config: where it was loaded from, and what is told by the libraries' releases.
_NOT_SETTINGS = ("_name_or_path", "transformers_version")


def fingerprint(model: torch.nn.Module, files: Mapping[str, str] | None = None) -> str:
    """Identifies what a model computes: weights, buffers, attributes, config and the ``files`` of its folder; 32 hex
    digits. The folder's name is no part of it."""
    from transformers import PreTrainedModel

    parts: dict[str, Any] = {"module": of_module(model), "files": dict(files or {})}
    if isinstance(model, PreTrainedModel):
        config = {name: str(value) for name, value in model.config.to_dict().items() if name not in _NOT_SETTINGS}
        parts["config"] = config
    return Identity(parts).digest()


def folder_files(folder: str | Path) -> dict[str, str]:
    """Return SHA-256 of each file of a model folder that is no weights: config, tokenizer, generation config, code."""
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): sha256_of(path)
        for path in sorted(root.rglob("*"))
        if path.suffix in _SETTINGS and path.is_file() and not path.relative_to(root).as_posix().startswith(".")
    }
