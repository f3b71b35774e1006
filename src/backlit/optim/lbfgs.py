"""L-BFGS: steps of Newton's kind from the gradients of the last steps, with a line search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core import record, staging
from backlit.core.errors import ArgumentError, DataError, TraceError
from backlit.core.source import here
from backlit.core.tensor import Tensor, assign
from backlit.optim import watch
from backlit.optim.base import Optimizer
from backlit.optim.group import Group
from backlit.optim.line_search import strong_wolfe

Array = np.ndarray[Any, Any]
_NUMBERS = ("func_evals", "n_iter", "t", "H_diag", "prev_loss")
_LISTS = ("old_dirs", "old_stps")


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal, 1980; Liu and Nocedal, 1989) over all parameters together, in one group.

    `step(closure)` makes up to `max_iter` iterations and calls `closure` up to about `max_eval` times (by default
    `max_iter * 5 // 4`); each time it resets the gradients, computes the loss, calls `backward` and returns the loss. It ends
    where no element of the gradient is above `tolerance_grad`, or the step or the loss changes by less than
    `tolerance_change`. `line_search_fn="strong_wolfe"` finds a step length that meets Wolfe's conditions, else it is `lr`.

    The closure may be compiled, with `keep_grads=True`; `step` itself may not be. Keeps `2 * history_size + 2` arrays of the
    size of all parameters; an iteration reads them twice. State is laid out as PyTorch's, under the first parameter.

    Raises:
      ArgumentError: more than one group, a setting out of range, or another line search.
      TraceError: at the step, inside a compiled function.
      TypeError: at the step, without a closure.
    """

    not_negative = ("lr", "tolerance_grad", "tolerance_change", "max_iter", "history_size")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, settings, others)

    @classmethod
    def _check(cls, group: Mapping[str, Any]) -> None:
        super()._check(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ArgumentError(
                f"LBFGS: line_search_fn must be None or 'strong_wolfe', got {group['line_search_fn']!r}"
            )

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds the one group there is.

        Raises:
          ArgumentError: there is one already, or as for other optimizers.
        """
        if self.param_groups:
            raise ArgumentError("LBFGS: all parameters are in one group, with the same settings")
        super().add_param_group(group)

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        raise NotImplementedError  # `step` is of its own

    def prepare_state(self) -> bool:
        """There is nothing to be made: it is no part of a compiled step."""
        return False

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to `max_iter` iterations; gives what the first call of `closure` gave."""
        if staging.current() is not None:
            raise TraceError(
                "LBFGS: step calls its closure as often as it turns out to need, which a program cannot; compile the closure "
                f"with keep_grads=True and call step as it is{here()}"
            )
        if closure is None:
            raise TypeError(
                "LBFGS: step needs a closure that resets the gradients, calls backward and returns the loss"
            )
        before = [np.array(cell._concrete()) for cell in self._cells()]
        kept = {k: list(v) if isinstance(v, list) else v for k, v in self.state.get(0, {}).items()}
        first = self._loss_of(closure)
        if watch.pending:
            watch.look(self)
        run = _Run(self, closure, float(first))
        if self._skipping is not None and not (np.isfinite(run.loss) and np.isfinite(run.gradient).all()):
            self._skipping.leave_out(self._first_bad(), self)
            return first
        run.iterate(self.state.setdefault(0, {"func_evals": 0, "n_iter": 0}))
        if self._skipping is not None and not all(np.isfinite(cell._concrete()).all() for cell in self._cells()):
            self._skipping.leave_out(self._first_bad(), self)
            self._write(before)
            self.state = {0: kept} if kept else {}
            return first
        for listener in record.current():
            for cell, value in zip(self._cells(), before, strict=True):
                if cell.grad is not None:
                    listener.updated(cell, Tensor(value), cell.grad)
        return first

    def _first_bad(self) -> int:
        gradients = [cell.grad for cell in self._cells()]
        bad = [k for k, g in enumerate(gradients) if g is not None and not np.isfinite(g._concrete()).all()]
        return bad[0] if bad else 0

    def _write(self, arrays: Iterable[Array]) -> None:
        for cell, array in zip(self._cells(), arrays, strict=True):
            assign(cell, Tensor(np.array(array, cell.dtype).reshape(cell.shape)))

    def _load_value(self, who: str, key: Any, name: str, value: Any, cell: Tensor) -> Any:
        size = sum(_flat(cell._concrete()).size for cell in self._cells())
        if name in _NUMBERS:
            number = float(np.asarray(value))
            return int(number) if name in ("func_evals", "n_iter") else number
        if name == "ro":
            return [float(np.asarray(x)) for x in value]
        if name == "al":
            return None
        arrays = [
            np.asarray(x.detach() if isinstance(x, Tensor) else x) for x in (value if name in _LISTS else [value])
        ]
        for array in arrays:
            if array.shape != (size,):
                raise DataError(f"{who}: {name} is {list(array.shape)}, expected {[size]}")
        made = [Tensor(np.array(array)) for array in arrays]
        return made if name in _LISTS else made[0]


class _Run:
    """The iterations of one step: where it is, the loss and the gradient there."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any], loss: float) -> None:
        self.optimizer, self.closure, self.loss = optimizer, closure, loss
        self.cells = optimizer._cells()
        self.shapes = [cell._concrete() for cell in self.cells]
        self.point = self._flat_point()
        self.gradient = self._flat_gradient()

    def _flat_point(self) -> Array:
        return np.concatenate([_flat(cell._concrete()) for cell in self.cells])

    def _flat_gradient(self) -> Array:
        found = []
        for cell in self.cells:
            grad = None if cell.grad is None else cell.grad._concrete()
            found.append(_flat(np.zeros(cell.shape, cell.dtype) if grad is None else np.asarray(grad, cell.dtype)))
        return np.concatenate(found)

    def _move(self, point: Array) -> None:
        arrays, at = [], 0
        for cell in self.cells:
            size = cell.size * (2 if cell.dtype.kind == "c" else 1)
            part = np.ascontiguousarray(point[at : at + size], cell._concrete().real.dtype)
            arrays.append(part.view(cell.dtype))
            at += size
        self.optimizer._write(arrays)

    def _evaluate(self, point: Array) -> tuple[float, Array]:
        """The loss and the gradient at a point, where the parameters then are."""
        self._move(point)
        return float(self.optimizer._loss_of(self.closure)), self._flat_gradient()

    def iterate(self, state: dict[str, Any]) -> None:
        """Up to `max_iter` iterations from the state of the last step."""
        group = self.optimizer.param_groups[0]
        evaluations = 1
        state["func_evals"] += 1
        if not self.gradient.size or abs(self.gradient).max() <= group["tolerance_grad"]:
            return
        for n in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self._direction(state, group["history_size"])
            state["prev_flat_grad"], before = Tensor(self.gradient), self.loss
            slope = float(self.gradient @ d)
            t = group["lr"]
            if state["n_iter"] == 1:
                t *= min(1.0, 1.0 / float(abs(self.gradient).sum()))
            state.update(d=Tensor(d), t=t, prev_loss=before)
            if slope > -group["tolerance_change"]:
                return
            used = 0
            if group["line_search_fn"] is not None:
                start = self.point
                search = lambda t, d=d, start=start: self._evaluate(start + t * d)
                self.loss, self.gradient, t, used = strong_wolfe(
                    search, t, d, self.loss, self.gradient, slope, max_search=group["max_eval"] - evaluations
                )
                state["t"] = t
            self.point = (self.point + t * d).astype(self.point.dtype)
            self._move(self.point)
            if group["line_search_fn"] is None and n != group["max_iter"]:
                self.loss, self.gradient = self._evaluate(self.point)
                used = 1
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or abs(self.gradient).max() <= group["tolerance_grad"]
                or abs(d * t).max() <= group["tolerance_change"]
                or abs(self.loss - before) < group["tolerance_change"]
            ):
                return

    def _direction(self, state: dict[str, Any], most: int) -> Array:
        """Minus the inverse Hessian, as the last gradients tell it, times the gradient (Nocedal, 1980, page 779)."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -self.gradient
        olds, steps, rates = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = self.gradient - state["prev_flat_grad"]._value, state["d"]._value * state["t"]
        curvature = float(y @ s)
        if curvature > 1e-10 and most:
            if len(olds) == most:
                for kept in (olds, steps, rates):
                    kept.pop(0)
            olds.append(Tensor(y))
            steps.append(Tensor(s))
            rates.append(1.0 / curvature)
            state["H_diag"] = curvature / float(y @ y)
        q, weights = -self.gradient, [0.0] * len(olds)
        for i in reversed(range(len(olds))):
            weights[i] = float(steps[i]._value @ q) * rates[i]
            q = q - weights[i] * olds[i]._value
        r = q * state["H_diag"]
        for i in range(len(olds)):
            r = r + steps[i]._value * (weights[i] - float(olds[i]._value @ r) * rates[i])
        return np.asarray(r, self.gradient.dtype)


def _flat(x: Any) -> Array:
    """The elements in a row; of complex numbers the real and the imaginary parts."""
    flat = np.array(x).ravel()
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
