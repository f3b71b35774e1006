"""Steps along gradients that are not finite are left out, counted, and told of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backlit.core import staging
from backlit.core.source import user_level
from backlit.core.tensor import Tensor, assign
from backlit.ops.elementwise import where
from backlit.ops.rounding import isfinite
from backlit.ops.shape import stack
from backlit.ops.statistics import all as holds_everywhere
from backlit.ops.statistics import argmax
from backlit.optim import watch

if TYPE_CHECKING:
    from backlit.optim.base import Optimizer


class Skipping:
    """Counts the steps that are left out; `fine` says of a step that is being traced whether it is made."""

    guarded = ("count", "first")  # what a compiled step looks at

    def __init__(self) -> None:
        self.count = Tensor(np.int64(0))
        self.first = Tensor(np.int64(-1))  # position of the first bad parameter of the first step left out
        self.fine: Tensor | None = None
        self.is_told = False

    def begin(self, gradients: Sequence[tuple[int, Tensor]], optimizer: Optimizer) -> bool:
        """Looks at the gradients of a step, by position; whether the step has to be gone through."""
        gradients = [(k, grad) for k, grad in gradients if grad.size]
        if not gradients:
            return True
        bad = ~stack([holds_everywhere(isfinite(grad)) for _, grad in gradients])
        positions = Tensor(np.array([k for k, _ in gradients], np.int64))
        fine = ~bad.any()
        first = positions[argmax(bad.astype("int64"))]
        if staging.current() is None and fine.item():
            return True
        assign(self.first, where(fine | (self.first >= 0), Tensor(self.first._value), first))
        assign(self.count, self.count + (~fine).astype("int64"))
        if staging.current() is None:
            self.number(optimizer)
            return False
        self.fine = fine
        return True

    def leave_out(self, position: int, optimizer: Optimizer) -> None:
        """Counts a step that is left out for the parameter at a position."""
        assign(self.count, self.count + 1)
        if self.first.item() < 0:
            assign(self.first, Tensor(np.int64(position)))
        self.number(optimizer)

    def number(self, optimizer: Optimizer) -> int:
        """How many steps were left out; the first time that there is one a warning says so."""
        count, first = int(self.count.item()), int(self.first.item())
        if first >= 0 and not self.is_told:
            self.is_told = True
            name = watch.names_of(optimizer)[first]
            warnings.warn(
                f"{type(optimizer).__name__}: a step was left out, because the gradient of {name} is not finite; how many "
                "were is in optimizer.skipped",
                RuntimeWarning,
                stacklevel=user_level(),
            )
        return count
