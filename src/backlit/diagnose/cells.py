"""One element of a value or of a contribution, taken apart into the products that it is the sum of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.errors import ArgumentError
from backlit.core.op import REGISTRY, Elementwise, LinearOp, Masked
from backlit.core.tensor import Tensor
from backlit.diagnose.recording import Contribution, Node, Recording
from backlit.diagnose.replay import Replay, check_runs, is_joint, place_of

Array = np.ndarray[Any, Any]
FORWARD = -1
_MOST = 64  # terms that are told one by one
_BIG = 1_000_000  # elements of a result above which no column of a Jacobian is computed


@dataclass(frozen=True)
class Operand:
    """One factor: a number, and where it stands, an element (in the flattened array) of the "value" or "delta" of a node.

    Without a node it is a local derivative, or a number that is written in the program.
    """

    number: float
    node: Node | None = None
    which: str = "value"
    element: int = 0


@dataclass(frozen=True)
class Term:
    """One product; `right` is None for a term that is one number. `text` says what it is where that is not plain."""

    left: Operand
    right: Operand | None
    product: float
    text: str = ""


@dataclass(frozen=True)
class Cell:
    """One element and the terms that add up to it.

    `argnum` is -1 for an element of the value of `node`, else the argument to which `node` passed a contribution, whose
    element it is. `total` is the recorded number. `latex` says how the terms are made.
    """

    node: Node
    argnum: int
    element: int
    total: float
    terms: tuple[Term, ...]
    latex: str


def cell(recording: Recording, node: str | Node, element: int | tuple[int, ...], argnum: int = FORWARD) -> Cell:
    """The products behind one element of the value of a node, or of its contribution to argument `argnum`.

    A contribution is the sum over the results j of delta[j] times the derivative of result j with respect to the element:
    one column of the Jacobian, which costs one forward-mode rule (for products a row, for elementwise ops one number). Of
    more than 64 terms the largest are told, and the sum of the others.

    Raises:
      ArgumentError: there is no such node or element, nothing was passed on, it cannot be taken apart, or the recording was
        read from a file or holds statistics.
    """
    check_runs(recording, "cell")
    found = recording[node] if isinstance(node, str) else node
    if found.op is None or is_joint(found) or isinstance(found.op, Pick) or found.value is None:
        raise ArgumentError(f"cell: {found.name!r} is not made of products that are known")
    array = found.value if argnum == FORWARD else _passed(found, argnum).value
    if _is_complex(found):
        raise ArgumentError(f"cell: {found.name!r} is of complex numbers, which are not taken apart")
    place = place_of(element, np.shape(array), "cell")
    total = float(np.asarray(array).reshape(-1)[place])
    terms = _forward(found, place) if argnum == FORWARD else _backward(found, argnum, place)
    return Cell(found, argnum, place, total, _cut(terms), _latex(found, argnum))


def sampled_cells(recording: Recording, most: int = 400, each: int = 2) -> Iterator[Cell]:
    """Cells of the nodes that are products, reductions, normalisations and the like, for a file.

    For each node some elements of the value and of every contribution, the largest and others spread over the array. Nodes
    that are large are left out.
    """
    made = 0
    for node in recording.nodes:
        if node.op is None or node.value is None or is_joint(node) or isinstance(node.op, Pick) or _is_complex(node):
            continue
        if max([np.size(node.value), *(np.size(a.value) for a in node.args if isinstance(a, Node))]) > _BIG:
            continue
        for argnum in (FORWARD, *(i for i, w in enumerate(node.wanted) if w)):
            try:
                array = node.value if argnum == FORWARD else _passed(node, argnum).value
            except ArgumentError:
                continue
            for element in _picked(array, each):
                if made >= most:
                    return
                try:
                    yield cell(recording, node, element, argnum)
                except ArgumentError:
                    break
                made += 1


def _is_complex(node: Node) -> bool:
    """Whether the node or one of its arguments is of complex numbers."""
    return any(a.dtype.kind == "c" for a in (node, *node.args) if isinstance(a, Node))


def _picked(array: Array, each: int) -> list[int]:
    flat = np.abs(np.asarray(array, np.float64).reshape(-1))
    if flat.size <= max(each, 4):
        return list(range(flat.size))
    largest = int(np.argmax(np.where(np.isnan(flat), np.inf, flat)))
    spread = [int(x) for x in np.linspace(0, flat.size - 1, each)]
    return list(dict.fromkeys([largest, *spread]))[:each]


def _passed(node: Node, argnum: int) -> Contribution:
    argument = node.args[argnum] if 0 <= argnum < len(node.args) else None
    if isinstance(argument, Node):
        for contribution in argument.contributions:
            if contribution.child is node and contribution.argnum == argnum:
                return contribution
    raise ArgumentError(f"cell: {node.name!r} passed nothing to argument {argnum}")


def _latex(node: Node, argnum: int) -> str:
    assert node.op is not None
    if argnum == FORWARD:
        return r"\sum_k \arg{0}[i,k] \cdot \arg{1}[k,j]" if node.op is REGISTRY["matmul"] else ""
    return rf"\sum_j \up[j] \cdot \frac{{\partial\, \out[j]}}{{\partial\, \arg{{{argnum}}}[i]}}"


# Contributions


def _backward(node: Node, argnum: int, place: int) -> list[Term]:
    op, delta = node.op, node.cotangent
    assert op is not None and delta is not None
    if isinstance(op, Elementwise):
        slope = _slope(node, argnum, place)
        up = Operand(float(delta.reshape(-1)[place]), node, "delta", place)
        return [Term(up, slope, 0.0 if slope.number == 0 else up.number * slope.number)]
    if op is REGISTRY["matmul"]:
        return _matmul_backward(node, argnum, place)
    column, mask = _column(node, argnum, place)
    found = []
    for j in np.flatnonzero(column.reshape(-1)):
        if mask is not None and not mask.reshape(-1)[j]:
            continue
        up = Operand(float(delta.reshape(-1)[j]), node, "delta", int(j))
        found.append(_product(up, Operand(float(column.reshape(-1)[j]))))
    return found


def _slope(node: Node, argnum: int, place: int) -> Operand:
    """The local derivative of an elementwise op at one element, and where it stands when it is a recorded number."""
    numbers = [np.asarray(a.value).reshape(-1)[place] if isinstance(a, Node) else a for a in node.args]
    tangents: list[Masked | None] = [None] * len(numbers)
    tangents[argnum] = (Tensor(np.asarray(node.dtype.type(1))), None)
    inputs = [Tensor(np.asarray(x)) if isinstance(a, Node) else x for x, a in zip(numbers, node.args, strict=True)]
    pushed = node.op.push(  # type: ignore[union-attr]
        tuple(tangents), Tensor(np.asarray(np.asarray(node.value).reshape(-1)[place])), inputs, {}
    )
    assert pushed is not None
    slope = float(pushed[0]._value)
    if node.op is REGISTRY["mul"]:
        other = node.args[1 - argnum]
        if isinstance(other, Node):
            return Operand(slope, other, "value", place)
    return Operand(slope)


def _column(node: Node, argnum: int, place: int) -> tuple[Array, Array | None]:
    """The derivatives of all results with respect to one element."""
    argument = node.args[argnum]
    if np.size(node.value) > _BIG or np.size(argument.value) > _BIG:
        raise ArgumentError(f"cell: {node.name!r} is too large for a column of its Jacobian")
    unit = np.zeros(argument.shape, argument.dtype)
    unit.reshape(-1)[place] = 1
    tangents: list[Masked | None] = [None] * len(node.args)
    tangents[argnum] = (Tensor(unit), None)
    (pushed,) = Replay().push(node, tangents)
    assert pushed is not None
    return np.asarray(pushed[0]._value), None if pushed[1] is None else np.asarray(pushed[1]._value)


def _matmul_backward(node: Node, argnum: int, place: int) -> list[Term]:
    x, y = node.args
    where = np.unravel_index(place, (x, y)[argnum].shape)
    batch, delta = where[:-2], np.asarray(node.cotangent)
    pairs: list[tuple[Any, Any, Node]] = []
    if argnum == 0:  # [m, k]: sum over n of delta[m, n] y[k, n]
        m, k = where[-2:]
        pairs = [((*batch, m, n), (*batch, k, n), y) for n in range(delta.shape[-1])]
    else:  # [k, n]: sum over m of x[m, k] delta[m, n]
        k, n = where[-2:]
        pairs = [((*batch, m, n), (*batch, m, k), x) for m in range(delta.shape[-2])]
    return [
        _product(Operand(float(delta[up]), node, "delta", _flat(up, delta.shape)), _operand(other, at))
        for up, at, other in pairs
    ]


# Values


def _forward(node: Node, place: int) -> list[Term]:
    op = node.op
    assert op is not None
    if op is REGISTRY["matmul"]:
        x, y = node.args
        *batch, m, n = np.unravel_index(place, node.shape)
        return [_product(_operand(x, (*batch, m, k)), _operand(y, (*batch, k, n))) for k in range(x.shape[-1])]
    if isinstance(op, Elementwise):
        return _forward_elementwise(node, place)
    if isinstance(op, LinearOp) and any(node.wanted):
        unit = np.zeros(node.shape, node.dtype)
        unit.reshape(-1)[place] = 1
        if np.size(node.value) > _BIG or np.size(node.args[0].value) > _BIG:
            raise ArgumentError(f"cell: {node.name!r} is too large for a row of its matrix")
        row = np.asarray(Replay().pull(node, [(Tensor(unit), None)])[0][0]._value).reshape(-1)
        found = []
        for j in np.flatnonzero(row):
            operand = Operand(float(np.asarray(node.args[0].value).reshape(-1)[j]), node.args[0], "value", int(j))
            factor = float(row[j])
            found.append(Term(operand, None if factor == 1 else Operand(factor), operand.number * factor))
        return found
    raise ArgumentError(f"cell: an element of {op.name} is no sum of products")


def _forward_elementwise(node: Node, place: int) -> list[Term]:
    assert node.op is not None
    operands = [
        Operand(float(np.asarray(a.value).reshape(-1)[place]), a, "value", place)
        if isinstance(a, Node)
        else Operand(float(a))
        for a in node.args
    ]
    result = float(np.asarray(node.value).reshape(-1)[place])
    if node.op is REGISTRY["mul"]:
        return [_product(*operands)]
    if node.op in (REGISTRY["add"], REGISTRY["sub"]):
        sign = 1.0 if node.op is REGISTRY["add"] else -1.0
        first, second = operands
        return [
            Term(first, None, first.number),
            Term(second, None if sign == 1 else Operand(-1.0), sign * second.number),
        ]
    if len(operands) == 1:
        return [Term(operands[0], None, result, node.op.name)]
    return [Term(operands[0], operands[1], result, node.op.name)] if len(operands) == 2 else [
        Term(operands[1], operands[2], result, node.op.name)
    ]  # fmt: skip


def _operand(node: Node, at: Sequence[Any]) -> Operand:
    value = np.asarray(node.value)
    return Operand(float(value[tuple(at)]), node, "value", _flat(at, value.shape))


def _flat(at: Sequence[Any], shape: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(tuple(int(i) for i in at), shape)) if shape else 0


def _product(left: Operand, right: Operand) -> Term:
    return Term(left, right, left.number * right.number)


def _cut(terms: list[Term]) -> tuple[Term, ...]:
    """At most 64 terms: the largest in their order, and one for the sum of the others."""
    if len(terms) <= _MOST:
        return tuple(terms)
    size = sorted(range(len(terms)), key=lambda i: -abs(terms[i].product))
    kept = sorted(size[: _MOST - 1])
    rest = sum(terms[i].product for i in size[_MOST - 1 :])
    return (*(terms[i] for i in kept), Term(Operand(rest), None, rest, f"{len(terms) - len(kept)} smaller terms"))
