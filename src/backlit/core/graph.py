"""Node: one op in the recorded graph; Cut: where a path to the leaves ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from backlit.core.errors import RuleError
from backlit.core.source import Source, user_source

_ids = itertools.count()
_next_id = _ids.__next__


class Missing:
    """Stands for a value that a rule did not declare in `reads`; touching it is an error."""

    def __init__(self, op: str, name: str) -> None:
        self.__dict__["_what"] = (op, name)

    def _raise(self, *_: Any, **__: Any) -> Any:
        op, name = self.__dict__["_what"]
        raise RuleError(f"{op}: its rule touches {name!r}, which reads() does not name")

    __getattr__ = __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _raise
    __truediv__ = __rtruediv__ = __neg__ = __pow__ = __rpow__ = __gt__ = __lt__ = __ge__ = __le__ = _raise
    __matmul__ = __rmatmul__ = __getitem__ = __float__ = __array__ = _raise


class Freed:
    """Stands for the residuals of a graph that a backward pass used up, with the line of that call."""

    __slots__ = ("by",)

    def __init__(self, by: Any) -> None:
        self.by = by


class Extra:
    """What few nodes have: the cell of a leaf, hooks, the cell that retains its gradient, checksums."""

    __slots__ = ("cell", "checksums", "hooks")

    def __init__(self, cell: Any = None) -> None:
        self.cell = cell
        self.hooks: dict[int, Callable[[Any], Any]] = {}
        self.checksums: Any = None


class Plan:
    """What is the same for all calls of an op with gradients wanted for the same arguments.

    `argnums` are those arguments, `kept` the positions of the inputs that their rules read; `unread` gives the other
    positions, and `unread_out` the output when it is not read, a `Missing` to stand for them.
    """

    __slots__ = ("argnums", "kept", "op", "unread", "unread_out", "wanted")

    def __init__(self, op: Any, wanted: tuple[bool, ...], reads: Callable[[int], frozenset[str] | None]) -> None:
        self.op = op
        self.wanted = wanted
        self.argnums = tuple(i for i, w in enumerate(wanted) if w)
        read = [reads(i) for i in self.argnums]
        every = None in read
        names: frozenset[str] = frozenset().union(*(r for r in read if r is not None))
        inputs = [(i, op.input_name(i)) for i in range(len(wanted))]
        self.kept = tuple(i for i, name in inputs if every or name in names)
        self.unread = tuple((i, Missing(op.name, name)) for i, name in inputs if i not in self.kept)
        self.unread_out = None if every or "out" in names else Missing(op.name, "out")


class Node:
    """One op in the recorded graph: parents, residuals and the user's line; a leaf has no op.

    `inputs` and `out` hold what the rules read: arrays in the imperative graph, lower tensors inside a transform,
    `Missing` for the rest. Ids grow in the order of creation, so descending ids are a reverse topological order.
    `up` is the parent, or the tuple of them when several arguments have one: a chain of a million nodes is then
    half a million fewer objects for the garbage collector to visit.
    """

    __slots__ = ("__weakref__", "dtype", "extra", "id", "inputs", "out", "params", "plan", "shape", "up", "where")

    def __init__(
        self,
        plan: Plan | None,
        up: Any,
        inputs: Any,
        out: Any,
        params: dict[str, Any],
        shape: Any,
        dtype: Any,
        where: Any,
    ) -> None:
        self.id = _next_id()
        self.plan: Any = plan
        self.up = up
        self.inputs = inputs
        self.out = out
        self.params = params
        self.shape = shape
        self.dtype = dtype
        self.where = where
        self.extra: Extra | None = None

    @property
    def op(self) -> Any:
        """The op that made this value; None for a leaf."""
        return None if self.plan is None else self.plan.op

    @property
    def parents(self) -> tuple[Node | None, ...]:
        """For each argument the node it came from, None where no gradient is wanted."""
        if self.plan is None:
            return ()
        ups = iter((self.up,) if self.up.__class__ is Node else self.up)
        return tuple(next(ups) if w else None for w in self.plan.wanted)

    @property
    def source(self) -> Source | None:
        """The line of the user's program that made this value."""
        return Source(*self.where) if self.where else None

    def ensure_extra(self) -> Extra:
        """The extra fields, made when missing."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra

    def __repr__(self) -> str:
        name = "leaf" if self.op is None else self.op.name
        value = "" if self.dtype is None else f" {self.dtype}{list(self.shape)}"  # a joint has no value of its own
        return name + value + (f" made at {self.source}" if self.where else "")


def leaf_node(shape: tuple[int, ...], dtype: Any, cell: Any = None) -> Node:
    """The node of a leaf; `cell` refers weakly to the tensor that accumulates its gradient."""
    node = Node(None, (), (), None, {}, shape, dtype, user_source(2))
    node.extra = Extra(cell)
    return node


class Cut:
    """Where a path to a leaf ended: by `detach`, or by `no_grad` around an op."""

    __slots__ = ("how", "what", "where")

    def __init__(self, how: str, node: Node | Cut) -> None:
        self.how = how
        self.what: Any = node
        if isinstance(node, Node):  # the node itself would keep its graph alive
            self.what = ("leaf" if node.op is None else node.op.name, node.dtype, node.shape, node.where)
        self.where = user_source()

    def __repr__(self) -> str:
        by = f"{self.how}" + (f" at {Source(*self.where)}" if self.where else "")
        if isinstance(self.what, Cut):
            return repr(self.what)
        name, dtype, shape, where = self.what
        made = f" made at {Source(*where)}" if where else ""
        return f"{name} {dtype}{list(shape)}{made} was cut off by {by}"
