"""Optimizer: groups of parameters, their state, and the step over them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core import changes, record
from backlit.core.errors import ArgumentError, DataError, DTypeError, ShapeError
from backlit.core.tensor import Tensor, as_tensor, assign, no_grad
from backlit.ops.elementwise import where
from backlit.optim import watch


class Group(dict[str, Any]):
    """The parameters and settings of one group; the learning rate lives in a cell of its own.

    `group["lr"]` is a number, and `group["lr"] = 0.1` writes it into the cell, which the step reads.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._cells: dict[str, Tensor] = {}
        for name, value in settings.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "lr":
            check_range("lr", float(value))
            cell = self._cells.setdefault("lr", Tensor(np.float64(0.0)))
            assign(cell, Tensor(np.float64(value)))
            value = cell  # the same object for every number: who compares groups sees no change
        else:
            changes.changed()
        super().__setitem__(name, value)

    def __getitem__(self, name: str) -> Any:
        return self._cells[name].item() if name in self._cells else super().__getitem__(name)

    def items(self) -> Any:
        """Names and values, the learning rate as a number."""
        return [(name, self[name]) for name in self]

    def cell(self, name: str) -> Tensor:
        """The cell in which a setting lives."""
        return self._cells[name]


def check_range(name: str, value: float, below: float | None = None) -> None:
    """Refuses an argument outside `[0, below)`; NaN is outside.

    Raises:
      ArgumentError: the value is outside.
    """
    if not (value >= 0.0 and (below is None or value < below)):
        limit = "at least 0.0" if below is None else f"in [0.0, {below})"
        raise ArgumentError(f"optimizer: {name} must be {limit}, got {value}")


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

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(f"{type(self).__name__}: expected an iterable of tensors or groups")
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[int, dict[str, Tensor]] = {}  # by position of the parameter over all groups
        given = list(params)
        if not given:
            raise ArgumentError(f"{type(self).__name__}: there are no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)
        watch.begin(self)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Adds parameters with their own settings.

        Raises:
          ArgumentError: a parameter is already there, or a setting is unknown or out of range.
          TypeError: something that is not a Tensor is given.
        """
        given = group["params"]
        cells = [given] if isinstance(given, Tensor) else list(given)
        cells = [cell[1] if isinstance(cell, tuple) else cell for cell in cells]
        seen = {id(cell) for cell in self._cells()}
        for cell in cells:
            if not isinstance(cell, Tensor):
                raise TypeError(f"{type(self).__name__}: expected tensors, got {type(cell).__name__}")
            if id(cell) in seen:
                raise ArgumentError(f"{type(self).__name__}: a parameter {list(cell.shape)} is given twice")
            seen.add(id(cell))
        unknown = sorted(set(group) - {"params", *self.defaults})
        if unknown:
            raise ArgumentError(f"{type(self).__name__}: unknown settings {', '.join(unknown)}")
        merged = {**self.defaults, **group, "params": cells}
        self._check(merged)
        self.param_groups.append(Group(merged))
        changes.changed()

    def named_cells(self) -> list[tuple[Tensor, str]]:
        """The parameters over all groups, with the names they were given, or none."""
        found = []
        for group in self.param_groups:
            names = group["param_names"] if "param_names" in group else [""] * len(group["params"])
            found += list(zip(group["params"], names, strict=True))
        return found

    def _cells(self) -> list[Tensor]:
        return [cell for group in self.param_groups for cell in group["params"]]

    def _check(self, group: dict[str, Any]) -> None:
        """Refuses settings out of range."""
        for name in self.not_negative:
            if name in group:
                check_range(name, group[name])
        for i, beta in enumerate(group.get("betas", ())):
            check_range(f"betas[{i}]", beta, below=1.0)

    def _initial(self, cell: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """What is kept for a parameter before its first step."""
        return {}

    def prepare_state(self) -> bool:
        """Makes the state of every parameter that has none yet; whether there was one."""
        made, index = False, -1
        for group in self.param_groups:
            for cell in group["params"]:
                index += 1
                if index not in self.state:
                    self.state[index] = self._initial(cell, group)
                    changes.changed()
                    made = True
        return made

    @abstractmethod
    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        """The next value of one parameter; what it keeps goes into `state` by `_keep`."""

    def _refuse_complex(self, value: Tensor) -> None:
        """For algorithms that have no meaning for complex parameters."""
        if value.dtype.kind == "c":
            raise DTypeError(f"{type(self).__name__}: expected real parameters, got {value.dtype}")

    def _decayed(self, value: Tensor, grad: Tensor, group: Group, decoupled: bool = False) -> tuple[Tensor, Tensor]:
        """The parameter and its gradient with weight decay: of the parameter if `decoupled`, else in the gradient."""
        decay = group["weight_decay"]
        if decay == 0:
            return value, grad
        if decoupled:
            return value * (1.0 - group.cell("lr") * decay).astype(value.dtype), grad
        return value, grad + decay * value

    def _keep(self, state: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
        """Writes `value` into the cell `name` of a parameter's state; gives the value."""
        assign(state[name], value)
        return value

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

    def zero_grad(self) -> None:
        """Sets the gradient of every parameter to None."""
        for cell in self._cells():
            cell.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; gives what `closure` gives.

        Raises:
          ShapeError: a gradient has another shape than its parameter.
        """
        result = None if closure is None else closure()
        if watch.pending:
            watch.look(self)
        index = -1
        for group in self.param_groups:
            for cell in group["params"]:
                index += 1
                if cell.grad is None:
                    continue
                grad = cell.grad
                if grad.shape != cell.shape:
                    raise ShapeError(
                        f"{type(self).__name__}: a gradient {list(grad.shape)} for a parameter {list(cell.shape)}"
                    )
                with no_grad():
                    grad = grad if grad.dtype == cell.dtype else grad.astype(cell.dtype)
                    value = Tensor(cell._value)  # as it is now, whatever is written meanwhile
                    if index not in self.state:
                        self.state[index] = self._initial(cell, group)
                        changes.changed()
                    state = self.state[index]
                    assign(cell, self._update(value, -grad if group["maximize"] else grad, state, group))
                    for listener in record.current():
                        listener.updated(cell, value, grad)
        return result

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
        state = {i: {name: cell.detach() for name, cell in s.items()} for i, s in self.state.items()}
        return {"state": state, "param_groups": groups}

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
                array = np.asarray(as_tensor(value).detach())
                if name not in self.scalars and array.shape != cells[index].shape:
                    raise DataError(
                        f"{who}: {name} of parameter {key} is {list(array.shape)}, expected {list(cells[index].shape)}"
                    )
                new[index][name] = Tensor(np.array(array, np.float64 if name in self.scalars else cells[index].dtype))
        merged = []
        for group, mine in zip(groups, self.param_groups, strict=True):
            settings = {k: copy.deepcopy(group[k]) for k in self.defaults if k in group}
            merged.append(Group({**dict(mine.items()), **settings}))
            self._check(merged[-1])
        self.state, self.param_groups = new, merged

    def __repr__(self) -> str:
        groups = []
        for group in self.param_groups:
            settings = ", ".join(f"{k}={v!r}" for k, v in group.items() if k != "params")
            groups.append(f"{len(group['params'])} parameters, {settings}")
        return f"{type(self).__name__}({'; '.join(groups)})"
