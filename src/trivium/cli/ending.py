"""End a command: a number for scripts and, where something went wrong, one line for people.

====  ==================================================================================================
code  meaning
====  ==================================================================================================
0     done, nothing violated
1     done, and something is violated, or does not hold as recorded; never anything else
2     bad input: arguments, recipe, rule, data, models, launcher or locale, which the user can change
3     everything else: a model's code, memory, a full disk, a fault of Trivium's own
129   the terminal went away (SIGHUP), as shells count it
130   interrupted from the keyboard (SIGINT), likewise
141   whoever read the output went away, likewise
143   asked to stop (SIGTERM), likewise
====  ==================================================================================================

What nobody foresaw leaves its traceback in a file that the line names: in the run's folder where the command has one
(:func:`work_in`), else in the folder of temporary files.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import typer

from trivium.errors import ForeignError, RuleError, TriviumError, said_by

DONE, VIOLATED, INPUT, OTHER, UNREAD = 0, 1, 2, 3, 141

#: The signals that ask a command to stop.
STOPPING = (signal.SIGINT, signal.SIGTERM, *(() if sys.platform == "win32" else (signal.SIGHUP,)))

#: What a mistyped command line raises; its module differs between versions of typer.
UsageError: Any = typer.BadParameter.__bases__[0]

#: Those of the file system that a path given by the user explains.
_PATHS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
#: And these, which have no class of their own.
_PLACES = (errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS)
_FILE = "traceback.txt"


class StoppedCommand(KeyboardInterrupt):
    """A signal that asks to stop."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


class _Place:
    """The folder of the run that is going on, if one is."""

    folder: Path | None = None


def work_in(folder: Path) -> None:
    """Say that this command works on the run in ``folder``: a traceback goes there, which need not exist yet."""
    _Place.folder = folder


def ended(command: Callable[[], Any]) -> int:
    """Run ``command`` to its end, however that comes, and return the exit code; a failure is told on stderr.

    ``command`` ends well by returning, or by raising ``typer.Exit`` with a code of its own. Whatever else it raises,
    an interruption and a ``SystemExit`` of somebody else's code included, ends here.
    """
    _Place.folder = None
    try:
        try:
            command()
            code = DONE
        except typer.Exit as done:
            code = done.exit_code
        sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
    except BaseException as error:
        return _told(error)
    if _Place.folder is not None and code in (DONE, VIOLATED):
        _file_in(_Place.folder).unlink(missing_ok=True)  # of an attempt before this one
    return code


def _told(error: BaseException) -> int:
    """Say what happened in one line, and return the exit code."""
    if _unread(error):
        # What is left in the buffer would fail once more while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    code, line, keep = _explained(error)
    if keep:
        line = f"{line} {_kept(error)}"
    with suppress(OSError):  # nobody may be there to be told
        typer.echo("trivium: " + " ".join(line.split()), err=True)
    return code


def _explained(error: BaseException) -> tuple[int, str, bool]:
    """Exit code, line, and whether the traceback is worth keeping."""
    if isinstance(error, KeyboardInterrupt):
        number, folder = error.number if isinstance(error, StoppedCommand) else signal.SIGINT, _Place.folder
        begun = f"; {folder} keeps what was done. Go on with --resume." if folder and folder.is_dir() else "."
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        return 128 + number, f"stopped{by}{begun}", False
    if isinstance(error, UsageError):
        command = error.ctx.command_path if error.ctx else "trivium"
        return INPUT, f"{error.format_message().rstrip('.')}. See `{command} --help`.", False
    if isinstance(error, ForeignError):
        return OTHER, str(error), True
    if isinstance(error, TriviumError):
        # Of a rule's own code the user wants to see where it failed.
        return INPUT, str(error), isinstance(error, RuleError) and error.__cause__ is not None
    placed = isinstance(error, _PATHS) or (isinstance(error, OSError) and error.errno in _PLACES)
    if isinstance(error, OSError) and placed and error.filename is not None:
        return INPUT, f"{error.filename}: {error.strerror}.", False
    if isinstance(error, UnicodeEncodeError) and _by_locale(error):
        where = f"{sys.getfilesystemencoding()}, the encoding of this locale"
        return INPUT, f"{error.object!r} cannot be written in {where}. Set LC_ALL=C.UTF-8 or PYTHONUTF8=1.", True
    if isinstance(error, SystemExit):
        return OTHER, f"code that Trivium called ended the program, with exit code {error.code!r}.", True
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return OTHER, f"{place}{error.strerror or said_by(error)}.", True
    return OTHER, str(ForeignError("a command must run to its end", said_by(error), _advice(error))), True


def _advice(error: BaseException) -> str:
    return ForeignError.advice(error) or "Trivium did not foresee this."


def _unread(error: BaseException | None) -> bool:
    """Return whether this, or what it was raised about, is our output's pipe, which nobody reads any more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            return _closed(sys.stdout)
        if not isinstance(error, OSError | SystemExit | typer.Exit):  # libraries turn a broken pipe into one of these
            return False
        error = error.__context__
    return False


def _closed(stream: IO[str]) -> bool:
    """Return whether the other end of our own output is closed, and not that of some pipe of another library's."""
    if sys.platform == "win32":
        return True
    try:
        asked = select.poll()
        asked.register(stream.fileno(), select.POLLERR)
        return any(event & select.POLLERR for _, event in asked.poll(0))
    except OSError:  # no file at all
        return False


def _by_locale(error: UnicodeEncodeError) -> bool:
    """Return whether a locale that is not UTF-8 explains it: its paths hold ASCII alone, or bytes that it could not
    read."""
    return sys.getfilesystemencoding() != "utf-8" or any("\udc80" <= sign <= "\udcff" for sign in error.object)


def _file_in(folder: Path) -> Path:
    """Processes that train together write one file each."""
    rank = os.environ.get("RANK", "0")
    return folder / (_FILE if rank == "0" else f"traceback-{rank}.txt")


def _kept(error: BaseException) -> str:
    """Write the traceback where it can be written, and say where that was."""
    from trivium import __version__

    lines = traceback.format_exception(error)
    text = f"{' '.join(sys.argv)}\ntrivium {__version__}, Python {sys.version}\n\n{''.join(lines)}"
    content = text.encode("utf-8", "backslashreplace")
    try:
        if _Place.folder is not None:
            _Place.folder.mkdir(parents=True, exist_ok=True)
            path = _file_in(_Place.folder)
            path.write_bytes(content)
            return f"Traceback: {path}"
    except OSError:
        pass
    try:
        with tempfile.NamedTemporaryFile(prefix="trivium-", suffix=".txt", delete=False) as file:
            file.write(content)
        return f"Traceback: {file.name}"
    except OSError as also:
        return f"Its traceback could not be written: {also.strerror}."
