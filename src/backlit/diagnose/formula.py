"""Formulas of what ops compute, and their text in the syntax of Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from backlit.core.op import NUMBERS

SUM, PRODUCT, UNARY, POWER, ATOM = 5, 6, 7, 8, 9
INFIX = {
    "equal": ("==", 1), "not_equal": ("!=", 1), "less": ("<", 1), "less_equal": ("<=", 1), "greater": (">", 1),
    "greater_equal": (">=", 1), "logical_or": ("|", 2), "bitwise_or": ("|", 2), "logical_xor": ("^", 3),
    "bitwise_xor": ("^", 3), "logical_and": ("&", 4), "bitwise_and": ("&", 4), "add": ("+", SUM), "sub": ("-", SUM),
    "mul": ("*", PRODUCT), "div": ("/", PRODUCT), "floor_divide": ("//", PRODUCT), "remainder": ("%", PRODUCT),
    "matmul": ("@", PRODUCT), "pow": ("**", POWER),
}  # fmt: skip
PREFIX = {"neg": "-", "logical_not": "~", "bitwise_invert": "~"}
_SHORT = 16  # a subformula that occurs twice is given a name from this many characters on


@dataclass(eq=False, slots=True)
class Symbol:
    """A value that formulas call by its name."""

    name: str
    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return np.shape(self.value)


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or array that formulas show as it is."""

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return np.shape(self.value)


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """An op applied to formulas."""

    op: str
    args: tuple[Formula, ...]
    params: dict[str, Any]
    shape: tuple[int, ...]


Formula = Symbol | Constant | Term


def applied(op: str, args: tuple[Formula, ...], params: dict[str, Any], shape: tuple[int, ...]) -> Formula:
    """The formula of an op on formulas; what leaves every value as it is (1 * x, x ** 1, x in its own shape) is x."""
    x = args[0]
    if op == "mul":
        for factor, other in (args, args[::-1]):
            if other.shape == shape and is_number(factor, 1):
                return other
            if other.shape == shape and is_number(factor, -1):
                return Term("neg", (other,), {}, shape)
    if op == "pow" and x.shape == shape and is_number(args[1], 1):
        return x
    if op == "exp" and (softmax := _softmax(x)):
        return softmax
    if op in ("reshape", "broadcast_to") and x.shape == shape:
        return x
    if op == "broadcast_to" and isinstance(x, Term) and x.op == "reshape" and x.args[0].shape == ():
        args = x.args  # of a single number all places are the same
    return Term(op, args, params, shape)


def is_number(formula: Formula, number: int) -> bool:
    """Whether the formula is this number, once or repeated to a shape."""
    return isinstance(formula, Constant) and bool(np.all(formula.value == number))


def _softmax(x: Formula) -> Formula | None:
    """softmax(z) where `x` is z - logsumexp(z) along one axis: how the function of that name computes it."""
    if not isinstance(x, Term) or x.op != "sub":
        return None
    z, lse = x.args
    if isinstance(lse, Term) and lse.op == "broadcast_to":
        lse = lse.args[0]
    if not isinstance(lse, Term) or lse.op != "logsumexp" or lse.args[0] is not z or not lse.params["keepdims"]:
        return None
    axis = lse.params["axis"]
    return Term("softmax", (z,), {"axis": axis}, z.shape) if len(axis) == 1 else None


def text(formula: Formula) -> str:
    """The formula in the syntax of Python; a long part that occurs more than once is given a name and told after."""
    shared = shared_parts(formula)
    writer = Writer(_name, {id(t): name for t, name in shared})
    told = [f"{name} = {writer.write(t, told=True)[0]}" for t, name in shared]
    return writer.write(formula)[0] + (f" with {', '.join(told)}" if told else "")


def shared_parts(formula: Formula) -> list[tuple[Term, str]]:
    """The long parts that occur more than once, inner ones first, and the names s1, s2 and so on that they are given."""
    terms, uses = _terms(formula)
    names = fresh("s", {s.name for t in terms for s in t.args if isinstance(s, Symbol)})
    return [(t, next(names)) for t in terms if uses[id(t)] > 1 and len(Writer(_name).write(t)[0]) >= _SHORT]


def numbers(formula: Formula) -> str | None:
    """The formula with the numbers in place of the names; None where one is an array, or there is nothing to do."""
    terms, _ = _terms(formula)
    if not terms or any(part.shape for t in terms for part in (t, *t.args)):
        return None
    return Writer(lambda symbol: number_text(symbol.value)).write(formula)[0]


def number_text(x: Any) -> str:
    """A number to eight digits, as NumPy prints it."""
    kind = np.asarray(x).dtype.kind
    if kind in "biu":
        return str(bool(x) if kind == "b" else int(x))
    if kind == "c":
        return f"{complex(x):.8g}"
    return f"{float(x) + 0.0:.8g}"  # + 0.0 takes the sign from a zero


def array_text(value: Any, width: int = 0) -> str:
    """An array by NumPy's printing rules, its middle left out and its shape told from seven elements on.

    Rows are put on lines of their own when `width` is given, which is then the length of a line.
    """
    array = np.asarray(value)
    if not array.ndim:
        return number_text(array[()])
    body = np.array2string(
        array,
        separator=", ",
        threshold=6,
        edgeitems=2,
        max_line_width=width or 10**6,
        formatter={"all": number_text},
    )
    if not width:
        body = " ".join(line.strip() for line in body.splitlines())
    return f"{body} of shape {list(array.shape)}" if "..." in body or not array.size else body


def _constant_text(value: Any) -> str:
    array = np.asarray(value)
    if not array.size:
        return f"zeros({array.shape}, bool)" if array.dtype == bool else f"zeros({array.shape})"
    repeated = not any(array.strides)  # one number repeated to a shape
    return number_text(array.flat[0]) if repeated else array_text(array)


def fresh(prefix: str, taken: Any) -> Iterator[str]:
    """The names prefix1, prefix2 and so on that are not taken."""
    return (name for n in count(1) if (name := f"{prefix}{n}") not in taken)


def _name(symbol: Symbol) -> str:
    return symbol.name


def _terms(formula: Formula) -> tuple[list[Term], dict[int, int]]:
    """Every term in the formula once, inner ones first, and how often each is used."""
    found: list[Term] = []
    uses: dict[int, int] = {}

    def visit(part: Formula) -> None:
        if isinstance(part, Term):
            uses[id(part)] = uses.get(id(part), 0) + 1
            if uses[id(part)] == 1:
                for arg in part.args:
                    visit(arg)
                found.append(part)

    visit(formula)
    return found, uses


class Writer:
    """Writes formulas; every part comes with its precedence, so that brackets stand only where they are needed."""

    def __init__(self, of_symbol: Callable[[Symbol], str], names: dict[int, str] | None = None) -> None:
        self.of_symbol = of_symbol
        self.names = names or {}

    def write(self, formula: Formula, told: bool = False) -> tuple[str, int]:
        """The formula and its precedence; a part that has a name is called by it, unless it is just being `told`."""
        if not isinstance(formula, Term):
            body = self.of_symbol(formula) if isinstance(formula, Symbol) else _constant_text(formula.value)
            return body, UNARY if body.startswith("-") else ATOM
        if not told and id(formula) in self.names:
            return self.names[id(formula)], ATOM
        op, args = formula.op, formula.args
        if op in INFIX and len(args) == 2:
            return self._infix(*INFIX[op], *args)
        if op in PREFIX:
            body = self.within(args[0], UNARY)
            return PREFIX[op] + (f"({body})" if body.startswith("-") else body), UNARY
        if op == "permute_dims" and (suffix := transposed(formula.params["axes"])):
            return self.within(args[0], ATOM) + suffix, ATOM
        if op == "index":
            body = self.within(args[0], ATOM)
            return (f"array({body})" if body.startswith("[") else body) + self.index_text(formula), ATOM
        parts = [self.write(a)[0] for a in (args[: _arrays_from(formula)] if "index" in formula.params else args)]
        return f"{op}({', '.join([*parts, *self._params(formula)])})", ATOM

    def within(self, formula: Formula, least: int) -> str:
        """The formula, in brackets when it binds less than `least`."""
        body, precedence = self.write(formula)
        return body if precedence >= least else f"({body})"

    def _infix(self, sign: str, precedence: int, left: Formula, right: Formula) -> tuple[str, int]:
        power, comparison = precedence == POWER, precedence == 1
        before = self.within(left, precedence + (power or comparison))
        after = self.within(right, UNARY if power else precedence + 1)
        if after.startswith("-") and precedence in (SUM, PRODUCT):
            after = f"({after})"
        return f"{before} {sign} {after}", precedence

    def index_text(self, formula: Term) -> str:
        """The index of a term that picks or writes elements."""
        arrays = iter(formula.args[_arrays_from(formula) :])
        parts = []
        for part in formula.params["index"]:
            if isinstance(part, tuple):
                start, stop, step = ("" if bound is None else str(bound) for bound in part[1:])
                parts.append(f"{start}:{stop}" + (f":{step}" if step else ""))
            else:
                parts.append(self.write(next(arrays))[0] if part == "array" else str(part))
        while len(parts) > 1 and parts[-1] == ":":
            parts.pop()
        return f"[{', '.join(parts) or '()'}]"

    def _params(self, formula: Term) -> Iterator[str]:
        for key, value in formula.params.items():
            if key == "keepdims" and not value:
                continue
            if key == "axis" and isinstance(value, tuple):
                if len(value) == len(formula.args[0].shape):
                    continue
                value = value[0] if len(value) == 1 else value
            shown = repr(value) if isinstance(value, str) else value
            yield f"{key}={self.index_text(formula) if key == 'index' else shown}"


def _arrays_from(formula: Term) -> int:
    """The argument from which on a term's arguments are the arrays of its index."""
    return 2 if formula.op in ("put", "scatter_max", "scatter_min") else 1


def transposed(axes: tuple[int, ...]) -> str:
    """The suffix of an exchange of axes that is a transpose."""
    n = len(axes)
    if n > 1 and axes == tuple(range(n))[::-1]:
        return ".T"
    return ".mT" if n > 2 and axes == (*range(n - 2), n - 1, n - 2) else ""


def constant(x: Any) -> Constant:
    """The formula of a plain number, or of a tensor by its contents."""
    return Constant(x if x.__class__ in NUMBERS else np.asarray(x._value))
