"""Flatten and rebuild nested containers; the path of each leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlit.core.errors import ShapeError

_registry: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {}


def register(
    cls: type,
    flatten: Callable[[Any], tuple[Any, Any]],
    unflatten: Callable[[Any, tuple[Any, ...]], Any],
) -> None:
    """Makes `cls` a container: `flatten(x) -> (children, aux)`, `unflatten(aux, children) -> x`."""
    _registry[cls] = (flatten, unflatten)


def _split(x: Any) -> tuple[tuple[Any, ...], Any, Callable[[Any, Any], Any]] | None:
    if isinstance(x, dict):
        keys = tuple(x)
        return tuple(x.values()), keys, lambda aux, ch: dict(zip(aux, ch, strict=True))
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return tuple(x), type(x), lambda aux, ch: aux(*ch)
    if isinstance(x, (tuple, list)):
        return tuple(x), type(x), lambda aux, ch: aux(ch)
    for cls in type(x).__mro__:
        if cls in _registry:
            flatten_, unflatten_ = _registry[cls]
            children, aux = flatten_(x)
            return tuple(children), aux, unflatten_
    return None


class Structure:
    """What remains of a tree when its leaves are taken out."""

    def __init__(self, aux: Any, rebuild: Any, children: tuple[Structure, ...] | None) -> None:
        self.aux, self.rebuild, self.children = aux, rebuild, children

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return 1 if self.children is None else sum(c.n_leaves for c in self.children)


def flatten(x: Any) -> tuple[list[Any], Structure]:
    """The leaves of `x` in order, and its structure; `None` is an empty container."""
    if x is None:
        return [], Structure(None, lambda aux, ch: None, ())
    parts = _split(x)
    if parts is None:
        return [x], Structure(None, None, None)
    children, aux, rebuild = parts
    found: list[Any] = []
    structures = []
    for child in children:
        below, structure = flatten(child)
        found += below
        structures.append(structure)
    return found, Structure(aux, rebuild, tuple(structures))


def unflatten(structure: Structure, leaves: list[Any]) -> Any:
    """Rebuilds the tree with new leaves."""
    if structure.n_leaves != len(leaves):
        raise ShapeError(f"unflatten: expected {structure.n_leaves} leaves, got {len(leaves)}")
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Any) -> Any:
    if structure.children is None:
        return next(leaves)
    return structure.rebuild(structure.aux, tuple(_build(c, leaves) for c in structure.children))


def leaves(x: Any) -> list[Any]:
    """The leaves of `x` in order."""
    return flatten(x)[0]


def map(f: Callable[..., Any], x: Any, *others: Any) -> Any:  # noqa: A001 - the field's name
    """Applies `f` to the leaves of trees of one structure."""
    first, structure = flatten(x)
    rest = [flatten(o)[0] for o in others]
    if any(len(r) != len(first) for r in rest):
        raise ShapeError("tree.map: the trees have different structures")
    return unflatten(structure, [f(*values) for values in zip(first, *rest, strict=True)])
