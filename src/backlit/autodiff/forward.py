"""Forward mode: jvp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.autodiff.trace import Trace, zeros
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import DTypeError, GradientError, ShapeError
from backlit.core.op import Op, bind, shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor


class JvpTrace(Trace):
    """Pushes tangents along with the values; a box's extra is its tangent and mask."""

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        lowered, tangents = [], []
        for a in args:
            box = self.box(a)
            lowered.append(self.lower(a))
            tangents.append(None if box is None else box.extra)
        out = bind(op, tuple(lowered), params)
        if not op.differentiable or not is_float(out.dtype):
            return out
        pushed = op.push(tuple(tangents), out, tuple(lowered), params)
        return out if pushed is None else Tensor(Box(self, out, pushed))


def jvp(f: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """`(out, tangent)` of `f` at `primals`: the derivative of the output in the direction `tangents`.

    `primals` and `tangents` are tuples of trees of one structure; the tangent of a leaf may be None for zero. Costs
    about two forward passes and keeps nothing. With `has_aux`, `f` returns `(out, aux)` and aux comes third.

    Raises:
      ShapeError: a tangent is not shaped like its primal.
      DTypeError: a tangent is given for an integer or boolean.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise DTypeError(f"jvp: expected tuples of primals and tangents, got {type(primals).__name__}{here()}")
    primals, tangents = tuple(primals), tuple(tangents)
    values = [as_tensor(x) for x in tree.leaves(primals)]
    return pushforward("jvp", f, primals, values, directions("jvp", primals, tangents, values), has_aux)


def pushforward(
    who: str, f: Callable[..., Any], primals: Any, values: list[Tensor], tangents: list[Tensor | None], has_aux: bool
) -> Any:
    """What `jvp` gives, for the leaves of the primals and their tangents."""
    with JvpTrace(who) as trace:
        new = [
            Tensor(x._value, x.node) if t is None else Tensor(Box(trace, Tensor(x._value, x.node), (t, None)))
            for x, t in zip(values, tangents, strict=True)
        ]
        with tree.lent(primals, new, state=True) as traced:
            out = f(*traced)
        aux = None
        if has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise GradientError(f"{who}: has_aux=True expects a function that returns (out, aux){here()}")
            out, aux = out
            aux = tree.map(lambda x: trace.lower(x) if isinstance(x, Tensor) else x, aux)
        leaves, structure = tree.flatten(out)
        outs, pushed = [], []
        for leaf in leaves:
            leaf = as_tensor(leaf)
            box = trace.box(leaf)
            outs.append(trace.lower(leaf))
            tangent_dtype = leaf.dtype if is_float(leaf.dtype) else np.dtype(np.float32)
            pushed.append(zeros(leaf.shape, tangent_dtype) if box is None else box.extra[0])
    result = tree.unflatten(structure, outs), tree.unflatten(structure, pushed)
    return (*result, aux) if has_aux else result


def directions(who: str, primals: Any, tangents: Any, values: list[Tensor]) -> list[Tensor | None]:
    """The tangent of each leaf of the primals, None where it is zero."""
    # a None among the tangents stands for a whole zero subtree, so the two are walked side by side
    given: list[Any] = []
    _align(who, primals, tangents, given)
    found: list[Tensor | None] = []
    for x, t in zip(values, given, strict=True):
        if t is not None:
            t = as_tensor(t)
            if not is_float(x.dtype):
                raise DTypeError(f"{who}: {shown(x)} has no tangent; give None{here()}")
            if t.shape != x.shape:
                raise ShapeError(f"{who}: the tangent {shown(t)} is not shaped like its primal {shown(x)}{here()}")
            t = t if t.dtype == x.dtype else t.astype(x.dtype)
        found.append(t)
    return found


def _align(who: str, primal: Any, tangent: Any, given: list[Any]) -> None:
    leaves, structure = tree.flatten(primal)
    if tangent is None:
        given += [None] * len(leaves)
    elif structure.children is None:
        given.append(tangent)
    elif isinstance(primal, (tuple, list)) and isinstance(tangent, (tuple, list)) and len(primal) == len(tangent):
        for p, t in zip(primal, tangent, strict=True):
            _align(who, p, t, given)
    elif isinstance(primal, dict) and isinstance(tangent, dict) and primal.keys() == tangent.keys():
        for key in primal:
            _align(who, primal[key], tangent[key], given)
    else:
        below = tree.leaves(tangent)
        if len(below) != len(leaves):
            raise ShapeError(f"{who}: the tangents are not a tree like the primals{here()}")
        given += below
