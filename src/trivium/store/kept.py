"""Rows on disk, each held to its checksum when it is first read: a disk that alters a bit changes no student."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from trivium.errors import InputError

#: Of a row's checksum, which stand behind the last row in the rows' order.
SUM = np.dtype("<u4")


def checksum(row: np.ndarray) -> int:
    """CRC-32 of a row's bytes: finds every altered bit and every run of up to 32 of them. About 1 ms a megabyte.

    >>> checksum(np.zeros(2, "float16"))
    558161692
    """
    return zlib.crc32(np.ascontiguousarray(row).data.cast("B"))


def require_unaltered(row: np.ndarray, written: int, number: int, path: Path, what: str) -> None:
    """Raises InputError where a row is not the one that was written."""
    if checksum(row) != written:
        fix = f"Remove {path}: it is then computed anew; and look after that disk."
        raise InputError(f"{what} must be as it was written", f"row {number} of {path}, altered since", fix)


class Kept:
    """An array that is read row by row, mapped from a file that ends in the rows' checksums.

    Indexing the first axis gives a copy; of its rows, those that this object has not given before are checked, and
    InputError says which one was altered.
    """

    def __init__(self, path: Path, array: np.ndarray, sums: np.ndarray, what: str) -> None:
        self.path, self._array, self._sums, self._what = path, array, sums, what
        self._known = np.zeros(len(array), dtype=bool)

    @property
    def dtype(self) -> np.dtype:
        """float16 or float32."""
        return self._array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return self._array.shape

    @property
    def nbytes(self) -> int:
        """What the rows take on disk; checksums are four bytes each beside them."""
        return self._array.nbytes

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> np.ndarray:
        numbers = np.arange(len(self))[index]
        found: np.ndarray = self._array[numbers]
        for row, number in zip(found if numbers.ndim else [found], np.atleast_1d(numbers), strict=True):
            if not self._known[number]:
                require_unaltered(row, int(self._sums[number]), int(number), self.path, self._what)
                self._known[number] = True
        return found


def opened(path: Path, shape: tuple[int, ...], what: str) -> tuple[Kept | None, str]:
    """Return the rows kept in ``path``; or None, and why they cannot be used, which is empty where there is no file."""
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.shape != shape:
            return None, "is of another size"
        end = array.offset + array.nbytes
        if path.stat().st_size != end + shape[0] * SUM.itemsize:
            return None, "has no checksums"
        return Kept(path, array, np.memmap(path, SUM, "r", end, (shape[0],)) if shape[0] else np.empty(0), what), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError):  # cut short, or written over
        return None, "cannot be read"
