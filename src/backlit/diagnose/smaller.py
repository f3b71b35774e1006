"""Parts of large nodes whose reverse rule can be looked at by itself: single elements, rows and columns of products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backlit.core.op import REGISTRY, Elementwise
from backlit.diagnose.recording import Node

Array = np.ndarray[Any, Any]
SAMPLE = 4096  # elements of an elementwise node
LINES = 16  # rows and columns of a product
_WORK = 2_000_000  # multiplications of a product above which only some lines are looked at
Part = tuple[Node, dict[int, Array], tuple[int, ...]]


def parts(node: Node, passed: dict[int, Array], rng: np.random.Generator) -> list[Part]:
    """Small nodes that stand for a large one, each with what it passed and the arguments that it was passed to; the node
    itself when it is small.

    Of an elementwise node some elements are a node of their own. A row of a product depends on that row of the first
    factor alone, as does what is passed to it; a column on that column of the second.
    """
    wanted = tuple(i for i, w in enumerate(node.wanted) if w)
    if isinstance(node.op, Elementwise) and np.size(node.value) > SAMPLE:
        at = rng.choice(np.size(node.value), SAMPLE, replace=False)

        def pick(x: Any) -> Array:
            return np.asarray(x).reshape(-1)[at]

        args = tuple(_cut(a, pick(a.value)) if isinstance(a, Node) else a for a in node.args)
        made = replace(_cut(node, pick(node.value)), args=args, cotangent=pick(node.cotangent))
        return [(made, {i: pick(c) for i, c in passed.items()}, wanted)]
    if node.op is REGISTRY["matmul"] and np.size(node.value) * node.args[0].shape[-1] > _WORK:
        return _lines(node, passed, rng)
    return [(node, passed, wanted)]


def _lines(node: Node, passed: dict[int, Array], rng: np.random.Generator) -> list[Part]:
    x, y = node.args
    lead = tuple(int(rng.integers(n)) for n in node.shape[:-2])  # one product of many
    m, n = node.shape[-2:]
    first, second, out, delta = (np.asarray(a)[lead] for a in (x.value, y.value, node.value, node.cotangent))
    found: list[Part] = []
    if node.wanted[0]:
        rows = rng.choice(m, min(LINES, m), replace=False)
        made = replace(
            _cut(node, out[rows]),
            args=(_cut(x, first[rows]), _cut(y, second)),
            cotangent=delta[rows],
        )
        found.append((made, {0: passed[0][lead][rows]} if 0 in passed else {}, (0,)))
    if node.wanted[1]:
        columns = rng.choice(n, min(LINES, n), replace=False)
        made = replace(
            _cut(node, out[:, columns]), args=(_cut(x, first), _cut(y, second[:, columns])),
            cotangent=delta[:, columns],
        )  # fmt: skip
        found.append((made, {1: passed[1][lead][:, columns]} if 1 in passed else {}, (1,)))
    return found


def _cut(node: Node, value: Array) -> Node:
    return replace(node, value=value, shape=value.shape)
