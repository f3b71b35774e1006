"""How many floating-point operations an op does, counted as the reports of compiled programs count them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from backlit.core.op import Op
from backlit.core.tensor import Tensor
from backlit.diagnose.recording import Aside

_MOVES = frozenset(
    {
        "broadcast_to", "concat", "detach", "fence", "index", "pad", "permute_dims", "put", "reshape", "unfold",
        "window_pick",
    }
)  # fmt: skip
_READS = frozenset(  # what goes once over what it reads
    {
        "all", "any", "argmax", "argmin", "classes", "cumargmax", "cumargmin", "cumprod", "cumsum", "cumulative_logsumexp",
        "fold", "logsumexp", "max", "min", "norm", "prod", "recurrence", "scatter_add", "scatter_max", "scatter_min",
        "softmax_cross_entropy", "sum", "sum_to", "window_put",
    }
)  # fmt: skip
_FOURIER = frozenset({"fft", "ifft", "irfft", "rfft"})


def flops(op: Op | None, args: Sequence[Any], out: Any, params: dict[str, Any]) -> int | None:
    """The floating-point operations of `op` applied to `args` (arrays, tensors or numbers), giving `out`.

    A product or convolution counts two for each multiplication, a reduction or scan one for each element that it reads, a
    fast Fourier transform of n numbers 5 n log2(n), every other op, whatever it computes, one for each element that it
    gives; moves count none. None where nobody counted: linear algebra, loops, functions with a rule of their own.
    """
    if op is None:
        return None
    name, sizes = op.name, [_shape(a) for a in args]
    given = math.prod(_shape(out))
    if name in _MOVES:
        return 0
    if name == "matmul":
        return 2 * int(sizes[0][-1]) * given
    if name in ("conv", "conv_input", "conv_weight"):
        return _of_convolution(op, sizes, _shape(out), params)
    if name == "window_argmax":
        return given * int(math.prod(params["kernel"]))
    if name in _READS:
        return max((math.prod(s) for s in sizes), default=0)
    if name in _FOURIER:
        n = max(_shape(out)[-1], sizes[0][-1], 1)
        return round(5 * max(given, math.prod(sizes[0])) * math.log2(n))
    if op.__class__.__module__.startswith("backlit.ops.linalg") or not op.__class__.__module__.startswith(
        "backlit.ops"
    ):
        return None
    return given


def _of_convolution(op: Op, sizes: list[tuple[int, ...]], out: tuple[int, ...], params: dict[str, Any]) -> int:
    """Two for each pair of an element of the result of the forward convolution and an element of its window."""
    roles = dict(zip(op.roles, (*sizes, out), strict=True))  # type: ignore[attr-defined]
    return 2 * math.prod(roles["y"]) * math.prod(roles["w"][1:])


def _shape(x: Any) -> tuple[int, ...]:
    if isinstance(x, Tensor):
        return tuple(x.shape)
    return tuple(getattr(x.value if isinstance(x, Aside) else x, "shape", ()))
