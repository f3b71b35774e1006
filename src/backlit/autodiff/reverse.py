"""Reverse mode: backward on recorded graphs; vjp, grad and value_and_grad on functions."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

from backlit.autodiff.trace import Trace, zeros
from backlit.autodiff.walk import walk
from backlit.core import record, tree
from backlit.core.dtypes import is_float
from backlit.core.errors import CutPathError, DTypeError, GradientError, ShapeError
from backlit.core.graph import Cut, Freed, Node, leaf_node
from backlit.core.op import Masked, Op, bind, record_node, shown
from backlit.core.source import here, user_source
from backlit.core.tensor import Box, Tensor, as_tensor, enable_grad, muted, no_grad

# The imperative form


def backward(self: Tensor, cotangent: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Adds the gradient of this tensor to `.grad` of every leaf that requires grad.

    `cotangent` is the upstream gradient, shaped like the tensor; a scalar has 1. The residuals are freed unless
    `retain_graph` (the default with `create_graph`, which records the backward pass itself so that the gradients
    can be differentiated again). Costs about two forward passes. On an error nothing has changed.

    Raises:
      CutPathError: nothing that requires grad is reached.
      FreedGraphError: an earlier backward freed the graph.
      GradientError: the tensor is not a scalar and no cotangent is given.
      ShapeError: the cotangent has another shape.
    """
    self._check_imperative("backward: inside a transform use backlit.grad, not backward")
    root = self.node
    if not isinstance(root, Node):
        raise _cut_path("backward", self)
    upstream = seed("backward", self, cotangent)
    with enable_grad() if create_graph else no_grad():
        leaves, visited = walk({root: (upstream, None)}, "backward", arrays=True, record_again=create_graph)
    for node, (value, _) in leaves.items():
        cell = node.extra.cell() if node.extra is not None and node.extra.cell is not None else None
        if cell is not None:
            _accumulate(cell, value, create_graph)
    if not (retain_graph or create_graph):
        by = Freed(user_source())
        for node in visited:
            node.inputs, node.out = by, None
        for listener in record.current():
            listener.freed(visited)


def _accumulate(cell: Tensor, value: Tensor, create_graph: bool) -> None:
    before = cell.grad
    if before is None:
        cell.grad = value if create_graph else Tensor(value._value)
        return
    if create_graph:
        after = before + value
    else:
        with no_grad():
            after = before.detach() + value
    cell.grad = after
    for noticed in record.accumulated:
        noticed(cell, before, after)


def _cut_path(who: str, x: Tensor) -> CutPathError:
    if not is_float(x.dtype):
        return CutPathError(f"{who}: {shown(x)} has no gradient, for it is not a float; use .astype('float32'){here()}")
    if isinstance(x.node, Cut):
        return CutPathError(f"{who}: no path leads back to a leaf that requires grad: {x.node}{here()}")
    return CutPathError(
        f"{who}: {shown(x)} was computed from nothing that requires grad; "
        f"make a leaf with requires_grad=True or requires_grad_(){here()}"
    )


def seed(who: str, out: Tensor, cotangent: Any) -> Tensor:
    """The cotangent of `out` as a tensor of its shape and dtype; 1 for a scalar where there is none."""
    if cotangent is None:
        if out.shape:
            raise GradientError(
                f"{who}: expected a scalar, got {shown(out)}; reduce it (.sum(), .mean()) or pass a cotangent{here()}"
            )
        if out.dtype.kind == "c":
            raise _complex_loss(who, out, " or pass a cotangent")
        return Tensor(out.dtype.type(1))
    given = as_tensor(cotangent)
    if given.shape != out.shape:
        raise ShapeError(f"{who}: the cotangent {shown(given)} is not shaped like {shown(out)}{here()}")
    return given if given.dtype == out.dtype else given.astype(out.dtype)


def _complex_loss(who: str, out: Tensor, otherwise: str = "") -> DTypeError:
    return DTypeError(
        f"{who}: the output {shown(out)} is complex, which nothing can descend; take .real or abs() of it{otherwise}{here()}"
    )


class Handle:
    """Removes a hook."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Takes the hook away; a second call does nothing."""
        self._hooks.pop(self._key, None)


def _node_for_hook(x: Tensor, what: str) -> Node:
    traced = isinstance(x._value, Box) and not x._value.trace.imperative
    node = x._value.extra if traced else x.node
    if not isinstance(node, Node):
        why = (
            "is a value of a transform or of a loop in a graph, where nothing is recorded for it; give the function a rule "
            "with backlit.custom_vjp, or use the result behind it" if traced else "does not require grad"
        )  # fmt: skip
        raise GradientError(f"{what}: {shown(x)} {why}{here()}")
    return node


def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> Handle:
    """Calls `hook(cotangent)` when the gradient of this tensor is complete; a tensor it returns replaces it.

    Raises:
      GradientError: the tensor does not require grad.
    """
    hooks = _node_for_hook(self, "register_hook").ensure_extra().hooks
    key = max(hooks, default=-1) + 1
    hooks[key] = hook
    return Handle(hooks, key)


def retain_grad(self: Tensor) -> None:
    """Keeps the gradient of a tensor that is not a leaf in `.grad`; a leaf does so anyway.

    Raises:
      GradientError: the tensor does not require grad.
    """
    node = _node_for_hook(self, "retain_grad")
    if node.op is not None:
        node.ensure_extra().cell = weakref.ref(self)


for _function in (backward, register_hook, retain_grad):
    setattr(Tensor, _function.__name__, _function)


# The functional form


class GradTrace(Trace):
    """Records the ops on its values, to be walked back."""

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        lowered, ups, wanted = [], [], 0
        for i, a in enumerate(args):
            box = self.box(a)
            lowered.append(self.lower(a))
            if box is not None:
                ups.append(box.extra)
                wanted |= 1 << i
        out = bind(op, tuple(lowered), params)
        if not op.differentiable or not is_float(out.dtype) or muted.get() > self.level:
            return out
        node = record_node(op, wanted, ups, lowered, out, params)
        made = Tensor(Box(self, out, node))
        for listener in record.current():
            listener.recorded(node, made, args)
        return made

    def leaf(self, x: Tensor) -> Tensor:
        """A traced value that stands for the lower tensor `x`."""
        return Tensor(Box(self, x, leaf_node(x.shape, x.dtype)))


class Linearised:
    """A function run once on traced leaves: its output, and the graph to pull cotangents back through."""

    def __init__(self, name: str, f: Callable[..., Any], args: tuple[Any, ...], has_aux: bool) -> None:
        self.name = name
        self.visited: list[Node] = []  # by the walk that was last
        cells, _ = tree.flatten(args)
        flags = tree.trained(args)
        self.primals = [x if isinstance(x, Tensor) else as_tensor(x) for x in cells]
        with GradTrace(name) as trace:
            new = []
            for x, flag in zip(self.primals, flags, strict=True):
                lower = Tensor(x._value, x.node)
                new.append(trace.leaf(lower) if flag and is_float(x.dtype) else lower)
            self.nodes = [b.extra if (b := trace.box(x)) is not None else None for x in new]
            with tree.lent(args, new, state=True) as traced:
                out = f(*traced)
            if has_aux:
                if not isinstance(out, tuple) or len(out) != 2:
                    raise GradientError(f"{name}: has_aux=True expects a function that returns (out, aux){here()}")
                out, aux = out
                self.aux = tree.map(lambda x: trace.lower(x) if isinstance(x, Tensor) else x, aux)
            leaves, self.structure = tree.flatten(out)
            traced_outs = [as_tensor(x) for x in leaves]
            self.roots = [b.extra if (b := trace.box(x)) is not None else None for x in traced_outs]
            self.outs = [trace.lower(x) for x in traced_outs]

    @property
    def out(self) -> Any:
        """The output of the function, as it returned it."""
        return tree.unflatten(self.structure, self.outs)

    def pull(self, cotangents: list[Tensor]) -> list[Tensor | None]:
        """Cotangents of the outputs to those of the leaves; None for a leaf without gradient."""
        seeds: dict[Node, Masked] = {}
        for root, cotangent in zip(self.roots, cotangents, strict=True):
            if root is not None:
                present = seeds.get(root)
                seeds[root] = (cotangent if present is None else present[0] + cotangent, None)
        found, self.visited = walk(seeds, self.name, arrays=False, record_again=False)
        return [
            None if node is None else found[node][0] if node in found else zeros(node.shape, node.dtype)
            for node in self.nodes
        ]


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(out, pullback)` of `f` at `primals`, with `aux` third where `has_aux`.

    `pullback(cotangent)` gives a tuple with the cotangents of the primals: the product of the cotangent with the
    Jacobian, which is never formed. It may be called many times and be differentiated. Arguments and results are
    trees; leaves without gradient get None.

    Raises:
      ShapeError: at the pullback, a cotangent not shaped like the output.
    """
    run = Linearised("vjp", f, primals, has_aux)
    _, structure = tree.flatten(primals)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        """The cotangents of the primals."""
        given, its_structure = tree.flatten(cotangent)
        if its_structure != run.structure:
            raise ShapeError(f"vjp: the cotangent is not a tree like the output{here()}")
        seeds = [seed("pullback", out, c) for out, c in zip(run.outs, given, strict=True)]
        return tree.unflatten(structure, run.pull(seeds))  # type: ignore[no-any-return]

    return (run.out, pullback, run.aux) if has_aux else (run.out, pullback)


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Any:
    """A function that gives the scalar `f(...)` and its gradient with respect to the arguments `argnums`.

    The gradient is a tree like the argument (a tuple of them when `argnums` is a tuple). With `has_aux`, `f` returns
    `(loss, aux)` and the result is `((loss, aux), grad)`. Keyword arguments are not differentiated. Costs about three
    times `f`.

    Raises:
      GradientError: the output is not a scalar.
      DTypeError: an argument, or the output, is an integer or boolean.
    """
    return _grad("value_and_grad", f, argnums, has_aux)


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Any:
    """A function that gives the gradient of the scalar `f(...)`; see `value_and_grad`.

    With `has_aux` it gives `(grad, aux)`.
    """
    both = _grad("grad", f, argnums, has_aux)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def _grad(name: str, f: Callable[..., Any], argnums: int | tuple[int, ...], has_aux: bool) -> Callable[..., Any]:
    @wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        of_chosen, chosen = checked_arguments(name, f, argnums, args, kwargs)
        run = Linearised(name, of_chosen, chosen, has_aux)
        if len(run.outs) != 1 or run.outs[0].shape:
            described = ", ".join(map(shown, run.outs)) or "nothing"
            made = f" ({run.roots[0]})" if run.roots and run.roots[0] is not None else ""
            raise GradientError(
                f"{name}: expected a scalar, got {described}{made}; reduce it (.sum(), .mean()) or use vjp{here()}"
            )
        out = run.outs[0]
        if not is_float(out.dtype):
            raise DTypeError(f"{name}: the output {shown(out)} is not a float and has no gradient{here()}")
        if out.dtype.kind == "c":
            raise _complex_loss(name, out)
        found = tree.unflatten(tree.flatten(chosen)[1], run.pull([Tensor(out.dtype.type(1))]))
        for listener in record.current():
            listener.freed(run.visited)  # the graph ends here
        value = (run.out, run.aux) if has_aux else run.out
        return value, found[0] if isinstance(argnums, int) else found

    return value_and_gradient


def checked_arguments(
    name: str, f: Callable[..., Any], argnums: int | tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """`f` as a function of the arguments `argnums` alone, and these; all of them are floats.

    Raises:
      GradientError: there is no such argument.
      DTypeError: one is an integer or boolean.
    """
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in wanted:
        if not -len(args) <= n < len(args):
            raise GradientError(f"{name}: argnums {n}, but {len(args)} positional arguments are given{here()}")
    places = [n % len(args) for n in wanted]
    chosen = tuple(args[n] for n in places)
    for path, leaf, flag in zip(tree.paths(chosen), tree.leaves(chosen), tree.trained(chosen), strict=True):
        x = as_tensor(leaf)
        if flag and not is_float(x.dtype):
            at = "".join(f"[{key!r}]" for key in path[1:])
            raise DTypeError(
                f"{name}: argument {places[path[0]]}{at} is {shown(x)}, which has no gradient; "
                f"use .astype('float32') or another argnums{here()}"
            )

    def of_chosen(*values: Any) -> Any:
        filled = list(args)
        for n, value in zip(places, values, strict=True):
            filled[n] = value
        return f(*filled, **kwargs)

    return of_chosen, chosen


def stop_gradient(x: Any) -> Any:
    """The tree `x` with every tensor taken as a constant by all derivatives."""
    return tree.map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, x)
