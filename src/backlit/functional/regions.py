"""Loops and branches as single steps of a graph, with their rules: reverse, forward and batch, each again such a step.

The body of a loop is traced once, into a region; what it takes from around it becomes operands. Its derivative is a loop
over the derivative of the region, so that loops nest and can be differentiated again. Derivatives carry the masks of
structural zeros from step to step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.batch import BatchBox, BatchTrace, move_axis
from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.reverse import GradTrace
from backlit.autodiff.trace import highest, zeros
from backlit.autodiff.walk import Joint, Pick, walk
from backlit.core import record, staging, tree
from backlit.core.dtypes import is_float
from backlit.core.errors import GradientError
from backlit.core.graph import Cut, Node, Plan
from backlit.core.op import Masked, Op, Value, add_masked, ones
from backlit.core.source import here, user_source
from backlit.core.tensor import Box, Tensor, muted
from backlit.ops.elementwise import less_equal, logical_and, where
from backlit.ops.linear import broadcast_to
from backlit.ops.reduce import max as largest

Body = Callable[..., Any]  # of trees; where a region stands for it, of lists of tensors


class Call(ABC):
    """A call of control flow: regions that run on operands, at whatever level of transforms these are."""

    name: str
    regions: tuple[Any, ...]
    params: dict[str, Any]

    def __call__(self, operands: Sequence[Tensor]) -> list[Tensor]:
        operands = list(operands)
        trace = highest(operands)
        if trace is None or trace.imperative:
            return self._record(operands, trace)
        trace.check_alive()
        if isinstance(trace, BatchTrace):
            flags = [trace.box(x) is not None for x in operands]
            outs, flags = self.batch(trace.size, [trace.lower(x) for x in operands], flags)
            return [Tensor(BatchBox(trace, x)) if flag else x for x, flag in zip(outs, flags, strict=True)]
        if isinstance(trace, JvpTrace):
            pushed: list[Masked | None] = [None if (b := trace.box(x)) is None else b.extra for x in operands]
            outs, tangents = self.push([trace.lower(x) for x in operands], pushed)
            return [x if t is None else Tensor(Box(trace, x, t)) for x, t in zip(outs, tangents, strict=True)]
        if isinstance(trace, GradTrace):
            return self._trace(trace, operands)
        return trace.control(self, operands)  # type: ignore[no-any-return]

    def _record(self, operands: list[Tensor], trace: Any) -> list[Tensor]:
        graph = staging.graph() if trace is None else trace
        parents = [x.node if isinstance(x.node, Node) else None for x in operands]
        if not any(parents):
            return graph.control(self, operands)  # type: ignore[no-any-return]
        if muted.get():
            cut = Cut("no_grad", next(p for p in parents if p is not None))
            return [Tensor(x._value, cut) for x in graph.control(self, operands)]
        call, operands = self.keeping(operands)
        return self._picked(
            call, operands, graph.control(call, operands), lambda x, node: Tensor(x._value, node), lambda x: x,
            [x.node if isinstance(x.node, Node) else None for x in operands],
        )  # fmt: skip

    def _trace(self, trace: GradTrace, operands: list[Tensor]) -> list[Tensor]:
        if muted.get() > trace.level:
            return self([trace.lower(x) for x in operands])
        call, operands = self.keeping(operands)
        lowered = [trace.lower(x) for x in operands]
        return self._picked(
            call, lowered, call(lowered), lambda x, node: Tensor(Box(trace, x, node)), trace.lower,
            [None if (b := trace.box(x)) is None else b.extra for x in operands],
        )  # fmt: skip

    def _picked(
        self, call: Call, operands: list[Tensor], outs: list[Tensor], wrap: Callable[[Tensor, Node], Tensor],
        lower: Callable[[Tensor], Tensor], parents: list[Any],
    ) -> list[Tensor]:  # fmt: skip
        """The results as picks from one node that pulls back, as far as they depend on what is wanted."""
        wanted = [p is not None for p in parents]
        joint = call.joint(wanted)
        joint.operands, joint.n_outs = [Tensor(x._value, x.node) for x in operands], len(outs)
        plan = Plan(joint, tuple(wanted), joint.reads)
        node = Node(plan, tuple(p for p in parents if p is not None), (), None, {}, (), None, user_source())
        made = []
        for k, (x, live) in enumerate(zip(outs, call.depends(wanted), strict=True)):
            if not live or not is_float(x.dtype):
                made.append(x)
                continue
            plan = Plan(Pick(self.name, k), (True,), joint.reads)
            pick = Node(plan, node, (), None, {}, x.shape, x.dtype, node.where)
            made.append(wrap(x, pick))
            for listener in record.current():
                listener.recorded(pick, made[-1])
        n = self.n_outs
        joint.saved = [lower(x) for x in made[n:]]
        return made[:n]

    @abstractmethod
    def batch(self, size: int, operands: list[Tensor], flags: list[bool]) -> tuple[list[Tensor], list[bool]]:
        """The results for operands of which the flagged ones have a leading batch axis, and which of them have one."""

    @abstractmethod
    def push(
        self, operands: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[list[Tensor], list[Masked | None]]:
        """The results and their tangents."""

    @property
    def n_outs(self) -> int:
        """Number of results."""
        return len(self.regions[-1].graph.outputs)

    def keeping(self, operands: list[Tensor]) -> tuple[Call, list[Tensor]]:
        """A call, with its operands, that gives after the results what a reverse pass needs."""
        return self, operands

    @abstractmethod
    def depends(self, wanted: list[bool]) -> list[bool]:
        """The results that depend differentiably on wanted operands."""

    @abstractmethod
    def joint(self, wanted: list[bool]) -> CallJoint:
        """What pulls cotangents back through a call with these operands wanted."""


class CallJoint(Joint):
    """One call of control flow in a recorded graph."""

    def __init__(self, call: Any, wanted: list[bool]) -> None:
        super().__init__()
        self.name = call.name  # type: ignore[misc]
        self.call, self.wanted = call, wanted
        self.operands: list[Tensor] = []
        self.saved: list[Tensor] = []
        self.n_outs = 0

    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        return tuple(self.pulled(list(cotangent)))

    @abstractmethod
    def pulled(self, cotangents: list[Masked | None]) -> list[Masked | None]:
        """Cotangents of the operands, None where one is not wanted or structurally zero."""


# One region, transformed


class _Same(Op):
    """Stands between a leaf and what uses it, so that the leaf gets masks."""

    name, notation = "same", ""

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def contributions(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> Sequence[Any]:
        return (cotangent,)

    def abstract(self, *avals: Any, **params: Any) -> Any:
        raise NotImplementedError

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        raise NotImplementedError


_SAME = Plan(_Same(), (True,), _Same().reads)


def pulled(
    body: Body, operands: Sequence[Tensor], wanted: Sequence[bool], cotangents: Sequence[Masked | None]
) -> list[Masked | None]:
    """Cotangents of the wanted operands of a region, with masks; None where there is no path."""
    leaves: list[Any] = [None] * len(operands)
    with GradTrace("scan") as trace:
        given = []
        for k, (x, flag) in enumerate(zip(operands, wanted, strict=True)):
            if flag and is_float(x.dtype):
                leaf = trace.leaf(Tensor(x._value, x.node))
                leaves[k] = leaf._value.extra
                node = Node(_SAME, leaves[k], (), None, {}, x.shape, x.dtype, None)
                given.append(Tensor(Box(trace, leaf._value.primal, node)))
            else:
                given.append(x)
        roots = [None if (b := trace.box(x)) is None else b.extra for x in body(*given)]
    seeds: dict[Node, Any] = {}
    for root, cotangent in zip(roots, cotangents, strict=True):
        if root is not None and cotangent is not None:
            seeds[root] = add_masked(seeds.get(root), cotangent)
    found, _ = walk(seeds, "scan", arrays=False, record_again=False)
    return [None if leaf is None else found.get(leaf) for leaf in leaves]


def pushed(
    body: Body, operands: Sequence[Tensor], tangents: Sequence[Masked | None]
) -> tuple[list[Tensor], list[Masked | None]]:
    """The results of a region and their tangents, with masks."""
    with JvpTrace("scan") as trace:
        given = [
            x if t is None else Tensor(Box(trace, Tensor(x._value, x.node), t))
            for x, t in zip(operands, tangents, strict=True)
        ]
        outs = body(*given)
        return [trace.lower(x) for x in outs], [None if (b := trace.box(x)) is None else b.extra for x in outs]


def batched(
    body: Body, size: int, operands: Sequence[Tensor], flags: Sequence[bool], wanted: Sequence[bool]
) -> list[Tensor]:
    """The results of a region for operands with a leading batch axis where flagged; results have one where wanted."""
    with BatchTrace("scan", size) as trace:
        given = [Tensor(BatchBox(trace, x)) if f else x for x, f in zip(operands, flags, strict=True)]
        outs = []
        for x, w in zip(body(*given), wanted, strict=True):
            value = trace.lower(x)
            outs.append(broadcast_to(value, shape=(size, *value.shape)) if w and trace.box(x) is None else value)
        return outs


def _filled(x: Masked | None, like: Tensor, masked: bool) -> Masked:
    """A (co)tangent for each step to carry on: zeros where there is none, a mask where it has one at some step."""
    if x is None:
        return zeros(like.shape, like.dtype), Tensor(np.zeros(like.shape, bool)) if masked else None
    value = x[0] if x[0].dtype == like.dtype else x[0].astype(like.dtype)
    return value, (ones(like.shape) if x[1] is None else x[1]) if masked else None


def _is_masked(x: Masked | None) -> bool:
    return x is not None and x[1] is not None


# scan


class ScanCall(Call):
    """`(*consts, *init, *xs)` to the last carry and the stacked ys."""

    name = "scan"

    def __init__(self, body: Any, n_consts: int, n_carry: int, length: int, reverse: bool) -> None:
        self.regions = (body,)
        self.body, self.k, self.m, self.length, self.reverse = body, n_consts, n_carry, length, reverse
        self.params = {"n_consts": n_consts, "n_carry": n_carry, "length": length, "reverse": reverse}

    def _parts(self, flat: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        k, m = self.k, self.k + self.m
        return list(flat[:k]), list(flat[k:m]), list(flat[m:])

    def depends(self, wanted: list[bool]) -> list[bool]:
        """The results that depend differentiably on wanted operands."""
        return self.body.carried(*self._parts(wanted), differentiable=True)  # type: ignore[no-any-return]

    def batch(self, size: int, operands: list[Tensor], flags: list[bool]) -> tuple[list[Tensor], list[bool]]:
        consts, init, xs = self._parts(operands)
        consts_f, init_f, xs_f = self._parts(flags)
        outs_f = self.body.carried(consts_f, init_f, xs_f)
        carry_f = outs_f[: self.m]
        init = [
            broadcast_to(x, shape=(size, *x.shape)) if now and not before else x
            for x, before, now in zip(init, init_f, carry_f, strict=True)
        ]
        xs = [move_axis(x, 0, 1) if f else x for x, f in zip(xs, xs_f, strict=True)]

        def step(consts: Any, carry: Any, x: Any) -> Any:
            flat_flags = [*consts_f, *carry_f, *xs_f]
            outs = batched(self.body, size, [*consts, *carry, *x], flat_flags, outs_f)
            return outs[: self.m], outs[self.m :]

        carry, ys = scan_trees(step, consts, init, xs, self.length, self.reverse)
        ys = [move_axis(y, 1, 0) if f else y for y, f in zip(ys, outs_f[self.m :], strict=True)]
        return [*carry, *ys], outs_f

    def push(
        self, operands: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[list[Tensor], list[Masked | None]]:
        consts, init, xs = self._parts(operands)
        consts_t, init_t, xs_t = self._parts(tangents)
        live = self.depends([t is not None for t in tangents])[: self.m]
        masked = [_is_masked(t) for t in init_t]

        def step(consts: Any, carry: Any, x: Any) -> Any:
            (consts, consts_t), (carry, carry_t), (x, x_t) = consts, carry, x
            outs, outs_t = pushed(self.body, [*consts, *carry, *x], [*consts_t, *carry_t, *x_t])
            found.extend(_is_masked(t) for t in outs_t[: self.m])
            after = [
                _filled(t, c, had) if flag else None
                for t, c, flag, had in zip(outs_t, carry, live, masked, strict=False)
            ]
            return (outs[: self.m], after), (outs[self.m :], outs_t[self.m :])

        while True:
            found: list[bool] = []
            first = [
                _filled(t, c, had) if flag else None for t, c, flag, had in zip(init_t, init, live, masked, strict=True)
            ]
            made = Traced(step, (consts, consts_t), (init, first), (xs, xs_t))
            grown = [a or (b and c) for a, b, c in zip(masked, found, live, strict=True)]
            if grown == masked:
                break
            masked = grown
        (carry, carry_t), (ys, ys_t) = made.run(self.length, self.reverse)
        return [*carry, *ys], [*carry_t, *ys_t]

    def keeping(self, operands: list[Tensor]) -> tuple[Call, list[Tensor]]:
        def step(consts: Any, carry: Any, x: Any) -> Any:
            outs = self.body(*consts, *carry, *x)
            return outs[: self.m], (outs[self.m :], carry)

        return Traced(step, *self._parts(operands)).call(self.length, self.reverse)

    def joint(self, wanted: list[bool]) -> CallJoint:
        return _ScanJoint(self, wanted)


class _ScanJoint(CallJoint):
    """Runs back over the carries that the forward kept, through the derivative of the body at each."""

    def pulled(self, cotangents: list[Masked | None]) -> list[Masked | None]:
        call: ScanCall = self.call
        m = call.m
        consts, init, xs = call._parts(self.operands)
        consts_w, init_w, xs_w = call._parts(self.wanted)
        live = call.depends(self.wanted)
        live_c = [flag and is_float(c.dtype) for flag, c in zip(live, init, strict=False)]
        masked = [_is_masked(t) for t in cotangents[:m]]
        summed = [w and is_float(c.dtype) for w, c in zip(consts_w, consts, strict=True)]
        summed_masked = [False] * len(consts)

        def step(consts: Any, carry: Any, x: Any) -> Any:
            (after, totals), (before, x, y) = carry, x
            contributions = pulled(call.body, [*consts, *before, *x], [*summed, *live_c, *xs_w], [*after, *y])
            of_consts, of_carry, of_x = call._parts(contributions)
            found.extend(_is_masked(c) for c in of_carry)
            absent.extend(c is None for c in of_consts)
            totals_found.extend(_is_masked(c) for c in of_consts)
            totals = [
                None if not s else _filled(add_masked(t, c), k, had)
                for t, c, k, s, had in zip(totals, of_consts, consts, summed, summed_masked, strict=True)
            ]
            carry = [
                _filled(c, b, had) if flag else None
                for c, b, flag, had in zip(of_carry, before, live_c, masked, strict=True)
            ]
            return (carry, totals), of_x

        while True:
            found: list[bool] = []
            absent: list[bool] = []
            totals_found: list[bool] = []
            first = [
                _filled(c, x, had) if flag else None
                for c, x, flag, had in zip(cotangents, init, live_c, masked, strict=False)
            ]
            none = [_filled(None, x, had) if s else None for x, s, had in zip(consts, summed, summed_masked, strict=True)]
            made = Traced(step, consts, (first, none), (self.saved, xs, cotangents[m:]))
            grown = [a or (b and c) for a, b, c in zip(masked, found, live_c, strict=True)]
            kept = [s and not a for s, a in zip(summed, absent, strict=True)]
            totals_grown = [s and f for s, f in zip(kept, totals_found, strict=True)]
            if (grown, kept, totals_grown) == (masked, summed, summed_masked):
                break
            masked, summed, summed_masked = grown, kept, totals_grown
        (carry, totals), of_xs = made.run(call.length, not call.reverse)
        of_init = [c if w else None for c, w in zip(carry, init_w, strict=True)]
        return [*totals, *of_init, *of_xs]


class Traced:
    """A step of trees as a region, ready to run over its operands."""

    def __init__(self, step: Body, consts: Any, init: Any, xs: Any) -> None:
        flat = [tree.flatten(part) for part in (consts, init, xs)]
        self.leaves = [leaves for leaves, _ in flat]
        structures = [structure for _, structure in flat]
        k, m = len(self.leaves[0]), len(self.leaves[1])

        def on_leaves(*given: Tensor) -> list[Tensor]:
            parts = (given[:k], given[k : k + m], given[k + m :])
            found = step(*(tree.unflatten(s, part) for s, part in zip(structures, parts, strict=True)))
            (carry, self.after), (y, self.y) = map(tree.flatten, found)
            return [*carry, *y]

        like = [*self.leaves[0], *self.leaves[1], *(_Slice(x) for x in self.leaves[2])]
        (self.region,), self.captured = staging.graph().regions("scan", [on_leaves], like)

    def call(self, length: int, reverse: bool) -> tuple[ScanCall, list[Tensor]]:
        """The scan and its operands."""
        consts = [*self.captured, *self.leaves[0]]
        call = ScanCall(self.region, len(consts), len(self.leaves[1]), length, reverse)
        return call, [*consts, *self.leaves[1], *self.leaves[2]]

    def run(self, length: int, reverse: bool) -> tuple[Any, Any]:
        """The last carry and the stacked ys, as trees."""
        call, operands = self.call(length, reverse)
        outs, m = call(operands), len(self.leaves[1])
        return tree.unflatten(self.after, outs[:m]), tree.unflatten(self.y, outs[m:])


class _Slice:
    """Shape and dtype of one step's share."""

    def __init__(self, x: Tensor) -> None:
        self.shape, self.dtype = x.shape[1:], x.dtype


def scan_trees(step: Body, consts: Any, init: Any, xs: Any, length: int, reverse: bool) -> tuple[Any, Any]:
    """A scan in the graph of `step(consts, carry, x) -> (carry, y)`; a None in the trees stays one."""
    return Traced(step, consts, init, xs).run(length, reverse)


# while_loop


class WhileCall(Call):
    """`(*consts, *init)` to the first carry for which the condition does not hold."""

    name = "while_loop"

    def __init__(self, condition: Any, body: Any, n_consts: int) -> None:
        self.regions = (condition, body)
        self.condition, self.body, self.k = condition, body, n_consts
        self.params = {"n_consts": n_consts}

    def depends(self, wanted: list[bool]) -> list[bool]:
        """The results that depend differentiably on wanted operands."""
        return self.body.carried(wanted[: self.k], wanted[self.k :], [], differentiable=True)  # type: ignore[no-any-return]

    def batch(self, size: int, operands: list[Tensor], flags: list[bool]) -> tuple[list[Tensor], list[bool]]:
        consts, init, consts_f, init_f = operands[: self.k], operands[self.k :], flags[: self.k], flags[self.k :]
        carry_f = self.body.carried(consts_f, init_f, [])
        by_example = self.condition.reach([*consts_f, *carry_f])[0]
        if by_example:
            carry_f = [True] * len(init)
        init = [
            broadcast_to(x, shape=(size, *x.shape)) if now and not before else x
            for x, before, now in zip(init, init_f, carry_f, strict=True)
        ]
        every = [*consts_f, *carry_f]

        def going(consts: Any, carry: Any) -> Tensor:
            return batched(self.condition, size, [*consts, *carry], every, [by_example])[0]

        def condition(consts: Any, carry: Any) -> Any:
            if not by_example:
                return going(consts, carry)
            if not size:
                return Tensor(np.zeros((), bool))
            return largest(going(consts, carry), axis=0)

        def body(consts: Any, carry: Any) -> Any:
            after = batched(self.body, size, [*consts, *carry], every, carry_f)
            if not by_example:
                return after
            on = going(consts, carry)
            return [_where(on, a, b) for a, b in zip(after, carry, strict=True)]

        return run_while(condition, body, consts, init), carry_f

    def push(
        self, operands: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[list[Tensor], list[Masked | None]]:
        consts, init, consts_t, init_t = operands[: self.k], operands[self.k :], tangents[: self.k], tangents[self.k :]
        live = self.depends([t is not None for t in tangents])
        directions, structure = tree.flatten(consts_t)
        n = len(consts)

        def condition(both: Any, carry: Any) -> Any:
            return self.condition(*both[:n], *carry[0])

        masked = [_is_masked(t) for t in init_t]
        while True:  # a trial run of the body says which tangents get masks
            found: list[bool] = []

            def body(both: Any, carry: Any, found: list[bool] = found, masked: list[bool] = masked) -> Any:
                values, of_carry = carry
                given = tree.unflatten(structure, both[n:])
                outs, outs_t = pushed(self.body, [*both[:n], *values], [*given, *of_carry])
                found.extend(_is_masked(t) for t in outs_t)
                return outs, [
                    _filled(t, c, had) if flag else None
                    for t, c, flag, had in zip(outs_t, values, live, masked, strict=True)
                ]

            first = [
                _filled(t, c, had) if flag else None for t, c, flag, had in zip(init_t, init, live, masked, strict=True)
            ]
            outs, outs_t = run_while(condition, body, [*consts, *directions], (init, first))
            grown = [a or (b and c) for a, b, c in zip(masked, found, live, strict=True)]
            if grown == masked:
                return outs, outs_t
            masked = grown

    def joint(self, wanted: list[bool]) -> CallJoint:
        return _WhileJoint(self, wanted)


def run_while(condition: Body, body: Body, consts: list[Tensor], init: Any) -> Any:
    """A loop in the graph of functions of (consts, carry), the carry a tree."""
    leaves, structure = tree.flatten(init)
    k = len(consts)

    def on(f: Body) -> Body:
        def on_leaves(*given: Tensor) -> list[Tensor]:
            return tree.leaves(f(list(given[:k]), tree.unflatten(structure, given[k:])))

        return on_leaves

    regions, captured = staging.graph().regions("while_loop", [on(condition), on(body)], [*consts, *leaves])
    outs = WhileCall(*regions, len(captured) + k)([*captured, *consts, *leaves])
    return tree.unflatten(structure, outs)


class _WhileJoint(CallJoint):
    def pulled(self, cotangents: list[Masked | None]) -> list[Masked | None]:
        raise GradientError(
            "while_loop: in a graph it has no reverse mode, for the number of steps to keep is not known; use scan or "
            f"fori_loop with fixed bounds{here()}"
        )


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`where` by example."""
    shaped = condition.reshape((*condition.shape, *(1,) * (a.ndim - condition.ndim)))
    return where(shaped, a, b)


# switch


class SwitchCall(Call):
    """`(index, *operands)` to what the branch with that number gives."""

    name = "switch"

    def __init__(self, branches: Sequence[Any]) -> None:
        self.regions = tuple(branches)
        self.params = {}

    def depends(self, wanted: list[bool]) -> list[bool]:
        """The results that depend differentiably on wanted operands."""
        found = [b.reach(wanted[1:], differentiable=True) for b in self.regions]
        return [any(flags) for flags in zip(*found, strict=True)]

    def batch(self, size: int, operands: list[Tensor], flags: list[bool]) -> tuple[list[Tensor], list[bool]]:
        index, rest = operands[0], operands[1:]
        found = [b.reach(flags[1:]) for b in self.regions]
        wanted = [flags[0] or any(its) for its in zip(*found, strict=True)]

        def branch(region: Any) -> Body:
            return lambda *given: batched(region, size, given, flags[1:], wanted)

        branches = [branch(r) for r in self.regions]
        if not flags[0]:
            return switched(index, branches, rest), wanted
        chosen = branches[-1](*rest)
        for number in range(len(branches) - 2, -1, -1):
            here_ = less_equal(index, number)
            chosen = [_where(here_, a, b) for a, b in zip(branches[number](*rest), chosen, strict=True)]
        return chosen, wanted

    def push(
        self, operands: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[list[Tensor], list[Masked | None]]:
        index, rest = operands[0], operands[1:]
        live = self.depends([t is not None for t in tangents])
        directions, structure = tree.flatten(tangents[1:])
        n = len(rest)

        def branch(region: Any) -> Body:
            def both(*given: Tensor) -> Any:
                return pushed(region, given[:n], tree.unflatten(structure, given[n:]))

            return both

        outs, outs_t = _with_masks(index, [branch(r) for r in self.regions], [*rest, *directions], live, len(live))
        return outs, outs_t

    def joint(self, wanted: list[bool]) -> CallJoint:
        return _SwitchJoint(self, wanted)


class _SwitchJoint(CallJoint):
    """The derivative of the branch that was chosen, which runs once more for what it needs."""

    def pulled(self, cotangents: list[Masked | None]) -> list[Masked | None]:
        index, rest = self.operands[0], self.operands[1:]
        given, structure = tree.flatten(cotangents)
        wanted = [w and is_float(x.dtype) for w, x in zip(self.wanted[1:], rest, strict=True)]
        n = len(rest)

        def branch(region: Any) -> Body:
            def back(*flat: Tensor) -> Any:
                return [], pulled(region, flat[:n], wanted, tree.unflatten(structure, flat[n:]))

            return back

        _, found = _with_masks(index, [branch(r) for r in self.call.regions], [*rest, *given], wanted, 0)
        return [None, *found]


def _with_masks(
    index: Tensor, branches: list[Body], operands: list[Tensor], live: list[bool], n_outs: int
) -> tuple[list[Tensor], list[Masked | None]]:
    """A switch whose branches give `n_outs` results, and (co)tangents that need masks where one of them has some."""
    masked = [False] * len(live)
    while True:
        found: list[list[bool]] = []
        structures: list[Any] = []

        def filled(branch: Body, masked: list[bool] = masked) -> Body:
            def run(*given: Tensor) -> list[Tensor]:
                outs, parts = branch(*given)
                found.append([_is_masked(t) for t in parts])
                like = outs if n_outs else given
                kept = [
                    _filled(t, x, had) if flag else None
                    for t, x, flag, had in zip(parts, like, live, masked, strict=False)
                ]
                leaves, structure = tree.flatten((outs, kept))
                structures.append(structure)
                return leaves

            return run

        flat = switched(index, [filled(b) for b in branches], operands)
        grown = [flag and any(its) for flag, its in zip(live, zip(*found, strict=True), strict=True)]
        if grown == masked:
            outs, parts = tree.unflatten(structures[0], flat)
            return outs, parts
        masked = grown


def switched(index: Tensor, branches: Sequence[Body], operands: Sequence[Tensor]) -> list[Tensor]:
    """The results of the branch, a function of tensors, with number `index`."""
    regions, captured = staging.graph().regions("switch", branches, operands)
    return SwitchCall(regions)([index, *captured, *operands])
