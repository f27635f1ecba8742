"""Write a file in parts, so that a later run can go on with it."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from trivium.store.kept import SUM, checksum

#: Seconds of work that a kill may cost.
_BETWEEN_MARKS = 10.0
#: Of the number of rows in a mark.
_DIGITS = 20
#: What a system says that cannot set room aside: then a full disk is found while writing.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)


class Draft:
    """A file under construction: a NumPy header, room for all rows, and beside it, in a mark, how many are there and
    their checksums, which end the file when it is complete.

    Attributes:
        end: where the rows end, in bytes.
        sums: of all rows; those of rows that are not there yet are 0.
    """

    def __init__(
        self, path: Path, mark: Path, file: Any, kind: np.dtype, rows: int, end: int, sums: np.ndarray
    ) -> None:
        self.path, self.mark, self.file, self.kind, self.rows = path, mark, file, kind, rows
        self.end, self.sums = end, sums
        self._saved = time.monotonic()

    @classmethod
    def begun(cls, path: Path, mark: Path, shape: tuple[int, ...], kind: np.dtype) -> Draft:
        """Return a new one; raises OSError where the disk has no room for all of it."""
        mark.unlink(missing_ok=True)
        file = path.open("w+b", buffering=0)
        try:
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            end = file.tell() + int(np.prod(shape)) * kind.itemsize
            _reserve(file.fileno(), end + shape[0] * SUM.itemsize)
            sums = np.zeros(shape[0], SUM)
            mark.write_bytes(f"{0:0{_DIGITS}d}".encode() + sums.tobytes())
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        return cls(path, mark, file, kind, 0, end, sums)

    @classmethod
    def taken_up(cls, path: Path, mark: Path, wanted: tuple[int, ...]) -> Draft | None:
        """Return what an interrupted run left, ready for the next row; None where that cannot be told."""
        try:
            told = mark.read_bytes()
            rows = int(told[:_DIGITS])
            file = path.open("r+b", buffering=0)
        except (OSError, ValueError):
            return None
        try:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            row = int(np.prod(shape[1:])) * kind.itemsize
            usable = shape == wanted and 0 <= rows <= shape[0]
            start, size = file.tell(), os.fstat(file.fileno()).st_size
            usable &= len(told) == _DIGITS + shape[0] * SUM.itemsize
            if usable and size >= start + rows * row:
                end = start + shape[0] * row
                _reserve(file.fileno(), end + shape[0] * SUM.itemsize)
                file.seek(start + rows * row)
                return cls(path, mark, file, kind, rows, end, np.frombuffer(told[_DIGITS:], SUM).copy())
        except ValueError:
            pass
        file.close()
        return None

    def add(self, values: np.ndarray, rows: int) -> None:
        """Write the next rows; there are ``rows`` afterwards."""
        self._write(np.ascontiguousarray(values))
        self.sums[rows - len(values) : rows] = [checksum(row) for row in values]
        self.rows = rows
        if time.monotonic() - self._saved > _BETWEEN_MARKS:
            self.save()

    def _write(self, values: np.ndarray) -> None:
        left = memoryview(values.data).cast("B")
        while left:
            left = left[self.file.write(left) :]

    def save(self) -> None:
        """Note how many rows are on disk. The mark never grows, so it can be written on a full disk too."""
        os.fsync(self.file.fileno())
        with self.mark.open("r+b") as mark:
            mark.seek(_DIGITS)
            mark.write(self.sums.tobytes())
            mark.seek(0)
            mark.write(f"{self.rows:0{_DIGITS}d}".encode())
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Write the checksums behind the rows, all of which are there."""
        self.file.seek(self.end)
        self._write(self.sums)

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
