"""Which of the processes that ``torchrun`` or ``accelerate launch`` started this one is, and waiting for the others.

One process owns a run's folder; the others only train. Started plainly, a process is the owner and never waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def is_main() -> bool:
    """Whether this process writes the run's record."""
    return os.environ.get("RANK", "0") == "0"


def wait() -> None:
    """Wait until every process is here."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the block, then the others, which find on disk what it left."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def own_device() -> torch.device:
    """The GPU of this process where there are some."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
