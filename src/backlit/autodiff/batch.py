"""vmap: a function of one example made a function of many, by the batching rules of its ops."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from backlit.autodiff.trace import Trace, no_contents
from backlit.core import tree
from backlit.core.errors import ShapeError
from backlit.core.op import Op, shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.ops.linear import broadcast_to, normalize_axes, permute_dims


class BatchBox(Box):
    """A value whose primal has the batch axis first."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.primal.shape[1:]


class BatchTrace(Trace):
    """Applies the batching rules."""

    one_value = False

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name)
        self.size = size

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        batched = tuple(self.box(a) is not None for a in args)
        out = op.batch(self.size, tuple(self.lower(a) for a in args), batched, params)
        return Tensor(BatchBox(self, out))

    def detach(self, x: Tensor) -> Tensor:
        return Tensor(BatchBox(self, self.lower(x).detach()))

    def concrete(self, box: Box) -> Any:
        raise no_contents(self.name, box)


def _axes(axes: Any, x: Any, what: str) -> list[int | None]:
    """The axis of each leaf of `x`, from a prefix tree of axes."""
    if axes is None or isinstance(axes, int):
        return [axes] * len(tree.leaves(x))
    if isinstance(axes, (tuple, list)) and isinstance(x, (tuple, list)) and len(axes) == len(x):
        return [a for part, child in zip(axes, x, strict=True) for a in _axes(part, child, what)]
    if isinstance(axes, dict) and isinstance(x, dict) and axes.keys() == x.keys():
        return [a for key in x for a in _axes(axes[key], x[key], what)]
    raise ShapeError(f"vmap: {what} {axes!r} is not a prefix of the tree it belongs to{here()}")


def move_axis(x: Tensor, start: int, to: int) -> Tensor:
    """`x` with axis `start` moved to `to`."""
    (start,), (to,) = normalize_axes("vmap", start, x.ndim), normalize_axes("vmap", to, x.ndim)
    rest = [a for a in range(x.ndim) if a != start]
    return x if start == to else permute_dims(x, axes=(*rest[:to], start, *rest[to:]))


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Any:
    """A function that applies `f` along an axis of its arguments, as one call of each op for all examples.

    `in_axes` is an axis, None for an argument shared by all examples, or a tuple (a prefix tree) of them; `out_axes`
    likewise says where the batch axis of the outputs goes. Keyword arguments are mapped along axis 0.

    Raises:
      ShapeError: the mapped axes differ in length, or there is none.
    """

    @wraps(f)
    def batched(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_axes, (tuple, list)) and len(in_axes) != len(args):
            raise ShapeError(f"vmap: in_axes names {len(in_axes)} arguments, {len(args)} are given{here()}")
        whole = (args, kwargs)
        axes = [*_axes(in_axes, args, "in_axes"), *([0] * len(tree.leaves(kwargs)))]
        values = [as_tensor(x) for x in tree.leaves(whole)]
        sizes: dict[int, str] = {}
        for x, axis in zip(values, axes, strict=True):
            if axis is not None:
                if not -x.ndim <= axis < x.ndim:
                    raise ShapeError(f"vmap: no axis {axis} in {shown(x)}{here()}")
                sizes.setdefault(x.shape[axis], shown(x))
        if len(sizes) != 1:
            found = " and ".join(f"{n} ({what})" for n, what in sizes.items())
            raise ShapeError(f"vmap: the mapped axes have lengths {found or 'of no argument'}{here()}")
        (size,) = sizes
        with BatchTrace("vmap", size) as trace:
            new = [
                Tensor(x._value, x.node)
                if axis is None
                else Tensor(BatchBox(trace, move_axis(Tensor(x._value, x.node), axis, 0)))
                for x, axis in zip(values, axes, strict=True)
            ]
            with tree.lent(whole, new) as (traced, traced_kwargs):
                out = f(*traced, **traced_kwargs)
            leaves, structure = tree.flatten(out)
            outs = []
            for leaf, axis in zip(leaves, _axes(out_axes, out, "out_axes"), strict=True):
                x = as_tensor(leaf)
                value = trace.lower(x)
                if trace.box(x) is None:
                    if axis is None:
                        outs.append(value)
                        continue
                    value = broadcast_to(value, shape=(size, *value.shape))
                elif axis is None:
                    raise ShapeError(f"vmap: out_axes is None for an output that differs by example{here()}")
                outs.append(move_axis(value, 0, axis))
        return tree.unflatten(structure, outs)

    return batched
