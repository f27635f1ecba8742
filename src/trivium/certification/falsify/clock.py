"""A clock for all phases of a search."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEDULE = Path("/proc/thread-self/schedstat")


class TimeUp(Exception):
    """Raised instead of one more evaluation when the time of a phase is over."""


class Clock:
    """A clock that counts seconds since it was made, and ends the search after a number of them.

    Of a captured operator it is CPU time of the calling thread that counts, so that another job on the machine changes
    nothing. An opaque one may sleep, or wait for a server or a device: of it wall-clock time counts, less what the
    thread spent ready to run while other jobs had the cores (Linux tells; elsewhere that counts too).

    Attributes:
        limit: seconds after which :meth:`check` raises.
        waits: whether waiting counts.
        stopped: whether it has raised.
    """

    def __init__(self, limit: float = math.inf, waits: bool = False) -> None:
        self.limit, self.waits, self.stopped = limit, waits, False
        self._wall, self._worked, self._queued = time.monotonic(), time.thread_time(), queued()

    def seconds(self) -> float:
        """Return seconds of work so far."""
        worked = time.thread_time() - self._worked
        if not self.waits:
            return worked
        return max(worked, time.monotonic() - self._wall - (queued() - self._queued))

    @contextmanager
    def confirming(self) -> Iterator[None]:
        """No limit for the few calls that tell whether a breach is one; an opaque operator keeps its own."""
        before = self.limit
        self.limit = before if self.waits else math.inf
        try:
            yield
        finally:
            self.limit = before

    def check(self) -> None:
        """Raises TimeUp once the limit has passed."""
        if self.seconds() > self.limit:
            self.stopped = True
            raise TimeUp


def queued() -> float:
    """Return seconds for which the calling thread has waited for a core; 0 where the system does not tell.

    The second number of ``schedstat`` is the run delay in nanoseconds (Linux, Documentation/scheduler/sched-stats).
    """
    try:
        return int(_SCHEDULE.read_text(encoding="ascii").split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):
        return 0.0
