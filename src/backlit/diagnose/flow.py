"""How gradients grow and shrink through the layers, what makes them, and which units take no part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.op import REGISTRY, Elementwise
from backlit.core.tensor import Tensor, no_grad
from backlit.diagnose.bands import Bands
from backlit.diagnose.recording import Contribution, Node, Recording, Scope, Step
from backlit.diagnose.statistics import plain

Array = np.ndarray[Any, Any]
STEEPEST = {"tanh": 1.0, "sigmoid": 0.25, "erf": 2.0 / math.sqrt(math.pi), "normal_cdf": 1.0 / math.sqrt(2.0 * math.pi)}
_FLAT = 0.05  # of the steepest slope: less is saturated
_MOVES = frozenset({
    "reshape", "permute_dims", "broadcast_to", "sum_to", "sum", "index", "scatter_add", "concat", "pad", "astype", "put",
})  # fmt: skip


@dataclass(frozen=True)
class Culprit:
    """One reason why a gradient is out of band: what multiplied it, and by how much from the last layer to here."""

    what: str
    factor: float
    node: Node


@dataclass(frozen=True)
class Layer:
    """A call with parameters, and the sizes of what flows through it.

    `node` is its result, `value_rms` the root mean square of it, `delta_norm` the norm of the gradient that arrives there,
    `grad_norm` that of the gradients of its parameters. `gain` is `delta_norm` over that of the next layer, `product` over
    that of the last one, `powers` its size as |log10 product|. `band` is 0, or 1 or 2 where that is above the limits;
    `culprits` say what made the product so small or so large, the strongest first.
    """

    name: str
    call: Scope | None
    node: Node
    value_rms: float
    delta_norm: float
    grad_norm: float
    gain: float
    product: float
    powers: float
    band: int
    culprits: tuple[Culprit, ...]


@dataclass(frozen=True)
class Activation:
    """A node that can be dead or saturated, with the fraction of its units (of elements, for one axis) that are.

    A unit, one place along the last axis, is dead when it is 0 for every example; an element is saturated when its slope is
    below 5 % of the steepest. `band` is 1 where more of them are than the limits allow.
    """

    node: Node
    dead: float
    zero: float
    saturated: float
    band: int = 0


@dataclass(frozen=True)
class UpdateRatio:
    """The size of an update over that of what was updated; `band` is 0 within the limits, 2 beyond ten times them."""

    node: Node
    step: int
    ratio: float
    band: int


@dataclass(frozen=True)
class Flow:
    """The flow of gradients in one step: layers in the order of the forward pass, activations, updates."""

    layers: tuple[Layer, ...]
    activations: tuple[Activation, ...]
    updates: tuple[UpdateRatio, ...]


def flow(recording: Recording, step: int | None = None, bands: Bands = Bands()) -> Flow:  # noqa: B008 - never changes
    """How the gradient grows or shrinks from layer to layer in one step (the last one unless given).

    A layer is a call of a module that uses parameters of its own; without modules, a function, or an op that uses one. It is
    out of band when the gradient at its result is more powers of ten larger or smaller than at the last layer than `bands`
    allow; they have the limits of units and updates too. Costs a norm for each value on the way and the slopes of activations, less than a forward pass. Of a
    recording of statistics there are no culprits and no activations.

    Raises:
      ArgumentError: there is no such step.
    """
    if not recording.steps:
        raise ArgumentError("flow: nothing was recorded")
    if step is None:
        step = next((s.index for s in reversed(recording.steps) if s.root is not None), len(recording.steps) - 1)
    if not 0 <= step < len(recording.steps):
        raise ArgumentError(f"flow: there is no step {step}; there are {len(recording.steps)}")
    found = recording.steps[step]
    nodes = recording.nodes[found.start_node : found.stop_node]
    return Flow(tuple(_layers(nodes, bands)), tuple(_activations(nodes, bands)), tuple(_updates(found, bands)))


# Layers


def _layers(nodes: Sequence[Node], bands: Bands) -> list[Layer]:
    groups: dict[Any, list[Node]] = {}
    calls: dict[Any, Scope | None] = {}
    for node in nodes:
        if node.op is not None:
            for a in node.args:
                if isinstance(a, Node) and a.kind == "parameter":
                    key, call = _call(node)
                    groups.setdefault(key, []).append(a)
                    calls[key] = call
    last: dict[Any, Node] = {}  # the last value of each call that got a gradient
    for node in nodes:
        if node.op is not None and _known(node, "cotangent"):
            last[node] = node
            for scope in node.call.ancestors():
                last[scope] = node
    outs = {key: last.get(key) for key in calls}
    kept = sorted(((out, key) for key, out in outs.items() if out is not None), key=lambda pair: pair[0].index)
    norms = [_norm_of(out, "cotangent") for out, _ in kept]
    summed = bool(kept) and kept[-1][0].cotangent is None  # of statistics there is no way to follow
    ways = _Ways(kept[-1][0]) if kept and not summed else None
    made = []
    for i, (out, key) in enumerate(kept):
        product = _ratio(norms[i], norms[-1])
        powers = abs(math.log10(product)) if product > 0 and math.isfinite(product) else math.inf
        gradients = {a: _norm_of(a, "cotangent") for a in groups[key] if _known(a, "cotangent")}
        made.append(
            Layer(
                name=_layer_name(out, calls[key]),
                call=calls[key],
                node=out,
                value_rms=_rms_of(out),
                delta_norm=norms[i],
                grad_norm=math.sqrt(sum(norm**2 for norm in gradients.values())),
                gain=_ratio(norms[i], norms[i + 1]) if i + 1 < len(kept) else 1.0,
                product=product,
                powers=powers,
                band=bands.of_powers(powers),
                culprits=_culprits(ways.factors(out), product) if powers and ways is not None else (),
            )
        )
    return made


def _call(node: Node) -> tuple[Any, Scope | None]:
    """What a layer is that uses a parameter at this node: the module call, else the function call, else the node."""
    scopes = list(node.call.ancestors())
    call = next((s for s in scopes if s.kind == "module"), None) or next(
        (s for s in scopes if s.kind == "function"), None
    )
    return (node, None) if call is None else (call, call)


def _layer_name(out: Node, call: Scope | None) -> str:
    if call is None:
        return out.name
    return call.path or call.name


def _norm(x: Any) -> float:
    return math.nan if x is None else float(np.linalg.norm(plain(x).astype(np.float64).reshape(-1)))


def _known(node: Node, name: str) -> bool:
    """Whether the value or the gradient of a node was kept, or its statistics."""
    return getattr(node, name) is not None or name in (node.statistics or {})


def _norm_of(node: Node, name: str) -> float:
    array = getattr(node, name)
    if array is None and name in (node.statistics or {}):
        return node.statistics[name].norm  # type: ignore[index]
    return _norm(array)


def _rms_of(node: Node) -> float:
    size = math.prod(node.shape)
    return _norm_of(node, "value") / math.sqrt(size) if size else math.nan


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan if not a else math.inf


# Why: the product of a layer as factors along the way that most of the gradient came


Kind = tuple[str, str]


@dataclass(frozen=True)
class _Factors:
    """All factors of one kind along a way: their product as a logarithm, how many, the smallest and the largest."""

    log: float
    count: int
    least: tuple[float, Node]
    most: tuple[float, Node]

    def also(self, factor: float, node: Node) -> _Factors:
        least = (factor, node) if factor < self.least[0] else self.least
        most = (factor, node) if factor > self.most[0] else self.most
        return _Factors(self.log + _log10(factor), self.count + 1, least, most)


class _Ways:
    """The factors by which a gradient changed on its way from the last layer, of which the largest contributions are followed.

    What is known of a node is kept, so that all nodes together cost one step each.
    """

    def __init__(self, last: Node) -> None:
        self.known: dict[Node, dict[Kind, _Factors]] = {last: {}}
        self.last = last

    def factors(self, node: Node) -> dict[Kind, _Factors]:
        """The factors between the last layer and a node, by kind."""
        way: list[tuple[Node, Contribution]] = []
        while node not in self.known and node.index < self.last.index and node.contributions:
            largest = node.contributions[0]
            if len(node.contributions) > 1:
                largest = max(node.contributions, key=lambda c: _norm(c.value))
            way.append((node, largest))
            node = largest.child
        found = self.known.setdefault(node, {})
        for taker, contribution in reversed(way):
            found = dict(found)
            part, child = _norm(contribution.value), contribution.child
            if child.cotangent is not None:
                _multiply(found, _kind(child, contribution.argnum), _ratio(part, _norm(child.cotangent)), child)
            if len(taker.contributions) > 1:
                _multiply(found, ("merge", ""), _ratio(_norm(taker.cotangent), part), taker)
            self.known[taker] = found
        return found


def _multiply(found: dict[Kind, _Factors], kind: Kind, factor: float, node: Node) -> None:
    before = found.get(kind)
    found[kind] = (
        _Factors(_log10(factor), 1, (factor, node), (factor, node)) if before is None else before.also(factor, node)
    )


def _culprits(factors: dict[Kind, _Factors], product: float) -> tuple[Culprit, ...]:
    found = []
    for kind, known in factors.items():
        if known.log and (known.log < 0) == (product < 1):
            worst = known.least if product < 1 else known.most
            found.append(
                (abs(known.log), Culprit(_described(kind, known.count, worst), 10.0 ** min(known.log, 300.0), worst[1]))
            )
    found.sort(key=lambda pair: -pair[0])
    return tuple(culprit for _, culprit in found)


def _log10(x: float) -> float:
    return math.log10(x) if 0 < x < math.inf else -math.inf if x == 0 else math.inf


def _kind(node: Node, argnum: int) -> Kind:
    op = node.op
    assert op is not None
    norm = next((s for s in node.call.ancestors() if s.kind == "module" and "norm" in s.class_name.lower()), None)
    if norm is not None:
        return "norm", norm.class_name
    if op.name == "matmul":
        return "weight", ""
    if op.name in _MOVES:
        return "move", op.name
    if isinstance(op, Elementwise) and sum(node.wanted) == 1 and op.reads(argnum) and not _is_scale(node):
        return "slope", "relu" if _is_relu(node) else op.name
    return "op", op.name


def _is_relu(node: Node) -> bool:
    return node.op is REGISTRY["maximum"] and any(not isinstance(a, Node) for a in node.args)


def _is_scale(node: Node) -> bool:
    return node.op is not None and node.op.name in ("mul", "div")


def _described(kind: Kind, count: int, worst: tuple[float, Node]) -> str:
    family, name = kind
    times = f"{count} times, " if count > 1 else ""
    factor, node = worst
    at = f"{times}the strongest x{factor:.3g} at {node.name}"
    if family == "slope":
        return f"slopes of {name}: {_slope_text(node)}{at}"
    if family == "weight":
        weight = _weight(node)
        size = "" if weight is None else f"{weight[0]} with norm/sqrt(rows) {weight[1]:.3g}, "
        return f"sizes of weights: {size}{at}"
    if family == "norm":
        return f"{name} divides by the spread of its input: {at}"
    if family == "merge":
        return f"sums of contributions: {at}"
    return f"{name}: {at}"


def _slope_text(node: Node) -> str:
    activation = _activation(node)
    if activation is None:
        return ""
    if _is_relu(node):
        return f"{activation.zero:.0%} zeros, "
    if node.op is None or node.op.name not in STEEPEST:
        return ""
    steepest = STEEPEST[node.op.name]
    limit = f"at most {steepest:.3g} each, " if steepest < 1 else ""
    return limit + (f"{activation.saturated:.0%} saturated, " if activation.saturated >= 0.01 else "")


def _weight(node: Node) -> tuple[str, float] | None:
    """The parameter in a product, and the norm of its rows: what a random gradient is multiplied by on its way back."""
    for a in node.args:
        seen = a
        while isinstance(seen, Node) and seen.op is not None and seen.op.name in _MOVES:
            seen = seen.args[0]
        if isinstance(seen, Node) and seen.kind == "parameter" and seen.value is not None and seen.value.ndim:
            return seen.name, _norm(seen.value) / math.sqrt(max(1, seen.shape[0]))
    return None


# Units that take no part


def _activations(nodes: Sequence[Node], bands: Bands) -> list[Activation]:
    found = [unit for node in nodes if node.op is not None and (unit := _activation(node)) is not None]
    return [replace(unit, band=bands.of_unit(unit.dead, unit.saturated)) for unit in found]


def _activation(node: Node) -> Activation | None:
    op, value = node.op, node.value
    if value is None or not np.size(value):
        return None
    if _is_relu(node):
        zeros = np.asarray(value) == 0
        rows = zeros.reshape(-1, zeros.shape[-1]) if zeros.ndim > 1 else zeros.reshape(1, -1)
        return Activation(node, float(np.mean(np.all(rows, axis=0))), float(np.mean(zeros)), math.nan)
    if op is not None and op.name in STEEPEST:
        x = node.args[0]
        if x.value is None:
            return None
        with no_grad():
            slope = op.partial(0, Tensor(value), Tensor(x.value))._value  # type: ignore[attr-defined]
        flat = np.abs(slope) < _FLAT * STEEPEST[op.name]
        return Activation(node, math.nan, math.nan, float(np.mean(flat)))
    return None


def _updates(step: Step, bands: Bands) -> list[UpdateRatio]:
    found = []
    for update in step.updates:
        moved = update.measured()
        ratio = _ratio(moved.change, moved.value)
        found.append(UpdateRatio(update.node, step.index, ratio, bands.of_update(ratio)))
    return found
