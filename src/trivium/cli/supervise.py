"""A user's code in a process of its own, watched: what it does to its process happens to no command.

A rule may call ``sys.exit`` or ``os._exit``, crash the interpreter, or never return, while its file is loaded, while it
is captured or while it is searched. The command line therefore runs such work in a child (:func:`supervised`). A child
that ends without an answer, or gives none in time, is one line and exit code 2.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trivium import errors
from trivium.errors import RuleError, TriviumError
from trivium.jsontext import write_json

#: A child is ended after this many times the seconds of the search, which it keeps within two or three, and …
MULTIPLE: Final = 20.0
#: … this much more, for the file to load and its rules to be captured. Its start is not counted.
GRACE = 60.0
#: Interpreter and libraries, on the slowest disk.
START = 300.0

_PAUSE = 0.02
_KINDS = {
    kind.__name__: kind
    for kind in (
        errors.InputError,
        errors.InfeasibleError,
        errors.VocabularyError,
        errors.RuleError,
        errors.TeacherError,
        errors.AxiomViolation,
    )
}


class InChild(Exception):
    """What happened in the child: its traceback, as text."""


def supervised(work: str, arguments: Mapping[str, Any], what: str, seconds: float) -> Any:
    """Call a function of :mod:`trivium.cli.work` in a child process and give back what it returns.

    Args:
        work: the name of the function in :data:`trivium.cli.work.WORK`.
        arguments: its keyword arguments, plain JSON values.
        what: whose code it runs, to be named if that ends the process.
        seconds: of the search, from which the time limit follows.

    Raises:
        TriviumError, OSError: what the function raised.
        RuleError: the child ended without an answer, or gave none in time.
        RuntimeError: anything else that the function raised.
    """
    with tempfile.TemporaryDirectory(prefix="trivium-") as made:
        folder = Path(made)
        write_json(folder / "request.json", {"work": work, "arguments": dict(arguments)})
        with _child(folder) as process:
            _wait(process, folder, what, MULTIPLE * seconds + GRACE)
        return _answer(json.loads((folder / "outcome.json").read_text(encoding="utf-8")))


@contextlib.contextmanager
def _child(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    code = "from trivium.cli.supervise import child; child()"
    # -P: what lies in the current folder is no module of ours. The pipe tells the child when this process is gone.
    command = [sys.executable, "-P", "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], folder: Path, what: str, limit: float) -> None:
    """Until there is an answer; raises RuleError where there will be none."""
    begun, started = time.monotonic(), None
    while not (folder / "outcome.json").is_file():
        code = process.poll()
        if code is not None and not (folder / "outcome.json").is_file():
            must = f"{what} must run to its end"
            raise RuleError(must, f"it ended the process ({_said(code)})", "Raise an error instead.")
        if started is None and (folder / "started").is_file():
            started = time.monotonic()
        passed = time.monotonic() - (begun if started is None else started)
        if passed > (START if started is None else limit):
            must = f"{what} must load, be captured and be searched within {limit:g} s"
            fix = f"It was stopped: {MULTIPLE:g} × --seconds and {GRACE:g} s more are the limit."
            raise RuleError(must, "no answer", fix)
        time.sleep(_PAUSE)


def _said(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _answer(outcome: Mapping[str, Any]) -> Any:
    if "done" in outcome:
        return outcome["done"]
    cause = InChild(outcome["traceback"]) if outcome.get("traceback") else None
    if "error" in outcome:
        kind, invariant, received, fix = outcome["error"]
        raise _KINDS.get(kind, TriviumError)(invariant, received, fix) from cause
    if "os" in outcome:
        raise OSError(*outcome["os"]) from cause
    raise RuntimeError(outcome["said"]) from cause


def child() -> None:
    """Run the child process: its request, read from the folder that it is given."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_with_parent, daemon=True).start()
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    from trivium.cli.work import WORK  # the libraries, before the clock starts

    (folder / "started").touch()
    outcome = _outcome(lambda: WORK[request["work"]](**request["arguments"]))
    write_json(folder / "outcome.json", outcome)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # a thread that a rule left behind is not waited for


def _outcome(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"done": work()}
    except KeyboardInterrupt:
        os._exit(130)
    except TriviumError as error:
        received = None if error.received is None else str(error.received)
        told = [type(error).__name__, error.invariant, received, error.fix]
        return {"error": told, "traceback": traceback.format_exc() if error.__cause__ is not None else ""}
    except OSError as error:
        if error.errno is not None:
            return {"os": [error.errno, error.strerror, error.filename], "traceback": traceback.format_exc()}
        return {"said": f"OSError: {error}", "traceback": traceback.format_exc()}
    except SystemExit as error:
        told = ["RuleError", "a rule must not end the process", f"exit with {error.code!r}", "Raise an error instead."]
        return {"error": told, "traceback": traceback.format_exc()}
    except BaseException as error:
        return {"said": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def _with_parent() -> None:
    """Ends this process when the one that waits for it is gone, however that came."""
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    os._exit(1)
