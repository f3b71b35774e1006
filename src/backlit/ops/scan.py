"""Running totals along one axis: sums, products, logsumexps, and the recurrence that is their derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import accumulator, is_float, promote
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import LinearOp, Masked, Op, Value, add_masked, declare, ones, shown, truth
from backlit.core.source import here
from backlit.core.tensor import as_tensor
from backlit.ops.complex import conj
from backlit.ops.elementwise import equal, exp, where
from backlit.ops.linear import astype, batched_all, normalize_axes, pad

_FEW = 16  # lanes of a recurrence: a step of NumPy costs as much as so many of Python


def _checked(name: str, x: Any, params: dict[str, Any]) -> None:
    if not x.ndim:
        raise ShapeError(f"{name}: expected at least one axis, got {shown(x)}; see expand_dims{here()}")
    params.update(axis=normalize_axes(name, params["axis"], x.ndim)[0], reverse=bool(params.get("reverse", False)))


def _accumulated(how: Any, x: Any, axis: int, reverse: bool) -> Any:
    """`how.accumulate` along an axis, from its end if `reverse`; small floats are rounded after it, not at each step."""
    whole = x.dtype.kind in "biu"
    dtype = np.cumsum(np.empty(0, x.dtype)).dtype if whole else x.dtype
    out = how.accumulate(np.flip(x, axis) if reverse else x, axis=axis, dtype=dtype if whole else accumulator(dtype))
    return (np.flip(out, axis) if reverse else out).astype(dtype, copy=False)


def _cut_at(axis: int, first: bool) -> tuple[slice, ...]:
    """All places but the first or the last."""
    return (*(slice(None),) * axis, slice(1, None) if first else slice(None, -1))


def _behind(x: Value, axis: int, reverse: bool) -> Value:
    """`x` but for where a scan begins."""
    return x[_cut_at(axis, not reverse)]


def _ahead(x: Value, axis: int, reverse: bool) -> Value:
    """`x` but for where a scan ends."""
    return x[_cut_at(axis, reverse)]


def _moved_on(x: Value, axis: int, reverse: bool) -> Value:
    """Each element one place further in a scan's direction, behind a structural zero, from `x` without its last."""
    width = [(0, 0)] * x.ndim
    width[axis] = (0, 1) if reverse else (1, 0)
    return pad(x, width=tuple(width))


def _reached(mask: Value, axis: int, reverse: bool) -> Value:
    """Where a scan has met something that is alive."""
    return truth(cumsum(mask, axis=axis, reverse=reverse))


def followed(x: Value, y: Masked, axis: int, reverse: bool) -> Masked:
    """The recurrence with masks: before anything is alive there is nothing that a factor could make infinite."""
    value, mask = y
    if mask is None:
        return recurrence(x, value, axis=axis, reverse=reverse), None
    live = _reached(mask, axis, reverse)
    if x.shape[axis]:
        x = where(_moved_on(_ahead(live, axis, reverse), axis, reverse), x, 0.0)
    return recurrence(x, value, axis=axis, reverse=reverse), live


def scaled(value: Value, by: Value, mask: Value) -> Masked:
    value = value * by
    return (value if mask is None else where(mask, value, 0.0)), mask


class Recurrence(Op):
    """s_i = x_i s_(i-1) + y_i along `axis`, with s_(-1) = 0; from the end on if `reverse`.

    The derivative of running products and logsumexps, by which neither divides: zeros among factors are nothing special.
    Its own derivative and transpose are recurrences: with the upstream gradient c, the gradient of `y` is
    g_i = c_i + x_(i+1) g_(i+1), taken the other way round, and that of `x` is g_i s_(i-1). Costs a step of NumPy for each
    place along the axis, or of Python for each element where there are fewer than 16 beside it.

    Raises:
      ShapeError: the shapes differ, or there is no axis.
    """

    name, notation = "recurrence", r"\operatorname{{recurrence}}({x}, {y})"

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 2 * math.prod(out)

    @staticmethod
    def forward(x: Any, y: Any, *, axis: int, reverse: bool) -> Any:
        wide = accumulator(y.dtype)
        factors, terms = (np.moveaxis(a, axis, 0).astype(wide, copy=False) for a in (x, y))
        if reverse:
            factors, terms = factors[::-1], terms[::-1]
        out = np.array(terms)
        if out[:1].size < _FEW and wide == np.float64:  # Python's floats have the same bits
            for lane in np.ndindex(out.shape[1:]):
                at = (slice(None), *lane)
                out[at] = _python(factors[at].tolist(), terms[at].tolist())
        else:
            for i in range(1, len(out)):
                out[i] += factors[i] * out[i - 1]
        return np.moveaxis(out[::-1] if reverse else out, 0, axis).astype(y.dtype, copy=False)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[1]  # type: ignore[no-any-return]

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = (as_tensor(a) for a in args)
        if x.shape != y.shape:
            raise ShapeError(
                f"{self.name}: expected factors and terms of one shape, got {shown(x)}, {shown(y)}{here()}"
            )
        _checked(self.name, x, params)
        dtype = promote(x.dtype, y.dtype)
        dtype = dtype if is_float(dtype) else np.dtype(np.float64)
        return tuple(a if a.dtype == dtype else astype(a, dtype=dtype) for a in (x, y))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"} if argnum else {"x", "out"})

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (x, _), axis, reverse = inputs, node.params["axis"], node.params["reverse"]
        if not x.shape[axis]:
            return tuple(cotangent if w else None for w in node.plan.wanted)
        factors = _moved_on(_behind(x, axis, reverse), axis, not reverse)
        value, mask = followed(conj(factors), cotangent, axis, not reverse)
        if not node.plan.wanted[0]:
            return None, (value, mask)
        mine = None if mask is None else _behind(mask, axis, reverse)
        pulled, mine = scaled(_behind(value, axis, reverse), conj(_ahead(out, axis, reverse)), mine)
        first = _moved_on(pulled, axis, reverse), None if mine is None else _moved_on(mine, axis, reverse)
        return first, (value, mask) if node.plan.wanted[1] else None

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (x, _), axis, reverse = inputs, params["axis"], params["reverse"]
        terms = tangents[1]
        if tangents[0] is not None and x.shape[axis]:
            value, mask = (None if t is None else _behind(t, axis, reverse) for t in tangents[0])
            value, mask = scaled(value, _ahead(out, axis, reverse), mask)
            alive = ones(value.shape) if mask is None else mask
            terms = add_masked(terms, (_moved_on(value, axis, reverse), _moved_on(alive, axis, reverse)))
        return None if terms is None else followed(x, terms, axis, reverse)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        full = batched_all(size, args, batched)
        return self(*full, axis=params["axis"] + 1, reverse=params["reverse"])

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((4,), (4,)), {"axis": 0}),
            (((2, 3), (2, 3)), {"axis": -1, "reverse": True}),
            (((3, 16), (3, 16)), {"axis": 0}),
            (((1, 2), (1, 2)), {"axis": 0}),
            (((2, 0), (2, 0)), {"axis": 0}),
        ]


def _python(factors: list[float], terms: list[float]) -> list[float]:
    found, s = [], 0.0
    for i, (a, b) in enumerate(zip(factors, terms, strict=True)):
        s = b if not i else a * s + b
        found.append(s)
    return found


class _Scan(Op):
    """A running total of one array."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(out)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        (x,) = avals
        return Aval(x.shape, x.dtype if is_float(x.dtype) else np.cumsum(np.empty(0, x.dtype)).dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        _checked(self.name, x, params)
        return (x,)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], axis=params["axis"] + 1, reverse=params["reverse"])

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((4,),), {"axis": 0}),
            (((2, 3),), {"axis": 0, "reverse": True}),
            (((2, 3, 2),), {"axis": 1}),
            (((2, 1),), {"axis": -1}),
            (((0, 2),), {"axis": 0}),
            (((2, 0),), {"axis": 0}),
        ]


class CumSum(_Scan, LinearOp):
    """Sums of the elements of `x` up to each place along `axis`; from the end on if `reverse`.

    Integers and booleans give NumPy's default integer; float16 and bfloat16 add up in float32. One pass; keeps nothing.
    """

    name, notation = "cumsum", r"\operatorname{{cumsum}} {x}"

    @staticmethod
    def forward(x: Any, *, axis: int, reverse: bool) -> Any:
        return _accumulated(np.add, x, axis, reverse)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return cumsum(cotangent, axis=params["axis"], reverse=not params["reverse"])


class CumProd(_Scan):
    """Products of the elements of `x` up to each place along `axis`; from the end on if `reverse`.

    With `exclusive` those before each place, from 1 on. Exact with zeros among them, to any order: with p_i the exclusive
    products and c the upstream gradient, the gradient is p_i g_i with the recurrence g_i = c_i + x_(i+1) g_(i+1), which
    does not divide. Keeps `x`.
    """

    name, notation = "cumprod", r"\operatorname{{cumprod}} {x}"

    @staticmethod
    def forward(x: Any, *, axis: int, reverse: bool, exclusive: bool) -> Any:
        out = _accumulated(np.multiply, x, axis, reverse)
        if not exclusive:
            return out
        shifted = np.ones_like(out)
        shifted[_cut_at(axis, not reverse)] = out[_cut_at(axis, reverse)]
        return shifted

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        params["exclusive"] = bool(params.get("exclusive", False))
        return super().prepare(args, params)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (x,), axis, reverse = inputs, node.params["axis"], node.params["reverse"]
        before = conj(cumprod(x, axis=axis, reverse=reverse, exclusive=True))
        if not x.shape[axis]:
            return (cotangent,)
        if node.params["exclusive"]:
            value, mask = followed(conj(x), cotangent, axis, not reverse)
            mask = None if mask is None else _behind(mask, axis, reverse)
            value, mask = scaled(_behind(value, axis, reverse), _ahead(before, axis, reverse), mask)
            alive = ones(value.shape) if mask is None else mask
            return ((_moved_on(value, axis, not reverse), _moved_on(alive, axis, not reverse)),)
        factors = _moved_on(_behind(x, axis, reverse), axis, not reverse)
        value, mask = followed(conj(factors), cotangent, axis, not reverse)
        return (scaled(value, before, mask),)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        assert tangents[0] is not None
        (x,), (value, mask), axis, reverse = inputs, tangents[0], params["axis"], params["reverse"]
        if not params["exclusive"]:
            before = cumprod(x, axis=axis, reverse=reverse, exclusive=True)
            return followed(x, scaled(value, before, mask), axis, reverse)
        if not x.shape[axis]:
            return tangents[0]
        x, value, mask = (None if a is None else _ahead(a, axis, reverse) for a in (x, value, mask))
        value, mask = scaled(value, _ahead(out, axis, reverse), mask)
        alive = ones(value.shape) if mask is None else mask
        x, value, alive = (_moved_on(a, axis, reverse) for a in (x, value, alive))
        return followed(x, (value, alive), axis, reverse)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], **{**params, "axis": params["axis"] + 1})

    def samples(self) -> list[tuple[Any, ...]]:
        found = super().samples()
        return [(args, {**params, "exclusive": e}) for e in (False, True) for args, params in found]


class CumLogSumExp(_Scan):
    """log(sum(exp(x))) of the elements of `x` up to each place along `axis`; from the end on if `reverse`.

    Nothing overflows, also not in the derivative: with c the upstream gradient it is exp(x_i - out_i) g_i, with the
    recurrence g_i = c_i + exp(out_i - out_(i+1)) g_(i+1), whose factors are 1 at most. Keeps `x` and `out`.
    """

    name, notation = "cumulative_logsumexp", r"\log \operatorname{{cumsum}} e^{{{x}}}"

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 4 * math.prod(out)

    @staticmethod
    def forward(x: Any, *, axis: int, reverse: bool) -> Any:
        return _accumulated(np.logaddexp, x, axis, reverse)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        if x.dtype.kind == "c":
            raise DTypeError(f"{self.name}: {shown(x)} is complex, and so has no order{here()}")
        return (x if is_float(x.dtype) else astype(x, dtype=np.float64),)

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (x,), axis, reverse = inputs, node.params["axis"], node.params["reverse"]
        if not x.shape[axis]:
            return (cotangent,)
        decay = _weight(_ahead(out, axis, reverse), _behind(out, axis, reverse))
        value, mask = followed(_moved_on(decay, axis, not reverse), cotangent, axis, not reverse)
        return (scaled(value, _weight(x, out), mask),)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        assert tangents[0] is not None
        (value, mask), axis, reverse = tangents[0], params["axis"], params["reverse"]
        if not out.shape[axis]:
            return tangents[0]
        decay = _weight(_ahead(out, axis, reverse), _behind(out, axis, reverse))
        terms = scaled(value, _weight(inputs[0], out), mask)
        return followed(_moved_on(decay, axis, reverse), terms, axis, reverse)


def _weight(x: Value, total: Value) -> Value:
    """exp(x - total), 0 where `x` is -inf, though `total` may be that too."""
    return where(equal(x, -np.inf), 0.0, exp(x - total))


recurrence, cumsum, cumprod, cumulative_logsumexp = (
    declare(c) for c in (Recurrence, CumSum, CumProd, CumLogSumExp)
)  # fmt: skip
