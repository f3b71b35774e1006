"""Where CPython and NumPy keep what a native entry looks at: found on live objects, and checked there.

The layout of arrays and lists is part of the binary interfaces of NumPy and CPython; the places of slots are not, so they
are searched for. Where anything is not as expected (another interpreter, a build without the GIL) there is no layout, and
compiled functions are entered in Python.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from backlit.core.graph import Node
from backlit.core.tensor import Tensor

# offsets in bytes
TYPE = 8
CONTENTS = 16  # of the cell of a closure
LIST_SIZE, LIST_ITEMS = 16, 24
DATA, NDIM, DIMS, BASE, DTYPE, FLAGS = 16, 24, 32, 48, 56, 64
SCALAR = 16  # the number in a NumPy scalar
CONTIGUOUS, OWN, ALIGNED, WRITEABLE = 0x1, 0x4, 0x100, 0x400


@dataclass(frozen=True)
class Layout:
    """Offsets of slots: `value`, `node` and `grad` of a tensor, `plan` of a node."""

    value: int
    node: int
    grad: int
    plan: int


def word(address: int) -> int:
    """Eight bytes of memory."""
    return ctypes.c_int64.from_address(address).value


@cache
def layout() -> Layout | None:
    """The layout of this interpreter; None where it is not what the native entry is made for."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    if ctypes.sizeof(ctypes.c_void_p) != 8 or not (_heads() and _containers() and _arrays()):
        return None
    value, node, grad, plan = (object() for _ in range(4))
    tensor = Tensor(value, node)
    tensor._grad = grad
    places = [_place(tensor, Tensor, x) for x in (value, node, grad)]
    places.append(_place(Node(plan, (), (), None, {}, (), None, None), Node, plan))  # type: ignore[arg-type]
    return Layout(*places) if all(places) else None


def _place(owner: Any, kind: type, x: Any) -> int:
    """Where an object refers to `x`, if it does so once; else 0."""
    found = [at for at in range(0, kind.__basicsize__, 8) if word(id(owner) + at) == id(x)]
    return found[0] if len(found) == 1 else 0


def _heads() -> bool:
    """Whether an object begins with the number of references to it and its type."""
    x = np.empty(1)
    others = [x, x]
    known = word(id(x)) == 3 and word(id(x) + TYPE) == id(np.ndarray)
    others.clear()
    return known and word(id(x)) == 1


def _containers() -> bool:
    x = object()
    items = [None, x, None]
    listed = word(id(items) + LIST_SIZE) == 3 and word(word(id(items) + LIST_ITEMS) + 8) == id(x)
    cells = (lambda: x).__closure__
    return listed and cells is not None and word(id(cells[0]) + CONTENTS) == id(x)


def _arrays() -> bool:
    plain, other = np.ones((2, 3), np.float32), np.ones((4, 2)).T
    fixed = plain[:1]
    fixed.flags.writeable = False
    for x in (plain, other, fixed, np.array(1.0), np.ones((2, 0))):
        ndim, flags = (ctypes.c_int32.from_address(id(x) + at).value for at in (NDIM, FLAGS))
        dims = word(id(x) + DIMS)
        same = (
            ndim == x.ndim
            and word(id(x) + DATA) == x.ctypes.data
            and all(word(dims + 8 * k) == n for k, n in enumerate(x.shape))
            and word(id(x) + DTYPE) == id(x.dtype)
            and word(id(x) + BASE) == (0 if x.base is None else id(x.base))
            and bool(flags & CONTIGUOUS) == x.flags.c_contiguous
            and bool(flags & OWN) == x.flags.owndata
            and bool(flags & ALIGNED) == x.flags.aligned
            and bool(flags & WRITEABLE) == x.flags.writeable
        )
        if not same:
            return False
    return True


@cache
def is_plain_scalar(kind: Any) -> bool:
    """Whether a NumPy scalar of that type holds its number at `SCALAR`."""
    size = np.dtype(kind).itemsize
    for first in (1, 11):
        pattern = b"\1" if kind is np.bool_ else bytes(range(first, first + size))
        if ctypes.string_at(id(x := np.frombuffer(pattern, kind)[0]) + SCALAR, size) != x.tobytes():
            return False
    return True
