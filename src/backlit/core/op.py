"""What an op is: the families, `bind`, and the registry.

A cotangent or tangent travels with an optional mask, true where it is structurally nonzero: an element
that was not selected stays exactly zero, whatever the local derivative says (no 0 * inf).
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import numpy as np

from backlit.core.dtypes import promote
from backlit.core.errors import DTypeError, RuleError, ShapeError
from backlit.core.source import Source, user_source
from backlit.core.tensor import Box, Tensor, as_tensor, recording

Value = Any  # a Tensor, or a Python number standing for a literal
Masked = tuple[Value, Value]  # a (co)tangent and its mask; the mask None where nothing is known to be zero
REGISTRY: dict[str, Op] = {}
_ids = itertools.count()
_SCALARS = (bool, int, float)


class Missing:
    """Stands for a value that a rule did not declare in `reads`; touching it is an error."""

    def __init__(self, op: str, name: str) -> None:
        self.__dict__["_what"] = (op, name)

    def _raise(self, *_: Any, **__: Any) -> Any:
        op, name = self.__dict__["_what"]
        raise RuleError(f"{op}: its rule touches {name!r}, which reads() does not name")

    __getattr__ = __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _raise
    __truediv__ = __rtruediv__ = __neg__ = __pow__ = __gt__ = __lt__ = __matmul__ = _raise


class Node:
    """One op in the recorded graph: parents, residuals and the user's line.

    A leaf has no op and holds its tensor. `level` is 0 for the imperative graph.
    """

    __slots__ = ("id", "op", "parents", "inputs", "out", "params", "source", "shape", "dtype", "level",
                 "tensor", "hooks", "retain", "__weakref__")  # fmt: skip

    def __init__(self, op: Op | None, parents: tuple[Any, ...], params: dict[str, Any], level: int) -> None:
        self.id = next(_ids)
        self.op = op
        self.parents = parents
        self.inputs: tuple[Any, ...] | None = ()
        self.out: Any = None
        self.params = params
        self.source: Source | None = None
        self.shape: tuple[int, ...] = ()
        self.dtype: Any = None
        self.level = level
        self.tensor: Any = None
        self.hooks: list[Callable[[Any], Any]] | None = None
        self.retain = False

    def __repr__(self) -> str:
        name = "leaf" if self.op is None else self.op.name
        return f"{name} {self.dtype}{list(self.shape)}" + (f" at {self.source}" if self.source else "")


def node_of(x: Tensor) -> Node | None:
    """The node of a level-0 tensor; a leaf gets one the first time."""
    if x.node is None and x.requires_grad:
        node = Node(None, (), {}, 0)
        node.shape, node.dtype, node.tensor = x.shape, x.dtype, x
        x.node = node
    return cast("Node | None", x.node)


def record_node(
    op: Op, parents: tuple[Any, ...], inputs: tuple[Any, ...], out: Any, params: dict[str, Any], level: int
) -> Node:
    """A node that keeps the inputs and output which the rules of the wanted arguments read."""
    node = Node(op, parents, params, level)
    wanted = tuple(p is not None for p in parents)
    kept = op.kept(wanted)
    if kept is None:
        node.inputs, node.out = inputs, out
    else:
        node.inputs = tuple(
            x if op.input_name(i) in kept or x.__class__ in _SCALARS else Missing(op.name, op.input_name(i))
            for i, x in enumerate(inputs)
        )
        node.out = out if "out" in kept else Missing(op.name, "out")
    node.shape, node.dtype = out.shape, out.dtype
    node.source = user_source()
    return node


def bind(op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
    """Applies `op`: computed at once, or handed to the highest trace among the arguments."""
    trace = None
    wanted = False
    values = []
    for a in args:
        if isinstance(a, Tensor):
            v = a._value
            if isinstance(v, Box) and (trace is None or v.trace.level > trace.level):
                trace = v.trace
            wanted = wanted or a.requires_grad
            values.append(v)
        else:
            values.append(a)
    if trace is not None:
        trace.check_alive()
        return trace.process(op, args, params)  # type: ignore[no-any-return]
    with np.errstate(all="ignore"):
        out = op.forward(*values, **params)
    result = Tensor(out)
    if wanted and op.differentiable and recording.get() and out.dtype.kind in "fcV":
        parents = tuple(node_of(a) if isinstance(a, Tensor) else None for a in args)
        result.node = record_node(op, parents, tuple(values), out, params, 0)
        result.requires_grad = True
    return result


class Op(ABC):
    """A primitive: everything known about it stands in its class."""

    name: ClassVar[str]
    notation: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ("x", "y", "z")
    variadic: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    forward: Callable[..., Any]

    def __init__(self) -> None:
        self._kept: dict[tuple[bool, ...], frozenset[str] | None] = {}

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        prepared = tuple(a if isinstance(a, Tensor) or a.__class__ in _SCALARS else as_tensor(a) for a in args)
        return bind(self, self.prepare(prepared, params), params)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        """Checks and aligns the arguments; raises before anything is computed."""
        return tuple(as_tensor(a) for a in args)

    def input_name(self, argnum: int) -> str:
        """The name under which `reads` speaks of argument `argnum`."""
        return "x" if self.variadic else self.inputs[argnum]

    def reads(self, argnum: int) -> frozenset[str] | None:
        """Names of the inputs and output that this argument's cotangent reads; None means all."""
        return None

    def kept(self, wanted: tuple[bool, ...]) -> frozenset[str] | None:
        """What must be kept when the cotangents of the `wanted` arguments will be asked for."""
        if wanted not in self._kept:
            names: frozenset[str] | None = frozenset()
            for argnum, w in enumerate(wanted):
                if w and names is not None:
                    read = self.reads(argnum)
                    names = None if read is None else names | read
            self._kept[wanted] = names
        return self._kept[wanted]

    @abstractmethod
    def pull(
        self, wanted: tuple[bool, ...], cotangent: Value, mask: Value, out: Value, inputs: tuple[Value, ...],
        params: dict[str, Any],
    ) -> tuple[Masked | None, ...]:  # fmt: skip
        """Cotangent of `out` to cotangents of the inputs, each with its mask."""

    @abstractmethod
    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: tuple[Value, ...], params: dict[str, Any]
    ) -> Masked | None:
        """Tangents of the inputs (None where zero) to the tangent of `out`."""

    @abstractmethod
    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        """The op on arguments whose `batched` ones carry an extra leading axis; so does the result."""

    def samples(self) -> list[tuple[Any, ...]]:
        """Arguments for the generated tests: (shapes or arrays, params)."""
        return []


class Elementwise(Op):
    """An op on aligned arrays, element by element: `forward`, `partial` and perhaps `live`."""

    def partial(self, argnum: int, out: Value, *inputs: Value) -> Value:
        """Derivative of `out` with respect to argument `argnum`; a Python number where constant."""
        raise RuleError(f"{self.name}: no derivative is declared for argument {argnum}")

    def live(self, argnum: int, out: Value, *inputs: Value) -> Value:
        """Where argument `argnum` was selected; None when the op selects nothing."""
        return None

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        if len(args) == 1:
            return args if isinstance(args[0], Tensor) else (as_tensor(args[0]),)
        tensors = [a for a in args if isinstance(a, Tensor)]
        if not tensors:
            return (as_tensor(args[0]), *args[1:])
        shape, dtype = tensors[0].shape, tensors[0].dtype
        if all(t.shape == shape and t.dtype == dtype for t in tensors[1:]):
            return args
        return self.align(args, tensors)

    def align(self, args: tuple[Any, ...], tensors: list[Tensor]) -> tuple[Any, ...]:
        """Broadcasts and promotes to a common shape and dtype."""
        try:
            shape = np.broadcast_shapes(*(t.shape for t in tensors))
        except ValueError:
            shown = ", ".join(f"{t.dtype}{list(t.shape)}" for t in tensors)
            raise ShapeError(f"{self.name}: shapes do not broadcast: {shown}; see reshape and expand_dims") from None
        numeric = [t for t in tensors if t.dtype != bool] or tensors
        dtype = numeric[0].dtype
        for t in numeric[1:]:
            dtype = promote(dtype, t.dtype)
        aligned = []
        for i, a in enumerate(args):
            if isinstance(a, Tensor):
                if a.dtype != dtype and not self.is_condition(i):
                    a = REGISTRY["astype"](a, dtype=dtype)
                if a.shape != shape:
                    a = REGISTRY["broadcast_to"](a, shape=shape)
            aligned.append(a)
        return tuple(aligned)

    def is_condition(self, argnum: int) -> bool:
        """Whether this argument keeps its own dtype."""
        return False

    def pull(self, wanted, cotangent, mask, out, inputs, params):  # type: ignore[no-untyped-def]
        result: list[Masked | None] = []
        for argnum, w in enumerate(wanted):
            result.append(self._scaled(argnum, cotangent, mask, out, inputs) if w else None)
        return tuple(result)

    def _scaled(self, argnum: int, cotangent: Value, mask: Value, out: Value, inputs: tuple[Value, ...]) -> Masked:
        partial = self.partial(argnum, out, *inputs)
        live = self.live(argnum, out, *inputs)
        if live is not None:
            mask = live if mask is None else REGISTRY["logical_and"](mask, live)
        if partial.__class__ is float and partial == 1.0:
            value = cotangent
        else:
            value = cotangent * partial
        if mask is not None:
            value = REGISTRY["where"](mask, value, 0.0)
        return value, mask

    def push(self, tangents, out, inputs, params):  # type: ignore[no-untyped-def]
        total: Masked | None = None
        for argnum, t in enumerate(tangents):
            if t is not None:
                total = add_masked(total, self._scaled(argnum, t[0], t[1], out, inputs))
        return total

    def batch(self, size, args, batched, params):  # type: ignore[no-untyped-def]
        return self(*args, **params)


class LinearOp(Op):
    """An op linear in argument 0: `forward` and `transpose`; the JVP is the op itself.

    `sparse` says that `forward` leaves structural zeros, `sparse_transpose` that the transpose does.
    """

    sparse: ClassVar[bool] = False
    sparse_transpose: ClassVar[bool] = False

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset(self.inputs[1:])

    @abstractmethod
    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        """Cotangent of `out` to the cotangent of `x`, of which only shape and dtype are known."""

    def pull(self, wanted, cotangent, mask, out, inputs, params):  # type: ignore[no-untyped-def]
        raise RuleError(f"{self.name}: pulled through pull_shaped")

    def pull_shaped(self, cotangent: Value, mask: Value, x: Any, rest: tuple[Value, ...], params: Any) -> Masked:
        """`pull` for the linear argument, whose `shape` and `dtype` the parent node knows."""
        value = self.transpose(cotangent, x, *rest, **params)
        if mask is None and not self.sparse_transpose:
            return value, None
        lifted = ones_like(cotangent) if mask is None else REGISTRY["astype"](mask, dtype=cotangent.dtype)
        return value, REGISTRY["not_equal"](self.transpose(lifted, x, *rest, **params), 0.0)

    def push(self, tangents, out, inputs, params):  # type: ignore[no-untyped-def]
        if tangents[0] is None:
            return None
        t, mask = tangents[0]
        value = self(t, *inputs[1:], **params)
        if mask is None and not self.sparse:
            return value, None
        lifted = ones_like(t) if mask is None else REGISTRY["astype"](mask, dtype=t.dtype)
        return value, REGISTRY["not_equal"](self(lifted, *inputs[1:], **params), 0.0)


def ones_like(x: Value) -> Tensor:
    """Ones of the shape and dtype of `x`."""
    return Tensor(np.ones(x.shape, x.dtype))


def add_masked(a: Masked | None, b: Masked | None) -> Masked | None:
    """Sum at a merge; an element is structurally zero where both are."""
    if a is None or b is None:
        return b if a is None else a
    mask = None if a[1] is None or b[1] is None else REGISTRY["logical_or"](a[1], b[1])
    return a[0] + b[0], mask


def pull_node(node: Node, wanted: tuple[bool, ...], cotangent: Masked, out: Value, inputs: tuple[Value, ...]) -> Any:
    """The contributions of one node to its parents."""
    op = cast(Op, node.op)
    if isinstance(op, LinearOp):
        first = op.pull_shaped(cotangent[0], cotangent[1], node.parents[0], inputs[1:], node.params)
        return (first, *(None for _ in inputs[1:]))
    return op.pull(wanted, cotangent[0], cotangent[1], out, inputs, node.params)


def declare(cls: type[Op]) -> Any:
    """Makes the op callable and puts it in the registry."""
    op = cls()
    if op.name in REGISTRY:
        raise RuleError(f"declare: an op named {op.name!r} exists already")
    REGISTRY[op.name] = op
    return op


def check_float(name: str, x: Tensor) -> None:
    """Raises when `x` is of a dtype that has no gradient."""
    if x.dtype.kind not in "fcV":
        raise DTypeError(f"{name}: {x.dtype}{list(x.shape)} has no gradient; use .astype('float32')")
