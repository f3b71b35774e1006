"""What the traces of all transforms share: a level, a life, and the way down to the values below."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from backlit.core.errors import EscapedValueError, RuleError, TraceError
from backlit.core.op import Op
from backlit.core.source import Source, here, user_source
from backlit.core.tensor import Box, Tensor, trace_levels


class Trace(ABC):
    """One run of a transform; a later one has a higher level and wraps the values of a lower one."""

    one_value: ClassVar[bool] = True  # whether a traced value has one set of contents that can be looked at
    prints: ClassVar[bool] = True  # whether `print` shows something of a traced value
    imperative: ClassVar[bool] = False  # whether backward and .grad work on traced values

    def __init__(self, name: str) -> None:
        self.name = name
        self.level = next(trace_levels)
        self.alive = True
        self._where = user_source()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.alive = False

    def check_alive(self, op: Op | None = None) -> None:
        """Raises when a value of this trace is used after its transform has ended.

        Raises:
          EscapedValueError: it has ended.
        """
        if not self.alive:
            began = f" called at {Source(*self._where)}" if self._where else ""
            raise EscapedValueError(
                f"{op.name if op else 'value'}: a traced value of {self.name}{began} is used after that call has "
                f"ended; return it from the function (has_aux=True) instead of storing it{here()}"
            )

    def lower(self, x: Any) -> Any:
        """The value below `x`, in a cell of its own that later writes to `x` do not reach."""
        if not isinstance(x, Tensor):
            return x
        v = x._value
        return v.primal if isinstance(v, Box) and v.trace is self else Tensor(v, x.node)

    def box(self, x: Any) -> Box | None:
        """The box of `x` when it belongs to this trace."""
        v = x._value if isinstance(x, Tensor) else None
        return v if isinstance(v, Box) and v.trace is self else None

    @abstractmethod
    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        """Applies `op` to arguments of which this is the highest trace."""

    def custom(self, owner: Any, values: Any, structure: Any) -> Any:
        """A call of a function with rules of its own, of which this trace knows nothing."""
        raise RuleError(f"{owner.kind} {owner.name}: not supported inside {self.name}{here()}")

    def detach(self, x: Tensor) -> Tensor:
        """The value of `x` without derivatives, at every level."""
        return self.lower(x).detach()  # type: ignore[no-any-return]

    def concrete(self, box: Box) -> Any:
        """The contents, where each traced value has exactly one."""
        return box.primal._concrete()


def highest(tensors: Any) -> Any:
    """The highest trace among the boxes of `tensors`, or None."""
    found = None
    for x in tensors:
        if isinstance(x, Tensor) and isinstance(x._value, Box):
            trace = x._value.trace
            if found is None or trace.level > found.level:
                found = trace
    return found


def no_contents(what: str, box: Box) -> TraceError:
    """The error for asking a value that stands for many at once for its contents."""
    return TraceError(
        f"{what}: a traced value {box.dtype}{list(box.shape)} stands for many at once and has no contents of its own; "
        f"use backlit's ops (where instead of if){here()}"
    )


def zeros(shape: tuple[int, ...], dtype: Any) -> Tensor:
    """A tensor of zeros."""
    return Tensor(np.zeros(shape, dtype))
