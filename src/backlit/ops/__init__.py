"""Floor 1: every primitive, one file per family; importing it gives Tensor its operators and methods."""

from backlit.ops import (
    array,
    contract,
    dispatch,
    elementwise,
    entropy,
    indexing,
    linear,
    operators,
    random,
    reduce,
    special,
)

__all__ = [
    "array",
    "contract",
    "dispatch",
    "elementwise",
    "entropy",
    "indexing",
    "linear",
    "operators",
    "random",
    "reduce",
    "special",
]
