"""The functions of native loops, held against references of higher precision, and bit by bit where a value is special."""

from __future__ import annotations

import ctypes
import math
import re
import struct
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest

from backlit.compiler.llvm.arithmetic import FORMATS, Floats
from backlit.compiler.llvm.functions import FUNCTIONS
from backlit.compiler.llvm.rare import definitions
from backlit.compiler.llvm.reduction import HALF_PI, TWO_OVER_PI
from backlit.compiler.llvm.target import Code, features, restricted, vector_bytes
from backlit.compiler.llvm.writer import declarations
from backlit.core.op import REGISTRY
from backlit.ops import special
from backlit.ops.gamma_tables import DIGAMMA_ROOTS, LGAMMA_CLOSE_ROOTS, LGAMMA_ROOTS

KINDS = {"float": np.float32, "double": np.float64}
WIDER = {"float": np.float64, "double": np.longdouble}
BITS = {"float": np.uint32, "double": np.uint64}
BINARY = ("pow", "atan2", "hypot", "logaddexp", "xlogy")
UNARY = sorted(set(FUNCTIONS) - set(BINARY))
# Functions that NumPy lacks and doubles of which are held against mpmath.
EXACTLY = {
    "lgamma": lambda x: mpmath.re(mpmath.loggamma(x)), "digamma": mpmath.digamma, "trigamma": lambda x: mpmath.polygamma(1, x),
    "erfc": mpmath.erfc, "erfinv": lambda x: inverse_erf(x),
}  # fmt: skip
HAS_WIDER = {"float": True, "double": np.finfo(np.longdouble).nmant >= 63}

# The greatest errors allowed, in units in the last place: for all float32 (measured) and for doubles sampled here.
LIMITS = {
    "exp": (1.0, 1.0), "expm1": (1.6, 1.6), "log": (1.0, 1.0), "log1p": (1.5, 1.5), "pow": (0.51, 1.2),
    "sin": (1.8, 1.6), "cos": (1.8, 1.6), "tanh": (2.7, 2.7), "erf": (1.3, 1.5), "normal_cdf": (3.8, 3.4), "sigmoid": (2.5, 2.5),
    "softplus": (2.0, 2.0), "exp2": (1.0, 1.0), "log2": (1.1, 1.1), "log10": (1.2, 0.9), "cbrt": (0.51, 0.51),
    "logit": (1.7, 1.4), "tan": (0.51, 3.4), "asin": (2.7, 2.2), "acos": (1.3, 1.3), "atan": (2.1, 1.7), "sinh": (1.7, 1.6),
    "cosh": (1.4, 1.3), "asinh": (2.5, 2.5), "acosh": (2.8, 3.0), "atanh": (2.3, 1.8), "sinc": (0.51, 3.2),
    "atan2": (2.5, 2.1), "hypot": (0.51, 1.0), "logaddexp": (2.7, 2.7), "xlogy": (1.8, 1.8), "lgamma": (0.51, 3.0),
    "digamma": (0.51, 2.9), "trigamma": (0.51, 2.9), "erfc": (0.51, 3.9), "erfinv": (0.51, 2.6),
}  # fmt: skip
# Where each function does something: beyond, it is constant, overflows or is near its argument.
RANGES = {
    "exp": (-746, 710), "expm1": (-45, 710), "log": (0, 10), "log1p": (-1, 10), "sin": (-100, 100), "cos": (-100, 100),
    "tanh": (-25, 25), "erf": (-6.5, 6.5), "normal_cdf": (-38.6, 9), "sigmoid": (-746, 45), "softplus": (-746, 45),
    "exp2": (-1076, 1025), "log2": (0, 10), "log10": (0, 10), "cbrt": (-10, 10), "logit": (0, 1), "tan": (-100, 100),
    "asin": (-1, 1), "acos": (-1, 1), "atan": (-10, 10), "sinh": (-711, 711), "cosh": (-711, 711), "asinh": (-10, 10),
    "acosh": (1, 10), "atanh": (-1, 1), "sinc": (-20, 20), "lgamma": (0, 20), "digamma": (0, 20), "trigamma": (-20, 20),
    "erfc": (-7, 28), "erfinv": (-1, 1),
}  # fmt: skip


class Writer:
    """The instructions of one pass through a loop."""

    def __init__(self, lanes: int) -> None:
        self.lanes, self.lines = lanes, []

    def new(self, instruction):
        self.lines.append(f"%v{len(self.lines)} = {instruction}")
        return f"%v{len(self.lines) - 1}"

    def type(self, scalar):
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def constant(self, scalar, value):
        floating = scalar in KINDS
        bits = struct.unpack("<Q", struct.pack("<d", float(KINDS[scalar](value))))[0] if floating else 0
        text = f"0x{bits:016X}" if floating else str(int(value))
        return text if self.lanes == 1 else f"<{', '.join([f'{scalar} {text}'] * self.lanes)}>"

    def call(self, name, scalar, *operands):
        width = ("" if self.lanes == 1 else f"v{self.lanes}") + {"float": "f32", "double": "f64"}[scalar]
        typed = self.type(scalar)
        return self.new(f"call {typed} @{name}.{width}({', '.join(f'{typed} {o}' for o in operands)})")


class Native:
    """A loop over arrays that applies a function to `lanes` elements at a time."""

    def __init__(self, function, kind, n_inputs=1, lanes=None):
        self.dtype = np.dtype(KINDS[kind])
        self.lanes = lanes or vector_bytes() // self.dtype.itemsize
        w = Writer(self.lanes)
        pointers, operands = [], []
        for k in range(n_inputs + 1):
            at = f"%p{k} = load ptr, ptr %s{k}"
            pointers += [f"%s{k} = getelementptr ptr, ptr %pointers, i64 {k}", at]
            at = w.new(f"getelementptr {kind}, ptr %p{k}, i64 %i")
            if k < n_inputs:
                operands.append(w.new(f"load {w.type(kind)}, ptr {at}, align {self.dtype.itemsize}"))
        made = function(w, kind, *operands)
        text = "\n".join([
            "define void @loop(ptr %pointers, i64 %n) {", "entry:", *pointers, "br label %test",
            "test:", "%i = phi i64 [ 0, %entry ], [ %next, %body ]", "%more = icmp slt i64 %i, %n",
            "br i1 %more, label %body, label %done",
            "body:", *w.lines, f"store {w.type(kind)} {made}, ptr {at}, align {self.dtype.itemsize}",
            f"%next = add i64 %i, {self.lanes}", "br label %test", "done:", "ret void", "}",
        ])  # fmt: skip
        text += "\n" + definitions(text)
        self.code = Code(text + "\n" + declarations(text))
        self.loop = self.code.function("loop")

    def __call__(self, *inputs):
        n = len(inputs[0])
        padded = [np.pad(np.asarray(x, self.dtype), (0, -n % self.lanes), constant_values=1) for x in inputs]
        out = np.empty_like(padded[0])
        pointers = (ctypes.c_void_p * (len(padded) + 1))(*(a.ctypes.data for a in (*padded, out)))
        self.loop(ctypes.addressof(pointers), len(out))
        return out[:n]


@cache
def _native(name, kind, lanes, without):
    with restricted(features(without)):
        return Native(FUNCTIONS[name], kind, 2 if name in BINARY else 1, lanes)


LEVEL = [""]  # what is left out of the machine's instructions


def native(name, kind, lanes=None):
    return _native(name, kind, lanes, LEVEL[0])


@pytest.fixture(params=["", "avx512f", "avx"])
def level(request):
    """Each instruction set that runs here; without AVX there is no fused multiply-add."""
    LEVEL[0] = request.param
    yield
    LEVEL[0] = ""


def erf(x):
    """The error function in the precision of `x`: exp(-x^2) times a sum of positive terms."""
    if x.dtype == np.float64:
        return special.erf.forward(x)
    z = np.minimum(np.abs(x), 7)  # NaN stays
    term = total = z
    for n in range(1, 200):
        term = term * (2 * z * z / (2 * n + 1))
        total = total + term
    constant = np.sqrt(np.arctan(np.longdouble(1)))  # sqrt(pi) / 2
    return np.copysign(np.where(z < 7, total * np.exp(-z * z) / constant, z / z), x)


def normal_cdf(x):
    """The distribution function of normal variables: by `erf`, in the lower tail by a continued fraction (Laplace)."""
    z = np.clip(np.abs(x), 2.5, 60)
    high = z.astype(np.float32).astype(x.dtype)  # the square of which is exact
    bell = np.exp(-high * high / 2) * np.exp(-(z - high) * (z + high) / 2)
    t = z
    for k in range(150, 0, -1):
        t = z + k / t
    tail = bell / t / np.sqrt(8 * np.arctan(x.dtype.type(1)))
    middle = (1 + erf(np.clip(x, -3, 60) * np.sqrt(x.dtype.type(0.5)))) / 2
    return np.where(x < -2.5, tail, middle)


def sinc(x):
    pi = 4 * np.arctan(x.dtype.type(1))
    whole = np.rint(x)
    value = np.sin(pi * (x - whole)) / (pi * np.where(x == 0, 1, x))
    return np.where(x == 0, 1, np.where(np.rint(whole / 2) != whole / 2, -value, value))


def logaddexp(x, y):
    larger = np.maximum(x, y)
    return larger + np.log1p(np.exp(np.where(x == y, 0, -np.abs(x - y))))


def inverse_erf(x):
    """Newton's method from the value of the reference, on the tail where that is small."""
    y = abs(mpmath.mpf(float(REGISTRY["erfinv"].forward(np.array(float(x))))))
    for _ in range(4):
        off = mpmath.erfc(y) - (1 - abs(x)) if y > 0.5 else abs(x) - mpmath.erf(y)
        y -= -off * mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(y * y)
    return mpmath.sign(x) * y


REFERENCES = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "pow": np.power, "erf": erf, "normal_cdf": normal_cdf, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "exp2": np.exp2, "log2": np.log2, "log10": np.log10, "cbrt": np.cbrt, "logit": lambda x: np.where(np.abs(x - 0.5) < 0.25, 2 * np.arctanh(2 * x - 1), np.log(x / (1 - x))),
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "atan2": np.arctan2, "hypot": np.hypot, "sinc": sinc,
    "logaddexp": logaddexp, "xlogy": lambda x, y: np.where((x == 0) & ~np.isnan(y), 0, x * np.log(y)),
} | {name: REGISTRY[name].forward for name in EXACTLY}  # fmt: skip


def ulps(got, exact):
    """Errors in units in the last place of the exact value; an overflow counts as the next power of two."""
    info = np.finfo(got.dtype)
    end = np.ldexp(exact.dtype.type(1), info.maxexp)
    got, exact = (np.clip(x.astype(exact.dtype), -end, end) for x in (got, exact))
    exponent = np.clip(np.frexp(exact)[1] - 1, info.minexp, info.maxexp - 1)
    error = np.abs(got - exact) * np.ldexp(exact.dtype.type(1), info.nmant - exponent)
    return np.where(np.isnan(got) & np.isnan(exact), 0, np.where(np.isnan(error), np.inf, error))


def assert_close(name, kind, *inputs):
    """The errors of a function at samples are within its limits."""
    inputs = [x.astype(KINDS[kind]) for x in inputs]
    error = ulps(native(name, kind)(*inputs), REFERENCES[name](*(x.astype(WIDER[kind]) for x in inputs)))
    worst = error.argmax()
    # rounding twice instead of once adds up to a tenth of a unit (measured)
    allowed = LIMITS[name][kind == "double"] + (0.0 if features(LEVEL[0]).fma else 0.2)
    assert error[worst] <= allowed, f"{name} at {[x[worst] for x in inputs]}: {error[worst]}"


def same_bits(got, wanted):
    """Equal, zeros in their sign, any NaN like any other."""
    return (got.view(BITS_OF[got.dtype]) == wanted.view(BITS_OF[got.dtype])) | (np.isnan(got) & np.isnan(wanted))


BITS_OF = {np.dtype(KINDS[kind]): BITS[kind] for kind in KINDS}


@pytest.fixture(autouse=True)
def quiet():
    """References overflow and meet NaN without a warning."""
    with np.errstate(all="ignore"):
        yield


def random_bits(rng, kind, n):
    return rng.integers(0, np.iinfo(BITS[kind]).max, n, BITS[kind], endpoint=True).view(KINDS[kind])


needs_wider = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=pytest.mark.skipif(not HAS_WIDER[k], reason="no 80-bit numbers to compare with"))
        for k in KINDS
    ],
)


@needs_wider
@pytest.mark.parametrize("name", sorted(set(UNARY) - set(EXACTLY)))
def test_error_of_functions_of_one_argument(name, kind, level):
    rng = np.random.default_rng(0)
    n, (low, high) = 40_000, RANGES[name]
    everywhere = rng.uniform(low, high, n)
    assert_close(name, kind, np.concatenate([
        random_bits(rng, kind, n), everywhere, everywhere * 10.0 ** rng.uniform(-9, 0, n), np.linspace(-2, 2, n),
        1 + rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-9, 0, n),
    ]))  # fmt: skip


@pytest.mark.parametrize("name", EXACTLY)
def test_error_of_floats_by_functions_that_numpy_lacks(name, level):
    rng = np.random.default_rng(0)
    n, (low, high) = 40_000, RANGES[name]
    everywhere = rng.uniform(low, high, n)
    assert_close(name, "float", np.concatenate([
        random_bits(rng, "float", n), everywhere, -everywhere, everywhere * 10.0 ** rng.uniform(-9, 0, n), np.linspace(-2, 2, n),
    ]))  # fmt: skip


@pytest.mark.parametrize("name", EXACTLY)
def test_error_of_doubles_by_functions_that_numpy_lacks(name, level):
    """Native code and the reference in NumPy, which is the same but for fused multiply-add."""
    rng = np.random.default_rng(0)
    n, (low, high) = 150, RANGES[name]
    root = 1.4616321449683622  # of digamma
    x = np.concatenate([
        rng.uniform(low, high, 2 * n), rng.uniform(low, min(high, 5.5), 2 * n), 10.0 ** rng.uniform(-290, 0, n), 1 - 10.0 ** rng.uniform(-16, 0, n),
        *(at + rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-15, -1, n) for at in (1, 2, root)), 10.0 ** rng.uniform(0, 200, n),
    ])  # fmt: skip
    inside = (low < x) & (x < (high if high < 20 or name == "erfc" else np.inf))
    x = x[inside if name != "trigamma" else np.abs(x) > 1e-150]
    allowed = LIMITS[name][1] + (0.0 if features(LEVEL[0]).fma else 0.2)
    for got in (native(name, "double")(x), REGISTRY[name].forward(x)):
        errors = exact_ulps(EXACTLY[name], x, got)
        assert errors.max() <= allowed, (x[errors.argmax()], errors.max())


def around(points, rng, n=20):
    """The nearest doubles, and some at every distance."""
    steps = points[:, None] + np.arange(-4, 5) * np.spacing(np.abs(points))[:, None]
    wider = points[:, None] + rng.choice([-1, 1], (len(points), n)) * 10.0 ** rng.uniform(-15, -0.5, (len(points), n))
    x = np.concatenate([steps.ravel(), wider.ravel()])
    return x[x != np.rint(x)]


def test_lgamma_of_negative_numbers(level):
    """Next to each of its zeros, of which there are two between integers below -2, and to poles, and anywhere."""
    rng = np.random.default_rng(1)
    poles = -np.arange(1.0, 20.0)
    close = poles[3:] + np.array([[1], [-1]]) / np.array([math.factorial(n) for n in range(4, 20)], float)
    roots = np.concatenate([[root for root, *_ in (*LGAMMA_ROOTS, *LGAMMA_CLOSE_ROOTS)], close.ravel()])
    x = np.concatenate(
        [around(roots, rng), around(poles, rng), -rng.uniform(0, 60, 300), -(10.0 ** rng.uniform(-18, 8, 200))]
    )
    x = x[(x < 0) & (x != np.rint(x))]
    for got in (native("lgamma", "double")(x), REGISTRY["lgamma"].forward(x)):
        errors = exact_ulps(lambda x: mpmath.log(abs(mpmath.gamma(x))), x, got)
        assert errors.max() <= 3.0, x[errors.argmax()]


def test_digamma_of_negative_numbers(level):
    """Next to its first zeros; farther down it is exact to units of the greater part of its reflection."""
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [
            around(np.array([root for root, *_ in DIGAMMA_ROOTS]), rng),
            -rng.uniform(0, 6, 400),
            -(10.0 ** rng.uniform(-18, 0, 100)),
        ]
    )
    x = x[(x < 0) & (x > -6) & (x != np.rint(x))]
    errors = exact_ulps(mpmath.digamma, x, native("digamma", "double")(x))
    assert errors.max() <= 3.9, x[errors.argmax()]
    x = -(10.0 ** rng.uniform(0.8, 5, 400))
    got = native("digamma", "double")(x)
    with mpmath.workdps(50):
        for a, found in zip(map(float, x), map(float, got), strict=True):
            part, exact = mpmath.digamma(1 - mpmath.mpf(a)), mpmath.digamma(mpmath.mpf(a))
            assert abs(found - exact) <= 3.5 * 2.0**-52 * max(part, abs(exact)), (a, found, exact)


def test_powers_of_the_base_are_exact(level):
    n = np.arange(-1074.0, 1024.0)
    assert (native("exp2", "double")(n) == np.ldexp(1.0, n.astype(int))).all()
    assert (native("log2", "double")(np.ldexp(1.0, n.astype(int))) == n).all()
    assert (native("log10", "double")(10.0 ** np.arange(23)) == np.arange(23)).all()
    whole = np.arange(-300.0, 301.0)
    assert (native("cbrt", "double")(whole**3) == whole).all()


@needs_wider
@pytest.mark.parametrize("name", ["atan2", "hypot", "xlogy"])
def test_error_of_functions_of_two_arguments(name, kind, level):
    rng = np.random.default_rng(1)
    n = 40_000
    assert_close(name, kind, random_bits(rng, kind, n), random_bits(rng, kind, n))
    x, y = rng.uniform(-3, 3, n), rng.uniform(-3, 3, n)
    assert_close(name, kind, x, y)
    size = 10.0 ** rng.uniform(-30, 30, n)
    assert_close(name, kind, x * size, y * size)
    assert_close(name, kind, x * 10.0 ** rng.uniform(-9, 0, n), y)


@needs_wider
def test_error_of_logaddexp(kind, level):
    """In units of the greatest of the result and its two terms, the larger operand and a logarithm, which may cancel."""
    rng = np.random.default_rng(1)
    n = 40_000
    for x, y in (
        (rng.uniform(-3, 3, (2, n))),
        rng.uniform(-800, 800, (2, n)),
        random_bits(rng, kind, 2 * n).reshape(2, n),
    ):
        x, y = x.astype(KINDS[kind]), y.astype(KINDS[kind])
        got, exact = native("logaddexp", kind)(x, y), logaddexp(x.astype(WIDER[kind]), y.astype(WIDER[kind]))
        larger = np.maximum(x, y)
        unit = np.spacing(np.maximum(np.maximum(np.abs(larger), np.abs(got)), np.abs(got - larger)))
        error = np.abs(got - exact) / unit
        whole = np.isfinite(exact) & np.isfinite(got)
        assert (whole | (got == exact) | (np.isnan(got) & np.isnan(exact))).all()
        assert error[whole].max() <= LIMITS["logaddexp"][0]


@needs_wider
def test_error_of_pow(kind, level):
    rng = np.random.default_rng(1)
    n = 40_000
    assert_close("pow", kind, random_bits(rng, kind, n), random_bits(rng, kind, n))
    assert_close("pow", kind, rng.uniform(0, 10, n), rng.uniform(-40, 40, n))
    assert_close("pow", kind, rng.uniform(-10, 10, n), np.rint(rng.uniform(-40, 40, n)))
    # near 1, where the logarithm is small, and the exponent such that the result is anywhere in range
    x = (1 + rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-6, 0, n)).astype(KINDS[kind])
    y = rng.uniform(-1, 1, n) * (750 if kind == "double" else 105) / np.log(x.astype(np.float64))
    assert_close("pow", kind, x, y)
    # subnormal bases and results
    x = random_bits(rng, kind, n) * np.finfo(KINDS[kind]).smallest_normal
    assert_close("pow", kind, np.abs(x), rng.uniform(-1.1, 1.1, n))


@needs_wider
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_error_next_to_multiples_of_half_pi_and_up_to_the_bound(name, kind, level):
    rng = np.random.default_rng(2)
    n = 40_000
    turns = np.concatenate([np.arange(-2000.0, 2000.0), np.rint(rng.uniform(-1, 1, n) * 2.0 ** rng.uniform(10, 35, n))])
    x = (turns * (np.pi / 2)).astype(KINDS[kind])
    assert_close(name, kind, np.concatenate([x, np.nextafter(x, x.dtype.type(9e9)), np.nextafter(x, x.dtype.type(0))]))
    assert_close(name, kind, rng.uniform(-1, 1, n) * 2.0 ** rng.uniform(0, 32, n))


NEVER = math.nan
SPECIAL = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (math.inf, math.inf), (-math.inf, 0.0), (1e4, math.inf), (-1e4, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -1.0), (1e4, math.inf), (-1e4, -1.0)],
    "log": [(1.0, 0.0), (0.0, -math.inf), (-0.0, -math.inf), (math.inf, math.inf), (-math.inf, NEVER), (-1.0, NEVER)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -math.inf), (math.inf, math.inf), (-math.inf, NEVER), (-2.0, NEVER)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (math.inf, NEVER), (-math.inf, NEVER)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (math.inf, NEVER), (-math.inf, NEVER)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (math.inf, 1.0), (-math.inf, -1.0), (1e4, 1.0), (-1e4, -1.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (math.inf, 1.0), (-math.inf, -1.0), (7.0, 1.0), (-7.0, -1.0)],
    "normal_cdf": [(0.0, 0.5), (-0.0, 0.5), (math.inf, 1.0), (-math.inf, 0.0), (50.0, 1.0), (-50.0, 0.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (math.inf, 1.0), (-math.inf, 0.0), (1e4, 1.0), (-1e4, 0.0)],
    "exp2": [(0.0, 1.0), (-0.0, 1.0), (math.inf, math.inf), (-math.inf, 0.0), (3.0, 8.0), (-1.0, 0.5), (2e3, math.inf), (-2e3, 0.0)],
    "log2": [(1.0, 0.0), (8.0, 3.0), (0.0, -math.inf), (-0.0, -math.inf), (math.inf, math.inf), (-math.inf, NEVER), (-1.0, NEVER)],
    "log10": [(1.0, 0.0), (1e3, 3.0), (0.0, -math.inf), (-0.0, -math.inf), (math.inf, math.inf), (-math.inf, NEVER), (-1.0, NEVER)],
    "cbrt": [(0.0, 0.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -math.inf), (27.0, 3.0), (-8.0, -2.0)],
    "logit": [(0.0, -math.inf), (-0.0, -math.inf), (0.5, 0.0), (1.0, math.inf), (-1.0, NEVER), (2.0, NEVER), (math.inf, NEVER)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (math.inf, NEVER), (-math.inf, NEVER)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.0, math.pi / 2), (-1.0, -math.pi / 2), (2.0, NEVER), (-2.0, NEVER), (math.inf, NEVER)],
    "acos": [(1.0, 0.0), (-1.0, math.pi), (0.0, math.pi / 2), (-0.0, math.pi / 2), (2.0, NEVER), (-2.0, NEVER), (math.inf, NEVER)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (1.0, math.pi / 4), (math.inf, math.pi / 2), (-math.inf, -math.pi / 2), (1e30, math.pi / 2)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -math.inf), (1e4, math.inf), (-1e4, -math.inf)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (math.inf, math.inf), (-math.inf, math.inf), (1e4, math.inf), (-1e4, math.inf)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -math.inf)],
    "acosh": [(1.0, 0.0), (0.5, NEVER), (-2.0, NEVER), (math.inf, math.inf), (-math.inf, NEVER)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, math.inf), (-1.0, -math.inf), (1.5, NEVER), (-1.5, NEVER), (math.inf, NEVER)],
    "sinc": [(0.0, 1.0), (-0.0, 1.0), (0.5, 2 / math.pi), (math.inf, NEVER), (-math.inf, NEVER)],
    "lgamma": [(0.0, math.inf), (-0.0, math.inf), (1.0, 0.0), (2.0, 0.0), (-1.0, math.inf), (-7.0, math.inf), (math.inf, math.inf), (-math.inf, math.inf)],
    "digamma": [(0.0, -math.inf), (-0.0, math.inf), (-1.0, NEVER), (-7.0, NEVER), (math.inf, math.inf), (-math.inf, NEVER)],
    "trigamma": [(0.0, math.inf), (-0.0, math.inf), (-1.0, math.inf), (-7.0, math.inf), (math.inf, 0.0), (-math.inf, NEVER)],
    "erfc": [(0.0, 1.0), (-0.0, 1.0), (math.inf, 0.0), (-math.inf, 2.0), (30.0, 0.0), (-7.0, 2.0)],
    "erfinv": [(0.0, 0.0), (-0.0, -0.0), (1.0, math.inf), (-1.0, -math.inf), (1.5, NEVER), (-1.5, NEVER), (math.inf, NEVER)],
    "softplus": [(0.0, math.log(2)), (-0.0, math.log(2)), (math.inf, math.inf), (-math.inf, 0.0), (1e4, 1e4), (-1e4, 0.0)],
}  # fmt: skip
ODD_AND_FLAT = (
    "expm1",
    "log1p",
    "sin",
    "tanh",
    "tan",
    "asin",
    "atan",
    "sinh",
    "asinh",
    "atanh",
)  # f(x) = x for tiny x, in both signs


@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name, kind, lanes, level):
    info = np.finfo(KINDS[kind])
    cases = [*SPECIAL[name], (math.nan, math.nan), (-math.nan, math.nan)]
    if name in ODD_AND_FLAT:
        tiny = (info.smallest_subnormal, 5 * info.smallest_subnormal, info.smallest_normal)
        cases += [(sign * float(x), sign * float(x)) for x in tiny for sign in (1, -1)]
    x, wanted = (np.array(column, KINDS[kind]) for column in zip(*cases, strict=True))
    got = native(name, kind, lanes)(x)
    assert same_bits(got, wanted).all(), (x, got, wanted)
    if name not in ("sigmoid", "softplus", "normal_cdf"):
        eager = REGISTRY[name].forward(x)
        known = wanted != 2 / math.pi
        assert (same_bits(eager, wanted) | (np.abs(eager - wanted) <= np.spacing(np.abs(wanted)))).all(), (
            x,
            eager,
            known,
        )


@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["atan2", "hypot", "logaddexp", "xlogy"])
def test_special_values_of_two_arguments(name, kind, lanes, level):
    info = np.finfo(KINDS[kind])
    one = [0.0, 0.25, 1.0, 3.0, float(info.smallest_subnormal), float(info.max), math.inf]
    one = np.array([*one, *(-a for a in one), math.nan], KINDS[kind])
    x, y = (grid.ravel() for grid in np.meshgrid(one, one))
    got, wanted = native(name, kind, lanes)(x, y), REGISTRY[name].forward(x, y)
    wrong = ~(
        same_bits(got, wanted)
        | ((np.signbit(got) == np.signbit(wanted)) & (np.abs(got - wanted) <= 2 * np.spacing(np.abs(wanted))))
    )
    assert not wrong.any(), list(zip(x[wrong], y[wrong], got[wrong], wanted[wrong], strict=True))


@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_special_values_of_pow(kind, lanes, level):
    info = np.finfo(KINDS[kind])
    last_odd = 2.0 ** (info.nmant + 1) - 1
    bases = [0.0, 0.25, 1.0, 4.0, math.inf]
    exponents = [0.0, 0.5, 1.0, 2.0, 3.0, last_odd, last_odd + 1, float(info.max), math.inf]
    values = [np.array([*v, *(-a for a in v), math.nan], KINDS[kind]) for v in (bases, exponents)]
    x, y = (grid.ravel() for grid in np.meshgrid(*values))
    got, wanted = native("pow", kind, lanes)(x, y), np.power(x, y)
    wrong = ~same_bits(got, wanted)
    assert not wrong.any(), list(zip(x[wrong], y[wrong], got[wrong], wanted[wrong], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_powers_that_are_numbers_of_the_format_are_exact(kind, level):
    x, y = (grid.ravel().astype(KINDS[kind]) for grid in np.meshgrid(np.arange(-40.0, 41.0), np.arange(0.0, 5.0)))
    wanted = np.array([int(a) ** int(b) for a, b in zip(x, y, strict=True)], KINDS[kind])
    assert (native("pow", kind)(x, y) == wanted).all()
    roots = np.arange(1.0, 4000.0).astype(KINDS[kind])
    assert (native("pow", kind)(roots * roots, np.full_like(roots, 0.5)) == roots).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_width_gives_the_same_bits(name, kind, level):
    rng = np.random.default_rng(3)
    inputs = [np.concatenate([random_bits(rng, kind, 999), rng.uniform(-3, 3, 1000)]).astype(KINDS[kind]) for _ in "xy"]
    inputs = inputs[: 2 if name in BINARY else 1]
    results = [native(name, kind, lanes)(*inputs) for lanes in (None, 1, 2, 16)]
    assert all(same_bits(results[0], r).all() for r in results[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_large_arguments_leave_their_neighbours_alone(kind):
    x = np.linspace(-3, 3, 64).astype(KINDS[kind])
    mixed = x.copy()
    mixed[::5] = 1e20
    small, got = native("sin", kind)(x), native("sin", kind)(mixed)
    large = np.arange(len(x)) % 5 == 0
    assert (got[~large] == small[~large]).all()
    assert np.allclose(got[large], np.sin(mixed[large].astype(np.float64)), rtol=1e-6)


def test_functions_out_of_line_are_defined_once_and_only_where_called():
    assert definitions("%a = call float @llvm.exp.f32(float %x)") == ""
    text = definitions("call <4 x float> @backlit.sin.v4f32(...)\n" * 2 + "call double @backlit.cos.f64(...)")
    assert text.count("define") == 4
    assert "@backlit.sin.v4f32(" in text and "@backlit.cos.f64(" in text


def test_bits_of_two_over_pi():
    with mpmath.workprec(1500):
        whole = int(mpmath.floor(2 / mpmath.pi * mpmath.mpf(2) ** (64 * len(TWO_OVER_PI))))
        assert int(mpmath.nint(mpmath.pi / 2 * 2**63)) == HALF_PI
    assert whole == sum(word << 64 * k for k, word in enumerate(reversed(TWO_OVER_PI)))


def exact_ulps(function, x, got):
    """Errors against mpmath, in units in the last place."""
    info, errors = np.finfo(got.dtype), []
    with mpmath.workprec(200):
        for value, found in zip(x, got, strict=True):
            exact = function(*(mpmath.mpf(float(v)) for v in np.atleast_1d(value)))
            exponent = max(int(mpmath.floor(mpmath.log(abs(exact), 2))), info.minexp) if exact else info.minexp
            errors.append(float(abs(mpmath.mpf(float(found)) - exact) / mpmath.mpf(2) ** (exponent - info.nmant)))
    return np.array(errors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_large_arguments(name, kind, level):
    """Of every size, and those nearest to multiples of pi / 2 (Muller, Elementary Functions, 11.3)."""
    rng = np.random.default_rng(0)
    info = np.finfo(KINDS[kind])
    hard = [6381956970095103 * 2.0**797, 6411027962775774 * 2.0**-48, 16367173.0 * 2.0**72, 2.0**30 + 1, info.max]
    hard = [x for x in hard if x <= info.max]
    x = np.array([*hard, *(2.0 ** rng.uniform(16, info.maxexp, 2000))]).astype(KINDS[kind])
    assert exact_ulps(getattr(mpmath, name), x, native(name, kind)(x)).max() <= max(1.8, LIMITS[name][1])


@pytest.mark.parametrize("kind", KINDS)
def test_hard_cases_of_pow(kind, level):
    """Results next to the middle between two numbers, to the greatest and least numbers, and large exponents near 1."""
    rng = np.random.default_rng(4)
    info = np.finfo(KINDS[kind])
    n = 300
    near = 1 + rng.integers(-40, 40, n) * float(info.eps)
    pairs = [
        (rng.uniform(0.5, 2, n), np.full(n, 2.0)), (rng.uniform(0.5, 2, n), np.full(n, -1.0)), (rng.uniform(1, 2, n), np.full(n, 0.5)),
        (near, rng.uniform(-1, 1, n) / float(info.eps)), (rng.uniform(1.9, 2.1, n), np.full(n, info.maxexp - 1.1)),
        (rng.uniform(1.9, 2.1, n), np.full(n, float(info.minexp - info.nmant + 3))), (rng.uniform(0, 1e3, n), rng.uniform(-3, 3, n)),
    ]  # fmt: skip
    x, y = (np.concatenate(part).astype(KINDS[kind]) for part in zip(*pairs, strict=True))
    with np.errstate(all="ignore"):
        kept = np.isfinite(np.power(x.astype(np.longdouble), y)) & np.isfinite(np.power(x, y))
    x, y = x[kept], y[kept]
    errors = exact_ulps(mpmath.power, np.stack([x, y], 1), native("pow", kind)(x, y))
    assert errors.max() <= 1.2, (x[errors.argmax()], y[errors.argmax()])


def test_functions_are_named_as_ops():
    assert set(FUNCTIONS) <= set(REGISTRY)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", range(1, 24))
def test_polynomials_of_every_length(kind, length):
    table = [float(n) for n in range(1, length + 1)]
    x = np.array([0.0, 1.0, -1.0, 2.0])[:, None]
    got = Native(lambda b, kind, x: Floats(b, kind).polynomial(table, x), kind)(x.ravel())
    wanted = (x ** np.arange(length) * table).sum(axis=1)  # integers that both formats have, up to a rounding at 2
    assert (got[:3] == wanted[:3]).all() and math.isclose(got[3], wanted[3], rel_tol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_format(kind):
    info, f = np.finfo(KINDS[kind]), FORMATS[kind]
    assert f.largest == info.max and f.smallest_normal == info.smallest_normal
    assert f.mantissa_bits == info.nmant and f.bits(-0.0) == -(2 ** (info.bits - 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY)
def test_error_at_every_float32(name):
    """At one in 16 where the reference is as slow as a function in NumPy that goes through all its ways."""
    step = 2**16
    worst, where = 0.0, 0.0
    for start in range(0, 2**32, step * (16 if name in EXACTLY else 1)):
        x = np.arange(start, start + step, dtype=np.uint32).view(np.float32)
        error = ulps(native(name, "float")(x), REFERENCES[name](x.astype(np.float64)))
        at = error.argmax()
        if error[at] > worst:
            worst, where = float(error[at]), float(x[at])
    print(f"{name}: {worst:.3f} ulp at {where!r}")
    assert worst <= LIMITS[name][0], where


def test_the_page_of_errors_names_every_function_and_none_above_four_units():
    page = (Path(__file__).parent.parent.parent / "docs" / "math.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+)[^|]*\| [^|]+\| ([\d.]+) \|", page, re.MULTILINE)
    assert {name for name, _, _ in rows[: len(rows) // 2]} >= set(FUNCTIONS)
    assert all(float(error) <= 4 for row in rows[: len(rows) // 2] for error in row[1:])
