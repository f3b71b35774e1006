"""Where a result is one of many and its derivative depends on which: an error instead of an arbitrary number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import GradientError
from backlit.core.op import Op, Value, declare
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.ops.elementwise import abs
from backlit.ops.linear import broadcast_to, sum


class Refused(Op):
    """`x`, once nothing of the mask `y` is true.

    Raises:
      GradientError: an element of `y` is true; `message` says why there is no derivative.
    """

    name, notation = "refused", "{x}"
    inputs = ("x", "y")
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @staticmethod
    def forward(x: Any, y: Any, *, message: str) -> Any:
        if y.any():
            raise GradientError(message + here())
        return x

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x, y = args
        return self(x if batched[0] else broadcast_to(x, shape=(size, *x.shape)), y, **params)

    def samples(self) -> list[tuple[Any, ...]]:
        return [((shape, np.zeros(3, bool)), {"message": "no derivative"}) for shape in ((2, 3), (), (0, 2))]


refused = declare(Refused)


def unturned(turning: Value, cotangent: Value, shape: tuple[int, ...], message: str) -> Value:
    """Zeros of `shape`, to be added to a result, once `turning: [..., k]` is nothing but rounding beside `cotangent`.

    `turning` is what of the cotangent would turn a basis, or a phase, that is a matter of choice. The limit of eps^(3/4)
    leaves room for a hundred roundings on the way to it.
    """
    eps = float(np.finfo(cotangent.dtype).eps)
    limit = eps**0.75 * sum(abs(cotangent), axis=(-2, -1), keepdims=True)
    return refused(Tensor(np.zeros(shape, cotangent.dtype)), abs(turning) > limit, message=message)
