"""Whole Jacobians and Hessians: many products with one, made as one batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from backlit.autodiff.batch import move_axis, vmap
from backlit.autodiff.linear import linearize
from backlit.autodiff.reverse import checked_arguments, vjp
from backlit.autodiff.sparse import by_colours
from backlit.autodiff.trace import zeros
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor


def jacrev(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Any:
    """A function that gives the Jacobian of `f` by rows, in reverse mode: for outputs that are fewer than inputs.

    For an output `[*out]` and an argument `[*in]` it is `[*out, *in]`. For trees it is a tree like the output, each leaf
    of it a tree like the argument (a tuple of these when `argnums` is a tuple). With `has_aux`, `f` returns `(out, aux)`
    and the result is `(jacobian, aux)`. `f` runs once; then one reverse pass with a batch as large as the output: its
    intermediate cotangents take that many times the memory of one.

    Raises:
      DTypeError: an argument or an output is an integer or boolean, or an output is complex (use `jacfwd`).
    """

    @wraps(f)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        of_chosen, chosen = checked_arguments("jacrev", f, argnums, args, kwargs)
        out, pullback, *aux = vjp(of_chosen, *chosen, has_aux=has_aux)
        leaves, structure = _float_outputs("jacrev", out)
        for x in leaves:
            if x.dtype.kind == "c":
                raise _complex("jacrev", f"output {shown(x)}", "jacfwd")
        rows = []
        for k, x in enumerate(leaves):

            def row(cotangent: Tensor, k: int = k) -> Any:
                seeds = [cotangent if i == k else zeros(y.shape, y.dtype) for i, y in enumerate(leaves)]
                return pullback(tree.unflatten(structure, seeds))

            def shaped(leaf: Tensor, shape: tuple[int, ...] = x.shape) -> Tensor:
                return leaf.reshape((*shape, *leaf.shape[1:]))

            found = tree.map(shaped, vmap(row)(_basis(x)))
            rows.append(found[0] if isinstance(argnums, int) else found)
        whole = tree.unflatten(structure, rows)
        return (whole, *aux) if has_aux else whole

    return jacobian


def jacfwd(
    f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, sparsity: Any = None
) -> Any:
    """A function that gives the Jacobian of `f` by columns, in forward mode: for inputs that are fewer than outputs.

    The result is as in `jacrev`. `f` runs once; then one forward pass with a batch as large as the argument, of the
    ops that are linear in the tangents.

    With `sparsity`, a pattern `[*out, *in]` (or `[n_out, n_in]`) that is nonzero wherever the Jacobian of one array with
    respect to one array may be, columns that share no row are found together: the batch is as large as the number of
    their colours, 3 for a tridiagonal matrix of any size, and one more that checks the pattern (not inside a transform).

    Raises:
      DTypeError: an argument or an output is an integer or boolean, or an argument is complex (use `jacrev`).
      ShapeError: the sparsity pattern is not shaped like the Jacobian, or is given for trees.
      GradientError: the Jacobian has nonzeros that the pattern leaves out.
    """

    @wraps(f)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        of_chosen, chosen = checked_arguments("jacfwd", f, argnums, args, kwargs)
        cells, its_structure = tree.flatten(chosen)
        for cell in cells:
            if (x := as_tensor(cell)).dtype.kind == "c":
                raise _complex("jacfwd", f"argument {shown(x)}", "jacrev")

        def of_leaves(*new: Any) -> Any:
            with tree.lent(chosen, list(new)) as traced:  # the cells of a module get their own values back behind it
                return tree.map(lambda x: Tensor(x._value, x.node) if isinstance(x, Tensor) else x, of_chosen(*traced))

        out, f_jvp, *aux = linearize(of_leaves, *map(as_tensor, cells), has_aux=has_aux)
        leaves, structure = _float_outputs("jacfwd", out)
        if sparsity is not None:
            if structure.children is not None or its_structure.children != (structure,):
                raise ShapeError(f"jacfwd: sparsity is for one array as argument and one as output, not trees{here()}")
            matrix = by_colours("jacfwd", f_jvp, as_tensor(cells[0]), leaves[0], sparsity)
            alone = matrix if isinstance(argnums, int) else (matrix,)
            return (alone, *aux) if has_aux else alone
        columns: list[list[Tensor | None]] = []  # for each leaf of the arguments, one a leaf of the output
        for k, (cell, flag) in enumerate(zip(cells, tree.trained(chosen), strict=True)):
            x = as_tensor(cell)
            if not flag:
                columns.append([None] * len(leaves))
                continue

            def column(tangent: Tensor, k: int = k) -> list[Tensor]:
                return tree.leaves(f_jvp(*(tangent if i == k else None for i in range(len(cells)))))

            columns.append(
                [
                    move_axis(found, 0, -1).reshape((*y.shape, *x.shape))
                    for found, y in zip(vmap(column)(_basis(x)), leaves, strict=True)
                ]
            )
        rows = [tree.unflatten(its_structure, [c[k] for c in columns]) for k in range(len(leaves))]
        whole = tree.unflatten(structure, [row[0] if isinstance(argnums, int) else row for row in rows])
        return (whole, *aux) if has_aux else whole

    return jacobian


def hessian(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Any:
    """A function that gives the second derivatives of `f`: the Jacobian, by columns, of its Jacobian by rows.

    For an output `[*out]` and an argument `[*in]` it is `[*out, *in, *in]`; for trees a tree like the output of trees
    like the argument of such trees. With `has_aux`, `f` returns `(out, aux)` and the result is `(hessian, aux)`. For a
    scalar of n numbers it costs about 2 n times `f`; for products with a Hessian alone see `hvp`.

    Raises:
      DTypeError: an argument or an output is an integer or boolean.
    """
    return jacfwd(jacrev(f, argnums, has_aux), argnums, has_aux)


def _complex(who: str, what: str, other: str) -> DTypeError:
    return DTypeError(
        f"{who}: the {what} is complex, and no matrix of complex numbers holds its derivative unless the function is "
        f"holomorphic; use {other} if the other side is real, or view_as_real{here()}"
    )


def _float_outputs(who: str, out: Any) -> tuple[list[Tensor], Any]:
    leaves, structure = tree.flatten(out)
    for x in leaves:
        if not is_float(x.dtype):
            raise DTypeError(
                f"{who}: the output {shown(x)} is not a float and has no derivative; return it as aux (has_aux=True){here()}"
            )
    return leaves, structure


def _basis(x: Tensor) -> Tensor:
    """`[n, *shape]`: for each of the n elements of `x` an array with a one there."""
    n = int(np.prod(x.shape, dtype=np.int64))
    return Tensor(np.eye(n, dtype=x.dtype).reshape((n, *x.shape)))
