"""switch in a graph, with its rules: each is again a switch, of which only the chosen branch runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.autodiff.masks import pulled, pushed
from backlit.core import staging, tree
from backlit.core.dtypes import is_float
from backlit.core.op import Masked
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
from backlit.ops.elementwise import less_equal


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
            chosen = [where_by_example(here_, a, b) for a, b in zip(branches[number](*rest), chosen, strict=True)]
        return chosen, wanted

    def push(self, operands: list[Tensor], tangents: list[Masked | None]) -> tuple[list[Tensor], list[Masked | None]]:
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
        runs = [_Filled(branch, live, masked, n_outs) for branch in branches]
        flat = switched(index, runs, operands)
        grown = [flag and any(run.found[k] for run in runs) for k, flag in enumerate(live)]
        if grown == masked:
            return tree.unflatten(runs[0].structure, flat)  # type: ignore[no-any-return]
        masked = grown


class _Filled:
    """A branch whose (co)tangents are filled up to what another one gives."""

    def __init__(self, branch: Body, live: list[bool], masked: list[bool], n_outs: int) -> None:
        self.branch, self.live, self.masked, self.n_outs = branch, live, masked, n_outs
        self.found: list[bool] = []
        self.structure: Any = None

    def __call__(self, *given: Tensor) -> list[Tensor]:
        outs, parts = self.branch(*given)
        self.found = [is_masked(t) for t in parts]
        like = outs if self.n_outs else given
        kept = [
            filled(t, x, had) if flag else None
            for t, x, flag, had in zip(parts, like, self.live, self.masked, strict=False)
        ]
        leaves, self.structure = tree.flatten((outs, kept))
        return leaves


def switched(index: Tensor, branches: Sequence[Body], operands: Sequence[Tensor]) -> list[Tensor]:
    """The results of the branch, a function of tensors, with number `index`."""
    regions, captured = staging.graph().regions("switch", branches, operands)
    return SwitchCall(regions)([index, *captured, *operands])
