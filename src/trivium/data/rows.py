"""From texts to rows of token ids: what a run trains and is evaluated on."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.data.sources import Text
from trivium.errors import InputError, require

IGNORE = -100
_POOL = 6


@dataclass(frozen=True)
class Rows:
    """N rows of T positions; position t reads ``input_ids[:, t]`` and predicts ``labels[:, t]``.

    Attributes:
        input_ids, labels: [N, T], labels −100 where nothing is predicted.
        bytes: UTF-8 bytes of the text that each row predicts, [N].
        domain: index of the row's domain, [N]; ``domains`` are their names.
        task: index of the row's task, [N]; ``tasks`` are their names.
        document: the name of the row's document, unique within its domain.
        columns: per-document values of user features, each [N, K].
    """

    input_ids: Tensor
    labels: Tensor
    bytes: Tensor
    domain: Tensor
    task: Tensor
    document: tuple[str, ...]
    domains: tuple[str, ...]
    tasks: tuple[str, ...]
    columns: dict[str, Tensor] = field(default_factory=dict)

    unit: ClassVar[str] = "bits per byte"
    nats_a_unit: ClassVar[float] = math.log(2)
    #: Which teachers serve each row: all of them.
    serving: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def mask(self) -> Tensor:
        return self.labels != IGNORE

    @property
    def inputs(self) -> Tensor:
        """What teachers read: token ids, [N, T]."""
        return self.input_ids

    @property
    def size(self) -> Tensor:
        """What losses are reported by: bytes, [N]."""
        return self.bytes

    def digest(self) -> str:
        """SHA-256 over what is read and predicted and over the columns, 16 hex digits."""
        found = hashlib.sha256()
        for name, value in [("", self.input_ids), ("", self.labels), *sorted(self.columns.items())]:
            found.update(name.encode() + value.contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    def arguments(self, index: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """What a student's forward takes for the rows numbered ``index``."""
        return {"input_ids": self.input_ids[index.cpu()].to(device)}


@dataclass(frozen=True)
class DomainTexts:
    """The texts of one domain and the task they belong to."""

    name: str
    task: str
    texts: Sequence[Text]


def make_rows(
    domains: Sequence[DomainTexts],
    tokenizer: Any,
    window: int,
    limit: int | None,
    seed: int,
    columns: Mapping[str, int] | None = None,
) -> Rows:
    """Cut every document into windows of ``window`` tokens and take ``limit`` rows of each domain.

    Each window starts after the end-of-text token and shares no token with the next, so every byte is predicted
    once. Documents are visited in an order that ``seed`` draws until there are six times ``limit`` windows, of which
    ``limit`` are drawn: the same for every run that names the seed. The last window of a document is padded; one
    that would predict fewer than 8 tokens is dropped.

    Args:
        columns: user features to carry along, by name, with the number of values each record must hold.

    Raises:
        InputError: a tokenizer that gives no offsets or has no end token, a domain without a usable window, or a
            record without one of ``columns``.
    """
    require(
        getattr(tokenizer, "is_fast", True),
        "a tokenizer must know where its tokens stand in the text",
        type(tokenizer).__name__,
        "Use a fast one, with a tokenizer.json.",
    )
    names = tuple(d.name for d in domains)
    tasks = tuple(dict.fromkeys(d.task for d in domains))
    start = _start_token(tokenizer)
    kept: list[tuple[list[int], int, int, Text]] = []
    for index, domain in enumerate(domains):
        draw = random.Random(f"{seed}/{domain.name}")
        texts = draw.sample(list(domain.texts), len(domain.texts))
        found: list[tuple[list[int], int, int, Text]] = []
        for text in texts:
            if limit is not None and len(found) >= _POOL * limit:
                break  # enough to draw from; tokenizing everything would take longer than a short run
            found += [(ids, size, index, text) for ids, size in _windows(text.text, tokenizer, window)]
        if not found:
            raise InputError("a domain must not be empty", f"no text of 8 tokens in {domain.name!r}", "Add text to it.")
        draw.shuffle(found)
        kept += found[:limit]
    input_ids = torch.full((len(kept), window), start)
    labels = torch.full((len(kept), window), IGNORE)
    for row, (ids, _, _, _) in enumerate(kept):
        labels[row, : len(ids)] = torch.tensor(ids)
        input_ids[row, 1 : len(ids)] = torch.tensor(ids[:-1])
    domain_index = torch.tensor([index for _, _, index, _ in kept])
    return Rows(
        input_ids=input_ids,
        labels=labels,
        bytes=torch.tensor([size for _, size, _, _ in kept]),
        domain=domain_index,
        task=torch.tensor([tasks.index(domains[index].task) for _, _, index, _ in kept]),
        document=tuple(text.name for _, _, _, text in kept),
        domains=names,
        tasks=tasks,
        columns={name: _column(name, size, [text for _, _, _, text in kept]) for name, size in (columns or {}).items()},
    )


def _start_token(tokenizer: Any) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError("a tokenizer must have a beginning or end token", "neither", "Set its eos_token.")


def _windows(text: str, tokenizer: Any, window: int) -> list[tuple[list[int], int]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    found = []
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        if len(part) < 8:
            continue
        # A window's text ends where the next one starts: tokens inside one character share its offset.
        # The first starts with the text, whatever a tokenizer trims from its first token.
        begin = offsets[start][0] if start > 0 else 0
        end = offsets[start + window][0] if start + window < len(ids) else len(text)
        found.append((part, len(text[begin:end].encode())))
    return found


def _column(name: str, size: int, texts: Sequence[Text]) -> Tensor:
    values = []
    for text in texts:
        value = text.columns.get(name)
        numbers = isinstance(value, list) and all(isinstance(number, int | float) for number in value)
        if not isinstance(value, list) or not numbers or len(value) != size:
            raise InputError(
                f"every record must hold the feature {name!r}, one number a teacher",
                f"{value!r} in {text.name}",
                "Add it.",
            )
        values.append([float(number) for number in value])
    return torch.tensor(values)
