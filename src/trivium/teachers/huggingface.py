"""Teachers and students from Hugging Face folders."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, calling, words_of
from trivium.teachers.admission import Say, admit_language_model, unsaid
from trivium.teachers.fingerprint import fingerprint, folder_files
from trivium.teachers.vocabulary import require_same_vocabulary, tokenizer_notes, vocabulary_size


@dataclass(frozen=True)
class Teacher:
    """A frozen causal language model. ``fingerprint`` identifies weights, config and tokenizer, whatever its folder is
    called."""

    name: str
    model: torch.nn.Module
    vocabulary_size: int
    fingerprint: str

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def logits(self, input_ids: Tensor) -> Tensor:
        """Return logits [B, T, V] for ids [B, T]; columns beyond the tokenizer's vocabulary are cut off.

        Raises:
            ForeignError: what the model's own code raises.
            TeacherError: a NaN, a position with no finite logit, or fewer logits than tokens, named before anything is
                learned from it.
        """
        with calling(f"teacher {self.name!r} must read a batch", "Run its forward by itself to see."):
            logits: Tensor = self.model(input_ids=input_ids).logits[..., : self.vocabulary_size]
        if logits.shape[-1] < self.vocabulary_size:
            raise TeacherError(
                f"teacher {self.name!r} must give a logit for each of {self.vocabulary_size} tokens",
                logits.shape[-1],
                "Its weights belong to another tokenizer.",
            )
        return check_logits(logits, self.name)


def check_logits(logits: Tensor, name: str) -> Tensor:
    """Return the logits themselves, unless they cannot be a distribution.

    Raises:
        TeacherError: a NaN or +inf, or a position where all are −inf.
    """
    # logsumexp is finite exactly when the row is a distribution, and costs one pass.
    if not bool(torch.isfinite(logits.logsumexp(-1)).all()):
        too_large = logits.dtype == torch.float16 and bool(logits.isposinf().any())
        raise TeacherError(
            f"teacher {name!r} must give finite logits",
            "infinite logits in float16, which ends at 65504" if too_large else "NaN or infinite logits",
            "Check its weights and precision; no optimizer step was taken on them.",
        )
    return logits


def load_tokenizer(folder: str | Path) -> Any:
    """Return the tokenizer of a model folder, read from disk only."""
    from transformers import AutoTokenizer

    return load_from_folder(AutoTokenizer, folder, "tokenizer")


def load_model(folder: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """Return a causal language model from a folder, read from disk only, in evaluation mode.

    Raises:
        InputError: a folder that is missing, holds no model, or lacks some of its weights.
    """
    from transformers import AutoModelForCausalLM

    model, found = load_from_folder(AutoModelForCausalLM, folder, "model", dtype=dtype, output_loading_info=True)
    missing = sorted(found["missing_keys"])
    if missing:  # transformers would go on with random ones
        raise InputError(
            f"{folder} must hold all weights of its model", f"none for {', '.join(missing)[:160]}", "Save it anew."
        )
    return model.eval()


def load_teachers(
    folders: dict[str, str],
    student_tokenizer: Any,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    window: int | None = None,
    say: Say = unsaid,
) -> list[Teacher]:
    """Return teachers by name, each checked against the student's vocabulary before any weights are read.

    Args:
        window: tokens a row, about which each is asked what every model is asked; None asks nothing.

    Raises:
        InputError: a folder that is missing or holds no model, or a model that is not admitted; see
            :func:`trivium.teachers.admission.admit_language_model`.
        VocabularyError: a tokenizer that gives ids another meaning than the student's.
    """
    for name, folder in folders.items():
        own = load_tokenizer(folder)
        require_same_vocabulary(own, student_tokenizer, name)
        for note in tokenizer_notes(own, student_tokenizer, name):
            say(note)
    size = vocabulary_size(student_tokenizer)
    teachers = []
    for name, folder in folders.items():
        model = load_model(folder, dtype).requires_grad_(False)
        # An index beyond a table of positions ends a GPU's whole context, so a model that may have one is asked before.
        rotary = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) is not None
        if rotary:
            model = model.to(device)
        if window is not None:
            admit_language_model(model, student_tokenizer, window, f"teacher {name!r}", say)
        model = model.to(device)
        teachers.append(Teacher(name, model, size, fingerprint(model, folder_files(folder))))
    return teachers


def load_from_folder(factory: Any, folder: str | Path, what: str, **kwargs: Any) -> Any:
    """Return what an Auto class of transformers makes of a folder, read from disk only; raises InputError.

    A folder that needs code of its own is refused, and nobody is asked whether to run it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"a {what}'s folder must exist", repr(str(folder)), "Give a folder made by save_pretrained.")
    if what == "model" and (Path(folder) / "adapter_config.json").is_file() and find_spec("peft") is None:
        raise InputError(  # transformers would pass over the adapter
            f"{folder} must be read with its adapter", "no package that does that", "pip install peft, or merge it."
        )
    try:
        return factory.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **kwargs)
    except Exception as error:  # what a broken file raises is its reader's choice, SafetensorError among it
        reason = (words_of(error).strip() or type(error).__name__).splitlines()[0][:160]
        if "trust_remote_code" in words_of(error):
            raise InputError(
                f"{folder} must hold a {what} that transformers itself knows",
                "code of its own, which is not run",
                "Of examples let FILE.py:NAME load it; else convert it.",
            ) from error
        raise InputError(f"{folder} must hold a {what}", reason, "Save it there with save_pretrained.") from error
