"""What the updates of a step did to the loss: the change that the gradients foretell, and the one that came, on the same batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.tensor import no_grad
from backlit.diagnose.recording import Node, Recording, Update
from backlit.diagnose.replay import check_runs
from backlit.diagnose.rerun import Rerun


@dataclass(frozen=True)
class Effect:
    """The loss of a step before and after its updates, in double precision, of the same batch and the same random numbers.

    `predicted` is the sum over the parameters of <g, dW>, `actual` the difference of the losses. `each` has that difference for
    every update made alone; it is empty where that was not asked for.
    """

    before: float
    after: float
    predicted: float
    each: Mapping[Update, float]

    @property
    def actual(self) -> float:
        """The change of the loss."""
        return self.after - self.before


def effect(recording: Recording, step: int = -1, each: bool = True) -> Effect:
    """Runs the forward pass of a step again by the engine, in double precision, with the parameters as they were after its updates.

    Costs two forward passes, and with `each` one more for every update. The loss is what the backward pass began with; of an
    array the inner product with the cotangent that was given. Recorded constants, such as the masks of dropout, are the same;
    what is worked out of values, such as the places of maxima, is worked out again.

    Raises:
      ArgumentError: the recording was read from a file or has statistics alone, the step has no update or cannot be repeated.
    """
    who = "effect"
    check_runs(recording, who)
    try:
        at = recording.steps[step]
    except IndexError:
        raise ArgumentError(f"{who}: there is no step {step} of {len(recording.steps)}") from None
    if not at.updates:
        raise ArgumentError(f"{who}: no optimizer stepped in step {at.index}")
    program = Rerun(recording, at, who, wide=True)
    before = _loss(program, {})
    after = _loss(program, {u.node: u.after for u in at.updates})
    alone = {u: _loss(program, {u.node: u.after}) - before for u in at.updates} if each else {}
    return Effect(before, after, math.fsum(u.measured().predicted for u in at.updates), alone)


def _loss(program: Rerun, replaced: dict[Node, Any]) -> float:
    program.replaced = replaced
    program.forget()
    with no_grad(), np.errstate(all="ignore"):
        value = program.run()._value
        return float(np.vdot(np.asarray(program.root.seed, value.dtype), value).real)
