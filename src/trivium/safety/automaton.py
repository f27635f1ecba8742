"""Forbidden strings as an automaton over the bytes of a text, run along its tokens (Aho and Corasick, 1975).

Libraries for this automaton tell where strings stand in a finished text. What is asked here is asked of a text that is
still being written, in every state, of every token at once, with what stands around a string taken into account; so
the table is built here, and a naive search checks it in the tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trivium.errors import require

#: Letters, digits and the underscore of ASCII: what words consist of.
WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


@dataclass(frozen=True)
class Boundaries:
    """What may not stand around a forbidden string for it to count.

    Attributes:
        whole_words: a string that begins (ends) with a letter, digit or underscore counts only where none of these
            stands before (after) it. Bytes beyond ASCII are none of them, so that a string behind “ counts.
        not_after: other characters of ASCII before which a string does not count: "." leaves ``model.eval(`` alone.
        ignore_case: whether letters of ASCII are the same in both cases.
    """

    whole_words: bool = True
    not_after: str = ""
    ignore_case: bool = False

    def __post_init__(self) -> None:
        fix = "Name characters of ASCII."
        require(self.not_after.isascii(), "what may not stand before a string must be ASCII", repr(self.not_after), fix)


@dataclass(frozen=True)
class Automaton:
    """The states of a text with respect to some forbidden strings.

    A symbol is a class of bytes that no string tells apart, or the *edge*, which stands before a text and after it; a
    token that is no text, such as an end token, is an edge. ``table[state, symbol]`` is the next state, and
    ``completes[state]`` tells whether a string was completed by the symbol that led there.

    A string that must not be followed by a word character is completed by what follows it, be it the edge.

    Attributes:
        table: int32 [S, A].
        completes: bool [S].
        symbols: symbol of each byte, int16 [256].
        edge: the symbol of the edge, A − 1.
        start: the state before a text.

    Cost: O(S·A) memory, S at most the bytes of the strings, times the few kinds of what may stand before them.

    >>> automaton = build_automaton(["eval("], Boundaries(not_after="."))
    >>> [automaton.reads(text.encode()) for text in ("eval(", "literal_eval(", "model.eval(", "x = eval(1)")]
    [True, False, False, True]
    """

    table: NDArray[np.int32] = field(repr=False)
    completes: NDArray[np.bool_] = field(repr=False)
    symbols: NDArray[np.int16] = field(repr=False)
    edge: int
    start: int

    def __len__(self) -> int:
        return len(self.table)

    def reads(self, text: bytes, ended: bool = False) -> bool:
        """Return whether a text, begun at its edge and ``ended`` there or not, holds a forbidden string."""
        state, found = self.start, False
        for symbol in [*self.symbols[list(text)].tolist(), *([self.edge] if ended else [])]:
            state = int(self.table[state, symbol])
            found |= bool(self.completes[state])
        return found


def build_automaton(strings: Sequence[str], boundaries: Boundaries | None = None) -> Automaton:
    """Return the automaton of ``strings``, read as UTF-8.

    Raises:
        InputError: no string, or an empty one.
    """
    rules = boundaries or Boundaries()
    fix = "Name at least one string, such as 'eval('."
    require(len(strings) > 0 and all(strings), "forbidden strings must not be empty", list(strings), fix)
    patterns = [_folded(string.encode(), rules) for string in strings]
    symbols, kinds = _symbols(patterns, rules)
    edge = len(kinds)
    fits = [n for n, (word, barred) in enumerate(kinds) if not word and not barred] + [edge]
    anything_else = [n for n, (_, barred) in enumerate(kinds) if not barred] + [edge]
    after = [n for n, (word, _) in enumerate(kinds) if not word] + [edge]
    words: list[list[int]] = []
    for pattern in patterns:
        inner = [int(symbols[byte]) for byte in pattern]
        heads: list[list[int]] = [[]]
        if rules.whole_words and pattern[0] in WORD:
            heads = [[symbol] for symbol in fits]
        elif rules.not_after:
            heads = [[symbol] for symbol in anything_else]
        tails = [[symbol] for symbol in after] if rules.whole_words and pattern[-1] in WORD else [[]]
        words += [[*head, *inner, *tail] for head in heads for tail in tails]
    table, completes = _filled(words, edge + 1)
    return Automaton(table, completes, symbols, edge, int(table[0, edge]))


def _folded(text: bytes, rules: Boundaries) -> bytes:
    return text.lower() if rules.ignore_case else text


def _symbols(patterns: Sequence[bytes], rules: Boundaries) -> tuple[NDArray[np.int16], list[tuple[bool, bool]]]:
    """Return the symbol of each byte, and of each symbol whether it is of a word, and whether it bars a string behind
    it."""
    own = {byte for pattern in patterns for byte in pattern}
    bars = set(_folded(rules.not_after.encode(), rules))
    symbols = np.zeros(256, dtype=np.int16)
    known: dict[tuple[int, bool, bool], int] = {}
    for byte in range(256):
        folded = _folded(bytes([byte]), rules)[0]
        key = (folded if folded in own else -1, folded in WORD, folded in bars)
        symbols[byte] = known.setdefault(key, len(known))
    return symbols, [(word, barred) for _, word, barred in known]


def _filled(words: Sequence[Sequence[int]], alphabet: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the trie of the words, every missing edge filled with that of the longest proper suffix which is a
    state."""
    children: list[dict[int, int]] = [{}]
    ends = [False]
    for word in words:
        state = 0
        for symbol in word:
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                ends.append(False)
            state = children[state][symbol]
        ends[state] = True
    table = np.zeros((len(children), alphabet), dtype=np.int32)
    shorter = [0] * len(children)
    waiting = deque([0])
    while waiting:  # by depth, so that the shorter suffix is finished before the state
        state = waiting.popleft()
        ends[state] |= ends[shorter[state]]
        if state:
            table[state] = table[shorter[state]]
        for symbol, child in children[state].items():
            shorter[child] = int(table[shorter[state], symbol]) if state else 0
            table[state, symbol] = child
            waiting.append(child)
    return table, np.array(ends)
