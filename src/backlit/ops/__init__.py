"""Floor 1: every primitive, one file per family; importing it gives Tensor its operators and methods."""

from backlit.ops import (
    array,
    contract,
    dispatch,
    elementwise,
    entropy,
    error_functions,
    exponential,
    gamma,
    indexing,
    linear,
    operators,
    random,
    reduce,
    rounding,
    special,
    trigonometry,
)

__all__ = [
    "array",
    "contract",
    "dispatch",
    "elementwise",
    "entropy",
    "error_functions",
    "exponential",
    "gamma",
    "indexing",
    "linear",
    "operators",
    "random",
    "reduce",
    "rounding",
    "special",
    "trigonometry",
]
