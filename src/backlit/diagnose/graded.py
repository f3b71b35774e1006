"""A gradient split by how many residual branches it came through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.dtypes import wide_dtype
from backlit.core.errors import ArgumentError
from backlit.core.op import Masked, add_masked
from backlit.core.tensor import Tensor, no_grad
from backlit.diagnose.recording import Node, Recording
from backlit.diagnose.replay import Replay, check_runs, is_joint

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Graded:
    """The gradient of `target` as a sum of parts, one for each number of residual branches that it came through.

    `parts[k]` is what came through exactly k branches; `shares[k]` is <parts[k], g> / <g, g>, and these add to 1. `blocks`
    are the sums at which a branch joins its skip connection, in the order of the forward pass.
    """

    target: Node
    parts: tuple[Array, ...]
    shares: tuple[float, ...]
    blocks: tuple[Node, ...]


def residual_sums(recording: Recording) -> dict[Node, int]:
    """The sums `x + F(x)`: for each the argument that is the branch, the one that depends on the other."""
    found = {}
    for node in recording.nodes:
        if node.op is None or node.op.name != "add" or len(node.args) != 2 or not all(node.wanted):
            continue
        x, y = node.args
        if isinstance(x, Node) and isinstance(y, Node) and x is not y:
            early, late = (0, 1) if x.index < y.index else (1, 0)
            if _depends(node.args[late], node.args[early]):
                found[node] = late
    return found


def _depends(late: Node, early: Node) -> bool:
    """Whether a value was computed from another, by ops that pass gradients on."""
    seen, ahead = set(), [late]
    while ahead:
        node = ahead.pop()
        if node is early:
            return True
        if node.index < early.index or node in seen:
            continue
        seen.add(node)
        ahead.extend(a for a, w in zip(node.args, node.wanted, strict=False) if w and isinstance(a, Node))
    return False


def graded(recording: Recording, of: str | Node, most: int = 64) -> Graded:
    """The gradient of a node, split by the number of residual branches taken (Veit, Wilber and Belongie 2016).

    With K sums `x + F(x)` on the way, K + 1 cotangents are carried back: the skip connection leaves a part in its place,
    the branch moves it one place on. Costs up to K + 1 backward passes.

    Raises:
      ArgumentError: there is no such node, no gradient reached it, there are more than `most` residual sums, or the recording
        was read from a file or holds statistics.
    """
    check_runs(recording, "graded")
    target = recording[of] if isinstance(of, str) else of
    if target.cotangent is None:
        raise ArgumentError(f"graded: no gradient reached {target.name!r}")
    branches = {node: argnum for node, argnum in residual_sums(recording).items() if node.index > target.index}
    if len(branches) > most:
        raise ArgumentError(f"graded: there are {len(branches)} residual sums; at most {most} are told apart")
    replay = Replay()
    parts: dict[Node, list[Masked | None]] = {
        n: [(Tensor(n.seed), None)] for n in recording.nodes if n.seed is not None and n.step == target.step
    }
    last = max((n.index for n in parts), default=target.index)
    for node in reversed(recording.nodes[target.index + 1 : last + 1]):
        carried = parts.get(node)
        if carried is None or node.op is None:
            continue
        if is_joint(node) and node.value is None:
            raise ArgumentError(f"graded: {node.name} has several results, which are not split")
        for k, cotangent in enumerate(carried):
            if cotangent is not None:
                for argnum, passed in replay.pull(node, [cotangent]).items():
                    _put(parts.setdefault(node.args[argnum], []), k + (branches.get(node) == argnum), passed)
        del parts[node]
    found = [np.zeros_like(target.cotangent) if p is None else np.asarray(p[0]._value) for p in parts.get(target, [])]
    return Graded(target, tuple(found), _shares(found, target.cotangent), tuple(branches))


def _put(parts: list[Masked | None], k: int, passed: Masked) -> None:
    parts.extend([None] * (k + 1 - len(parts)))
    with no_grad():
        parts[k] = add_masked(parts[k], passed)


def _shares(parts: Sequence[Array], gradient: Array) -> tuple[float, ...]:
    wide = wide_dtype(gradient.dtype)
    g = np.asarray(gradient, wide).reshape(-1)
    unit = float(np.vdot(g, g).real)
    return tuple(float(np.vdot(np.asarray(p, wide), g).real) / unit if unit else 0.0 for p in parts)
