"""The audit of the first two steps of every optimizer: nothing is looked at afterwards.

A step that is compiled is looked at when it is traced; what was found is told after the first run of its program and,
for what two steps are needed, before the second.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import record, staging
from backlit.core.source import user_level
from backlit.core.tensor import Tensor
from backlit.nn.module import Module, alive
from backlit.optim import findings

if TYPE_CHECKING:
    from backlit.optim.base import Optimizer

pending: dict[int, Watch] = {}  # by id of the optimizer: those that have not made two steps
_optimizers: weakref.WeakValueDictionary[int, Optimizer] = weakref.WeakValueDictionary()


class Watch:
    """What is known of one optimizer until its second step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.steps = 0
        self.used: dict[
            int, weakref.ref[Tensor]
        ] = {}  # by id of the parameter: the gradient that a step was made along
        self.mixed: dict[int, weakref.ref[Tensor]] = {}  # a gradient that was added to such a one
        self.without: set[int] = set()  # parameters that no step has seen a gradient of
        key = id(optimizer)
        self._optimizer = weakref.ref(optimizer, lambda _: self.end(key))

    def optimizer(self) -> Optimizer | None:
        """The optimizer, as long as it is there and has steps to be looked at."""
        found = self._optimizer()
        return found if found is not None and pending.get(id(found)) is self else None

    def end(self, key: int) -> None:
        """Looks no more."""
        if pending.get(key) is self:
            del pending[key]
        if not pending:
            record.accumulated.clear()

    def has_used(self, cell: Tensor, gradient: Any) -> bool:
        """Whether a step was made along `gradient` already, or along what it was added to."""
        known = (self.used.get(id(cell)), self.mixed.get(id(cell)))
        return gradient is not None and any(ref is not None and ref() is gradient for ref in known)


@dataclass
class _Seen:
    """What one step saw."""

    models: list[Module]
    names: dict[int, str]
    reached: set[int]  # ids of the parameters that have a gradient
    stale: list[Tensor]
    same: list[findings.Finding]
    read: set[int] = field(default_factory=set)  # of a traced step: gradients that are there before it


def begin(optimizer: Optimizer) -> None:
    """Looks at the first two steps of an optimizer."""
    _optimizers[id(optimizer)] = optimizer
    pending[id(optimizer)] = Watch(optimizer)
    record.accumulated[:] = [_noticed]


def look(optimizer: Optimizer) -> None:
    """Called by each step of an optimizer before it, while any is pending."""
    watch = pending.get(id(optimizer))
    if watch is None or watch.optimizer() is None:
        return
    trace = staging.current()
    if trace is None:
        seen = _look(watch, optimizer, lambda cell: cell._grad, lambda cell: watch.has_used(cell, cell._grad))
        _say(_judged(watch, optimizer, seen))
    elif hasattr(trace, "runs"):
        read = trace.read_gradients()

        def is_stale(cell: Tensor) -> bool:
            before = id(cell) in read and watch.has_used(cell, cell._grad)
            return before or watch.has_used(cell, trace.known_gradient(cell))

        seen = _look(watch, optimizer, trace.known_gradient, is_stale)
        seen.read = read
        trace.runs.append(lambda run: _ran(watch, seen, run))


def _look(
    watch: Watch, optimizer: Optimizer, gradient: Callable[[Tensor], Any], is_stale: Callable[[Tensor], bool]
) -> _Seen:
    own = findings.cells_of(optimizer)
    taught = {id(cell) for cell in own if cell.requires_grad and gradient(cell) is not None}
    models, paths = _models(own, taught)
    given = {id(cell): name for cell, name in optimizer.named_cells() if name}
    names = findings.named_by(own, {**given, **paths})
    same: list[findings.Finding] = []
    for other in list(pending.values()):
        theirs = other.optimizer()
        if other is not watch and theirs is not None:
            cells = [
                c for c in own if (ref := other.used.get(id(c))) and gradient(c) is not None and ref() is gradient(c)
            ]
            same += findings.twice(cells, names, optimizer, theirs)
    stale = [cell for cell in own if is_stale(cell)]
    others = {id(c): c for model in models for c in model.parameters()}
    reached = taught | {key for key, cell in others.items() if cell.requires_grad and gradient(cell) is not None}
    watch.used = {id(c): weakref.ref(g) for c in own if isinstance(g := gradient(c), Tensor)}
    return _Seen(models, {**paths, **names}, reached, stale, same)


def _judged(watch: Watch, optimizer: Optimizer, seen: _Seen) -> list[findings.Finding]:
    """What is wrong, as far as this step, the first or the second, can tell."""
    watch.steps += 1
    own, whose = findings.cells_of(optimizer), type(optimizer).__name__
    without = {id(c) for c in own if c.requires_grad and id(c) not in seen.reached}
    if watch.steps == 1:
        watch.without = without
        held = {id(c) for each in list(_optimizers.values()) for c in findings.cells_of(each)}
        every = {id(c): c for model in seen.models for c in model.parameters()}
        forgotten = [c for key, c in every.items() if key in seen.reached and key not in held]
        return seen.same + findings.missing(forgotten, seen.names) + findings.in_eval_mode(seen.models)
    watch.end(id(optimizer))
    left = [c for c in own if id(c) in watch.without & without]
    living = {id(c) for module in alive() for c in module._parameters.values()} & {*map(id, own)}
    gone = {id(c) for c in own} - living if living else set()
    return findings.unreached(left, own, seen.names, whose, gone) + findings.stale(seen.stale, seen.names, whose)


def _ran(watch: Watch, seen: _Seen, run: int) -> bool:
    """After the first run of a traced step, and before its second; whether a second look is wanted."""
    optimizer = watch.optimizer()
    if optimizer is None:
        return False
    own = findings.cells_of(optimizer)
    if run == 1:
        watch.used = {id(c): weakref.ref(c._grad) for c in own if isinstance(c._grad, Tensor)}
    else:
        seen.stale = [c for c in own if id(c) in seen.read and watch.has_used(c, c._grad)]
    _say(_judged(watch, optimizer, seen))
    return bool(watch.without or watch.used)


def _noticed(cell: Tensor, before: Tensor, after: Tensor) -> None:
    """A gradient was added to the one that was there."""
    for watch in list(pending.values()):
        if watch.has_used(cell, before) and not (isinstance(before._value, np.ndarray) and not before._value.any()):
            watch.mixed[id(cell)] = weakref.ref(after)


def _models(own: list[Tensor], taught: set[int]) -> tuple[list[Module], dict[int, str]]:
    """The whole models in which parameters with a gradient are, and the names of all parameters in such of any of `own`."""
    modules = alive()
    inside = {id(child) for module in modules for child in module._modules.values() if child is not None}
    keys, models, paths = {*map(id, own)}, [], {}
    for module in modules:
        if id(module) not in inside:
            named = {id(cell): name for name, cell in module.named_parameters()}
            if not keys.isdisjoint(named):
                paths.update(named)
                if not taught.isdisjoint(named):
                    models.append(module)
    return models, paths


def names_of(optimizer: Optimizer) -> list[str]:
    """A name for each parameter: of the models that there are, that given to the optimizer, or its position."""
    own = findings.cells_of(optimizer)
    given = {id(cell): name for cell, name in optimizer.named_cells() if name}
    names = findings.named_by(own, {**given, **_models(own, set())[1]})
    return [names[id(cell)] for cell in own]


def _say(found: list[findings.Finding]) -> None:
    for finding in found:
        warnings.warn(finding.message, findings.AuditWarning, stacklevel=user_level())
