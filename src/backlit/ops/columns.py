"""Convolution in NumPy: windows of the input are copied into columns, block by block, and multiplied as matrices.

Place y of an output and place k of a kernel meet at y * stride + k * dilation - padding of the input; what lies outside
of the input is zero. The three functions are the three derivatives of one trilinear form, the sum over all of them of
g[n, o, y] w[o, c, k] x[n, c, y * stride + k * dilation - padding].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

BLOCK_BYTES = 2**22  # of columns at once: smaller blocks make slower products, larger ones no faster ones
Shape = tuple[int, ...]


class Geometry(NamedTuple):
    """How places of output, kernel and input belong together, and how channels are grouped."""

    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int


def correlate(x: Any, w: Any, geometry: Geometry, size: Shape) -> Any:
    """`out: [n, o, *size]` for `x: [n, c, ...]` and `w: [o, c / groups, ...]`."""
    dtype, x, w = _widened(x, w)
    out = np.zeros((x.shape[0], w.shape[0], *size), x.dtype)
    if out.size and x.size and w.size:
        plan = _Plan(x.shape, w.shape, geometry, size, x.itemsize)
        source = plan.padded(x)
        matrix = w.reshape(plan.groups, plan.o, plan.depth)
        for block in plan.blocks():
            made = np.matmul(matrix, plan.columns(source, block))
            plan.keep(made, out, block)
    return out.astype(dtype, copy=False)


def spread(g: Any, w: Any, geometry: Geometry, size: Shape) -> Any:
    """`x: [n, c, *size]`, the transpose of `correlate` in its first argument: each output goes where it came from."""
    dtype, g, w = _widened(g, w)
    shape = (g.shape[0], w.shape[1] * geometry.groups, *size)
    if not (math.prod(shape) and g.size and w.size):
        return np.zeros(shape, dtype)
    plan = _Plan(shape, w.shape, geometry, g.shape[2:], g.itemsize, lines=bool(np.isfinite(w).all()))
    x = np.zeros((*shape[:2], *plan.extent), g.dtype)
    matrix = np.ascontiguousarray(w.reshape(plan.groups, plan.o, plan.depth).transpose(0, 2, 1))
    product = np.multiply if plan.o == 1 else np.matmul  # of a column and a row NumPy has no quick one
    for block in plan.blocks():
        plan.add(product(matrix, plan.rows(g, block)), x, block)
    return plan.cropped(x, size).astype(dtype, copy=False)


def weigh(x: Any, g: Any, geometry: Geometry, size: Shape) -> Any:
    """`w: [o, c / groups, *size]`, the transpose of `correlate` in its second argument."""
    dtype, x, g = _widened(x, g)
    shape = (g.shape[1], x.shape[1] // geometry.groups, *size)
    if not (math.prod(shape) and g.size and x.size):
        return np.zeros(shape, dtype)
    total = _weigh(x, g, _Plan(x.shape, shape, geometry, g.shape[2:], g.itemsize))
    if not np.isfinite(total).all():  # perhaps for the rests of lines, where zeros meet what is not finite
        total = _weigh(x, g, _Plan(x.shape, shape, geometry, g.shape[2:], g.itemsize, lines=False))
    return total.reshape(shape).astype(dtype, copy=False)


def _weigh(x: Any, g: Any, plan: _Plan) -> Any:
    source = plan.padded(x)
    total: Any = 0
    for block in plan.blocks():
        columns = plan.columns(source, block)
        total = total + np.matmul(plan.rows(g, block), columns.transpose(0, 2, 1))
    return total


def _widened(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """The dtype of the result, and operands for which NumPy has a matrix product: halves are summed as float32."""
    dtype = a.dtype
    narrow = dtype.itemsize == 2 and dtype.kind in "fV"
    return (dtype, a.astype(np.float32), b.astype(np.float32)) if narrow else (dtype, a, b)


class _Block(NamedTuple):
    """Examples from `first` to `last` and rows of the output, along its first axis, from `top` to `end`."""

    first: int
    last: int
    top: int
    end: int


class _Plan:
    """Shapes and strides of one convolution.

    Without strides an input is taken as one line, of which the columns of a kernel place are one stretch: rows of the
    output are then as long as those of the input, with a rest that is thrown away, and copies are long. `extent` is the
    part of the input, zeros around it included, that windows reach.
    """

    def __init__(self, x: Shape, w: Shape, geometry: Geometry, size: Shape, itemsize: int, lines: bool = True) -> None:
        self.geometry, self.size, self.kernel, self.itemsize = geometry, size, w[2:], itemsize
        self.n, self.groups = x[0], geometry.groups
        self.c, self.o = x[1] // self.groups, w[0] // self.groups
        self.depth = self.c * math.prod(self.kernel)
        reach = [
            (m - 1) * s + (k - 1) * d + 1
            for m, s, k, d in zip(size, geometry.stride, self.kernel, geometry.dilation, strict=True)
        ]
        self.extent = tuple(
            # an input that is long enough needs no copy; what is behind the reach is not looked at
            max(r, m) if p == 0 else r
            for r, m, p in zip(reach, x[2:], geometry.padding, strict=True)
        )
        wasted = math.prod(self.extent[1:]) > 2 * math.prod(size[1:])
        self.line = lines and not wasted and all(s == 1 for s in geometry.stride)

    def padded(self, x: Any) -> Any:
        """`x` with zeros around it, cut to `extent`; itself where it is that."""
        if x.shape[2:] == self.extent and not any(self.geometry.padding):
            return np.ascontiguousarray(x)
        out = np.zeros((*x.shape[:2], *self.extent), x.dtype)
        into, of = _overlap(self.extent, x.shape[2:], self.geometry.padding)
        out[into] = x[of]
        return out

    def cropped(self, x: Any, size: Shape) -> Any:
        """The transpose of `padded`."""
        if size == self.extent and not any(self.geometry.padding):
            return x
        out = np.zeros((*x.shape[:2], *size), x.dtype)
        into, of = _overlap(self.extent, size, self.geometry.padding)
        out[of] = x[into]
        return out

    def blocks(self) -> Iterator[_Block]:
        """Examples, or rows of an example, whose columns take no more than BLOCK_BYTES."""
        row = self.itemsize * self.depth * self.groups * self._row_length()
        rows = max(1, min(self.size[0], BLOCK_BYTES // row))
        examples = max(1, BLOCK_BYTES // (row * self.size[0])) if rows == self.size[0] else 1
        for first, top in itertools.product(range(0, self.n, examples), range(0, self.size[0], rows)):
            yield _Block(first, min(first + examples, self.n), top, min(top + rows, self.size[0]))

    def _row_length(self) -> int:
        return math.prod(self.extent[1:] if self.line else self.size[1:])

    def _places(self, block: _Block) -> Shape:
        """Shape of the places of an output in a block: one line, whose last row ends where the output does, or a grid."""
        if not self.line:
            return (block.end - block.top, *self.size[1:])
        last = sum((m - 1) * math.prod(self.extent[i + 2 :]) for i, m in enumerate(self.size[1:]))
        return ((block.end - block.top - 1) * self._row_length() + last + 1,)

    def _windows(self, x: Any, block: _Block) -> Any:
        """A view [groups, c, *kernel, examples, *places] of a padded input."""
        g = self.geometry
        part = x[block.first : block.last]
        steps = part.strides[2:]
        offset = part[:, :, block.top * g.stride[0] :]
        places = self._places(block)
        along = (x.itemsize,) if self.line else tuple(s * n for s, n in zip(g.stride, steps, strict=True))
        taps = tuple(d * n for d, n in zip(g.dilation, steps, strict=True))
        return np.lib.stride_tricks.as_strided(
            offset,
            (self.groups, self.c, *self.kernel, part.shape[0], *places),
            (part.strides[1] * self.c, part.strides[1], *taps, part.strides[0], *along),
        )

    def columns(self, x: Any, block: _Block) -> Any:
        """Matrices [groups, c * kernel, examples * places]."""
        windows = self._windows(x, block)
        return np.ascontiguousarray(windows).reshape(self.groups, self.depth, -1)

    def _lines(self, block: _Block) -> Shape:
        """Shape of whole rows in a block."""
        return (block.end - block.top, *(self.extent[1:] if self.line else self.size[1:]))

    def _inside(self) -> tuple[Any, ...]:
        """Of whole rows, what belongs to the output."""
        return (..., *(slice(0, m) for m in self.size[1:]))

    def keep(self, made: Any, out: Any, block: _Block) -> None:
        """Writes a product [groups, o, examples * places] where it belongs in `out`."""
        examples = block.last - block.first
        made = made.reshape(self.groups, self.o, examples, -1)
        target = out[block.first : block.last, :, block.top : block.end]
        target = target.reshape(examples, self.groups, self.o, *target.shape[2:])
        target[...] = _grid(made, self._lines(block))[self._inside()].transpose(2, 0, 1, *range(3, target.ndim))

    def rows(self, g: Any, block: _Block) -> Any:
        """The transpose of `keep`: matrices [groups, o, examples * places], zero where a row of the input is longer."""
        examples = block.last - block.first
        part = g[block.first : block.last, :, block.top : block.end]
        part = part.reshape(examples, self.groups, self.o, *part.shape[2:]).transpose(1, 2, 0, *range(3, part.ndim + 1))
        lines = self._lines(block)
        if lines == part.shape[3:]:
            return np.ascontiguousarray(part).reshape(self.groups, self.o, -1)
        made = np.zeros((self.groups, self.o, examples, math.prod(self._places(block))), g.dtype)
        _grid(made, lines)[self._inside()] = part
        return made.reshape(self.groups, self.o, -1)

    def add(self, columns: Any, x: Any, block: _Block) -> None:
        """The transpose of `columns`: adds each to the places of the padded input that it was copied from."""
        windows = self._windows(x, block)
        made = columns.reshape(windows.shape)
        for tap in itertools.product(*map(range, self.kernel)):
            at = (slice(None), slice(None), *tap)
            windows[at] += made[at]


def _grid(made: Any, lines: Shape) -> Any:
    """A view [..., *lines] of lines [..., places], of which the last one may end early: what is behind it is not read."""
    steps = [made.itemsize]
    for n in reversed(lines[1:]):
        steps.insert(0, steps[0] * n)
    return np.lib.stride_tricks.as_strided(made, (*made.shape[:-1], *lines), (*made.strides[:-1], *steps))


def _overlap(extent: Shape, size: Shape, padding: Shape) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Where an input of `size`, moved by `padding`, and an array of `extent` are the same places."""
    into: list[Any] = [
        ...,
        *(slice(max(p, 0), max(min(e, m + p), 0)) for e, m, p in zip(extent, size, padding, strict=True)),
    ]
    of = [..., *(slice(max(-p, 0), max(min(e - p, m), 0)) for e, m, p in zip(extent, size, padding, strict=True))]
    return tuple(into), tuple(of)
