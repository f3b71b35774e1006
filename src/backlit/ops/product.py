"""The product of elements along axes, with a gradient that does not divide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval, reduced_shape
from backlit.core.dtypes import accumulator, is_float
from backlit.core.op import Masked, Value, declare
from backlit.ops.linear import permute_dims, reshape
from backlit.ops.reduce import Smooth
from backlit.ops.scan import cumprod, followed, scaled


class Prod(Smooth):
    """Product over `axis`, 1 over no elements; integers and booleans give NumPy's default integer.

    The derivative in an element is the product of all others, taken as what comes before it times what comes behind it: exact
    with any number of zeros, to any order. Costs two running products; keeps `x`. float16 and bfloat16 multiply in float32.
    """

    name, notation = "prod", r"\textstyle\prod {x}"
    empty, ordered = True, False

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype.kind in "biu":
            return np.prod(x, axis=axis, keepdims=keepdims)
        total = np.prod(x, axis=axis, keepdims=keepdims, dtype=accumulator(x.dtype))
        return total if total.dtype == x.dtype else total.astype(x.dtype)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        (x,) = avals
        dtype = x.dtype if is_float(x.dtype) else np.prod(np.ones(1, x.dtype)).dtype
        return Aval(reduced_shape(x.shape, params["axis"], params["keepdims"]), dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        return super(Smooth, self).prepare(args, params)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def slope(self, x: Value, out: Value, **params: Any) -> Value:
        """The products of the others."""
        flat, order = _flat(x, params["axis"])
        last = flat.ndim - 1
        ahead, behind = (cumprod(flat, axis=last, reverse=r, exclusive=True) for r in (False, True))
        others = reshape(ahead * behind, shape=tuple(x.shape[a] for a in order))
        if order == tuple(range(x.ndim)):
            return others
        return permute_dims(others, axes=tuple(int(a) for a in np.argsort(order)))

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        """The product rule, one factor after the other."""
        assert tangents[0] is not None
        (value, mask), (x,), axis = tangents[0], inputs, params["axis"]
        flat, _ = _flat(x, axis)
        last = flat.ndim - 1
        if not flat.shape[last]:
            return None
        terms = scaled(
            _flat(value, axis)[0],
            cumprod(flat, axis=last, exclusive=True),
            None if mask is None else _flat(mask, axis)[0],
        )
        running, live = followed(flat, terms, last, False)
        return reshape(running[..., -1], shape=out.shape), None if live is None else reshape(
            live[..., -1], shape=out.shape
        )


def _flat(x: Value, axis: tuple[int, ...]) -> tuple[Value, tuple[int, ...]]:
    """`x` with the axes `axis` behind the others and made one, and the order in which the axes stand then."""
    kept = tuple(a for a in range(x.ndim) if a not in axis)
    order = (*kept, *axis)
    sizes = [x.shape[a] for a in order]
    shape = (*sizes[: len(kept)], math.prod(sizes[len(kept) :]))
    x = x if order == tuple(range(x.ndim)) else permute_dims(x, axes=order)
    return reshape(x, shape=shape), order


prod = declare(Prod)
