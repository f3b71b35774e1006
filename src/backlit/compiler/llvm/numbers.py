"""What a number is and which are next to it, in LLVM IR: the bits of NumPy's functions."""

from __future__ import annotations

import math
from collections.abc import Callable

from backlit.compiler.llvm.arithmetic import Builder, Floats


def isnan(b: Builder, kind: str, x: str) -> str:
    """Whether x is NaN."""
    return Floats(b, kind).compare("uno", x, x)


def isinf(b: Builder, kind: str, x: str) -> str:
    """Whether x is an infinity."""
    v = Floats(b, kind)
    return v.compare("oeq", v.call("fabs", x), math.inf)


def isfinite(b: Builder, kind: str, x: str) -> str:
    """Whether x is neither infinite nor NaN."""
    v = Floats(b, kind)
    return v.compare("olt", v.call("fabs", x), math.inf)


def signbit(b: Builder, kind: str, x: str) -> str:
    """Whether the first bit of x is set."""
    v = Floats(b, kind)
    return v.whole_compare("slt", v.bits(x), 0)


def nextafter(b: Builder, kind: str, x: str, y: str) -> str:
    """The number next to x on the way to y; y where they are equal."""
    v = Floats(b, kind)
    bits = v.bits(x)
    # numbers of one sign are in the order of their bits: away from 0 is up
    outwards = v.logic("xor", v.compare("olt", x, y), v.whole_compare("slt", bits, 0))
    step = v.b.new(f"select {v.truth} {outwards}, {v.whole} {v.whole_constant(1)}, {v.whole} {v.whole_constant(-1)}")
    moved = v.from_bits(v.integer("add", bits, step))
    moved = v.select(v.compare("oeq", x, 0.0), v.call("copysign", v.f.smallest, y), moved)
    moved = v.select(v.compare("oeq", x, y), y, moved)
    return v.select(v.compare("uno", x, y), v.add(x, y), moved)


def rsqrt(b: Builder, kind: str, x: str) -> str:
    """1 / sqrt(x), rounded twice."""
    v = Floats(b, kind)
    return v.div(1.0, v.call("sqrt", x))


def fence(b: Builder, kind: str, x: str, gate: str) -> str:
    """x itself: what it waits for counts in the order of kernels alone."""
    return x


TESTS: dict[str, Callable[..., str]] = {"isnan": isnan, "isinf": isinf, "isfinite": isfinite, "signbit": signbit}
EXACT: dict[str, Callable[..., str]] = {**TESTS, "nextafter": nextafter, "rsqrt": rsqrt, "fence": fence}
