"""From a function of arrays to its graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from backlit.autodiff.trace import Trace
from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var, verify
from backlit.core import tree
from backlit.core.aval import Aval, aval_of
from backlit.core.errors import TraceError
from backlit.core.op import Op, shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor


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
    """Writes every op on its values down as an equation; arrays from outside become constants."""

    one_value = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.graph = Graph()
        self._consts: dict[int, tuple[Any, Var]] = {}

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
            raise TraceError(
                f"{self.name}: {shown(x)} belongs to {value.trace.name} around it; pass it as an argument{here()}"
            )
        if id(value) not in self._consts:
            var = Var(Aval(tuple(value.shape), np.dtype(value.dtype)))
            self._consts[id(value)] = (value, var)  # the value is held, so that its id stays its own
            self.graph.consts[var] = np.asarray(value)
        return self._consts[id(value)][1]

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        inputs = tuple(self.atom(a) for a in args)
        out = Var(op.abstract(*(a.aval if isinstance(a, Var) else a.value for a in inputs), **params))
        self.graph.eqns.append(Eqn(op, inputs, dict(params), out))
        return Tensor(VarBox(self, out))

    def lower(self, x: Any) -> Any:
        return x

    def detach(self, x: Tensor) -> Tensor:
        return Tensor(x._value)

    def concrete(self, box: Box) -> Any:
        raise TraceError(
            f"{self.name}: a traced value {box.dtype}{list(box.shape)} has no contents yet: print, float() and if "
            f"cannot look at it; use backlit's ops (where instead of if){here()}"
        )


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
        with GraphTrace("make_graph") as trace:
            new = [trace.input(as_tensor(x)) for x in tree.leaves(whole)]
            with tree.lent(whole, new) as (traced, traced_kwargs):
                out = f(*traced, **traced_kwargs)
            trace.graph.outputs = [trace.atom(as_tensor(x)) for x in tree.leaves(out)]
        return verify(trace.graph)

    return graph_of
