"""The unsafe set U of a position: which entries of a distribution must not be drawn there.

Every kind answers two questions: in which *state* a position is, a number, and which entries are unsafe in a state.
States repeat, so the entries of each are found once and kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.errors import InputError, require
from trivium.safety.automaton import Automaton, Boundaries, build_automaton
from trivium.safety.tokens import resolve_tokens, token_bytes
from trivium.simplex.typed import Typed


@runtime_checkable
class _Tokenizer(Protocol):
    """A tokenizer, as transformers has them."""

    def get_vocab(self) -> dict[str, int]: ...


class UnsafeSet(ABC):
    """The set U among the V tokens at every position.

    Attributes:
        entries: V, or fewer: entries from there on are never unsafe.
    """

    entries: int

    @abstractmethod
    def states(self, inputs: Tensor | None, task: Tensor, positions: int) -> Tensor:
        """Return the state of every position, int64 [B, T].

        Args:
            inputs: what stands before each prediction, token ids [B, T]: position t is predicted from 0 … t.
            task: of each row, [B].
            positions: T.
        """

    @abstractmethod
    def members(self, state: int) -> Tensor:
        """Return the unsafe entries in a state, int64, ascending."""

    @abstractmethod
    def lines(self) -> tuple[str, ...]:
        """Return what is forbidden, for printing."""

    def exposed(self, states: Tensor) -> Tensor:
        """Return where there is an unsafe entry at all, bool, of the shape of ``states``."""
        found = torch.zeros_like(states, dtype=torch.bool)
        for state in states.unique().tolist():
            if len(self.members(state)):
                found |= states == state
        return found

    def mask(self, states: Tensor, entries: int) -> Tensor:
        """Return which entries are unsafe, bool [N, V], of positions in ``states`` [N]."""
        found = torch.zeros(len(states), entries, dtype=torch.bool)
        for state in states.unique().tolist():
            rows = (states == state).nonzero()
            members = self.members(state)
            found[rows, members[members < entries].unsqueeze(0)] = True
        return found.to(states.device)

    def mass(self, log_p: Tensor, states: Tensor) -> Tensor:
        """p(U) [N] of distributions log p [N, V] at positions in ``states`` [N]; in float64 and with the gradient of
        ``log_p``. Cost O(N·|U|)."""
        parts, places = [], []
        for state in states.unique().tolist():
            rows = (states == state).nonzero().squeeze(-1)
            members = self.members(state)
            members = members[members < log_p.shape[-1]].to(log_p.device)  # what a model lacks it cannot draw
            places.append(rows)
            parts.append(log_p[rows.unsqueeze(1), members].double().exp().sum(-1))
        if not places:
            return log_p.new_zeros(0, dtype=torch.float64)
        return torch.cat(parts)[torch.cat(places).argsort()]


@final
class UnsafeTokens(Typed, UnsafeSet):
    """Token ids and forbidden strings of a text, each alone or both: every token that is one of the ids, or that would
    complete a forbidden string given the text so far, however the tokenizer cuts it.

    Args:
        tokenizer: a fast one.
        tokens: ids, or strings of one token; see :func:`trivium.safety.tokens.resolve_tokens`.
        strings: forbidden anywhere in the text.
        boundaries: what may not stand around a string.
        variants: whether a token stands for its cases and for what it is behind a space.

    Raises:
        InputError: neither tokens nor strings, or one that the tokenizer cannot produce.

    Cost: of a state's first appearance O(bytes of all tokens), a few milliseconds at V = 50,000; then a look-up.
    """

    def __init__(
        self,
        tokenizer: Any,
        tokens: Sequence[str | int] = (),
        strings: Sequence[str] = (),
        boundaries: Boundaries | None = None,
        variants: bool = True,
    ) -> None:
        known = isinstance(tokenizer, _Tokenizer)
        require(known, "an unsafe set must have a tokenizer", type(tokenizer).__name__, "Give that of the student.")
        fix = "Name tokens or strings."
        require(bool(tokens) or bool(strings), "an unsafe set must not be empty", "neither tokens nor strings", fix)
        self.resolved = resolve_tokens(tokenizer, tokens, variants) if tokens else {}
        self.strings, self.boundaries = tuple(strings), boundaries or Boundaries()
        self.automaton: Automaton | None = None
        texts = token_bytes(tokenizer)
        self.entries = len(texts)
        self._fixed = np.array(sorted(self.resolved), dtype=np.int64)
        self._members: dict[int, Tensor] = {}
        if strings:
            self.automaton = build_automaton(self.strings, self.boundaries)
            self._steps, self._lengths = _symbol_table([*texts, None], self.automaton)  # an id beyond all is no text
            self._longest_first = np.argsort(-self._lengths[:-1], kind="stable")
            self._require_producible(tokenizer, texts)

    def states(self, inputs: Tensor | None, task: Tensor, positions: int) -> Tensor:
        if self.automaton is None:
            return torch.zeros(len(task), positions, dtype=torch.int64, device=task.device)
        if inputs is None:
            raise InputError("forbidden strings need the tokens of the text", "none", "Give input_ids.")
        return torch.from_numpy(self.walk(inputs.detach().cpu().numpy())).to(task.device)

    def walk(self, ids: NDArray[np.int64], begin: NDArray[np.int32] | None = None) -> NDArray[np.int64]:
        """Return the state after each token of rows of ids [B, T], from the edge of a text or from states ``begin``
        [B]."""
        assert self.automaton is not None
        automaton, (rows, length) = self.automaton, ids.shape
        state = np.full(rows, automaton.start, dtype=np.int32) if begin is None else begin.astype(np.int32)
        found = np.empty((rows, length), dtype=np.int64)
        for place in range(length):
            token = np.minimum(ids[:, place], self.entries)
            steps, lengths = self._steps[token], self._lengths[token]
            for step in range(int(lengths.max(initial=0))):
                state = np.where(step < lengths, automaton.table[state, steps[:, step]], state)
            found[:, place] = state
        return found

    def members(self, state: int) -> Tensor:
        if state not in self._members:
            unsafe = self._fixed
            if self.automaton is not None:
                unsafe = np.union1d(unsafe, self._completing(state))
            self._members[state] = torch.from_numpy(unsafe)
        return self._members[state]

    def _completing(self, begin: int) -> NDArray[np.int64]:
        """Return every token one of whose bytes completes a forbidden string, read from a state."""
        assert self.automaton is not None
        table, completes, order = self.automaton.table, self.automaton.completes, self._longest_first
        state = np.full(len(order), begin, dtype=np.int32)
        hit = np.zeros(len(order), dtype=np.bool_)
        lengths = self._lengths[order]
        for step in range(int(lengths.max(initial=0))):
            live = int(np.searchsorted(-lengths, -step, side="left"))  # tokens longer than the step stand first
            state[:live] = table[state[:live], self._steps[order[:live], step]]
            hit[:live] |= completes[state[:live]]
        return np.sort(order[hit]).astype(np.int64)

    def _require_producible(self, tokenizer: Any, texts: Sequence[bytes | None]) -> None:
        for string in self.strings:
            ids = tokenizer.encode(string, add_special_tokens=False)
            pieces = [texts[number] for number in ids]
            written = b"".join(piece for piece in pieces if piece is not None)
            alone = build_automaton([string], self.boundaries)
            require(
                None not in pieces and alone.reads(written, ended=True),
                "a forbidden string must be one that the tokenizer can produce",
                f"{string!r}, of which it makes {tokenizer.decode(ids)!r}",
                "Write it as the tokenizer writes it, or set ignore_case.",
            )

    def lines(self) -> tuple[str, ...]:
        found = [f"token {number}: {text!r}" for number, text in self.resolved.items()]
        rules = self.boundaries
        about = " as a whole word" if rules.whole_words else ""
        about += f", not after any of {rules.not_after!r}" if rules.not_after else ""
        about += ", in any case" if rules.ignore_case else ""
        return (*found, *(f"string {string!r}{about}" for string in self.strings))


@final
class UnsafeClasses(Typed, UnsafeSet):
    """Classes of labelled examples.

    Args:
        by_task: for each task, by number, the unsafe ones among all classes; a task may have none.
        names: of the classes, for printing.

    Raises:
        InputError: no class in any task.
    """

    def __init__(self, by_task: Sequence[Sequence[int]], names: Mapping[int, str]) -> None:
        self.by_task = tuple(tuple(sorted(set(classes))) for classes in by_task)
        lacking = sorted({number for classes in self.by_task for number in classes} - set(names))
        require(not lacking, "every unsafe class must have a name", f"none for {lacking}", "Add it to names.")
        self.names = {number: names[number] for classes in self.by_task for number in classes}
        require(bool(self.names), "an unsafe set must not be empty", "no class", "Name a class.")
        self.entries = max(self.names) + 1

    def states(self, inputs: Tensor | None, task: Tensor, positions: int) -> Tensor:
        return task.long().view(-1, 1).expand(-1, positions)

    def members(self, state: int) -> Tensor:
        return torch.tensor(self.by_task[state] if state < len(self.by_task) else (), dtype=torch.int64)

    def lines(self) -> tuple[str, ...]:
        return tuple(f"class {name!r}" for name in self.names.values())


def _symbol_table(texts: Sequence[bytes | None], automaton: Automaton) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the symbols of each token, padded, [V, longest], and how many there are, [V]; no text is the edge."""
    lengths = np.array([1 if text is None else len(text) for text in texts], dtype=np.int64)
    steps = np.full((len(texts), int(lengths.max(initial=1))), automaton.edge, dtype=np.int16)
    for number, text in enumerate(texts):
        if text:
            steps[number, : len(text)] = automaton.symbols[list(text)]
    return steps, lengths
