"""Errors and speed of the elementary functions of compiled programs, and the page that shows them.

    python benchmarks/functions.py errors --json runs/functions.json            every float32, samples of float64
    python benchmarks/functions.py speed --json runs/functions.json             beside NumPy, on one thread
    python benchmarks/functions.py page --json runs/functions.json              writes docs/math.md

Errors are in units in the last place of the exact result: for float32 against double precision (an exact value is off by
2^-29 of such a unit), at every number there is; for float64 against mpmath with 200 bits.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import mpmath
import numpy as np

import backlit as bl
from backlit.compiler import make_graph
from backlit.compiler.llvm.target import features
from backlit.compiler.native import Program
from backlit.core.op import REGISTRY
from backlit.nn import functional as F

# of two arguments: the function, NumPy's own, one of any precision
BINARY = {
    "pow": (bl.pow, np.power, mpmath.power),
    "atan2": (bl.atan2, np.arctan2, mpmath.atan2),
    "hypot": (bl.hypot, np.hypot, mpmath.hypot),
    "logaddexp": (bl.logaddexp, np.logaddexp, lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y))),
    "xlogy": (bl.xlogy, REGISTRY["xlogy"].forward, lambda x, y: x * mpmath.log(y)),
}
ROOT = Path(__file__).parent.parent
STEP = 1 << 20


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def _softplus(x):
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _inverse_erf(x):
    y = abs(mpmath.mpf(float(REGISTRY["erfinv"].forward(np.array(float(x))))))
    for _ in range(4):  # Newton's method, on the tail where that is small
        off = mpmath.erfc(y) - (1 - abs(x)) if y > 0.5 else abs(x) - mpmath.erf(y)
        y += off * mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(y * y)
    return mpmath.sign(x) * y


# the function, NumPy's own, one in double precision, one of any precision, and where float64 is sampled
FUNCTIONS = {
    "exp": (bl.exp, np.exp, np.exp, mpmath.exp, (-745, 709.78)),
    "expm1": (bl.expm1, np.expm1, np.expm1, mpmath.expm1, (-45, 709.78)),
    "log": (bl.log, np.log, np.log, mpmath.log, (0, 10)),
    "log1p": (bl.log1p, np.log1p, np.log1p, mpmath.log1p, (-1, 10)),
    "sin": (bl.sin, np.sin, np.sin, mpmath.sin, (-100, 100)),
    "cos": (bl.cos, np.cos, np.cos, mpmath.cos, (-100, 100)),
    "tanh": (bl.tanh, np.tanh, np.tanh, mpmath.tanh, (-25, 25)),
    "erf": (bl.erf, REGISTRY["erf"].forward, REGISTRY["erf"].forward, mpmath.erf, (-6.5, 6.5)),
    "normal_cdf": (REGISTRY["normal_cdf"], REGISTRY["normal_cdf"].forward, REGISTRY["normal_cdf"].forward, lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2, (-38.4, 9)),
    "sigmoid": (F.sigmoid, REGISTRY["sigmoid"].forward, _sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), (-746, 45)),
    "softplus": (REGISTRY["softplus"], REGISTRY["softplus"].forward, _softplus, lambda x: mpmath.log1p(mpmath.exp(x)), (-746, 45)),
    "exp2": (bl.exp2, np.exp2, np.exp2, lambda x: mpmath.mpf(2) ** x, (-1074, 1024)),
    "log2": (bl.log2, np.log2, np.log2, lambda x: mpmath.log(x) / mpmath.log(2), (0, 10)),
    "log10": (bl.log10, np.log10, np.log10, mpmath.log10, (0, 10)),
    "cbrt": (bl.cbrt, np.cbrt, np.cbrt, lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), (-10, 10)),
    "logit": (bl.logit, REGISTRY["logit"].forward, REGISTRY["logit"].forward, lambda x: mpmath.log(x / (1 - x)), (0, 1)),
    "tan": (bl.tan, np.tan, np.tan, mpmath.tan, (-100, 100)),
    "asin": (bl.asin, np.arcsin, np.arcsin, mpmath.asin, (-1, 1)),
    "acos": (bl.acos, np.arccos, np.arccos, mpmath.acos, (-1, 1)),
    "atan": (bl.atan, np.arctan, np.arctan, mpmath.atan, (-10, 10)),
    "sinh": (bl.sinh, np.sinh, np.sinh, mpmath.sinh, (-710, 710)),
    "cosh": (bl.cosh, np.cosh, np.cosh, mpmath.cosh, (-710, 710)),
    "asinh": (bl.asinh, np.arcsinh, np.arcsinh, mpmath.asinh, (-10, 10)),
    "acosh": (bl.acosh, np.arccosh, np.arccosh, mpmath.acosh, (1, 10)),
    "atanh": (bl.atanh, np.arctanh, np.arctanh, mpmath.atanh, (-1, 1)),
    "sinc": (bl.sinc, REGISTRY["sinc"].forward, REGISTRY["sinc"].forward, mpmath.sincpi, (-30, 30)),
    "erfc": (bl.erfc, REGISTRY["erfc"].forward, REGISTRY["erfc"].forward, mpmath.erfc, (-7, 27)),
    "erfinv": (bl.erfinv, REGISTRY["erfinv"].forward, REGISTRY["erfinv"].forward, _inverse_erf, (-1, 1)),
    "lgamma": (bl.lgamma, REGISTRY["lgamma"].forward, REGISTRY["lgamma"].forward, lambda x: mpmath.log(abs(mpmath.gamma(x))), (-20, 30)),
    "digamma": (bl.digamma, REGISTRY["digamma"].forward, REGISTRY["digamma"].forward, mpmath.digamma, (-6, 30)),
    "trigamma": (REGISTRY["trigamma"], REGISTRY["trigamma"].forward, REGISTRY["trigamma"].forward, lambda x: mpmath.polygamma(1, x), (-20, 30)),
    "sqrt": (bl.sqrt, np.sqrt, np.sqrt, mpmath.sqrt, (0, 10)),
}  # fmt: skip


def compiled(f, *arrays):
    return Program(make_graph(f)(*arrays), threads=1)


def float32_error(name: str, every: int = 1) -> tuple[float, float]:
    """The greatest error over all float32, and where."""
    f, _, reference, _, _ = FUNCTIONS[name]
    program = compiled(f, np.ones(STEP, np.float32))
    worst, where = 0.0, 0.0
    with np.errstate(all="ignore"):
        for start in range(0, 2**32, STEP * every):
            x = np.arange(start, start + STEP, dtype=np.int64).astype(np.uint32).view(np.float32)
            (got,) = program(x)
            exact = reference(x.astype(np.float64))
            rounded = exact.astype(np.float32)
            if not (np.isnan(got) == np.isnan(exact)).all():
                raise AssertionError(f"{name}: NaN and numbers are mistaken for each other")
            unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(np.float32).max)).astype(np.float64)
            below = np.spacing(np.nextafter(np.abs(rounded), np.float32(0)))
            unit = np.where(np.abs(rounded) > np.abs(exact), below, unit)
            top = 2.0**128  # an overflow counts as the next power of two
            error = np.abs(np.clip(got.astype(np.float64), -top, top) - np.clip(exact, -top, top)) / unit
            at = int(np.nanargmax(error)) if not np.isnan(error).all() else 0
            if error[at] > worst:
                worst, where = float(error[at]), float(x[at])
    return worst, where


def exact_error(function, got, *inputs) -> np.ndarray:
    """Errors of float64 results."""
    info, errors = np.finfo(np.float64), []
    with mpmath.workprec(200):
        for found, *values in zip(got, *inputs, strict=True):
            exact = function(*map(mpmath.mpf, map(float, values)))
            exponent = max(int(mpmath.floor(mpmath.log(abs(exact), 2))), info.minexp) if exact else info.minexp
            errors.append(float(abs(mpmath.mpf(float(found)) - exact) / mpmath.mpf(2) ** (exponent - info.nmant)))
    return np.array(errors)


def samples(low: float, high: float, n: int) -> np.ndarray:
    """Evenly, by size, near 1 and near the ends."""
    rng = np.random.default_rng(0)
    even = rng.uniform(low, high, n)
    sized = even * 10.0 ** rng.uniform(-12, 0, n)
    near = 1 + rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-9, 0, n)
    ends = np.concatenate([low + rng.uniform(0, 1, n // 4), high - rng.uniform(0, 1, n // 4)])
    x = np.concatenate([even, sized, near, ends])
    return x[(x > low) & (x < high)]


def float64_error(name: str, n: int) -> tuple[float, float]:
    """The greatest error at samples of float64, and where."""
    f, _, _, function, (low, high) = FUNCTIONS[name]
    x = samples(low, high, n)
    if name in ("sin", "cos", "tan"):
        rng = np.random.default_rng(1)
        x = np.concatenate([x, 2.0 ** rng.uniform(0, 1023, n), np.rint(rng.uniform(0, 2**20, n)) * (np.pi / 2)])
    (got,) = compiled(f, x)(x)
    errors = exact_error(function, got, x)
    return float(errors.max()), float(x[errors.argmax()])


def arguments(name: str, dtype, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of two arguments for which there is a finite result."""
    rng = np.random.default_rng(0)
    if name == "logaddexp":  # of which the result is not near 0, where its terms cancel
        return rng.uniform(0, 3, n).astype(dtype), rng.uniform(-40, 3, n).astype(dtype)
    wide = 10.0 ** rng.uniform(-30, 30, n)
    if name != "pow":
        x, y = rng.uniform(-3, 3, (2, 2 * n))
        x, y = x * np.concatenate([np.ones(n), wide]), np.abs(y) * np.concatenate([np.ones(n), wide[::-1]])
        return x.astype(dtype), y.astype(dtype)
    size = 700.0 if dtype == np.float64 else 85.0
    near = 1 + rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-9, 0, n)
    x = np.concatenate([rng.uniform(0, 10, n), near, wide]).astype(dtype)
    x = x[(x > 0) & (x != 1)]
    return x, (rng.uniform(-1, 1, len(x)) * size / np.log(x.astype(np.float64))).astype(dtype)


def binary_error(name: str, dtype, n: int) -> tuple[float, float]:
    """The greatest error of a function of two arguments at samples, and where the first is."""
    f, theirs, function = BINARY[name]
    x, y = arguments(name, dtype, n)
    (got,) = compiled(f, x, y)(x, y)
    if dtype == np.float64:
        errors = exact_error(function, got, x, y)
    else:
        exact = theirs(x.astype(np.longdouble), y.astype(np.longdouble))
        errors = (np.abs(got - exact) / np.spacing(np.abs(exact).astype(np.float32))).astype(float)
    return float(errors.max()), float(x[errors.argmax()])


def nanoseconds(run, n: int) -> float:
    """Per element: the best of many runs."""
    times = []
    end = time.perf_counter() + 0.15
    while time.perf_counter() < end:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return min(times) / n * 1e9


def kernel(program, *arrays):
    """What runs the native code of a program again on the same memory, without the cost of a call from Python."""
    results = program.run(arrays, in_place=False)
    ((start, stop, _),) = program._segments
    return lambda kept=(results, arrays): program._run(0, program._program_address, start, stop)


def speed(name: str, dtype) -> tuple[float, float]:
    """Nanoseconds an element of the compiled function and of NumPy's, on arrays that the second-level cache holds."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.1, 3.0, 16384).astype(dtype), rng.uniform(-2.0, 2.0, 16384).astype(dtype)
    out = np.empty_like(x)
    if name in BINARY:
        f, theirs, _ = BINARY[name]
        y = np.abs(y) if name == "xlogy" else y
        run = kernel(compiled(f, x, y), x, y)
        return nanoseconds(run, x.size), nanoseconds(lambda: theirs(x, y), x.size)
    if name in ("asin", "acos", "atanh", "erfinv", "logit"):
        x = x / dtype(3.1)
    if name == "acosh":
        x = x + dtype(1)
    f, theirs, _, _, _ = FUNCTIONS[name]
    own = not isinstance(theirs, np.ufunc)
    return (
        nanoseconds(kernel(compiled(f, x), x), x.size),
        nanoseconds((lambda: theirs(x)) if own else (lambda: theirs(x, out=out)), x.size),
    )


NAMES = [*FUNCTIONS, *BINARY]
PAGE = """\
# Mathematics

Compiled programs write the elementary functions out as vectors of their own instructions: no library is called, so a
function is fused with what stands before and after it, and its bits are the same for any number of threads. Eager code
uses NumPy's functions (`erf`, `erfc`, `erfinv`, `lgamma`, `digamma`, `trigamma`, `normal_cdf`, `sigmoid`, `softplus`, `logit` and
`sinc` are backlit's own); the two agree within the errors of both.

## Errors

In units in the last place of the exact result, the greatest that were found. For float32: at every number there is (where the
table says 1 in n, at one block of 2^20 neighbours in n), against double precision. For float64: at {samples:,} and more
numbers of every size, near 1 and at both ends of the range, against mpmath with 200 bits ({few:,} for the functions from `exp2` to
`trigamma` and those of two arguments). Functions of two arguments are sampled in both. Special
values (zeros of both signs, infinities, NaN) are as C's functions have them, and tests pin them.

{errors}

- `sin`, `cos` and `tan` hold their error for every argument: large ones are reduced with as many bits of 2/pi as they need, by
  integers.
- `relu`, `abs`, `sign`, `floor`, `ceil`, `trunc`, `round`, `copysign`, `nextafter`, `rsqrt`, `maximum`, `minimum`, comparisons, tests
  such as `isnan` and all arithmetic have NumPy's bits.
- `lgamma` holds its error next to its zeros, of which there are two between integers below -2, too; `digamma` down to -6. Below,
  next to the zero between integers, where the two parts of its reflection cancel, float64 is exact to a few units of these, not
  of the result. `logaddexp` near 0 is likewise exact to units of the larger operand.
- Many functions of float32 are computed in double precision and rounded, hence 0.50.
- `gelu(x)` is `x * normal_cdf(x)`: half a unit more, but where `normal_cdf` is subnormal, which `x` multiplies. Other composed
  functions (`silu`, `softmax`, ...) have the errors of their parts likewise.
- Without fused multiply-add (x86-64 before 2013) an error grows by 0.2 at most; tests hold them to that.

## Speed

Nanoseconds an element on one thread, 16,384 elements, {vectors}-bit vectors, the best of many runs beside NumPy in the same
process, both on memory that is there already. A fused program is faster than the sum of its functions, as there is one pass
over memory.

{speed}

Both tables are written by `make functions`, which measures them: some minutes for each function at every float32.
"""


def page(found: dict) -> str:
    """The page of the measurements."""
    errors = ["| function | float32 | at | float64 | at |", "|---|---|---|---|---|"]
    times = ["| function | float32 | NumPy | float64 | NumPy |", "|---|---|---|---|---|"]
    for name in NAMES:
        (e32, at32, *every), (e64, at64) = (found["errors"][f"{name} {kind}"] for kind in ("float32", "float64"))
        some = f" (1 in {every[0]})" if every and every[0] > 1 else ""
        errors.append(f"| `{name}` | {e32:.2f}{some} | {at32:.6g} | {e64:.2f} | {at64:.6g} |")
        (own32, np32), (own64, np64) = (found["speed"][f"{name} {kind}"] for kind in ("float32", "float64"))
        times.append(f"| `{name}` | {own32:.2f} | {np32:.2f} | {own64:.2f} | {np64:.2f} |")
    return PAGE.format(
        errors="\n".join(errors),
        speed="\n".join(times),
        samples=found["samples"],
        few=found.get("few", found["samples"]),
        vectors=found["vectors"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["errors", "speed", "page"])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--json", type=Path, default=ROOT / "runs" / "functions.json")
    parser.add_argument("--every", type=int, default=1, help="one block of float32 in so many")
    parser.add_argument("--samples", type=int, default=20_000)
    options = parser.parse_args()
    found = json.loads(options.json.read_text()) if options.json.exists() else {"errors": {}, "speed": {}}
    if options.what == "page":
        (ROOT / "docs" / "math.md").write_text(page(found), encoding="utf-8")
        return
    for name in options.names:
        for dtype in (np.float32, np.float64):
            kind = np.dtype(dtype).name
            if options.what == "speed":
                result: tuple[float, ...] = speed(name, dtype)
            elif name in BINARY:
                result = binary_error(name, dtype, options.samples)
            elif kind == "float32":
                result = (*float32_error(name, options.every), options.every)
            else:
                result = float64_error(name, options.samples)
            found[options.what][f"{name} {kind}"] = result
            print(f"{options.what} {name} {kind}: {result[0]:.3f} {result[1]:.6g}", flush=True)
    found |= {"vectors": 8 * features().vector_bytes}
    if options.what == "errors":
        found |= {"samples" if options.samples >= found.get("samples", 0) else "few": options.samples}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
