"""Convolution in one, two and three dimensions, and transposed convolution."""

from __future__ import annotations

import math
from typing import Any

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.lengths import Numbers, check_axes, several, with_lead
from backlit.ops.convolution import conv, conv_input
from backlit.ops.linear import reshape


@scope
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers | str = 0, dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of `input: [batch, in, length]` with kernels `weight: [out, in / groups, size]`.

    `conv2d` says the rest.
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@scope
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers | str = 0, dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of `input: [batch, in, height, width]` with kernels `weight: [out, in / groups, height, width]`.

    Place p of a result is the sum of weight[k] input[p * stride + k * dilation - padding] over the kernel's places k and
    the channels of a group, and its `bias: [out]`. Zeros lie around the input: `padding` on both sides of an axis, none
    with "valid", or with "same" as many as keep the lengths, an odd one behind. The batch axis may be left out. The
    cost is one product of matrices with the size of the result times that of a kernel; the columns for it are made a
    few MiB at a time, and each gradient costs as much again.

    Raises:
      ShapeError: the axes, channels or bias do not fit, or a kernel is longer than the padded input.
      DTypeError: input and weight are floats of different dtypes.
      ArgumentError: a number is out of range, or padding is "same" and the stride not 1.
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@scope
def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers | str = 0, dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of `input: [batch, in, depth, height, width]` with kernels `weight: [out, in / groups, ...]`.

    `conv2d` says the rest.
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@scope
def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers = 0, output_padding: Numbers = 0,
    groups: int = 1, dilation: Numbers = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of `input: [batch, in, length]` with kernels `weight: [in, out / groups, size]`.

    `conv_transpose2d` says the rest.
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@scope
def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers = 0, output_padding: Numbers = 0,
    groups: int = 1, dilation: Numbers = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of `input: [batch, in, height, width]` with `weight: [in, out / groups, height, width]`.

    What `conv2d` with the same numbers gives back to its input: input[p] weight[k] is added to place
    p * stride + k * dilation - padding of a result of length (n - 1) * stride - 2 * padding + dilation * (size - 1) +
    output_padding + 1. The batch axis may be left out.

    Raises:
      ShapeError: the axes, channels or bias do not fit, or a result would have no places.
      DTypeError: input and weight are floats of different dtypes.
      ArgumentError: a number is out of range; output_padding is below stride or dilation.
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@scope
def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers = 0, output_padding: Numbers = 0,
    groups: int = 1, dilation: Numbers = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of `input: [batch, in, depth, height, width]` with `weight: [in, out / groups, ...]`.

    `conv_transpose2d` says the rest.
    """
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _operands(who: str, n: int, input: Any, weight: Any, bias: Any, groups: int, transposed: bool) -> tuple[Any, ...]:
    """Input with a batch axis, weight and bias, once they fit."""
    x, w = as_tensor(input), as_tensor(weight)
    check_axes(who, x, n)
    if groups < 1:
        raise ArgumentError(f"{who}: groups must be at least 1, got {groups}{here()}")
    channels = x.shape[x.ndim - n - 1]
    if transposed:
        fits = w.ndim == n + 2 and w.shape[0] == channels and channels % groups == 0
        wanted = "[in, out / groups, ...]"
    else:
        fits = w.ndim == n + 2 and w.shape[1] * groups == channels and w.shape[0] % groups == 0
        wanted = "[out, in / groups, ...]"
    if not fits or 0 in w.shape[2:]:
        raise ShapeError(
            f"{who}: expected a weight {wanted} with {n + 2} axes for {channels} channels in {groups} "
            f"group{'s' * (groups > 1)}, got input {shown(x)} and weight {shown(w)}{here()}"
        )
    if x.dtype != w.dtype and is_float(x.dtype) and is_float(w.dtype):
        raise DTypeError(
            f"{who}: input {shown(x)} and weight {shown(w)} differ in dtype; use .astype({str(w.dtype)!r}) on the input{here()}"
        )
    offset = None
    if bias is not None:
        offset = as_tensor(bias)
        out = w.shape[1] * groups if transposed else w.shape[0]
        if offset.shape != (out,):
            raise ShapeError(f"{who}: expected a bias [{out}], got {shown(offset)}{here()}")
    return with_lead(x, n, x.shape[0] if x.ndim == n + 2 else 1, channels), w, offset, x.ndim == n + 2


def _finished(out: Tensor, bias: Any, batched: bool, n: int) -> Tensor:
    if bias is not None:
        out = out + reshape(bias, shape=(bias.size, *(1,) * n))
    return out if batched else reshape(out, shape=out.shape[1:])


def _conv(
    who: str, n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    x, w, offset, batched = _operands(who, n, input, weight, bias, groups, transposed=False)
    strides, dilations = several(who, "stride", stride, n, 1), several(who, "dilation", dilation, n, 1)
    reach = [d * (k - 1) for d, k in zip(dilations, w.shape[2:], strict=True)]
    if padding == "same":
        if any(s != 1 for s in strides):
            raise ArgumentError(f"{who}: padding 'same' needs a stride of 1, got {stride!r}{here()}")
        before, around = [r // 2 for r in reach], reach
    elif isinstance(padding, str) and padding != "valid":
        raise ArgumentError(f"{who}: padding is numbers, 'same' or 'valid', got {padding!r}{here()}")
    else:
        before = [*several(who, "padding", 0 if padding == "valid" else padding, n, 0)]
        around = [2 * p for p in before]
    free = [m + a - r - 1 for m, a, r in zip(x.shape[2:], around, reach, strict=True)]
    if min(free) < 0:
        raise ShapeError(
            f"{who}: kernels that reach over {[r + 1 for r in reach]} do not fit an input {shown(x)} with {around} zeros "
            f"around it{here()}"
        )
    count = tuple(f // s + 1 for f, s in zip(free, strides, strict=True))
    sizes = (x.shape[2:], w.shape[2:], count)
    out = conv(x, w, stride=strides, padding=before, dilation=dilations, groups=groups, sizes=sizes)
    return _finished(out, offset, batched, n)


def _transposed(
    who: str, n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any,
) -> Tensor:  # fmt: skip
    y, w, offset, batched = _operands(who, n, input, weight, bias, groups, transposed=True)
    strides, dilations = several(who, "stride", stride, n, 1), several(who, "dilation", dilation, n, 1)
    before, behind = several(who, "padding", padding, n, 0), several(who, "output_padding", output_padding, n, 0)
    if any(b >= max(s, d) for b, s, d in zip(behind, strides, dilations, strict=True)):
        raise ArgumentError(
            f"{who}: output_padding {behind} must be below stride {strides} or dilation {dilations}{here()}"
        )
    size = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + b + 1
        for m, s, p, d, k, b in zip(y.shape[2:], strides, before, dilations, w.shape[2:], behind, strict=True)
    )
    if min(size) < 1 or not math.prod(y.shape[2:]):
        raise ShapeError(f"{who}: the result would have the lengths {list(size)} for {shown(y)} and {shown(w)}{here()}")
    sizes = (size, w.shape[2:], y.shape[2:])
    out = conv_input(y, w, stride=strides, padding=before, dilation=dilations, groups=groups, sizes=sizes)
    return _finished(out, offset, batched, n)
