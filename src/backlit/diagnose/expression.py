"""Expressions: parsed by Python's grammar, checked, and evaluated on the engine's ops; no Python is run."""

from __future__ import annotations

import ast
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.errors import BacklitError, DataError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.diagnose.functions import FUNCTIONS, Function, call, take, transpose
from backlit.diagnose.source import Source, near
from backlit.ops import array, elementwise

MAX_LENGTH = 4000
MAX_DEPTH = 100

_OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: elementwise.add, ast.Sub: elementwise.sub, ast.Mult: elementwise.mul, ast.Div: elementwise.div,
    ast.Pow: elementwise.pow, ast.MatMult: array.matmul, ast.USub: elementwise.neg, ast.Eq: elementwise.equal,
    ast.NotEq: elementwise.not_equal, ast.Lt: elementwise.less, ast.LtE: elementwise.less_equal,
    ast.Gt: elementwise.greater, ast.GtE: elementwise.greater_equal,
}  # fmt: skip
_INSTEAD = {
    ast.BitXor: "^ is not power; write **",
    ast.FloorDiv: "// has no useful derivative; write /",
    ast.Mod: "% is not supported",
    ast.BitAnd: "& is not supported; multiply the conditions as where(a, 1, 0) * where(b, 1, 0)",
    ast.BitOr: "| is not supported; use maximum(where(a, 1, 0), where(b, 1, 0))",
    ast.Not: "'not' is not supported; exchange the last two arguments of where(...)",
    ast.BoolOp: "'and' and 'or' are not supported; nest where(...)",
    ast.IfExp: "'a if c else b' is not supported; write where(c, a, b)",
    ast.AugAssign: "an assignment like x += y is not supported; write x = x + y",
    ast.NamedExpr: ":= is not supported; make the assignment a statement of its own",
    ast.Lambda: "functions cannot be defined; write the formula out",
    ast.FunctionDef: "functions cannot be defined; write the formula out",
    ast.Import: "nothing can be imported; the functions are there by name, as in sin(x)",
    ast.ImportFrom: "nothing can be imported; the functions are there by name, as in sin(x)",
    ast.For: "loops are not supported; write the steps out",
    ast.While: "loops are not supported; write the steps out",
    ast.If: "'if' is not supported; write where(condition, a, b)",
    ast.ListComp: "loops are not supported; write the array out",
    ast.GeneratorExp: "loops are not supported; write the array out",
    ast.JoinedStr: "text is not supported; only numbers and arrays of them are values",
}


@dataclass(frozen=True)
class Number:
    """A plain number."""

    value: Any


@dataclass(frozen=True)
class Name:
    """A value given or assigned."""

    name: str


@dataclass(frozen=True)
class Apply:
    """An op or function applied to parts; `label` is the name it goes by."""

    label: str
    function: Callable[..., Any]
    args: tuple[Part, ...]
    options: dict[str, Any]
    place: ast.AST


Part = Number | Name | Apply | Tensor  # a Tensor stands for an array written out


@dataclass
class Program:
    """A checked expression: its statements (name or None, and what it is), and the names that need a value."""

    source: Source
    statements: list[tuple[str | None, Part]] = field(default_factory=list)
    reads: dict[str, ast.AST] = field(default_factory=dict)
    assigned: set[str] = field(default_factory=set)
    last: ast.AST = field(default_factory=ast.Pass)


class Watcher(ABC):
    """Told what an evaluation does, so that it can give names."""

    @abstractmethod
    def begin(self, label: str) -> None:
        """The ops that follow belong to one application of `label`."""

    @abstractmethod
    def assign(self, name: str, value: Any) -> Any:
        """`name = value`; gives the value to go on with."""


def parse(text: str) -> Program:
    """The program in `text`: statements separated by `;` or line ends, the last of which is the output.

    Raises:
      DataError: it is not an expression, too long or too deep, or uses what is not supported; with the column.
    """
    if len(text) > MAX_LENGTH:
        raise DataError(f"the expression has {len(text)} characters; at most {MAX_LENGTH} can be explained")
    lines = "\n".join(line.strip() for line in text.splitlines()).strip()
    program = Program(Source(lines))
    module = _parsed(program.source, lines)
    if not module.body:
        raise DataError("the expression is empty; write one like 'u = x*y; L = u**2'")
    _check_depth(program.source, module)
    reader = _Reader(program)
    for statement in module.body:
        reader.statement(statement)
    program.last = module.body[-1]
    return program


def _parsed(source: Source, text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tokenizer, about Python programs
            return ast.parse(text)
    except SyntaxError as error:
        message = error.msg
        if "decimal literal" in message:
            message += "; write a product as 2*x"
        line = min(max(error.lineno or 1, 1), len(source.lines))
        column = min(max(error.offset or 1, 1), len(source.lines[line - 1]) + 1)
        raise source.error((line, column), f"the expression cannot be read: {message}") from None
    except ValueError as error:  # a zero character, before Python 3.12
        raise DataError(f"the expression cannot be read: {error}") from None
    except (RecursionError, MemoryError):
        raise _too_deep() from None


def _too_deep() -> DataError:
    return DataError(
        f"the expression is nested more than {MAX_DEPTH} deep; split it into statements, as in 'u = x*y; L = u**2'"
    )


def _check_depth(source: Source, module: ast.Module) -> None:
    level: list[ast.AST] = [module]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise _too_deep()


def literal(source: Source, node: ast.expr, names: dict[str, float] | None = None) -> Any:
    """A number or nested lists of numbers as written; `names` stand for numbers.

    Raises:
      DataError: it holds anything else.
    """
    if isinstance(node, (ast.List, ast.Tuple)):
        return [literal(source, element, names) for element in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = literal(source, node.operand, names)
        if not isinstance(inner, list):
            return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.Name) and names is not None and node.id.lower() in names:
        return names[node.id.lower()]
    if isinstance(node, ast.Constant):
        return _number(source, node)
    raise source.error(node, f"an array is written with numbers only, and {_described(node)} is none")


def as_array(source: Source, node: ast.AST, nested: Any) -> np.ndarray[Any, Any]:
    """Nested lists as a float64 array.

    Raises:
      DataError: the lists have unequal lengths.
    """
    try:
        return np.array(nested, np.float64)
    except ValueError:
        message = "the rows have unequal lengths, so this is no array; give every row the same number of elements"
        raise source.error(node, message) from None


def _number(source: Source, node: ast.Constant) -> Any:
    value = node.value
    if value.__class__ not in (int, float):
        raise source.error(node, f"{_described(node)} is not a number")
    if isinstance(value, int) and abs(value) > 2**53:
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return value


def _described(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, ast.Name):
        return f"the name {node.id}"
    return "".join(f" {c.lower()}" if c.isupper() else c for c in type(node).__name__).strip()


class _Reader:
    """Turns statements of Python's grammar into those of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.error = program.source.error

    def statement(self, node: ast.stmt) -> None:
        program = self.program
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            if len(node.targets) > 1 or not isinstance(target, ast.Name):
                raise self.error(node, "an assignment gives a value to one name, as in u = x*y")
            part = self.part(node.value)
            program.assigned.add(target.id)
            program.statements.append((target.id, part))
        elif isinstance(node, ast.Expr):
            program.statements.append((None, self.part(node.value)))
        else:
            raise self._unsupported(node)

    def part(self, node: ast.expr) -> Part:
        if isinstance(node, ast.Constant):
            return Number(_number(self.program.source, node))
        if isinstance(node, ast.Name):
            if node.id not in self.program.assigned:
                self.program.reads.setdefault(node.id, node)
            return Name(node.id)
        if isinstance(node, (ast.List, ast.Tuple)):
            nested = literal(self.program.source, node)
            return Tensor(as_array(self.program.source, node, nested))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
            return self.part(node.operand)
        if isinstance(node, ast.UnaryOp):
            return self._operator(node, node.op, node.operand)
        if isinstance(node, ast.BinOp):
            return self._operator(node, node.op, node.left, node.right)
        if isinstance(node, ast.Compare):
            if len(node.ops) > 1:
                raise self.error(node, "a chain of comparisons is not supported; compare two values at a time")
            return self._operator(node, node.ops[0], node.left, node.comparators[0])
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            key = self._key(node.slice)
            return Apply("index", take, (self.part(node.value),), {"key": key}, node)
        if isinstance(node, ast.Attribute):
            if node.attr != "T":
                raise self.error(node, f".{node.attr} is not supported; of attributes there is only .T")
            return Apply("permute_dims", transpose, (self.part(node.value),), {}, node)
        raise self._unsupported(node)

    def _operator(self, node: ast.AST, operator: ast.AST, *operands: ast.expr) -> Part:
        function = _OPERATORS.get(type(operator))
        if function is None:
            raise self._unsupported(operator, node)
        label = getattr(function, "name", "matmul")
        return Apply(label, function, tuple(self.part(o) for o in operands), {}, node)

    def _call(self, node: ast.Call) -> Part:
        if not isinstance(node.func, ast.Name):
            raise self.error(node, "functions are called by their plain names, as in sum(x)")
        name = node.func.id
        function = FUNCTIONS.get(name)
        if function is None:
            hint = near(name, FUNCTIONS) or f"; there are {', '.join(sorted(FUNCTIONS))}"
            raise self.error(node, f"unknown function {name}{hint}")
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise self.error(argument, "arguments are written out; * is not supported here")
        if len(node.args) != function.n_args:
            wanted = f"{function.n_args} argument{'s' if function.n_args > 1 else ''}"
            hint = f"; of two values, {name}imum(a, b)" if name in ("max", "min") else ""
            raise self.error(node, f"{name} takes {wanted}, got {len(node.args)}{hint}")
        options = {str(k.arg): self._option(name, function, k) for k in node.keywords}
        return Apply(name, function.call, tuple(self.part(a) for a in node.args), options, node)

    def _option(self, name: str, function: Function, keyword: ast.keyword) -> Any:
        if keyword.arg not in function.options:
            known = ", ".join(f"{o}=" for o in sorted(function.options))
            hint = f"has the options {known}" if known else "has no options"
            raise self.error(keyword, f"{name} {hint}; got {keyword.arg or '**'}")
        value = keyword.value
        if keyword.arg == "keepdims":
            if isinstance(value, ast.Constant) and isinstance(value.value, bool):
                return value.value
            raise self.error(keyword, "keepdims is True or False")
        if isinstance(value, ast.Tuple) and name not in ("softmax", "log_softmax"):
            return tuple(self._whole(e, "axis") for e in value.elts)
        return self._whole(value, "axis")

    def _key(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Tuple):
            return tuple(self._key(e) for e in node.elts)
        if isinstance(node, ast.Slice):
            bounds = (node.lower, node.upper, node.step)
            start, stop, step = (None if b is None else self._whole(b, "an index") for b in bounds)
            if step == 0:
                raise self.error(node, "the step of a slice cannot be 0")
            return slice(start, stop, step)
        if isinstance(node, ast.Constant) and node.value is Ellipsis:
            return Ellipsis
        return self._whole(node, "an index")

    def _whole(self, node: ast.expr, what: str) -> int:
        sign, inner = 1, node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, inner = -1, node.operand
        if isinstance(inner, ast.Constant) and inner.value.__class__ is int and abs(inner.value) < 2**31:
            return sign * int(inner.value)
        raise self.error(node, f"{what} is written as a whole number, and {_described(node)} is none")

    def _unsupported(self, node: ast.AST, place: ast.AST | None = None) -> BacklitError:
        message = _INSTEAD.get(type(node), f"{_described(node)}: not supported in an expression")
        return self.error(place or node, message)


def evaluate(program: Program, values: dict[str, Any], watcher: Watcher) -> Any:
    """The output of the program: a tensor, or a number where no tensor is involved.

    Raises:
      BacklitError: an op does not take what it is given; with the column.
    """
    values = dict(values)

    def value(part: Part) -> Any:
        if isinstance(part, Number):
            return part.value
        if isinstance(part, Name):
            return values[part.name]
        if isinstance(part, Tensor):
            return part
        args = [value(a) for a in part.args]
        watcher.begin(part.label)
        try:
            return call(part.function, args, part.options)
        except BacklitError as error:
            raise program.source.error(part.place, str(error).removesuffix(here()), type(error)) from None

    out = None
    for name, part in program.statements:
        out = value(part)
        if name is not None:
            out = values[name] = watcher.assign(name, out)
    return out
