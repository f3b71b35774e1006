"""Linear and Bilinear: affine and bilinear layers."""

from __future__ import annotations

import math
from typing import Any

from backlit import functional as F
from backlit.core.errors import ShapeError
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor
from backlit.nn.module import Module, Parameter


class Linear(Module):
    """`x @ weight.mT + bias`: `x: [..., in_features]` gives `[..., out_features]`.

    `weight: [out_features, in_features]` and `bias: [out_features]` start uniform in
    ±1/sqrt(in_features), drawn from `generator` (without one, from the default one: `backlit.random.seed`).
    Costs `2 * rows * in_features * out_features` operations.

    Raises:
      ShapeError: the last axis of `x` is not `in_features`, or a size is negative.
      DTypeError: `x` and `weight` differ in dtype.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if in_features < 0 or out_features < 0:
            raise ShapeError(f"Linear: sizes must not be negative, got {in_features} and {out_features}")
        self.in_features = in_features
        self.out_features = out_features
        draws = default_generator() if generator is None else generator
        bound = 1.0 / math.sqrt(in_features) if in_features else 0.0
        self.weight = Parameter(draws.uniform((out_features, in_features), -bound, bound, dtype))
        if bias:
            self.bias = Parameter(draws.uniform((out_features,), -bound, bound, dtype))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Any) -> Tensor:
        """The affine image of `x`."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """`x1 W_k x2 + b_k` for each output k: `x1: [..., in1_features]` and `x2: [..., in2_features]` give `[..., out_features]`.

    `weight: [out_features, in1_features, in2_features]` and `bias: [out_features]` start uniform in ±1/sqrt(in1_features).

    Raises:
      ShapeError: an input does not fit, or a size is negative.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, *, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if min(in1_features, in2_features, out_features) < 0:
            raise ShapeError(
                f"Bilinear: sizes must not be negative, got {in1_features}, {in2_features}, {out_features}"
            )
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        draws = default_generator() if generator is None else generator
        bound = 1.0 / math.sqrt(in1_features) if in1_features else 0.0
        self.weight = Parameter(draws.uniform((out_features, in1_features, in2_features), -bound, bound, dtype))
        if bias:
            self.bias = Parameter(draws.uniform((out_features,), -bound, bound, dtype))
        else:
            self.register_parameter("bias", None)

    def forward(self, input1: Any, input2: Any) -> Tensor:
        """The bilinear image of both."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
