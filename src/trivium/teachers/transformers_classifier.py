"""Sequence and image classifiers of transformers, as modules that take a batch of inputs."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.errors import InputError, VocabularyError
from trivium.store.identity import Identity
from trivium.teachers.fingerprint import fingerprint, folder_files
from trivium.teachers.huggingface import load_from_folder, load_tokenizer

#: What is tokenized as one: a text, or a pair of them.
Texts = str | tuple[str, str]

#: By the ending of the architecture that a config names.
_FACTORIES = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForImageClassification": "AutoModelForImageClassification",
}


class TransformersClassifier(torch.nn.Module):
    """A classifier with the tokenizer that its texts need.

    One input is texts, which are tokenized (a blank one is read as an end token), or a tensor, which is the model's
    main input (``input_ids``, ``pixel_values``). Of several, ``text`` and ``text_pair`` are tokenized as pairs; others
    are tensors under names that the model's own forward takes: one that it does not take is refused, not passed over.

    Args:
        model: has ``config`` and returns ``logits`` [B, classes].
        tokenizer: None for a model that is given tensors.
        window: the tokens that a text is cut to, at most; the model's and the tokenizer's own limits are kept too.
    """

    def __init__(self, model: Any, tokenizer: Any = None, window: int = 256) -> None:
        super().__init__()
        limits = (getattr(model.config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None))
        self.model, self.tokenizer = model, tokenizer
        self.window = min([window, *(limit for limit in limits if limit)])
        self._arguments = frozenset(inspect.signature(model.forward).parameters)

    def forward(self, *single: Any, **values: Any) -> Tensor:
        for value in single:
            if isinstance(value, Tensor):
                values[self.model.main_input_name] = value
            else:
                values["text"] = value
        pairs = values.pop("text_pair", None) if "text" in values else None
        self._refuse_unread(values)
        if pairs is not None:
            values["text"] = list(zip(values["text"], pairs, strict=True))
        if "text" in values:
            values |= self._encoded(values.pop("text"))
        logits: Tensor = self.model(**values).logits
        return logits

    def _refuse_unread(self, values: Mapping[str, Any]) -> None:
        """A forward that takes any keyword would pass over what it does not know."""
        for name, value in values.items():
            if name == "text" or (isinstance(value, Tensor) and name in self._arguments):
                continue
            raise InputError(
                "an input of a model of transformers must be `text`, `text_pair` or a tensor that it takes by name",
                f"{name!r} for {type(self.model).__name__}",
                "Name it so, or let FILE.py:NAME read it.",
            )

    def counted(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[tuple[int, int]]:
        """The tokens of each text, or pair, before it is cut to ``window``, and how many of them stand for what the
        tokenizer does not know; zeros where there is no tokenizer."""
        if self.tokenizer is None:
            return [(0, 0)] * len(texts)
        both = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        known = self.tokenizer
        special = (known.bos_token_id, known.eos_token_id, known.pad_token_id)  # one token may serve for all
        unknown = None if known.unk_token_id in special else known.unk_token_id
        return [(len(ids), ids.count(unknown)) for ids in self.tokenizer(both, verbose=False)["input_ids"]]

    def _encoded(self, texts: Sequence[Texts]) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise InputError(
                "a classifier of texts must have a tokenizer",
                type(self.model).__name__,
                "Save its tokenizer in its folder; for the student name student.tokenizer.",
            )
        encoded = self._tokens(texts)
        empty = [number for number, mask in enumerate(encoded["attention_mask"]) if not any(mask)]
        if empty:  # a blank text has a token only where the tokenizer adds some of its own
            known = self.tokenizer
            end = next((t for t in (known.eos_token, known.bos_token, known.sep_token, known.cls_token) if t), None)
            if end is None:
                raise InputError(
                    "a text must have a token",
                    f"a blank one, and {type(known).__name__} has no end token to read in its place",
                    "Leave out blank texts, or give the tokenizer an eos_token.",
                )
            encoded = self._tokens([end if number in empty else text for number, text in enumerate(texts)])
        encoded = encoded.convert_to_tensors("pt")
        device = next(self.model.parameters()).device
        # Tokenizers tell the texts of a pair apart (token_type_ids) also for models that do not ask.
        return {name: value.to(device) for name, value in encoded.items() if name in self._arguments}

    def _tokens(self, texts: Sequence[Texts]) -> Any:
        return self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.window)

    def identity(self, files: Mapping[str, str] | None = None) -> str:
        """Identifies model, tokenizer, window and the ``files`` that both came from, 32 hex digits."""
        parts = {"model": fingerprint(self.model, files), "window": self.window, "tokenizer": {}}
        if self.tokenizer is not None:
            with tempfile.TemporaryDirectory() as folder:  # as it would be saved: every kind of tokenizer can do that
                self.tokenizer.save_pretrained(folder)
                parts["tokenizer"] = folder_files(folder)
        return Identity(parts).digest()


def load_classifier(folder: str | Path, classes: Sequence[str], who: str, window: int = 256) -> TransformersClassifier:
    """A classifier from a folder made by ``save_pretrained``, read from disk only, in evaluation mode.

    Args:
        classes: what its outputs must mean, in order.

    Raises:
        InputError: a folder that is missing or holds no sequence or image classifier, or lacks weights.
        VocabularyError: classes of other names, in another order or of another number.
    """
    import transformers

    config = load_from_folder(transformers.AutoConfig, folder, "model")
    named = (getattr(config, "architectures", None) or ["none"])[0]
    factory = next((made for ending, made in _FACTORIES.items() if named.endswith(ending)), None)
    if factory is None:
        raise InputError(f"{folder} must hold a sequence or image classifier", named, "Save it with its architecture.")
    require_same_classes(config, classes, who)
    model, found = load_from_folder(
        getattr(transformers, factory), folder, "model", dtype=torch.float32, output_loading_info=True
    )
    if found["missing_keys"]:  # transformers would go on with random ones
        missing = ", ".join(sorted(found["missing_keys"]))[:160]
        raise InputError(f"{folder} must hold all weights of its model", f"none for {missing}", "Save it anew.")
    has_tokenizer = (Path(folder) / "tokenizer_config.json").is_file()
    tokenizer = padded(load_tokenizer(folder), model) if has_tokenizer else None
    return TransformersClassifier(model.eval(), tokenizer, window)


def padded(tokenizer: Any, model: Any) -> Any:
    """The tokenizer, with a padding token that the model knows as such; models of the causal kind need one."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def require_same_classes(model: object, classes: Sequence[str], who: str) -> None:
    """Raise unless the model's outputs mean ``classes``, in this order, as far as it names them.

    Names are read from ``config.id2label``, ``id2label`` or ``classes``; the ``LABEL_0`` that transformers writes
    where nobody named them says nothing but their number.

    Raises:
        VocabularyError: names the model, and the first class that differs.
    """
    config = getattr(model, "config", model)
    names = getattr(config, "id2label", None) or getattr(model, "classes", None)
    if names is None:
        return
    ordered = [names[key] for key in sorted(names, key=int)] if isinstance(names, dict) else list(names)
    theirs = [str(name) for name in ordered]
    if len(theirs) != len(classes):
        raise VocabularyError(
            f"{who} must have the {len(classes)} classes of the tasks it serves",
            f"{len(theirs)}",
            "Name its `tasks` in the recipe, or give it the classes of data.tasks.",
        )
    if theirs == [f"LABEL_{number}" for number in range(len(theirs))]:
        return
    differ = [number for number, (a, b) in enumerate(zip(theirs, classes, strict=True)) if a != b]
    if differ:
        first = differ[0]
        raise VocabularyError(
            f"{who} must have the classes of data.tasks, in their order",
            f"{len(differ)} that differ, the first {first}: {theirs[first]!r} for it, {classes[first]!r} in the recipe",
            "Write data.tasks in its order, or save it with id2label in the recipe's.",
        )
