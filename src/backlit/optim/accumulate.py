"""Gradients added up over micro-batches, and divided by the number of their examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from backlit.core import staging
from backlit.core.errors import ArgumentError
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, assign, no_grad
from backlit.ops.elementwise import where
from backlit.optim.base import Optimizer
from backlit.optim.findings import cells_of

_T = TypeVar("_T")


class accumulate:
    """Within `with`, `add(loss, examples)` is a backward pass over one micro-batch; afterwards `.grad` is of their mean.

    `loss` is the mean over the `examples` of its micro-batch (rows, or tokens that count: a number, or a tensor of no axes).
    After the block the gradients are those of the mean over all examples, whatever the sizes of the micro-batches, to
    rounding: clipping, the optimizer's step and a schedule follow as for one large batch. Gradients of the optimizers'
    parameters are reset when the block is entered. Costs a multiplication of the gradients, once.

    The block compiles as a part of a step. So does `add` alone, called once per micro-batch: compile with `keep_grads=True`,
    and use the same object again for the next block. `groups(batches)` takes `n` batches at a time.

    Raises:
      ArgumentError: nothing was added, `examples` is negative, or `n` is not a positive number.

    Example:
      micro = optim.accumulate(optimizer, 4)
      for batches in micro.groups(loader):
          with micro:
              for x, y in batches:
                  micro.add(loss(model(x), y), len(x))
          optimizer.step()
    """

    def __init__(self, optimizer: Optimizer | Iterable[Optimizer], n: int | None = None) -> None:
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ArgumentError(f"accumulate: n must be a number of micro-batches above 0, got {n!r}")
        self.n = n
        self._optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
        self._total = Tensor(np.float64(0.0))  # of the weights: examples in units of those of the first micro-batch
        self._unit = Tensor(np.float64(1.0))

    def groups(self, batches: Iterable[_T]) -> Iterator[list[_T]]:
        """Lists of `n` batches, the last of what is left."""
        if self.n is None:
            raise ArgumentError("accumulate: groups needs the number of micro-batches, accumulate(optimizer, n)")
        rest = iter(batches)
        while group := list(islice(rest, self.n)):
            yield group

    def __enter__(self) -> Self:
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        assign(self._total, Tensor(np.float64(0.0)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._divide()

    def add(self, loss: Tensor, examples: Any = 1) -> None:
        """A backward pass of the mean loss of some examples, which weighs as many."""
        if isinstance(examples, (int, float)) and not (0 <= examples < math.inf):
            raise ArgumentError(f"accumulate: examples must be a number of at least 0, got {examples}{here()}")
        with no_grad():
            number = as_tensor(examples).detach().astype("float64")
            # in units of the first: for micro-batches of one size all weights are 1, and nothing overflows in float16
            unit = where((self._total == 0) & (number > 0), number, Tensor(self._unit._value))
            weight = number / unit
            assign(self._unit, unit)
            assign(self._total, self._total + weight)
        loss.backward(weight.astype(loss.dtype))

    def _divide(self) -> None:
        if staging.current() is None and not self._total.item() > 0:
            raise ArgumentError(f"accumulate: no example was added; call add(loss, examples) inside{here()}")
        with no_grad():
            for optimizer in self._optimizers:
                for cell in cells_of(optimizer):
                    if (gradient := cell.grad) is not None:
                        cell.grad = gradient / Tensor(self._total._value).astype(gradient.dtype)
