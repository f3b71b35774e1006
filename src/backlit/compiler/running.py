"""What the compiled programs of a process share: the native entry, and who runs now in which thread."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.compiler.layout import layout
from backlit.compiler.llvm.entry import PROCESS, entry_text
from backlit.compiler.llvm.target import Code, attributes
from backlit.core.graph import Node
from backlit.core.tensor import Tensor, muted

if TYPE_CHECKING:
    from backlit.compiler.entry import Entry

_METHOD_FAST = 0x80
_PAUSE_S = 5e-5
_gate = threading.RLock()
tracing = threading.RLock()  # while a function is traced, tensors of its state have no values
entries: weakref.WeakSet[Entry] = weakref.WeakSet()


class Words:
    """Rows of words that native code reads, and the objects that they point to."""

    def __init__(self, rows: Sequence[Sequence[int]] = (), keep: Any = None) -> None:
        self.n = len(rows)
        self.array = np.array(rows if self.n else [[0]], np.int64)
        self.address: int = self.array.ctypes.data
        self.keep = keep


class _Method(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Process:
    """What all programs of this process share: the native entry, the functions it calls, and what runs now."""

    def __init__(self) -> None:
        found = layout()
        assert found is not None
        self.layout = found
        self._code = Code(entry_text(found) + attributes())
        self._method = _Method(b"enter", self._code.address("enter"), _METHOD_FAST, None)
        self._new = ctypes.pythonapi.PyCFunction_NewEx
        self._new.restype, self._new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
        self.state = np.zeros(3, np.int64)  # running, begun, held
        names = {
            "get_item": "PyDict_GetItem", "next": "PyDict_Next", "get_context": "PyContextVar_Get",
            "save_thread": "PyEval_SaveThread", "restore_thread": "PyEval_RestoreThread", "increase": "Py_IncRef",
            "decrease": "Py_DecRef", "new_long": "PyLong_FromUnsignedLongLong", "set_attribute": "PyObject_SetAttr",
        }  # fmt: skip
        words = {
            key: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for key, name in names.items()
        }
        objects = {
            "node": Node, "array": np.ndarray, "tensor": Tensor, "none": None, "true": True, "wait": Ellipsis, "zero": 0,
            "muting": muted,
        }  # fmt: skip
        words |= {key: id(x) for key, x in objects.items()}
        words |= {key: self.state.ctypes.data + 8 * k for k, key in enumerate(("running", "begun", "held"))}
        self.words = Words([[words[name] or 0 for name in PROCESS]], objects)

    def enter(self, head: np.ndarray[Any, Any]) -> Callable[..., Any]:
        """The entry of a program with these words."""
        return self._new(ctypes.addressof(self._method), head, None)  # type: ignore[no-any-return]


@cache
def process() -> Process | None:
    """The native entry of this process, made at its first use; None where there is none."""
    return Process() if layout() is not None else None


def _after_fork() -> None:
    """In a child no other thread goes on running, or gives back a lock."""
    global _gate, tracing
    _gate, tracing = threading.RLock(), threading.RLock()
    if process.cache_info().currsize and (shared := process()) is not None:
        shared.state[:] = 0
        for entry in list(entries):
            entry.step.busy[0] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def wait_for(entry: Entry, leaves: Sequence[Tensor]) -> None:
    """Returns when no other program runs that has a tensor in common with this one."""
    state = entry.shared.state
    while True:
        begun, held = int(state[1]), int(state[2])
        if not held and not any(e.step.busy[0] and entry.conflicts(e, leaves) for e in list(entries)):
            entry.allow(begun)
            return
        time.sleep(_PAUSE_S)


@contextmanager
def exclusive() -> Iterator[None]:
    """No compiled program runs in any other thread."""
    shared = process()
    with _gate:
        if shared is None:
            yield
            return
        try:
            shared.state[2] += 1
            while shared.state[0]:
                time.sleep(_PAUSE_S)
            yield
        finally:
            shared.state[2] -= 1
