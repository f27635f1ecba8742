"""Teachers by name: a folder, or a model of the hub, found as transformers finds it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from trivium.errors import InputError, said_by
from trivium.teachers.transformers_classifier import FACTORIES
from trivium.teachers.vocabulary import HasVocabulary, require_same_vocabulary


def resolve(reference: str, base: Path | None = None) -> str:
    """Return what a reference names: ``trivium:NAME`` is a folder that the package ships, a relative path counts from
    ``base``; without a base the reference is what it says, a path or the id of a hub."""
    if reference.startswith("trivium:"):
        return str(files("trivium") / "assets" / reference.removeprefix("trivium:"))
    return reference if base is None else str(base / reference)


def load_reference(
    reference: str | Path, name: str, device: torch.device, tokenizer: HasVocabulary | None = None
) -> torch.nn.Module:
    """Return the model that a folder, the id of a hub or ``trivium:NAME`` names.

    It is a sequence or image classifier where its config says so, else a causal language model, in evaluation mode and
    without gradients; in bfloat16 on a GPU that has it, else in float32. ``HF_HUB_OFFLINE`` and the hub's cache count
    as they do in transformers; no code of a hub runs.

    Args:
        name: the teacher's, in errors.
        tokenizer: the student's; a teacher that brings a tokenizer must give its ids the same meaning.

    Raises:
        InputError: nothing there, or no model. VocabularyError: ids that mean other strings.
    """
    import transformers

    where = resolve(str(reference))
    try:
        config = transformers.AutoConfig.from_pretrained(where, trust_remote_code=False)
        named = (config.architectures or ["none"])[0]
        factory: Any = transformers.AutoModelForCausalLM
        for ending, made in FACTORIES.items():
            if named.endswith(ending):
                factory = getattr(transformers, made)
        if factory is transformers.AutoModelForCausalLM and tokenizer is not None:
            _same_vocabulary(where, name, tokenizer)
        wide = device.type != "cuda" or not torch.cuda.is_bf16_supported()
        dtype = torch.float32 if wide else torch.bfloat16
        model, found = factory.from_pretrained(where, trust_remote_code=False, dtype=dtype, output_loading_info=True)
    except InputError:
        raise
    except Exception as error:  # what a hub or a broken file raises is its reader's choice
        raise InputError(
            f"teacher {name!r} must be a folder, or a model of the hub",
            f"{where!r}, of which transformers says: {said_by(error, 160)}",
            "Check its name; offline it must be in the hub's cache.",
        ) from error
    missing = ", ".join(sorted(found["missing_keys"]))[:160]
    if missing:  # transformers would go on with random ones
        raise InputError(f"{where} must hold all weights of its model", f"none for {missing}", "Save it anew.")
    loaded: torch.nn.Module = model.eval().requires_grad_(False).to(device)
    return loaded


def _same_vocabulary(where: str, name: str, tokenizer: HasVocabulary) -> None:
    from transformers import AutoTokenizer

    try:
        own = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError):  # it brings none
        return
    require_same_vocabulary(own, tokenizer, name)
