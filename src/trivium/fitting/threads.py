"""One thread for the many small sums of a fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors of some ten thousand numbers gain little from a second thread, lose much where another program wants its
    core, and sums that are split among threads would differ in their last digits from machine to machine. The BLAS
    under SciPy's quasi-Newton steps is held too: on two threads a step waits ten times longer than it computes."""
    import scipy.optimize  # noqa: F401 — only a BLAS that is loaded can be held
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
