"""The graph of a program: single assignments of ops to variables, with a text form, a parser and a verifier."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import bfloat16
from backlit.core.errors import CompilerError
from backlit.core.op import REGISTRY, Op
from backlit.core.quiet import silence, variable

Array = np.ndarray[Any, Any]


class Var:
    """A variable: it stands for one array of known shape and dtype, and is equal to itself only."""

    __slots__ = ("aval",)

    def __init__(self, aval: Aval) -> None:
        self.aval = aval


@dataclass(frozen=True)
class Literal:
    """A Python number as an operand; it takes the dtype of the arrays beside it."""

    value: bool | int | float | complex


Atom = Var | Literal


@dataclass(frozen=True, eq=False)
class Eqn:
    """`out` is what `op` gives for the inputs and parameters."""

    op: Op
    inputs: tuple[Atom, ...]
    params: dict[str, Any]
    out: Var


@dataclass(eq=False)
class Graph:
    """A program: inputs, constants, equations in order, outputs. `str(graph)` is its text form."""

    inputs: list[Var] = field(default_factory=list)
    consts: dict[Var, Array] = field(default_factory=dict)
    eqns: list[Eqn] = field(default_factory=list)
    outputs: list[Atom] = field(default_factory=list)

    def __str__(self) -> str:
        names = {v: name for v, name in zip(self.variables(), _names(), strict=False)}

        def typed(v: Var) -> str:
            return f"{names[v]}: {v.aval}".replace(" ", "").replace(":", ": ")

        def shown(a: Atom) -> str:
            return repr(a.value) if isinstance(a, Literal) else names[a]

        head = f"graph({', '.join(map(typed, self.inputs))})"
        if self.consts:
            head += f" consts({', '.join(map(typed, self.consts))})"
        lines = [head + " {"]
        for e in self.eqns:
            operands = [*map(shown, e.inputs), *(f"{k}={_param(v)}" for k, v in e.params.items())]
            lines.append(f"  {typed(e.out)} = {e.op.name}({', '.join(operands)})")
        lines.append(f"  return {', '.join(map(shown, self.outputs))}".rstrip())
        return "\n".join([*lines, "}"])

    def variables(self) -> Iterator[Var]:
        """Inputs, constants and results, in order."""
        return itertools.chain(self.inputs, self.consts, (e.out for e in self.eqns))


def _names() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product("abcdefghijklmnopqrstuvwxyz", repeat=length):
            name = "".join(letters)
            if name not in ("as", "if", "in", "is", "or", "inf", "nan"):
                yield name


def _param(value: Any) -> str:
    return repr(value.name) if isinstance(value, np.dtype) else repr(value)


def verify(graph: Graph) -> Graph:
    """`graph` itself, once every variable is defined exactly once, before its use, and typed as its op's rule says.

    Raises:
      CompilerError: it is not; the equation is named.
    """
    known: set[Var] = set()
    for v in (*graph.inputs, *graph.consts):
        if v in known:
            raise CompilerError("verify: an input or constant is there twice")
        known.add(v)
    for v, array in graph.consts.items():
        if (array.shape, array.dtype) != v.aval:
            raise CompilerError(f"verify: a constant {array.dtype}{list(array.shape)} is declared {v.aval}")
    for number, e in enumerate(graph.eqns):
        where = f"verify: equation {number} ({e.op.name})"
        missing = [a for a in e.inputs if isinstance(a, Var) and a not in known]
        if missing:
            raise CompilerError(f"{where} reads a variable {missing[0].aval} that nothing before it defines")
        if e.out in known:
            raise CompilerError(f"{where} defines a variable a second time")
        if REGISTRY.get(e.op.name) is not e.op:
            raise CompilerError(f"{where} applies an op that is not registered")
        rule = e.op.abstract(*(a.aval if isinstance(a, Var) else a.value for a in e.inputs), **e.params)
        if rule != e.out.aval:
            raise CompilerError(f"{where} is declared {e.out.aval}, its shape rule says {rule}")
        known.add(e.out)
    for a in graph.outputs:
        if isinstance(a, Var) and a not in known:
            raise CompilerError(f"verify: an output {a.aval} is not defined")
    return graph


def evaluate(graph: Graph, *arrays: Any) -> list[Array]:
    """The outputs for given inputs, by the ops' own forwards: the reference that compiled code must match.

    Raises:
      CompilerError: the inputs are not of the declared shapes and dtypes.
    """
    if len(arrays) != len(graph.inputs):
        raise CompilerError(f"evaluate: expected {len(graph.inputs)} inputs, got {len(arrays)}")
    values: dict[Any, Any] = dict(graph.consts)
    for v, array in zip(graph.inputs, map(np.asarray, arrays), strict=True):
        if (array.shape, array.dtype) != v.aval:
            raise CompilerError(f"evaluate: expected {v.aval}, got {array.dtype}{list(array.shape)}")
        values[v] = array
    token = variable.set(silence)
    try:
        for e in graph.eqns:
            operands = [a.value if isinstance(a, Literal) else values[a] for a in e.inputs]
            values[e.out] = e.op.forward(*operands, **e.params)
    finally:
        variable.reset(token)
    return [np.asarray(a.value if isinstance(a, Literal) else values[a]) for a in graph.outputs]


_HEAD = re.compile(r"graph\((.*?)\)(?: consts\((.*)\))? \{")
_TYPED = re.compile(r"(\w+): (\w+)\[([\d,]*)\]")
_EQN = re.compile(r"(\w+): (\w+)\[([\d,]*)\] = (\w+)\((.*)\)")


_OPERANDS = (ast.Name, ast.Load, ast.Constant, ast.UnaryOp, ast.USub, ast.Tuple, ast.keyword)


def parse(text: str, consts: dict[str, Any] | None = None) -> Graph:
    """The graph that `text` describes; the values of its constants by name.

    Raises:
      CompilerError: a line is not of the text form, or names an op or a variable that is not there.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    head = _HEAD.fullmatch(lines[0]) if lines else None
    if head is None or lines[-1] != "}" or not lines[-2].startswith("return"):
        raise CompilerError("parse: expected 'graph(...) {', equations, 'return ...' and '}'")
    graph, names = Graph(), dict[str, Var]()
    for name, dtype, shape in _TYPED.findall(head[1]):
        graph.inputs.append(names.setdefault(name, _variable(dtype, shape)))
    for name, dtype, shape in _TYPED.findall(head[2] or ""):
        names[name] = _variable(dtype, shape)
        graph.consts[names[name]] = np.asarray((consts or {})[name], names[name].aval.dtype)

    def atom(node: ast.expr) -> Atom:
        if isinstance(node, ast.Name) and node.id not in ("inf", "nan"):
            if node.id not in names:
                raise CompilerError(f"parse: nothing defines {node.id!r}")
            return names[node.id]
        return Literal(_number(node))

    for line in lines[1:-2]:
        found = _EQN.fullmatch(line)
        if found is None or found[4] not in REGISTRY:
            raise CompilerError(f"parse: {line!r} is no equation of a registered op")
        call = ast.parse(f"f({found[5]})", mode="eval").body
        assert isinstance(call, ast.Call)
        for node in ast.walk(call):
            if not isinstance(node, _OPERANDS) and node is not call:
                raise CompilerError(f"parse: {line!r} holds {type(node).__name__}, which is no operand")
        params = {k.arg or "": ast.literal_eval(k.value) for k in call.keywords}
        if "dtype" in params:
            params["dtype"] = _dtype(params["dtype"])
        out = _variable(found[2], found[3])
        graph.eqns.append(Eqn(REGISTRY[found[4]], tuple(map(atom, call.args)), params, out))
        names[found[1]] = out
    returned = ast.parse(f"f({lines[-2].removeprefix('return')})", mode="eval").body
    assert isinstance(returned, ast.Call)
    graph.outputs = [atom(node) for node in returned.args]
    return graph


def _number(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    return float(node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def _dtype(name: str) -> np.dtype[Any]:
    return bfloat16 if name == "bfloat16" else np.dtype(name)


def _variable(dtype: str, shape: str) -> Var:
    return Var(Aval(tuple(int(n) for n in shape.split(",") if n), _dtype(dtype)))
