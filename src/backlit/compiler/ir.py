"""The graph of a program: single assignments of ops to variables, with a text form, a parser and a verifier.

An equation of control flow holds graphs, its regions, and may have several results. A region sees nothing but its own
inputs: what it needs from around it is handed to it.
"""

from __future__ import annotations

import ast
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import bfloat16
from backlit.core.errors import CompilerError
from backlit.core.op import REGISTRY
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


class Control(ABC):
    """An op that runs graphs: what loops and branches are in a graph."""

    name: str

    @abstractmethod
    def results(self, inputs: Sequence[Any], regions: Sequence[Graph], params: dict[str, Any]) -> tuple[Aval, ...]:
        """Shapes and dtypes of the results.

        Raises:
          CompilerError: regions and inputs do not fit together.
        """

    @abstractmethod
    def evaluate(
        self, inputs: Sequence[Any], runs: Sequence[Callable[..., list[Any]]], params: dict[str, Any]
    ) -> list[Any]:
        """The results for given arrays, by a loop in Python over the regions."""


CONTROL: dict[str, Control] = {}


class Eqn:
    """`outs` are what `op` gives for the inputs and parameters; `out` where there is one. `regions` are graphs it runs.

    `again` applies the equation to tensors where that is more than to apply its op: with a rule of the user's own, say.
    It is there until the graph is simplified.
    """

    __slots__ = ("again", "inputs", "op", "outs", "params", "regions")

    def __init__(
        self, op: Any, inputs: tuple[Atom, ...], params: dict[str, Any], out: Var | tuple[Var, ...],
        regions: tuple[Graph, ...] = (), again: Callable[..., list[Any]] | None = None,
    ) -> None:  # fmt: skip
        self.op: Any = op  # an Op, or a Control with regions
        self.inputs, self.params, self.regions, self.again = inputs, params, regions, again
        self.outs: tuple[Var, ...] = (out,) if isinstance(out, Var) else out

    @property
    def out(self) -> Var:
        """The one result."""
        (only,) = self.outs
        return only

    def on(self, inputs: tuple[Atom, ...], regions: tuple[Graph, ...] | None = None) -> Eqn:
        """The same on other inputs, with other regions."""
        return Eqn(self.op, inputs, self.params, self.outs, self.regions if regions is None else regions)


@dataclass(eq=False)
class Graph:
    """A program: inputs, constants, equations in order, outputs. `str(graph)` is its text form."""

    inputs: list[Var] = field(default_factory=list)
    consts: dict[Var, Array] = field(default_factory=dict)
    eqns: list[Eqn] = field(default_factory=list)
    outputs: list[Atom] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(_lines(self, _names(), ""))

    def variables(self) -> Iterator[Var]:
        """Inputs, constants and results, in order; not those of regions."""
        return itertools.chain(self.inputs, self.consts, (v for e in self.eqns for v in e.outs))


def _lines(graph: Graph, fresh: Iterator[str], indent: str) -> Iterator[str]:
    names: dict[Var, str] = {}

    def typed(v: Var) -> str:
        names[v] = next(fresh)
        return f"{names[v]}: {v.aval}".replace(" ", "").replace(":", ": ")

    def shown(a: Atom) -> str:
        return repr(a.value) if isinstance(a, Literal) else names[a]

    head = f"{indent}graph({', '.join(map(typed, graph.inputs))})"
    if graph.consts:
        head += f" consts({', '.join(map(typed, graph.consts))})"
    yield head + " {"
    for e in graph.eqns:
        operands = [*map(shown, e.inputs), *(f"{k}={_param(v)}" for k, v in e.params.items())]
        line = f"{indent}  {', '.join(map(typed, e.outs))} = {e.op.name}({', '.join(operands)})"
        yield line + " {" * bool(e.regions)
        for region in e.regions:
            yield from _lines(region, fresh, indent + "    ")
        if e.regions:
            yield indent + "  }"
    yield f"{indent}  return {', '.join(map(shown, graph.outputs))}".rstrip()
    yield indent + "}"


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
        for v in e.outs:
            if v in known:
                raise CompilerError(f"{where} defines a variable a second time")
            known.add(v)
        rules = _rule(e, where)
        declared = tuple(v.aval for v in e.outs)
        if rules != declared:
            raise CompilerError(f"{where} is declared {_listed(declared)}, its shape rule says {_listed(rules)}")
    for a in graph.outputs:
        if isinstance(a, Var) and a not in known:
            raise CompilerError(f"verify: an output {a.aval} is not defined")
    return graph


def _rule(e: Eqn, where: str) -> tuple[Aval, ...]:
    """What the op of an equation says of its results."""
    known: Any = CONTROL if isinstance(e.op, Control) else REGISTRY
    if known.get(e.op.name) is not e.op:
        raise CompilerError(f"{where} applies an op that is not registered")
    if not isinstance(e.op, Control):
        return (e.op.abstract(*(a.aval if isinstance(a, Var) else a.value for a in e.inputs), **e.params),)
    for region in e.regions:
        if region.consts:
            raise CompilerError(f"{where} has a region with constants of its own")
        verify(region)
    given = [a.aval for a in e.inputs if isinstance(a, Var)]
    if len(given) != len(e.inputs):
        raise CompilerError(f"{where} is given a number; its operands are arrays")
    try:
        return e.op.results(given, e.regions, e.params)
    except CompilerError as error:
        raise CompilerError(f"{where}: {error}") from None


def _listed(avals: Sequence[Aval]) -> str:
    return ", ".join(map(str, avals))


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
        return [np.asarray(x) for x in _run(graph, values)]
    finally:
        variable.reset(token)


def _run(graph: Graph, values: dict[Any, Any]) -> list[Any]:
    for e in graph.eqns:
        operands = [a.value if isinstance(a, Literal) else values[a] for a in e.inputs]
        if e.regions:
            values.update(zip(e.outs, e.op.evaluate(operands, runners(e), e.params), strict=True))
        else:
            values[e.out] = e.op.forward(*operands, **e.params)
    return [a.value if isinstance(a, Literal) else values[a] for a in graph.outputs]


def runners(e: Eqn) -> list[Callable[..., list[Any]]]:
    """The regions of an equation as functions of arrays, by the ops' own forwards."""

    def runner(region: Graph) -> Callable[..., list[Any]]:
        return lambda *arrays: _run(region, {**region.consts, **dict(zip(region.inputs, arrays, strict=True))})

    return [runner(region) for region in e.regions]


_HEAD = re.compile(r"graph\((.*?)\)(?: consts\((.*)\))? \{")
_TYPED = re.compile(r"(\w+): (\w+)\[([\d,]*)\]")
_EQN = re.compile(r"((?:\w+: \w+\[[\d,]*\](?:, )?)+) = (\w+)\((.*)\)( \{)?")


_OPERANDS = (ast.Name, ast.Load, ast.Constant, ast.UnaryOp, ast.USub, ast.Tuple, ast.keyword)


def parse(text: str, consts: dict[str, Any] | None = None) -> Graph:
    """The graph that `text` describes; the values of its constants by name.

    Raises:
      CompilerError: a line is not of the text form, or names an op or a variable that is not there.
    """
    lines = iter([line.strip() for line in text.strip().splitlines() if line.strip()])
    graph = _parse_graph(next(lines, ""), lines, consts or {})
    if next(lines, None) is not None:
        raise _malformed()
    return graph


def _malformed() -> CompilerError:
    return CompilerError("parse: expected 'graph(...) {', equations, 'return ...' and '}'")


def _parse_graph(first: str, lines: Iterator[str], consts: dict[str, Any]) -> Graph:
    head = _HEAD.fullmatch(first)
    if head is None:
        raise _malformed()
    graph, names = Graph(), dict[str, Var]()
    for name, dtype, shape in _TYPED.findall(head[1]):
        graph.inputs.append(names.setdefault(name, _variable(dtype, shape)))
    for name, dtype, shape in _TYPED.findall(head[2] or ""):
        names[name] = _variable(dtype, shape)
        graph.consts[names[name]] = np.asarray(consts[name], names[name].aval.dtype)

    def atom(node: ast.expr) -> Atom:
        if isinstance(node, ast.Name) and node.id not in ("inf", "nan"):
            if node.id not in names:
                raise CompilerError(f"parse: nothing defines {node.id!r}")
            return names[node.id]
        return Literal(_number(node))

    for line in lines:
        if line.startswith("return"):
            returned = ast.parse(f"f({line.removeprefix('return')})", mode="eval").body
            assert isinstance(returned, ast.Call)
            graph.outputs = [atom(node) for node in returned.args]
            if next(lines, None) != "}":
                raise _malformed()
            return graph
        found = _EQN.fullmatch(line)
        known: dict[str, Any] = CONTROL if found is not None and found[4] else REGISTRY
        if found is None or found[2] not in known:
            raise CompilerError(f"parse: {line!r} is no equation of a registered op")
        call = ast.parse(f"f({found[3]})", mode="eval").body
        assert isinstance(call, ast.Call)
        for node in ast.walk(call):
            if not isinstance(node, _OPERANDS) and node is not call:
                raise CompilerError(f"parse: {line!r} holds {type(node).__name__}, which is no operand")
        params = {k.arg or "": ast.literal_eval(k.value) for k in call.keywords}
        if "dtype" in params:
            params["dtype"] = _dtype(params["dtype"])
        inputs = tuple(map(atom, call.args))
        regions = []
        while found[4] and (inner := next(lines, "")) != "}":
            regions.append(_parse_graph(inner, lines, {}))
        outs = {name: _variable(dtype, shape) for name, dtype, shape in _TYPED.findall(found[1])}
        graph.eqns.append(Eqn(known[found[2]], inputs, params, tuple(outs.values()), tuple(regions)))
        names.update(outs)
    raise _malformed()


def _number(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    return float(node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def _dtype(name: str) -> np.dtype[Any]:
    return bfloat16 if name == "bfloat16" else np.dtype(name)


def _variable(dtype: str, shape: str) -> Var:
    return Var(Aval(tuple(int(n) for n in shape.split(",") if n), _dtype(dtype)))
