"""Optimizer: groups of parameters, their state, and the step over them."""

from __future__ import annotations

import copy
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core import changes, record, staging
from backlit.core.errors import ArgumentError, DataError, DTypeError, ShapeError
from backlit.core.tensor import Tensor, assign, enable_grad, no_grad
from backlit.ops.elementwise import where
from backlit.optim import watch
from backlit.optim.group import NUMBERS, Group, check_range, is_zero, like
from backlit.optim.skipping import Skipping

# of all optimizers, with `NUMBERS`: a group of one that has not the setting refuses it
SETTINGS = {
    "betas", "maximize", "nesterov", "amsgrad", "centered", "initial_accumulator_value", "decoupled_weight_decay",
    "ns_steps", "ns_coefficients", "adjust_lr_fn",
    "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size", "line_search_fn",
}  # fmt: skip
_REFUSED = {
    "foreach": "a compiled step is one program for all parameters; leave it out",
    "fused": "a compiled step is one program for all parameters; leave it out",
    "capturable": "a compiled step reads its counters from cells as it is; leave it out",
    "differentiable": "steps are not recorded; write the update with ops and use backlit.grad",
}


def _refuse(who: str, others: Mapping[str, Any]) -> None:
    """Refuses arguments of PyTorch's optimizers that ask for something there is not."""
    for name, value in others.items():
        if name not in _REFUSED:
            raise TypeError(f"{who}: got an unexpected argument {name!r}")
        if value:
            raise ArgumentError(f"{who}: {name}={value!r} is not supported: {_REFUSED[name]}")


def _kept(x: Any) -> Any:
    """A value of the state as it is now."""
    if isinstance(x, Tensor):
        return x.detach()
    return [_kept(each) for each in x] if isinstance(x, list) else x


def zeros(cell: Tensor, *names: str) -> dict[str, Tensor]:
    """A state of zeros like the parameter, by name, and the counter of the steps."""
    return {"step": Tensor(np.float64(0.0)), **{name: Tensor(np.zeros(cell.shape, cell.dtype)) for name in names}}


class Optimizer(ABC):
    """Base of the optimizers.

    `params` is an iterable of tensors, of `(name, tensor)` pairs, or of groups: dictionaries with
    `"params"` and settings that override the defaults. A step is made of the engine's ops in the parameters' own dtype,
    and writes into the cells of parameters and state; nothing is recorded.

    Raises:
      ArgumentError: there are no parameters, or one is given twice.
      TypeError: something that is not a Tensor is given.
    """

    notes_changes = ("defaults", "param_groups", "state")
    # what is kept as one double-precision number, not as an array like the parameter
    scalars: tuple[str, ...] = ("step",)
    # settings, where an optimizer has them, that must be at least 0; betas are in [0, 1)
    not_negative: tuple[str, ...] = ("lr", "weight_decay", "eps")

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "lr":  # which goes into cells
            changes.changed()
        super().__setattr__(name, value)

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], others: Mapping[str, Any] | None = None
    ) -> None:
        who = type(self).__name__
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(f"{who}: expected an iterable of tensors or groups, got one {type(params).__name__}")
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{who}: a set has no order that a saved state could go by; give a list")
        _refuse(who, others or {})
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[int, dict[str, Any]] = {}  # by position of the parameter over all groups
        self._skipping: Skipping | None = None
        given = list(params)
        if not given:
            raise ArgumentError(f"{who}: there are no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)
        watch.begin(self)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with their own settings; names that are no settings are kept for the user.

        Raises:
          ArgumentError: a parameter is already there or not a leaf, only some have names, or a setting is out of range,
            of another optimizer or misspelled.
          TypeError: something that is not a Tensor is given.
        """
        who = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{who}: expected a group with 'params', got {type(group).__name__}")
        given = group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError(f"{who}: a set has no order that a saved state could go by; give a list")
        pairs = [given] if isinstance(given, Tensor) else list(given)
        names = [pair[0] for pair in pairs if isinstance(pair, tuple)]
        cells = [pair[1] if isinstance(pair, tuple) else pair for pair in pairs]
        self._check_cells(cells, names)
        self._check_names(group)
        merged = {**self.defaults, **group, "params": cells, **({"param_names": names} if names else {})}
        self._check(merged)
        self.param_groups.append(Group(merged, self._check))
        changes.changed()

    def _check_cells(self, cells: list[Any], names: list[str]) -> None:
        who = type(self).__name__
        seen = {id(cell) for cell in self._cells()}
        for k, cell in enumerate(cells):
            if not isinstance(cell, Tensor):
                raise TypeError(f"{who}: expected tensors, got {type(cell).__name__}")
            what = f"{names[k] if len(names) == len(cells) else 'a parameter'} {list(cell.shape)}"
            if id(cell) in seen:
                raise ArgumentError(f"{who}: {what} is given twice; model.parameters() gives each once")
            if not cell.is_leaf:
                raise ArgumentError(
                    f"{who}: {what} is computed from others ({cell.node}) and cannot be stepped; give those"
                )
            seen.add(id(cell))
        others = {"param_names" in group for group in self.param_groups}
        if (names and len(names) != len(cells)) or (cells and others and bool(names) not in others):
            raise ArgumentError(f"{who}: give names to all parameters or to none")

    def _check_names(self, group: Mapping[str, Any]) -> None:
        who = type(self).__name__
        for name in group:
            if name not in self.defaults and name not in ("params", "param_names", "name", "initial_lr"):
                if name in NUMBERS or name in SETTINGS:
                    raise ArgumentError(f"{who}: {name} is no setting of it, those are {', '.join(self.defaults)}")
                if close := difflib.get_close_matches(name, list(self.defaults), 1, 0.75):
                    raise ArgumentError(f"{who}: {name} is no setting; did you mean {close[0]}?")

    def named_cells(self) -> list[tuple[Tensor, str]]:
        """The parameters over all groups, with the names they were given, or none."""
        found: list[tuple[Tensor, str]] = []
        for group in self.param_groups:
            cells = group["params"]
            found += zip(cells, group.get("param_names") or [""] * len(cells), strict=True)
        return found

    def _cells(self) -> list[Tensor]:
        return [cell for group in self.param_groups for cell in group["params"]]

    @classmethod
    def _check(cls, group: Mapping[str, Any]) -> None:
        """Refuses settings out of range."""
        for name in cls.not_negative:
            if name in group:
                check_range(name, group[name])
        if "betas" in group:
            betas = group["betas"]
            if not isinstance(betas, (tuple, list)) or len(betas) != 2:
                raise ArgumentError(f"optimizer: betas must be two numbers, got {betas!r}")
            for i, beta in enumerate(betas):
                check_range(f"betas[{i}]", beta, below=1.0)

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        """What is kept for a parameter before its first step."""
        return {}

    def _state_of(self, index: int, cell: Tensor, group: Group) -> dict[str, Tensor]:
        """What is kept for a parameter, made as far as it is missing."""
        if index not in self.state:
            self.state[index] = self._initial(cell, group)
            changes.changed()
        elif group.is_changed:
            wanted = self._initial(cell, group)
            if not wanted.keys() <= self.state[index].keys():
                self.state[index] = {**wanted, **self.state[index]}
                changes.changed()
        return self.state[index]

    def prepare_state(self) -> bool:
        """Makes the state of every parameter that has none yet; whether there was one."""
        before = changes.count
        for index, cell, group in self._places():
            self._state_of(index, cell, group)
        for group in self.param_groups:
            group.is_changed = False
        return changes.count != before

    def _places(self) -> list[tuple[int, Tensor, Group]]:
        """Every parameter with its position over all groups, and its group."""
        pairs = [(cell, group) for group in self.param_groups for cell in group["params"]]
        return [(k, cell, group) for k, (cell, group) in enumerate(pairs)]

    @abstractmethod
    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        """The next value of one parameter; what it keeps goes into `state` by `_keep`."""

    def _refuse_complex(self, value: Tensor) -> None:
        """For algorithms that have no meaning for complex parameters."""
        if value.dtype.kind == "c":
            raise DTypeError(f"{type(self).__name__}: expected real parameters, got {value.dtype}")

    def _decayed(self, value: Tensor, grad: Tensor, group: Group, decoupled: bool = False) -> tuple[Tensor, Tensor]:
        """The parameter and its gradient with weight decay: of the parameter if `decoupled`, else in the gradient."""
        decay = group.value("weight_decay")
        if is_zero(decay):
            return value, grad
        if decoupled:
            return value * (1.0 - group.cell("lr") * decay).astype(value.dtype), grad
        return value, grad + like(decay, value) * value

    def _keep(self, state: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
        """Writes `value` into the cell `name` of a parameter's state; gives the value."""
        self._assign(state[name], value)
        return value

    def _assign(self, cell: Tensor, value: Tensor) -> None:
        """Writes into a parameter or its state, unless this step is skipped."""
        if self._skipping is not None and self._skipping.fine is not None:
            value = where(self._skipping.fine, value, Tensor(cell._value))
        assign(cell, value)

    def _keep_moment(self, state: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
        """Keeps an average over the steps, whose subnormal numbers become 0.

        The average of gradients that are 0 decays into subnormal numbers and stays there for ever (4 units of the last
        place times 0.9 round to 4), where many machines compute several times slower.
        """
        if value.dtype.name in ("float32", "float64"):
            value = where(abs(value) < float(np.finfo(value.dtype).smallest_normal), 0.0, value)
        return self._keep(state, name, value)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets that of every group."""
        return float(self.param_groups[0]["lr"])

    @lr.setter
    def lr(self, lr: float) -> None:
        check_range("lr", lr)
        for group in self.param_groups:
            group["lr"] = lr

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets the gradient of every parameter to None; without `set_to_none` to zeros where there is one.

        Within a compiled step it is None either way.
        """
        as_zeros = not set_to_none and staging.current() is None
        for cell in self._cells():
            there = as_zeros and cell.grad is not None
            cell.grad = Tensor(np.zeros(cell.shape, cell.dtype)) if there else None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; gives what `closure` gives.

        Raises:
          ShapeError: a gradient has another shape than its parameter.
        """
        result = self._loss_of(closure)
        if watch.pending:
            watch.look(self)
        with no_grad():
            todo = [
                (k, cell, group, self._gradient(cell)) for k, cell, group in self._places() if cell.grad is not None
            ]
            if self._skipping is not None and not self._skipping.begin([(k, grad) for k, _, _, grad in todo], self):
                return result
            for listener in record.current():
                listener.stepping(self)
            try:
                for index, cell, group, grad in todo:
                    value = Tensor(cell._value)  # as it is now, whatever is written meanwhile
                    state = self._state_of(index, cell, group)
                    self._assign(cell, self._update(value, -grad if group.get("maximize") else grad, state, group))
                    for listener in record.current():
                        listener.updated(cell, value, grad)
            finally:
                if self._skipping is not None:
                    self._skipping.fine = None
        for group in self.param_groups:
            group.is_changed = False
        return result

    @staticmethod
    def _loss_of(closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            return None
        with enable_grad():
            return closure()

    def _gradient(self, cell: Tensor) -> Tensor:
        grad = cell.grad
        assert grad is not None
        if grad.shape != cell.shape:
            raise ShapeError(f"{type(self).__name__}: a gradient {list(grad.shape)} for a parameter {list(cell.shape)}")
        return grad if grad.dtype == cell.dtype else grad.astype(cell.dtype)

    @property
    def skip_nonfinite(self) -> bool:
        """Whether a step along gradients with a NaN or an infinity is left out.

        Parameters, moments and counters are then as before, `skipped` counts it, and a warning names the first parameter
        whose gradient is not finite: at once, or, where the step is compiled, when `skipped` is read. Costs a pass over
        the gradients.
        """
        return self._skipping is not None

    @skip_nonfinite.setter
    def skip_nonfinite(self, skip: bool) -> None:
        if bool(skip) != self.skip_nonfinite:
            self._skipping = Skipping() if skip else None

    @property
    def skipped(self) -> int:
        """How many steps were left out since `skip_nonfinite` was set."""
        return 0 if self._skipping is None else self._skipping.number(self)

    def state_dict(self) -> dict[str, Any]:
        """State and settings, as PyTorch lays them out; parameters are positions over all groups.

        Later steps do not show in it.
        """
        groups, start = [], 0
        for group in self.param_groups:
            n = len(group["params"])
            settings = {k: copy.deepcopy(v) for k, v in group.items() if k != "params"}
            groups.append({**settings, "params": list(range(start, start + n))})
            start += n
        state = {i: {name: _kept(x) for name, x in s.items()} for i, s in self.state.items()}
        return {"state": state, "param_groups": groups}

    def _load_value(self, who: str, key: Any, name: str, value: Any, cell: Tensor) -> Any:
        """What is kept of a saved state under a name; None where it is not needed."""
        array = np.asarray(value.detach() if isinstance(value, Tensor) else value)
        if name not in self.scalars and array.shape != cell.shape:
            raise DataError(f"{who}: {name} of parameter {key} is {list(array.shape)}, expected {list(cell.shape)}")
        return Tensor(np.array(array, np.float64 if name in self.scalars else cell.dtype))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave. On an error nothing has changed.

        Raises:
          DataError: the groups, or the shapes of the state, do not fit the parameters.
        """
        who = f"load_state_dict: {type(self).__name__}"
        cells = self._cells()
        try:
            groups, states = list(state_dict["param_groups"]), dict(state_dict["state"])
            sizes = [len(group["params"]) for group in groups]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{who}: expected a dictionary with 'state' and 'param_groups'") from error
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise DataError(f"{who}: expected groups of {own} parameters, got {sizes}")
        order = [key for group in groups for key in group["params"]]
        new: dict[int, dict[str, Tensor]] = {}
        for key, state in states.items():
            if key not in order:
                raise DataError(f"{who}: state for a parameter {key!r} that is in no group")
            index = order.index(key)
            new[index] = {}
            for name, value in state.items():
                made = None if value is None else self._load_value(who, key, name, value, cells[index])
                if made is not None:
                    new[index][name] = made
        merged = []
        for group, mine in zip(groups, self.param_groups, strict=True):
            taken = {*self.defaults, *mine, "initial_lr"} - {"params", "param_names"}  # PyTorch's has more
            settings = {k: copy.deepcopy(v) for k, v in group.items() if k in taken}
            merged.append(Group({**mine, **settings}, self._check))
            self._check(merged[-1])
            for name in (*NUMBERS, "betas"):  # what lived in a cell does so again
                if name in mine and name in merged[-1] and mine.is_held(name):
                    merged[-1].hold(name)
        self.state, self.param_groups = new, merged

    def __repr__(self) -> str:
        groups = []
        for group in self.param_groups:
            settings = ", ".join(f"{k}={v!r}" for k, v in group.items() if k != "params")
            groups.append(f"{len(group['params'])} parameters, {settings}")
        return f"{type(self).__name__}({'; '.join(groups)})"
