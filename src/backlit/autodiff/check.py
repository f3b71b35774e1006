"""Derivatives held against finite differences, and forward mode against reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.autodiff.forward import jvp
from backlit.autodiff.reverse import vjp
from backlit.core import tree
from backlit.core.dtypes import is_float, real_dtype
from backlit.core.errors import DTypeError, GradientError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, no_grad

Array = np.ndarray[Any, Any]


def directional(f: Callable[[float], Array], step: float) -> tuple[Array, float]:
    """The derivative of `f(t)` at 0 by Richardson extrapolation of central differences, and a bound on its error.

    Takes three halvings of `step`, which removes the error terms up to step^6 (Richardson 1911); the error is
    estimated by the last two columns of the table.
    """
    rows: list[list[Array]] = []
    for i in range(4):
        h = step / 2**i
        row = [(f(h) - f(-h)) / (2 * h)]
        for k, earlier in enumerate(rows[-1] if rows else []):
            row.append(row[k] + (row[k] - earlier) / (4.0 ** (k + 1) - 1))
        rows.append(row)
    best = rows[-1][-1]
    return best, float(np.max(np.abs(best - rows[-1][-2]), initial=0.0))


def gradcheck(
    f: Callable[..., Any], *inputs: Any, step: float = 1e-3, rtol: float = 1e-6, forward: bool = True, seed: int = 0
) -> bool:
    """Whether the derivatives of `f` at `inputs` agree with finite differences; True, or an error that says where.

    For each float leaf of `inputs` (float64 or complex128) one random direction and one random cotangent: the reverse mode, and
    with `forward` the forward mode, must agree with the difference quotient to `rtol`. Costs eight evaluations a leaf,
    two derivatives, and nothing that grows with their size.

    Raises:
      GradientError: they disagree, naming argument and numbers.
      DTypeError: a leaf is float32 or lower, too coarse for differences.
    """
    rng = np.random.default_rng(seed)
    cells, structure = tree.flatten(inputs)
    values = [as_tensor(x) for x in cells]
    for x in values:
        if is_float(x.dtype) and real_dtype(x.dtype).itemsize < 8:
            wide = "complex128" if x.dtype.kind == "c" else "float64"
            raise DTypeError(f"gradcheck: {shown(x)} is too coarse for differences; use .astype('{wide}'){here()}")
    arrays = [np.asarray(x.detach()) for x in values]

    def outputs(at: list[Array]) -> list[Array]:
        with no_grad(), tree.lent(inputs, [Tensor(np.array(a)) for a in at]) as given:
            return [np.asarray(as_tensor(x).detach()) for x in tree.leaves(f(*given))]

    outs = outputs(arrays)
    cotangents = [_normal(rng, o) if is_float(o.dtype) else np.zeros(o.shape) for o in outs]
    if not any(is_float(o.dtype) for o in outs):
        raise DTypeError(f"gradcheck: no output is a float{here()}")

    def weighed(found: list[Array]) -> Any:
        return np.asarray(
            sum(float(np.vdot(c, o).real) for c, o in zip(cotangents, found, strict=True) if is_float(o.dtype))
        )

    with tree.lent(inputs, [Tensor(a) for a in arrays]) as given:
        out, pullback = vjp(f, *given)
        _, out_structure = tree.flatten(out)
        pulled = _per_leaf(pullback(tree.unflatten(out_structure, [Tensor(c) for c in cotangents])), structure)
    for i, (path, array) in enumerate(zip(tree.paths(inputs), arrays, strict=True)):
        if not is_float(array.dtype) or not array.size or not tree.trained(inputs)[i]:
            continue
        direction = _normal(rng, array)

        def moved(t: float, i: int = i, direction: Array = direction) -> Array:
            return weighed(outputs([a + t * direction if k == i else a for k, a in enumerate(arrays)]))  # type: ignore[no-any-return]

        expected, error = directional(moved, step)
        where = "argument " + "".join(f"[{key!r}]" if k else str(key) for k, key in enumerate(path))
        allowed = rtol * (1 + abs(float(expected))) + 10 * error
        reverse = 0.0 if pulled[i] is None else float(np.vdot(np.asarray(pulled[i].detach()), direction).real)
        _compare("reverse mode", reverse, float(expected), allowed, where)
        if forward:
            tangents = [Tensor(direction) if k == i else None for k in range(len(arrays))]
            with tree.lent(inputs, [Tensor(a) for a in arrays]) as given:
                _, tangent = jvp(f, given, tree.unflatten(structure, tangents))
            pushed = float(weighed([np.asarray(t.detach()) for t in tree.leaves(tangent)]))
            _compare("forward mode", pushed, float(expected), allowed, where)
    return True


def _normal(rng: np.random.Generator, like: Array) -> Array:
    """Random numbers shaped like an array, complex where it is: their inner product is Re(conj(a) b)."""
    made = np.asarray(rng.standard_normal(like.shape))
    return np.asarray(made + 1j * rng.standard_normal(like.shape)) if like.dtype.kind == "c" else made


def _per_leaf(pulled: Any, structure: tree.Structure) -> list[Any]:
    """The leaves of a tree in which None stands for a leaf."""
    found: list[Any] = []

    def visit(x: Any, s: tree.Structure) -> None:
        if s.children is None:
            found.append(x)
        elif s.n_leaves == len(tree.leaves(x)):
            found.extend(tree.leaves(x))
        else:
            children = list(x.values()) if isinstance(x, dict) else list(x)
            for child, below in zip(children, s.children, strict=True):
                visit(child, below)

    visit(pulled, structure)
    return found


def _compare(mode: str, got: float, expected: float, allowed: float, where: str) -> None:
    if not abs(got - expected) <= allowed:
        ratio = f", {got / expected:.6g} times it" if expected else ""
        raise GradientError(
            f"gradcheck: {where}: {mode} gives {got:.12g}, finite differences {expected:.12g}{ratio} "
            f"(allowed difference {allowed:.1e}); at a kink the two may differ rightly{here()}"
        )
