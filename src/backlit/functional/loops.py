"""scan and while_loop in a graph, with their rules: reverse, forward and batch, each again a loop in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.autodiff.batch import move_axis
from backlit.autodiff.masks import pulled, pushed
from backlit.core import staging, tree
from backlit.core.dtypes import is_float
from backlit.core.errors import GradientError
from backlit.core.op import Masked, add_masked
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.functional.regions import (
    Body,
    Call,
    CallJoint,
    batched,
    filled,
    is_masked,
    where_by_example,
)
from backlit.ops.linear import broadcast_to
from backlit.ops.reduce import max as largest


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

    def push(self, operands: list[Tensor], tangents: list[Masked | None]) -> tuple[list[Tensor], list[Masked | None]]:
        consts, init, xs = self._parts(operands)
        consts_t, init_t, xs_t = self._parts(tangents)
        live = self.depends([t is not None for t in tangents])[: self.m]
        masked = [is_masked(t) for t in init_t]

        def step(consts: Any, carry: Any, x: Any) -> Any:
            (consts, consts_t), (carry, carry_t), (x, x_t) = consts, carry, x
            outs, outs_t = pushed(self.body, [*consts, *carry, *x], [*consts_t, *carry_t, *x_t])
            found.extend(is_masked(t) for t in outs_t[: self.m])
            after = [
                filled(t, c, had) if flag else None
                for t, c, flag, had in zip(outs_t, carry, live, masked, strict=False)
            ]
            return (outs[: self.m], after), (outs[self.m :], outs_t[self.m :])

        while True:
            found: list[bool] = []
            first = [
                filled(t, c, had) if flag else None for t, c, flag, had in zip(init_t, init, live, masked, strict=True)
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
        masked = [is_masked(t) for t in cotangents[:m]]
        summed = [w and is_float(c.dtype) for w, c in zip(consts_w, consts, strict=True)]
        summed_masked = [False] * len(consts)

        def step(consts: Any, carry: Any, x: Any) -> Any:
            (after, totals), (before, x, y) = carry, x
            contributions = pulled(call.body, [*consts, *before, *x], [*summed, *live_c, *xs_w], [*after, *y])
            of_consts, of_carry, of_x = call._parts(contributions)
            found.extend(is_masked(c) for c in of_carry)
            absent.extend(c is None for c in of_consts)
            totals_found.extend(is_masked(c) for c in of_consts)
            totals = [
                None if not s else filled(add_masked(t, c), k, had)
                for t, c, k, s, had in zip(totals, of_consts, consts, summed, summed_masked, strict=True)
            ]
            carry = [
                filled(c, b, had) if flag else None
                for c, b, flag, had in zip(of_carry, before, live_c, masked, strict=True)
            ]
            return (carry, totals), of_x

        while True:
            found: list[bool] = []
            absent: list[bool] = []
            totals_found: list[bool] = []
            first = [
                filled(c, x, had) if flag else None
                for c, x, flag, had in zip(cotangents, init, live_c, masked, strict=False)
            ]
            none = [
                filled(None, x, had) if s else None for x, s, had in zip(consts, summed, summed_masked, strict=True)
            ]
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
            return [where_by_example(on, a, b) for a, b in zip(after, carry, strict=True)]

        return run_while(condition, body, consts, init), carry_f

    def push(self, operands: list[Tensor], tangents: list[Masked | None]) -> tuple[list[Tensor], list[Masked | None]]:
        consts, init, consts_t, init_t = operands[: self.k], operands[self.k :], tangents[: self.k], tangents[self.k :]
        live = self.depends([t is not None for t in tangents])
        directions, structure = tree.flatten(consts_t)
        n = len(consts)

        def condition(both: Any, carry: Any) -> Any:
            return self.condition(*both[:n], *carry[0])

        masked = [is_masked(t) for t in init_t]
        while True:  # a trial run of the body says which tangents get masks
            found: list[bool] = []

            def body(both: Any, carry: Any, found: list[bool] = found, masked: list[bool] = masked) -> Any:
                values, of_carry = carry
                given = tree.unflatten(structure, both[n:])
                outs, outs_t = pushed(self.body, [*both[:n], *values], [*given, *of_carry])
                found.extend(is_masked(t) for t in outs_t)
                return outs, [
                    filled(t, c, had) if flag else None
                    for t, c, flag, had in zip(outs_t, values, live, masked, strict=True)
                ]

            first = [
                filled(t, c, had) if flag else None for t, c, flag, had in zip(init_t, init, live, masked, strict=True)
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
    outs = WhileCall(regions[0], regions[1], len(captured) + k)([*captured, *consts, *leaves])
    return tree.unflatten(structure, outs)


class _WhileJoint(CallJoint):
    def pulled(self, cotangents: list[Masked | None]) -> list[Masked | None]:
        raise GradientError(
            "while_loop: in a graph it has no reverse mode, for the number of steps to keep is not known; give max_steps, "
            f"or use scan or fori_loop with fixed bounds{here()}"
        )
