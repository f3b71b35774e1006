"""Declared sweeps: a run recorded once for each of some values of an input, a weight or a hyper-parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.diagnose.recording import Recording
from backlit.diagnose.source import near
from backlit.inspector.columns import Columns
from backlit.inspector.session import Session
from backlit.inspector.state import State, reached_by

Variable = str | tuple[str, Any]
Sweep = Mapping[Variable, Sequence[Any] | Mapping[str, Any]]


@dataclass(frozen=True)
class Swept:
    """The recording with another value of one variable: `text` says which, `number` is it where it is one number (else NaN)."""

    variable: str
    text: str
    number: float
    recording: Recording


def recorded(sweep: Sweep, run: Callable[..., Any]) -> Iterator[Swept]:
    """Runs and records the program once for each value; all others are as they are now.

    A variable is an argument of `run` by its name, or a parameter or an input that it records, or `(name, element)` for one
    element of such a value. Values stand in a list, or in a dictionary by what they are called. Every run begins with the same
    random numbers and from the same state: all tensors and generators that `run` reaches are put back, such as what an
    optimizer moves.

    Raises:
      ArgumentError: there is no such variable or element, a value has another shape, or `run` records nothing.
    """
    arguments = inspect.signature(run).parameters
    for name, argument in arguments.items():
        if argument.default is argument.empty and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise ArgumentError(f"sweep: run is called without arguments too; give {name!r} a default")
    if not isinstance(sweep, Mapping):
        raise ArgumentError(f"sweep: a dictionary of values by variable is needed, not {sweep!r}")
    for variable, values in sweep.items():
        if not isinstance(variable[0] if isinstance(variable, tuple) and len(variable) == 2 else variable, str):
            raise ArgumentError(f"sweep: a variable is a name or (name, element), not {variable!r}")
        if not isinstance(values, (Mapping, Sequence, np.ndarray)) or isinstance(values, str) or not len(values):
            raise ArgumentError(
                f"sweep: of {variable!r} some values are needed, in a list or a dictionary, not {values!r}"
            )
    state = State(*reached_by(run))
    session = Session(run)
    cells = {**state.cells, **{f"recorded {name}": cell for name, cell in session.cells.items()}}
    state.restore()
    state = State(cells, [g for g, _ in state.generators])
    try:
        for variable, values in sweep.items():
            label = variable if isinstance(variable, str) else f"{variable[0]}[{_written(variable[1])}]"
            named = values.items() if isinstance(values, Mapping) else ((None, value) for value in values)
            for text, value in named:
                if isinstance(variable, str) and variable in arguments:
                    plain = value.item() if isinstance(value, np.generic) else value  # else float64 beside float32
                    session.call = functools.partial(run, **{variable: plain})
                    session.run()
                else:
                    session.call = run
                    _put(session.cells, variable, value)
                    session.run()
                    _check_put(session, variable, value)
                state.restore()
                number = float(value) if np.ndim(value) == 0 and np.isrealobj(value) else np.nan
                yield Swept(label, text if text is not None else _shown(value), number, session.recording)
    finally:
        state.restore()


def sweep_table(swept: Sequence[Swept], added: Sequence[int]) -> dict[str, Any]:
    """The table `sweep`: which values there are, in the order of the page's recordings, and the bytes that each adds to the file."""
    table = Columns(variable="", text="", value="f8", bytes="f8")
    for found, size in zip(swept, added, strict=True):
        table.add(found.variable, found.text, found.number, size)
    return table.columns()


def _put(cells: Mapping[str, Tensor], variable: Variable, value: Any) -> None:
    name, element = (variable, None) if isinstance(variable, str) else variable
    cell = cells.get(name)
    if cell is None:
        raise ArgumentError(
            f"sweep: run has no argument {name!r}, and records no parameter or input of this name{near(name, set(cells))}"
        )
    before = np.asarray(cell._value)
    if element is None:
        if np.shape(value) != before.shape:
            raise ArgumentError(
                f"sweep: {name!r} has shape {list(before.shape)}, and one of its values {list(np.shape(value))}; "
                f"({name!r}, element) is one element"
            )
        cell._value = np.asarray(value, before.dtype).copy()
        return
    changed = np.array(before, order="C")
    try:
        place = element if isinstance(element, (int, np.integer)) else np.ravel_multi_index(element, changed.shape)
        changed.reshape(-1)[place] = value
    except (IndexError, ValueError, TypeError):
        raise ArgumentError(
            f"sweep: {element} is no element of {name!r} {list(before.shape)}, or {value!r} no number"
        ) from None
    cell._value = changed


def _check_put(session: Session, variable: Variable, value: Any) -> None:
    """Raises where the run computed with something else: what it makes itself is made anew each time."""
    name, element = (variable, None) if isinstance(variable, str) else variable
    found = session.used(name)
    if found is not None and element is not None:
        found = found.reshape(-1)[element] if isinstance(element, (int, np.integer)) else found[element]
    if found is None or not np.array_equal(found, np.asarray(value, found.dtype), equal_nan=True):
        raise ArgumentError(
            f"sweep: run computes {name!r} itself; give run an argument that it is computed from, and sweep that"
        )


def _written(element: Any) -> str:
    return ", ".join(map(str, element)) if isinstance(element, tuple) else str(element)


def _shown(value: Any) -> str:
    """What a value is called that nobody named."""
    if np.ndim(value) == 0:
        return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
    return f"{np.asarray(value).dtype}{list(np.shape(value))}"
