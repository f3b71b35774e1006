"""Rules of one's own: custom_vjp and custom_jvp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np

from backlit.autodiff.batch import BatchBox, BatchTrace, vmap
from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.reverse import GradTrace, vjp
from backlit.autodiff.trace import highest, zeros
from backlit.autodiff.walk import Joint, recorded_jointly
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import RuleError
from backlit.core.graph import Cut, Node
from backlit.core.op import Masked, Value, shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor, muted, no_grad


class Custom(ABC):
    """What both decorators share: the arguments' leaves, and what happens at each kind of trace."""

    kind = ""
    exact = True  # whether the rule is meant to be the derivative of `f`

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f
        update_wrapper(self, f)

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self.f, "__name__", type(self.f).__name__)

    def __call__(self, *args: Any) -> Any:
        self._check()
        leaves, structure = tree.flatten(args)
        values = [as_tensor(x) if isinstance(x, (np.ndarray, np.generic)) else x for x in leaves]
        trace = highest(values)
        if trace is None or trace.imperative:
            return self._record(values, structure)
        trace.check_alive()
        if isinstance(trace, BatchTrace):
            return self._batch(trace, values, structure)
        if isinstance(trace, JvpTrace):
            return self._push(trace, values, structure)
        if isinstance(trace, GradTrace):
            return self._trace(trace, values, structure)
        return trace.custom(self, values, structure)

    @abstractmethod
    def _check(self) -> None:
        """Raises when no rule is defined."""

    @abstractmethod
    def _joint(self, lowered: list[Any], structure: Any) -> tuple[Any, CustomJoint]:
        """The output on lower values, and the node that pulls back through it."""

    @abstractmethod
    def _batched(self, axes: list[Any], structure: Any) -> Custom:
        """The same function and rule for arguments with or without a leading batch axis."""

    @abstractmethod
    def _push(self, trace: JvpTrace, values: list[Any], structure: Any) -> Any:
        """The call in forward mode."""

    def _record(self, values: list[Any], structure: Any) -> Any:
        parents = [x.node if isinstance(x, Tensor) and isinstance(x.node, Node) else None for x in values]
        if not any(parents):
            return self.f(*tree.unflatten(structure, values))
        lowered = [Tensor(x._value, x.node) if isinstance(x, Tensor) else x for x in values]
        if muted.get():
            out = self.f(*tree.unflatten(structure, lowered))
            cut = Cut("no_grad", next(p for p in parents if p is not None))
            return tree.map(lambda x: Tensor(as_tensor(x)._value, cut), out)
        out, joint = self._joint(lowered, structure)  # recorded, so that residuals keep their path for higher orders
        joint.lowered = lowered
        return self._outs(out, joint, values, parents, lambda value, node: Tensor(value._value, node))

    def _trace(self, trace: GradTrace, values: list[Any], structure: Any) -> Any:
        parents = [None if (b := trace.box(x)) is None else b.extra for x in values]
        lowered = [trace.lower(x) for x in values]
        if muted.get() > trace.level:
            return self(*tree.unflatten(structure, lowered))
        out, joint = self._joint(lowered, structure)
        joint.lowered = lowered
        return self._outs(out, joint, values, parents, lambda value, node: Tensor(Box(trace, value, node)))

    def _outs(
        self,
        out: Any,
        joint: CustomJoint,
        values: list[Any],
        parents: list[Any],
        wrap: Callable[[Tensor, Node], Tensor],
    ) -> Any:
        leaves, structure = tree.flatten(out)
        outs = [as_tensor(x) for x in leaves]
        joint.outs = [(x.shape, x.dtype) for x in outs]
        joint.structure = structure
        joint.n_outs = len(outs)
        return tree.unflatten(structure, recorded_jointly(joint, outs, parents, values, wrap, joint.live(parents)))

    def _batch(self, trace: BatchTrace, values: list[Any], structure: Any) -> Any:
        axes = [0 if trace.box(x) is not None else None for x in values]
        lowered = [trace.lower(x) for x in values]
        out = self._batched(axes, structure)(*tree.unflatten(structure, lowered))
        return tree.map(lambda x: Tensor(BatchBox(trace, x)), out)


class CustomJoint(Joint):
    """One call of a function with a rule of its own."""

    def __init__(self, owner: Custom, structure: Any) -> None:
        super().__init__()
        self.name = owner.name  # type: ignore[misc]
        self.owner = owner
        self.args = structure
        self.lowered: list[Any] = []
        self.outs: list[Any] = []
        self.structure: Any = None
        self.n_outs = 0
        self.residuals: Any = None

    def live(self, parents: Sequence[Node | None]) -> list[bool] | None:
        """Which outputs have derivatives, given the nodes of the arguments; None for all."""
        return None

    @abstractmethod
    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        """Cotangents of the leaves of the arguments, from those of the outputs, None where there is none."""


class _RuleJoint(CustomJoint):
    """One whose rule is written by a user, who gets zeros where there is no cotangent."""

    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        filled = [
            zeros(shape, dtype if is_float(dtype) else "float32") if c is None else c[0]
            for c, (shape, dtype) in zip(cotangent, self.outs, strict=True)
        ]
        found = self.pull_custom(tree.unflatten(self.structure, filled), node)
        return tuple(None if c is None else (c, None) for c in found)

    @abstractmethod
    def pull_custom(self, cotangent: Any, node: Node) -> list[Any]:
        """Cotangents of the leaves of the arguments."""


class _VjpJoint(_RuleJoint):
    def kept(self) -> list[Any]:
        return tree.leaves(self.residuals)

    def pull_custom(self, cotangent: Any, node: Node) -> list[Any]:
        found = self.owner.bwd(self.residuals, cotangent)  # type: ignore[attr-defined]
        n_args = len(self.args.children)
        if not isinstance(found, (tuple, list)) or len(found) != n_args:
            got = len(found) if isinstance(found, (tuple, list)) else type(found).__name__
            raise RuleError(
                f"{self.name}: its bwd rule must return a tuple of {n_args} cotangents, one an argument, got {got} "
                f"({node}){here()}"
            )
        checked: list[Any] = []
        start = 0
        for n, (part, structure) in enumerate(zip(found, self.args.children, strict=True)):
            leaves = tree.leaves(part) if part is not None else [None] * structure.n_leaves
            if len(leaves) != structure.n_leaves:
                raise RuleError(
                    f"{self.name}: its bwd rule gave {len(leaves)} cotangents for the {structure.n_leaves} leaves of "
                    f"argument {n} ({node}){here()}"
                )
            for leaf, x in zip(leaves, self.lowered[start : start + structure.n_leaves], strict=True):
                checked.append(self._check(leaf, x, n, node))
            start += structure.n_leaves
        return checked

    def _check(self, cotangent: Any, x: Any, argnum: int, node: Node) -> Any:
        if cotangent is None or not isinstance(x, Tensor) or not is_float(x.dtype):
            return None
        cotangent = as_tensor(cotangent)
        if cotangent.shape != x.shape or not is_float(cotangent.dtype):
            raise RuleError(
                f"{self.name}: its bwd rule gave {cotangent.dtype}{list(cotangent.shape)} for argument {argnum}, "
                f"{shown(x)} ({node}){here()}"
            )
        return cotangent if cotangent.dtype == x.dtype else cotangent.astype(x.dtype)


class _JvpJoint(_RuleJoint):
    def kept(self) -> list[Any]:
        return self.lowered

    def pull_custom(self, cotangent: Any, node: Node) -> list[Any]:
        owner: custom_jvp = self.owner  # type: ignore[assignment]
        places = [i for i, p in enumerate(node.parents) if p is not None]

        # the rule is linear in the tangents: its own vjp, taken at zero, is its transpose
        def push(*tangents: Any) -> Any:
            filled = [zeros(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in self.lowered]
            for i, t in zip(places, tangents, strict=True):
                filled[i] = t
            return owner.rule(tree.unflatten(self.args, self.lowered), tree.unflatten(self.args, filled))[1]

        _, pullback = vjp(push, *(zeros(self.lowered[i].shape, self.lowered[i].dtype) for i in places))
        found: list[Any] = [None] * len(node.parents)
        for i, c in zip(places, pullback(cotangent), strict=True):
            found[i] = c
        return found


class custom_vjp(Custom):
    """A function whose reverse rule is given: `@custom_vjp`, then `f.defvjp(fwd, bwd)`.

    `fwd(*args)` returns `(out, residuals)`; `bwd(residuals, cotangent)` returns a tuple with one cotangent an
    argument (a tree like it, or None for zero). The rule is written with backlit's functions, so it can be
    differentiated again, and batched. It has no forward mode: `custom_jvp` has both.

    Raises:
      RuleError: at the call, no rule is defined; at the backward, it returns another number of cotangents or one of
        another shape; in forward mode.
    """

    kind = "custom_vjp"

    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__(f)
        self.fwd: Any = None
        self.bwd: Any = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any], exact: bool = True) -> None:
        """Defines the forward that keeps residuals, and the reverse rule.

        `exact=False` says that the rule is not the derivative of the function, on purpose, as in a straight-through
        estimator: `diagnose.balance` does not hold it against its forward.
        """
        self.fwd, self.bwd, self.exact = fwd, bwd, exact

    def _check(self) -> None:
        if self.fwd is None or self.bwd is None:
            raise RuleError(f"custom_vjp {self.name}: no rule yet; call {self.name}.defvjp(fwd, bwd){here()}")

    def _joint(self, lowered: list[Any], structure: Any) -> tuple[Any, CustomJoint]:
        joint = _VjpJoint(self, structure)
        found = self.fwd(*tree.unflatten(structure, lowered))
        if not isinstance(found, tuple) or len(found) != 2:
            raise RuleError(f"{self.name}: its fwd must return (out, residuals), got {type(found).__name__}{here()}")
        out, joint.residuals = found
        return out, joint

    def _push(self, trace: JvpTrace, values: list[Any], structure: Any) -> Any:
        raise RuleError(
            f"custom_vjp {self.name}: it has a reverse rule only; define it with custom_jvp to use jvp{here()}"
        )

    def _batched(self, axes: list[Any], structure: Any) -> Custom:
        in_axes = tree.unflatten(structure, axes)
        made = custom_vjp(_named(vmap(self.f, in_axes=in_axes), self.name))

        def bwd(residuals: Any, cotangent: Any) -> Any:
            rest, parts = iter(axes), []
            for part, children in zip(vmap(self.bwd)(residuals, cotangent), structure.children, strict=True):
                shared = [next(rest) is None for _ in range(children.n_leaves)]
                leaves, its_structure = tree.flatten(part)  # what the examples share gets the sum over them
                summed = [c.sum(axis=0) if s else c for c, s in zip(leaves, shared, strict=bool(leaves))]
                parts.append(tree.unflatten(its_structure, summed))
            return tuple(parts)

        made.defvjp(vmap(self.fwd, in_axes=in_axes), bwd, self.exact)
        return made


class custom_jvp(Custom):
    """A function whose derivative is given: `@custom_jvp`, then `@f.defjvp`.

    The rule `rule(primals, tangents)` returns `(out, out_tangent)`, linear in the tangents and written with backlit's
    functions. Reverse mode comes from transposing it, at the cost of one more run of the rule.

    Raises:
      RuleError: no rule is defined, or it returns another structure or shape.
    """

    kind = "custom_jvp"

    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__(f)
        self.defined: Any = None

    def defjvp(self, rule: Callable[..., Any], exact: bool = True) -> Callable[..., Any]:
        """Defines the rule; gives it back, so it may be used as a decorator. `exact=False` says that it is not the
        derivative of the function, on purpose: `diagnose.balance` does not hold it against its forward."""
        self.defined, self.exact = rule, exact
        return rule

    def _check(self) -> None:
        if self.defined is None:
            raise RuleError(f"custom_jvp {self.name}: no rule yet; call {self.name}.defjvp(rule){here()}")

    def rule(self, primals: Any, tangents: Any) -> tuple[Any, Any]:
        """The defined rule, with its result checked."""
        found = self.defined(primals, tangents)
        if not isinstance(found, tuple) or len(found) != 2:
            raise RuleError(f"{self.name}: its rule must return (out, out_tangent){here()}")
        out, pushed = tree.map(as_tensor, found[0]), tree.map(as_tensor, found[1])
        outs, tangent_outs = tree.leaves(out), tree.leaves(pushed)
        if [x.shape for x in outs] != [t.shape for t in tangent_outs]:
            raise RuleError(
                f"{self.name}: its rule gave the tangents {', '.join(map(shown, tangent_outs))} for the outputs "
                f"{', '.join(map(shown, outs))}{here()}"
            )
        return out, pushed

    def _joint(self, lowered: list[Any], structure: Any) -> tuple[Any, CustomJoint]:
        with no_grad():
            return self.f(*tree.unflatten(structure, lowered)), _JvpJoint(self, structure)

    def _push(self, trace: JvpTrace, values: list[Any], structure: Any) -> Any:
        lowered = [trace.lower(x) for x in values]
        tangents = [
            b.extra[0]
            if (b := trace.box(x)) is not None
            else (zeros(x.shape, x.dtype) if isinstance(x, Tensor) else None)
            for x in values
        ]
        out, pushed = self.rule(tree.unflatten(structure, lowered), tree.unflatten(structure, tangents))
        outs, out_structure = tree.flatten(out)
        boxed = [
            Tensor(Box(trace, x, (t, None))) if is_float(x.dtype) else x
            for x, t in zip(outs, tree.leaves(pushed), strict=True)
        ]
        return tree.unflatten(out_structure, boxed)

    def _batched(self, axes: list[Any], structure: Any) -> Custom:
        in_axes = tree.unflatten(structure, axes)
        made = custom_jvp(_named(vmap(self.f, in_axes=in_axes), self.name))
        made.defjvp(
            lambda primals, tangents: vmap(self.rule, in_axes=(in_axes, in_axes))(primals, tangents), self.exact
        )
        return made


def _named(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    f.__name__ = name
    return f
