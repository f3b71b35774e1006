"""Arrays that stay in their file: rows are read when they are asked for."""

from __future__ import annotations

import math
import operator
import os
import threading
import tokenize
import weakref
from typing import Any

import numpy as np

from backlit.core.errors import DataError, FileFormatError
from backlit.io.replace import Path

Array = np.ndarray[Any, Any]


class FileArray:
    """The rows of an array in a file, of any size: `x[rows]` with an int64 array, `x[i]` and `x[a:b]` read what they give.

    Made by `open_npy` and `open_raw`, for `TensorDataset` and `TokenWindows`. Memory is taken for what is read and no more; the
    system keeps what it likes of the file besides, as long as nobody needs the room. Of an array mapped into memory
    (`numpy.memmap`, which datasets take too) every page that was touched counts as memory of the program instead, and the
    system may touch many around one: with Linux 6.18 128 rows read at random brought 241 MB into memory, whether a row had
    784 bytes or 65,536. Reading them took half the time: 175 against 295 microseconds for rows of 4,096 bytes in its cache.

    May be read by several threads at once.
    """

    takes_rows = True

    def __init__(self, name: str, descriptor: int, begin: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self._descriptor, self._begin = descriptor, begin
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self._turn = threading.Lock()  # where reading moves a position that all share
        weakref.finalize(self, os.close, descriptor)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all rows."""
        return len(self) * self._row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FileArray({self.name}: {self.dtype}{list(self.shape)})"

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1:
                return self[np.arange(begin, end, step)]
            found = self.runs(np.array([begin] if end > begin else [], np.int64), max(end - begin, 0))
            return found.reshape(-1, *self.shape[1:])
        if isinstance(index, (np.ndarray, list)):
            rows = np.asarray(index)
            if rows.dtype == np.bool_:
                return self[np.flatnonzero(rows)]
            return self.runs(rows.reshape(-1), 1).reshape(*rows.shape, *self.shape[1:])
        return self.runs(np.array([operator.index(index)]), 1)[0, 0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def runs(self, rows: Array, length: int) -> Array:
        """`length` rows from each of `rows` on: [len(rows), length, ...].

        Raises:
          IndexError: a row that is not there.
          FileFormatError: the file has become shorter, or cannot be read any more.
        """
        n = len(self)
        first = np.where(rows < 0, rows + n, rows)
        if rows.size and (first.min() < 0 or first.max() + length > n):
            wrong = rows[(first < 0) | (first + length > n)]
            raise IndexError(f"{self.name} has {n} rows; {length} from {wrong[0]} on are not among them")
        made = np.empty((len(rows), length, *self.shape[1:]), self.dtype)
        if made.nbytes:
            bytes_of = made.reshape(len(rows), -1).view(np.uint8)
            for place, offset in enumerate((self._begin + first * self._row_bytes).tolist()):
                self._read(bytes_of[place].data, offset)
        return made if self.dtype.isnative else made.astype(self.dtype.newbyteorder("="))

    def _read(self, into: memoryview, offset: int) -> None:
        while len(into):
            try:
                if hasattr(os, "preadv"):
                    n = os.preadv(self._descriptor, [into], offset)
                else:  # Windows has no reading at a place
                    with self._turn:
                        os.lseek(self._descriptor, offset, os.SEEK_SET)
                        piece = os.read(self._descriptor, len(into))
                    n = len(piece)
                    into[:n] = piece
            except OSError as error:
                raise FileFormatError(f"cannot read {self.name}: {error.strerror or error}") from error
            if n == 0:
                raise FileFormatError(f"{self.name} became shorter while it was read")
            into, offset = into[n:], offset + n


def open_npy(path: Path) -> FileArray:
    """The array of a .npy file, whose rows are read as they are used. `numpy.lib.format.open_memmap` makes large ones.

    Raises:
      FileFormatError: there is no such file, or it is damaged, none of that kind, holds Python objects or columns one after
        another (Fortran's order).
    """
    name = os.fspath(path)
    descriptor, size = _opened("open_npy", name)
    try:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            shape, in_columns, dtype = npy_header(file, f"open_npy: {name}")
            begin = file.tell()
        expected = math.prod(shape) * dtype.itemsize
        if size - begin != expected:
            raise FileFormatError(
                f"open_npy: {name} is damaged: {dtype}{list(shape)} takes {expected} bytes, the file has {size - begin}"
            )
        if not shape or (in_columns and len(shape) > 1):
            raise FileFormatError(f"open_npy: {name} has no rows one after another; save numpy.ascontiguousarray(x)")
    except BaseException:
        os.close(descriptor)
        raise
    return FileArray(name, descriptor, begin, shape, dtype)


def open_raw(path: Path, dtype: Any, row_shape: tuple[int, ...] = (), offset: int = 0) -> FileArray:
    """Rows of `row_shape` that fill a file from the byte `offset` on, read as they are used: [rows, *row_shape].

    `dtype` may name a byte order, as ">i2"; what is read has the machine's.

    Raises:
      FileFormatError: there is no such file.
      DataError: what is in it is no whole number of rows.
    """
    name, kind = os.fspath(path), np.dtype(dtype)
    descriptor, size = _opened("open_raw", name)
    row_bytes = math.prod(row_shape) * kind.itemsize
    if kind.hasobject or row_bytes < 1 or not 0 <= offset <= size or (size - offset) % row_bytes:
        os.close(descriptor)
        raise DataError(
            f"open_raw: {name} has {size - offset} bytes from byte {offset} on, no whole number of rows {kind}{list(row_shape)}"
        )
    return FileArray(name, descriptor, offset, ((size - offset) // row_bytes, *row_shape), kind)


def npy_header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns lie one after another, and dtype, from the head of a .npy file.

    Raises:
      FileFormatError: it is none, or holds Python objects, which are not read: that would run code.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version}")
        shape, in_columns, dtype = read(file)
    except (ValueError, LookupError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise FileFormatError(f"{name} is damaged or no .npy file: {str(error).splitlines()[0][:80]}") from error
    if dtype.hasobject or any(length < 0 for length in shape):
        raise FileFormatError(f"{name} holds Python objects, which are not read; save arrays of numbers")
    return shape, in_columns, dtype


def _opened(who: str, name: str) -> tuple[int, int]:
    """A descriptor of the file, and its size."""
    if not os.path.isfile(name):
        what = (
            "is a folder"
            if os.path.isdir(name)
            else "is no ordinary file"
            if os.path.exists(name)
            else "does not exist"
        )
        raise FileFormatError(f"{who}: {name} {what}")
    try:
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise FileFormatError(f"{who}: cannot read {name}: {error.strerror or error}") from error
    return descriptor, os.fstat(descriptor).st_size
