"""A recording of the forward and the backward pass through an expression, whose nodes have the expression's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backlit.core.tensor import Tensor, enable_grad, no_grad
from backlit.diagnose.expression import Watcher, evaluate, parse
from backlit.diagnose.record import record
from backlit.diagnose.recorder import Recorder
from backlit.diagnose.recording import Recording
from backlit.diagnose.symbolic import FormulaTrace
from backlit.diagnose.values import given


def record_expression(expression: str, values: Mapping[str, Any]) -> Recording:
    """One forward and one backward pass through `expression`, whose output is one number.

    `values` gives each name that is read before it is assigned, as a number or array. The nodes are called as `explain`
    calls its steps: `recording["u"]`. Costs a forward and a backward pass.

    Raises:
      DataError: the expression cannot be read, or a value is missing, unused or malformed.
      GradientError: the output is an array, or depends on no value.
      BacklitError: an op does not take what it is given.
    """
    program = parse(expression)
    leaves = given(program, values)
    recorder = Recorder(program)
    with enable_grad(), record() as recording, FormulaTrace("explain", recorder.heard) as trace:
        recorder.trace = trace
        out = evaluate(program, {name: recorder.leaf(name, array) for name, array in leaves.items()}, recorder)
        recorder.finish(out).backward()
    by_value = {id(draft.out._value): draft for draft in recorder.drafts}
    names = {}
    for node in recording.nodes:
        node.where = None  # the lines are those of the program that reads expressions
        draft = by_value.get(id(node.value))
        if draft is not None:
            names[node] = draft.symbol.name
    recording.rename(names)
    recording.note = "the expression " + "; ".join(line.strip() for line in program.source.lines)
    return recording


class _Deaf(Watcher):
    """Gives no names."""

    def begin(self, label: str) -> None:
        pass

    def assign(self, name: str, value: Any) -> Any:
        return value


def evaluated(expression: str, values: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The value of an expression, of which the names that it reads are among `values`.

    Raises:
      DataError: the expression cannot be read, or a value is missing.
      BacklitError: an op does not take what it is given.
    """
    program = parse(expression)
    leaves = given(program, {name: values[name] for name in program.reads if name in values})
    with no_grad():
        out = evaluate(program, {name: Tensor(array) for name, array in leaves.items()}, _Deaf())
    return np.asarray(out._value if isinstance(out, Tensor) else out, np.float64)
