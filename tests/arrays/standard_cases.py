"""Generated calls of every function of the array API standard."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from standard import Case, found

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
NUMERIC = (*INTEGERS, *FLOATS, *COMPLEX)
DTYPES = ("bool", *NUMERIC)
REAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-30, 730.0, np.inf, -np.inf, np.nan]
PARTS = [0.0, -0.0, 1.0, -2.0, 0.5, np.inf, -np.inf, np.nan]


def special(dtype: str) -> np.ndarray:
    """Numbers where something happens."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.array([False, True])
    if kind in "iu":
        info = np.iinfo(dtype)
        return np.array(
            [0, 1, 2, 3, 7, info.max, info.max - 1, info.min, *((-1, -2, -7) if kind == "i" else ())], dtype
        )
    if kind == "f":
        return np.array(REAL, dtype)
    made = np.empty((len(PARTS), len(PARTS)), dtype)
    made.real, made.imag = np.meshgrid(PARTS, PARTS)
    return made.ravel()


def drawn(dtype: str, shape: Any, seed: int = 0, small: bool = True) -> np.ndarray:
    """Numbers at random, of which integers repeat."""
    rng, kind = np.random.default_rng([seed, len(shape)]), np.dtype(dtype).kind
    if kind in "biu":
        return (rng.integers(0, 2 if kind == "b" else 5, shape) - (2 if kind == "i" and small else 0)).astype(dtype)
    x = rng.standard_normal(shape)
    return np.asarray(x + 1j * rng.standard_normal(shape) if kind == "c" else x).astype(dtype)


def call(
    name: str, *args: Any, rtol: float = 0.0, values: bool = True, invariant: Any = lambda x: x, **kwargs: Any
) -> Case:
    """The function on these arguments, in which NumPy's arrays become the namespace's, and its dtypes."""
    shown = ", ".join([*map(brief, args), *(f"{k}={brief(v)}" for k, v in kwargs.items())])

    def run(xp: Any, array: Any) -> Any:
        return found(xp, name)(
            *(converted(xp, array, a) for a in args), **{k: converted(xp, array, v) for k, v in kwargs.items()}
        )

    return Case(name, f"{name}({shown})", run, rtol, values, invariant)


def converted(xp: Any, array: Any, x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        return array(np.asarray(x))
    if isinstance(x, np.dtype):
        return getattr(xp, x.name)
    if isinstance(x, (list, tuple)) and any(isinstance(a, (np.ndarray, np.dtype)) for a in x):
        return type(x)(converted(xp, array, a) for a in x)
    return x


def brief(x: Any) -> str:
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{list(x.shape)}"
    return f"[{', '.join(map(brief, x))}]" if isinstance(x, (list, tuple)) else str(x)


UNARY = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "bitwise_invert",
    "ceil",
    "conj",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log1p",
    "log2",
    "log10",
    "logical_not",
    "negative",
    "positive",
    "real",
    "reciprocal",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "square",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]
BINARY = [
    "add",
    "atan2",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "copysign",
    "divide",
    "equal",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "less",
    "less_equal",
    "logaddexp",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "nextafter",
    "not_equal",
    "pow",
    "remainder",
    "subtract",
]
SCALARS = (True, 2, -1, 0.5, -np.inf, np.nan, 1 - 2j)
ORDERED = {
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "maximum",
    "minimum",
    "lt",
    "le",
    "gt",
    "ge",
}  # real numbers
INFIX = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "and_": "&", "or_": "|",
    "xor": "^", "lshift": "<<", "rshift": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "matmul": "@",
}  # fmt: skip


def right_operand(name: str, dtype: str) -> np.ndarray:
    """Numbers for the right of a binary function: no negative integer powers and shifts, which are errors for all."""
    x = special(dtype)
    if np.dtype(dtype).kind in "iu" and ("shift" in name or "pow" in name):
        return np.array([0, 1, 2, 3, 5], dtype)
    return x


def elementwise() -> Iterator[Case]:
    for name in UNARY:
        for dtype in DTYPES:
            x = special(dtype)
            for a in (
                x,
                x[:0],
                x[1],
                np.resize(x, (3, 2, 2)),
                np.resize(x, (3, 4))[::-1, ::2].T,
                x[:0].reshape(2, 0, 3),
            ):
                yield call(name, a, rtol=4)
    for name in BINARY:
        for one, two in itertools.product(DTYPES, DTYPES):
            x, y = special(one), right_operand(name, two)
            yield call(name, x[:, None], y, rtol=4)
            yield call(name, x[1], np.resize(y, (2, 3)), rtol=4)
            yield call(name, x[:0].reshape(0, 1), np.resize(y, (1, 3)), rtol=4)
        for dtype in DTYPES:
            for number in SCALARS[: 6 if name in ORDERED else 7]:
                yield call(name, special(dtype), number, rtol=4)
                yield call(name, number, right_operand(name, dtype), rtol=4)
    for dtype in (*INTEGERS, *FLOATS):
        x = special(dtype)
        low, high = np.asarray(1, dtype), np.resize(np.asarray([2, 5], dtype), (2, 1))
        for bounds in (
            (1, 3),
            (None, 2),
            (1, None),
            (None, None),
            (low, high),
            (None, high),
            (high, None),
            (low, 4),
            (0.5, 2.0),
        ):
            yield call("clip", x, *bounds)
            yield call("clip", x, min=bounds[0], max=bounds[1])
        yield call("clip", x[:0], 1, 2)


def operators() -> Iterator[Case]:
    def infix(name: str, sign: str, x: Any, y: Any) -> Case:
        op = getattr(operator, name)
        return Case(
            f"x {sign} y",
            f"{brief(x)} {sign} {brief(y)}",
            lambda xp, a: op(converted(xp, a, x), converted(xp, a, y)),
            4,
        )

    def in_place(name: str, sign: str, x: Any, y: Any) -> Case:
        op = getattr(operator, f"i{name.rstrip('_')}")
        return Case(
            f"x {sign}= y", f"{brief(x)} {sign}= {brief(y)}", lambda xp, a: op(a(x.copy()), converted(xp, a, y)), 4
        )

    for name, sign in INFIX.items():
        if name == "matmul":
            continue
        for one, two in itertools.product(DTYPES, DTYPES):
            yield infix(
                name,
                sign,
                special(one)[:, None],
                right_operand(name + sign.replace("<<", "shift").replace(">>", "shift"), two),
            )
        for dtype in DTYPES:
            for number in SCALARS[: 6 if name in ORDERED else 7]:
                yield infix(name, sign, special(dtype), number)
                yield infix(name, sign, number, right_operand(name + "shift" * (sign in ("<<", ">>")), dtype))
                if name not in ("eq", "ne", "lt", "le", "gt", "ge"):
                    yield in_place(name, sign, special(dtype), number)
    for dtype in DTYPES:
        for name, sign in list(INFIX.items())[:10]:
            yield in_place(name, sign, drawn(dtype, (3, 2)), drawn(dtype, (2,), 1, False))
        for x, y in (((2, 3), (3, 4)), ((3,), (3,)), ((2, 1, 2, 3), (5, 3, 1)), ((0, 2), (2, 0))):
            yield infix("matmul", "@", drawn(dtype, x), drawn(dtype, y, 1))
        yield in_place("matmul", "@", drawn(dtype, (2, 2)), drawn(dtype, (2, 2), 1))
        for sign, op in (("-", operator.neg), ("+", operator.pos), ("~", operator.invert), ("abs", abs)):
            yield Case(f"{sign} x", f"{sign} {dtype}", lambda xp, a, d=dtype, op=op: op(a(special(d))), 4)
        for kind in (bool, int, float, complex, operator.index):
            for value in (0, 1, 3):
                yield Case(
                    f"{kind.__name__}(x)", f"{kind.__name__}({dtype} {value})",
                    lambda xp, a, k=kind, d=dtype, v=value: k(a(np.asarray(v, d))),
                )  # fmt: skip
        for attribute in ("dtype", "ndim", "shape", "size", "T", "mT"):
            for shape in ((2, 3), (), (2, 0, 3), (0, 2)):
                yield Case(
                    f"x.{attribute}", f"{dtype}{list(shape)}.{attribute}",
                    lambda xp, a, n=attribute, d=dtype, s=shape: getattr(a(drawn(d, s)), n),
                )  # fmt: skip


def creation() -> Iterator[Case]:
    typed = [{}, *({"dtype": np.dtype(d)} for d in DTYPES)]
    for kwargs in typed:
        for shape in ((), 3, (2, 3), (0, 2)):
            for name in ("ones", "zeros"):
                yield call(name, shape, **kwargs)
            yield call("empty", shape, values=False, **kwargs)
            for value in (True, 3, 0.5, 1 - 2j, np.inf):
                yield call("full", shape, value, **kwargs)
        for args in ((3,), (0,), (5.0,), (1, 4), (1, 9, 3), (9, 1, -2), (0.0, 1.0, 0.25), (2, 2), (5, 1)):
            yield call("arange", *args, rtol=2, **kwargs)
        for args in ((0, 1, 5), (0.0, 1.0, 1), (3, -2, 4), (1, 2, 0), (-1.5, 2.5, 7), (0j, 1 + 1j, 3)):
            for more in ({}, {"endpoint": False}):
                yield call("linspace", *args, rtol=2, **more, **kwargs)
        for args in ((3,), (2, 4), (0,), (3, None), (4, 2)):
            for k in (0, 1, -2, 7):
                yield call("eye", *args, k=k, **kwargs)
        for value in (True, 3, -0.0, 0.5, 1j, [1, 2], [[True], [False]], [0.5, 1], [1, 2j], [], [[]], [[[1.5]]]):
            yield call("asarray", value, **kwargs)
        for dtype in DTYPES:
            x = drawn(dtype, (2, 3))
            for name in ("ones_like", "zeros_like"):
                yield call(name, x, **kwargs)
            yield call("empty_like", x[:0], values=False, **kwargs)
            for value in (True, 3, 0.5, 2j):
                yield call("full_like", x, value, **kwargs)
            for copy in ({}, {"copy": True}, {"copy": None}):
                yield call("asarray", np.asarray(x), **copy, **kwargs)
    for dtype in DTYPES:
        x, y = drawn(dtype, (2,)), drawn(dtype, (3,), 1)
        for more in ({}, {"indexing": "ij"}, {"indexing": "xy"}):
            for arrays in ((x, y), (x,), (x, y, x), (x[:0], y)):
                yield call("meshgrid", *arrays, **more)
        for shape in ((3, 4), (2, 3, 2), (0, 2), (1, 1)):
            for k in (0, 1, -1, 5):
                yield call("tril", drawn(dtype, shape), k=k)
                yield call("triu", drawn(dtype, shape), k=k)
        yield call("from_dlpack", x)
        yield call("from_dlpack", drawn(dtype, ()))


def manipulation() -> Iterator[Case]:
    for dtype in ("bool", "int16", "uint64", "float32", "float64", "complex64"):
        x, e = drawn(dtype, (2, 3, 4)), drawn(dtype, (2, 0, 3))
        for shape in ((5, 2, 3, 4), (2, 3, 4)):
            yield call("broadcast_to", x, shape)
        yield call("broadcast_to", x[:, :1], (2, 7, 4))
        yield call("broadcast_to", x[0, 0, 0], (2, 0))
        yield call("broadcast_arrays", x, x[:1], x[0, 0])
        yield call("broadcast_arrays", e, x[0, 0, 0])
        for axis in (0, 1, -1, None):
            yield call("concat", [x, x[::-1], x], axis=axis)
            yield call("concat", (e, e), axis=axis)
        yield call("concat", [x, x[:1]])
        for other in DTYPES:
            yield call("concat", [x, drawn(other, (1, 3, 4))])
            yield call("stack", [x[0], drawn(other, (3, 4))])
        for axis in (0, 1, 3, -1, -2, -4):
            yield call("expand_dims", x, axis=axis)
            yield call("stack", [x, x], axis=axis)
        for axis in (None, 0, -1, (0, 2), (1, -1)):
            yield call("flip", x, axis=axis)
            yield call("flip", e, axis=axis)
        for source, destination in ((0, 2), (-1, 0), ((0, 1), (1, 2)), (1, 1), ((2, 0), (0, 1))):
            yield call("moveaxis", x, source, destination)
        for axes in ((2, 0, 1), (0, 1, 2), (-1, 0, 1)):
            yield call("permute_dims", x, axes)
        for repeats in (0, 1, 3, np.array([1, 0, 2]), np.array([2, 2, 2])):
            yield call("repeat", x[0, :, 0], repeats)
            yield call("repeat", x, repeats, axis=1)
        yield call("repeat", x, 2)
        yield call("repeat", x, 2, axis=-1)
        for shape in ((24,), (4, 3, 2), (-1,), (2, -1), (6, 4), (1, 24, 1)):
            yield call("reshape", x, shape)
            yield call("reshape", x[::-1].T, shape, copy=True)
        yield call("reshape", e, (0,))
        yield call("reshape", x[0, 0, 0], (1, 1))
        for shift, axis in ((1, None), (-2, 0), (7, -1), ((1, -1), (0, 2)), ((1, 1), (1, 1)), (0, 1)):
            yield call("roll", x, shift, axis=axis)
            yield call("roll", e, shift, axis=axis)
        for axis in (1, (1,), (1, 3), -3, ()):
            yield call("squeeze", x.reshape(6, 1, 4, 1), axis)
        for repetitions in ((2,), (2, 1, 3), (1, 2, 1, 2), (0, 1), ()):
            yield call("tile", x, repetitions)
        for axis in (0, 1, -1):
            yield call("unstack", x, axis=axis)
            yield call("unstack", e, axis=axis)


def indexing() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    x = np.arange(60).reshape(3, 4, 5)
    keys: list[Any] = [
        (), ..., None, 0, -1, slice(None), (slice(None, None, -1), ..., None), (1, ..., 2), (None, 0, None), (..., 3, 0),
        (slice(2, None, -2), slice(3, 0, -1), slice(4, 1, -2)), (slice(0, 0),), (0, 1, 2), (slice(1, 3), None, -2),
        (slice(None), slice(None, None, 2), slice(None, None, -2)),
    ]  # fmt: skip
    for _ in range(60):
        key: list[Any] = []
        for n in x.shape[: rng.integers(1, 4)]:
            kind = rng.integers(0, 4)
            step = int(rng.choice([1, 2, 3, -1, -2]))
            start, stop = (int(v) for v in rng.integers(0, n, 2))
            key.append(
                int(rng.integers(-n, n)) if kind == 0 else slice(start, stop, step) if kind == 1
                else slice(None, None, step) if kind == 2 else slice(start - n, None, step)
            )  # fmt: skip
        key.insert(int(rng.integers(0, len(key) + 1)), rng.choice([None, ...]))  # type: ignore[list-item]
        keys.append(tuple(key))
    i, j = np.array([2, 0, 1, -1]), np.array([[1], [3]])
    arrays: list[Any] = [
        i, (i, i), (i, i, i), (j, i), (i[:0],), x % 7 == 3, x < -1, x[:, :, 0] > 20, (i, 0), (0, i), (np.asarray(1), i),
        i.astype(np.uint8), (slice(None), i), (i, slice(None)), (..., i),
    ]  # fmt: skip
    for key in [*keys, *arrays]:

        def get(xp: Any, a: Any, key: Any = key) -> Any:
            return a(x)[converted(xp, a, key)]

        yield Case("x[key]", f"x[{brief(key) if isinstance(key, (np.ndarray, tuple)) else key}]", get)
    for dtype in ("bool", "int16", "float32", "complex128"):
        for key in [*keys[:40], *(k for k in arrays if isinstance(k, np.ndarray) and k.dtype == bool)]:
            shape = x[key].shape
            for value in (
                1,
                drawn(dtype, ()),
                drawn(dtype, shape[-1:]) if shape else drawn(dtype, ()),
                drawn(dtype, shape),
            ):

                def put(xp: Any, a: Any, key: Any = key, value: Any = value, dtype: str = dtype) -> Any:
                    made = a(drawn(dtype, x.shape))
                    made[converted(xp, a, key)] = converted(xp, a, value)
                    return made

                yield Case("x[key] = v", f"{dtype} x[{brief(key)}] = {brief(value)}", put)
    for dtype in DTYPES:
        x3 = drawn(dtype, (3, 4, 5))
        for axis in (0, 1, 2, -1):
            for index in (np.array([0, 2, 1, 0]), np.array([-1, 0]), np.array([], np.int64), np.array([1], np.uint8)):
                yield call("take", x3, index, axis=axis)
            n = x3.shape[axis]
            for length in (n, 2):
                shape = list(x3.shape)
                shape[axis] = length
                yield call("take_along_axis", x3, np.arange(np.prod(shape)).reshape(shape) % n, axis=axis)
                yield call("take_along_axis", x3, np.arange(np.prod(shape)).reshape(shape) % n - n, axis=axis)
        yield call("take", x3[0, 0], np.array([1, 1]))


def reductions() -> Iterator[Case]:
    axes = (None, 0, 1, -1, (0, 2), (-1, 0), ())
    for dtype in DTYPES:
        tensors = [drawn(dtype, (2, 3, 4)), drawn(dtype, (2, 0, 3)), drawn(dtype, ()), special(dtype)]
        if dtype in FLOATS:
            tensors += [np.array([[1.0, np.nan, 2.0], [np.inf, -np.inf, 0.0], [-0.0, -0.0, -0.0]], dtype)]
        for x in tensors:
            few = [
                a
                for a in axes
                if a is None or a == () or (x.ndim == 3) or (isinstance(a, int) and -x.ndim <= a < x.ndim)
            ]
            for axis, keepdims in itertools.product(few, (False, True)):
                kwargs = {"axis": axis, "keepdims": keepdims}
                for name in ("all", "any", "count_nonzero", "max", "min"):
                    yield call(name, x, **kwargs)
                for name in ("sum", "prod", "mean", "std", "var"):
                    yield call(name, x, rtol=64, **kwargs)
                for name in ("std", "var"):
                    yield call(name, x, rtol=64, correction=1.0, **kwargs)
                if not isinstance(axis, tuple):
                    yield call("argmax", x, **kwargs)
                    yield call("argmin", x, **kwargs)
            for other in ("int64", "float32", "float64", "complex128"):
                yield call("sum", x, dtype=np.dtype(other), rtol=64)
                yield call("prod", x, dtype=np.dtype(other), rtol=64)
            for axis in [a for a in (0, 1, -1) if -x.ndim <= a < x.ndim]:
                for name in ("cumulative_sum", "cumulative_prod"):
                    for more in ({}, {"include_initial": True}, {"dtype": np.dtype("float64")}):
                        yield call(name, x, axis=axis, rtol=64, **more)
                for n in (1, 2, 0):
                    yield call("diff", x, axis=axis, n=n)
                yield call(
                    "diff", x, axis=axis, prepend=x[:1] if axis == 0 else None, append=x[-1:] if axis == 0 else None
                )
        yield call("cumulative_sum", drawn(dtype, (4,)), rtol=64)
        yield call("cumulative_prod", drawn(dtype, (4,)), rtol=64)
        yield call("diff", drawn(dtype, (4,)))


def searching() -> Iterator[Case]:
    for dtype in DTYPES:
        x = drawn(dtype, (3, 4))
        many = [x, drawn(dtype, (2, 0)), drawn(dtype, (30,)), np.array([1, 0, 1], dtype)]
        if dtype in FLOATS:
            many.append(np.array([0.0, np.nan, -0.0, np.inf, np.nan, -np.inf, 0.0], dtype))
        for a in many:
            yield call("nonzero", a)
            for name in ("unique_counts", "unique_inverse", "unique_values", "unique_all"):
                yield call(name, a)
            if a is many[-1] and dtype in FLOATS:
                yield call("sort", a)
                yield call("sort", a[[0, 2, 3, 5]], stable=True)
                continue
            for axis in range(-a.ndim, a.ndim):
                for descending, stable in itertools.product((False, True), (True, False)):
                    yield call("sort", a, axis=axis, descending=descending, stable=stable)
                    if stable:
                        yield call("argsort", a, axis=axis, descending=descending, stable=stable)
        yield call("sort", x)
        yield call("argsort", drawn(dtype, (7,)))
        for other in DTYPES:
            edges, y = np.sort(drawn(dtype, (6,))), drawn(other, (2, 3), 1)
            for side in ("left", "right"):
                yield call("searchsorted", edges, y, side=side)
                yield call("searchsorted", edges[::-1], y, side=side, sorter=np.arange(6)[::-1].copy())
            for condition in (np.array([True, False, True]), np.array(True), np.array([[True], [False]])):
                yield call("where", condition, drawn(dtype, (3,)), drawn(other, (2, 3), 1))
        for number in SCALARS:
            yield call("where", np.array([True, False, True, False]), x, number)
            yield call("where", np.array([True, False, True, False]), number, x)


def symmetric(dtype: str, shape: tuple[int, ...], definite: bool = False) -> np.ndarray:
    x = drawn(dtype, shape)
    both = x + np.conj(np.swapaxes(x, -1, -2))
    return both + 9 * np.eye(shape[-1], dtype=dtype) if definite else both


def product(*parts: np.ndarray) -> np.ndarray:
    made = parts[0]
    for part in parts[1:]:
        made = made @ part
    return made


def of_svd(x: Any) -> Any:
    """The singular values, what the factors multiply to, and that they are unitary: vectors have signs, and kernels bases."""
    n = x.S.shape[-1]
    whole = product(x.U[..., :n] * x.S[..., None, :], x.Vh[..., :n, :])
    return (x.S, whole, product(np.conj(x.U.mT), x.U), product(x.Vh, np.conj(x.Vh.mT)))


def of_eigh(x: Any) -> Any:
    """The eigenvalues, what the factors multiply to, and that the vectors are unitary."""
    v = x.eigenvectors
    return (x.eigenvalues, product(v * x.eigenvalues[..., None, :], np.conj(v.mT)), product(np.conj(v.mT), v))


def of_qr(x: Any) -> Any:
    """What the factors multiply to, that one is unitary and the other triangular."""
    return (product(x.Q, x.R), product(np.conj(x.Q.mT), x.Q), np.tril(x.R, -1))


def algebra() -> Iterator[Case]:
    for one, two in itertools.product(NUMERIC, NUMERIC):
        if one != two and {one, two} & {"int8", "uint16", "uint64"} and not {one, two} <= set(INTEGERS):
            continue
        for prefix in ("", "linalg."):
            pairs = (
                ((2, 3), (3, 4)),
                ((3,), (3,)),
                ((3,), (3, 2)),
                ((2, 1, 2, 3), (5, 3, 1)),
                ((0, 2), (2, 3)),
                ((2, 0), (0, 3)),
            )
            for x, y in pairs:
                yield call(prefix + "matmul", drawn(one, x), drawn(two, y, 1), rtol=64)
            for axes in (0, 1, 2, ((0,), (1,)), ((0, 1), (1, 0))):
                yield call(prefix + "tensordot", drawn(one, (3, 3)), drawn(two, (3, 3), 1), axes=axes, rtol=64)
            for x, y, axis in (
                ((3,), (3,), -1),
                ((2, 3), (3,), -1),
                ((2, 1, 3), (4, 3), -1),
                ((3, 2), (3, 2), -2),
                ((2, 0), (2, 0), -1),
            ):
                yield call(prefix + "vecdot", drawn(one, x), drawn(two, y, 1), axis=axis, rtol=64)
        for x, y, axis in (((3,), (3,), -1), ((2, 3), (2, 3), -1), ((3, 2), (3, 2), 0), ((4, 1, 3), (2, 3), -1)):
            yield call("linalg.cross", drawn(one, x), drawn(two, y, 1), axis=axis, rtol=64)
        yield call("linalg.outer", drawn(one, (2,)), drawn(two, (3,), 1))
        yield call("linalg.outer", drawn(one, (0,)), drawn(two, (3,), 1))
    for dtype in DTYPES:
        for shape in ((2, 3), (4, 2, 3), (0, 2)):
            for prefix in ("", "linalg."):
                yield call(prefix + "matrix_transpose", drawn(dtype, shape))
            for k in (0, 1, -1, 5):
                yield call("linalg.diagonal", drawn(dtype, shape), offset=k)
                yield call("linalg.trace", drawn(dtype, shape), offset=k, rtol=16)
            yield call("linalg.trace", drawn(dtype, shape), dtype=np.dtype("float64"))
    ulps = 2e4
    for dtype in (*FLOATS, *COMPLEX):
        for shape in ((3, 3), (2, 4, 4), (1, 1), (0, 3, 3)):
            x = drawn(dtype, shape) + 2 * np.eye(shape[-1], dtype=dtype)
            for name in ("det", "inv", "slogdet"):
                yield call(f"linalg.{name}", x, rtol=ulps)
            yield call("linalg.cholesky", symmetric(dtype, shape, True), rtol=ulps)
            yield call("linalg.cholesky", symmetric(dtype, shape, True), upper=True, rtol=ulps)
            yield call("linalg.eigvalsh", symmetric(dtype, shape), rtol=ulps)
            yield call("linalg.eigh", symmetric(dtype, shape), rtol=ulps, invariant=of_eigh)
            for n in (0, 1, 3, -2):
                yield call("linalg.matrix_power", x, n, rtol=ulps)
            for right in (shape, (*shape[:-1], 2), shape[-1:]):
                yield call("linalg.solve", x, drawn(dtype, right, 1), rtol=ulps)
        for shape in ((3, 3), (2, 4, 3), (3, 5), (0, 2, 2)):
            x = drawn(dtype, shape)
            for name in ("pinv", "svdvals", "matrix_rank", "matrix_norm"):
                yield call(f"linalg.{name}", x, rtol=ulps)
            for more in ({}, {"full_matrices": False}):
                yield call("linalg.svd", x, rtol=ulps, invariant=of_svd, **more)
            for more in ({}, {"mode": "complete"}):
                yield call("linalg.qr", x, rtol=ulps, invariant=of_qr, **more)
            for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
                for keepdims in (False, True):
                    yield call("linalg.matrix_norm", x, ord=order, keepdims=keepdims, rtol=ulps)
            for order in (0, 1, 2, 3, 0.5, -1, np.inf, -np.inf):
                for axis in (None, 0, -1, (0, 1)):
                    yield call("linalg.vector_norm", x, ord=order, axis=axis, keepdims=axis == 0, rtol=ulps)


def fourier() -> Iterator[Case]:
    for dtype in NUMERIC:
        for shape in ((5,), (4, 6), (2, 1, 3)):
            x = drawn(dtype, shape)
            for norm in ("backward", "ortho", "forward"):
                for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
                    for axis, n in ((0, None), (-1, 4), (-1, 9)):
                        yield call(f"fft.{name}", x, axis=axis, n=n, norm=norm, rtol=1e3)
                for name in ("fftn", "ifftn", "rfftn", "irfftn"):
                    yield call(f"fft.{name}", x, norm=norm, rtol=1e3)
                    yield call(f"fft.{name}", x, axes=(0,), s=(3,), norm=norm, rtol=1e3)
            for name in ("fftshift", "ifftshift"):
                yield call(f"fft.{name}", x)
                yield call(f"fft.{name}", x, axes=(0,))
                yield call(f"fft.{name}", x, axes=-1)
    for name in ("fftfreq", "rfftfreq"):
        for n, d in itertools.product((1, 2, 7, 8), (1.0, 0.25)):
            yield call(f"fft.{name}", n, d=d, rtol=2)
            for dtype in FLOATS:
                yield call(f"fft.{name}", n, d=d, dtype=np.dtype(dtype), rtol=2)


def inspection() -> Iterator[Case]:
    kinds = (
        "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric",
        ("bool", "integral"), (), np.dtype("int8"), (np.dtype("int8"), "complex floating"),
    )  # fmt: skip
    for one in DTYPES:
        a = np.dtype(one)
        for two in DTYPES:
            b = np.dtype(two)
            yield call("can_cast", a, b)
            yield call("can_cast", drawn(one, (2,)), b)
            yield call("result_type", a, b)
            yield call("result_type", drawn(one, (2,)), b)
            yield call("result_type", drawn(one, (2,)), drawn(two, ()), a)
            for x in (special(one), drawn(one, (2, 0)), drawn(one, ())):
                fits = a.kind != "f" or b.kind not in "iu"  # elsewhere what is out of range is undefined
                yield call("astype", x if fits else drawn(one, (9,)), b)
        for number in SCALARS:
            yield call("result_type", a, number)
        for kind in kinds:
            yield call("isdtype", a, kind)
        for name, fields in (
            ("finfo", ("bits", "eps", "max", "min", "smallest_normal", "dtype")),
            ("iinfo", ("bits", "max", "min", "dtype")),
        ):
            for field in fields:
                for given in (a, drawn(one, (2,))):
                    yield Case(
                        name, f"{name}({brief(given)}).{field}",
                        lambda xp, arr, n=name, g=given, f=field: getattr(getattr(xp, n)(converted(xp, arr, g)), f),
                    )  # fmt: skip
    for name in ("e", "inf", "nan", "newaxis", "pi"):
        yield Case(name, name, lambda xp, a, n=name: getattr(xp, n))
    for name in DTYPES:
        yield Case(name, name, lambda xp, a, n=name: xp.empty((2,), dtype=getattr(xp, n)), values=False)
    for kind in (None, *kinds[:9]):
        yield Case(
            "__array_namespace_info__", f"dtypes({kind})",
            lambda xp, a, k=kind: {n: d for n, d in sorted(xp.__array_namespace_info__().dtypes(kind=k).items()) if n in DTYPES},
        )  # fmt: skip
    yield Case(
        "__array_namespace_info__", "default_dtypes", lambda xp, a: xp.__array_namespace_info__().default_dtypes()
    )
    for key in ("boolean indexing", "data-dependent shapes", "max dimensions"):
        yield Case(
            "__array_namespace_info__",
            key,
            lambda xp, a, k=key: type(xp.__array_namespace_info__().capabilities()[k]).__name__,
        )


FAMILIES = {
    "elementwise functions": elementwise,
    "operators and attributes": operators,
    "creation": creation,
    "manipulation": manipulation,
    "indexing": indexing,
    "reductions and scans": reductions,
    "searching, sorting, sets": searching,
    "linear algebra": algebra,
    "Fourier transforms": fourier,
    "dtypes and inspection": inspection,
}
