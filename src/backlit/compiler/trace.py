"""From a function of arrays to its graph."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from backlit.autodiff.trace import Trace
from backlit.compiler.control import CUSTOM, Region
from backlit.compiler.ir import CONTROL, Atom, Eqn, Graph, Literal, Var, verify
from backlit.core import record, staging, tree
from backlit.core.aval import Aval, aval_of
from backlit.core.dtypes import is_float
from backlit.core.errors import DrawnError, TraceError
from backlit.core.graph import Cut, Node
from backlit.core.op import Op, bind, record_node, shown
from backlit.core.rng import Generator
from backlit.core.source import Source as SourceLine
from backlit.core.source import here, user_source
from backlit.core.tensor import Box, Consumed, Tensor, as_tensor, muted, no_grad
from backlit.ops.linear import detach


class VarBox(Box):
    """A value of which shape and dtype are known and the contents not yet; its extra is a variable."""

    __slots__ = ()

    def __init__(self, trace: Any, var: Var) -> None:
        self.trace = trace
        self.extra = var

    @property
    def shape(self) -> tuple[int, ...]:
        return self.extra.aval.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.extra.aval.dtype  # type: ignore[no-any-return]


class GraphTrace(Trace):
    """Writes every op down as an equation; arrays from outside become constants.

    Tensors that require grad are recorded too, as in eager code: `backward` then writes its equations.
    """

    one_value = False
    imperative = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.graph = Graph()
        self._consts: dict[int, tuple[Any, Var]] = {}
        self._gradients: dict[int, tuple[Tensor, Any]] = {}

    def input(self, x: Tensor) -> Tensor:
        """A traced value like `x`, an input of the graph."""
        var = Var(aval_of(x))
        self.graph.inputs.append(var)
        return Tensor(VarBox(self, var))

    def atom(self, x: Any) -> Atom:
        """The operand that stands for `x` in the graph."""
        if not isinstance(x, Tensor):
            return Literal(x)
        value = x._value
        if isinstance(value, VarBox) and value.trace is self:
            return value.extra  # type: ignore[no-any-return]
        if isinstance(value, Box):
            value.trace.check_alive()
            raise TraceError(
                f"{self.name}: {shown(x)} belongs to {value.trace.name} around it; pass it as an argument{here()}"
            )
        return self.constant(value)

    def constant(self, value: Any) -> Var:
        """The variable that stands for an array from outside."""
        if id(value) not in self._consts:
            var = Var(Aval(tuple(value.shape), np.dtype(value.dtype)))
            self._consts[id(value)] = (value, var)  # the value is held, so that its id stays its own
            self.graph.consts[var] = np.asarray(value)
        return self._consts[id(value)][1]

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        inputs = tuple(self.atom(a) for a in args)
        out = Var(op.abstract(*(a.aval if isinstance(a, Var) else a.value for a in inputs), **params))
        self.graph.eqns.append(Eqn(op, inputs, dict(params), out))
        return self._recorded(op, args, params, VarBox(self, out))

    def _recorded(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], out: VarBox) -> Tensor:
        nodes = [a.node if isinstance(a, Tensor) else None for a in args]
        ups = [n for n in nodes if isinstance(n, Node)]
        if not ups:
            return Tensor(out, next((n for n in nodes if isinstance(n, Cut)), None))
        if not op.differentiable or not is_float(out.dtype):
            return Tensor(out)
        if muted.get():
            return Tensor(out, Cut("no_grad", ups[0]))
        wanted = sum(1 << i for i, n in enumerate(nodes) if isinstance(n, Node))
        values = [a._value if isinstance(a, Tensor) else a for a in args]
        node = record_node(op, wanted, ups, values, out, params)
        result = Tensor(out, node)
        for listener in record.current():
            listener.recorded(node, result, args)
        return result

    def control(self, call: Any, operands: Sequence[Tensor]) -> list[Tensor]:
        """The results of a call of control flow, as one equation."""
        return self._control(CONTROL[call.name], [r.graph for r in call.regions], call.params, operands)

    def _control(
        self, op: Any, regions: Sequence[Graph], params: dict[str, Any], operands: Sequence[Tensor], again: Any = None
    ) -> list[Tensor]:
        inputs = tuple(self.atom(x) for x in operands)
        avals = op.results([aval_of(x) for x in operands], regions, params)
        outs = tuple(map(Var, avals))
        self.graph.eqns.append(Eqn(op, inputs, dict(params), outs, tuple(regions), again))
        return [Tensor(VarBox(self, v)) for v in outs]

    def regions(
        self, name: str, functions: Sequence[Callable[..., Any]], like: Sequence[Any]
    ) -> tuple[list[Region], list[Tensor]]:
        """Functions of tensors like `like`, each traced once, and what they take from around them.

        The latter are the first inputs of every region.
        """
        traces = [RegionTrace(name, f, like) for f in functions]
        captured = {key: x for trace in traces for key, (x, _) in trace.captured.items()}
        for trace in traces:
            behind = [
                trace.captured[key][1] if key in trace.captured else Var(aval_of(x)) for key, x in captured.items()
            ]
            trace.graph.inputs[:0] = behind
            trace.captured = {}
        return [Region(trace.graph) for trace in traces], list(captured.values())

    def lower(self, x: Any) -> Any:
        return x

    def detach(self, x: Tensor) -> Tensor:
        return Tensor(x._value, Cut("detach", x.node) if x.node is not None else None)

    def concrete(self, box: Box) -> Any:
        raise TraceError(
            f"{self.name}: a traced value {box.dtype}{list(box.shape)} has no contents yet: print, float() and if "
            f"cannot look at it; use backlit's ops (where or cond instead of if), return it, or run the function as it is "
            f"inside backlit.eager(){here()}"
        )

    # what `staging` asks

    def gradient(self, cell: Tensor) -> Tensor | None:
        """The `.grad` of a tensor."""
        return self._gradients[id(cell)][1] if id(cell) in self._gradients else None

    def set_gradient(self, cell: Tensor, gradient: Any) -> None:
        """A new `.grad` for a tensor."""
        self._gradients[id(cell)] = (cell, gradient)

    def written(self, cell: Tensor) -> None:
        """A tensor is about to get another value."""

    def drawn(self, generator: Generator, blocks: int) -> tuple[Any, Any]:
        """Key and counter for the next `blocks` blocks of random words."""
        counter, generator.counter = generator.counter, generator.counter + blocks
        return generator.key, counter

    def stream(self, generator: Generator) -> tuple[Any, Any]:
        """Key and counter of a generator, for a loop that goes on from there."""
        raise TraceError(
            f"{self.name}: a loop draws from a generator, which only a compiled function can advance; draw before it and "
            f"pass the numbers as xs{here()}"
        )

    def lend_stream(self, generator: Generator, key: Any, counter: Any) -> None:
        """Lets a generator go on from a counter."""


class RegionTrace(GraphTrace):
    """Writes down the body of a loop or a branch.

    What does not depend on its inputs is computed around it; what it takes from there is in `captured`. Nothing is
    recorded for `backward` inside: that is done for the loop as a whole.
    """

    imperative = False

    def __init__(self, name: str, f: Callable[..., Any], like: Sequence[Any]) -> None:
        super().__init__(name)
        self.captured: dict[tuple[int, int], tuple[Tensor, Var]] = {}
        self._around, self._staged = staging.graph(), staging.current()
        self._written: list[tuple[Tensor, Any, Any]] = []
        self._streams: dict[int, tuple[Any, Any]] = {}
        with self, staging.staging(self):
            try:
                given = [self.input(x) for x in like]
                self.graph.outputs = [self.atom(as_tensor(x)) for x in f(*given)]
            finally:
                cells = self._restored()
        outside = [cell for ref in cells if (cell := ref()) is not None]  # one made inside is gone with the call
        for cell in outside:
            raise TraceError(
                f"{name}: its function writes to a tensor {shown(cell)} from outside; in a graph it runs once for "
                f"all steps: make that tensor part of the carry{here()}"
            )

    def _restored(self) -> list[weakref.ref[Tensor]]:
        """The tensors that were written to, with their old values again."""
        for cell, value, node in self._written:
            cell._value, cell.node = value, node
        found = [weakref.ref(cell) for cell, _, _ in self._written]
        self._written.clear()
        return found

    def atom(self, x: Any) -> Atom:
        if not isinstance(x, Tensor):
            return Literal(x)
        if (box := self.box(x)) is not None:
            return box.extra  # type: ignore[no-any-return]
        if isinstance(x._value, Box):
            x._value.trace.check_alive()
        key = id(x._value), id(x.node)
        if key not in self.captured:
            self.captured[key] = Tensor(x._value, x.node), Var(aval_of(x))
        return self.captured[key][1]

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        if not any(self.box(a) for a in args):
            if self._staged is not None:
                return self._staged.process(op, args, params)  # type: ignore[no-any-return]
            with staging.unseen():
                return bind(op, args, params)
        inputs = tuple(self.atom(a) for a in args)
        out = Var(op.abstract(*(a.aval if isinstance(a, Var) else a.value for a in inputs), **params))
        again = _unrecorded(op, params) if muted.get() > self.level else None
        self.graph.eqns.append(Eqn(op, inputs, dict(params), out, again=again))
        return Tensor(VarBox(self, out))

    def control(self, call: Any, operands: Sequence[Tensor]) -> list[Tensor]:
        if not any(self.box(x) for x in operands):
            return self._around.control(call, operands)  # type: ignore[no-any-return]
        again = _unrecorded(call, None) if muted.get() > self.level else None
        return self._control(CONTROL[call.name], [r.graph for r in call.regions], call.params, operands, again)

    def custom(self, owner: Any, values: Sequence[Any], structure: Any) -> Any:
        """The results of a function with rules of its own."""
        places = [k for k, x in enumerate(values) if isinstance(x, Tensor)]
        shape: list[Any] = []

        def filled(tensors: Sequence[Tensor]) -> Any:
            given = list(values)
            for k, x in zip(places, tensors, strict=True):
                given[k] = x
            return tree.unflatten(structure, given)

        def plain(*tensors: Tensor) -> list[Any]:
            leaves, its = tree.flatten(owner.f(*filled(tensors)))
            shape.append(its)
            return leaves

        operands = [values[k] for k in places]
        (region,), captured = self.regions(owner.name, [plain], operands)
        n = len(captured)
        outs = self._control(
            CUSTOM, [region.graph], {"name": owner.name}, [*captured, *operands],
            lambda *given: [as_tensor(x) for x in tree.leaves(owner(*filled(given[n:])))],
        )  # fmt: skip
        return tree.unflatten(shape[0], outs)

    def detach(self, x: Tensor) -> Tensor:
        return self.process(detach, (x,), {})

    def written(self, cell: Tensor) -> None:
        value = cell._value
        if isinstance(value, Box) and value.trace.level >= self.level:
            return
        if not any(cell is known for known, _, _ in self._written):
            self._written.append((cell, value, cell.node))

    def gradient(self, cell: Tensor) -> Tensor | None:
        if self._staged is not None:
            return self._staged.gradient(cell)  # type: ignore[no-any-return]
        with staging.unseen():
            return cell.grad

    def set_gradient(self, cell: Tensor, gradient: Any) -> None:
        raise TraceError(
            f"{self.name}: its function sets .grad of {shown(cell)}; in a graph it runs once for all steps: use "
            f"backlit.grad inside, or backward after it{here()}"
        )

    def drawn(self, generator: Generator, blocks: int) -> tuple[Any, Any]:
        key, counter = self.stream(generator)
        self.lend_stream(generator, key, counter + np.uint64(blocks))
        return key, counter

    def stream(self, generator: Generator) -> tuple[Any, Any]:
        if id(generator) not in self._streams:
            raise DrawnError(
                f"{self.name}: its function draws from a generator where in a graph it cannot; draw before it and pass the "
                f"numbers{here()}",
                generator,
            )
        return self._streams[id(generator)]

    def lend_stream(self, generator: Generator, key: Any, counter: Any) -> None:
        self._streams[id(generator)] = key, counter


def _unrecorded(op: Any, params: dict[str, Any] | None) -> Callable[..., list[Any]]:
    """Applies an op, or a call, as inside `no_grad`."""

    def again(*args: Any) -> list[Any]:
        with no_grad():
            return op(args) if params is None else [bind(op, args, params)]

    return again


class Source:
    """Where an input of a step is found at each call, and where an output of it goes.

    `kind` is "argument" (a leaf of the arguments, by number), "cell" (the value of a tensor), "gradient" (its `.grad`; of an
    argument where there is a number), "key" or "counter" (of a generator).
    """

    __slots__ = ("kind", "number", "owner")

    def __init__(self, kind: str, owner: Any, number: int = -1) -> None:
        self.kind, self.owner, self.number = kind, owner, number


# to a written tensor: lent, its source, written, found while tracing, two frames, and the count itself
_OWN_REFERENCES = 7


class StepTrace(GraphTrace):
    """A whole step: the tensors it may reach are lent traced values, and what it writes to them is its outputs."""

    prints = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sources: list[tuple[Source, Var]] = []
        self.gradients_absent: list[Source] = []  # of which .grad was found to be None
        self._lent: dict[int, tuple[Tensor, Any, Any, Var, Source]] = {}
        self._written: dict[int, Tensor] = {}
        self._generators: dict[int, tuple[Generator, Tensor, Tensor, int]] = {}  # key, counter now, and at first
        self._effects: list[tuple[Source, Any]] = []
        self.strangers_lent: list[Tensor] = []  # tensors found while tracing
        self._found: dict[int, Tensor | None] = {}  # gradients as they were before
        self._lines: dict[Var, Any] = {}
        self.runs: list[
            Callable[[int], None]
        ] = []  # called with 1 after the first run of the program, 2 before the second

    def known_gradient(self, cell: Tensor) -> Any:
        """The `.grad` of a tensor here, without making the program read it."""
        return self._gradients[id(cell)][1] if id(cell) in self._gradients else cell._grad

    def read_gradients(self) -> set[int]:
        """The ids of the tensors whose `.grad` was there before and is read."""
        return {key for key, found in self._found.items() if found is not None}

    def _source(self, source: Source, value: Any) -> Var:
        var = Var(Aval(tuple(value.shape), np.dtype(value.dtype)))
        self.sources.append((source, var))
        return var

    def lend(self, cell: Tensor, source: Source) -> None:
        """Puts a traced value into a tensor until `give_back`."""
        if id(cell) in self._lent:
            return
        if isinstance(cell._value, Box):
            cell._value.trace.check_alive()
        var = self._source(source, cell._value)
        self._lent[id(cell)] = (cell, cell._value, cell.node, var, source)
        cell._value = VarBox(self, var)

    def is_lent(self, cell: Tensor) -> bool:
        """Whether a tensor of the state has a traced value for now."""
        return id(cell) in self._lent

    def made_at(self, cell: Tensor) -> str:
        """' made at file:line' of a traced value, as far as is known."""
        where = self._lines.get(cell._value.extra)
        return f" made at {SourceLine(*where)}" if where else ""

    def lines(self) -> dict[Var, SourceLine]:
        """The user's line of each result of an op."""
        return {v: SourceLine(*where) for v, where in self._lines.items() if where}

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        out = super().process(op, args, params)
        self._lines[out._value.extra] = user_source(3)
        return out

    def give_back(self) -> None:
        """Every tensor as it was before."""
        for cell, value, node, _, _ in self._lent.values():
            cell._value, cell.node = value, node
        self._lent.clear()  # an array that is held here, in a cycle, would be copied rather than written over

    def gradient(self, cell: Tensor) -> Tensor | None:
        if id(cell) not in self._gradients:
            found = cell._grad
            if found.__class__ is Consumed:
                with staging.unseen():
                    return cell.grad  # which raises
            lent = self._lent.get(id(cell))
            source = Source("gradient", cell, -1 if lent is None else lent[4].number)
            if found is None:
                self.gradients_absent.append(source)
            else:
                found = Tensor(VarBox(self, self._source(source, found._value)))
            self._gradients[id(cell)] = (cell, found)
            self._found[id(cell)] = found
        return self._gradients[id(cell)][1]  # type: ignore[no-any-return]

    def written(self, cell: Tensor) -> None:
        if not isinstance(cell._value, Box):
            self.lend(cell, Source("cell", cell))
            self.strangers_lent.append(cell)
        self._written.setdefault(id(cell), cell)

    def stream(self, generator: Generator) -> tuple[Any, Any]:
        return self.drawn(generator, 0)

    def lend_stream(self, generator: Generator, key: Any, counter: Any) -> None:
        self._generators[id(generator)] = (generator, key, counter, self._generators[id(generator)][3])

    def drawn(self, generator: Generator, blocks: int) -> tuple[Any, Any]:
        if id(generator) not in self._generators:
            key = Tensor(VarBox(self, self._source(Source("key", generator), generator.key)))
            first = Tensor(VarBox(self, self._source(Source("counter", generator), np.uint64(0))))
            start: int = generator.counter
            self._generators[id(generator)] = (generator, key, first, start)
        _, key, counter, began = self._generators[id(generator)]
        self._generators[id(generator)] = (generator, key, counter + np.uint64(blocks), began)
        return key, counter

    def finish(self) -> None:
        """Notes what was written, before the tensors are given back."""
        self._effects = self._found_effects()

    def forget_generators(self) -> None:
        """Takes streams that the function made for itself for constants: each call makes them anew."""
        for number in list(self._generators):
            own = [s for s, _ in (*self.sources, *self._effects) if s.owner is self._generators[number][0]]
            # `_generators` refers to it, each source does, and the call to `getrefcount`
            if sys.getrefcount(self._generators[number][0]) > len(own) + 2:
                continue
            generator, _, _, start = self._generators.pop(number)
            for source, var in self.sources:
                if source in own:
                    self.graph.consts[var] = np.array(generator.key if source.kind == "key" else start, np.uint64)
            self.sources = [pair for pair in self.sources if pair[0] not in own]
            self._effects = [pair for pair in self._effects if pair[0] not in own]

    def effects(self) -> list[tuple[Source, Any]]:
        """What the step leaves behind: targets with the tensor each gets, or None."""
        return self._effects

    def _found_effects(self) -> list[tuple[Source, Any]]:
        found: list[tuple[Source, Any]] = []
        for key, (cell, _, _, var, source) in self._lent.items():
            if key in self._written and self._is_spent(cell):
                continue
            if key in self._written and self.atom(cell) is not var:
                found.append((source, Tensor(cell._value)))
        for key, (cell, gradient) in self._gradients.items():
            if key in self._lent and gradient is not self._found.get(key, self):
                found.append((Source("gradient", cell, self._lent[key][4].number), gradient))
        found += [(Source("counter", g), counter) for g, _, counter, _ in self._generators.values()]
        return found

    def _is_spent(self, cell: Tensor) -> bool:
        """Whether a tensor made inside a transform holds what is left of that, with nobody left who could look."""
        value = cell._value
        if not isinstance(value, Box) or value.trace.alive:
            return False
        if sys.getrefcount(cell) > _OWN_REFERENCES:
            gc.collect()  # what the function made for itself may still be there in a cycle
        return sys.getrefcount(cell) <= _OWN_REFERENCES

    def strangers(self) -> list[Tensor]:
        """Tensors that live outside and whose arrays were taken for constants."""
        found = self._holders()
        if found:
            del found
            gc.collect()  # what the function made for itself may still be there in a cycle
            found = self._holders()
        return found

    def _holders(self) -> list[Tensor]:
        shared = [v for v, _ in self._consts.values() if isinstance(v, np.ndarray) and sys.getrefcount(v) > 5]
        if not shared:
            return []
        # one pass over all objects, however many arrays there are
        return [x for x in gc.get_referrers(*shared) if isinstance(x, Tensor) and sys.getrefcount(x) > 4]


def make_graph(f: Callable[..., Any]) -> Callable[..., Graph]:
    """A function that gives the graph of `f` for the shapes and dtypes of its arguments; nothing is computed.

    Arguments and results are trees; the graph's inputs and outputs are their leaves. Transforms inside, such as
    `grad`, are in the graph with all they do. Tensors that `f` takes from outside become constants.

    Raises:
      TraceError: `f` looks at the contents of a traced value (print, float(), if).
    """

    @wraps(f)
    def graph_of(*args: Any, **kwargs: Any) -> Graph:
        whole = (args, kwargs)
        with GraphTrace("make_graph") as trace, staging.drawing(trace):
            new = [trace.input(as_tensor(x)) for x in tree.leaves(whole)]
            with tree.lent(whole, new) as (traced, traced_kwargs):
                out = f(*traced, **traced_kwargs)
            trace.graph.outputs = [trace.atom(as_tensor(x)) for x in tree.leaves(out)]
        return verify(trace.graph)

    return graph_of
