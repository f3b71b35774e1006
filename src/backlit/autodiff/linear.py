"""Linear maps made from functions: linearize, linear_transpose, and products with second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.autodiff.forward import directions, jvp, pushforward
from backlit.autodiff.reverse import Linearised, grad, seed, vjp
from backlit.autodiff.tape import Tape
from backlit.autodiff.trace import zeros
from backlit.autodiff.walk import Joint, Pick
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import GradientError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(out, f_jvp)` of `f` at `primals`: `f_jvp(*tangents)` is the derivative of the output in that direction.

    With `has_aux`, `f` returns `(out, aux)` and aux comes third. `f` runs once; each `f_jvp` then applies the ops that
    are linear in the tangents alone, about one forward pass, and keeps what these read, like `vjp`. For one direction
    use `jvp`, which keeps nothing. Tangents are trees like the primals; None stands for zero.

    Raises:
      ShapeError: at `f_jvp`, a tangent is not shaped like its primal.
      DTypeError: at `f_jvp`, a tangent is given for an integer or boolean.
    """
    values = [as_tensor(x) for x in tree.leaves(primals)]
    flags = tree.trained(primals)
    places = [k for k, (x, flag) in enumerate(zip(values, flags, strict=True)) if flag and is_float(x.dtype)]
    with Tape("linearize", computes=False) as tape:
        taped: list[Tensor | None] = [None] * len(values)
        for k in places:
            taped[k] = tape.input(Tensor(values[k]._value, values[k].node))
        out, pushed, *aux = pushforward("linearize", f, primals, values, taped, has_aux)
        outs, structure = tree.flatten(pushed)
        program, inputs = tape.program(outs)
    around = inputs[len(places) :]

    def f_jvp(*tangents: Any) -> Any:
        """The tangent of the output for the tangents of the primals."""
        if len(tangents) != len(primals):
            raise ShapeError(f"linearize: {len(primals)} primals, but {len(tangents)} tangents{here()}")
        given = directions("linearize", primals, tangents, values)
        for k, t in enumerate(given):
            if t is not None and k not in places:
                raise GradientError(f"linearize: {shown(values[k])} is not trained; give None as its tangent{here()}")
        filled = [zeros(values[k].shape, values[k].dtype) if (t := given[k]) is None else t for k in places]
        return tree.unflatten(structure, program(*filled, *around))

    return (out, f_jvp, *aux)


def linear_transpose(f: Callable[..., Any], *primals: Any) -> Callable[..., tuple[Any, ...]]:
    """The transpose of the linear function `f`: a function of a cotangent of its output, giving a tuple.

    Of `primals` only structure, shapes and dtypes count. `f` runs once, at zeros; each call costs one reverse pass.

    Raises:
      GradientError: `f` is not linear: it reads its argument in a derivative, or is not 0 at 0.
      ShapeError: at the transpose, a cotangent not shaped like the output.
    """
    leaves, structure = tree.flatten(primals)
    blank = tree.unflatten(structure, [zeros(tuple(x.shape), np.dtype(x.dtype)) for x in map(_with_shape, leaves)])
    run = Linearised("linear_transpose", f, blank, False)
    _check_linear(run)

    def transpose(cotangent: Any) -> tuple[Any, ...]:
        """The cotangents of the arguments."""
        given, its_structure = tree.flatten(cotangent)
        if its_structure != run.structure:
            raise ShapeError(f"linear_transpose: the cotangent is not a tree like the output{here()}")
        seeds = [seed("linear_transpose", out, c) for out, c in zip(run.outs, given, strict=True)]
        return tree.unflatten(structure, run.pull(seeds))  # type: ignore[no-any-return]

    return transpose


def _with_shape(x: Any) -> Any:
    return x if hasattr(x, "shape") and hasattr(x, "dtype") else as_tensor(x)


def _check_linear(run: Linearised) -> None:
    way_out = "linearise it first (backlit.linearize), or use backlit.vjp"
    for out in run.outs:
        if isinstance(out._value, (np.ndarray, np.generic)) and np.any(out._value != 0):
            raise GradientError(
                f"linear_transpose: the function is not linear, for it is not 0 at 0; {way_out}{here()}"
            )
    pending = [root for root in run.roots if root is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        plan = node.plan
        if plan is None:
            continue
        # a derivative that reads neither the argument nor the result is a constant
        reads = plan.unread_out is None or not set(plan.kept).isdisjoint(plan.argnums)
        if reads and not isinstance(plan.op, (Joint, Pick)):
            raise GradientError(f"linear_transpose: the function is not linear, by {node}; {way_out}{here()}")
        for up in (node.up,) if isinstance(node.up, Node) else node.up:
            if up not in seen:
                seen.add(up)
                pending.append(up)


def hvp(f: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Hessian of the scalar `f(*primals)` times `tangents`, which are a tuple of trees like the primals.

    The result is a tree like the primal when there is one, else a tuple with a tree for each. Forward mode over
    reverse mode: about five times `f`, and the Hessian is never formed (Pearlmutter 1994, Neural Computation 6, 147).

    Raises:
      GradientError: the output is not a scalar.
      ShapeError: a tangent is not shaped like its primal.
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(f, argnums=argnums), primals, tangents)[1]


def ggnvp(f: Callable[..., Any], loss: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Gauss-Newton matrix of `loss(f(*primals))` times `tangents`: transpose(J) H J v.

    J is the Jacobian of `f` and H the Hessian of the scalar `loss` at its output. Where `loss` is convex the matrix has
    no negative eigenvalue; it is the Hessian where `f` is linear (Schraudolph 2002, Neural Computation 14, 1723,
    section 3). The result is as in `hvp`. `f` runs once, with one pass forward and one back.

    Raises:
      GradientError: `loss` does not give a scalar.
      ShapeError: a tangent is not shaped like its primal.
    """
    primals, tangents = tuple(primals), tuple(tangents)
    out, pullback, pushed = vjp(lambda *xs: jvp(f, xs, tangents), *primals, has_aux=True)
    found = pullback(hvp(loss, (out,), (pushed,)))
    return found[0] if len(primals) == 1 else found
