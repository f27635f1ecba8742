"""Select what a model takes of a batch, and set the state in which it answers."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, nearest, require, said_by

#: What is known of a row besides what a model reads: handed over only to a model that names it.
MARKS = frozenset({"domain", "task", "teacher_mask", "serving", "row"})
#: The answers, handed to nobody: a model that gets them computes a loss that nobody asked for.
ANSWERS = frozenset({"labels", "label", "label_ids", "shift_labels"})
#: An argument of this name, where the batch has no entry of it, gets all inputs as a mapping.
WHOLE = "batch"


@runtime_checkable
class HasLogits(Protocol):
    """The outputs of transformers' models."""

    @property
    def logits(self) -> Tensor: ...


def of_transformers(model: object) -> bool:
    """Return whether a model is one of transformers', which is not imported to tell."""
    module = sys.modules.get("transformers")
    return module is not None and isinstance(model, module.PreTrainedModel)


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model of transformers in wrappers that have nothing beside it: compiled, distributed, with adapters,
    or one's own; the module itself where there is none."""
    found = model
    while not of_transformers(found):
        inner = list(found.children())
        if len(inner) != 1:
            return model
        found = inner[0]
    return found


@runtime_checkable
class _ShiftsLabels(Protocol):
    """Encoder-decoders of transformers that make their decoder's inputs of labels, as they do to compute a loss."""

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor: ...


def decoding(model: object, entries: Mapping[str, Any], labels: Any, who: str) -> Mapping[str, Any]:
    """Return the entries, and for an encoder-decoder of transformers ``decoder_input_ids`` where they are not among
    them: the labels one position later, behind the model's own start token. The model itself would make them of
    ``labels``, which nobody is handed.

    Raises:
        InputError: neither they nor labels.
    """
    found: Any = unwrapped(model) if isinstance(model, torch.nn.Module) else None
    if not (of_transformers(found) and found.config.is_encoder_decoder and "input_ids" in entries):
        return entries
    if any(entries.get(name) is not None for name in ("decoder_input_ids", "decoder_inputs_embeds")):
        return entries
    if labels is None or not isinstance(found, _ShiftsLabels):
        fix = "Add 'labels', of which they are made, or 'decoder_input_ids'."
        raise InputError(f"{who}, an encoder-decoder, must find what its decoder reads", sorted(entries), fix)
    return {**entries, "decoder_input_ids": found.prepare_decoder_input_ids_from_labels(tensor_of(labels, "'labels'"))}


@contextmanager
def at_rest(modules: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Return evaluation mode and no gradients, whatever the caller has set; afterwards every mode is what it was."""
    training = [part for module in modules for part in module.modules() if part.training]
    if training:
        for module in modules:
            module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def unwritten(entries: Mapping[str, Any], who: str) -> Iterator[None]:
    """Raises TeacherError if a tensor was written into, which others read too. On the first batch these are copies."""

    def versions() -> dict[str, int]:
        return {name: v._version for name, v in entries.items() if isinstance(v, Tensor) and not v.is_inference()}

    before = versions()
    yield
    after = versions()
    written = [name for name in before if before[name] != after[name]]
    if written:
        fix = f"Others read it too: let it work on a copy, {written[0]}.clone()."
        raise TeacherError(f"{who} must leave the batch as it is", f"one that writes into {written[0]!r}", fix)


@dataclass(frozen=True)
class Intake:
    """What a model takes, as its forward says.

    Attributes:
        names: the parameters that it names.
        required: those without a default.
        keywords: whether it takes any keyword.
        settings: given with every batch.
        nameless: whether its arguments are handed over by their place.
    """

    names: frozenset[str]
    required: tuple[str, ...]
    keywords: bool
    settings: Mapping[str, Any]
    nameless: bool = False

    @classmethod
    def of(cls, model: Callable[..., Any]) -> Intake:
        """Of a module its forward; a callable that does not tell what it takes is taken for one of one argument."""
        try:
            found = inspect.signature(_forward(model)).parameters.values()
        except (TypeError, ValueError):
            return cls(frozenset(), ("input",), False, {}, nameless=True)
        by_name = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        names = frozenset(p.name for p in by_name)
        known = of_transformers(model)
        return cls(
            names,
            tuple(p.name for p in by_name if p.default is p.empty),
            # Models of transformers name what they read; their other keywords are settings of kernels.
            any(p.kind == p.VAR_KEYWORD for p in found) and not (known and names),
            {"use_cache": False} if known and "use_cache" in names else {},
            any(p.kind == p.POSITIONAL_ONLY for p in by_name),
        )

    def call(self, model: Callable[..., Any], entries: Mapping[str, Any], who: str) -> Any:
        """Return what the model makes of a batch; see :meth:`arguments`."""
        given = self.arguments(entries, who)
        return model(*given.values()) if self.nameless else model(**given)

    def arguments(self, entries: Mapping[str, Any], who: str) -> dict[str, Any]:
        """Return the entries of a batch that the model gets, by name.

        Those that it names; all inputs if it takes any keyword, or as one mapping if it takes an argument ``batch``;
        and if it takes one argument of another name, the sole input (beside an attention mask). Answers are left out
        already, marks only if they are not named.

        Raises:
            InputError: an argument without a default that the batch does not hold.
        """
        found = {name: value for name, value in entries.items() if name in self.names}
        if self.keywords:
            found |= {name: value for name, value in entries.items() if name not in MARKS}
        lacking = [name for name in self.required if name not in found]
        if not lacking:
            return {**self.settings, **found}
        inputs = [name for name in entries if name not in MARKS and name not in found]
        if lacking == [WHOLE]:
            whole = {name: value for name, value in entries.items() if name not in MARKS}
            return {**self.settings, **found, WHOLE: whole}
        if len(inputs) > 1:
            inputs = [name for name in inputs if name != "attention_mask"]
        if len(lacking) > 1 or len(inputs) != 1:
            fix = f"Name its arguments after entries, or one {WHOLE!r} to get them all."
            raise InputError(
                f"{who} must find what it takes in the batch",
                f"no {lacking[0]!r} among {sorted(entries)}",
                f"{nearest(lacking[0], entries)} {fix}" if entries else "Put its inputs into the batch.",
            )
        return {**self.settings, **found, lacking[0]: entries[inputs[0]]}


def _forward(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return what says which arguments a model takes: a module's call takes any."""
    if isinstance(model, torch.nn.Module):
        return model.forward
    if isinstance(model, functools.partial):
        return functools.partial(_forward(model.func), *model.args, **model.keywords)
    return model


def inputs_of(batch: Mapping[str, Any], others: Collection[str] = ()) -> dict[str, Any]:
    """Return the entries of a batch less the answers and ``others``, columns that rules or stored teachers read."""
    return {name: value for name, value in batch.items() if name not in ANSWERS and name not in others}


def moved(entries: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the entries with their tensors on ``device``."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in entries.items()}


def tensor_of(value: Any, who: str) -> Tensor:
    """Return what a batch holds as a tensor.

    Raises:
        InputError: rows of several lengths, texts, nothing: what is no table of numbers.
    """
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        fix = "Rows must be of one length: give a tensor."
        raise InputError(f"{who} must be numbers", said_by(error, 120), fix) from error
    require(not found.is_complex(), f"{who} must be real numbers", found.dtype, "Give their real part.")
    return found


def logits_of(output: Any, who: str, fault: Callable[..., Exception] = InputError) -> Tensor:
    """Return the logits of a model's output: a tensor, an object with ``logits``, or a mapping that holds them."""
    found = output
    if isinstance(output, Mapping) and "logits" in output:
        found = output["logits"]
    elif isinstance(output, HasLogits):
        found = output.logits
    if not isinstance(found, Tensor):
        raise fault(f"{who} must return logits", type(output).__name__, "Return a tensor, or an object with `logits`.")
    if not found.is_floating_point():
        raise fault(f"{who} must return logits, which are real numbers", found.dtype, "Say .float().")
    return found


def parameters_behind(logits: Tensor) -> list[Tensor]:
    """Return the tensors that a backward pass from ``logits`` reaches: what trains."""
    found: list[Tensor] = []
    seen, open_ = set(), [logits.grad_fn]
    while open_:
        node: Any = open_.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::AccumulateGrad":
            found.append(node.variable)
        open_ += [before for before, _ in node.next_functions]
    return found
