"""The machine: its vector width, and LLVM's text made into callable code."""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

from backlit.compiler import cache as cache_on_disk
from backlit.compiler.llvm.aside import aside
from backlit.core.version import __version__


@cache
def binding() -> Any:
    """llvmlite, loaded when something is compiled: it takes as long as the rest of the package."""
    llvm = importlib.import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@dataclass(frozen=True)
class Features:
    """What generated code may use: vector registers and how many, fused multiply-add; `flags` are LLVM's own.

    `triple` names another kind of machine, for which there is assembly only.
    """

    vector_bytes: int
    registers: int
    fma: bool
    flags: str = ""
    triple: str = ""


NEON = Features(16, 32, True, "+neon", "aarch64-unknown-linux-gnu")
_restricted: ContextVar[Features | None] = ContextVar("restricted", default=None)


@cache
def _found(without: str) -> Features:
    found = binding().get_host_cpu_features()
    flags = found.flatten() + (f",-{without}" if without else "")
    wide = found.get("avx512f") and without not in ("avx512f", "avx2", "avx")
    middle = found.get("avx2") and without not in ("avx2", "avx")
    arm = found.get("neon", False)
    fused = bool(arm or (found.get("fma") and (wide or middle)))
    return Features(64 if wide else 32 if middle else 16, 32 if wide or arm else 16, fused, flags)


def features(without: str | None = None) -> Features:
    """Those of this machine, less one extension (`avx512f`, `avx`, ...) and all that build on it.

    Where nothing is named, those that `restricted` gives to the code around the call.
    """
    chosen = _restricted.get() if without is None else None
    return chosen or _found(without or "")


@contextmanager
def restricted(allowed: Features) -> Iterator[None]:
    """Programs made inside use no more than `allowed`."""
    token = _restricted.set(allowed)
    try:
        yield
    finally:
        _restricted.reset(token)


_DEFINED = re.compile(r"^define (?!internal )[^@\n]*@([\w.$]+)\(", re.MULTILINE)
OPTIONS = {"opt": 3, "reloc": "pic", "codemodel": "default"}


def _machine(allowed: Features) -> Any:
    """A target machine of its own for every engine, which takes it over and deletes it."""
    llvm = binding()
    if allowed.triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        return llvm.Target.from_triple(allowed.triple).create_target_machine(features=allowed.flags, **OPTIONS)
    # the features are read from the machine and not from its name, which may be that of a near relative
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=allowed.flags, **OPTIONS
    )


def _versions() -> tuple[str, ...]:
    """Of all that makes machine code of IR."""
    llvmlite = importlib.import_module("llvmlite")
    return (__version__, llvmlite.__version__, ".".join(map(str, binding().llvm_version_info)))


def vector_bytes() -> int:
    """Bytes of the widest vector register."""
    return features().vector_bytes


def attributes() -> str:
    """The group of attributes `#0` that every function of a module has."""
    return f'\nattributes #0 = {{ nounwind "prefer-vector-width"="{8 * vector_bytes()}" "frame-pointer"="none" }}\n'


def _parsed(text: str, machine: Any) -> Any:
    module = binding().parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    return module


def assembly(text: str, allowed: Features | None = None) -> str:
    """The assembly of LLVM IR, for any machine."""
    chosen = allowed or features()

    def made() -> str:
        machine = _machine(chosen)
        return str(machine.emit_assembly(_parsed(text, machine)))

    return aside(made)


class Code:
    """Native functions made from LLVM IR, or loaded as they were made before; they live as long as this object.

    `origin` says which: "compiled", "compiled and stored" or "loaded".
    """

    def __init__(self, text: str, allowed: Features | None = None) -> None:
        self.text = text
        self._allowed = allowed or features()
        aside(self._make)

    def _make(self) -> None:
        allowed, text = self._allowed, self.text
        machine = _machine(allowed)
        llvm = binding()
        target = (machine.triple, llvm.get_host_cpu_name(), allowed.flags, repr(sorted(OPTIONS.items())))
        name = cache_on_disk.key(*_versions(), *target, text)
        made = cache_on_disk.load(name)
        if made is None:
            made = machine.emit_object(_parsed(text, machine))
            self.origin = "compiled and stored" if cache_on_disk.store(name, made) else "compiled"
        else:
            self.origin = "loaded"
        self.object_bytes = len(made)
        # an engine is made of a module; that the code comes as an object either way makes a load the same as a build
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(made))
        self._engine.finalize_object()
        self._addresses = {name: int(self._engine.get_function_address(name)) for name in _DEFINED.findall(text)}

    def address(self, name: str) -> int:
        """Where a function begins."""
        return self._addresses[name]

    def function(self, name: str, *kinds: Any) -> Any:
        """A function as a ctypes callable, which releases the GIL; `name(pointers, n)` unless its types are given."""
        return ctypes.CFUNCTYPE(None, *(kinds or (ctypes.c_void_p, ctypes.c_int64)))(self.address(name))

    def asm(self) -> str:
        """The machine code as assembly text."""
        return assembly(self.text, self._allowed)
