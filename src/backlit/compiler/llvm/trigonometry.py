"""sin, cos and tan in LLVM IR: branch-free up to a bound, beyond which a function out of line takes one element at a time.

|x| = n pi/2 + r with |r| <= pi/4: pi/2 is taken in three parts, and since the first has as many bits as the format, the
fused x - n part is exact; then one polynomial for the sine of r, one for the cosine, and n mod 4 to choose. A single number
may take a branch: near zero it needs no reduction.
"""

from __future__ import annotations

import math
import re

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.compiler.llvm.lanes import lane_by_lane
from backlit.compiler.llvm.reduction import remainder, table
from backlit.compiler.llvm.shared import widened
from backlit.compiler.llvm.writer import Writer, constant

# pi / 2 in parts, each but the last cut off below the bits of the format, so that none is negative.
_HALF_PI = {
    "double": (1.5707963267948966, 6.123233995736765e-17, 1.082856673921914e-32),
    "float": (1.570796251296997, 7.549789415861596e-08, 5.390302953474238e-15),
}
# Beyond it n is too far from x / (pi / 2), or the three parts from pi / 2.
_BOUND = {"double": 2.0**30, "float": 2.0**17}
# Chebyshev interpolants, computed in 60 digits and written as powers of z = r^2, for |r| <= 1.003 pi / 4.
_SINE = {  # (sin(r) - r) / r^3
    "double": (
        -0.16666666666666666, 0.008333333333330877, -0.00019841269836649343, 2.7557316046063308e-06,
        -2.5051120107084363e-08, 1.5917286157176492e-10,
    ),
    "float": (-0.1666666666378724, 0.008333331848326742, -0.00019840072525278345, 2.7248088763699206e-06),
}  # fmt: skip
_COSINE = {  # (cos(r) - 1 + r^2 / 2) / r^4
    "double": (
        0.041666666666666664, -0.0013888888888887352, 2.4801587298697357e-05, -2.7557317236391144e-07,
        2.0876138925294287e-09, -1.1382104964453636e-11,
    ),
    "float": (0.04166666666426441, -0.0013888887649997814, 2.4800588517255182e-05, -2.729942594831913e-07),
}  # fmt: skip


# The same as _SINE for |r| <= 1.001 pi / 2, where a single number is not reduced.
_WIDE_SINE = {
    "double": (
        -0.16666666666666666, 0.008333333333333316, -0.00019841269841254795, 2.7557319219115013e-06,
        -2.505210761086116e-08, 1.6058976915095007e-10, -7.643957622560617e-13, 2.7312868913092307e-15,
    ),
    "float": (
        -0.16666666663853422, 0.008333332764254275, -0.00019841085469334525, 2.7536381067442063e-06,
        -2.407828263191349e-08,
    ),
}  # fmt: skip


def sin(b: Builder, kind: str, x: str) -> str:
    """sin(x): the sign of zero stays, NaN for both infinities."""
    v = Floats(b, kind)
    n, s, c = _quadrant(v, v.call("fabs", x))
    value = _signed(v, n, v.select(_odd(v, n), c, s))
    sign = v.integer("and", v.bits(x), v.f.bits(-0.0))
    value = v.from_bits(v.integer("xor", v.bits(value), sign))
    return b.call("backlit.sin", kind, x, value)


def cos(b: Builder, kind: str, x: str) -> str:
    """cos(x): NaN for both infinities."""
    v = Floats(b, kind)
    n, s, c = _quadrant(v, v.call("fabs", x))
    value = _signed(v, v.integer("add", n, 1), v.select(_odd(v, n), s, c))
    return b.call("backlit.cos", kind, x, value)


def _tan(v: Floats, kind: str, x: str) -> str:
    """tan(x) = s / c, or -c / s: the sign of zero stays, NaN for both infinities."""
    n, s, c = _quadrant(v, v.call("fabs", x))
    return v.b.call("backlit.tan", "double", x, _quotient(v, n, s, c, x))


def _quotient(v: Floats, n: str, s: str, c: str, x: str) -> str:
    odd = _odd(v, n)
    value = v.div(v.select(odd, c, s), v.select(odd, v.neg(s), c))
    sign = v.integer("and", v.bits(x), v.f.bits(-0.0))
    return v.from_bits(v.integer("xor", v.bits(value), sign))


def _sinc(v: Floats, kind: str, x: str) -> str:
    """sin(pi r) / (pi x) with r what is left of x after the nearest integer, whose parity gives the sign."""
    whole = v.call("rint", x)
    half = v.mul(whole, 0.5)
    t = v.mul(v.sub(x, whole), math.pi)
    z = v.mul(t, t)
    sine = v.fma(v.mul(t, z), v.paired(_WIDE_SINE["double"], z), t)
    sine = v.select(v.compare("une", v.call("rint", half), half), v.neg(sine), sine)
    return v.select(v.compare("oeq", x, 0.0), 1.0, v.div(sine, v.mul(x, math.pi)))


tan, sinc = widened(_tan), widened(_sinc)


def sin_of_one(w: Writer, kind: str, x: str) -> str:
    """sin(x) of a single number, of which others may wait: without reduction in 0 < |x| <= pi / 2, as in `sin` elsewhere.

    The shorter way is five operations that wait for each other, each a fused multiply-add.
    """
    v = Floats(w, kind)

    def near() -> list[str]:
        z = v.mul(x, x)
        return [v.fma(v.mul(x, z), v.paired(_WIDE_SINE[kind], z), x)]

    return w.choose(_within(v, x, math.pi / 2), near, lambda: [sin(w, kind, x)], [kind])[0]


def cos_of_one(w: Writer, kind: str, x: str) -> str:
    """cos(x) of a single number: without reduction in 0 < |x| <= pi / 4, as in `cos` elsewhere."""
    v = Floats(w, kind)

    def near() -> list[str]:
        z = v.mul(x, x)
        return [v.fma(z, v.fma(z, v.paired(_COSINE[kind], z), -0.5), 1.0)]

    return w.choose(_within(v, x, math.pi / 4), near, lambda: [cos(w, kind, x)], [kind])[0]


def _within(v: Floats, x: str, bound: float) -> str:
    """Whether 0 < |x| <= bound: zeros, whose sign a sum would lose, are left out as well."""
    size = v.integer("and", v.bits(x), v.f.bits(-0.0) ^ -1)
    return v.b.new(f"icmp ult {v.whole} {v.integer('sub', size, 1)}, {v.b.constant(v.f.integer, v.f.bits(bound))}")


def _quadrant(v: Floats, x: str) -> tuple[str, str, str]:
    """n, sin(r) and cos(r) for x = n pi / 2 + r."""
    n_float, n = v.rounded(x, 2.0 / math.pi)
    r = x
    for part in _HALF_PI[v.kind]:
        r = v.fused(n_float, -part, r)
    return n, *_series(v, r)


def _series(v: Floats, r: str) -> tuple[str, str]:
    """sin(r) and cos(r) for |r| <= pi / 4."""
    z = v.mul(r, r)
    s = v.fma(v.mul(z, r), v.polynomial(_SINE[v.kind], z), r)
    c = v.fma(z, v.fma(z, v.polynomial(_COSINE[v.kind], z), -0.5), 1.0)
    return s, c


def _odd(v: Floats, n: str) -> str:
    last = v.integer("and", n, 1)
    return v.b.new(f"icmp ne {v.whole} {last}, {v.b.constant(v.f.integer, 0)}")


def _signed(v: Floats, n: str, value: str) -> str:
    """`value`, and its negative where the second bit of `n` is set."""
    places = int(v.f.integer[1:]) - 2
    sign = v.integer("and", v.integer("shl", n, places), v.f.bits(-0.0))
    return v.from_bits(v.integer("xor", v.bits(value), sign))


def definitions(text: str) -> str:
    """The functions out of line that IR calls: they return their second operand unless a lane of the first is large."""
    found = sorted(set(re.findall(r"@backlit\.(sin|cos|tan)\.(v\d+)?(f32|f64)\(", text)))
    if not found:
        return ""
    chosen = [_definition(name, int(width[1:]) if width else 1, suffix) for name, width, suffix in found]
    return "\n".join([table(), *(_large(name) for name in sorted({name for name, _, _ in found})), *chosen])


def _large(name: str) -> str:
    """sin, cos or tan of one double, large and of any sign."""
    w = Writer(name, "")
    v = Floats(w, "double")
    n, r, low = remainder(w, "%x")
    s, c = _series(v, r)
    s, c = v.add(s, v.mul(low, c)), v.sub(c, v.mul(low, s))
    if name == "tan":
        value = _quotient(v, n, s, c, "%x")
    elif name == "sin":
        value = _signed(v, n, v.select(_odd(v, n), c, s))
        sign = v.integer("and", v.bits("%x"), v.f.bits(-0.0))
        value = v.from_bits(v.integer("xor", v.bits(value), sign))
    else:
        value = _signed(v, v.integer("add", n, 1), v.select(_odd(v, n), s, c))
    value = v.select(v.compare("olt", v.call("fabs", "%x"), math.inf), value, math.nan)
    body = "\n".join(w.lines)
    return f"define internal double @backlit.large_{name}(double %x) noinline {{\n{body}\n  ret double {value}\n}}"


def _definition(name: str, lanes: int, suffix: str) -> str:
    scalar = "float" if suffix == "f32" else "double"
    bound = constant(scalar, _BOUND[scalar])

    def one(x: str) -> list[str]:
        if scalar == "double":
            return [f"  %found = call double @backlit.large_{name}(double {x})"]
        return [
            f"  %argument = fpext float {x} to double",
            f"  %wide = call double @backlit.large_{name}(double %argument)",
            "  %found = fptrunc double %wide to float",
        ]

    width, v = ("", scalar) if lanes == 1 else (f"v{lanes}", f"<{lanes} x {scalar}>")
    bounds = bound if lanes == 1 else f"<{', '.join([f'{scalar} {bound}'] * lanes)}>"
    return "\n".join([
        f"define internal {v} @backlit.{name}.{width}{suffix}({v} %x, {v} %small) noinline {{",
        "entry:",
        f"  %size = call {v} @llvm.fabs.{width}{suffix}({v} %x)",
        f"  %large = fcmp ogt {v} %size, {bounds}",
        *lane_by_lane(lanes, scalar, "%large", "%small", ["%x"], one),
        "}",
    ])  # fmt: skip
