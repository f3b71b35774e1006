"""The logarithm and the cosine of random samplers in LLVM IR, operation by operation as in `backlit.ops.random`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.ops.random import COSINE, LN2, LOG, SINE


def log_fraction(b: Builder, kind: str, x: str) -> str:
    """log(x) of 0 < x <= 1, normal."""
    v = Floats(b, kind)
    k, m = v.split(x)
    f = v.sub(m, 1.0)
    s = v.div(f, v.add(f, 2.0))
    z = v.mul(s, s)
    half = v.mul(v.mul(f, f), 0.5)
    rest = v.add(v.mul(s, v.add(half, v.mul(z, _horner(v, LOG, z)))), v.mul(k, LN2[1]))
    return v.sub(v.mul(k, LN2[0]), v.sub(v.sub(half, rest), f))


def cos_turns(b: Builder, kind: str, x: str) -> str:
    """cos(2 pi x) of 0 <= x <= 1."""
    v = Floats(b, kind)
    quarters = v.mul(x, 4.0)
    n = v.call("floor", v.add(quarters, 0.5))
    r = v.mul(v.sub(quarters, n), math.pi / 2)
    z = v.mul(r, r)
    sine = v.add(r, v.mul(v.mul(r, z), _horner(v, SINE, z)))
    cosine = v.sub(1.0, v.sub(v.mul(z, 0.5), v.mul(v.mul(z, z), _horner(v, COSINE, z))))
    first, second, third = (v.compare("oeq", n, number) for number in (1.0, 2.0, 3.0))
    value = v.select(v.logic("or", first, third), sine, cosine)
    return v.select(v.logic("or", first, second), v.neg(value), value)


def _horner(v: Floats, table: Sequence[float], x: str) -> str:
    value = v.mul(x, table[-1])
    for coefficient in table[-2:0:-1]:
        value = v.mul(v.add(value, coefficient), x)
    return v.add(value, table[0])
