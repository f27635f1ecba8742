"""Sequence and image classifiers of transformers, as modules that take a batch of inputs."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.errors import ForeignError, InputError, TriviumError, said_by
from trivium.store.identity import Identity
from trivium.teachers.admission import Say, apart, positions, tolerance, unsaid
from trivium.teachers.classes import match_classes, require_one_distribution
from trivium.teachers.fingerprint import fingerprint, folder_files
from trivium.teachers.huggingface import load_from_folder, load_tokenizer

#: What is tokenized as one: a text, or a pair of them.
Texts = str | tuple[str, str]

#: By the ending of the architecture that a config names.
FACTORIES = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForImageClassification": "AutoModelForImageClassification",
}


class TransformersClassifier(torch.nn.Module):
    """A classifier with the tokenizer that its texts need.

    One input is texts, which are tokenized (a blank one is read as an end token), or a tensor, which is the model's
    main input (``input_ids``, ``pixel_values``). Of several, ``text`` and ``text_pair`` are tokenized as pairs; others
    are tensors under names that the model's own forward takes: one that it does not take is refused, not passed over.

    A text is answered as the model answers it alone. Decoders pool the last token that is not the config's
    ``pad_token_id``, so that id stands wherever the attention mask is 0, whatever the tokenizer pads with; and the side
    that is padded is one on which padding changes nothing, see :meth:`settle`.

    Args:
        model: has ``config`` and returns ``logits`` [B, classes].
        tokenizer: None for a model that is given tensors.
        window: the tokens that a text is cut to, at most; the model's and the tokenizer's own limits are kept too.
    """

    def __init__(self, model: Any, tokenizer: Any = None, window: int = 256) -> None:
        super().__init__()
        limits = (positions(model.config), getattr(tokenizer, "model_max_length", None))
        self.model, self.tokenizer, self.data_window = model, tokenizer, window
        self.window = min([window, *(limit for limit in limits if limit)])
        self._arguments = frozenset(inspect.signature(model.forward).parameters)
        #: "right", "left", or "none": texts of one length at a time.
        self.padding: str = "none" if tokenizer is None else tokenizer.padding_side

    @property
    def config(self) -> Any:
        """The model's."""
        return self.model.config

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
            return self._of_texts(values.pop("text"), values)
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
        """Return the tokens of each text, or pair, before it is cut to ``window``, and how many of them stand for what
        the tokenizer does not know; zeros where there is no tokenizer."""
        if self.tokenizer is None:
            return [(0, 0)] * len(texts)
        both = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        known = self.tokenizer
        special = (known.bos_token_id, known.eos_token_id, known.pad_token_id)  # one token may serve for all
        unknown = None if known.unk_token_id in special else known.unk_token_id
        return [(len(ids), ids.count(unknown)) for ids in self.tokenizer(both, verbose=False)["input_ids"]]

    def _of_texts(self, texts: Sequence[Texts], others: Mapping[str, Any]) -> Tensor:
        if self.padding != "none":
            padded_logits: Tensor = self.model(**self._encoded(texts), **others).logits
            return padded_logits
        lengths = [len(ids) for ids in self._tokens(texts, padding=False)["input_ids"]]
        parts, order = [], []
        for length in sorted(set(lengths)):
            numbers = [number for number, found in enumerate(lengths) if found == length]
            own = {name: value[numbers] for name, value in others.items()}
            parts.append(self.model(**self._encoded([texts[number] for number in numbers]), **own).logits)
            order += numbers
        return torch.cat(parts)[torch.tensor(order, device=parts[0].device).argsort()]

    def _required(self) -> Any:
        if self.tokenizer is None:
            raise InputError(
                "a classifier of texts must have a tokenizer",
                type(self.model).__name__,
                "Save its tokenizer in its folder; for the student name student.tokenizer.",
            )
        return self.tokenizer

    def _encoded(self, texts: Sequence[Texts]) -> dict[str, Tensor]:
        encoded = self._tokens(texts).convert_to_tensors("pt")
        device = next(self.model.parameters()).device
        # Tokenizers tell the texts of a pair apart (token_type_ids) also for models that do not ask.
        found = {name: value.to(device) for name, value in encoded.items() if name in self._arguments}
        unseen = encoded["attention_mask"].to(device) == 0
        return found | {"input_ids": found["input_ids"].masked_fill(unseen, self.config.get_text_config().pad_token_id)}

    def _tokens(self, texts: Sequence[Texts], padding: bool = True) -> Any:
        """Return what the tokenizer makes of texts, cut to the window. A blank one has a token only where the tokenizer
        adds some of its own; else an end token stands for it."""
        known = self._required()
        settings: dict[str, Any] = {"padding": padding, "truncation": True, "max_length": self.window}
        settings |= {"return_attention_mask": True}
        settings |= {} if self.padding == "none" else {"padding_side": self.padding}
        encoded = known(list(texts), **settings)
        empty = [number for number, mask in enumerate(encoded["attention_mask"]) if not any(mask)]
        if not empty:
            return encoded
        end = next((t for t in (known.eos_token, known.bos_token, known.sep_token, known.cls_token) if t), None)
        if end is None:
            raise InputError(
                "a text must have a token",
                f"a blank one, and {type(known).__name__} has no end token to read in its place",
                "Leave out blank texts, or give the tokenizer an eos_token.",
            )
        return known([end if number in empty else text for number, text in enumerate(texts)], **settings)

    def settle(self, texts: Sequence[Texts], who: str, say: Say = unsaid) -> None:
        """Ask how many tokens it takes, and how texts may be padded: on the tokenizer's side, on the other, or not.

        Padding on the left moves a model's learned positions, on the right it ends the text of one that reads its last
        token, and a model that mixes all positions takes no padding at all: then texts of one length go together.

        Args:
            texts: a few, or pairs of them, of different lengths.

        Raises:
            ForeignError: a model that reads no text at all.
        """
        tokenizer, asked_for = self._required(), self.window
        self._fit(" ".join(text if isinstance(text, str) else " ".join(text) for text in texts), who)
        if self.window < self.data_window:
            say(
                f"note: {who} reads the first {self.window} tokens of a text, fewer than the {self.data_window} of "
                "data.window"
            )
        if asked_for > self.window:
            _keep(tokenizer, "model_max_length", self.window)
        first = self.padding
        alone = torch.cat([self([text]) for text in texts])
        for side in (first, "left" if first == "right" else "right", "none"):
            self.padding = side
            if apart(self(list(texts)), alone) <= tolerance(self.model, alone):
                break
        if self.padding == first:
            return
        if self.padding == "none":
            say(f"note: {who} reads texts of one length at a time, since padding changes its answers")
        else:
            _keep(tokenizer, "padding_side", self.padding)
            say(
                f"note: texts of {who} are padded on the {self.padding}, since its answers change by padding on the "
                f"{first}"
            )

    def _fit(self, text: str, who: str) -> None:
        """Lower the window to what the model takes; some hold fewer positions than their config says."""
        long = " ".join([text or "a"] * (1 + self.window // max(1, len(self.tokenizer(text or "a")["input_ids"]))))
        full, taken = self.window, 0
        low, high = 1, full
        while low <= high:  # the whole first, then by halves
            self.window = high if high == full else (low + high) // 2
            try:
                self([long])
            except TriviumError:
                raise
            except Exception as error:  # a model may raise anything
                cause, high = error, self.window - 1
            else:
                taken, low = self.window, self.window + 1
        if taken == 0:
            raise ForeignError(f"{who} must read a text", said_by(cause), "Run its forward by itself.") from cause
        self.window = taken

    def identity(self, files: Mapping[str, str] | None = None) -> str:
        """Identifies model, tokenizer, window and the ``files`` that both came from, 32 hex digits."""
        parts: dict[str, Any] = {"model": fingerprint(self.model, files), "window": self.window, "tokenizer": {}}
        if self.tokenizer is not None:
            with tempfile.TemporaryDirectory() as folder:  # as it would be saved: every kind of tokenizer can do that
                self.tokenizer.save_pretrained(folder)
                parts["tokenizer"] = folder_files(folder)
        return Identity(parts).digest()


def load_classifier(folder: str | Path, classes: Sequence[str], who: str, window: int = 256) -> TransformersClassifier:
    """Return a classifier from a folder made by ``save_pretrained``, read from disk only, in evaluation mode.

    Args:
        classes: what its outputs must mean, in any order; :func:`match_classes` tells which.

    Raises:
        InputError: a folder that is missing or holds no sequence or image classifier, or lacks weights; a model of
            several labels at once or of regression.
        VocabularyError: classes of other names or of another number.
    """
    import transformers

    config = load_from_folder(transformers.AutoConfig, folder, "model")
    named = (getattr(config, "architectures", None) or ["none"])[0]
    factory = next((made for ending, made in FACTORIES.items() if named.endswith(ending)), None)
    if factory is None:
        raise InputError(f"{folder} must hold a sequence or image classifier", named, "Save it with its architecture.")
    require_one_distribution(config, classes, who)
    match_classes(config, classes, who)
    model, found = load_from_folder(
        getattr(transformers, factory), folder, "model", dtype=torch.float32, output_loading_info=True
    )
    if found["missing_keys"]:  # transformers would go on with random ones
        missing = ", ".join(sorted(found["missing_keys"]))[:160]
        raise InputError(f"{folder} must hold all weights of its model", f"none for {missing}", "Save it anew.")
    has_tokenizer = (Path(folder) / "tokenizer_config.json").is_file()
    tokenizer = padded(load_tokenizer(folder), model) if has_tokenizer else None
    return TransformersClassifier(model.eval(), tokenizer, window)


def _keep(tokenizer: Any, name: str, value: object) -> None:
    """Set what a tokenizer is saved with, so that whoever loads a student cuts and pads as it was taught."""
    setattr(tokenizer, name, value)
    tokenizer.init_kwargs[name] = value  # what is not there is not saved


def padded(tokenizer: Any, model: Any, aligned: bool = False) -> Any:
    """Return the tokenizer, with a padding token, of a model that knows which id pads; models of the causal kind need
    both.

    The model's own id stays what it is: a decoder reads the last token that is not it. One that has none gets the
    tokenizer's, or another where every text ends in that.

    Args:
        aligned: make the two one, so that a student which is saved with them is right in anyone's padded batch.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    config = model.config.get_text_config()
    embeddings = model.get_input_embeddings()
    entries = embeddings.num_embeddings if isinstance(embeddings, torch.nn.Embedding) else len(tokenizer)
    own = config.pad_token_id
    if own is None or not 0 <= own < entries:
        ends = tokenizer("a")["input_ids"][-1:]
        config.pad_token_id = next(n for n in (tokenizer.pad_token_id, *range(entries)) if [n] != ends and n < entries)
    if aligned and config.pad_token_id != tokenizer.pad_token_id:
        if config.pad_token_id in tokenizer.all_special_ids:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
        elif tokenizer.pad_token_id < entries:
            config.pad_token_id = tokenizer.pad_token_id
    return tokenizer
