"""Convolution and the two derivatives of it: three ops that are bilinear, each one's rules the other two.

All three are derivatives of one trilinear form, the sum of y[n, o, p] w[o, c, k] x[n, c, p * stride + k * dilation - padding]
within each of `groups` groups of channels, so that every order of differentiation stays among them. `sizes` are the lengths
of x, w and y behind their first two axes; what a window reaches outside of x is zero.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import promote
from backlit.core.errors import ShapeError
from backlit.core.graph import Node
from backlit.core.op import Masked, Op, Value, add_masked, declare, shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import columns
from backlit.ops.complex import conj
from backlit.ops.elementwise import where
from backlit.ops.linear import astype, broadcast_to, permute_dims, reshape, sum

_Merge = tuple[int, bool]  # an axis that takes up the batch axis, and whether behind the number of the group


class _Bilinear(Op):
    """One of the three, which says of each role (x, w and y) the first two lengths."""

    roles: ClassVar[tuple[str, str, str]]  # of the two inputs and of the result
    alone: ClassVar[
        tuple[tuple[_Merge, _Merge], tuple[_Merge, _Merge]]
    ]  # of an input that is batched alone, and of the result

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        first, second = (as_tensor(a) for a in args)
        for name in ("stride", "padding", "dilation"):
            params[name] = tuple(int(m) for m in params[name])
        params["sizes"] = tuple(tuple(int(m) for m in size) for size in params["sizes"])
        sizes = dict(zip("xwy", params["sizes"], strict=True))
        n = len(params["stride"])
        right = first.shape[2:] == sizes[self.roles[0]] and second.shape[2:] == sizes[self.roles[1]]
        if not right or not n == len(params["padding"]) == len(params["dilation"]) == len(sizes["y"]) == first.ndim - 2:
            raise ShapeError(
                f"{self.name}: {shown(first)} and {shown(second)} do not have the sizes {params['sizes']}{here()}"
            )
        if params["groups"] < 1 or not self.fits(first.shape, second.shape, params["groups"]):
            raise ShapeError(
                f"{self.name}: {shown(first)} and {shown(second)} do not fit {params['groups']} groups of channels{here()}"
            )
        dtype = promote(first.dtype, second.dtype)
        return tuple(a if a.dtype == dtype else astype(a, dtype=dtype) for a in (first, second))

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        shapes = dict(zip(self.roles, (*inputs, out), strict=True))
        return 2 * math.prod(shapes["y"]) * math.prod(shapes["w"][1:])

    @staticmethod
    @abstractmethod
    def fits(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> bool:
        """Whether batch and channels go together."""

    @staticmethod
    @abstractmethod
    def lead(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> tuple[int, int]:
        """The first two lengths of the result."""

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        first, second = avals
        size = params["sizes"]["xwy".index(self.roles[2])]
        return Aval((*self.lead(first.shape, second.shape, params["groups"]), *size), first.dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({self.inputs[1 - argnum]})

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        pushed = self.push(tuple(None if t is None else (t, None) for t in tangents), out, inputs, params)
        assert pushed is not None
        return pushed[0]

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (x, y), (first, second) = inputs, tangents
        return add_masked(
            None if first is None else (self(first[0], y, **params), None),
            None if second is None else (self(x, second[0], **params), None),
        )

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        if not size:
            shapes = [a.shape[b:] for a, b in zip(args, batched, strict=True)]
            out = self.abstract(*(Aval(s, a.dtype) for s, a in zip(shapes, args, strict=True)), **params)
            return Tensor(np.zeros((0, *out.shape), out.dtype))
        groups = params["groups"]
        if batched[0] and batched[1]:  # each example is a group of its own
            pair = [_merged(a, 0 if role == "w" else 1, 1) for a, role in zip(args, self.roles, strict=False)]
            made = self(*pair, **{**params, "groups": groups * size})
            return _parted(made, size, 0 if self.roles[2] == "w" else 1, 1)
        which = batched.index(True)
        (axis, grouped), (target, apart) = self.alone[which]
        given = list(args)
        given[which] = _merged(args[which], axis, groups if grouped else 1)
        return _parted(self(*given, **params), size, target, groups if apart else 1)

    def samples(self) -> list[tuple[Any, ...]]:
        return _cases(*self.roles[:2])


def _merged(x: Value, axis: int, into: int) -> Value:
    """An example's axis `axis` made longer by the leading axis of `x`, which goes behind the number of one of `into` parts."""
    at, shape = axis + 1, x.shape
    split = reshape(x, shape=(*shape[:at], into, shape[at] // into, *shape[at + 1 :]))
    moved = permute_dims(split, axes=(*range(1, at + 1), 0, *range(at + 1, split.ndim)))
    return reshape(moved, shape=(*shape[1:at], shape[0] * shape[at], *shape[at + 1 :]))


def _parted(x: Value, size: int, axis: int, of: int) -> Value:
    """The inverse of `_merged`."""
    shape = x.shape
    split = reshape(x, shape=(*shape[:axis], of, size, shape[axis] // (of * size), *shape[axis + 1 :]))
    moved = permute_dims(split, axes=(axis + 1, *(a for a in range(split.ndim) if a != axis + 1)))
    return reshape(moved, shape=(size, *shape[:axis], shape[axis] // size, *shape[axis + 1 :]))


def _reached(op: Op, mask: Value, params: dict[str, Any]) -> Value:
    """Where `op`, conv or conv_input, gives anything for a live place of any channel: [batch, 1, ...]."""
    some = sum(mask, axis=1, keepdims=True) > 0
    ones = Tensor(np.ones((1, 1, *params["sizes"][1]), np.float32))
    return op(astype(some, dtype=np.float32), ones, **{**params, "groups": 1}) > 0.0


def _kept(value: Value, live: Value | None) -> Masked:
    if live is None:
        return value, None
    live = broadcast_to(live, shape=value.shape)
    return where(live, value, 0.0), live


class Conv(_Bilinear):
    """Cross-correlation of `x: [batch, in, ...]` with the kernels `w: [out, in / groups, ...]`, giving `y: [batch, out, ...]`.

    Place p of the result is the sum of w[k] x[p * stride + k * dilation - padding]. A primitive for accuracy (float16 and
    bfloat16 are summed in float32), memory (windows are copied a few MiB at once) and speed. Each gradient is a convolution
    that costs as much as this one. Places of `x` that no live cotangent was computed from, and kernels of channels without
    one, get structural zeros.

    Raises:
      ShapeError: the arrays do not have the sizes stated, or their channels do not fit the groups.
    """

    name, notation = "conv", r"{x} \star {w}"
    inputs = ("x", "w")
    roles = ("x", "w", "y")
    alone = (((0, False), (0, False)), ((0, True), (1, True)))

    @staticmethod
    def forward(x: Any, w: Any, *, sizes: tuple[tuple[int, ...], ...], **geometry: Any) -> Any:
        return columns.correlate(x, w, columns.Geometry(**geometry), sizes[2])

    @staticmethod
    def fits(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> bool:
        return first[1] == second[1] * groups and second[0] % groups == 0

    @staticmethod
    def lead(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> tuple[int, int]:
        return first[0], second[0]

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x, w = inputs
        return (
            conv_input(cotangent, conj(w), **params) if wanted[0] else None,
            conv_weight(conj(x), cotangent, **params) if wanted[1] else None,
        )

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), params = cotangent, node.params
        x, w = self.vjp(node.plan.wanted, value, out, inputs, **params)
        if mask is None:
            return None if x is None else (x, None), None if w is None else (w, None)
        return (
            None if x is None else _kept(x, _reached(conv_input, mask, params)),
            None if w is None else _kept(w, _channels(mask, 1, 0)),
        )

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (x, w), (first, second) = inputs, tangents
        one = two = None
        if first is not None:
            live = None if first[1] is None else _reached(conv, first[1], params)
            one = _kept(conv(first[0], w, **params), live)
        if second is not None:
            two = _kept(conv(x, second[0], **params), None if second[1] is None else _channels(second[1], 0, 1))
        return add_masked(one, two)


def _channels(mask: Value, axis: int, to: int) -> Value:
    """Where a channel, along `axis`, has a live place, along the axis `to` of an array with as many axes."""
    some = sum(mask, axis=tuple(a for a in range(mask.ndim) if a != axis)) > 0
    return reshape(some, shape=tuple(mask.shape[axis] if a == to else 1 for a in range(mask.ndim)))


class ConvInput(_Bilinear):
    """Transposed convolution of `y: [batch, out, ...]` with `w: [out, in / groups, ...]`, giving `x: [batch, in, ...]`.

    The transpose of `conv` in its first argument: y[p] times w[k] is added to place p * stride + k * dilation - padding.
    A primitive for the reasons for which `conv` is one; its gradients are convolutions of the same cost.

    Raises:
      ShapeError: the arrays do not have the sizes stated, or their channels do not fit the groups.
    """

    name, notation = "conv_input", r"{y} \star^{{\mathsf{{T}}}} {w}"
    inputs = ("y", "w")
    roles = ("y", "w", "x")
    alone = (((0, False), (0, False)), ((1, False), (1, True)))

    @staticmethod
    def forward(y: Any, w: Any, *, sizes: tuple[tuple[int, ...], ...], **geometry: Any) -> Any:
        return columns.spread(y, w, columns.Geometry(**geometry), sizes[0])

    @staticmethod
    def fits(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> bool:
        return first[1] == second[0] and second[0] % groups == 0

    @staticmethod
    def lead(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> tuple[int, int]:
        return first[0], second[1] * groups

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        y, w = inputs
        return (
            conv(cotangent, conj(w), **params) if wanted[0] else None,
            conv_weight(cotangent, conj(y), **params) if wanted[1] else None,
        )

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), params = cotangent, node.params
        y, w = self.vjp(node.plan.wanted, value, out, inputs, **params)
        live = None if mask is None or y is None else _reached(conv, mask, params)
        return None if y is None else _kept(y, live), None if w is None else (w, None)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (y, w), (first, second) = inputs, tangents
        one = None
        if first is not None:
            live = None if first[1] is None else _reached(conv_input, first[1], params)
            one = _kept(conv_input(first[0], w, **params), live)
        return add_masked(one, None if second is None else (conv_input(y, second[0], **params), None))


class ConvWeight(_Bilinear):
    """Products of `x: [batch, in, ...]` with `y: [batch, out, ...]` summed at each offset, giving `w: [out, in / groups, ...]`.

    The transpose of `conv` in its second argument: w[k] is the sum over places p of y[p] x[p * stride + k * dilation -
    padding]. A primitive for the reasons for which `conv` is one; its gradients are convolutions of the same cost.

    Raises:
      ShapeError: the arrays do not have the sizes stated, or their channels do not fit the groups.
    """

    name, notation = "conv_weight", r"{x} \star_{{w}} {y}"
    inputs = ("x", "y")
    roles = ("x", "y", "w")
    alone = (((1, True), (1, False)), ((1, True), (0, True)))

    @staticmethod
    def forward(x: Any, y: Any, *, sizes: tuple[tuple[int, ...], ...], **geometry: Any) -> Any:
        return columns.weigh(x, y, columns.Geometry(**geometry), sizes[1])

    @staticmethod
    def fits(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> bool:
        return first[0] == second[0] and first[1] % groups == 0 and second[1] % groups == 0

    @staticmethod
    def lead(first: tuple[int, ...], second: tuple[int, ...], groups: int) -> tuple[int, int]:
        return second[1], first[1] // groups

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x, y = inputs
        return (
            conv_input(conj(y), cotangent, **params) if wanted[0] else None,
            conv(conj(x), cotangent, **params) if wanted[1] else None,
        )


_SAMPLES: tuple[Any, ...] = (  # batch, in, out, groups; x, w, y; stride, padding, dilation
    (2, 2, 3, 1, (4,), (3,), (4,), (1,), (1,), (1,)),
    (1, 2, 2, 2, (4, 3), (2, 2), (2, 3), (2, 1), (1, 0), (1, 1)),
    (2, 1, 1, 1, (3, 4), (2, 2), (1, 4), (1, 1), (0, 1), (2, 1)),
    (1, 1, 2, 1, (2, 2, 3), (1, 2, 2), (2, 1, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    (0, 1, 2, 1, (3,), (2,), (2,), (1,), (0,), (1,)),
)


def _cases(*roles: str) -> list[tuple[Any, ...]]:
    """Shapes of arrays in these roles, and parameters."""
    made: list[tuple[Any, ...]] = []
    for n, c, o, groups, x, w, y, stride, padding, dilation in _SAMPLES:
        shapes = {"x": (n, c, *x), "w": (o, c // groups, *w), "y": (n, o, *y)}
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        made.append((tuple(shapes[r] for r in roles), {**geometry, "sizes": (x, w, y)}))
    return made


conv, conv_input, conv_weight = declare(Conv), declare(ConvInput), declare(ConvWeight)
