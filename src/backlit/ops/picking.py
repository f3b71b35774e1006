"""Functions that pick elements by integers and write to where integers say, with the array API's or PyTorch's signatures."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise, linear
from backlit.ops.at import At, like
from backlit.ops.shape import broadcast_shapes, expand_dims, moveaxis, reshape


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Tensor:
    """Elements of `x` at integer `indices` along `axis`; of the flattened array when None."""
    source = reshape(x, -1) if axis is None else as_tensor(x)
    (at,) = linear.normalize_axes("take", axis or 0, source.ndim)
    return source[(*(slice(None),) * at, _integers("take", indices))]


def index_select(x: Any, dim: int, index: Any, /) -> Tensor:
    """The parts of `x` at the positions `index`, a vector, along `dim` (PyTorch)."""
    index = _integers("index_select", index)
    if index.ndim > 1:
        raise ShapeError(f"index_select: expected a vector of positions, got {shown(index)}; see take{here()}")
    return take(x, index, axis=dim)


def _integers(name: str, indices: Any) -> Tensor:
    empty = isinstance(indices, (list, tuple)) and not len(indices)
    indices = as_tensor(np.asarray(indices, np.intp) if empty else indices)
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{name}: indices must be integers, got {shown(indices)}{here()}")
    return indices  # type: ignore[no-any-return]


def _along(positions: Tensor, at: int) -> tuple[Any, ...]:
    """The index that is `positions` along one axis and counts through the others."""
    grid = np.indices(positions.shape, sparse=True)
    return tuple(positions if i == at else g for i, g in enumerate(grid))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Tensor:
    """For every place of `indices` the element of `x` at that position along `axis`; other axes broadcast.

    Raises:
      ShapeError: the shapes do not broadcast beside `axis`.
      DTypeError: `indices` are not integers.
    """
    source, positions, at = _fitted("take_along_axis", as_tensor(x), _integers("take_along_axis", indices), axis)
    return source[_along(positions, at)]


def put_along_axis(x: Any, indices: Any, values: Any, /, *, axis: int = -1) -> Tensor:
    """`x` with `values` at the positions `indices` along `axis`; of two writes to one place the last counts.

    Raises:
      ShapeError: the shapes do not fit beside `axis`.
      DTypeError: `indices` are not integers.
    """
    x = as_tensor(x)
    source, positions, at = _fitted("put_along_axis", x, _integers("put_along_axis", indices), axis)
    if source.shape != x.shape:
        raise ShapeError(f"put_along_axis: {shown(positions)} does not fit {shown(x)} beside axis {at}{here()}")
    return At(x, _along(positions, at)).set(values)


def _fitted(name: str, source: Tensor, positions: Tensor, axis: int) -> tuple[Tensor, Tensor, int]:
    """`source` and `positions` of one shape beside the axis."""
    (at,) = linear.normalize_axes(name, axis, source.ndim)
    if source.ndim != positions.ndim:
        raise ShapeError(f"{name}: {shown(positions)} and {shown(source)} differ in the number of axes{here()}")
    beside = [(*t.shape[:at], 1, *t.shape[at + 1 :]) for t in (source, positions)]
    if beside[0] != beside[1]:
        try:
            common = np.broadcast_shapes(*beside)
        except ValueError:
            raise ShapeError(
                f"{name}: {shown(positions)} does not fit {shown(source)} beside axis {at}{here()}"
            ) from None
        source, positions = (
            linear.broadcast_to(t, shape=(*common[:at], t.shape[at], *common[at + 1 :])) for t in (source, positions)
        )
    return source, positions, at


def gather(x: Any, dim: int, index: Any, /) -> Tensor:
    """For every place of `index` the element of `x` at that position along `dim` (PyTorch): `out[i][j] = x[index[i][j]][j]`.

    `index` may be shorter than `x` along the other axes; it does not broadcast (see `take_along_axis`).

    Raises:
      ShapeError: `index` has another number of axes or is longer than `x` along another axis.
      DTypeError: `index` are not integers.
    """
    x, at, positions = _places("gather", x, dim, index)
    return x[_along(positions, at)]  # type: ignore[no-any-return]


def _places(name: str, x: Any, dim: int, index: Any) -> tuple[Tensor, int, Tensor]:
    x, positions = as_tensor(x), _integers(name, index)
    (at,) = linear.normalize_axes(name, dim, x.ndim)
    fits = x.ndim == positions.ndim and all(
        i == at or n <= m for i, (n, m) in enumerate(zip(positions.shape, x.shape, strict=True))
    )
    if not fits:
        raise ShapeError(f"{name}: {shown(positions)} does not fit {shown(x)} beside axis {at}{here()}")
    return x, at, positions


def _given(name: str, x: Tensor, positions: Tensor, src: Any) -> Tensor:
    """What is written: a number, or the corner of `src` that has the shape of the positions."""
    src = like(x, src)
    if not src.ndim:
        return src  # type: ignore[no-any-return]
    if src.ndim != positions.ndim or any(n > m for n, m in zip(positions.shape, src.shape, strict=True)):
        raise ShapeError(f"{name}: {shown(src)} has no value for each place of {shown(positions)}{here()}")
    return src if src.shape == positions.shape else src[tuple(slice(n) for n in positions.shape)]  # type: ignore[no-any-return]


def scatter(x: Any, dim: int, index: Any, src: Any, /) -> Tensor:
    """`x` with `src` (a number, or an array like `index`) written at the positions `index` along `dim` (PyTorch).

    `out[index[i][j]][j] = src[i][j]`; of two writes to one place the last counts.

    Raises:
      ShapeError: `index` or `src` does not fit.
      DTypeError: `index` are not integers.
    """
    x, at, positions = _places("scatter", x, dim, index)
    return At(x, _along(positions, at)).set(_given("scatter", x, positions, src))


def scatter_add(x: Any, dim: int, index: Any, src: Any, /) -> Tensor:
    """`x` with `src` added at the positions `index` along `dim` (PyTorch); repeated places add up.

    Raises:
      ShapeError: `index` or `src` does not fit.
      DTypeError: `index` are not integers.
    """
    return scatter_reduce(x, dim, index, src, "sum")


_REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (At.add, 0),
    "prod": (At.multiply, 1),
    "mean": (At.add, 0),
    "amax": (At.max, None),
    "amin": (At.min, None),
}


def scatter_reduce(x: Any, dim: int, index: Any, src: Any, /, reduce: str, *, include_self: bool = True) -> Tensor:
    """`x` with `src` reduced into the positions `index` along `dim` (PyTorch).

    `reduce` is "sum", "prod", "mean", "amax" or "amin"; what `x` has there takes part unless `include_self` is False.

    Raises:
      ArgumentError: there is no such reduction.
      ShapeError: `index` or `src` does not fit.
      DTypeError: `index` are not integers.
    """
    x, at, positions = _places("scatter_reduce", x, dim, index)
    if reduce not in _REDUCTIONS:
        raise ArgumentError(f"scatter_reduce: {reduce!r} is none of {', '.join(_REDUCTIONS)}{here()}")
    key, values = _along(positions, at), _given("scatter_reduce", x, positions, src)
    apply, start = _REDUCTIONS[reduce]
    if not include_self:
        limits = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
        if start is None and limits is not None:
            start = limits.min if reduce == "amax" else limits.max
        elif start is None:
            start = -np.inf if reduce == "amax" else np.inf
        x = At(x, key).set(start)
    out = apply(At(x, key), values)
    if reduce == "mean":
        begin = np.full(x.shape, 1.0) if include_self else At(Tensor(np.ones(x.shape)), key).set(0.0)
        counts = At(as_tensor(begin), key).add(1.0)
        counts = elementwise.where(elementwise.equal(counts, 0), 1.0, counts)
        shares = (
            out / counts
            if out.dtype.kind == "f"
            else elementwise.floor_divide(out, linear.astype(counts, dtype=out.dtype))
        )
        out = like(x, shares)
    return out  # type: ignore[no-any-return]


def one_hot(indices: Any, num_classes: int, /, dtype: Any = np.float32, *, axis: int = -1) -> Tensor:
    """Ones at the class of each index along a new axis of length `num_classes`, the last one; zeros elsewhere.

    Raises:
      DTypeError: `indices` are not integers.
    """
    indices = _integers("one_hot", indices)
    hits = elementwise.equal(expand_dims(indices, axis=-1), np.arange(num_classes))
    return linear.astype(hits if axis == -1 else moveaxis(hits, -1, axis), dtype=dtype)


def _band(name: str, x: Any, keep: Any) -> Tensor:
    """`x: [..., m, n]` where `keep(rows, columns)`, zeros elsewhere."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected [..., m, n], got {shown(x)}{here()}")
    rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
    return elementwise.where(np.broadcast_to(keep(rows, columns), x.shape[-2:]), x, 0)


def tril(x: Any, /, *, k: int = 0) -> Tensor:
    """`x: [..., m, n]` with zeros above the diagonal `k`, which are structurally zero in its gradient too."""
    return _band("tril", x, lambda i, j: j <= i + k)


def triu(x: Any, /, *, k: int = 0) -> Tensor:
    """`x: [..., m, n]` with zeros below the diagonal `k`, which are structurally zero in its gradient too."""
    return _band("triu", x, lambda i, j: j >= i + k)


def diagonal(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal `offset` of the matrices in the axes `axis1` and `axis2`, as the last axis of the result.

    Raises:
      ShapeError: the axes are not two different ones of `x`.
    """
    x = as_tensor(x)
    if len(linear.normalize_axes("diagonal", (axis1, axis2), x.ndim)) != 2:
        raise ShapeError(f"diagonal: expected two axes{here()}")
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = _diagonal(x.shape[-2], x.shape[-1], offset)
    return x[..., rows, columns]  # type: ignore[no-any-return]


def _diagonal(rows: int, columns: int, offset: int) -> tuple[Any, Any]:
    n = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    steps = np.arange(n)
    return steps - min(offset, 0), steps + max(offset, 0)


def diag(x: Any, /, k: int = 0) -> Tensor:
    """The matrix with the vector `x` on its diagonal `k` and zeros elsewhere, or the diagonal `k` of the matrix `x`.

    Raises:
      ShapeError: `x` is neither a vector nor a matrix.
    """
    x = as_tensor(x)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"diag: expected a vector or a matrix, got {shown(x)}; see diagonal and diag_embed{here()}")
    return diag_embed(x, k)


def diag_embed(x: Any, /, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices in the axes `dim1` and `dim2` with the last axis of `x` on their diagonals `offset` (PyTorch)."""
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError(f"diag_embed: expected [..., n], got {shown(x)}{here()}")
    n = x.shape[-1] + abs(offset)
    rows, columns = _diagonal(n, n, offset)
    matrix = At(Tensor(np.zeros((*x.shape[:-1], n, n), x.dtype)), (..., rows, columns)).laid(x)
    return matrix if (dim1, dim2) == (-2, -1) else moveaxis(matrix, (-2, -1), (dim1, dim2))


def trace(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1, *, dtype: Any = None) -> Tensor:
    """The sum along the diagonal `offset` of the matrices in the axes `axis1` and `axis2`."""
    found = diagonal(x, offset, axis1, axis2)
    return linear.sum(found if dtype is None else linear.astype(found, dtype=dtype), axis=-1)


def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """The coordinates of a grid from one vector for each of its axes.

    With "xy" the first vector goes along the second axis and the second along the first, with "ij" each along its own.

    Raises:
      ShapeError: an argument is not a vector.
      ArgumentError: `indexing` is neither "xy" nor "ij".
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f'meshgrid: indexing must be "xy" or "ij", got {indexing!r}{here()}')
    vectors = [as_tensor(a) for a in arrays]
    if wrong := [v for v in vectors if v.ndim > 1]:
        raise ShapeError(f"meshgrid: expected vectors, got {shown(wrong[0])}{here()}")
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    placed = [reshape(v, tuple(v.size if i == at else 1 for i in order)) for at, v in enumerate(vectors)]
    shape = broadcast_shapes(*(p.shape for p in placed)) if placed else ()
    return tuple(linear.broadcast_to(p, shape=shape) for p in placed)
