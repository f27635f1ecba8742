"""Whatever goes wrong, a command ends with an exit code that means something and one line: never with a traceback.

What this catches that no other test does: an exception that escapes a command, which Python would report as exit code
1, and 1 means "done, and an axiom is violated".
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from tiers import first
from trivium.cli import app, console, ending
from trivium.errors import (
    AxiomViolation,
    ForeignError,
    InfeasibleError,
    InputError,
    RuleError,
    TeacherError,
    TriviumError,
    VocabularyError,
    calling,
)

TRIVIUM = Path(sys.executable).parent / "trivium"

#: By command: arguments of a call that is refused, and words of its one line. ``HERE`` is a folder with odd files.
REFUSED: list[tuple[str, ...]] = [
    ("No such option: --bogus", "--bogus"),
    ("No such command 'certfy'", "certfy"),
    *[(f"trivium {c} --help", c, "--bogus") for c in ("certify", "distill", "demo", "fit", "rules", "theory")],
    *[(f"trivium {c} --help", c, "--bogus") for c in ("verify", "replay", "recipe")],
    *[("Missing argument", c) for c in ("certify", "distill", "fit", "verify", "replay")],
    *[("a recipe must exist", c, "nowhere.yaml") for c in ("distill", "fit", "certify")],
    *[("a recipe must exist", c, ".") for c in ("distill", "fit")],
    *[("must be YAML", c, "broken.yaml") for c in ("distill", "fit", "certify")],
    *[("must be YAML", c, "bytes.yaml") for c in ("distill", "fit", "certify")],
    *[("must map keys to values", c, "list.yaml") for c in ("distill", "fit", "certify")],
    *[("missing key", c, "half.yaml") for c in ("distill", "fit", "certify")],
    ("a target is FILE.py:NAME", "certify", "entorpy"),
    ("a rule in a file must be named", "certify", "rules.py"),
    ("a rule's file must exist", "certify", "nowhere.py:rule"),
    ("must run: broken.py", "certify", "broken.py:rule"),
    ("must run: leaves.py", "certify", "leaves.py:rule"),
    ("must define the rule asked for", "certify", "rules.py:nothing"),
    ("the number of teachers must be given", "certify", "entropy"),
    ("at least one", "certify", "entropy", "--teachers", "0"),
    ("--teachers", "certify", "entropy", "--teachers", "many"),
    ("leave no weight vector", "certify", "entropy", "--teachers", "3", "--floor", "0.5"),
    ("nan", "certify", "entropy", "--teachers", "3", "--floor", "nan"),
    ("seconds", "certify", "entropy", "--teachers", "3", "--seconds", "nan"),
    ("seconds", "certify", "entropy", "--teachers", "3", "--seconds", "inf"),
    ("a --param is NAME=VALUE", "certify", "entropy", "--teachers", "3", "--param", "strength"),
    ("valid number", "certify", "entropy", "--teachers", "3", "--param", "strength=a"),
    ("a safety order", "certify", "entropy", "--teachers", "3", "--order", "a>"),
    ("must evaluate", "certify", "rules.py:raises", "--teachers", "3", "--seconds", "0"),
    ("broken.yaml", "certify", "entropy", "--teachers", "3", "--run", "broken.yaml", "--seconds", "0"),
    ("Is a directory", "certify", "entropy", "--teachers", "2", "--seconds", "0", "--json", "."),
    *[("nowhere.json", c, "nowhere.json") for c in ("verify", "replay")],
    *[("list.yaml", c, "list.yaml") for c in ("verify", "replay")],
    *[("", c, "bytes.yaml") for c in ("verify", "replay")],
    *[("", c, ".") for c in ("verify", "replay")],
    *[("a certificate must be a file", c, "pipe.json") for c in ("verify", "replay")],
    *[("a recipe must exist", c, "pipe.json") for c in ("distill", "fit")],
    *[("'a' is there twice", c, "twice.json") for c in ("verify", "replay")],
    *[("File name too long", c, "n" * 300 + ".yaml") for c in ("distill", "fit", "certify")],
    *[("list.yaml is no folder", c, "whole.yaml", "--out", "list.yaml") for c in ("distill", "fit")],
    *[("list.yaml is no folder", c, "whole.yaml", "--out", "list.yaml/below") for c in ("distill", "fit")],
    *[("hanging is no folder", c, "whole.yaml", "--out", "hanging") for c in ("distill", "fit")],
    ("list.yaml is no folder", "demo", "--out", "list.yaml"),
    *[("File name too long", c, "whole.yaml", "--out", "n" * 300) for c in ("distill", "fit")],
    *[("--seed", "distill", "whole.yaml", "--seed", seed) for seed in ("-1", str(2**32))],
    ("seed of certify", "certify", "entropy", "--teachers", "3", "--seed", "9" * 30),
    ("at most 4096", "certify", "entropy", "--teachers", "1" + "0" * 9),
    ("a rule or pool must be in the catalogue", "rules", "nothing"),
    ("nowhere/rows.json", "rules", "--json", "nowhere/rows.json"),
    ("", "theory", "T99"),
    ("--steps", "demo", "--steps", "0"),
    ("--steps", "demo", "--steps", "x"),
    ("a demo must not overwrite another", "demo", "--out", "finished"),
    ("--penalty", "fit", "half.yaml", "--penalty", "-1"),
]  # fmt: skip

FILES: dict[str, bytes] = {
    "broken.yaml": b"teachers: [unclosed",
    "bytes.yaml": b"name: \xff\xfe",
    "list.yaml": b"- a list\n",
    "half.yaml": b"name: half\n",
    "whole.yaml": b"{student: {model: s}, teachers: [{name: a, model: m}], "
    b"data: {domains: [{name: d, train: t.txt, validation: v.txt}]}}\n",
    "twice.json": b'{"a": 1, "a": 2}',
    "broken.py": b"1 / 0\n",
    "leaves.py": b"import sys\nsys.exit(0)\n",
    "rules.py": b"""
import trivium as tv

@tv.rule(scale="token", features=["entropy"])
def raises(entropy):
    raise KeyError("mine")
""",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished" / "comparison.json").write_text("{}", encoding="utf-8")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "hanging").symlink_to(tmp_path / "nowhere" / "at all")
    return tmp_path


def trivium(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def one_line(result: Result) -> str:
    assert "Traceback (most" not in result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("trivium: ")
    return lines[0]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: " ".join(case[1:]))
def test_bad_input_is_two_and_one_line(here: Path, case: tuple[str, ...]) -> None:
    said, *arguments = case
    result = trivium(*arguments)
    assert said in one_line(result)
    assert result.exit_code == 2


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException | Callable[[], Any]) -> None:
    """``trivium recipe`` raises this."""

    def raises() -> str:
        if isinstance(error, BaseException):
            raise error
        return str(error())

    monkeypatch.setattr("trivium.training.template.template", raises)


def told(kind: type[TriviumError]) -> TriviumError:
    return kind("it must be so", "something else", "Mend it.")


def caused() -> None:
    raise RuleError("a rule must evaluate", "KeyError") from KeyError("mine")


def model() -> None:
    with calling("teacher 'a' must read a batch"):
        {}["input_ids"]


def ends() -> None:
    with calling("teacher 'a' must read a batch"):
        sys.exit(0)


@pytest.mark.parametrize(
    ("error", "code", "said", "kept"),
    [
        *[(told(k), 2, "it must be so; received something else. Mend it.", False) for k in (InputError, RuleError)],
        *[(told(k), 2, "something else", False) for k in (TeacherError, AxiomViolation, InfeasibleError)],
        *[(told(k), 2, "something else", False) for k in (VocabularyError, TriviumError)],
        (told(ForeignError), 3, "something else", True),
        (caused, 2, "a rule must evaluate; received KeyError.", True),
        (model, 3, "teacher 'a' must read a batch; received KeyError: 'input_ids'.", True),
        (ends, 3, "teacher 'a' must read a batch; received SystemExit: 0.", True),
        (ValueError("two\nlines"), 3, "received ValueError: two. Trivium did not foresee this.", True),
        (KeyError(), 3, "received KeyError.", True),
        (RecursionError("too deep"), 3, "RecursionError: too deep", True),
        (AssertionError(), 3, "AssertionError", True),
        (MemoryError(), 3, "MemoryError. Lower train.batch_size or data.window", True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), 3, "Lower train.batch_size", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 3, "Lower train.batch_size", True),
        (SystemExit(0), 3, "ended the program, with exit code 0", True),
        (SystemExit(1), 3, "ended the program, with exit code 1", True),
        (SystemExit(), 3, "ended the program", True),
        (GeneratorExit(), 3, "GeneratorExit", True),
        (KeyboardInterrupt(), 130, "stopped.", False),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.json"), 2, "x.json: No such file", False),
        (PermissionError(errno.EACCES, "Permission denied", "x.json"), 2, "x.json: Permission denied.", False),
        (OSError(errno.ENOSPC, "No space left on device", "x.json"), 3, "x.json: No space left on device.", True),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "No space left on device.", True),
        (OSError("without a number"), 3, "without a number", True),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 3, "Broken pipe.", True),  # another pipe than the output's
        (ImportError("No module named 'x'"), 3, "No module named 'x'", True),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "no"), 3, "UnicodeEncodeError", True),
        (UnicodeEncodeError("utf-8", "\udcc3", 0, 1, "no"), 2, "Set LC_ALL=C.UTF-8 or PYTHONUTF8=1.", True),
    ],
    ids=lambda value: getattr(value, "__name__", "") or (repr(value)[:40] if isinstance(value, BaseException) else ""),
)  # fmt: skip
def test_what_a_command_raises(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: Any, code: int, said: str, kept: bool
) -> None:
    failing(monkeypatch, error)
    result = trivium("recipe")
    line = one_line(result)
    assert said in line
    assert result.exit_code == code
    files = list((here / "temporary").iterdir())
    assert len(files) == kept
    if kept:
        assert line.endswith(f"Traceback: {files[0]}")
        content = files[0].read_text(encoding="utf-8")
        assert "in raises" in content
        assert sys.version.split()[0] in content


def test_a_traceback_goes_into_the_runs_folder_and_leaves_with_the_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = here / "run" / "traceback.txt"

    def inside() -> str:
        ending.work_in(here / "run")
        raise ValueError("ünï")

    failing(monkeypatch, inside)
    assert one_line(trivium("recipe")).endswith(f"Traceback: {kept}")
    assert "ValueError: ünï" in kept.read_text(encoding="utf-8")
    assert trivium("recipe").exit_code == 3, "a second failure writes it anew"

    def refused() -> str:
        ending.work_in(here / "run")
        raise told(InputError)

    failing(monkeypatch, refused)
    assert trivium("recipe").exit_code == 2
    assert kept.exists(), "what was only refused has mended nothing"

    def well() -> str:
        ending.work_in(here / "run")
        return "done"

    failing(monkeypatch, well)
    assert trivium("recipe").exit_code == 0
    assert not kept.exists()


def test_another_process_of_a_run_has_a_file_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside() -> str:
        ending.work_in(here)
        raise ValueError

    failing(monkeypatch, inside)
    monkeypatch.setenv("RANK", "1")
    assert one_line(trivium("recipe")).endswith("traceback-1.txt")


def test_a_traceback_that_cannot_be_written_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is a file, and no folder for temporary files."""

    def inside() -> str:
        ending.work_in(here / "half.yaml")
        raise ValueError("mine")

    failing(monkeypatch, inside)
    monkeypatch.setattr("tempfile.tempdir", str(here / "nowhere"))
    result = trivium("recipe")
    assert result.exit_code == 3
    assert "ValueError: mine" in one_line(result)
    assert "Its traceback could not be written: No such file" in result.stderr


def test_an_interrupted_run_says_how_to_go_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside() -> str:
        ending.work_in(here)
        raise KeyboardInterrupt

    failing(monkeypatch, inside)
    result = trivium("recipe")
    assert (result.exit_code, one_line(result)) == (
        130,
        f"trivium: stopped; {here} keeps what was done. Go on with --resume.",
    )


def test_nothing_asked_shows_the_help(here: Path) -> None:
    result = trivium()
    assert result.exit_code == 2
    assert "Commands:" in result.output


def process(*arguments: str, stdout: Any = subprocess.PIPE, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(TRIVIUM), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        preexec_fn=heeding,
    )


def heeding() -> None:
    """What a shell runs in the background ignores the keyboard's signal, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.deep
@pytest.mark.parametrize("command", first([["rules"], ["recipe"]]))
def test_a_reader_that_goes_away_is_no_violation(command: list[str]) -> None:
    """``trivium recipe | head -1``: nobody's fault, and not exit code 1, which Rich would make of it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = process(*command, stdout=writing)
    os.close(writing)
    _, errors = done.communicate(timeout=120)
    assert (done.returncode, errors) == (141, b"")


@pytest.mark.deep
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_does_not_fit_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        done = process("recipe", stdout=full)
        _, errors = done.communicate(timeout=120)
    assert done.returncode == 3
    assert errors.startswith(b"trivium: No space left on device.")
    assert errors.count(b"\n") == 1


@pytest.mark.deep
@pytest.mark.parametrize(
    "arguments",
    first([(("rules",),), (("rules", "torchjd"),), (("certify", "skill", "--teachers", "2", "--seconds", "0"),)]),
)
def test_every_sign_reaches_a_terminal_that_knows_ascii_alone(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = process(*arguments, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    output, errors = done.communicate(timeout=240)
    assert (done.returncode, errors) == (0, b"")
    text = output.decode("ascii")
    assert "\\u" not in text, "a sign of Trivium's own has no ASCII form"


def test_every_sign_in_what_trivium_says_has_an_ascii_form() -> None:
    """All that stands in the code but accented letters, which are names, and what a tokenizer is made of."""
    package = Path(console.__file__).parents[1]
    found = {sign for path in package.rglob("*.py") for sign in path.read_text(encoding="utf-8") if not sign.isascii()}
    lacking = {sign for sign in found if "\\" in console._form(sign) and not unicodedata.decomposition(sign)}
    assert lacking <= set("■●○✕␀␍\ufffdŁ"), "signs of the report, of the built-in text and of a name alone"


@pytest.mark.deep
def test_a_recipe_is_utf_8_everywhere(tmp_path: Path) -> None:
    """It is a file, though it is printed: what ``trivium recipe > FILE`` writes is what the other commands read."""
    plain, ascii_alone = process("recipe"), process("recipe", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert plain.communicate(timeout=120) == ascii_alone.communicate(timeout=120)


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_from_the_keyboard_is_130_and_one_line(tmp_path: Path) -> None:
    done = process("certify", "entropy", "--teachers", "3", "--seconds", "600", stdout=subprocess.PIPE)
    ticks, children = os.sysconf("SC_CLK_TCK"), Path(f"/proc/{done.pid}/task/{done.pid}/children")
    while not (child := children.read_text(encoding="utf-8").strip()):
        time.sleep(0.05)  # the one that works, while the one that was started waits
    while int(Path(f"/proc/{child}/stat").read_text(encoding="utf-8").split()[13]) < 6 * ticks:
        assert done.poll() is None, "it must still be at work"
        time.sleep(0.2)  # imports take some three seconds of the processor; the search, then, goes on for minutes
    done.send_signal(signal.SIGINT)
    _, errors = done.communicate(timeout=120)
    assert (done.returncode, errors) == (130, b"trivium: stopped.\n")
