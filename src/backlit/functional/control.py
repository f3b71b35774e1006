"""Control flow with JAX's signatures: scan, cond, switch, while_loop, fori_loop, associative_scan.

Each is made of ordinary ops, step by step, so every transform goes through it: reverse and forward mode to any order,
and vmap. In a graph each is one equation, with the function as a region: it is called once, whatever the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.core import staging, tree
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor, no_grad
from backlit.functional.branches import switched
from backlit.functional.loops import Traced, run_while
from backlit.functional.streams import Streams, drawing
from backlit.ops.elementwise import less, where
from backlit.ops.shape import concat, stack

_BRANCHES = "what the branches give differs"


def scan(
    f: Callable[[Any, Any], Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """Carries a state along the leading axis: `carry, y = f(carry, x)` for each x; gives `(carry, ys)`.

    `init`, `xs` and what `f` returns are trees; the leaves of `xs` share their leading axis, those of `ys` get it. With
    `xs` None there are `length` steps. With `reverse` the steps go from the last x to the first, and `ys` stays in
    the order of `xs`. Keeps the residuals of every step. In a graph the carry of each step is kept and the step computed
    again; so a gradient through scans in scans takes the forward once more for each of them around a step.

    Raises:
      ShapeError: leading axes differ, there is no length, or the carry changes its structure, shape or dtype.
    """
    values = [as_tensor(x) for x in tree.leaves(xs)]
    structure = tree.flatten(xs)[1]
    lengths = {x.shape[0] for x in values if x.ndim} | ({length} if length is not None else set())
    if len(lengths) != 1 or any(not x.ndim for x in values):
        found = ", ".join(map(shown, values)) or "no xs"
        raise ShapeError(f"scan: the leading axes must be one length, got {found} and length={length}{here()}")
    (n,) = lengths
    carry = tree.map(as_tensor, init)
    if staging.graph() is not None:

        def build(streams: Streams) -> Any:
            def step(_: Any, carry: Any, x: Any) -> Any:
                counters, (after, y) = streams.inside(carry[0], lambda: _step(f, carry[1], x, "scan"))
                return (counters, after), y

            init = (streams.counters, carry)
            (counters, last), ys = Traced(step, (), init, tree.unflatten(structure, values)).run(n, reverse)
            streams.advance(counters)
            return last, ys

        return drawing(build)  # type: ignore[no-any-return]
    places = range(n - 1, -1, -1) if reverse else range(n)
    outs = []
    for i in places:
        carry, y = _step(f, carry, tree.unflatten(structure, [x[i] for x in values]), "scan")
        outs.append(y)
    if not outs:  # the shapes of ys are those of a step that does not count
        with no_grad():
            blank = [Tensor(np.zeros(x.shape[1:], x.dtype)) for x in values]
            _, y = _step(f, carry, tree.unflatten(structure, blank), "scan")
        return carry, tree.map(lambda leaf: Tensor(np.zeros((0, *leaf.shape), leaf.dtype)), y)
    ordered = outs[::-1] if reverse else outs
    leaves = [tree.leaves(y) for y in ordered]
    joined = [stack([row[k] for row in leaves]) for k in range(len(leaves[0]))]
    return carry, tree.unflatten(tree.flatten(ordered[0])[1], joined)


def _step(f: Callable[[Any, Any], Any], carry: Any, x: Any, who: str) -> tuple[Any, Any]:
    found = f(carry, x)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ShapeError(f"{who}: the function must return (carry, y), got {type(found).__name__}{here()}")
    after, y = found
    return _like(carry, after, who), tree.map(as_tensor, y)


def _like(before: Any, after: Any, who: str, what: str = "the carry changed") -> Any:
    """`after` as tensors, once it has the structure, shapes and dtypes of `before`."""
    after = tree.map(as_tensor, after)
    (old, structure), (new, its_structure) = tree.flatten(before), tree.flatten(after)
    if structure != its_structure:
        raise ShapeError(f"{who}: {what} in structure{here()}")
    for a, b in zip(old, new, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ShapeError(f"{who}: {what} from {shown(a)} to {shown(b)}; they must be alike{here()}")
    return after


def _predicate(pred: Any, who: str) -> Tensor:
    one = as_tensor(pred)
    if one.shape or one.dtype.kind not in "biu":
        raise DTypeError(f"{who}: expected one boolean or integer, got {shown(one)}{here()}")
    return one


def _is_one(x: Tensor) -> bool:
    """Whether the contents of `x` can be looked at."""
    value = x._value
    while isinstance(value, Box):
        if not value.trace.one_value:
            return False
        value = value.primal._value
    return True


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """`true_fun(*operands)` where `pred` holds, else `false_fun(*operands)`.

    Only the chosen branch runs; where `pred` differs by example (under vmap) both do, and what was not chosen is
    structurally zero in every derivative.

    Raises:
      ShapeError: in a graph or under vmap they give different structures or shapes.
      DTypeError: `pred` is not one boolean or integer.
    """
    pred = _predicate(pred, "cond")
    if _is_one(pred):
        return (true_fun if pred.item() else false_fun)(*operands)
    if staging.graph() is not None:
        return _switch_in_graph((pred == 0).astype(np.int32), [true_fun, false_fun], operands, "cond")
    return _select(pred != 0, true_fun(*operands), false_fun(*operands), "cond")


def _select(pred: Tensor, a: Any, b: Any, who: str) -> Any:
    a = tree.map(as_tensor, a)
    b = _like(a, b, who, _BRANCHES)
    return tree.map(lambda x, y: where(pred, x, y), a, b)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """What the branch with number `index` gives for the operands; the index is held within the branches there are.

    Raises:
      ArgumentError: there are no branches.
      DTypeError: `index` is not one integer.
    """
    index = _predicate(index, "switch")
    if not branches:
        raise ArgumentError(f"switch: expected at least one branch{here()}")
    if _is_one(index):
        return branches[min(max(int(index.item()), 0), len(branches) - 1)](*operands)
    if staging.graph() is not None:
        index = index.astype(np.int32) if index.dtype == bool else index
        return _switch_in_graph(index, branches, operands, "switch")
    chosen = branches[-1](*operands)
    for k in range(len(branches) - 2, -1, -1):
        chosen = _select(index <= k, branches[k](*operands), chosen, "switch")
    return chosen


def _switch_in_graph(index: Tensor, branches: Sequence[Callable[..., Any]], operands: Any, who: str) -> Any:
    """One equation, whose regions are the branches."""
    given, structure = tree.flatten(operands)
    values = [as_tensor(x) for x in given]

    def build(streams: Streams) -> Any:
        first: list[Any] = []

        def on_leaves(branch: Callable[..., Any]) -> Callable[..., list[Tensor]]:
            def run(*leaves: Tensor) -> list[Tensor]:
                rest = tree.unflatten(structure, leaves[n:])
                counters, out = streams.inside(leaves[:n], lambda: tree.map(as_tensor, branch(*rest)))
                first.append(out)
                return [*counters, *tree.leaves(_like(first[0], out, who, _BRANCHES))]

            return run

        n = len(streams.counters)
        outs = switched(index, [on_leaves(b) for b in branches], [*streams.counters, *values])
        streams.advance(outs[:n])
        return tree.unflatten(tree.flatten(first[0])[1], outs[n:])

    return drawing(build)


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, *, max_steps: int | None = None
) -> Any:
    """Applies `body_fun` to the carry as long as `cond_fun` holds, and no more often than `max_steps`.

    Both modes of differentiation go through it. In a graph reverse mode needs `max_steps`, an upper bound of the number
    of steps: the carry of that many is kept, and those after the end are passed over. Under vmap it runs until no
    example goes on, each example stopping by itself.

    Raises:
      ShapeError: the carry changes its structure, shape or dtype.
      GradientError: reverse mode in a graph, without `max_steps`.
      ArgumentError: `max_steps` is negative.
    """
    carry = tree.map(as_tensor, init_val)
    if max_steps is not None and max_steps < 0:
        raise ArgumentError(f"while_loop: max_steps must not be negative, got {max_steps}{here()}")

    def going(carry: Any) -> Tensor:
        return _predicate(cond_fun(carry), "while_loop") != 0

    def body(carry: Any) -> Any:
        return _like(carry, body_fun(carry), "while_loop")

    if staging.graph() is not None:
        if max_steps is None:
            return _while_in_graph(going, body, carry)
        return scan(lambda c, _: (cond(going(c), body, lambda c: c, c), None), carry, length=max_steps)[0]
    steps = 0
    while steps != max_steps:
        pred = going(carry)
        if not _any(pred):
            break
        after = body(carry)
        carry = after if _is_one(pred) else _select(pred, after, carry, "while_loop")
        steps += 1
    return carry


def _while_in_graph(condition: Callable[[Any], Tensor], body: Callable[[Any], Any], init: Any) -> Any:
    """One equation."""

    def build(streams: Streams) -> Any:
        counters, last = run_while(
            lambda _, carry: condition(carry[1]),
            lambda _, carry: streams.inside(carry[0], lambda: body(carry[1])),
            [],
            (streams.counters, init),
        )
        streams.advance(counters)
        return last

    return drawing(build)


def _any(pred: Tensor) -> bool:
    """Whether `pred` holds for some example."""
    value = pred._value
    while isinstance(value, Box):
        primal = getattr(value, "primal", None)
        if primal is None:
            value.trace.concrete(value)  # raises: there is nothing below
        value = primal._value  # type: ignore[union-attr]
    return bool(np.any(value))


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """`val = body_fun(i, val)` for i from `lower` up to `upper`, excluded.

    `i` is a Python integer; in a graph a traced one, of int64. There it is a scan where the bounds are known, else a
    `while_loop`.

    Raises:
      ShapeError: the value changes its structure, shape or dtype.
    """
    val = tree.map(as_tensor, init_val)
    if staging.graph() is not None and (found := _fori_in_graph(lower, upper, body_fun, val)) is not None:
        return found[0]
    for i in range(int(lower), int(upper)):
        val = _like(val, body_fun(i, val), "fori_loop")
    return val


def _fori_in_graph(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], val: Any) -> tuple[Any] | None:
    """One equation; None where an index of int64 would change the dtype of the value, as a Python integer does not."""
    bounds = [x if isinstance(x, Tensor) else Tensor(np.int64(x)) for x in (lower, upper)]
    if all(map(_is_one, bounds)):
        numbers = np.arange(int(bounds[0].item()), int(bounds[1].item()), dtype=np.int64)
        try:
            return (scan(lambda val, i: (_like(val, body_fun(i, val), "fori_loop"), None), val, numbers)[0],)
        except ShapeError:
            return None
    first, last = (x.astype(np.int64) for x in bounds)
    body = lambda carry: (carry[0] + 1, _like(carry[1], body_fun(carry[0], carry[1]), "fori_loop"))
    return (_while_in_graph(lambda carry: less(carry[0], last), body, (first, val))[1],)


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes `e0, fn(e0, e1), fn(fn(e0, e1), e2) ...` along `axis`, of an associative `fn` on whole slices.

    With `reverse` from the last element to the first: `fn(e[n-1], e[n-2])` and so on. `fn` takes trees of arrays and works along `axis` as on independent rows. Costs about twice the number of elements
    in applications of `fn`, in 2 log2(n) calls (Ladner and Fischer, 1980).

    Raises:
      ShapeError: the axes differ in length.
    """
    leaves, structure = tree.flatten(elems)
    values = [as_tensor(x) for x in leaves]
    if len({x.shape[axis] for x in values}) != 1:
        raise ShapeError(f"associative_scan: axis {axis} differs in length: {', '.join(map(shown, values))}{here()}")

    def cut(x: Tensor, part: slice) -> Tensor:
        return x[(*(slice(None),) * (axis % x.ndim), part)]

    def combine(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        return [as_tensor(x) for x in tree.leaves(fn(tree.unflatten(structure, a), tree.unflatten(structure, b)))]

    def prefixes(xs: list[Tensor]) -> list[Tensor]:
        n = xs[0].shape[axis]
        if n < 2:
            return xs
        pairs = combine([cut(x, slice(0, n - 1, 2)) for x in xs], [cut(x, slice(1, None, 2)) for x in xs])
        odd = prefixes(pairs)
        rest = [cut(x, slice(2, None, 2)) for x in xs]
        behind = [cut(x, slice(0, rest[0].shape[axis])) for x in odd]
        even = [
            concat([cut(x, slice(0, 1)), y], axis=axis)
            for x, y in zip(xs, combine(behind, rest) if rest[0].shape[axis] else rest, strict=True)
        ]
        return [_interleave(e, o, axis, n) for e, o in zip(even, odd, strict=True)]

    def flipped(x: Tensor) -> Tensor:
        return cut(x, slice(None, None, -1)) if reverse else x

    return tree.unflatten(structure, [flipped(x) for x in prefixes([flipped(x) for x in values])])


def _interleave(even: Tensor, odd: Tensor, axis: int, n: int) -> Tensor:
    """`even` at the even places and `odd` at the odd ones."""
    order = np.empty(n, np.intp)
    order[0::2] = np.arange((n + 1) // 2)
    order[1::2] = (n + 1) // 2 + np.arange(n // 2)
    return concat([even, odd], axis=axis)[(*(slice(None),) * (axis % even.ndim), order)]
