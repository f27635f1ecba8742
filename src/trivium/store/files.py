"""Files that several runs share: written once, by one run at a time, and seen by others only when complete.

A file under construction has another name. It is renamed when its last byte is on disk, so what has the final name is
whole, whoever was killed meanwhile. Room is taken before the first row is computed; writing goes by ``write`` and not
through mapped memory, where a full disk is a signal that no program survives.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor

from trivium.errors import InputError, TeacherError, require
from trivium.store.codec import encoded, narrowest
from trivium.store.draft import Draft
from trivium.store.identity import Identity, canonical
from trivium.store.kept import Kept, opened, require_unaltered


@dataclass(frozen=True)
class Request:
    """An array of log(p / max p) that is wanted on disk.

    Attributes:
        identity: everything that its numbers depend on.
        shape: rows first.
        compute: log(p / max p), float32, of the rows from ``start`` to ``stop``.
        what: what to call it in errors, "the logits of teacher 'a'".
        batch: rows at a time.
        limit: bytes that it may take.
        progress: sees the number of rows that are done.
        waiting: called once if another run computes it and this one waits.
        anew: called with the reason, "has no checksums" say, if there is a file that cannot be used.
    """

    identity: Identity
    shape: tuple[int, ...]
    compute: Callable[[int, int], Tensor]
    what: str
    batch: int = 16
    limit: float = float("inf")
    progress: Callable[[int], None] = lambda done: None
    waiting: Callable[[], None] = lambda: None
    anew: Callable[[str], None] = lambda reason: None


def stored(folder: Path, request: Request) -> Kept:
    """Return the array, read-only and mapped from ``folder``, computed where it is not there yet.

    A row is held to its checksum when it is first read. Its file is ``DIGEST.npy``, float16 or float32 by what
    :data:`trivium.store.codec.ERROR` asks for; ``DIGEST.json`` beside it says what it depends on. An interrupted
    computation goes on where it was.

    Raises:
        InputError: no room for it, on disk or within ``limit``; what is complete stays, and so do the rows that were
            written of this one where the disk allows.
    """
    path = folder / f"{request.identity.digest()}.npy"
    found, _ = opened(path, request.shape, request.what)
    if found is not None:
        return found
    with _disk(path, request.what):
        folder.mkdir(parents=True, exist_ok=True)
    with take_turns(path.with_suffix(".lock"), request.waiting):
        found, why = opened(path, request.shape, request.what)  # another run may have made it meanwhile
        if found is None:
            if why:
                request.anew(why)
            _write(path, request)
            found, _ = opened(path, request.shape, request.what)
    if found is None:
        raise InputError(f"{request.what} must stay where it is written", str(path), "Leave the folder alone.")
    return found


@contextmanager
def take_turns(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock ``path``; of several processes, also on several machines that share a disk, one is inside.

    The lock of a process that is killed is free at once.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
    except (NotImplementedError, OSError) as error:
        raise InputError(
            "a folder that runs share must take file locks", f"{path.parent}: {error}", "Name another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old text or the new one, whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, request: Request) -> None:
    partial, mark = path.with_suffix(".partial.npy"), path.with_suffix(".partial.rows")
    with _disk(path, request.what):
        draft = Draft.taken_up(partial, mark, request.shape) or _begun(partial, mark, request, np.dtype("float16"))
    try:
        while draft.rows < request.shape[0]:
            stop = min(draft.rows + request.batch, request.shape[0])
            log_ratio = request.compute(draft.rows, stop)
            with _disk(path, request.what):
                if narrowest(log_ratio).itemsize > draft.kind.itemsize:
                    draft = _widened(draft, path, request)
                draft.add(encoded(log_ratio, draft.kind), stop)
            request.progress(stop)
        with _disk(path, request.what):
            draft.finish()
    except TeacherError:  # a mended teacher is another one: nobody would go on with this
        draft.discard()
        raise
    finally:
        with _disk(path, request.what):
            draft.close()
    with _disk(path, request.what):
        replace_text(path.with_suffix(".json"), canonical(request.identity.parts) + "\n")
        partial.replace(path)
        mark.unlink(missing_ok=True)


def _begun(path: Path, mark: Path, request: Request, kind: np.dtype) -> Draft:
    size = int(np.prod(request.shape)) * kind.itemsize
    require(
        size <= request.limit,
        f"{request.what} must fit cache.limit_gb",
        f"{size / 1e9:.3g} GB in {kind.name} with {max(request.limit, 0.0) / 1e9:.3g} GB left",
        "Use fewer train_rows, raise the limit, or set cache.enabled to false.",
    )
    return Draft.begun(path, mark, request.shape, kind)


def _widened(draft: Draft, path: Path, request: Request) -> Draft:
    """Return the draft so far in float32; the rows that float16 keeps to the stated error are taken over as
    they are."""
    partial, mark = path.with_suffix(".wide.npy"), path.with_suffix(".wide.rows")
    wide = _begun(partial, mark, request, np.dtype("float32"))
    try:
        draft.close()
        narrow = np.load(draft.path, mmap_mode="r", allow_pickle=False)
        for start in range(0, draft.rows, request.batch):
            stop = min(start + request.batch, draft.rows)
            for number in range(start, stop):
                require_unaltered(narrow[number], int(draft.sums[number]), number, draft.path, request.what)
            wide.add(narrow[start:stop].astype("float32"), stop)
        wide.save()
        # First the old mark goes: a kill between these lines costs the rows so far and mixes nothing up.
        draft.mark.unlink()
        partial.replace(draft.path)
        mark.replace(draft.mark)
    except BaseException:
        wide.close()
        raise
    wide.path, wide.mark = draft.path, draft.mark
    return wide


@contextmanager
def _disk(path: Path, what: str) -> Iterator[None]:
    """Say in one line what the disk refuses."""
    try:
        yield
    except OSError as error:
        reason, folder = error.strerror or str(error), path.parent
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(f"{what} must be kept in {folder}", reason, "Name a cache.folder to write to.") from error
        free = "an unknown number of"
        with suppress(OSError):
            free = f"{shutil.disk_usage(folder).free / 1e9:.3g}"
        raise InputError(
            f"{what} must have room in {folder}",
            f"{reason} with {free} GB free",
            "Free some, name another cache.folder, or set cache.enabled to false; the next run uses what is written.",
        ) from error
