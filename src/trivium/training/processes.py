"""Which of the processes that ``torchrun`` or ``accelerate launch`` started this one is, and waiting for the others.

One process owns a run's folder; the others only train. Started plainly, a process is the owner and never waits. With a
GPU each they talk through NCCL, on CPUs through Gloo. What the launcher's environment says must be what the trainer
sees: processes that each take themselves for the only one would all write one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from trivium.errors import InputError, TriviumError, require, said_by

#: Where launchers say how many processes they started: torchrun and accelerate, then those of MPI.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
#: What torchrun and accelerate give each process beside their number.
_PLACES = ("RANK", "LOCAL_RANK")
#: The others wait while one process lets the teachers read everything.
_PATIENCE = timedelta(days=1)


def is_main() -> bool:
    """Return whether this process writes the run's record."""
    return os.environ.get("RANK", "0") == "0"


def wait() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        _state().wait_for_everyone()


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the block, then the others, which find on disk what it left."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def on_cpu() -> bool:
    """Return whether models run on the CPU: there is no accelerator, or ``accelerate launch --cpu`` asked for it."""
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")
    return asked or not torch.accelerator.is_available()


def own_device() -> torch.device:
    """Return the GPU of this process where there are some."""
    if on_cpu() or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", _number("LOCAL_RANK", 0))


def require_precision(precision: str) -> None:
    """Refuse a recipe's ``train.precision`` that this machine cannot compute in.

    Raises:
        InputError: bfloat16 on a CPU, or on a GPU without it.
    """
    if precision != "bfloat16":
        return
    device = "the CPU" if on_cpu() else f"a device of kind {torch.accelerator.current_accelerator()}"
    if not on_cpu() and torch.cuda.is_available():
        if torch.cuda.is_bf16_supported():
            return
        device = torch.cuda.get_device_name()
    raise InputError(
        "train.precision: bfloat16 needs a GPU that computes in it", device, "Set it to auto, or to float32."
    )


def in_bfloat16(precision: str) -> bool:
    """Return whether a student is trained in bfloat16: ``auto`` takes it where a GPU has it."""
    if precision == "auto":
        return not on_cpu() and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def world_size() -> int:
    """Return how many processes train together."""
    return _number("WORLD_SIZE", 1)


def require_rows(rows: int, batch_size: int, processes: int) -> None:
    """Refuse data that does not fill one batch: the last, incomplete batch of a pass is left out, so no step would be
    taken and the student would be saved as it began.

    Raises:
        InputError: fewer rows than ``batch_size`` in each process.
    """
    crowd = f" in each of {processes} processes" if processes > 1 else ""
    require(
        rows >= batch_size * processes,
        f"the training data must fill one batch of train.batch_size = {batch_size}{crowd}",
        f"{rows} row{'s' * (rows != 1)}",
        f"Lower train.batch_size to {max(1, rows // processes)} or less, or give it more data.",
    )


def require_launch() -> int:
    """Join the other processes and return their number, this one included.

    Raises:
        InputError: an environment that says one number of processes where the trainer sees another, or that says only
            half of what is needed. Nothing has been read or written then.
    """
    said = {name: _number(name, 1) for name in _SIZES if name in os.environ}
    if not any(size > 1 for size in said.values()) and "RANK" not in os.environ and "LOCAL_RANK" not in os.environ:
        return 1
    if said.get("WORLD_SIZE", 1) > 1:
        lacking = [name for name in _PLACES if name not in os.environ]
        require(
            not lacking,
            "a process must know which of the launcher's it is",
            f"WORLD_SIZE={said['WORLD_SIZE']} without {' and '.join(lacking)}",
            "Start with torchrun or accelerate launch, or unset WORLD_SIZE.",
        )
    try:
        state = _state()
        seen, place = int(state.num_processes), int(state.process_index)
    except TriviumError:
        raise
    except Exception as error:  # whatever the backend makes of a half environment
        raise InputError(
            "the processes that a launcher starts must find each other",
            said_by(error),
            "Start with torchrun or accelerate launch, or without their variables in the environment.",
        ) from error
    told = ", ".join(f"{name}={size}" for name, size in said.items()) or "no WORLD_SIZE"
    agree = all(size == seen for size in said.values()) and _number("RANK", 0) == place
    require(
        agree,
        "the processes that the launcher started must train together",
        f"{told}, RANK={os.environ.get('RANK', 'none')} from the launcher, where the trainer is {place} of {seen}",
        "Start with torchrun or accelerate launch, one process a GPU, or one process.",
    )
    return seen


def _state() -> Any:
    """Accelerate's own view of the processes, which its trainer shares; made once a process."""
    from accelerate import PartialState

    return PartialState(cpu=on_cpu(), timeout=_PATIENCE)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    require(text.strip().isdigit(), f"the environment's {name} must be a whole number", repr(text), "Unset it.")
    return int(text)
