"""Arguments for the generated calls of the array API standard."""

from __future__ import annotations

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
SCALARS = (True, 2, -1, 0.5, -np.inf, np.nan, 1 - 2j)


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
