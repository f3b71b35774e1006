"""The functions that an expression may call, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backlit import functional
from backlit.core.errors import DataError
from backlit.core.op import NUMBERS, Elementwise
from backlit.core.tensor import Tensor
from backlit.ops import (
    array,
    elementwise,
    error_functions,
    exponential,
    gamma,
    linear,
    rounding,
    special,
    statistics,
    trigonometry,
)

_EXACT = 2**53  # whole numbers up to it are exact in float64


class Function(NamedTuple):
    """A function with the number of its arguments and the names of its options."""

    call: Callable[..., Any]
    n_args: int = 1
    options: frozenset[str] = frozenset()


def take(x: Any, key: Any) -> Any:
    """`x[key]`."""
    return x[key]


def transpose(x: Any) -> Any:
    """`x.T`."""
    return x.T


def _counted(x: Any) -> Any:
    return linear.astype(x, dtype=np.float64) if isinstance(x, Tensor) and x.dtype == bool else x


def _where(condition: Any, x: Any, y: Any) -> Tensor:
    condition = condition if isinstance(condition, Tensor) else bool(condition)
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        x = np.float64(x)  # two plain numbers would make float32
    return elementwise.where(condition, x, y)


def _cross_entropy(logits: Any, target: Any) -> Tensor:
    """Cross-entropy with probabilities shaped like the logits, or with class numbers, which are whole."""
    axis = 0 if logits.ndim == 1 else 1
    if target.shape != (*logits.shape[:axis], *logits.shape[axis + 1 :]):
        return functional.cross_entropy(logits, target)  # probabilities, or of a wrong shape
    classes = np.asarray(target.tolist())
    if not np.all((np.abs(classes) < _EXACT) & (classes == np.floor(classes))):
        raise DataError(
            f"cross_entropy: the target {list(target.shape)} holds class numbers, for the logits are "
            f"{list(logits.shape)}, and a class number is whole"
        )
    return functional.cross_entropy(logits, classes.astype(np.intp))


_AXIS = frozenset({"axis"})
_REDUCTION = frozenset({"axis", "keepdims"})
FUNCTIONS: dict[str, Function] = {
    **{
        name: Function(getattr(elementwise, name))
        for name in ("sin", "cos", "tanh", "exp", "log", "log1p", "expm1", "sqrt", "abs", "sign", "floor")
    },
    **{name: Function(getattr(special, name)) for name in ("erf", "sigmoid", "softplus")},
    **{name: Function(getattr(rounding, name)) for name in ("ceil", "trunc", "round")},
    **{
        name: Function(getattr(exponential, name))
        for name in ("exp2", "log2", "log10", "rsqrt", "cbrt", "square", "reciprocal", "logit")
    },
    **{
        name: Function(getattr(trigonometry, name))
        for name in ("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "sinc")
    },
    **{name: Function(getattr(error_functions, name)) for name in ("erfc", "erfinv")},
    **{name: Function(getattr(gamma, name)) for name in ("lgamma", "digamma")},
    **{
        name: Function(getattr(functional, name))
        for name in ("leaky_relu", "elu", "selu", "celu", "silu", "mish", "logsigmoid", "hardtanh", "relu6", "softsign")
    },
    "atan2": Function(trigonometry.atan2, 2),
    "hypot": Function(trigonometry.hypot, 2),
    "logaddexp": Function(exponential.logaddexp, 2),
    **{
        name: Function(getattr(statistics, name), 1, _REDUCTION)
        for name in ("sum", "prod", "mean", "max", "min", "logsumexp")
    },
    **{name: Function(getattr(functional, name), 1, _AXIS) for name in ("softmax", "log_softmax")},
    "relu": Function(functional.relu),
    "gelu": Function(functional.gelu),
    "maximum": Function(elementwise.maximum, 2),
    "minimum": Function(elementwise.minimum, 2),
    "where": Function(_where, 3),
    "matmul": Function(array.matmul, 2),
    "mse_loss": Function(functional.mse_loss, 2),
    "cross_entropy": Function(_cross_entropy, 2),
}


_OF_TRUTH = (
    take, transpose, elementwise.equal, elementwise.not_equal, elementwise.less, elementwise.less_equal,
    elementwise.greater, elementwise.greater_equal,
)  # fmt: skip


def call(function: Callable[..., Any], args: list[Any], options: dict[str, Any]) -> Any:
    """Calls with numbers and tensors; of numbers alone it gives a number, whole where they are whole.

    Numbers become float64 arrays except for elementwise ops, in which a number is weak: it takes the dtype of the
    array beside it, and wins a tie of `maximum`. Truth values count as 1 and 0 where numbers are computed with.
    """
    if function not in _OF_TRUTH:
        args = [a if i == 0 and function is _where else _counted(a) for i, a in enumerate(args)]
    plain = all(a.__class__ in NUMBERS for a in args)
    if plain or not (isinstance(function, Elementwise) or function is _where):
        args = [Tensor(np.asarray(a, np.float64)) if a.__class__ in NUMBERS else a for a in args]
    out = function(*args, **options)
    return simplest(out.item(), args) if plain and not out.shape else out


def simplest(x: Any, of: list[Any]) -> Any:
    """A float as the whole number that it is, when it was computed from whole numbers."""
    if x.__class__ is float and x.is_integer() and abs(x) <= _EXACT and all(float(a).is_integer() for a in of):
        return int(x)
    return x
