"""What an op is: the families, `bind`, and the registry.

A cotangent or tangent travels with an optional mask, true where it is structurally nonzero: an element
that was not selected stays exactly zero, whatever the local derivative says (no 0 * inf).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from inspect import Parameter, Signature, signature
from types import FunctionType
from typing import Any, ClassVar, cast

import numpy as np

from backlit.core import record, staging
from backlit.core.aval import Aval
from backlit.core.dtypes import bfloat16, complex_dtype, default_dtype, is_float, promote
from backlit.core.errors import BacklitError, DTypeError, RuleError, ShapeError
from backlit.core.graph import Cut, Node, Plan
from backlit.core.quiet import silence, variable
from backlit.core.source import here, user_source
from backlit.core.tensor import Box, Tensor, as_tensor, muted, tensor

Value = Any  # a Tensor, or a Python number standing for a literal
Masked = tuple[Value, Value]  # a (co)tangent and its mask; the mask None where nothing is known to be zero
REGISTRY: dict[str, Op] = {}
NUMBERS = frozenset({bool, int, float, complex})
_REAL_NUMBERS = NUMBERS - {complex}
_set_quiet, _reset_quiet = variable.set, variable.reset
_NAMES = {1: ("x",), 2: ("x1", "x2"), 3: ("condition", "x1", "x2")}
_NO_PARAMS: dict[str, Any] = {}


def bind(op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
    """Applies `op` to prepared arguments: computed at once, or handed to the highest trace among them."""
    cut = None
    wanted = 0  # bit i: argument i has a node
    values: list[Any] = []
    ups: list[Node] = []
    for a in args:
        if isinstance(a, Tensor):
            if (node := a.node) is not None:
                if node.__class__ is Node:
                    wanted |= 1 << len(values)
                    ups.append(node)
                else:
                    cut = node
            v = a._value
            if isinstance(v, Box):
                return _process(op, args, params)
            values.append(v)
        else:
            values.append(a)
    if staging.active and (trace := staging.current()) is not None:
        return trace.process(op, args, params)  # type: ignore[no-any-return]
    token = _set_quiet(silence)
    try:
        out = record.timed(op, values, params, bool(wanted)) if record.active else op.forward(*values, **params)
    except (TypeError, ValueError) as error:
        raise _refused(op, args, error) from error
    finally:
        _reset_quiet(token)
    if wanted:
        return _recorded(op, wanted, ups, values, out, params, args)
    made = Tensor(out, cut)
    return record.told(op, made, args, params) if record.active else made


def _recorded(
    op: Op, wanted: int, ups: list[Node], values: list[Any], out: Any, params: dict[str, Any], args: tuple[Any, ...]
) -> Tensor:
    dtype = out.dtype
    if not op.differentiable or dtype.kind not in "fcV" or muted.get():
        made = Tensor(out, Cut("no_grad", ups[0]) if op.differentiable and dtype.kind in "fcV" else None)
        return record.told(op, made, args, params) if record.active else made
    node = record_node(op, wanted, ups, values, out, params)
    result = Tensor(out, node)
    if record.active:
        for listener in record.current():
            listener.recorded(node, result, args)
    return result


def _refused(op: Op, args: tuple[Any, ...], error: Exception) -> Exception:
    """The error for operands that NumPy refuses, such as a negated boolean."""
    if isinstance(error, BacklitError):
        return error
    operands = ", ".join(shown(a) if isinstance(a, Tensor) else repr(a) for a in args)
    return DTypeError(f"{op.name}: cannot be applied to {operands} ({error}); use .astype{here()}")


def _process(op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
    traces = [a._value.trace for a in args if isinstance(a, Tensor) and isinstance(a._value, Box)]
    trace = max(traces, key=lambda t: t.level)
    trace.check_alive(op)
    return trace.process(op, args, params)  # type: ignore[no-any-return]


def record_node(op: Op, wanted: int, ups: list[Node], inputs: list[Any], out: Any, params: dict[str, Any]) -> Node:
    """A node that keeps the inputs and output which the rules of the wanted arguments (its bits) read."""
    plan = op.plans.get(wanted) or op.make_plan(wanted, len(inputs))
    for i, missing in plan.unread:
        if inputs[i].__class__ not in NUMBERS:
            inputs[i] = missing
    up = ups[0] if len(ups) == 1 else tuple(ups)
    return Node(plan, up, tuple(inputs), plan.unread_out or out, params, out.shape, out.dtype, user_source(4))


class Op(ABC):
    """A primitive: everything known about it stands in its class.

    A plain op states `forward`, `vjp`, `jvp` and `batch`. Arrays are positional, parameters keyword-only.
    """

    name: ClassVar[str]
    notation: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ("x", "y", "z")
    fixed_arity: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    guarded: ClassVar[tuple[str, ...]] = ()  # the compiler looks at nothing in an op: plans are made as they are needed
    forward: Callable[..., Any]

    def __init__(self) -> None:
        self.plans: dict[int, Plan] = {}

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        return bind(self, self.prepare(args, params), params)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        """Checks and aligns the arguments; raises before anything is computed."""
        return tuple(as_tensor(a) for a in args)

    @property
    def __signature__(self) -> Signature:
        """Arrays by position, under the names of the array API, and the parameters of `forward` by keyword."""
        given = list(signature(self.forward).parameters.values()) if isinstance(self.forward, FunctionType) else []
        if any(p.kind is p.VAR_POSITIONAL for p in given):
            arrays = [Parameter(self.inputs[0] + "s", Parameter.VAR_POSITIONAL)]
        else:
            names = _NAMES.get(len(self.samples()[0][0]), self.inputs)
            arrays = [Parameter(name, Parameter.POSITIONAL_ONLY) for name in names]
        return Signature([*arrays, *(p for p in given if p.kind is p.KEYWORD_ONLY)])

    def input_name(self, argnum: int) -> str:
        """The name under which `reads` speaks of argument `argnum`."""
        return self.inputs[min(argnum, len(self.inputs) - 1)]

    def reads(self, argnum: int) -> frozenset[str] | None:
        """Names of the inputs and output that this argument's cotangent reads; None means all."""
        return None

    @abstractmethod
    def abstract(self, *avals: Any, **params: Any) -> Aval:
        """Shape and dtype of the result for prepared arguments; a Python number stands for itself."""

    def make_plan(self, wanted: int, n_inputs: int) -> Plan:
        """The plan for gradients of the arguments in the bits of `wanted`; kept unless the arity varies."""
        plan = Plan(self, tuple(bool(wanted >> i & 1) for i in range(n_inputs)), self.reads)
        if self.fixed_arity:
            self.plans[wanted] = plan
        return plan

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        """Floating-point operations of one application to arrays of these shapes; None where they are not known.

        Two for each product in a sum, one for each element that any other op computes or reduces, none for what only moves.
        """
        return None

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        """Cotangent of `out` to cotangents of the inputs, None where not wanted."""
        raise RuleError(f"{self.name}: no reverse rule is declared")

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        """Tangents of the inputs (None where zero) to the tangent of `out`."""
        raise RuleError(f"{self.name}: no forward-mode rule is declared")

    def contributions(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> Sequence[Any]:
        """What one node passes back to the arguments in its plan's `argnums`."""
        pulled = self.pull(cotangent, out, inputs, node)
        plan = cast(Plan, node.plan)
        if len(pulled) != len(plan.wanted):
            raise RuleError(
                f"{self.name}: its reverse rule gave {len(pulled)} cotangents for {len(plan.wanted)} arguments "
                f"({node}){here()}"
            )
        return [pulled[i] for i in plan.argnums]

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        """The reverse rule with masks; a plain op ends the mask, for its cotangent is zero where it is false."""
        found = self.vjp(cast(Plan, node.plan).wanted, cotangent[0], out, inputs, **node.params)
        return tuple([None if c is None else (c, None) for c in found])

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        """The forward-mode rule with masks."""
        return self.jvp(tuple(None if t is None else t[0] for t in tangents), out, inputs, **params), None

    @abstractmethod
    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        """The op on arguments whose `batched` ones carry an extra leading axis; so does the result."""

    def samples(self) -> list[tuple[Any, ...]]:
        """Arguments for the generated tests: (shapes or arrays, params)."""
        return []

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Elementwise(Op):
    """An op on aligned arrays, element by element: `forward`, `partial` and perhaps `live`.

    Of complex numbers `partial` is the complex derivative: forward mode multiplies by it, reverse mode by its conjugate
    (the transpose for the real inner product Re(conj(a) b)), as PyTorch does. An op that is not `holomorphic` has a
    real `out`, which changes by Re(partial dx).
    """

    selects: ClassVar[bool] = False
    holomorphic: ClassVar[bool] = True

    def __call__(self, *args: Any) -> Tensor:
        # `prepare` and `bind` in one pass, for arguments of one dtype that are aligned already, or that NumPy may
        # broadcast because nothing is recorded; all others take the two
        first = cut = None
        wanted = 0
        broadcasts = weak = False
        values: list[Any] = []
        ups: list[Node] = []
        for a in args:
            if isinstance(a, Tensor):
                v = a._value
                if first is None:
                    first = v
                elif v.dtype != first.dtype:
                    break
                elif v.shape != first.shape:
                    broadcasts = True
                if isinstance(v, Box):
                    break
                if (node := a.node) is not None:
                    if node.__class__ is Node:
                        wanted |= 1 << len(values)
                        ups.append(node)
                    else:
                        cut = node
                values.append(v)
            elif a.__class__ in _REAL_NUMBERS:
                weak = True
                values.append(a)
            else:
                break
        else:
            if (
                first is not None
                and not (broadcasts and wanted)
                and not staging.active
                and not (weak and first.dtype.kind == "V")
            ):
                token = _set_quiet(silence)
                try:
                    out = record.timed(self, values, _NO_PARAMS) if record.active and wanted else self.forward(*values)
                except (TypeError, ValueError) as error:
                    self.align(args)  # which raises when it is for the shapes
                    raise _refused(self, args, error) from error
                finally:
                    _reset_quiet(token)
                if wanted:
                    return _recorded(self, wanted, ups, values, out, _NO_PARAMS, args)
                made = Tensor(out, cut)
                return record.told(self, made, args, _NO_PARAMS) if record.active else made
        args = self.prepare(args, _NO_PARAMS)
        return bind(self, args, _NO_PARAMS) if float not in map(type, args) else self._beside_float(args)

    def _beside_float(self, args: tuple[Any, ...]) -> Tensor:
        """The op on prepared arguments, one of them a Python float, which NumPy does not take as weak beside bfloat16."""
        if next(a.dtype for a in args if isinstance(a, Tensor)) != bfloat16:
            return bind(self, args, _NO_PARAMS)
        cast = REGISTRY["astype"]
        wide = [
            cast(a, dtype=np.float32) if isinstance(a, Tensor) else float(bfloat16.type(a)) if type(a) is float else a
            for a in args
        ]
        out = bind(self, tuple(wide), _NO_PARAMS)
        return cast(out, dtype=bfloat16) if out.dtype == np.float32 else out

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        shape = next(a.shape for a in avals if a.__class__ is Aval)
        operands = [a.dtype if a.__class__ is Aval else a for a in avals]
        try:
            return Aval(shape, _dtype_of(self, *operands))
        except TypeError as error:
            named = ", ".join(map(str, operands))
            raise DTypeError(f"{self.name}: cannot be applied to {named} ({error}); use .astype{here()}") from error

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(out)

    def partial(self, argnum: int, out: Value, *inputs: Value) -> Value:
        """Derivative of `out` with respect to argument `argnum`; a Python number where constant."""
        raise RuleError(f"{self.name}: no derivative is declared for argument {argnum}")

    def live(self, argnum: int, out: Value, *inputs: Value) -> Value:
        """Where argument `argnum` was selected, for an op that `selects`."""
        raise RuleError(f"{self.name}: no selection is declared for argument {argnum}")

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        first = None
        imaginary = False
        for a in args:
            if not isinstance(a, Tensor):
                if a.__class__ not in NUMBERS:
                    return self.prepare(operands(args), params)
                imaginary |= a.__class__ is complex
            elif first is None:
                first = a
                shape, dtype = a._value.shape, a._value.dtype
            elif a._value.shape != shape or a._value.dtype != dtype:
                return self.align(args)
        if first is None:
            return self.prepare((as_tensor(args[0]), *args[1:]), params)
        return self.align(args) if imaginary and dtype.kind != "c" else args

    def align(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Broadcasts and promotes to a common shape and dtype."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        try:
            shape = _common_shape([t.shape for t in tensors])
        except ValueError:
            raise ShapeError(
                f"{self.name}: shapes do not broadcast: {' and '.join(map(shown, tensors))}; "
                f"see reshape and expand_dims{here()}"
            ) from None
        free = [a for i, a in enumerate(args) if isinstance(a, Tensor) and not self.is_condition(i)]
        numeric = [t for t in free if t.dtype != bool] or free
        dtype = numeric[0].dtype
        for t in numeric[1:]:
            dtype = promote(dtype, t.dtype)
        if complex in map(type, args):
            dtype = complex_dtype(dtype)
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

    def contributions(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> Sequence[Any]:
        value, mask = cotangent
        argnums = node.plan.argnums
        turned = node.dtype.kind == "c" or not self.holomorphic
        if mask is None and len(argnums) == 1 and not self.selects:
            partial = self.partial(argnums[0], out, *inputs)
            if turned:
                partial = _conjugate(partial)
            plain = partial.__class__ is float and partial == 1.0
            return ((value if plain else value * partial, None),)
        return [self._scaled(i, value, mask, out, inputs, turned) for i in argnums]

    def _scaled(
        self, argnum: int, value: Value, mask: Value, out: Value, inputs: Sequence[Value], turned: bool
    ) -> Masked:
        """`value` times the partial, or times its conjugate where `turned`."""
        partial = self.partial(argnum, out, *inputs)
        if turned:
            partial = _conjugate(partial)
        if self.selects:
            live = self.live(argnum, out, *inputs)
            mask = live if mask is None else REGISTRY["logical_and"](mask, live)
        elif partial.__class__ is float:  # a finite constant keeps zeros zero by itself
            return (value if partial == 1.0 else value * partial), mask
        if partial.__class__ is not float or partial != 1.0:
            value = value * partial
        return (value if mask is None else REGISTRY["where"](mask, value, 0.0)), mask

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        total: Masked | None = None
        for argnum, t in enumerate(tangents):
            if t is not None:
                value, mask = self._scaled(argnum, t[0], t[1], out, inputs, False)
                total = add_masked(total, (value if self.holomorphic else REGISTRY["real"](value), mask))
        return total

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(*args, **params)  # aligned per example, so leading axes line up


def _conjugate(partial: Value) -> Value:
    if isinstance(partial, Tensor):
        return REGISTRY["conj"](partial) if partial.dtype.kind == "c" else partial
    return partial.conjugate() if partial.__class__ is complex else partial


def operands(args: Sequence[Any]) -> tuple[Any, ...]:
    """Arguments as tensors, numbers as they are; the floats of a list take the dtype of a float array beside it."""
    made = [a if a.__class__ in NUMBERS or isinstance(a, (list, tuple)) else as_tensor(a) for a in args]
    beside = next((a.dtype for a in made if isinstance(a, Tensor) and is_float(a.dtype)), None)
    return tuple([_listed(a, beside) if isinstance(a, (list, tuple)) else a for a in made])


def _listed(data: Any, beside: np.dtype[Any] | None) -> Tensor:
    x = as_tensor(data)
    rounded = beside is not None and x.node is None and x.dtype == default_dtype() and x.dtype != beside
    return tensor(data, dtype=beside) if rounded and np.asarray(data).dtype == np.float64 else x


def _common_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    common: tuple[int, ...] = ()
    for shape in shapes:
        if shape and shape != common:
            if common:
                return np.broadcast_shapes(*shapes)  # 3 microseconds, which one array with scalars need not pay
            common = shape
    return common


@lru_cache(maxsize=4096, typed=True)
def _dtype_of(op: Elementwise, *operands: Any) -> np.dtype[Any]:
    """The dtype of the result for arrays of these dtypes and these numbers: NumPy's promotion, asked for one element."""
    with np.errstate(all="ignore"):
        out = op.forward(*(np.ones(1, a) if isinstance(a, np.dtype) else a for a in operands))
    return out.dtype  # type: ignore[no-any-return]


class LinearOp(Op):
    """An op linear in argument 0: `forward` and `transpose`; the JVP is the op itself.

    `sparse` says that `forward` leaves structural zeros, `sparse_transpose` that the transpose does. Masks go
    through the same two maps: a result is structurally zero where nothing live reaches it.
    """

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    sparse: ClassVar[bool] = False
    sparse_transpose: ClassVar[bool] = False

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset(self.inputs[1:])

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @abstractmethod
    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        """Cotangent of `out` to the cotangent of `x`, of which only shape and dtype are known."""

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), x, rest = cotangent, node.up, inputs[1:]
        pulled = self.transpose(value, x, *rest, **node.params)
        if x.plan is None:  # a leaf has no use for a mask
            mask = None
        elif mask is not None or self.sparse_transpose:
            alive = ones(node.shape) if mask is None else mask
            mask = truth(self.transpose(alive, Struct(x.shape), *rest, **node.params))
        return ((pulled, mask), *(None for _ in rest))

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        if tangents[0] is None:
            return None
        value, mask = tangents[0]
        pushed = self(value, *inputs[1:], **params)
        if mask is not None or self.sparse:
            mask = truth(self(ones(value.shape) if mask is None else mask, *inputs[1:], **params))
        return pushed, mask


class Struct:
    """Shape and dtype of a mask."""

    __slots__ = ("shape",)
    dtype = np.dtype(bool)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def ones(shape: tuple[int, ...]) -> Tensor:
    """A mask that is true everywhere."""
    return Tensor(np.ones(shape, bool))


def truth(x: Tensor) -> Tensor:
    """Where `x` is not zero."""
    return x if x.dtype == bool else REGISTRY["not_equal"](x, 0)


def shown(x: Any) -> str:
    """Dtype, shape and origin of a tensor, for an error message."""
    made = f" made at {x.node.source}" if x.node.__class__ is Node and x.node.where else ""
    return f"{x.dtype}{list(x.shape)}{made}"


def add_masked(a: Masked | None, b: Masked | None) -> Masked | None:
    """Sum at a merge; an element is structurally zero where both are."""
    if a is None or b is None:
        return b if a is None else a
    mask = None if a[1] is None or b[1] is None else REGISTRY["logical_or"](a[1], b[1])
    return REGISTRY["add"](a[0], b[0]), mask


def declare(cls: type[Op]) -> Op:
    """Makes the op callable and puts it in the registry."""
    op = cls()
    if op.name in REGISTRY:
        raise RuleError(f"declare: an op named {op.name!r} exists already")
    REGISTRY[op.name] = op
    return op
