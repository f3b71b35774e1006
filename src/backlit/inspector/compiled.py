"""A compiled step, recorded: replayed through the eager reference, and compared with what the program gave."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.compiler.compile import Compiled
from backlit.core import tree
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor
from backlit.diagnose.record import record
from backlit.diagnose.recording import Recording
from backlit.inspector.state import State


def record_compiled(self: Compiled, *args: Any, **kwargs: Any) -> Recording:
    """One call of a compiled function, as a recording.

    The function runs twice from the same state: line by line while it is recorded, then as the program, whose results stay.
    `recording.note` says so, and how far the two are apart at most; `recording.difference` is that number, relative
    to the largest element of the result where it is. Effects other than on tensors and generators happen twice.

    Raises:
      ArgumentError: an argument or a tensor of the state is part of a recorded graph.
    """
    step = self._step(args, kwargs)
    leaves = [x for x in tree.leaves((args, kwargs)) if isinstance(x, Tensor)]
    cells = {f"argument {k}": x for k, x in enumerate(leaves)} | dict(step.reached.cells.values())
    state = State(cells, [s.owner for s in step.sources if isinstance(s.owner, Generator)])
    with record() as recording:
        eager = self.function(*args, **kwargs)
    expected = {**_arrays(eager), **state.values()}
    state.restore()
    found = {**_arrays(self(*args, **kwargs)), **state.values()}
    name, recording.difference = _largest(expected, found)
    where = f", in {name}" if recording.difference else ""
    recording.note = (
        "A compiled step, replayed line by line: what is shown was computed by the eager reference. The results of the "
        f"program differ from it by at most {recording.difference:.1e} of their largest element{where}."
    )
    return recording


def _arrays(found: Any) -> dict[str, Any]:
    return {f"result {k}": np.array(x._value) for k, x in enumerate(tree.leaves(found)) if isinstance(x, Tensor)}


def _largest(expected: dict[str, Any], found: dict[str, Any]) -> tuple[str, float]:
    """Where the largest difference is, relative to the largest element there, and that difference."""
    worst = "", 0.0
    for name, e in expected.items():
        x, y = np.asarray(e).astype(np.float64), np.asarray(found[name]).astype(np.float64)
        if np.array_equal(x, y, equal_nan=True):
            continue
        with np.errstate(all="ignore"):
            apart = np.abs(x - y).max() / (np.abs(x[np.isfinite(x)]).max(initial=0.0) or 1.0)
        if not apart <= worst[1]:
            worst = name, float(apart)
    return worst


setattr(Compiled, "record", record_compiled)  # noqa: B010
