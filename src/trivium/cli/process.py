"""Run every command in a process of its own, so that whatever ends it is told in one line and with a code that means
it.

User's code, a model's or a rule's, may call ``os._exit(1)`` or crash the interpreter, and the system may kill a process
that is out of memory. None of this can be caught where it happens, and exit code 1 would say that an axiom is violated.
So the command runs in a forked child, which says its exit code through a pipe when it has one; the process that the
user started only waits, hands signals on, and tells what became of a child that said nothing.

On Linux; elsewhere a command runs in the process that was started. Cost: a fork, some milliseconds, and no memory
beyond page tables.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, NoReturn

import typer

from trivium.cli.ending import OTHER, STOPPING, StoppedCommand

#: One stop reaches a process twice where it is sent to its group: what follows within this many seconds is the same.
_SAME = 1.0
_PR_SET_PDEATHSIG = 1
_RESUME = "What a run has written stays: go on with --resume."


def in_own_process(command: Callable[[], Any]) -> NoReturn:
    """Run ``command``, which ends in ``SystemExit``, and leave with its exit code, or with one for how it was ended."""
    _raise_when_stopped()
    if sys.platform != "linux":
        command()
        raise SystemExit(OTHER)
    reading, writing = os.pipe()
    crash = _crash_file()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # until each of the two has its own handlers
    with warnings.catch_warnings():
        # Threads of numerical libraries, at rest here; they make themselves ready for a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _die_with(parent)
        _run(command, writing, crash)
    os.close(writing)
    _hand_on(child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    _, status = os.waitpid(child, 0)
    os.set_blocking(reading, False)
    said = b""
    with suppress(BlockingIOError):  # something that the child left behind still holds the other end
        said = os.read(reading, 16)
    raise SystemExit(int(said) if said else _told(os.waitstatus_to_exitcode(status), crash))


def _run(command: Callable[[], Any], writing: int, crash: IO[bytes] | None) -> NoReturn:
    """In the child: run to the end, and say the code before the interpreter goes down, which may fail too."""
    if crash is not None:
        faulthandler.enable(crash)
    own = os.getpid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    try:
        command()
    except SystemExit as done:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        if os.getpid() == own:  # not a process that user's code forked, and that came back here
            os.write(writing, str(done.code or 0).encode())
        raise
    raise SystemExit(OTHER)


def _raise_when_stopped() -> None:
    """Let a stop be an exception, so that files are closed and one line is said; ignored ones stay ignored."""
    last = -_SAME

    def stop(number: int, frame: Any) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= _SAME:
            raise StoppedCommand(number)

    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _hand_on(child: int) -> None:
    def hand_on(number: int, frame: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)


def _die_with(parent: int) -> None:
    """Let the system kill this process when the one that was started is killed: nobody would know of it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it happened already
        os.kill(os.getpid(), signal.SIGKILL)


def _crash_file() -> IO[bytes] | None:
    """Return where a crashing interpreter writes its traceback; None where there is no room for one."""
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError:
        return None


def _told(code: int, crash: IO[bytes] | None) -> int:
    """Say what ended the child, which said nothing itself, and return the exit code."""
    number = -code
    if code >= 0:
        line = f"code that Trivium called ended the process, with exit code {code}. Raise an error instead."
    elif number in STOPPING:
        line = f"stopped by {_name(number)}. {_RESUME}"
    elif number == signal.SIGKILL:
        line = f"killed, as a system out of memory does. Lower train.batch_size or data.window. {_RESUME}"
    else:
        line = f"code that Trivium called crashed the process ({_name(number)}). {_RESUME}{_kept(crash)}"
    with suppress(OSError):
        typer.echo(f"trivium: {line}", err=True)
    return 128 + number if number in STOPPING else OTHER


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kept(crash: IO[bytes] | None) -> str:
    """Keep what the interpreter wrote when it crashed, and say where."""
    if crash is None:
        return ""
    crash.seek(0)
    content = crash.read()
    if not content:
        return ""
    try:
        with tempfile.NamedTemporaryFile(prefix="trivium-", suffix=".txt", delete=False) as file:
            file.write(content)
    except OSError:
        return ""
    return f" Traceback: {file.name}"
