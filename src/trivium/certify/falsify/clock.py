"""How long a search has worked, however busy the machine is."""

from __future__ import annotations

import time

#: A thread that got less than this part of the time was waiting, and not merely sharing its core with others.
_WAITING = 1 / 4


class Clock:
    """Seconds since it was made: CPU time of the calling thread, which another job on the machine does not lengthen.

    A rule that sleeps, or waits for a server or a device, uses almost none. Where CPU time is less than a quarter of
    wall-clock time it is therefore the latter that counts: a search must end. Between the two lies a machine with up to
    four jobs a core.
    """

    def __init__(self) -> None:
        self._wall, self._worked = time.monotonic(), time.thread_time()

    def seconds(self) -> float:
        """Seconds of work so far."""
        wall, worked = time.monotonic() - self._wall, time.thread_time() - self._worked
        return worked if worked > _WAITING * wall else wall
