"""The bytes that each token of a tokenizer stands for, and the tokens that a word may be written as."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from trivium.errors import InputError, require, said_by

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "▁"


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """For each id the bytes that it adds to a text, None for a token that is no text (special, or no token at all).

    Read from how the tokenizer decodes: byte-level (GPT-2 and its heirs), ``▁`` for a space with or without
    ``<0x41>`` for single bytes (SentencePiece), and ``##`` for the inside of a word (WordPiece).

    Raises:
        InputError: no fast tokenizer, or one that decodes in another way.
    """
    try:
        plain = json.loads(tokenizer.backend_tokenizer.to_str())
    except AttributeError as error:
        raise InputError(
            "a tokenizer must tell the bytes of its tokens", said_by(error), "Use a fast one, with a tokenizer.json."
        ) from error
    special = {int(entry["id"]) for entry in plain["added_tokens"] if entry["special"]}
    kinds = _kinds(plain.get("decoder"))
    read: Callable[[str], bytes]
    if "ByteLevel" in kinds:
        read = _byte_level
    elif "WordPiece" in kinds:
        read = partial(_word_piece, kinds["WordPiece"].get("prefix", "##"))
    elif kinds.keys() & {"Metaspace", "ByteFallback"}:
        read = _piece
    else:
        raise InputError(
            "a tokenizer must tell the bytes of its tokens",
            f"one that decodes by {', '.join(kinds) or 'nothing'}",
            "Use one that is byte-level, SentencePiece or WordPiece.",
        )
    vocabulary = dict(tokenizer.get_vocab())
    found: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
    added = {int(entry["id"]): str(entry["content"]) for entry in plain["added_tokens"]}
    for text, number in vocabulary.items():
        if number not in special:
            found[number] = added[number].encode() if number in added else read(text)
    return found


def _kinds(decoder: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the decoders of which a tokenizer's consists, by type."""
    if decoder is None:
        return {}
    parts = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    return {part["type"]: part for part in parts}


@cache
def _byte_alphabet() -> dict[str, int]:
    """Return the sign by which byte-level tokenizers write each byte: itself where it prints, else one from 256 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _byte_level(text: str) -> bytes:
    alphabet = _byte_alphabet()
    return bytes(alphabet[sign] for sign in text) if all(sign in alphabet for sign in text) else text.encode()


def _word_piece(prefix: str, text: str) -> bytes:
    return text.removeprefix(prefix).encode() if text.startswith(prefix) else b" " + text.encode()


def _piece(text: str) -> bytes:
    found = _BYTE.fullmatch(text)
    return bytes([int(found[1], 16)]) if found else text.replace(_SPACE, " ").encode()


def resolve_tokens(tokenizer: Any, named: Sequence[str | int], variants: bool = True) -> dict[int, str]:
    """Return the ids that ``named`` stands for, each with its text as the tokenizer writes it, for printing.

    A number is an id. A string is one token, and with ``variants`` so is what it becomes in lower and upper case, with
    a capital, and behind a space, as far as each is one token.

    Raises:
        InputError: no such id, or a string of which no variant is one token.
    """
    size = max(dict(tokenizer.get_vocab()).values()) + 1
    texts = token_bytes(tokenizer)
    of_text: dict[bytes, list[int]] = {}
    for number, text in enumerate(texts):
        if text is not None:
            of_text.setdefault(text, []).append(number)
    found: set[int] = set()
    for entry in named:
        if isinstance(entry, int):
            require(0 <= entry < size, "an unsafe token must be an id of the tokenizer", entry, f"It has {size}.")
            found.add(entry)
            continue
        forms = {entry, entry.lower(), entry.upper(), entry.capitalize()} if variants else {entry}
        spaced = [lead + form for form in sorted(forms) for lead in (("", " ") if variants else ("",))]
        known = [number for form in spaced for number in of_text.get(form.encode(), [])]
        require(
            bool(known),
            "an unsafe token must be one that the tokenizer can produce",
            f"{entry!r}, which it cuts into several",
            "Name it under strings, where any cut counts.",
        )
        found.update(known)
    return {number: str(tokenizer.convert_ids_to_tokens(number)) for number in sorted(found)}
