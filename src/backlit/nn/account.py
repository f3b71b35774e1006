"""Summary of a model: what each of its modules gives, holds, computes and keeps for the gradient, from a run of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.autodiff.residuals import buffer_of, contents_of, kept_by
from backlit.autodiff.reverse import Linearised
from backlit.autodiff.tally import TallyTrace
from backlit.autodiff.walk import Pick
from backlit.core import changes, record, tree
from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.op import Op
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor, as_tensor, no_grad
from backlit.nn import hooks
from backlit.nn.module import Module

if TYPE_CHECKING:
    from rich.table import Table

_TABLES = ("_parameters", "_buffers", "_modules", "_transient")


@dataclass(frozen=True)
class Row:
    """One module with all below it: what is shared by several modules belongs to each of them, and once to what holds both.

    `outputs` are the shapes of what its last call gave, empty where it was not called itself. `trained` and `frozen` count
    parameters. `forward_flops` and `backward_flops` count the ops that ran: two for each product in a sum, one for each
    element of all others, none for what only moves and for masks and integers. `cached_bytes` are kept for the gradient, each buffer where the first
    rule that reads it is.
    """

    path: str
    kind: str
    depth: int
    calls: int
    outputs: list[tuple[int, ...]]
    trained: int
    frozen: int
    forward_flops: int
    backward_flops: int
    cached_bytes: int

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return self.trained + self.frozen


@dataclass(frozen=True, repr=False)
class Summary:
    """What `summary` found: a row for each module, the first one for the whole. `print` shows it as a table.

    `parameter_bytes` are those of all parameters and buffers; `uncounted` are ops of which the operations are not known.
    """

    rows: list[Row]
    parameter_bytes: int
    uncounted: list[str] = field(default_factory=list)
    depth: int | None = None

    @property
    def total(self) -> Row:
        """The row of the whole model."""
        return self.rows[0]

    def __getitem__(self, path: str) -> Row:
        for row in self.rows:
            if row.path == path:
                return row
        raise KeyError(path)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        frozen = any(row.frozen for row in self.rows)
        names = ["module", "output", "trained" if frozen else "parameters", *(["frozen"] if frozen else [])]
        names += ["forward", "backward", "cached"]
        cells = []
        for row in self.rows:
            if self.depth is not None and row.depth > self.depth:
                continue
            name = row.path.rpartition(".")[2]
            label = "  " * row.depth + (f"{name}: {row.kind}" if name else row.kind)
            label += f" (called {row.calls} times)" if row.calls > 1 else ""
            shapes = ", ".join(str(list(shape)) for shape in row.outputs)
            counts = [row.trained, *([row.frozen] if frozen else [])]
            flops = [_counted(n) for n in (row.forward_flops, row.backward_flops)]
            cells.append([label, shapes, *(f"{n:,}" if n else "" for n in counts), *flops, _bytes(row.cached_bytes)])
        return names, cells

    def _totals(self) -> list[str]:
        total = self.total
        held = f"{total.parameters:,} parameters" + (f", {total.frozen:,} of them frozen" if total.frozen else "")
        flops = [
            f"{_counted(n) or 0} FLOP".replace(" FLOP", "FLOP" if n > 999 else " FLOP")
            for n in (total.forward_flops, total.backward_flops)
        ]
        kept = _bytes(total.cached_bytes) or "0 B"
        lines = [
            f"{held}: {_bytes(self.parameter_bytes) or '0 B'} with buffers",
            f"{flops[0]} forward, {flops[1]} backward, {kept} kept for the gradient",
        ]
        if self.uncounted:
            lines.append(f"not counted: {', '.join(self.uncounted)}")
        return lines

    def __str__(self) -> str:
        names, cells = self._cells()
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        sides = ["<" if k < 2 else ">" for k in range(len(names))]

        def line(row: list[str]) -> str:
            return "  ".join(f"{c:{side}{w}}" for c, side, w in zip(row, sides, widths, strict=True)).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([line(names), rule, *map(line, cells), rule, *self._totals()])

    __repr__ = __str__

    def __rich__(self) -> Table:
        """The table for a console of rich."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        names, cells = self._cells()
        table = Table(box=SIMPLE_HEAD, caption="\n".join(self._totals()), caption_justify="left")
        for k, name in enumerate(names):
            table.add_column(name, justify="left" if k < 2 else "right", no_wrap=k != 1)
        for row in cells:
            table.add_row(*row)
        return table


def summary(model: Module, *inputs: Any, depth: int | None = None, mode: str | None = None, **kwargs: Any) -> Summary:
    """What each module of `model` gives, holds, computes and keeps for the gradient when it is called with `inputs`.

    A tuple of integers among the inputs stands for zeros of that shape. The model runs once forward and, for what is
    trained and for inputs that require grad, backward, with `mode` "train" or "eval" unless it is to stay as it is. Nothing
    of it is changed: values, running moments, modes, random streams and attributes are as before, also behind an exception.
    `depth` is how far down the printed table goes; `kwargs` go to the model.

    Raises:
      ArgumentError: there is no such mode.
    """
    if mode not in (None, "train", "eval"):
        raise ArgumentError(f"summary: mode must be 'train' or 'eval', got {mode!r}")
    found = _Account(model)
    with _untouched(model):
        if mode is not None:
            model.train(mode == "train")
        found.run(tuple(_given(x, model) for x in inputs), kwargs)
    return Summary(found.rows(), found.parameter_bytes(), sorted(found.uncounted), depth)


def _given(x: Any, model: Module) -> Any:
    if not (isinstance(x, tuple) and x and all(isinstance(n, int) for n in x)):
        return x
    dtypes = [p.dtype for p in model.parameters() if is_float(p.dtype)]
    return Tensor(np.zeros(x, dtypes[0] if dtypes else np.float32))


@contextmanager
def _untouched(model: Module) -> Iterator[None]:
    """Everything that a call of the model may change is as before afterwards."""
    modules = list(dict(model.named_modules()).values())
    own = [(m, dict(m.__dict__), {name: m.__dict__[name].copy() for name in _TABLES}) for m in modules]
    reached = [x for m in modules for value in m.__dict__.values() for x in _inside(value)]
    cells = {id(x): (x, x._value, x.node, x._grad) for x in reached if isinstance(x, Tensor)}
    streams = {id(g): (g, g.get_state()) for g in (default_generator(), *reached) if isinstance(g, Generator)}
    try:
        yield
    finally:
        for module, attributes, tables in own:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for name, table in tables.items():
                there = module.__dict__[name]
                there.clear()
                there.update(table)
        for cell, value, node, grad in cells.values():
            cell._value, cell.node, cell._grad = value, node, grad
        for generator, state in streams.values():
            generator.set_state(state)
        changes.changed()


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, (Tensor, Generator)):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from _inside(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _inside(child)


class _Own:
    """What belongs to one module without those below."""

    def __init__(self) -> None:
        self.calls = self.forward = self.backward = self.cached = 0
        self.outputs: list[tuple[int, ...]] = []


class _Account(record.Listener):
    """Books every op, and every buffer that is kept, to the module whose call it belongs to."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.paths = [(path, module) for path, module in model.named_modules()]
        self.own = {id(module): _Own() for _, module in self.paths}
        self.uncounted: set[str] = set()
        self.calls = [id(model)]  # the modules that are being called
        self.at: dict[int, int] = {}  # the module of each node, by id
        self.pulled: int | None = None  # the module whose rule is being applied, on the way back

    def run(self, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Runs the model forward and backward."""
        args = (self.model, inputs, kwargs)
        leaves = [as_tensor(x) for x in tree.leaves(args)]
        owned = {id(buffer_of(x)) for leaf in leaves if (x := contents_of(leaf)) is not None}
        wanted = [k for k, x in enumerate(leaves) if x.requires_grad and is_float(x.dtype)]
        for _, module in self.paths:
            hooks.register(module, "forward_pre", self._enter(module), False, prepend=True)
            hooks.register(module, "forward", self._leave(module), False, True)
        with no_grad(), TallyTrace("summary", self._told) as trace, record.listening(self):
            lifted = [trace.lift(Tensor(x._value)) for x in leaves]

            def called(*chosen: Tensor) -> Any:
                given = list(lifted)
                for k, x in zip(wanted, chosen, strict=True):
                    given[k] = x
                with tree.lent(args, given) as (model, values, named):
                    return model(*values, **named)

            run = Linearised("summary", called, tuple(lifted[k] for k in wanted), False)
            seen = set(owned)
            held = []  # so that an id stays that of its buffer
            for node, _, _, buffer in kept_by(run):
                if id(buffer) not in seen:
                    seen.add(id(buffer))
                    held.append(buffer)
                    self.own[self.at.get(node.id, id(self.model))].cached += buffer.nbytes
            self.pulled = id(self.model)
            run.pull([trace.lift(Tensor(np.ones(x.shape, x.dtype))) for x in run.outs])

    def _enter(self, module: Module) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self.calls.append(id(module))

        return enter

    def _leave(self, module: Module) -> Callable[..., None]:
        def leave(_: Module, args: Any, out: Any) -> None:
            self.calls.pop()
            own = self.own[id(module)]
            own.calls += 1
            own.outputs = [x.shape for x in tree.leaves(out) if isinstance(x, Tensor)]

        return leave

    def _told(self, op: Op, out: Tensor, args: tuple[Any, ...], params: dict[str, Any]) -> None:
        if not any(is_float(x.dtype) for x in (out, *args) if isinstance(x, Tensor)):
            return  # of masks and places
        count = op.flops(out.shape, [x.shape if isinstance(x, Tensor) else () for x in args], params)
        if count is None:
            self.uncounted.add(op.name)
            return
        if self.pulled is None:
            self.own[self.calls[-1]].forward += count
        else:
            self.own[self.pulled].backward += count

    def recorded(self, node: Any, out: Any, args: Sequence[Any]) -> None:
        self.at[node.id] = self.calls[-1]
        if isinstance(node.op, Pick):
            self.at[node.up.id] = self.calls[-1]

    def pulling(self, node: Any) -> None:
        if self.pulled is not None:
            self.pulled = self.at.get(node.id, self.pulled)

    def rows(self) -> list[Row]:
        """A row for each module."""
        return [self._row(path, module) for path, module in self.paths]

    def _row(self, path: str, module: Module) -> Row:
        below = [self.own[id(m)] for m in module.modules()]
        sizes = [(p.size, p.requires_grad) for p in module.parameters()]
        own = self.own[id(module)]
        return Row(
            path, type(module).__name__, path.count(".") + 1 if path else 0, own.calls, own.outputs,
            sum(n for n, trained in sizes if trained), sum(n for n, trained in sizes if not trained),
            sum(o.forward for o in below), sum(o.backward for o in below), sum(o.cached for o in below),
        )  # fmt: skip

    def parameter_bytes(self) -> int:
        """Of all parameters and buffers."""
        cells = {id(x): x for x in (*self.model.parameters(), *self.model.buffers())}
        return sum(x.size * x.dtype.itemsize for x in cells.values())


def _counted(n: int) -> str:
    """A number of operations with a letter for its thousands."""
    if not n:
        return ""
    return _scaled(n, 1000, ("", "k", "M", "G", "T", "P")).rstrip()


def _bytes(n: int) -> str:
    """A number of bytes with a unit."""
    if not n:
        return ""
    return _scaled(n, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _scaled(n: int, step: int, units: Sequence[str]) -> str:
    """Three digits and the unit in which they are below 1000."""
    size, power = float(n), 0
    while size >= 999.5 and power < len(units) - 1:  # which three digits would round to 1000
        size, power = size / step, power + 1
    return f"{size:.3g} {units[power]}"
