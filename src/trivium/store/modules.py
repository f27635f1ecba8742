"""What a ``torch.nn.Module`` computes with: its tensors, and the plain values that stand in it."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium.store.identity import of_tensor, sha256

#: Attributes that say nothing of what a module answers in evaluation mode, or only where it was loaded from.
_SILENT = {*vars(torch.nn.Module()), "training", "name_or_path", "warnings_issued", "_is_hf_initialized"}
_DEEPEST = 6


def of_module(module: torch.nn.Module, values: bool = True) -> str:
    """Return SHA-256 over every submodule's class, parameters, buffers (those that are never saved too) and attributes
    that are numbers, texts, arrays or collections of those; 64 hex digits. Each tensor is read once.

    Args:
        values: false leaves the tensors' values out, for a module that is about to be trained.

    What else a module holds (an estimator, a file it opens later) is known by its class alone.
    """
    digest, seen = hashlib.sha256(), dict[tuple[Any, ...], str]()
    for line in _lines(module, values, seen):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _lines(module: torch.nn.Module, values: bool, seen: dict[tuple[Any, ...], str]) -> Iterator[str]:
    for path, part in module.named_modules(remove_duplicate=False):
        yield f"{path} {type(part).__module__}.{type(part).__qualname__}"
        for name, tensor in sorted([*part._parameters.items(), *part._buffers.items()]):
            if tensor is not None:
                yield f"{path}.{name} {_tensor(tensor, f'{path}.{name}', values, seen)}"
        for name, value in sorted(vars(part).items()):
            if name not in _SILENT and "hook" not in name:
                yield f"{path}.{name} {_plain(value, 0, values)}"


def _tensor(tensor: Tensor, name: str, values: bool, seen: dict[tuple[Any, ...], str]) -> str:
    if not values or tensor.is_meta:
        return f"{tuple(tensor.shape)} {tensor.dtype}"
    place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
    if tensor.numel() and place in seen:
        return f"is {seen[place]}"
    seen[place] = name
    return of_tensor(tensor)


def _plain(value: Any, depth: int, values: bool) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, Tensor):
        return of_tensor(value) if values else str(tuple(value.shape))
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        plain = np.ascontiguousarray(value)
        return f"{plain.shape}{plain.dtype} {sha256(plain.tobytes()) if values else ''}"
    if depth < _DEEPEST:
        if isinstance(value, list | tuple):
            return f"[{', '.join(_plain(item, depth + 1, values) for item in value)}]"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(_plain(item, depth + 1, values) for item in value))}}}"
        if isinstance(value, Mapping):
            parts = [f"{_plain(k, depth + 1, values)}: {_plain(v, depth + 1, values)}" for k, v in value.items()]
            return f"{{{', '.join(sorted(parts))}}}"
    if isinstance(value, type | types.FunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{type(value).__module__}.{type(value).__qualname__}"
