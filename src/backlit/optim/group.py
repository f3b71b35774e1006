"""Group: parameters with their settings, of which those that change from step to step live in cells."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from backlit.core import changes
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor, assign


def check_range(name: str, value: float, below: float | None = None) -> None:
    """Refuses an argument outside `[0, below)`; NaN and what is no number are outside.

    Raises:
      ArgumentError: the value is outside.
    """
    try:
        is_inside = value >= 0.0 and (below is None or value < below)
    except TypeError:
        is_inside = False
    if not is_inside:
        limit = "at least 0.0" if below is None else f"in [0.0, {below})"
        raise ArgumentError(f"optimizer: {name} must be {limit}, got {value}")


def like(number: Any, x: Tensor) -> Any:
    """A setting, or what was computed from some, for arithmetic in the dtype of `x`."""
    return number.astype(x.dtype) if isinstance(number, Tensor) else number


def is_zero(number: Any) -> bool:
    """Whether a setting is the number 0; of one in a cell nobody knows."""
    return not isinstance(number, Tensor) and number == 0


# settings that may live in a cell; betas are two of them
NUMBERS = {"weight_decay", "eps", "momentum", "dampening", "alpha", "rho", "lr_decay", "momentum_decay"}
Check = Callable[[Mapping[str, Any]], None]


class Group(dict[str, Any]):
    """The parameters and settings of one group.

    The learning rate lives in a cell, which the step reads: `group["lr"]` is a number, and `group["lr"] = 0.1` writes into
    the cell. The other numbers, and each of `betas`, are constants of a compiled step until they are first written to, and
    live in a cell from then on. `check` refuses settings that are out of range.
    """

    def __init__(self, settings: Mapping[str, Any], check: Check | None = None) -> None:
        super().__init__()
        self.is_changed = False  # what is kept for its parameters may no longer be all that is needed
        self._check: Check | None = None
        for name, value in settings.items():
            self[name] = value
        self._check = check

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "lr":
            check_range("lr", value)
            self._write(name, value)
            return
        if self._check is not None:
            self._check({**self, name: value})
        value = tuple(value) if name == "betas" else value  # files have lists
        old = super().get(name)
        if isinstance(old, Tensor) or (name in NUMBERS and self._check is not None):
            self._write(name, value)
        elif name == "betas" and old is not None and len(old) == len(value):
            self._put(name, tuple(_part(new, before) for new, before in zip(value, old, strict=True)))
        else:
            self._put(name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        made = type(self)({})
        for name in self:
            dict.__setitem__(made, name, copy.deepcopy(super().__getitem__(name), memo))
        made._check, made.is_changed = self._check, self.is_changed
        return made

    def _put(self, name: str, value: Any) -> None:
        """Another object for a setting."""
        self.is_changed = True
        changes.changed()
        super().__setitem__(name, value)

    def _write(self, name: str, value: Any) -> None:
        cell = super().get(name)
        if isinstance(cell, Tensor):
            assign(
                cell, Tensor(np.float64(float(value)))
            )  # the same object for every number: who compares sees no change
        else:
            self._put(name, Tensor(np.float64(float(value))))

    def hold(self, name: str) -> None:
        """Puts a number, or the first of several, into a cell, for it will change."""
        now = super().get(name)
        first = now[0] if isinstance(now, tuple) else now
        if not isinstance(first, Tensor):
            cell = Tensor(np.float64(first))
            self._put(name, (cell, *now[1:]) if isinstance(now, tuple) else cell)

    def is_held(self, name: str) -> bool:
        """Whether a number, or one of several, lives in a cell."""
        now = super().get(name)
        return any(isinstance(x, Tensor) for x in (now if isinstance(now, tuple) else (now,)))

    def value(self, name: str) -> Any:
        """A setting as the step reads it: a cell in double precision, or the number itself."""
        return super().__getitem__(name)

    def cell(self, name: str) -> Tensor:
        """The cell in which a setting lives.

        Raises:
          KeyError: it lives in none.
        """
        found = super().__getitem__(name)
        if not isinstance(found, Tensor):
            raise KeyError(name)
        return found

    # As a dictionary of numbers

    def __getitem__(self, name: str) -> Any:
        return _number(name, super().__getitem__(name))

    def __iter__(self) -> Iterator[str]:  # with this, `dict(group)` and `{**group}` ask `__getitem__`
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """A setting as a number, or the default."""
        return _number(name, super().get(name, default))

    def items(self) -> Any:
        """Names and values, as numbers."""
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        """The values, as numbers."""
        return [self[name] for name in self]

    def setdefault(self, name: str, default: Any = None) -> Any:
        """A setting; where there is none it becomes the default."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Any, **named: Any) -> None:
        """Writes several settings."""
        for name, value in dict(*others, **named).items():
            self[name] = value


def _part(new: Any, before: Any) -> Any:
    """What stands for one of several numbers: the same number, or a cell."""
    if isinstance(before, Tensor):
        assign(before, Tensor(np.float64(float(new))))
        return before
    return before if float(new) == float(before) else Tensor(np.float64(float(new)))


def _number(name: str, value: Any) -> Any:
    if name == "params":
        return value
    if isinstance(value, Tensor):
        return value.item()
    return tuple(x.item() if isinstance(x, Tensor) else x for x in value) if isinstance(value, tuple) else value
