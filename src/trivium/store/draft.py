"""A file under construction, which a later run can go on with."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

#: Seconds of work that a kill may cost.
_BETWEEN_MARKS = 10.0
#: What a system says that cannot set room aside: then a full disk is found while writing.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)


class Draft:
    """A file under construction: a NumPy header, room for all rows, and beside it the number of rows that are there."""

    def __init__(self, path: Path, mark: Path, file: Any, kind: np.dtype, rows: int) -> None:
        self.path, self.mark, self.file, self.kind, self.rows = path, mark, file, kind, rows
        self._saved = time.monotonic()

    @classmethod
    def begun(cls, path: Path, mark: Path, shape: tuple[int, ...], kind: np.dtype) -> Draft:
        """A new one; raises OSError where the disk has no room for all of it."""
        mark.unlink(missing_ok=True)
        file = path.open("w+b", buffering=0)
        try:
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            _reserve(file.fileno(), file.tell() + int(np.prod(shape)) * kind.itemsize)
            mark.write_text(f"{0:020d}", encoding="ascii")
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        return cls(path, mark, file, kind, 0)

    @classmethod
    def taken_up(cls, path: Path, mark: Path, wanted: tuple[int, ...]) -> Draft | None:
        """What an interrupted run left, ready for the next row; None where that cannot be told."""
        try:
            rows = int(mark.read_text(encoding="ascii"))
            file = path.open("r+b", buffering=0)
        except (OSError, ValueError):
            return None
        try:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            row = int(np.prod(shape[1:])) * kind.itemsize
            usable = shape == wanted and 0 <= rows <= shape[0]
            if usable and os.fstat(file.fileno()).st_size >= file.tell() + rows * row:
                _reserve(file.fileno(), file.tell() + shape[0] * row)
                file.seek(rows * row, os.SEEK_CUR)
                return cls(path, mark, file, kind, rows)
        except ValueError:
            pass
        file.close()
        return None

    def add(self, values: np.ndarray, rows: int) -> None:
        """Write the next rows; there are ``rows`` afterwards."""
        left = memoryview(np.ascontiguousarray(values).data).cast("B")
        while left:
            left = left[self.file.write(left) :]
        self.rows = rows
        if time.monotonic() - self._saved > _BETWEEN_MARKS:
            self.save()

    def save(self) -> None:
        """Note how many rows are on disk. The mark never grows, so it can be written on a full disk too."""
        os.fsync(self.file.fileno())
        with self.mark.open("r+b") as mark:
            mark.write(f"{self.rows:020d}".encode())
        self._saved = time.monotonic()

    def discard(self) -> None:
        """Remove it."""
        self.file.close()
        self.mark.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Save and let go."""
        if not self.file.closed:
            try:
                self.save()
            finally:
                self.file.close()


def _reserve(descriptor: int, size: int) -> None:
    if sys.platform != "linux":
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise
