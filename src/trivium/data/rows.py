"""From texts to rows of token ids: what a run trains and is evaluated on."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.data.census import Count, unknown_alert, unknown_token, unread_of
from trivium.data.sources import Text, Texts
from trivium.errors import InputError, require
from trivium.store.identity import of_table

IGNORE = -100
_POOL = 6
#: A document of fewer tokens is dropped; no later window of a document is left with fewer.
LEAST = 8


@dataclass(frozen=True)
class Rows:
    """N rows of T positions; position t reads ``input_ids[:, t]`` and predicts ``labels[:, t]``.

    Attributes:
        input_ids, labels: [N, T], labels −100 where nothing is predicted.
        bytes: UTF-8 bytes of the text that each row predicts, [N]. The end of a document has none, so bits per byte
            are what the text and its end cost together, per byte of the text.
        domain: index of the row's domain, [N]; ``domains`` are their names.
        task: index of the row's task, [N]; ``tasks`` are their names.
        document: the name of the row's document, unique within its domain.
        columns: per-document values of user features, each [N, K].
        census: what became of each domain's documents.
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
    census: tuple[Count, ...] = ()

    unit: ClassVar[str] = "bits per byte"
    nats_a_unit: ClassVar[float] = math.log(2)
    #: Which teachers serve each row: all of them.
    teacher_mask: ClassVar[None] = None

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
        """Of everything in the table but the census, 32 hex digits."""
        tensors = {"ids": self.input_ids, "labels": self.labels, "bytes": self.bytes, "domain": self.domain}
        return of_table({**tensors, "task": self.task}, self.columns, [self.document, self.domains, self.tasks])

    def arguments(self, index: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return what a student's forward takes for the rows numbered ``index``."""
        return {"input_ids": self.input_ids[index.cpu()].to(device)}


@dataclass(frozen=True)
class DomainTexts:
    """The texts of one domain and the task they belong to."""

    name: str
    task: str
    found: Texts


def make_rows(
    domains: Sequence[DomainTexts],
    tokenizer: Any,
    window: int,
    limit: int | None,
    seed: int,
    columns: Mapping[str, int] | None = None,
    end_of_text: bool = True,
) -> Rows:
    """Cut every document into windows of ``window`` tokens and take ``limit`` rows of each domain.

    Each window starts after the tokenizer's beginning token (its end token where it has none) and shares no predicted
    token with the next, so every byte is predicted once. The last thing that a document predicts is the end token: a
    student learns to stop where its teachers do. Windows in the middle of a document predict none, nor does a text
    that was cut short or that brings its own. The last window is padded; where fewer than 8 tokens are left for it, it
    takes some of the window before it. Documents of fewer than 8 tokens are dropped. Documents are visited in an order
    that ``seed`` draws until there are six times ``limit`` windows, of which ``limit`` are drawn: the same for every
    run that names the seed.

    Args:
        columns: user features to carry along, by name, with the number of values each record must hold.
        end_of_text: whether the end of a document is predicted.

    Raises:
        InputError: a tokenizer that gives no offsets, has no beginning and no end token, or lacks the end token that
            is to be predicted; a domain without a usable window; a record without one of ``columns``.
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
    end = _end_token(tokenizer) if end_of_text else None
    kept: list[tuple[list[int], int, int, Text]] = []
    census = []
    for index, domain in enumerate(domains):
        draw = random.Random(f"{seed}/{domain.name}")
        texts = draw.sample(domain.found.texts, len(domain.found.texts))
        found: list[tuple[list[int], int, int, Text]] = []
        examined = short = 0
        for text in texts:
            if limit is not None and len(found) >= _POOL * limit:
                break  # enough to draw from; tokenizing everything would take longer than a short run
            windows = _windows(text, tokenizer, window, end)
            examined, short = examined + 1, short + (not windows)
            found += [(ids, size, index, text) for ids, size in windows]
        if not found:
            raise InputError("a domain must not be empty", f"no text of 8 tokens in {domain.name!r}", "Add text to it.")
        draw.shuffle(found)
        kept += found[:limit]
        census.append(
            _count(domain, examined, short, found[:limit], len(found), columns or {}, unknown_token(tokenizer))
        )
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
        census=tuple(census),
    )


def _count(
    domain: DomainTexts,
    examined: int,
    short: int,
    drawn: Sequence[tuple[list[int], int, int, Text]],
    available: int,
    features: Mapping[str, int],
    unknown: int | None,
) -> Count:
    texts, dropped = domain.found.texts, dict(domain.found.dropped)
    blank = sum(dropped.values())
    if short:
        dropped[f"under {LEAST} tokens"] = short
    names = dict.fromkeys(name for text in texts for name in text.columns)
    held = {name: [text.columns.get(name) for text in texts] for name in names}
    tokens = sum(len(ids) for ids, _, _, _ in drawn)
    alert = unknown_alert(sum(ids.count(unknown) for ids, _, _, _ in drawn) if unknown is not None else 0, tokens)
    return Count(
        domain=domain.name,
        source=domain.found.source,
        documents=len(texts) + blank,
        examined=examined + blank,
        rows=len(drawn),
        available=available,
        tokens=tokens,
        dropped=dropped,
        short=len({text.name for _, _, _, text in drawn if not text.whole}),
        read=(*dict.fromkeys(text.column for text in texts if text.column), *features),
        unread=unread_of(held, features),
        notes=domain.found.notes,
        alerts=() if alert is None else (f"{domain.name!r}: {alert}",),
    )


def _start_token(tokenizer: Any) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError("a tokenizer must have a beginning or end token", "neither", "Set its eos_token.")


def _end_token(tokenizer: Any) -> int:
    require(
        tokenizer.eos_token_id is not None,
        "a tokenizer must have an end token for documents to end in",
        "none",
        "Set its eos_token, or data.end_of_text to false.",
    )
    return int(tokenizer.eos_token_id)


def _windows(text: Text, tokenizer: Any, window: int, end: int | None) -> list[tuple[list[int], int]]:
    """Return the predicted ids of each window of a document, and the bytes of text that they stand for."""
    encoded = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    if len(ids) < LEAST:
        return []
    # A window's text ends where the next one starts: tokens inside one character share its offset.
    # The first starts with the text, whatever a tokenizer trims from its first token; the end stands behind it.
    places = [0, *(begin for begin, _ in offsets[1:]), len(text.text)]
    if end is not None and text.whole and ids[-1] != end:
        ids.append(end)
        places.append(len(text.text))
    cuts = _cuts(len(ids), window)
    return [(ids[begin:stop], len(text.text[places[begin] : places[stop]].encode())) for begin, stop in pairwise(cuts)]


def _cuts(length: int, window: int) -> list[int]:
    """Return where windows begin and end: each as long as it can be, but that the last holds 8 tokens, if need be at
    the cost of the one before it (half of what both hold where that is less)."""
    cuts = [*range(0, length, window), length]
    if len(cuts) > 2:
        least = min(LEAST, (length - cuts[-3]) // 2)
        cuts[-2] = min(cuts[-2], length - least)
    return cuts


def _column(name: str, size: int, texts: Sequence[Text]) -> Tensor:
    values = []
    for text in texts:
        value = text.columns.get(name)
        if size == 1 and isinstance(value, int | float):  # a flag is written as it is
            value = [value]
        numbers = isinstance(value, list) and all(isinstance(number, int | float) for number in value)
        if not isinstance(value, list) or not numbers or len(value) != size:
            raise InputError(
                f"every record must hold the feature {name!r}, one number a teacher",
                f"{value!r} in {text.name}",
                "Add it.",
            )
        values.append([float(number) for number in value])
    return torch.tensor(values)
