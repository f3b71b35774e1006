"""Activations as modules; each applies the function of its name to `x`, elementwise unless it says otherwise.

With `inplace` the result is also written into `x`, as in PyTorch; no memory is saved by it, for values are never written over
while a gradient needs them.
"""

from __future__ import annotations

from typing import Any, Literal

from backlit import functional as F
from backlit.arrays.creation import full
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.nn.module import Module, Parameter


class _Inplace(Module):
    """An activation that may write its result into its input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def shown(self, **arguments: Any) -> str:
        """Arguments as `extra_repr` shows them."""
        listed = [f"{name}={value}" for name, value in arguments.items()]
        return ", ".join([*listed, "inplace=True"] if self.inplace else listed)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown()


class ReLU(_Inplace):
    """`max(x, 0)`; its derivative at 0 is 0."""

    def forward(self, x: Tensor) -> Tensor:
        """The rectified `x`."""
        return F.relu(x, self.inplace)


class ReLU6(_Inplace):
    """`x` held between 0 and 6."""

    def forward(self, x: Tensor) -> Tensor:
        """The `x` so held."""
        return F.relu6(x, self.inplace)


class LeakyReLU(_Inplace):
    """`x` where it is positive, else `negative_slope * x`."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """The leaky `x`."""
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown(negative_slope=self.negative_slope)


class RReLU(_Inplace):
    """`x` where it is positive, else a random slope in [lower, upper] times it while training, their mean otherwise."""

    def __init__(self, lower: float = 1.0 / 8.0, upper: float = 1.0 / 3.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.lower = lower
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        """The leaky `x`."""
        return F.rrelu(x, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown(lower=self.lower, upper=self.upper)


class PReLU(Module):
    """`x` where it is positive, else `weight * x`, with `weight: [num_parameters]`, one or one a channel, which starts at `init`."""

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), init, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """The leaky `x`."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_parameters={self.num_parameters}"


class ELU(_Inplace):
    """`x` where it is positive, else `alpha (exp(x) - 1)`."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """The ELU of `x`."""
        return F.elu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown(alpha=self.alpha)


class CELU(_Inplace):
    """`x` where it is positive, else `alpha (exp(x / alpha) - 1)`."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """The CELU of `x`."""
        return F.celu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown(alpha=self.alpha)


class SELU(_Inplace):
    """The scaled ELU under which moments keep 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """The SELU of `x`."""
        return F.selu(x, self.inplace)


class SiLU(_Inplace):
    """`x sigmoid(x)`."""

    def forward(self, x: Tensor) -> Tensor:
        """The SiLU of `x`."""
        return F.silu(x, self.inplace)


class Mish(_Inplace):
    """`x tanh(log(1 + exp(x)))`."""

    def forward(self, x: Tensor) -> Tensor:
        """The mish of `x`."""
        return F.mish(x, self.inplace)


class Hardtanh(_Inplace):
    """`x` held between `min_val` and `max_val`."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if min_val >= max_val:
            raise ArgumentError(f"Hardtanh: expected min_val < max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: Tensor) -> Tensor:
        """The `x` so held."""
        return F.hardtanh(x, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown(min_val=self.min_val, max_val=self.max_val)


class _Plain(_Inplace):
    """One whose arguments are not shown, as in PyTorch."""

    def extra_repr(self) -> str:
        """Nothing."""
        return ""


class Hardsigmoid(_Plain):
    """`relu6(x + 3) / 6`."""

    def forward(self, x: Tensor) -> Tensor:
        """The hard sigmoid of `x`."""
        return F.hardsigmoid(x, self.inplace)


class Hardswish(_Plain):
    """`x relu6(x + 3) / 6`."""

    def forward(self, x: Tensor) -> Tensor:
        """The hard swish of `x`."""
        return F.hardswish(x, self.inplace)


class Threshold(_Inplace):
    """`x` where it is above `threshold`, else `value`."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = threshold
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """The `x` above the threshold."""
        return F.threshold(x, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return self.shown(threshold=self.threshold, value=self.value)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """The tanh of `x`."""
        return F.tanh(x)


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`."""

    def forward(self, x: Tensor) -> Tensor:
        """The sigmoid of `x`."""
        return F.sigmoid(x)


class LogSigmoid(Module):
    """`log(sigmoid(x))`."""

    def forward(self, x: Tensor) -> Tensor:
        """The logarithm of the sigmoid of `x`."""
        return F.logsigmoid(x)


class Softsign(Module):
    """`x / (1 + |x|)`."""

    def forward(self, x: Tensor) -> Tensor:
        """The softsign of `x`."""
        return F.softsign(x)


class Tanhshrink(Module):
    """`x - tanh(x)`."""

    def forward(self, x: Tensor) -> Tensor:
        """The shrunk `x`."""
        return F.tanhshrink(x)


class Softplus(Module):
    """`log(1 + exp(beta x)) / beta`, and `x` itself where `beta x` is above `threshold`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """The softplus of `x`."""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softshrink(Module):
    """`x` moved by `lambd` towards 0, and 0 where `|x| <= lambd`."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        """The shrunk `x`."""
        return F.softshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """The argument."""
        return f"{self.lambd}"


class Hardshrink(Module):
    """`x`, and 0 where `|x| <= lambd`."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        """The shrunk `x`."""
        return F.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """The argument."""
        return f"{self.lambd}"


class GELU(Module):
    """`x` times the normal distribution function of `x`.

    `approximate="tanh"` takes the approximation by tanh.

    Raises:
      ArgumentError: `approximate` is neither `"none"` nor `"tanh"`.
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ArgumentError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Tensor) -> Tensor:
        """The GELU of `x`."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The argument."""
        return f"approximate={self.approximate!r}"


class GLU(Module):
    """`a sigmoid(b)` with a, b the halves of `x` along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """The gated half of `x`."""
        return F.glu(x, self.dim)

    def extra_repr(self) -> str:
        """The argument."""
        return f"dim={self.dim}"


class _Along(Module):
    """A function along `dim`, the last axis unless given."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The argument."""
        return f"dim={self.dim}"


class Softmax(_Along):
    """`exp(x) / sum(exp(x))` along `dim`, the last axis unless given."""

    def forward(self, x: Tensor) -> Tensor:
        """The softmax of `x`."""
        return F.softmax(x, self.dim)


class Softmin(_Along):
    """`exp(-x) / sum(exp(-x))` along `dim`, the last axis unless given."""

    def forward(self, x: Tensor) -> Tensor:
        """The softmin of `x`."""
        return F.softmin(x, self.dim)


class LogSoftmax(_Along):
    """`log(softmax(x))` along `dim`, the last axis unless given."""

    def forward(self, x: Tensor) -> Tensor:
        """The logarithm of the softmax of `x`."""
        return F.log_softmax(x, self.dim)


class Softmax2d(Module):
    """`softmax` over the channels of `[batch, channels, height, width]`, or without the batch axis.

    Raises:
      ShapeError: there are neither three nor four axes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The softmax of `x`."""
        if x.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: expected [batch, channels, height, width], got {shown(x)}{here()}")
        return F.softmax(x, -3)
