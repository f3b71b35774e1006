"""The balance of every node: a reverse rule must be the transpose of the derivative of the forward, or a lamp lights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backlit.autodiff.custom import CustomJoint
from backlit.autodiff.walk import Pick
from backlit.core.dtypes import is_float
from backlit.core.errors import BacklitError
from backlit.core.op import REGISTRY, Elementwise, LinearOp, Masked
from backlit.core.tensor import Tensor
from backlit.diagnose.differences import EPS, tangent
from backlit.diagnose.recording import Node, Recording
from backlit.diagnose.replay import Replay, check_runs, is_joint, results_of
from backlit.diagnose.smaller import parts

Array = np.ndarray[Any, Any]
_MARGIN = 8.0
_ABSURD = 1e-2  # of the terms: rounding does not explain so much


@dataclass(frozen=True)
class NodeBalance:
    """The balance of one node.

    `residual` is |<delta, dy> - sum <contribution, dx>| over the sum of all terms' absolute values, 0 where the rule is
    right (of elementwise ops the sum of that at every element, so that nothing cancels); `allowed` what rounding and finite
    differences explain of it. `note` says why a node was not looked at.
    """

    node: Node
    residual: float
    allowed: float
    note: str = ""

    @property
    def guilty(self) -> bool:
        """Whether the rule of this node is broken."""
        return self.residual > self.allowed

    @property
    def checked(self) -> bool:
        """Whether the node was looked at."""
        return not math.isnan(self.residual)


@dataclass(frozen=True)
class Balance:
    """The balances of all nodes that an op made, in the order of the forward pass.

    `merges` are the nodes whose gradient is not the sum of the contributions to it: a hook replaced it, or the sum is
    broken.
    """

    nodes: tuple[NodeBalance, ...]
    merges: tuple[Node, ...]

    @property
    def guilty(self) -> list[Node]:
        """The nodes whose rule is broken."""
        return [found.node for found in self.nodes if found.guilty]

    def __getitem__(self, node: Node) -> NodeBalance:
        """The balance of a node."""
        return next(found for found in self.nodes if found.node is node)


def balance(recording: Recording, seed: int = 0) -> Balance:
    """Whether the reverse rule of every node that took part in a backward pass is right, node by node.

    At each node <delta, dy> = sum over its arguments of <contribution, dx> must hold for any tangent dx, with dy the
    tangent that the forward gives. The tangents are drawn for each node afresh, so that no fault reaches another node.
    The tangent dy comes from what the reverse rule does not use: for linear ops the op itself; for products the
    forward-mode rule; for all other ops finite differences of the forward in double precision (at kinks, the forward-mode
    rule); for functions with their own rule, the traced forward. Of large elementwise nodes 4,096 elements are looked at,
    of large products 16 rows and 16 columns, drawn at random. Costs a few passes over the values, about
    a fifth of a millisecond for a small node.

    Raises:
      ArgumentError: the recording was read from a file.
    """
    if recording.packed is not None:  # of statistics it says node by node that it cannot look at them
        check_runs(recording, "balance")
    replay, results, passed = Replay(), results_of(recording), _passed(recording)
    found = []
    for node in recording.nodes:
        if node.op is None or isinstance(node.op, Pick):
            continue
        rng = np.random.default_rng([seed, node.index])
        try:
            found.append(_worst(node, results.get(node, [node]), passed.get(node, {}), replay, rng))
        except BacklitError as error:
            found.append(NodeBalance(node, math.nan, math.nan, str(error)))
    merges = tuple(n for n in recording.nodes if n.cotangent is not None and not _is_sum(n))
    return Balance(tuple(found), merges)


def _is_sum(node: Node) -> bool:
    total = node.resummed()
    return total is not None and np.array_equal(total, node.cotangent, equal_nan=True)  # type: ignore[arg-type]


def _passed(recording: Recording) -> dict[Node, dict[int, Array]]:
    """What each node passed to its arguments."""
    found: dict[Node, dict[int, Array]] = {}
    for node in recording.nodes:
        for contribution in node.contributions:
            found.setdefault(contribution.child, {})[contribution.argnum] = contribution.value
    return found


def _worst(
    node: Node, outs: Sequence[Node], passed: dict[int, Array], replay: Replay, rng: np.random.Generator
) -> NodeBalance:
    """The balance of a node, or of that of its parts which is furthest off."""
    if outs != [node] or node.cotangent is None or any(isinstance(a, Node) and a.value is None for a in node.args):
        return _balance(node, outs, passed, [i for i, w in enumerate(node.wanted) if w], replay, rng)
    found = [_balance(part, [part], its, moving, replay, rng) for part, its, moving in parts(node, passed, rng)]
    worst = max(found, key=lambda b: b.residual - b.allowed if b.checked else -math.inf)
    return replace(worst, node=node)


def _balance(
    node: Node, outs: Sequence[Node], passed: dict[int, Array], moving: Sequence[int], replay: Replay,
    rng: np.random.Generator,
) -> NodeBalance:  # fmt: skip
    """The balance of a node whose arguments `moving` have a tangent."""
    cotangents = [out.cotangent for out in outs]
    if isinstance(node.op, CustomJoint) and not node.op.owner.exact:
        return NodeBalance(node, math.nan, math.nan, "its rule is not the derivative of its forward, on purpose")
    if all(c is None for c in cotangents):
        return NodeBalance(node, math.nan, math.nan, "no gradient reached it")
    arrays = [c for c in cotangents if c is not None] + list(passed.values())
    arrays += [a.value for a in node.args if isinstance(a, Node) and a.value is not None and is_float(a.dtype)]
    if any(isinstance(a, Node) and a.value is None for a in node.args):
        return NodeBalance(node, math.nan, math.nan, "the values were not kept")
    if any(a.dtype.kind == "c" for a in arrays):
        return NodeBalance(node, math.nan, math.nan, "complex numbers are not looked at")
    if not all(np.all(np.isfinite(a)) for a in arrays if a.dtype.kind in "fV"):
        return NodeBalance(node, math.nan, math.nan, "a value or gradient is not finite")
    dx = {i: _direction(node.args[i].value, passed.get(i), rng) for i in moving}
    eps = _unit(a.dtype for a in arrays)
    noise = _noise(node, cotangents, passed, replay, rng, eps, by_value=False)
    pushed = _pushed(node, [dx.get(i) for i in range(len(node.args))], replay)
    off: Any = 0.0  # at each element of an elementwise node, where nothing can cancel; of others the sum
    size = allowed = rounding = 0.0
    single = isinstance(node.op, Elementwise)
    for cotangent, pair in zip(cotangents, pushed, strict=True):
        if cotangent is None or pair is None:
            continue
        terms = np.asarray(cotangent, np.float64) * pair[0]
        off = off + (terms if single else float(np.sum(terms)))
        size += float(np.sum(np.abs(terms)))
        allowed += 2 * float(np.sum(np.abs(cotangent) * np.where(np.asarray(cotangent) == 0, 0, pair[1])))
    for i in moving:
        if i in passed:
            terms = np.asarray(passed[i], np.float64) * dx[i]
            off = off - (terms if single else float(np.sum(terms)))
            size += float(np.sum(np.abs(terms)))
            rounding += _MARGIN * float(np.sum(noise[i] * np.abs(dx[i])))
    if not size:
        return NodeBalance(node, 0.0, 0.0)
    if rounding > _ABSURD * size:  # the rule looks for equal numbers, such as the largest among its inputs
        noise = _noise(node, cotangents, passed, replay, rng, eps, by_value=True)
        rounding = sum(_MARGIN * float(np.sum(noise[i] * np.abs(dx[i]))) for i in moving if i in passed)
    allowed += rounding
    return NodeBalance(node, float(np.sum(np.abs(off))) / size, allowed / size + 64 * EPS)


def _direction(value: Array, passed: Array | None, rng: np.random.Generator) -> Array:
    """A tangent of the size of each element, mostly along what was passed on: so the terms of the balance hardly cancel."""
    size = np.abs(np.asarray(value, np.float64))
    flat = size.reshape(-1)
    floor = 1e-3 * float(np.median(flat[:: max(1, flat.size // 1000)])) if flat.size else 0.0
    signs = np.where(_coins(rng, size.shape), 1.0, -1.0)
    draws = rng.random(size.shape, np.float32)
    if passed is not None:
        along = np.sign(np.asarray(passed, np.float64))
        signs = np.where((draws < 0.7) & (along != 0), along, signs)
    return np.asarray(signs * (0.5 + draws) * np.maximum(size, floor or 1.0))


def _coins(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """As many tosses of a coin."""
    n = math.prod(shape)
    bits = np.unpackbits(np.frombuffer(rng.bytes((n + 7) // 8), np.uint8), count=n)
    return bits.astype(bool).reshape(shape)


def _hashed(x: Array, salt: bytes) -> Array:
    """Tosses of a coin that depend on the number alone."""
    bits = (
        np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")
        if x.dtype.itemsize <= 8
        else x.astype(np.float64).view("u8")
    )
    odd = np.frombuffer(salt, np.uint64)[0] | np.uint64(1)
    mixed = (bits.astype(np.uint64) + np.uint64(1)) * odd
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(17) & np.uint64(1), bool).reshape(x.shape)


def _noise(
    node: Node, cotangents: Sequence[Array | None], passed: dict[int, Array], replay: Replay,
    rng: np.random.Generator, eps: float, by_value: bool,
) -> dict[int, Array]:  # fmt: skip
    """How far rounding may have moved each contribution: the rule once more, on numbers that differ by their rounding;
    with `by_value` what is equal stays equal."""
    salt = rng.bytes(8)

    def shaken(x: Array) -> Array:
        factors = np.array([1 - eps, 1 + eps], x.dtype)
        up = _hashed(x, salt) if by_value else _coins(rng, x.shape)
        return np.asarray(np.where(up, x * factors[1], x * factors[0]), x.dtype)

    moved: list[Masked | None] = [None if c is None else (Tensor(shaken(c)), None) for c in cotangents]
    still: list[Masked | None] = [None if c is None else (Tensor(c), None) for c in cotangents]
    pulled, before = replay.pull(node, moved, shaken), replay.pull(node, still)
    terms = 1.0
    if not isinstance(node.op, Elementwise):
        arrays = [c for c in cotangents if c is not None] + list(passed.values())
        longest = max((n for a in arrays for n in a.shape), default=1)
        most = max((a.size for a in arrays), default=1)
        least = max(1, min((a.size for a in arrays), default=1))
        terms = math.sqrt(max(1, longest, most // least))  # sums so long lose digits with the root of their length
    found = {}
    for i, value in passed.items():
        kept = np.asarray(value, np.float64)
        off = np.zeros(kept.shape)
        if i in pulled and i in before:
            off = np.abs(np.asarray(pulled[i][0]._value, np.float64) - before[i][0]._value)
        found[i] = terms * (np.where(np.isfinite(off), off, 0.0) + eps * np.abs(kept))
    return found


def _unit(dtypes: Iterable[np.dtype[Any]]) -> float:
    """The rounding unit of the narrowest float among them; bfloat16 has seven bits of fraction."""
    units = [2.0**-7 if d.kind == "V" else float(np.finfo(d).eps) for d in dtypes if d.kind in "fV"]
    return max(units, default=EPS)


def _pushed(node: Node, directions: Sequence[Array | None], replay: Replay) -> list[tuple[Array, Array] | None]:
    """The tangent of each result and a bound on its error."""
    op = node.op
    if isinstance(op, Elementwise):
        values = [a.value if isinstance(a, Node) else a for a in node.args]
        return _pushed_elementwise(op, values, directions, node.value)
    given: list[Masked | None] = [None if d is None else (Tensor(d), None) for d in directions]
    if is_joint(node):
        lowered: list[Masked | None] = [
            None if d is None else (Tensor(d.astype(a.dtype)), None) for d, a in zip(directions, node.args, strict=True)
        ]
        eps = _unit(a.dtype for a in node.args if isinstance(a, Node))
        pushed = replay.push(node, lowered, traced=True)
        return [None if t is None else _with_error(t[0], 64 * eps) for t in pushed]
    (pair,) = replay.push(node, given, wide=True)
    if pair is None:
        return [None]
    exact = np.asarray(pair[0]._value, np.float64)
    if isinstance(op, LinearOp) or op is REGISTRY["matmul"]:
        eps = float(np.finfo(node.dtype).eps) if op is REGISTRY["astype"] and node.dtype.kind == "f" else EPS
        return [(exact, eps * np.abs(exact))]
    values = [_wide(a.value) if isinstance(a, Node) else a for a in node.args]
    assert op is not None
    inside = sum(
        float(np.max(np.abs(v), initial=0.0)) for v, d in zip(values, directions, strict=True) if d is not None
    )
    found, error = tangent(lambda *x: op.forward(*x, **node.params), values, directions, np.abs(exact) + inside)
    return [_or_rule(found, error, exact)]


def _with_error(t: Any, eps: float) -> tuple[Array, Array]:
    value = np.asarray(t._value, np.float64)
    return value, eps * np.abs(value)


def _wide(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, (np.ndarray, np.generic)) and is_float(x.dtype) else x


def _or_rule(found: Array, error: Array, exact: Array) -> tuple[Array, Array]:
    """Differences, where they tell something; else what the forward-mode rule says."""
    useless = ~(error <= 1e-3 * np.maximum(np.abs(found), np.abs(exact)))
    return np.where(useless, exact, found), np.where(useless, 0.0, error)


def _pushed_elementwise(
    op: Elementwise, values: Sequence[Any], directions: Sequence[Array | None], out: Any
) -> list[tuple[Array, Array] | None]:
    wide = [_wide(v) for v in values]
    inputs = [Tensor(np.asarray(v)) if isinstance(v, (np.ndarray, np.generic)) else v for v in wide]
    exact, size = np.zeros(np.shape(out)), np.zeros(np.shape(out))
    for i, direction in enumerate(directions):
        if direction is not None:
            given: list[Masked | None] = [None] * len(inputs)
            given[i] = (Tensor(direction), None)
            pair = op.push(tuple(given), Tensor(np.asarray(_wide(out))), inputs, {})
            assert pair is not None
            exact = exact + pair[0]._value
            size = size + np.abs(pair[0]._value)
    found, error = tangent(op.forward, wide, directions, size)
    return [_or_rule(found, error, exact)]
