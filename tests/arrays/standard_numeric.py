"""Generated calls of the array API's reductions, sorting and sets, linear algebra and Fourier transforms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from standard import Case
from standard_inputs import COMPLEX, DTYPES, FLOATS, INTEGERS, NUMERIC, SCALARS, call, drawn, special


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
