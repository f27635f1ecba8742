"""What runs share on disk: exact to the stated error, complete or absent, and never a crash for want of room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trivium.errors import InputError, TeacherError
from trivium.store import draft
from trivium.store.codec import ERROR, encoded, narrowest, relative
from trivium.store.files import Request, replace_text, stored
from trivium.store.identity import Identity
from trivium.store.kept import Kept
from trivium.teachers.cache import cached_logits

IDENTITY = Identity({"what": "a test"})


def request(logits: Tensor, calls: list[int] | None = None, **options: object) -> Request:
    def compute(start: int, stop: int) -> Tensor:
        if calls is not None:
            calls.extend(range(start, stop))
        return relative(logits[start:stop])

    return Request(IDENTITY, tuple(logits.shape), compute, "what teacher 'a' says", batch=2, **options)  # type: ignore[arg-type]


def drawn(rows: int, scale: float, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(rows, 3, 40, generator=torch.Generator().manual_seed(seed)) * scale + shift


def worst(found: Kept, logits: Tensor) -> float:
    """The largest error of log p in nats; where |log p| passes 2¹⁸ float32 has no finer numbers, and it is in those."""
    exact = logits.double().log_softmax(-1)
    finite = exact.isfinite()
    back = torch.from_numpy(found[:]).double().log_softmax(-1)
    assert bool((back[~finite] == exact[~finite]).all())
    allowed = (exact.abs() * 2.0**-23 / ERROR).clamp_min(1.0)
    return float(((back - exact).abs() / allowed)[finite].max())


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 0.1, 1.0, 5.0, 10.0, 30.0, 1e2, 1e3, 1e4, 1e5, 1e6])
def test_the_stated_error_holds_at_every_scale(scale: float, tmp_path: Path) -> None:
    logits = drawn(5, scale)
    found = stored(tmp_path, request(logits))
    assert worst(found, logits) <= ERROR
    assert (found[:].argmax(-1) == logits.numpy().argmax(-1)).all()
    assert found.dtype == np.dtype("float16" if scale <= 5 else "float32")


@pytest.mark.parametrize("shift", [3000.0, 70000.0, -70000.0, 1e6, -1e6])
def test_a_constant_in_the_logits_changes_nothing(shift: float, tmp_path: Path) -> None:
    """Raw logits in float16 were off by 2.1 nats at 3,000, flipped above 65,504 and were −∞ below −65,504."""
    logits = drawn(4, 3.0, shift=shift)
    found = stored(tmp_path, request(logits))
    assert worst(found, logits) <= ERROR
    assert (found[:].argmax(-1) == logits.numpy().argmax(-1)).all()


def test_half_of_the_error_is_attained_and_one_step_further_widens() -> None:
    """Just above −64 the numbers of float16 are 1/32 apart, so half of that is lost between two of them. The
    other half of the stated error is for the mean over the distribution."""
    inside = torch.tensor([-63.984375])
    assert narrowest(inside) == np.float16
    assert abs(float(encoded(inside, np.dtype("float16"))[0]) - float(inside[0])) == 1 / 64 == ERROR / 2
    assert narrowest(torch.tensor([-64.0])) == np.float32


@given(st.floats(-63.9375, 0.0, width=32))
def test_what_is_kept_in_float16_comes_back_within_the_error(value: float) -> None:
    assert abs(float(encoded(torch.tensor([value]), np.dtype("float16"))[0]) - value) <= ERROR / 2


def test_classes_without_mass_stay_without() -> None:
    logits = torch.tensor([[0.0, -torch.inf, -3.0]])
    assert narrowest(relative(logits)) == np.float16
    assert encoded(relative(logits), np.dtype("float16"))[0, 1] == -np.inf


def test_a_late_row_that_needs_it_widens_the_whole_file(tmp_path: Path) -> None:
    logits = drawn(7, 2.0)
    logits[6] *= 1000
    calls: list[int] = []
    found = stored(tmp_path, request(logits, calls))
    assert found.dtype == np.float32
    assert calls == list(range(7))
    assert worst(found, logits) <= ERROR


def test_it_is_computed_once_and_says_what_it_depends_on(tmp_path: Path) -> None:
    calls: list[int] = []
    first = stored(tmp_path, request(drawn(5, 1.0), calls))
    second = stored(tmp_path, request(drawn(5, 1.0), calls))
    assert calls == [0, 1, 2, 3, 4]
    assert (first[:] == second[:]).all()
    assert json.loads((tmp_path / f"{IDENTITY.digest()}.json").read_text(encoding="utf-8")) == IDENTITY.parts
    assert not list(tmp_path.glob("*partial*"))


def test_a_file_that_was_cut_short_is_not_trusted(tmp_path: Path) -> None:
    logits, calls = drawn(5, 1.0), list[int]()
    stored(tmp_path, request(logits))
    path = tmp_path / f"{IDENTITY.digest()}.npy"
    path.write_bytes(path.read_bytes()[:-100])
    assert worst(stored(tmp_path, request(logits, calls)), logits) <= ERROR
    assert calls == list(range(5))


@pytest.mark.parametrize("row", [0, 3])
def test_an_altered_bit_is_found_when_its_row_is_read(row: int, tmp_path: Path) -> None:
    """A file of the same length whose numbers are others was read as what a teacher says."""
    logits = drawn(5, 1.0)
    found = stored(tmp_path, request(logits))
    path = tmp_path / f"{IDENTITY.digest()}.npy"
    with path.open("r+b") as file:
        file.seek(128 + row * 3 * 40 * 2 + 17)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 8]))
    for kept in (found, stored(tmp_path, request(logits))):
        others = [number for number in range(5) if number != row]
        assert kept[np.array(others)].shape == (4, 3, 40), "rows that are as they were are still read"
        line = rf"what teacher 'a' says must be as it was written; received row {row} of .*, altered since. Remove "
        with pytest.raises(InputError, match=line):
            kept[np.array([4 - row // 3, row])]
        with pytest.raises(InputError, match=line):
            kept[row]


def test_a_row_that_was_altered_before_the_file_was_complete_is_found_too(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    logits = drawn(9, 1.0)
    wide = torch.cat([logits[:6], logits[6:] * 100])  # the rows so far are taken over into a file of wider numbers
    for folder, rows in (("narrow", logits), ("wide", wide)):
        with pytest.raises(KeyboardInterrupt):
            stored(tmp_path / folder, request(rows, progress=stop))
        [path] = (tmp_path / folder).glob("*.partial.npy")
        content = bytearray(path.read_bytes())
        content[128 + 2 * 3 * 40 * 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"received row 2 of .*, altered since"):
            stored(tmp_path / folder, request(rows))[:]


def test_a_file_without_checksums_is_made_anew_with_the_reason(tmp_path: Path) -> None:
    """As those that were written before there were any."""
    logits, told, calls = drawn(5, 1.0), list[str](), list[int]()
    stored(tmp_path, request(logits))
    path = tmp_path / f"{IDENTITY.digest()}.npy"
    for content, why in [
        (path.read_bytes()[: -5 * 4], "has no checksums"),
        (b"other" + path.read_bytes()[5:], "cannot be read"),
    ]:
        path.write_bytes(content)
        assert worst(stored(tmp_path, request(logits, calls, anew=told.append)), logits) <= ERROR
        assert told.pop() == why
        assert path.stat().st_size == 128 + 5 * 3 * 40 * 2 + 5 * 4
    assert calls == [*range(5)] * 2
    stored(tmp_path, request(logits, calls, anew=told.append))
    assert (told, len(calls)) == ([], 10)


@pytest.mark.parametrize("wide", [False, True])
def test_an_interrupted_file_is_gone_on_with(wide: bool, tmp_path: Path) -> None:
    logits, calls = drawn(9, 100.0 if wide else 1.0), list[int]()
    whole = stored(tmp_path / "whole", request(logits))

    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path / "cut", request(logits, calls, progress=stop))
    assert not (tmp_path / "cut" / f"{IDENTITY.digest()}.npy").exists()
    found = stored(tmp_path / "cut", request(logits, calls))
    assert calls == list(range(9))
    assert (found[:] == whole[:]).all()


def test_a_teacher_that_fails_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    def compute(start: int, stop: int) -> Tensor:
        if start >= 2:
            raise TeacherError("teacher 'a' must give finite logits")
        return relative(drawn(2, 1.0))

    with pytest.raises(TeacherError):
        stored(tmp_path, Request(IDENTITY, (4, 3, 40), compute, "what teacher 'a' says", batch=2))
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_what_a_teacher_cannot_open_is_not_called_a_full_disk(tmp_path: Path) -> None:
    def compute(start: int, stop: int) -> Tensor:
        raise FileNotFoundError(2, "No such file", "weights.bin")

    with pytest.raises(FileNotFoundError, match=r"weights\.bin"):
        stored(tmp_path, Request(IDENTITY, (4, 3, 40), compute, "what teacher 'a' says"))


def test_a_limit_counts_what_widening_takes(tmp_path: Path) -> None:
    size = 5 * 3 * 40 * 2
    stored(tmp_path / "narrow", request(drawn(5, 1.0), limit=size))
    with pytest.raises(InputError, match=r"must fit cache\.limit_gb; received .* in float32"):
        stored(tmp_path / "wide", request(drawn(5, 100.0), limit=size))


WITH_LITTLE_ROOM = """
    import resource, sys
    from pathlib import Path
    import torch
    from trivium.errors import InputError
    from trivium.store import draft
    from trivium.store.codec import relative
    from trivium.store.files import Request, stored
    from trivium.store.identity import Identity

    folder, reserve, limit = Path(sys.argv[1]), sys.argv[2] == "reserve", int(sys.argv[3])
    if not reserve:
        draft._reserve = lambda descriptor, size: None
    calls = []

    def request(name, rows):
        def compute(start, stop):
            calls.append(stop)
            return relative(torch.randn(stop - start, 8, 64, generator=torch.Generator().manual_seed(start)))
        return Request(Identity({"name": name}), (rows, 8, 64), compute, f"what {name} says", batch=4)

    stored(folder, request("small", 4))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    calls.clear()
    try:
        stored(folder, request("large", 64))
        print("whole", calls)
    except InputError as error:
        print(error, calls)
"""


def with_little_room(folder: Path, how: str, limit: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITH_LITTLE_ROOM), str(folder), how, str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr  # a signal (Bus error) is a negative code
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="room is set aside on Linux")
def test_a_full_disk_is_one_line_before_anything_is_computed(tmp_path: Path) -> None:
    said = with_little_room(tmp_path, "reserve", 40_000)
    assert said.startswith("what large says must have room in ")
    assert "File too large with " in said
    assert said.endswith("uses what is written. []\n")
    small = tmp_path / f"{Identity({'name': 'small'}).digest()}.npy"
    assert np.load(small, mmap_mode="r").shape == (4, 8, 64)  # what was complete is usable
    assert not list(tmp_path.glob("*.partial*"))  # and the disk is not left full


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are those of Unix")
def test_a_disk_that_fills_while_writing_keeps_the_rows_that_fit(tmp_path: Path) -> None:
    said = with_little_room(tmp_path, "write", 40_000)
    assert "what large says must have room in " in said
    assert "[4, 8, 12, 16, 20, 24, 28, 32, 36, 40]" in said  # 40,000 bytes hold 38 rows of 1,024
    assert with_little_room(tmp_path, "write", 400_000) == "whole [40, 44, 48, 52, 56, 60, 64]\n"


SLOW = """
    import sys, time
    from pathlib import Path
    import torch
    from trivium.store import draft
    from trivium.store.codec import relative
    from trivium.store.files import Request, stored
    from trivium.store.identity import Identity

    draft._BETWEEN_MARKS = 0.0
    folder, log = Path(sys.argv[1]), Path(sys.argv[2])

    def compute(start, stop):
        time.sleep(0.05)
        with log.open("a", encoding="ascii") as file:
            file.write(f"{start} ")
        return relative(torch.arange(start + 1.0, stop + 1).view(-1, 1, 1).expand(-1, 3, 5) * torch.arange(5))

    wait = lambda: print("waiting", flush=True)
    request = Request(Identity({"what": "shared"}), (24, 3, 5), compute, "it", batch=1, waiting=wait)
    print(sys.argv[3], float(stored(folder, request)[:].astype("float64").sum()), flush=True)
"""


def slow(folder: Path, log: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SLOW), str(folder), str(log), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.deep
def test_runs_that_start_together_share_one_computation(tmp_path: Path) -> None:
    """The first wrote zeros that the second trained on."""
    runs = [slow(tmp_path / "cache", tmp_path / "log", name) for name in ("a", "b", "c")]
    said = [run.communicate(timeout=100)[0].split() for run in runs]
    assert (tmp_path / "log").read_text(encoding="ascii").split() == [str(row) for row in range(24)]
    assert len({words[-1] for words in said}) == 1


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_run_that_is_killed_frees_the_others_which_go_on_from_its_rows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = slow(tmp_path / "cache", log, "a")
    until(lambda: log.exists() and len(log.read_text(encoding="ascii").split()) >= 5)
    assert not list((tmp_path / "cache").glob(f"{Identity({'what': 'shared'}).digest()}.npy"))
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    done = len(log.read_text(encoding="ascii").split())
    assert done < 24
    second = slow(tmp_path / "cache", log, "b")
    assert second.communicate(timeout=100)[0].startswith("b ")
    rows = [int(row) for row in log.read_text(encoding="ascii").split()]
    assert sorted(set(rows)) == list(range(24))
    assert len(rows) <= 25  # at most the row in which it was killed is computed twice


def test_a_small_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    replace_text(path, "old")

    def fails(descriptor: int) -> None:
        raise OSError("disk")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk"):
        replace_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_mark_without_its_file_or_a_file_of_another_shape_is_begun_anew(tmp_path: Path) -> None:
    mark, path = tmp_path / "x.rows", tmp_path / "x.npy"
    made = draft.Draft.begun(path, mark, (4, 2), np.dtype("float16"))
    made.add(np.ones((2, 2), "float16"), 2)
    made.close()
    again = draft.Draft.taken_up(path, mark, (4, 2))
    assert again is not None
    assert again.rows == 2
    again.close()
    assert draft.Draft.taken_up(path, mark, (4, 3)) is None
    path.write_bytes(path.read_bytes()[:130])
    assert draft.Draft.taken_up(path, mark, (4, 2)) is None
    path.unlink()
    assert draft.Draft.taken_up(path, mark, (4, 2)) is None


class Constant:
    """A teacher of text that always says the same."""

    device = torch.device("cpu")
    vocabulary_size = 8

    def __init__(self, name: str) -> None:
        self.name = self.fingerprint = name

    def logits(self, inputs: Tensor) -> Tensor:
        return torch.zeros(*inputs.shape, self.vocabulary_size)


def test_a_limit_is_for_all_teachers_together(tmp_path: Path) -> None:
    """Catches one that each teacher may use up by itself."""
    rows, teachers = torch.zeros(4, 5, dtype=torch.long), [Constant("a"), Constant("b")]
    size = sum(array.nbytes for array in cached_logits(teachers, rows, tmp_path / "free").arrays)
    assert len(cached_logits(teachers, rows, tmp_path / "enough", limit=size).arrays) == 2
    with pytest.raises(InputError, match=r"must fit cache\.limit_gb"):
        cached_logits(teachers, rows, tmp_path / "short", limit=size - 1)
