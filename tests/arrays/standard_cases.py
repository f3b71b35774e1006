"""Generated calls of the array API's elementwise functions and operators, of what makes, moves and picks elements, of dtypes."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from standard import Case
from standard_inputs import DTYPES, FLOATS, INTEGERS, SCALARS, brief, call, converted, drawn, special

UNARY = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "conj", "cos", "cosh", "exp",
    "expm1", "floor", "imag", "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10", "logical_not",
    "negative", "positive", "real", "reciprocal", "round", "sign", "signbit", "sin", "sinh", "square", "sqrt", "tan",
    "tanh", "trunc",
]  # fmt: skip
BINARY = [
    "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal", "hypot", "less", "less_equal",
    "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter",
    "not_equal", "pow", "remainder", "subtract",
]  # fmt: skip
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
