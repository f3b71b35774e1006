"""Flatten and rebuild nested containers; the path of each leaf; values lent to cells for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backlit.core.errors import ShapeError

Path = tuple[Any, ...]
_registry: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any], Callable[[Any], int] | None]] = {}


def register(
    cls: type,
    flatten: Callable[[Any], tuple[Any, Any]],
    unflatten: Callable[[Any, tuple[Any, ...]], Any],
    n_trained: Callable[[Any], int] | None = None,
) -> None:
    """Makes `cls` a container: `flatten(x) -> (children, aux)`, `unflatten(aux, children) -> x`.

    With `n_trained`, its children are tensors that belong to it: a transform lends them new values instead of
    rebuilding `x`, and gives gradients to the first `n_trained(x)` of them.
    """
    _registry[cls] = (flatten, unflatten, n_trained)


def _entry(x: Any) -> Any:
    for cls in type(x).__mro__:
        if cls in _registry:
            return _registry[cls]
    return None


def _split(x: Any) -> tuple[tuple[Any, ...], Any, Callable[[Any, Any], Any], Path] | None:
    if isinstance(x, dict):
        keys = tuple(x)
        return tuple(x.values()), keys, lambda aux, ch: dict(zip(aux, ch, strict=True)), keys
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return tuple(x), type(x), lambda aux, ch: aux(*ch), x._fields
    if isinstance(x, (tuple, list)):
        return tuple(x), type(x), lambda aux, ch: aux(ch), tuple(range(len(x)))
    entry = _entry(x)
    if entry is None:
        return None
    children, aux = entry[0](x)
    return tuple(children), aux, entry[1], tuple(range(len(children)))


class Structure:
    """What remains of a tree when its leaves are taken out."""

    __slots__ = ("aux", "children", "kind", "n_leaves", "rebuild")

    def __init__(self, kind: Any, aux: Any, rebuild: Any, children: tuple[Structure, ...] | None) -> None:
        self.kind, self.aux, self.rebuild, self.children = kind, aux, rebuild, children
        self.n_leaves: int = 1 if children is None else sum(c.n_leaves for c in children)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure) or self.kind is not other.kind or self.children != other.children:
            return False
        return self.kind is not dict or bool(self.aux == other.aux)

    def __hash__(self) -> int:
        return hash((self.kind, self.children))


_LEAF = Structure(None, None, None, None)
_NONE = Structure(type(None), None, lambda aux, ch: None, ())


def flatten(x: Any) -> tuple[list[Any], Structure]:
    """The leaves of `x` in order, and its structure; `None` is an empty container."""
    if x is None:
        return [], _NONE
    parts = _split(x)
    if parts is None:
        return [x], _LEAF
    children, aux, rebuild, _ = parts
    found: list[Any] = []
    structures = []
    for child in children:
        below, structure = flatten(child)
        found += below
        structures.append(structure)
    return found, Structure(type(x), aux, rebuild, tuple(structures))


def unflatten(structure: Structure, leaves: Any) -> Any:
    """Rebuilds the tree with new leaves.

    Raises:
      ShapeError: their number is another one.
    """
    leaves = list(leaves)
    if structure.n_leaves != len(leaves):
        raise ShapeError(f"tree.unflatten: expected {structure.n_leaves} leaves, got {len(leaves)}")
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Any) -> Any:
    if structure.children is None:
        return next(leaves)
    return structure.rebuild(structure.aux, tuple([_build(c, leaves) for c in structure.children]))


def parts(x: Any) -> tuple[tuple[Any, ...], Any, Callable[[Any], Any]] | None:
    """Children and auxiliary data of an object of a registered class, and what rebuilds it from other children.

    None for what belongs to no such class, and for objects that keep their own tensors, such as modules.
    """
    entry = _entry(x)
    if entry is None or entry[2] is not None:
        return None
    children, aux = entry[0](x)
    return tuple(children), aux, lambda new: entry[1](aux, tuple(new))


def leaves(x: Any) -> list[Any]:
    """The leaves of `x` in order."""
    return flatten(x)[0]


def paths(x: Any) -> list[Path]:
    """The path of each leaf: keys and positions from the outside in."""
    if x is None:
        return []
    parts = _split(x)
    if parts is None:
        return [()]
    return [(key, *path) for key, child in zip(parts[3], parts[0], strict=True) for path in paths(child)]


def map(f: Callable[..., Any], x: Any, *others: Any) -> Any:
    """Applies `f` to the leaves of trees of one structure.

    Raises:
      ShapeError: the numbers of leaves differ.
    """
    first, structure = flatten(x)
    rest = [flatten(o)[0] for o in others]
    if any(len(r) != len(first) for r in rest):
        raise ShapeError("tree.map: the trees have different structures")
    return unflatten(structure, [f(*values) for values in zip(first, *rest, strict=True)])


def trained(x: Any) -> list[bool]:
    """For each leaf whether a gradient is asked of it: all but the untrained tensors of a container like a module."""
    if x is None:
        return []
    parts = _split(x)
    if parts is None:
        return [True]
    entry = _entry(x) if not isinstance(x, (dict, tuple, list)) else None
    if entry is not None and entry[2] is not None:
        count = entry[2](x)
        return [i < count for i in range(len(parts[0]))]
    return [flag for child in parts[0] for flag in trained(child)]


@contextmanager
def lent(x: Any, new: list[Any], *, state: bool = False) -> Iterator[Any]:
    """`x` with its leaves replaced by the tensors `new`.

    A container whose tensors belong to it stays the same object: its cells hold the new values inside, and their own
    again afterwards. With `state` what is written inside into one that is not trained, such as a running mean, stays there
    unless there is an exception.
    """
    restore: list[tuple[Any, Any, Any, Any]] = []
    done = False
    try:
        yield _lend(x, iter(new), restore)
        done = True
    finally:
        for cell, value, node, given in restore:
            if not (state and done and given is not None and cell._value is not given):
                cell._value, cell.node = value, node


def _lend(x: Any, new: Iterator[Any], restore: list[tuple[Any, Any, Any, Any]]) -> Any:
    if x is None:
        return None
    parts = _split(x)
    if parts is None:
        return next(new)
    children, aux, rebuild, _ = parts
    entry = _entry(x) if not isinstance(x, (dict, tuple, list)) else None
    if entry is None or entry[2] is None:
        return rebuild(aux, tuple([_lend(c, new, restore) for c in children]))
    n_trained = entry[2](x)
    for i, cell in enumerate(children):
        value = next(new)
        restore.append((cell, cell._value, cell.node, None if i < n_trained else value._value))
        cell._value, cell.node = value._value, value.node
    return x
