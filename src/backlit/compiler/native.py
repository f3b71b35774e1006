"""A graph as a program: groups of elementwise equations as native loops, all else as calls of the ops' forwards."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.compiler.ir import Array, Eqn, Graph, Literal, Var
from backlit.compiler.llvm.elementwise import can_lower, declarations, kernel
from backlit.compiler.llvm.target import Code
from backlit.core.errors import CompilerError
from backlit.core.quiet import silence, variable


@dataclass(eq=False)
class Step:
    """A group of equations that run together: natively, or one equation by its op's forward."""

    eqns: list[Eqn]
    native: bool
    inputs: list[Var] = field(default_factory=list)
    outputs: list[Var] = field(default_factory=list)


def schedule(graph: Graph) -> list[Step]:
    """The equations of a graph in groups: lowerable ones of one shape, between which nothing else has to run.

    The stage of an equation is the latest of its inputs', and one more unless both are in the same kind of group.
    """
    stage: dict[Var, tuple[int, Any]] = {}
    groups: dict[Any, Step] = {}
    for number, e in enumerate(graph.eqns):
        native = can_lower(e) and math.prod(e.out.aval.shape) > 0 and e.out.aval.shape != ()
        kind = e.out.aval.shape if native else number
        before = [stage[a] for a in e.inputs if isinstance(a, Var) and a in stage]
        at = max((s if k == kind and native else s + 1 for s, k in before), default=0)
        stage[e.out] = (at, kind)
        groups.setdefault((at, repr(kind), native), Step([], native)).eqns.append(e)
    steps = [groups[key] for key in sorted(groups, key=lambda key: key[0])]
    wanted = {a for a in graph.outputs if isinstance(a, Var)}
    needed = []
    for step in reversed(steps):
        made = {e.out for e in step.eqns}
        step.outputs = [e.out for e in step.eqns if e.out in wanted]
        if not step.outputs:
            continue
        needed.append(step)
        read = dict.fromkeys(a for e in step.eqns for a in e.inputs if isinstance(a, Var) and a not in made)
        step.inputs = list(read)
        wanted |= set(read)
    return needed[::-1]


class Program:
    """A graph ready to run: `program(*arrays)` gives its outputs.

    Lowered equations have the bits of NumPy's arithmetic. `callbacks` names the ops that run by their forwards.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps = schedule(graph)
        texts = [
            kernel(f"kernel{k}", step.eqns, step.inputs, step.outputs)
            for k, step in enumerate(self.steps)
            if step.native
        ]
        body = "\n".join(texts)
        self._code = Code(f"{declarations(body)}\n{body}") if texts else None
        self._functions = {
            k: self._code.function(f"kernel{k}") for k, step in enumerate(self.steps) if step.native and self._code
        }

    @property
    def callbacks(self) -> list[str]:
        """The ops that are not lowered, in order."""
        return [step.eqns[0].op.name for step in self.steps if not step.native]

    def llvm(self) -> str:
        """The LLVM IR of the lowered groups."""
        return "" if self._code is None else self._code.text

    def __call__(self, *arrays: Any) -> list[Array]:
        graph = self.graph
        if len(arrays) != len(graph.inputs):
            raise CompilerError(f"program: expected {len(graph.inputs)} inputs, got {len(arrays)}")
        values: dict[Any, Any] = dict(graph.consts)
        for v, array in zip(graph.inputs, map(np.asarray, arrays), strict=True):
            if (array.shape, array.dtype) != v.aval:
                raise CompilerError(f"program: expected {v.aval}, got {array.dtype}{list(array.shape)}")
            values[v] = array
        token = variable.set(silence)
        try:
            for k, step in enumerate(self.steps):
                if step.native:
                    self._run(self._functions[k], step, values)
                else:
                    (e,) = step.eqns
                    operands = [a.value if isinstance(a, Literal) else values[a] for a in e.inputs]
                    values[e.out] = e.op.forward(*operands, **e.params)
        finally:
            variable.reset(token)
        return [np.asarray(a.value if isinstance(a, Literal) else values[a]) for a in graph.outputs]

    def _run(self, function: Any, step: Step, values: dict[Any, Any]) -> None:
        read: Sequence[Array] = [np.ascontiguousarray(values[v]) for v in step.inputs]
        made = [np.empty(v.aval.shape, v.aval.dtype) for v in step.outputs]
        pointers = (ctypes.c_void_p * (len(read) + len(made)))(*(a.ctypes.data for a in (*read, *made)))
        function(ctypes.addressof(pointers), made[0].size)
        values.update(zip(step.outputs, made, strict=True))
